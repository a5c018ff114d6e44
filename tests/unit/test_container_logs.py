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
        ("x" * 400, "x" * 299 + "…"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("", ""),
    ],
)
def test_credentials_and_controls_are_taken_out_and_the_rest_stays(line: str, shown: str) -> None:
    assert shown_line(line) == shown


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
