"""The cells of the SQL API, by the types that it names beside them, as the texts that a `Row` has.

Encodings: Snowflake documentation, "SQL API: handling responses, getting the data from the results": booleans true or
false (1 or 0 in other interfaces), dates in days since 1970, times in seconds since then with nine decimals, and with a
zone in minutes plus 1440 for TIMESTAMP_TZ.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from spcs_llm.control.session import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Column(NamedTuple):
    """A column of a result: its name in lower case, and Snowflake's type of it in lower case."""

    name: str
    type: str


def columns(row_type: Any) -> list[Column]:
    """Reads the columns of a result, whatever else Snowflake says of them."""
    described = row_type if isinstance(row_type, list) else []
    return [
        Column(str(column.get("name", "")).lower(), str(column.get("type", "")).lower())
        if isinstance(column, dict)
        else Column("", "")
        for column in described
    ]


def row_of(shape: Sequence[Column], cells: Sequence[Any]) -> Row:
    """One row, by column name; cells that have no column are left out."""
    return {column.name: _text(column.type, cell) for column, cell in zip(shape, cells) if column.name}


def _text(kind: str, cell: Any) -> str | None:
    if cell is None:
        return None
    text = ("true" if cell else "false") if isinstance(cell, bool) else str(cell)
    try:
        if kind == "boolean":
            return {"1": "true", "0": "false"}.get(text, text.lower())
        if kind == "date":
            return (_EPOCH + timedelta(days=int(text))).date().isoformat()
        if kind.startswith("timestamp"):
            return _moment(text)
    except (ValueError, OverflowError):
        pass
    return text


def _moment(text: str) -> str:
    seconds, _, zone = text.partition(" ")
    whole, _, fraction = seconds.partition(".")
    moment = _EPOCH + timedelta(seconds=int(whole))
    if zone:
        moment = moment.astimezone(timezone(timedelta(minutes=int(zone) - 1440)))
    moment += timedelta(microseconds=int((fraction or "0").ljust(6, "0")[:6]))
    return moment.isoformat()
