"""The values of expressions: for a row, or for the rows of a group."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from sandbox.snowflake.sql.expressions import Call, Case, Cast, ColumnName, Expression, Literal, Star
from sandbox.snowflake.sql.functions import CONTEXT, LENIENT, STRICT, TIMED, is_in
from sandbox.snowflake.sql.relations import Scope, hashable
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.system import SYSTEM, service_function
from sandbox.snowflake.sql.times import UTC, zone_of


class Values:
    """Works out expressions for one statement."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._zone = zone_of(run)

    def of(self, expression: Expression, scope: Scope) -> Any:
        if isinstance(expression, Literal):
            return expression.value
        if isinstance(expression, ColumnName):
            index = scope.relation.index(expression)
            if index is not None:
                return scope.row[index]
            if expression.source is None and expression.name in scope.aliases:
                inner = {n: e for n, e in scope.aliases.items() if n != expression.name}
                return self.of(scope.aliases[expression.name], replace(scope, aliases=inner))
            raise invalid_identifier(expression.text)
        if isinstance(expression, Cast):
            return self._cast(expression, scope)
        if isinstance(expression, Case):
            return self._case(expression, scope)
        if isinstance(expression, Star):
            raise compilation("001003", "42000", "syntax error: unexpected '*'.")
        return self._call(expression, scope)

    def _cast(self, expression: Cast, scope: Scope) -> Any:
        value = self.of(expression.value, scope)
        try:
            return cast(value, expression.type, expression.scale, self._zone)
        except SqlError:
            if expression.trying:
                return None
            raise

    def _case(self, expression: Case, scope: Scope) -> Any:
        subject = None if expression.subject is None else self.of(expression.subject, scope)
        for condition, value in expression.branches:
            met = self.of(condition, scope)
            if met is True if expression.subject is None else met is not None and met == subject:
                return self.of(value, scope)
        return None if expression.otherwise is None else self.of(expression.otherwise, scope)

    def _call(self, call: Call, scope: Scope) -> Any:
        if call.name in AGGREGATES and scope.group is not None:
            return self._aggregate(call, scope)
        if call.name in ("AND", "OR"):
            return self._logic(call, scope)
        values = [self.of(argument, scope) for argument in call.arguments]
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
        values = [self.of(call.arguments[0], scope.at(row)) for row in rows]
        present = [value for value in values if value is not None]
        if call.distinct:
            present = list({hashable(value): value for value in present}.values())
        return _applied(call.name, AGGREGATES[call.name], [present])

    def _logic(self, call: Call, scope: Scope) -> bool | None:
        deciding = call.name == "OR"
        values: list[object] = []
        for argument in call.arguments:
            values.append(self.of(argument, scope))
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


def is_known(name: str) -> bool:
    """Whether there is a function of that name."""
    tables: tuple[Mapping[str, Any], ...] = (AGGREGATES, LENIENT, STRICT, TIMED, CONTEXT, SYSTEM)
    return name in ("AND", "OR", "IN") or "!" in name or any(name in table for table in tables)


_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (int, "fixed"), (Decimal, "fixed"), (float, "real"), (dt.date, "date"), (dict, "object"),
    (list, "array"), (bytes, "binary"),
)  # fmt: skip


def type_of(value: object, expression: Expression) -> str:
    """The SQL type of a value that an expression gave."""
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
