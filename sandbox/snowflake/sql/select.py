"""SELECT: views, earlier results, table functions and functions of the account, in a plain relational evaluator."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sandbox.snowflake.sql.aggregates import AGGREGATES
from sandbox.snowflake.sql.casts import cast
from sandbox.snowflake.sql.errors import (
    SqlError,
    compilation,
    invalid_identifier,
    unknown_function,
    wrong_arguments,
)
from sandbox.snowflake.sql.expressions import (
    Call,
    Case,
    Cast,
    ColumnName,
    Expression,
    Literal,
    Star,
    read_expression,
)
from sandbox.snowflake.sql.functions import CONTEXT, LENIENT, STRICT, TIMED, is_in
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
from sandbox.snowflake.sql.results import SELECT, Column, Result
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.system import SYSTEM, service_function
from sandbox.snowflake.sql.table_functions import table_function
from sandbox.snowflake.sql.times import UTC, zone_of
from sandbox.snowflake.sql.views import view

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


def select(reader: Reader, run: Run) -> Result:
    reader.go_back(1)
    query = read_query(reader)
    reader.end()
    if query.source is not None or query.common:
        with run.world.lock:
            run.require_warehouse()
    relation = Evaluator(run).query(query, {})
    return Result(relation.columns, relation.rows, SELECT)


def call_function(reader: Reader, run: Run) -> object:
    """The value of a function that CALL names."""
    expression = read_expression(reader)
    reader.end()
    if not isinstance(expression, Call):
        reader.fail()
    return Evaluator(run).value(expression, Scope(Relation((), (), ()), (), {}))


@dataclass(frozen=True)
class Scope:
    """Where names are looked up: a row, or the rows of a group, of a relation; then the aliases of the items."""

    relation: Relation
    row: Row
    aliases: Mapping[str, Expression]
    group: tuple[Row, ...] | None = None

    def at(self, row: Row) -> Scope:
        return replace(self, row=row, group=None)


class Evaluator:
    """Runs queries for one statement."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._zone = zone_of(run)

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
            found, scopes = replace(found, rows=rows if everything else _distinct(rows)), None
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
            rows = tuple(row for row in rows if self.value(query.where, plain.at(row)) is True)
        scopes = self._groups(query, items, plain, rows)
        if query.having is not None:
            scopes = [scope for scope in scopes if self.value(query.having, scope) is True]
        made = [tuple(self.value(item.expression, scope) for item in items) for scope in scopes]
        columns = tuple(self._column(item, source, [row[i] for row in made]) for i, item in enumerate(items))
        relation = Relation((None,) * len(columns), columns, tuple(made))
        if query.distinct:
            return replace(relation, rows=_distinct(relation.rows)), None
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
            key = tuple(_hashable(self.value(expression, plain.at(row))) for expression in keys)
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
            return self.value(expression, own)
        return self.value(expression, own if scopes is None else scopes[i])

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
            for part in _parts(expression):
                if isinstance(part, ColumnName) and source.index(part) is None and part.name not in aliases:
                    raise invalid_identifier(part.text)
                if isinstance(part, Call) and not _known(part.name):
                    raise unknown_function(part.name)

    def _column(self, item: Item, source: Relation, values: list[Any]) -> Column:
        if isinstance(item.expression, ColumnName):
            index = source.index(item.expression)
            if index is not None:
                return replace(source.columns[index], name=item.name)
        present = next((value for value in values if value is not None), None)
        scale = max((-v.as_tuple().exponent for v in values if isinstance(v, Decimal)), default=0)  # type: ignore[operator]
        kind = _type_of(present, item.expression)
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
            return _relation(self._run.piped[source.back - 1], source.alias)
        if isinstance(source, TableFunction):
            named = {n: self.value(e, Scope(Relation((), (), ()), (), {})) for n, e in source.call.named}
            plain = [self.value(e, Scope(Relation((), (), ()), (), {})) for e in source.call.arguments]
            with self._run.world.lock:
                return _relation(table_function(self._run, source.call.name, plain, named), source.alias)
        if len(source.parts) == 1 and source.parts[0] in known:
            return known[source.parts[0]].named(source.alias or source.parts[0])
        with self._run.world.lock:
            return _relation(view(self._run, source.parts), source.alias or source.parts[-1])

    def _join(self, join: Join, known: Mapping[str, Relation]) -> Relation:
        left, right = self._source(join.left, known), self._source(join.right, known)
        both = Relation(left.sources + right.sources, left.columns + right.columns, ())
        rows: list[Row] = []
        for one in left.rows:
            met = [
                one + other
                for other in right.rows
                if join.on is None or self.value(join.on, Scope(both, one + other, {})) is True
            ]
            rows += met or ([one + (None,) * len(right.columns)] if join.kind == "LEFT" else [])
        return replace(both, rows=tuple(rows))

    # -- values ----------------------------------------------------------------------------------------

    def value(self, expression: Expression, scope: Scope) -> Any:
        if isinstance(expression, Literal):
            return expression.value
        if isinstance(expression, ColumnName):
            index = scope.relation.index(expression)
            if index is not None:
                return scope.row[index]
            if expression.source is None and expression.name in scope.aliases:
                inner = {n: e for n, e in scope.aliases.items() if n != expression.name}
                return self.value(scope.aliases[expression.name], replace(scope, aliases=inner))
            raise invalid_identifier(expression.text)
        if isinstance(expression, Cast):
            return self._cast(expression, scope)
        if isinstance(expression, Case):
            return self._case(expression, scope)
        if isinstance(expression, Star):
            raise compilation("001003", "42000", "syntax error: unexpected '*'.")
        return self._call(expression, scope)

    def _cast(self, expression: Cast, scope: Scope) -> Any:
        value = self.value(expression.value, scope)
        try:
            return cast(value, expression.type, expression.scale, self._zone)
        except SqlError:
            if expression.trying:
                return None
            raise

    def _case(self, expression: Case, scope: Scope) -> Any:
        subject = None if expression.subject is None else self.value(expression.subject, scope)
        for condition, value in expression.branches:
            met = self.value(condition, scope)
            if met is True if expression.subject is None else met is not None and met == subject:
                return self.value(value, scope)
        return None if expression.otherwise is None else self.value(expression.otherwise, scope)

    def _call(self, call: Call, scope: Scope) -> Any:
        if call.name in AGGREGATES and scope.group is not None:
            return self._aggregate(call, scope)
        if call.name in ("AND", "OR"):
            return self._logic(call, scope)
        values = [self.value(argument, scope) for argument in call.arguments]
        if call.name == "IN":
            return is_in(values[0], values[1:])
        if call.name in LENIENT:
            return _applied(call.name, LENIENT[call.name], values)
        if call.name in CONTEXT or call.name in SYSTEM:
            function = CONTEXT.get(call.name) or SYSTEM[call.name]
            return _applied(call.name, function, [self._run, *values])
        if "!" in call.name:
            return service_function(self._run, call.name, values)
        if call.name in STRICT:
            return None if None in values else _applied(call.name, STRICT[call.name], values)
        if call.name in TIMED:
            return None if None in values else _applied(call.name, TIMED[call.name], [self._run, *values])
        raise unknown_function(call.name)

    def _aggregate(self, call: Call, scope: Scope) -> Any:
        rows = scope.group or ()
        if len(call.arguments) != 1:
            raise wrong_arguments(call.name)
        if call.arguments and isinstance(call.arguments[0], Star):
            return len(rows)
        values = [self.value(call.arguments[0], scope.at(row)) for row in rows]
        present = [value for value in values if value is not None]
        if call.distinct:
            present = list({_hashable(value): value for value in present}.values())
        return _applied(call.name, AGGREGATES[call.name], [present])

    def _logic(self, call: Call, scope: Scope) -> bool | None:
        deciding = call.name == "OR"
        values: list[object] = []
        for argument in call.arguments:
            values.append(self.value(argument, scope))
            if values[-1] is deciding:
                return deciding
        return None if None in values else not deciding


