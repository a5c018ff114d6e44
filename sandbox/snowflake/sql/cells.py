"""Values as the two fronts write them: every cell is text or null.

The connectors' protocol: snowflake-connector-python 4.8.1 and 5.2.0, tried. SQL API: Snowflake docs, "handling
responses". They differ in booleans ("1" against "true") and in how many decimals a time has.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal

from sandbox.snowflake.sql.results import Column

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
LENGTH = 16_777_216
Encode = Callable[[object, Column], "str | None"]


def wire_cell(value: object, column: Column) -> str | None:
    """A cell of `rowset`."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return _cell(value, column, column.scale)


def api_cell(value: object, column: Column) -> str | None:
    """A cell of `data` in the format jsonv2."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _cell(value, column, 9)


def _cell(value: object, column: Column, decimals: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        return _instant(value, column, decimals)
    if isinstance(value, dt.date):
        return str((value - EPOCH.date()).days)
    if isinstance(value, dt.time):
        since = dt.timedelta(
            hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
        )
        return _seconds(since, decimals)
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, (int, Decimal)) and column.type == "fixed":
        return f"{Decimal(value):.{column.scale}f}"
    return str(value)


def _instant(value: dt.datetime, column: Column, decimals: int) -> str:
    aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.timezone.utc)
    text = _seconds(aware - EPOCH, decimals)
    if column.type != "timestamp_tz":
        return text
    offset = aware.utcoffset() or dt.timedelta()
    return f"{text} {int(offset.total_seconds() // 60) + 1440}"


def _seconds(since: dt.timedelta, decimals: int) -> str:
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return f"{Decimal(micros).scaleb(-6):.{decimals}f}"


def row_type(column: Column) -> dict[str, object]:
    """The description of a column, with every key that some client demands."""
    is_text, is_number = column.type in ("text", "binary"), column.type == "fixed"
    timed = column.type.startswith("timestamp") or column.type == "time"
    return {
        "name": column.name,
        "database": "",
        "schema": "",
        "table": "",
        "type": column.type,
        "scale": column.scale if is_number or timed else None,
        "precision": 38 if is_number else 0 if timed else None,
        "length": LENGTH if is_text else None,
        "byteLength": LENGTH if is_text else None,
        "nullable": column.nullable,
        "collation": None,
    }
