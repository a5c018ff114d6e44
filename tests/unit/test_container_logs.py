"""Lines of containers' logs, as they may be shown."""

from __future__ import annotations

import pytest

from spcs_llm.control.container_logs import ABOUT_A_REQUEST, shown_line, shown_lines

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
        ("set-cookie: sid=0123456789abcdef; Path=/", "set-cookie: …"),
        ("+ curl -u admin:pa55word https://host/", "+ curl -u admin:… https://host/"),
        # what only sounds like it
        ("docker run -u 1000:1000 image", None),
        ("'hf_transfer' package is not available, hf_overrides={}", None),
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


PEM = [
    "-----BEGIN PRIVATE KEY-----",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
    "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu",
    "aB3d==",
    "-----END PRIVATE KEY-----",
]


@pytest.mark.parametrize("prefix", ["", "2026-11-27 12:00:00 INFO key.py:7] "])
@pytest.mark.parametrize(("first", "last"), [(0, 5), (1, 5), (3, 5), (0, 4), (0, 3), (0, 1), (4, 5)])
def test_a_key_over_several_lines_is_not_shown(prefix: str, first: int, last: int) -> None:
    """Snowflake returns the last lines of a log, and a container stops when it likes: a key may be cut at both ends."""
    key = [prefix + line for line in PEM[first:last]]
    shown = shown_lines(["It starts, and loads its key.", "v1", *key, "It is up."])
    assert shown[0] == "It starts, and loads its key."
    assert not any(line in " ".join(shown) for line in PEM[1:3])
    assert len(shown) == len(key) + 3
    if last != 4:  # else the last line of the key is as short as a word
        assert shown[-1] == "It is up."
        assert not any(PEM[3] in line for line in shown)


def test_lines_between_two_keys_are_shown() -> None:
    lines = ["a", *PEM, "between", *PEM, "z"]
    assert [line for line in shown_lines(lines) if line != "…"] == ["a", "between", "z"]
    on_one_line = "".join(PEM)
    assert shown_lines([on_one_line, "between", on_one_line, "z"]) == ["…", "between", "…", "z"]
