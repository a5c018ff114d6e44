"""SELECT: views, earlier results, table functions and functions of the account, in a plain relational evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sandbox.snowflake.sql.aggregates import AGGREGATES
from sandbox.snowflake.sql.errors import compilation, invalid_identifier, unknown_function, wrong_arguments
from sandbox.snowflake.sql.expressions import (
    Call,
    ColumnName,
    Expression,
    Literal,
    Star,
    parts_of,
    read_expression,
)  # fmt: skip
from sandbox.snowflake.sql.queries import (
    Derived,
    Item,
    Join,
    Piped,
    Query,
    Source,
    TableFunction,
    read_query,
)
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.relations import NO_ROW, Relation, Row, Scope, distinct, hashable, relation_of
from sandbox.snowflake.sql.results import SELECT, Column, Result
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.table_functions import table_function
from sandbox.snowflake.sql.values import Values, is_known, type_of
from sandbox.snowflake.sql.views import view


def select(reader: Reader, run: Run) -> Result:
    reader.go_back(1)
    query = read_query(reader)
    reader.end()
    if query.source is not None or query.common:
        with run.world.lock:
            run.require_warehouse()
    relation = Queries(run).query(query, {})
    return Result(relation.columns, relation.rows, SELECT)


def call_function(reader: Reader, run: Run) -> object:
    """The value of a function that CALL names."""
    expression = read_expression(reader)
    reader.end()
    if not isinstance(expression, Call):
        reader.fail()
    return Values(run).of(expression, NO_ROW)


class Queries:
    """Runs queries for one statement."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._values = Values(run)

    # -- queries ---------------------------------------------------------------------------------------

    def query(self, query: Query, known: Mapping[str, Relation]) -> Relation:
        for name, inner in query.common:
            known = {**known, name: self.query(inner, known)}
        source = self._source(query.source, known) if query.source else Relation((), (), ((),))
        found, scopes = self._core(query, source)
        for other, everything in query.unions:
            more, _ = self._core(
                other, self._source(other.source, known) if other.source else Relation((), (), ((),))
            )
            if len(more.columns) != len(found.columns):
                raise compilation(
                    "001789", "42601", "invalid number of result columns for set operator input branches"
                )
            rows = found.rows + more.rows
            found, scopes = replace(found, rows=rows if everything else distinct(rows)), None
        if query.order_by:
            found = self._ordered(query, found, scopes)
        end = None if query.limit is None else query.offset + query.limit
        return replace(found, rows=found.rows[query.offset : end])

    def _core(self, query: Query, source: Relation) -> tuple[Relation, list[Scope] | None]:
        items = list(self._expanded(query.items, source))
        aliases = {item.name: item.expression for item in items if item.aliased}
        plain = Scope(source, (), aliases)
        self._check(source, aliases, query)
        rows = source.rows
        if query.where is not None:
            rows = tuple(row for row in rows if self._values.of(query.where, plain.at(row)) is True)
        scopes = self._groups(query, items, plain, rows)
        if query.having is not None:
            scopes = [scope for scope in scopes if self._values.of(query.having, scope) is True]
        made = [tuple(self._values.of(item.expression, scope) for item in items) for scope in scopes]
        columns = tuple(self._column(item, source, [row[i] for row in made]) for i, item in enumerate(items))
        relation = Relation((None,) * len(columns), columns, tuple(made))
        if query.distinct:
            return replace(relation, rows=distinct(relation.rows)), None
        return relation, scopes

    def _groups(self, query: Query, items: list[Item], plain: Scope, rows: tuple[Row, ...]) -> list[Scope]:
        grouped = query.group_by is not None
        if not grouped and not any(_aggregates(item.expression) for item in items):
            return [plain.at(row) for row in rows]
        keys = list(query.group_by or ())
        if grouped and not keys:
            keys = [item.expression for item in items if not _aggregates(item.expression)]
        keys = [items[key.value - 1].expression if _ordinal(key, items) else key for key in keys]  # type: ignore[union-attr, operator]
        groups: dict[Row, list[Row]] = {} if keys else {(): []}
        for row in rows:
            key = tuple(hashable(self._values.of(expression, plain.at(row))) for expression in keys)
            groups.setdefault(key, []).append(row)
        empty = (None,) * len(plain.relation.columns)
        return [
            replace(plain, row=found[0] if found else empty, group=tuple(found)) for found in groups.values()
        ]

    def _ordered(self, query: Query, found: Relation, scopes: list[Scope] | None) -> Relation:
        order = list(range(len(found.rows)))
        for wanted in reversed(query.order_by):
            expression = wanted.expression
            values = {i: self._order_value(expression, found, i, scopes) for i in order}
            nulls = [i for i in order if values[i] is None]
            present = [i for i in order if values[i] is not None]
            try:
                present.sort(key=values.__getitem__, reverse=wanted.descending)
            except TypeError as error:
                raise wrong_arguments("ORDER BY") from error
            order = nulls + present if wanted.nulls_first else present + nulls
        return replace(found, rows=tuple(found.rows[i] for i in order))

    def _order_value(
        self, expression: Expression, found: Relation, i: int, scopes: list[Scope] | None
    ) -> Any:
        if isinstance(expression, Literal) and isinstance(expression.value, int):
            if not 1 <= expression.value <= len(found.columns):
                text = f"ORDER BY position {expression.value} is not in the select list."
                raise compilation("000979", "42601", text)
            return found.rows[i][expression.value - 1]
        own = Scope(found, found.rows[i], {})
        if isinstance(expression, ColumnName) and found.index(expression) is not None:
            return self._values.of(expression, own)
        return self._values.of(expression, own if scopes is None else scopes[i])

    def _expanded(self, items: tuple[Item, ...], source: Relation) -> Iterable[Item]:
        for item in items:
            if not isinstance(item.expression, Star):
                yield item
                continue
            for of, column in zip(source.sources, source.columns):
                if item.expression.source in (None, of):
                    yield Item(ColumnName(column.name, of, text=column.name), column.name, False)

    def _check(self, source: Relation, aliases: Mapping[str, Expression], query: Query) -> None:
        """Refuse unknown columns and functions even where there is no row to meet them."""
        for expression in [
            *(i.expression for i in query.items),
            query.where,
            *(query.group_by or ()),
            query.having,
        ]:
            for part in parts_of(expression):
                if isinstance(part, ColumnName) and source.index(part) is None and part.name not in aliases:
                    raise invalid_identifier(part.text)
                if isinstance(part, Call) and not is_known(part.name):
                    raise unknown_function(part.name)

    def _column(self, item: Item, source: Relation, values: list[Any]) -> Column:
        if isinstance(item.expression, ColumnName):
            index = source.index(item.expression)
            if index is not None:
                return replace(source.columns[index], name=item.name)
        present = next((value for value in values if value is not None), None)
        scale = max((-v.as_tuple().exponent for v in values if isinstance(v, Decimal)), default=0)  # type: ignore[operator]
        kind = type_of(present, item.expression)
        return Column(item.name, kind, True, 9 if kind.startswith("timestamp") else max(0, scale))

    # -- sources ---------------------------------------------------------------------------------------

    def _source(self, source: Source, known: Mapping[str, Relation]) -> Relation:
        if isinstance(source, Join):
            return self._join(source, known)
        if isinstance(source, Derived):
            return self.query(source.query, known).named(source.alias)
        if isinstance(source, Piped):
            if not 1 <= source.back <= len(self._run.piped):
                raise compilation(
                    "002003", "42S02", f"Object '${source.back}' does not exist or not authorized."
                )
            return relation_of(self._run.piped[source.back - 1], source.alias)
        if isinstance(source, TableFunction):
            named = {n: self._values.of(e, NO_ROW) for n, e in source.call.named}
            plain = [self._values.of(e, NO_ROW) for e in source.call.arguments]
            with self._run.world.lock:
                return relation_of(table_function(self._run, source.call.name, plain, named), source.alias)
        if len(source.parts) == 1 and source.parts[0] in known:
            return known[source.parts[0]].named(source.alias or source.parts[0])
        with self._run.world.lock:
            return relation_of(view(self._run, source.parts), source.alias or source.parts[-1])

    def _join(self, join: Join, known: Mapping[str, Relation]) -> Relation:
        left, right = self._source(join.left, known), self._source(join.right, known)
        both = Relation(left.sources + right.sources, left.columns + right.columns, ())
        rows: list[Row] = []
        for one in left.rows:
            met = [
                one + other
                for other in right.rows
                if join.on is None or self._values.of(join.on, Scope(both, one + other, {})) is True
            ]
            rows += met or ([one + (None,) * len(right.columns)] if join.kind == "LEFT" else [])
        return replace(both, rows=tuple(rows))


def _aggregates(expression: Expression) -> bool:
    return any(isinstance(part, Call) and part.name in AGGREGATES for part in parts_of(expression))


def _ordinal(key: Expression, items: list[Item]) -> bool:
    return isinstance(key, Literal) and isinstance(key.value, int) and 1 <= key.value <= len(items)
