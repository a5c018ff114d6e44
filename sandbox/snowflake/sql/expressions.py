"""Expressions of a SELECT: read into a tree, then made into functions of a row.

As much of them as the statements of a control plane need: columns, literals, comparison, arithmetic, AND, OR, NOT, IN,
LIKE, BETWEEN, IS NULL, CASE, casts, paths into JSON, functions and aggregates. NULL follows SQL's three-valued logic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Union

from sandbox.snowflake.sql.reader import Reader


@dataclass(frozen=True)
class Literal:
    value: object


@dataclass(frozen=True)
class ColumnName:
    """A column, maybe of a named source. path: into the JSON that it holds; text: as it was written."""

    name: str
    source: str | None = None
    path: tuple[object, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Star:
    source: str | None = None


@dataclass(frozen=True)
class Call:
    """A function; operators are functions with their symbol as name. named: arguments given with =>."""

    name: str
    arguments: tuple[Expression, ...]
    named: tuple[tuple[str, Expression], ...] = ()
    distinct: bool = False


@dataclass(frozen=True)
class Case:
    subject: Expression | None
    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression | None


@dataclass(frozen=True)
class Cast:
    value: Expression
    type: str
    scale: int = 0
    trying: bool = False


Expression = Union[Literal, ColumnName, Star, Call, Case, Cast]

# Words that end an expression, so they are not an alias without AS.
ENDS = frozenset(
    {
        "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "ON", "JOIN", "LEFT", "RIGHT", "INNER", "FULL",
        "CROSS", "QUALIFY", "AS", "AND", "OR", "THEN", "ELSE", "END", "WHEN", "ASC", "DESC", "NULLS", "OFFSET", "FETCH",
    }
)  # fmt: skip
WITHOUT_PARENTHESES = frozenset({"CURRENT_DATE", "CURRENT_TIMESTAMP", "CURRENT_TIME", "CURRENT_USER"})


def read_expression(reader: Reader) -> Expression:
    left = _conjunction(reader)
    while reader.take("OR"):
        left = Call("OR", (left, _conjunction(reader)))
    return left


def _conjunction(reader: Reader) -> Expression:
    left = _negation(reader)
    while reader.take("AND"):
        left = Call("AND", (left, _negation(reader)))
    return left


def _negation(reader: Reader) -> Expression:
    if reader.take("NOT"):
        return Call("NOT", (_negation(reader),))
    return _comparison(reader)


def _comparison(reader: Reader) -> Expression:
    left = _sum(reader)
    while True:
        symbol = next((s for s in ("<=", ">=", "<>", "!=", "=", "<", ">") if reader.take(s)), None)
        if symbol is not None:
            left = Call("<>" if symbol == "!=" else symbol, (left, _sum(reader)))
        elif reader.take("IS"):
            negated = reader.take("NOT")
            reader.expect("NULL")
            left = _maybe_not(Call("IS NULL", (left,)), negated)
        elif reader.sees("NOT") or any(
            reader.sees(word) for word in ("IN", "LIKE", "ILIKE", "BETWEEN", "RLIKE")
        ):
            negated = reader.take("NOT")
            left = _maybe_not(_predicate(reader, left), negated)
        else:
            return left


def _maybe_not(expression: Expression, negated: bool) -> Expression:
    return Call("NOT", (expression,)) if negated else expression


def _predicate(reader: Reader, left: Expression) -> Expression:
    if reader.take("BETWEEN"):
        low = _sum(reader)
        reader.expect("AND")
        return Call("AND", (Call(">=", (left, low)), Call("<=", (left, _sum(reader)))))
    word = reader.one_of("LIKE", "ILIKE", "RLIKE", "IN")
    if word == "IN":
        return Call("IN", (left, *_parenthesised(reader)))
    arguments = [left, _sum(reader)]
    if reader.take("ESCAPE"):
        arguments.append(_sum(reader))
    return Call(word, tuple(arguments))


def _sum(reader: Reader) -> Expression:
    left = _product(reader)
    while True:
        symbol = next((s for s in ("+", "-", "||") if reader.take(s)), None)
        if symbol is None:
            return left
        left = Call(symbol, (left, _product(reader)))


def _product(reader: Reader) -> Expression:
    left = _sign(reader)
    while True:
        symbol = next((s for s in ("*", "/", "%") if reader.take(s)), None)
        if symbol is None:
            return left
        left = Call(symbol, (left, _sign(reader)))


def _sign(reader: Reader) -> Expression:
    if reader.take("-"):
        return Call("-", (Literal(0), _sign(reader)))
    reader.take("+")
    return _suffixed(reader)


def _suffixed(reader: Reader) -> Expression:
    found = _primary(reader)
    while True:
        if reader.take("::"):
            kind, scale = _type(reader)
            found = Cast(found, kind, scale)
        elif reader.take(":"):
            found = _at(found, reader.advance().text.strip('"'))
        elif reader.sees("[") and not isinstance(found, Literal):
            reader.expect("[")
            found = _at(found, reader.literal())
            reader.expect("]")
        elif reader.sees(".") and (_is_path(found)):
            reader.expect(".")
            found = _at(found, reader.advance().text.strip('"'))
        else:
            return found


def _is_path(found: Expression) -> bool:
    return isinstance(found, Call) and found.name == "GET"


def _at(value: Expression, key: object) -> Expression:
    return Call("GET", (value, Literal(key)))


def _type(reader: Reader) -> tuple[str, int]:
    kind, scale = reader.identifier(), 0
    if kind == "DOUBLE":
        reader.take("PRECISION")
    if reader.take("("):
        reader.integer()
        if reader.take(","):
            scale = reader.integer()
        reader.expect(")")
    return kind, scale


def _primary(reader: Reader) -> Expression:
    token = reader.next
    if token.kind == "number":
        text = reader.advance().value
        return Literal(int(text) if text.isdigit() else Decimal(text))
    if token.kind == "string":
        return Literal(reader.advance().value)
    if reader.take("?"):
        return Literal(reader.bound())
    if reader.take("*"):
        return Star()
    if reader.take("("):
        inner = read_expression(reader)
        reader.expect(")")
        return inner
    for word, value in (("NULL", None), ("TRUE", True), ("FALSE", False)):
        if reader.take(word):
            return Literal(value)
    if reader.take("CASE"):
        return _case(reader)
    if reader.sees("CAST", "(") or reader.sees("TRY_CAST", "("):
        return _cast(reader)
    if reader.sees("INTERVAL") and reader.peek(1).kind == "string":
        reader.advance()
        return Call("INTERVAL", (Literal(reader.string()),))
    return _name(reader)


def _case(reader: Reader) -> Expression:
    subject = None if reader.sees("WHEN") else read_expression(reader)
    branches = []
    while reader.take("WHEN"):
        condition = read_expression(reader)
        reader.expect("THEN")
        branches.append((condition, read_expression(reader)))
    otherwise = read_expression(reader) if reader.take("ELSE") else None
    reader.expect("END")
    return Case(subject, tuple(branches), otherwise)


def _cast(reader: Reader) -> Expression:
    trying = reader.advance().value == "TRY_CAST"
    reader.expect("(")
    value = read_expression(reader)
    reader.expect("AS")
    kind, scale = _type(reader)
    reader.expect(")")
    return Cast(value, kind, scale, trying)


def _name(reader: Reader) -> Expression:
    if reader.next.kind == "word" and reader.next.value in ENDS:
        reader.fail()
    parts, written = [reader.identifier()], [reader.peek(-1).text]
    while reader.sees(".") and len(parts) < 4:
        reader.expect(".")
        if reader.take("*"):
            return Star(".".join(parts))
        parts.append(reader.identifier())
        written.append(reader.peek(-1).text)
    if reader.sees("!") and reader.peek(1).kind in ("word", "quoted"):
        reader.expect("!")
        parts[-1] += "!" + reader.identifier()
    if reader.sees("("):
        arguments, named, distinct = _arguments(reader)
        return Call(".".join(parts), arguments, named, distinct)
    if len(parts) == 1 and parts[0] in WITHOUT_PARENTHESES:
        return Call(parts[0], ())
    return ColumnName(parts[-1], parts[-2] if len(parts) > 1 else None, text=".".join(written))


def _arguments(
    reader: Reader,
) -> tuple[tuple[Expression, ...], tuple[tuple[str, Expression], ...], bool]:
    reader.expect("(")
    distinct = reader.take("DISTINCT")
    plain: list[Expression] = []
    named: list[tuple[str, Expression]] = []
    while not reader.take(")"):
        if plain or named:
            reader.expect(",")
        if reader.peek(1).text == "=>":
            name = reader.identifier()
            reader.expect("=>")
            named.append((name, read_expression(reader)))
        elif _is_date_part(reader):
            plain.append(Literal(reader.identifier()))
        else:
            plain.append(read_expression(reader))
    return tuple(plain), tuple(named), distinct


def _is_date_part(reader: Reader) -> bool:
    """DATEADD(DAY, ...): a bare word that is not a column."""
    parts = {"YEAR", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "QUARTER"}
    before = reader.peek(-2).value in (
        "DATEADD",
        "DATEDIFF",
        "DATE_TRUNC",
        "TIMESTAMPADD",
        "TIMESTAMPDIFF",
        "DATE_PART",
    )
    return before and reader.next.kind == "word" and reader.next.value.removesuffix("S") in parts


def _parenthesised(reader: Reader) -> tuple[Expression, ...]:
    arguments, _, _ = _arguments(reader)
    return arguments


def parts_of(expression: Expression | None) -> Iterable[Expression]:
    """An expression and everything in it."""
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
        yield from parts_of(part)
