"""How long a server asks to wait, in the ways that servers say it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.http.asked_wait import (
    parse_milliseconds,
    parse_retry_after,
    wait_for_limit,
    wait_in_body,
    wait_in_headers,
    wait_in_sentence,
)
from spcs_llm.http.headers import Headers

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def noon() -> datetime:
    return NOON


# -- the headers that are made for it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        (" 2 ", 2.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("30s", 30.0),
        ("2m59.56s", 179.56),
        ("370ms", 0.37),
        ("2m59.56", None),
        ("Tue, 24 Nov 2026 12:00:10 GMT", 10.0),
        ("Tuesday, 24-Nov-26 12:00:10 GMT", 10.0),
        ("Tue Nov 24 12:00:10 2026", 10.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 13:00:00 +0100", 0.0),
        ("1000000000", 1e9),
        ("9" * 400, float("inf")),
        ("", None),
        (None, None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("0x10", None),
        ("²", None),
        ("1 2", None),
        ("soon", None),
        (".", None),
        ("Tue, 24 Nov 100000 12:00:00 GMT", None),
        ("Tue, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_ignored(
    value: str | None, seconds: float | None
) -> None:
    assert parse_retry_after(value, lambda: NOON) == seconds


@given(
    st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,5} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d \S*")
)
def test_no_text_makes_retry_after_fail_or_negative(value: str) -> None:
    seconds = parse_retry_after(value, lambda: NOON)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1500", 1.5),
        (" 0.5 ", 0.0005),
        ("0", 0.0),
        ("-5", None),
        ("soon", None),
        (".", None),
        ("", None),
        (None, None),
    ],
)
def test_a_wait_in_milliseconds_is_read(value: str | None, seconds: float | None) -> None:
    assert parse_milliseconds(value) == seconds


def test_milliseconds_come_before_seconds() -> None:
    headers = Headers([("Retry-After", "1"), ("retry-after-ms", "250")])
    assert wait_in_headers(headers, noon) == 0.25
    assert wait_in_headers(Headers([("Retry-After", "1"), ("retry-after-ms", "soon")]), noon) == 1.0
    assert wait_in_headers(Headers([]), noon) is None


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Tue, 24 Nov 2026 11:00:00 GMT", 37.0),  # wso2/carbon-apimgt#7059: our clock is an hour ahead
        ("Tue, 24 Nov 2026 13:00:00 GMT", 0.0),
        ("", 0.0),
        ("now", 0.0),
        ("Tue, 99 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
def test_a_moment_is_meant_by_the_clock_of_who_says_it(date: str, seconds: float) -> None:
    headers = Headers([("Retry-After", "Tue, 24 Nov 2026 11:00:37 GMT"), ("Date", date)])
    assert wait_in_headers(headers, noon) == seconds
    ends = Headers([("x-ratelimit-reset", "2026-11-24T11:00:37Z"), ("Date", date)])
    assert wait_for_limit(ends, None, "", noon) == seconds


# -- the ends of limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset": "42"}, 42.0),  # Envoy
        ({"RateLimit-Reset": "35", "RateLimit-Remaining": "0"}, 35.0),  # Kong
        ({"x-rate-limit-reset-tokens": "55"}, 55.0),  # Azure
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360.0),  # OpenAI
        ({"x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-reset": "1795521660"}, 60.0),
        ({"X-RateLimit-Reset": "1795521660000"}, 60.0),  # OpenRouter
        ({"X-RateLimit-Reset": "1"}, 1.0),
        ({"X-RateLimit-Reset": "1600000000"}, 0.0),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-24T12:00:30Z"}, 30.0),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-24T12:00:30"}, 30.0),
        # of several limits, the one that is reached last
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "1m1.5s"}, 61.5),
        # and none that is not reached
        (
            {
                "x-ratelimit-reset-requests": "1h",
                "x-ratelimit-remaining-requests": "7",
                "x-ratelimit-reset-tokens": "2s",
                "x-ratelimit-remaining-tokens": "0",
            },
            2.0,
        ),
        ({"anthropic-ratelimit-tokens-reset": "1s", "anthropic-ratelimit-tokens-remaining": "5"}, None),
        ({"x-ratelimit-reset-tokens": "0", "x-ratelimit-remaining-tokens": "-1"}, None),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-reset": ""}, None),
        ({"x-ratelimit-reset": "-5"}, None),
        ({"x-ratelimit-limit": "42", "x-reset": "7", "x-password-reset": "7"}, None),
    ],
)
def test_a_limit_is_over_when_its_header_says(headers: dict[str, str], seconds: float | None) -> None:
    found = wait_for_limit(Headers(headers.items()), None, "", noon)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"retry_after": 30}, 30.0),
        ({"error": {"message": "busy", "retryAfter": "1.5"}}, 1.5),
        ({"error": {"retry_after_ms": 250}}, 0.25),
        ({"error": {"metadata": {"retry_after_seconds": 7}}}, 7.0),
        ([{"error": {"details": [{"links": []}, {"@type": "RetryInfo", "retryDelay": "36s"}]}}], 36.0),
        ({"error": {"metadata": {"headers": {"X-RateLimit-Reset": "1795521660000"}}}}, 60.0),
        ({"error": {"metadata": {"headers": {"Retry-After": "9", "X-RateLimit-Reset": "12"}}}}, 9.0),
        ({"error": {"metadata": {"headers": {"X-RateLimit-Reset": 12}}}}, None),
        # wso2/product-apim#10534
        ({"fault": {"code": 900802, "nextAccessTime": "2026-Nov-24 12:01:30+0000 UTC"}}, 90.0),
        ({"nextAccessTime": "2026-Nov-24 12:00:00+0000 UTC"}, 0.0),
        ({"nextAccessTime": "2026-Nov-31 12:00:00+0000 UTC"}, None),
        ({"nextAccessTime": "soon"}, None),
        ({"nextAccessTime": 7}, None),
        ({"retry_after": True}, None),
        ({"retry_after": -1}, None),
        ({"retry_after": None}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": float("nan")}, None),
        ({"retry_after": 10**400}, None),
        ({"headers": "Retry-After: 9"}, None),
        ("retry_after", None),
        (None, None),
    ],
)
def test_a_body_says_how_long_to_wait(body: Any, seconds: float | None) -> None:
    found = wait_in_body(body, noon)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("Rate limit reached for model m. Please try again in 7.66s. Visit the documentation.", 7.66),
        ("Please try again in 1m0.5s.", 60.5),
        ("Please try again in 20ms", 0.02),
        ("exceeded token rate limit. Please retry after 33 seconds. Please go there", 33.0),
        ("Rate limit is exceeded. Try again in 29 seconds.", 29.0),
        ("No deployments available for selected model, Try again in 5 seconds. Passed model=m", 5.0),
        ("Please wait 12 seconds before retrying.", 12.0),
        ("Please retry in 58.934310785s.", 58.934310785),
        ("Retry after 86400 seconds", 86400.0),
        ("try again in 2 hours 5 minutes", 7500.0),
        ("try again in 3 days", 259200.0),
        ("Please try again later.", None),
        ("It was retried: retry 3 more times", None),
        ("retry 2 models", None),
        ("try again in 5", None),
        ("", None),
    ],
)
def test_a_sentence_says_how_long_to_wait(sentence: str, seconds: float | None) -> None:
    found = wait_in_sentence(sentence)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


def test_a_header_comes_before_a_field_and_a_field_before_a_sentence() -> None:
    reset, field, sentence = Headers([("x-ratelimit-reset", "1")]), {"retry_after": 2}, "try again in 3s"
    assert wait_for_limit(reset, field, sentence, noon) == 1.0
    assert wait_for_limit(Headers([]), field, sentence, noon) == 2.0
    assert wait_for_limit(Headers([]), None, sentence, noon) == 3.0


@given(st.text(alphabet="0123456789.smhd -:TZ+ayi", max_size=40))
def test_no_text_makes_a_wait_fail_or_negative(text: str) -> None:
    headers = Headers([("x-ratelimit-reset", text), ("x-ratelimit-remaining", text)])
    found = [
        wait_for_limit(Headers([("x-ratelimit-reset", text)]), None, "", noon),
        wait_for_limit(headers, None, "", noon),
        wait_in_body({"retryDelay": text}, noon),
        wait_in_sentence(f"try again in {text}"),
    ]
    assert all(seconds is None or seconds >= 0 for seconds in found)


def test_a_large_body_is_looked_at_in_part() -> None:
    wide: Any = [{"a": [{}] * 1000}] * 1000
    assert wait_in_body(wide, noon) is None
    deep: Any = {"retry_after": 1}
    for _ in range(5000):
        deep = {"error": deep}
    assert wait_in_body(deep, noon) is None
