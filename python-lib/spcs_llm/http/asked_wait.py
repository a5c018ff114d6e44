"""How long a server asks to wait, in the ways that servers and gateways say it: headers, fields, sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Final

Now = Callable[[], datetime]

_NUMBER: Final = re.compile(r"\d{1,18}(?:\.\d{0,12})?")
_UNITS: Final = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)(?![a-z])"
_PARTS: Final = rf"((?:\d{{1,9}}(?:\.\d{{1,12}})?\s?{_UNITS}\s?){{1,4}})"
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)\s?(ms|milli|s|m|h|d)", re.IGNORECASE)
_DURATION: Final = re.compile(_PARTS, re.IGNORECASE)
_SENTENCE: Final = re.compile(
    rf"\b(?:try(?:ing)? again|retry(?:ing)?|wait|resets?)\s{{1,3}}(?:(?:in|after|for)\s{{1,3}})?{_PARTS}",
    re.IGNORECASE,
)
_SECONDS: Final = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Ends of limits: OpenAI's and Azure's, Envoy's, Kong's, OpenRouter's, Anthropic's.
_END: Final = re.compile(
    r"(?:[a-z]{1,20}-)?rate-?limit-(?:[a-z-]{1,40}-)?reset(?:-[a-z-]{1,40})?", re.IGNORECASE
)
_FIELDS: Final = ("retryafter", "retryafterseconds", "retrydelay")
_FIELDS_IN_MILLISECONDS: Final = ("retryafterms",)
_MOMENTS: Final = ("nextaccesstime",)  # WSO2's, as 2021-Mar-30 05:51:00+0000 UTC
_MOMENT: Final = re.compile(r"(\d{4})-([A-Z][a-z]{2})-(\d{2}) (\d{2}:\d{2}:\d{2})([+-]\d{4})(?: UTC)?")
_OF_PROVIDER: Final = "llm_provider-retry-after"  # as LiteLLM hands on that of the server behind it
_MOST_VALUES: Final = 200  # that are looked at in a body
_LONGEST_SENTENCE: Final = 2000
_NO_MOMENT: Final = (ValueError, TypeError, OverflowError, IndexError)  # of parsedate_to_datetime
_FIRST_EPOCH: Final = 1e9  # of a number: a moment, and no duration
_FIRST_EPOCH_IN_MILLISECONDS: Final = 1e11


def utc_now() -> datetime:
    """The time."""
    return datetime.now(timezone.utc)


def parse_retry_after(value: str | None, now: Now = utc_now) -> float | None:
    """Seconds to wait by a `Retry-After` header; None when it makes no sense.

    Args:
        value: Seconds or a date, as in RFC 9110 §10.2.3, or a duration with units, such as "1m30s", as servers written
            in Go have it.
        now: Gives the time.

    Returns:
        The seconds.
    """
    if not value:
        return None
    text = value.strip()
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text)
        if _DURATION.fullmatch(text):
            return _duration(text)
        return max(0.0, (_moment_in(text) - now()).total_seconds())
    except _NO_MOMENT:
        return None


def _moment_in(text: str) -> datetime:
    """The moment that a date of HTTP's says; raises one of _NO_MOMENT for any other text."""
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def parse_milliseconds(value: str | None) -> float | None:
    """Seconds to wait by a `Retry-After-Ms` header, which OpenAI's clients read first; None when it makes no sense."""
    text = (value or "").strip()
    if not (text.isascii() and text.replace(".", "", 1).isdigit()):
        return None
    return float(text) / 1000


def wait_in_headers(headers: Mapping[str, str], now: Now = utc_now) -> float | None:
    """Seconds to wait by the headers that are made for it.

    Args:
        headers: A response's headers, by names in any case.
        now: Gives the time.

    Returns:
        The seconds; None where no header says it.
    """
    seconds = parse_milliseconds(headers.get("Retry-After-Ms"))
    if seconds is not None:
        return seconds
    return parse_retry_after(headers.get("Retry-After") or headers.get(_OF_PROVIDER), _clock_of(headers, now))


