"""Reads the cells of rows. Sessions write the same value in different ways, and a column may be absent.

What cannot be read is None, never an error: a listing must not fail because one column of it has changed.
Forms: Snowflake documentation, "SQL API: handling responses"; TF, FROST and DSS write booleans and times as text.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

from spcs_llm.control.session import Row

_BOOLEANS = {"true": True, "1": True, "yes": True, "y": True, "t": True}
_BOOLEANS.update({"false": False, "0": False, "no": False, "n": False, "f": False})
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECONDS = re.compile(r"(-?\d{9,11})(?:\.(\d{1,9}))?(?: (\d{1,4}))?")
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?"
)


def text(row: Row, *columns: str) -> str | None:
    """The first of these columns that holds something but blanks."""
    for column in columns:
        value = row.get(column)
        if value is not None and value.strip():
            return value.strip()
    return None


def boolean(row: Row, column: str) -> bool | None:
    """A boolean as any session writes it: true, TRUE, 1, "1", Y."""
    return _BOOLEANS.get((text(row, column) or "").strip('"').lower())


def number(row: Row, column: str) -> float | None:
    """A finite number."""
    try:
        value = float((text(row, column) or "").strip('"'))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(row: Row, column: str) -> int | None:
    """A whole number, also where it is written as 4.0."""
    value = number(row, column)
    return int(value) if value is not None and value == int(value) else None


def moment(row: Row, column: str) -> datetime | None:
    """A time with its zone: ISO 8601 as sessions of all kinds write it, or seconds since 1970. No zone means UTC."""
    value = text(row, column) or ""
    if match := _SECONDS.fullmatch(value):
        fraction = int((match[2] or "0").ljust(9, "0")[:6])
        try:
            return _EPOCH + timedelta(seconds=int(match[1]), microseconds=fraction)
        except OverflowError:
            return None
    if match := _ISO.fullmatch(value):
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        micro = int((match[7] or "0").ljust(6, "0")[:6])
        try:
            return datetime(year, month, day, hour, minute, second, micro, _zone(match[8]))
        except ValueError:
            return None
    return None


def json_value(row: Row, column: str) -> Any:
    """A JSON cell's value: an array of names, an object of aliases."""
    try:
        return json.loads(text(row, column) or "")
    except (ValueError, RecursionError):
        return None


def _zone(written: str | None) -> timezone:
    if written is None or written in ("Z", "UTC"):
        return timezone.utc
    sign = -1 if written[0] == "-" else 1
    digits = written[1:].replace(":", "")
    return timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
