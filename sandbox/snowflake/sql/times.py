"""Dates and times: the session's zone, and arithmetic with parts of a date."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo

from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.run import Run

UTC = dt.timezone.utc
PARTS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND")
_SECONDS = {"WEEK": 604_800, "DAY": 86_400, "HOUR": 3600, "MINUTE": 60, "SECOND": 1, "MILLISECOND": 0.001}
_INTERVAL = re.compile(r"\s*(-?\d+)\s+([A-Za-z]+)\s*")


def zone_of(run: Run) -> dt.tzinfo:
    """The session's TIMEZONE; UTC where this machine does not know it."""
    name = str(run.session.parameters.get("TIMEZONE") or run.catalog.parameters["TIMEZONE"])
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return UTC


def part_of(name: object) -> str:
    """DAY, of DAY or DAYS or 'day'; raises `SqlError` for anything that is not a part of a date."""
    text = str(name).upper().removesuffix("S")
    if text not in PARTS:
        raise SqlError(
            "001003", "42000", f"SQL compilation error:\n'{name}' is not a valid date/time component."
        )
    return text


def added(part: str, count: int, value: dt.date) -> dt.date:
    if part in ("YEAR", "QUARTER", "MONTH"):
        months = count * {"YEAR": 12, "QUARTER": 3, "MONTH": 1}[part]
        year, month = divmod(value.year * 12 + value.month - 1 + months, 12)
        last = (dt.date(year + (month == 11), (month + 1) % 12 + 1, 1) - dt.timedelta(days=1)).day
        return value.replace(year=year, month=month + 1, day=min(value.day, last))
    if not isinstance(value, dt.datetime) and part in ("HOUR", "MINUTE", "SECOND", "MILLISECOND"):
        value = dt.datetime(value.year, value.month, value.day)
    return value + dt.timedelta(seconds=count * _SECONDS[part])


def interval(text: str) -> tuple[str, int]:
    """The part and count of INTERVAL '7 days'."""
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise SqlError("001003", "42000", f"SQL compilation error:\nsyntax error: invalid interval '{text}'.")
    return part_of(found[2]), int(found[1])


def truncated(part: str, value: dt.date, zone: dt.tzinfo) -> dt.date:
    """DATE_TRUNC, in the session's zone for a time with one."""
    if isinstance(value, dt.datetime):
        local = value.astimezone(zone) if value.tzinfo else value
        midnight = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
        if part in ("HOUR", "MINUTE", "SECOND"):
            kept = {"HOUR": ("minute", "second", "microsecond"), "MINUTE": ("second", "microsecond")}
            return local.replace(**dict.fromkeys(kept.get(part, ("microsecond",)), 0))  # type: ignore[arg-type]
        local = local.replace(**midnight)  # type: ignore[arg-type]
        return _start(part, local)
    return _start(part, value)


def _start(part: str, value: dt.date) -> dt.date:
    if part == "WEEK":
        return value - dt.timedelta(days=value.weekday())
    if part == "MONTH":
        return value.replace(day=1)
    if part == "QUARTER":
        return value.replace(month=(value.month - 1) // 3 * 3 + 1, day=1)
    if part == "YEAR":
        return value.replace(month=1, day=1)
    return value


def difference(part: str, start: dt.date, end: dt.date, zone: dt.tzinfo) -> int:
    """DATEDIFF: how many boundaries of the part lie between."""
    if part in ("YEAR", "QUARTER", "MONTH"):
        step = {"YEAR": 12, "QUARTER": 3, "MONTH": 1}[part]
        return (end.year * 12 + end.month - 1) // step - (start.year * 12 + start.month - 1) // step
    first, last = truncated(part, start, zone), truncated(part, end, zone)
    return round((_seconds(last) - _seconds(first)) / _SECONDS[part])


def _seconds(value: dt.date) -> float:
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return dt.datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
