"""SELECT statements as trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from sandbox.snowflake.sql.expressions import ENDS, Call, Expression, read_expression
from sandbox.snowflake.sql.reader import Reader


@dataclass(frozen=True)
class Table:
    """A view, a table, or a query of WITH, by its name."""

    parts: tuple[str, ...]
    alias: str | None = None


@dataclass(frozen=True)
class Piped:
    """$1: the result of the statement before in a chain of ->>."""

    back: int
    alias: str | None = None


@dataclass(frozen=True)
class TableFunction:
    call: Call
    alias: str | None = None


@dataclass(frozen=True)
class Derived:
    query: Query
    alias: str | None = None


@dataclass(frozen=True)
class Join:
    """kind: INNER, LEFT or CROSS."""

    left: Source
    right: Source
    kind: str
    on: Expression | None


Source = Union[Table, Piped, TableFunction, Derived, Join]


@dataclass(frozen=True)
class Item:
    """What is selected. name: the alias, or the text of the expression."""

    expression: Expression
    name: str
    aliased: bool


@dataclass(frozen=True)
class Order:
    expression: Expression
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class Query:
    """A SELECT with what is joined to it by UNION. group_by: None without one, () for ALL."""

    items: tuple[Item, ...]
    source: Source | None = None
    where: Expression | None = None
    group_by: tuple[Expression, ...] | None = None
    having: Expression | None = None
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    distinct: bool = False
    common: tuple[tuple[str, Query], ...] = ()
    unions: tuple[tuple[Query, bool], ...] = ()


def read_query(reader: Reader) -> Query:
    """A query from SELECT or WITH on."""
    common: list[tuple[str, Query]] = []
    if reader.take("WITH"):
        while True:
            name = reader.identifier()
            reader.expect("AS", "(")
            common.append((name, read_query(reader)))
            reader.expect(")")
            if not reader.take(","):
                break
    first = _core(reader)
    unions = []
    while reader.take("UNION"):
        everything = reader.take("ALL")
        unions.append((_core(reader), everything))
    order_by = _order(reader) if reader.take("ORDER", "BY") else ()
    limit = reader.integer() if reader.take("LIMIT") else None
    offset = reader.integer() if reader.take("OFFSET") else 0
    return Query(
        first.items, first.source, first.where, first.group_by, first.having, order_by, limit, offset, first.distinct,
        tuple(common), tuple(unions),
    )  # fmt: skip


def _core(reader: Reader) -> Query:
    if reader.take("("):
        inner = read_query(reader)
        reader.expect(")")
        return inner
    reader.expect("SELECT")
    distinct = reader.take("DISTINCT")
    items = [_item(reader)]
    while reader.take(","):
        items.append(_item(reader))
    source = _source(reader) if reader.take("FROM") else None
    where = read_expression(reader) if reader.take("WHERE") else None
    group_by = _group(reader) if reader.take("GROUP", "BY") else None
    having = read_expression(reader) if reader.take("HAVING") else None
    return Query(tuple(items), source, where, group_by, having, distinct=distinct)


def _item(reader: Reader) -> Item:
    start = reader.position
    expression = read_expression(reader)
    text = reader.text_since(start)
    alias = _alias(reader)
    return Item(expression, alias or text, alias is not None)


def _alias(reader: Reader) -> str | None:
    if reader.take("AS"):
        return reader.identifier()
    token = reader.next
    if token.kind == "quoted" or (token.kind == "word" and token.value not in ENDS):
        return reader.identifier()
    return None


def _group(reader: Reader) -> tuple[Expression, ...]:
    if reader.take("ALL"):
        return ()
    found = [read_expression(reader)]
    while reader.take(","):
        found.append(read_expression(reader))
    return tuple(found)


def _order(reader: Reader) -> tuple[Order, ...]:
    found = []
    while True:
        expression = read_expression(reader)
        descending = reader.take("DESC")
        if not descending:
            reader.take("ASC")
        nulls_first = descending
        if reader.take("NULLS"):
            nulls_first = reader.one_of("FIRST", "LAST") == "FIRST"
        found.append(Order(expression, descending, nulls_first))
        if not reader.take(","):
            return tuple(found)


def _source(reader: Reader) -> Source:
    left = _one_source(reader)
    while True:
        if reader.take(",") or reader.take("CROSS", "JOIN"):
            left = Join(left, _one_source(reader), "CROSS", None)
            continue
        kind = None
        if reader.take("JOIN") or reader.take("INNER", "JOIN"):
            kind = "INNER"
        elif reader.take("LEFT", "JOIN") or reader.take("LEFT", "OUTER", "JOIN"):
            kind = "LEFT"
        if kind is None:
            return left
        right = _one_source(reader)
        reader.expect("ON")
        left = Join(left, right, kind, read_expression(reader))


def _one_source(reader: Reader) -> Source:
    if reader.next.kind == "position":
        back = int(reader.advance().value[1:])
        return Piped(back, _alias(reader))
    if reader.take("("):
        query = read_query(reader)
        reader.expect(")")
        return Derived(query, _alias(reader))
    if reader.take("TABLE", "("):
        call = read_expression(reader)
        if not isinstance(call, Call):
            reader.fail()
        reader.expect(")")
        return TableFunction(call, _alias(reader))
    return Table(reader.qualified(), _alias(reader))
