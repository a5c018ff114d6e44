"""What a statement returns, before a front encodes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

# Kinds of statements: fakesnow, `statement_type.py`. What CALL has is not known; SELECT's serves the clients.
SELECT, USE, SHOW, DESCRIBE, TRANSACTION, DDL, MULTIPLE = 4096, 17152, 17408, 17664, 20480, 24576, 40960


@dataclass(frozen=True)
class Column:
    """A column. type: as in a row type, in lower case; scale: decimals of numbers and times."""

    name: str
    type: str = "text"
    nullable: bool = True
    scale: int = 0


@dataclass(frozen=True)
class Result:
    """Rows of Python values: str, int, Decimal, float, bool, date, datetime (aware is LTZ), dict, list, None."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...]
    kind: int = SELECT

    def table(self) -> list[dict[str, object]]:
        """The rows by column name."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row)) for row in self.rows]


def columns(*descriptions: str) -> tuple[Column, ...]:
    """Columns from "name [type] [null]": text that is never null, unless said otherwise."""
    return tuple(_column(*text.split()) for text in descriptions)


def _column(name: str, *rest: str) -> Column:
    words = [word for word in rest if word != "null"]
    kind, _, scale = (words[0] if words else "text").partition(":")
    default = 3 if kind.startswith("timestamp") else 0
    return Column(name, kind, "null" in rest, int(scale) if scale else default)


def listing(columns: tuple[Column, ...], rows: Sequence[Sequence[object]], kind: int = SHOW) -> Result:
    return Result(columns, tuple(tuple(row) for row in rows), kind)


def done(text: str = "Statement executed successfully.", kind: int = DDL) -> Result:
    return listing((Column("status", nullable=False),), [[text]], kind)


def with_rows(result: Result, rows: Sequence[tuple[object, ...]]) -> Result:
    return replace(result, rows=tuple(rows))
