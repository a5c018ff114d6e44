"""Lines of containers' logs, as they may be shown."""

from __future__ import annotations

import pytest

from spcs_llm.control.container_logs import ABOUT_A_REQUEST, shown_line

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJBQ0NUIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("INFO: Application startup complete.", "INFO: Application startup complete."),
        ("Avg prompt throughput: 12.1 tokens/s", "Avg prompt throughput: 12.1 tokens/s"),
        ("HF_TOKEN=hf_abcdefghijklmnop loading", "HF_TOKEN=… loading"),
        ("using hf_abcdefghijklmnop", "using …"),
        ('api_key: "abc def", retrying', "api_key: …, retrying"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: …"),
        ('Authorization: Snowflake Token="abc"', "Authorization: …"),
        ("bearer abcdefghijkl is wrong", "bearer … is wrong"),
        (f"refused {JWT}", "refused …"),
        ("postgres://user:pa55word@host/db", "postgres://user:…@host/db"),
        ("-----BEGIN RSA PRIVATE KEY-----MIIabc", "…"),
        ("\x1b[31mred\x1b[0m\ttext\u202e", "red text"),
        # vllm-project/vllm#52523, sgl-project/sglang#37457: arguments, as they are logged at the start
        (
            "non-default args: {'model_tag': 'org/m', 'api_key': ['a b', 'c'], 'port': 8000}",
            "non-default args: {'model_tag': 'org/m', 'api_key': …, 'port': 8000}",
        ),
        (
            "ServerArgs(api_key='k1', admin_api_key='k2', tp=1)",
            "ServerArgs(api_key=…, admin_api_key=…, tp=1)",
        ),
        # CodeNeow/MyLlama#31, topoteretes/cognee#4910: the command
        (
            "Starting: llama-server --api-key k-12345 --port 8000",
            "Starting: llama-server --api-key … --port 8000",
        ),
        ("calling mcp --api-token abc.def --transport http", "calling mcp --api-token … --transport http"),
        # getainode/ainode#187 and others: the environment
        ("HUGGING_FACE_HUB_TOKEN=abcdef123", "HUGGING_FACE_HUB_TOKEN=…"),
        ("WANDB_API_KEY=0123456789abcdef", "WANDB_API_KEY=…"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+ghi", "AWS_SECRET_ACCESS_KEY=…"),
        ("using nvapi-abcdefghijkl and gsk_abcdefghijkl", "using … and …"),
        # what only sounds like it
        ("max_tokens=4096, tokenizer=auto, max_num_batched_tokens=8192", None),
        ("Special tokens have been added in the vocabulary: 12", None),
        ("x" * 400, "x" * 299 + "…"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("", ""),
    ],
)
def test_credentials_and_controls_are_taken_out_and_the_rest_stays(line: str, shown: str | None) -> None:
    assert shown_line(line) == (line if shown is None else shown)


@pytest.mark.parametrize(
    "line",
    [
        "Received request cmpl-1: prompt: 'who is ill?'",
        '{"messages": [{"role": "user", "content": "who is ill?"}]}',
        "inputs=['who is ill?']",
        "Generated: he is ill",
    ],
)
def test_a_line_that_may_quote_a_request_is_not_shown(line: str) -> None:
    assert shown_line(line) == ABOUT_A_REQUEST


def test_a_huge_line_takes_no_time_to_speak_of() -> None:
    """Each pattern is linear: a container chooses what it writes."""
    for piece in ("token", "://a:", "eyJ.", "bearer ", "password=", "a" * 50):
        assert len(shown_line(piece * 20_000)) <= 300