def _applied(name: str, function: Callable[..., Any], values: list[Any]) -> Any:
    try:
        return function(*values)
    except SqlError:
        raise
    except (TypeError, ValueError, AttributeError, IndexError, LookupError, ArithmeticError) as error:
        raise wrong_arguments(name) from error


def _relation(result: Result, alias: str | None) -> Relation:
    return Relation((alias,) * len(result.columns), result.columns, result.rows)


def _known(name: str) -> bool:
    tables: tuple[Mapping[str, Any], ...] = (AGGREGATES, LENIENT, STRICT, TIMED, CONTEXT, SYSTEM)
    return name in ("AND", "OR", "IN") or "!" in name or any(name in table for table in tables)


def _parts(expression: Expression | None) -> Iterable[Expression]:
    if expression is None:
        return
    yield expression
    inner: list[Expression | None] = []
    if isinstance(expression, Call):
        inner = [*expression.arguments, *(value for _, value in expression.named)]
    elif isinstance(expression, Cast):
        inner = [expression.value]
    elif isinstance(expression, Case):
        inner = [
            expression.subject,
            expression.otherwise,
            *(part for pair in expression.branches for part in pair),
        ]
    for part in inner:
        yield from _parts(part)


def _aggregates(expression: Expression) -> bool:
    return any(isinstance(part, Call) and part.name in AGGREGATES for part in _parts(expression))


def _ordinal(key: Expression, items: list[Item]) -> bool:
    return isinstance(key, Literal) and isinstance(key.value, int) and 1 <= key.value <= len(items)


def _hashable(value: Any) -> Any:
    return repr(value) if isinstance(value, (dict, list)) else value


def _distinct(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple({tuple(map(_hashable, row)): row for row in rows}.values())


_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (int, "fixed"), (Decimal, "fixed"), (float, "real"), (dt.date, "date"), (dict, "object"),
    (list, "array"), (bytes, "binary"),
)  # fmt: skip


def _type_of(value: object, expression: Expression) -> str:
    if isinstance(value, dt.datetime):
        return (
            "timestamp_ntz"
            if value.tzinfo is None
            else "timestamp_ltz"
            if value.tzinfo is UTC
            else "timestamp_tz"
        )
    if isinstance(expression, Call) and expression.name in ("GET", "PARSE_JSON"):
        return "variant"
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "text")
