"""Casts between SQL types."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal, InvalidOperation

from sandbox.snowflake.sql.errors import SqlError, compilation
from sandbox.snowflake.sql.times import UTC

TEXT = frozenset({"VARCHAR", "STRING", "TEXT", "CHAR"})
WHOLE = frozenset({"INT", "INTEGER", "BIGINT", "SMALLINT"})
NUMBER = frozenset({"NUMBER", "DECIMAL", "NUMERIC"}) | WHOLE
FLOAT = frozenset({"FLOAT", "DOUBLE", "REAL"})
TIMES = frozenset({"TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "DATETIME"})
FRACTION = re.compile(r"\.\d+")
SEMI = frozenset({"VARIANT", "OBJECT", "ARRAY"})


def cast(value: object, kind: str, scale: int, zone: dt.tzinfo) -> object:
    """A value as another type; raises `SqlError` if it is not one."""
    if value is None:
        return None
    if kind in TEXT:
        return as_text(value, zone)
    try:
        if kind in NUMBER:
            number = Decimal(str(int(value) if isinstance(value, bool) else value))
            return (
                number.quantize(Decimal(1).scaleb(-scale))
                if scale
                else int(number.to_integral_value("ROUND_HALF_UP"))
            )
        if kind in FLOAT:
            return float(str(value))
        if kind == "BOOLEAN":
            return _boolean(value)
        if kind == "DATE":
            return _date(value, zone)
        if kind in TIMES:
            return _moment(value, kind, zone)
    except (ValueError, InvalidOperation) as error:
        what = "Numeric value" if kind in NUMBER | FLOAT else "Value"
        raise SqlError("100038", "22018", f"{what} '{value}' is not recognized") from error
    if kind in SEMI:
        return value
    raise compilation("002040", "42601", f"Unsupported data type '{kind}'.")


def _boolean(value: object) -> bool:
    if isinstance(value, (bool, int, Decimal)):
        return bool(value)
    word = str(value).strip().lower()
    if word in ("true", "t", "yes", "y", "on", "1"):
        return True
    if word in ("false", "f", "no", "n", "off", "0"):
        return False
    raise ValueError(value)


def _date(value: object, zone: dt.tzinfo) -> dt.date:
    if isinstance(value, dt.datetime):
        # A TIMESTAMP_TZ has a zone of its own; a TIMESTAMP_LTZ, which is kept in UTC, is seen in the session's.
        return (value.astimezone(zone) if value.tzinfo is UTC else value).date()
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value)[:10])


def _moment(value: object, kind: str, zone: dt.tzinfo) -> dt.datetime:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    found = value if isinstance(value, dt.datetime) else _parsed(str(value))
    if kind in ("TIMESTAMP_LTZ", "TIMESTAMP_TZ"):
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    return found.astimezone(zone).replace(tzinfo=None) if found.tzinfo else found


def _parsed(text: str) -> dt.datetime:
    # Before Python 3.11 a fraction must have three or six digits, and Z is not a zone.
    padded = FRACTION.sub(lambda found: found[0][:7].ljust(7, "0"), text.replace("Z", "+00:00"))
    return dt.datetime.fromisoformat(padded)


def as_text(value: object, zone: dt.tzinfo) -> str:
    """How a value prints."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    if isinstance(value, dt.datetime):
        local = value.astimezone(zone) if value.tzinfo else value
        text = f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"
        return f"{text} {local:%z}" if value.tzinfo else text
    return str(value)