def _clock_of(headers: Mapping[str, str], now: Now) -> Now:
    """The time by the server's own clock, if it gives it: a wait until a moment is not to depend on how ours is set."""
    try:
        moment = _moment_in(headers.get("Date") or "")
    except _NO_MOMENT:
        return now
    return lambda: moment


def wait_for_limit(headers: Mapping[str, str], body: Any, reason: str, now: Now = utc_now) -> float | None:
    """Seconds until a limit has ended, where no header is made to say it.

    Args:
        headers: The response's headers.
        body: Its JSON.
        reason: Its reason in words.
        now: Gives the time.

    Returns:
        The seconds; None where nothing says it.
    """
    now = _clock_of(headers, now)
    seconds = _end_of_limit(headers, now)
    if seconds is None:
        seconds = wait_in_body(body, now)
    return wait_in_sentence(reason) if seconds is None else seconds


def wait_in_body(body: Any, now: Now = utc_now) -> float | None:
    """Seconds to wait by a field of a body: `retry_after`, Google's `retryDelay`, a moment, or headers quoted in it."""
    for name, value in _fields(body):
        if name == "headers" and isinstance(value, Mapping):
            quoted = {key.lower(): text for key, text in value.items() if isinstance(text, str)}
            seconds = parse_retry_after(quoted.get("retry-after"), now)
            seconds = _end_of_limit(quoted, now) if seconds is None else seconds
        elif name in _FIELDS:
            seconds = _seconds(value)
        elif name in _FIELDS_IN_MILLISECONDS:
            seconds = _seconds(value)
            seconds = None if seconds is None else seconds / 1000
        elif name in _MOMENTS:
            seconds = _time_until_moment(value, now)
        else:
            continue
        if seconds is not None:
            return seconds
    return None


def wait_in_sentence(reason: str) -> float | None:
    """Seconds to wait by a sentence: "try again in 7.66s", "retry after 33 seconds", "wait 1m30s"."""
    found = _SENTENCE.search(reason[:_LONGEST_SENTENCE])
    return None if found is None else _duration(found[1])


def _fields(body: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a JSON value, by names in small letters without what parts their words."""
    waiting, looked_at = [body], 0
    while waiting and looked_at < _MOST_VALUES:
        looked_at += 1
        value = waiting.pop()
        if isinstance(value, Mapping):
            for key, item in list(value.items())[:_MOST_VALUES]:
                yield str(key).lower().replace("_", "").replace("-", ""), item
                if isinstance(item, (Mapping, list)):
                    waiting.append(item)
        elif isinstance(value, list):
            waiting += [item for item in value[:_MOST_VALUES] if isinstance(item, (Mapping, list))]


def _end_of_limit(headers: Mapping[str, str], now: Now) -> float | None:
    """The last end of the limits that are reached: those of which nothing remains, or that do not count."""
    ends = []
    for name in headers:
        if _END.fullmatch(name) is None:
            continue
        remaining = _number(headers.get(name.lower().replace("reset", "remaining")))
        end = _time_until(headers[name], now)
        if end is not None and not remaining:
            ends.append(end)
    return max(ends, default=None)


def _time_until(text: str, now: Now) -> float | None:
    """Seconds until the end of a limit, which is a duration or a moment."""
    seconds = _seconds(text)
    if seconds is None:
        try:
            moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        except ValueError:
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
        return max(0.0, (moment - now()).total_seconds())
    if seconds < _FIRST_EPOCH:
        return seconds
    if seconds >= _FIRST_EPOCH_IN_MILLISECONDS:
        seconds /= 1000
    return max(0.0, seconds - now().timestamp())


def _time_until_moment(value: Any, now: Now) -> float | None:
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    year, month, day, time, zone = found.groups()
    return parse_retry_after(f"{day} {month} {year} {time} {zone}", now)


def _seconds(value: Any) -> float | None:
    """A number of seconds, or a duration with units."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if 0 <= value < 1e18 else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    return _duration(text) if len(text) <= _LONGEST_SENTENCE and _DURATION.fullmatch(text) else None


def _duration(text: str) -> float:
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(text))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
