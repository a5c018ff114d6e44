"""Rows that a query works on, and where its names are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandbox.snowflake.sql.errors import compilation
from sandbox.snowflake.sql.expressions import ColumnName, Expression
from sandbox.snowflake.sql.results import Column, Result

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Relation:
    """Rows with named columns, each of a source."""

    sources: tuple[str | None, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def named(self, alias: str | None) -> Relation:
        return self if alias is None else replace(self, sources=(alias,) * len(self.columns))

    def index(self, name: ColumnName) -> int | None:
        found = [
            i
            for i, (source, column) in enumerate(zip(self.sources, self.columns))
            if column.name == name.name and name.source in (None, source)
        ]
        if len(found) > 1:
            raise compilation("000904", "42601", f"ambiguous column name '{name.text}'")
        return found[0] if found else None


@dataclass(frozen=True)
class Scope:
    """Where names are looked up: a row, or the rows of a group, of a relation; then the aliases of the items."""

    relation: Relation
    row: Row
    aliases: Mapping[str, Expression]
    group: tuple[Row, ...] | None = None

    def at(self, row: Row) -> Scope:
        return replace(self, row=row, group=None)


NO_ROW = Scope(Relation((), (), ()), (), {})


def relation_of(result: Result, alias: str | None) -> Relation:
    return Relation((alias,) * len(result.columns), result.columns, result.rows)


def hashable(value: Any) -> Any:
    """A value as a key of groups: JSON by its text."""
    return repr(value) if isinstance(value, (dict, list)) else value


def distinct(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple({tuple(map(hashable, row)): row for row in rows}.values())
