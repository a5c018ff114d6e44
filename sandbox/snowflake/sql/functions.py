"""Functions of a row, by name. Any other is unknown: 002140."""

from __future__ import annotations

import datetime as dt
import json
import operator
import re
import zoneinfo
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from sandbox.snowflake.sql.casts import cast
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.filters import like_pattern
from sandbox.snowflake.sql.run import Run, instant
from sandbox.snowflake.sql.sessions import usable_roles
from sandbox.snowflake.sql.times import UTC, added, difference, interval, part_of, truncated, zone_of

Function = Callable[..., Any]


# -- of the session --------------------------------------------------------------------------------


def _available_roles(run: Run) -> str:
    return json.dumps(sorted(usable_roles(run, run.world.users[run.session.user].roles)))


def _last_query_id(run: Run, back: int = -1) -> str | None:
    ids = run.session.query_ids
    return ids[back] if -len(ids) <= back < 0 else None


CONTEXT: dict[str, Callable[..., Any]] = {
    "CURRENT_ROLE": lambda run: run.session.role,
    "CURRENT_USER": lambda run: run.session.user,
    "CURRENT_WAREHOUSE": lambda run: run.session.warehouse,
    "CURRENT_DATABASE": lambda run: run.session.database,
    "CURRENT_SCHEMA": lambda run: run.session.schema,
    "CURRENT_ACCOUNT": lambda run: run.catalog.identity.locator,
    "CURRENT_ACCOUNT_NAME": lambda run: run.catalog.identity.account,
    "CURRENT_ORGANIZATION_NAME": lambda run: run.catalog.identity.organization,
    "CURRENT_REGION": lambda run: run.catalog.identity.region,
    "CURRENT_VERSION": lambda run: run.catalog.identity.version,
    "CURRENT_SESSION": lambda run: str(run.session.id),
    "CURRENT_AVAILABLE_ROLES": _available_roles,
    "CURRENT_SECONDARY_ROLES": lambda run: '{"roles":"","value":""}',
    "CURRENT_TIMESTAMP": lambda run: instant(run.now),
    "SYSDATE": lambda run: dt.datetime.fromtimestamp(run.now, dt.timezone.utc).replace(tzinfo=None),
    "CURRENT_DATE": lambda run: dt.datetime.fromtimestamp(run.now, zone_of(run)).date(),
    "LAST_QUERY_ID": _last_query_id,
    "IS_ROLE_IN_SESSION": lambda run, role: role in run.may.roles,
}


# -- of dates --------------------------------------------------------------------------------------


def _moment(run: Run, value: object) -> dt.date:
    if isinstance(value, dt.date):
        return value
    found = cast(value, "TIMESTAMP_NTZ", 0, zone_of(run))
    assert isinstance(found, dt.datetime)
    return found


def _dateadd(run: Run, part: object, count: object, value: object) -> object:
    return added(part_of(part), int(str(count)), _moment(run, value))


def _datediff(run: Run, part: object, start: object, end: object) -> object:
    return difference(part_of(part), _moment(run, start), _moment(run, end), zone_of(run))


def _date_trunc(run: Run, part: object, value: object) -> object:
    found = truncated(part_of(part), _moment(run, value), zone_of(run))
    return found.astimezone(UTC) if isinstance(found, dt.datetime) and found.tzinfo else found


def _to_char(run: Run, value: object, form: str | None = None) -> object:
    if form is None or not isinstance(value, dt.date):
        return cast(value, "VARCHAR", 0, zone_of(run))
    local = value.astimezone(zone_of(run)) if isinstance(value, dt.datetime) and value.tzinfo else value
    for sql, python in (
        ("YYYY", "%Y"), ("MM", "%m"), ("DD", "%d"), ("HH24", "%H"), ("MI", "%M"), ("SS", "%S"), ("TZHTZM", "%z"),
    ):  # fmt: skip
        form = form.replace(sql, python)
    return local.strftime(form.replace('"', ""))


def _convert_timezone(run: Run, *arguments: Any) -> object:
    """With two arguments a time with its zone; with three, from one zone to another, a time without."""
    *source, target, value = arguments
    moment = _moment(run, value)
    assert isinstance(moment, dt.datetime)
    if source:
        there = moment.replace(tzinfo=zoneinfo.ZoneInfo(source[0]))
        return there.astimezone(zoneinfo.ZoneInfo(target)).replace(tzinfo=None)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone_of(run))).astimezone(
        zoneinfo.ZoneInfo(target)
    )


def _to(kind: str) -> Function:
    def convert(run: Run, value: object, *rest: object) -> object:
        return cast(value, kind, int(str(rest[-1])) if rest and kind == "NUMBER" else 0, zone_of(run))

    return convert


TIMED: dict[str, Function] = {
    "DATEADD": _dateadd,
    "TIMESTAMPADD": _dateadd,
    "DATEDIFF": _datediff,
    "TIMESTAMPDIFF": _datediff,
    "DATE_TRUNC": _date_trunc,
    "TO_CHAR": _to_char,
    "TO_VARCHAR": _to_char,
    "CONVERT_TIMEZONE": _convert_timezone,
    "TO_DATE": _to("DATE"),
    "DATE": _to("DATE"),
    "TO_NUMBER": _to("NUMBER"),
    "TO_DOUBLE": _to("DOUBLE"),
    "TO_BOOLEAN": _to("BOOLEAN"),
    "TO_TIMESTAMP": _to("TIMESTAMP_NTZ"),
    "TO_TIMESTAMP_NTZ": _to("TIMESTAMP_NTZ"),
    "TO_TIMESTAMP_LTZ": _to("TIMESTAMP_LTZ"),
}


# -- of values -------------------------------------------------------------------------------------


def _get(value: Any, key: object) -> object:
    if isinstance(value, str):
        value = parse_json(value)
    if isinstance(value, list) and isinstance(key, int):
        return value[key] if 0 <= key < len(value) else None
    return value.get(str(key)) if isinstance(value, dict) else None


def parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SqlError("100069", "22P02", f"Error parsing JSON: {text[:80]}") from error


def _round(value: Any, scale: object = 0) -> object:
    digits = int(str(scale))
    if isinstance(value, float):
        return round(value, digits)
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), "ROUND_HALF_UP")
    return rounded if digits > 0 else int(rounded)


def _divided(left: Any, right: Any) -> object:
    if right == 0:
        raise SqlError("100051", "22012", "Division by zero")
    if isinstance(left, float) or isinstance(right, float):
        return float(left) / float(right)
    return (Decimal(left) / Decimal(right)).quantize(Decimal("1e-6"), "ROUND_HALF_UP")


def arithmetic(symbol: str, left: Any, right: Any) -> object:
    """+, -, * and % of numbers, times and intervals."""
    if isinstance(right, tuple):
        part, count = right
        return added(part, count if symbol == "+" else -count, left)
    if isinstance(left, dt.date) and not isinstance(right, dt.date):
        return left + dt.timedelta(days=int(right) * (1 if symbol == "+" else -1))
    if isinstance(left, float) != isinstance(right, float):
        left, right = float(left), float(right)
    if isinstance(left, dt.date) and isinstance(right, dt.date):
        return (left - right).days
    return {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "%": lambda: left % right,
    }[symbol]()


def _compared(symbol: str) -> Function:
    def compare(left: Any, right: Any) -> bool:
        return bool(COMPARISONS[symbol](*comparable(left, right)))

    return compare


COMPARISONS: dict[str, Function] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def comparable(left: Any, right: Any) -> tuple[Any, Any]:
    """Two values of one type: text beside a number, date or time becomes one."""
    for one, other, swap in ((left, right, False), (right, left, True)):
        if isinstance(one, str) and not isinstance(other, str):
            changed = _like_other(one, other)
            return (other, changed) if swap else (changed, other)
    return _same_kind_of_time(left, right)


def _like_other(text: str, other: object) -> object:
    utc = dt.timezone.utc
    if isinstance(other, bool):
        return cast(text, "BOOLEAN", 0, utc)
    if isinstance(other, (int, float, Decimal)):
        return Decimal(str(cast(text, "DOUBLE", 0, utc)))
    if isinstance(other, dt.datetime):
        return cast(text, "TIMESTAMP_LTZ" if other.tzinfo else "TIMESTAMP_NTZ", 0, utc)
    return cast(text, "DATE", 0, utc) if isinstance(other, dt.date) else text


def _same_kind_of_time(left: Any, right: Any) -> tuple[Any, Any]:
    if isinstance(left, dt.date) and isinstance(right, dt.date):
        return _comparable_time(left), _comparable_time(right)
    return left, right


def _comparable_time(value: dt.date) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.timezone.utc)
    return value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)


# With a NULL among their arguments, these are NULL.
STRICT: dict[str, Function] = {
    **{symbol: _compared(symbol) for symbol in COMPARISONS},
    "+": lambda a, b: arithmetic("+", a, b),
    "-": lambda a, b: arithmetic("-", a, b),
    "*": lambda a, b: arithmetic("*", a, b),
    "%": lambda a, b: arithmetic("%", a, b),
    "/": _divided,
    "DIV0": lambda a, b: 0 if b == 0 else _divided(a, b),
    "||": lambda a, b: f"{a}{b}",
    "CONCAT": lambda *values: "".join(map(str, values)),
    "INTERVAL": lambda text: interval(text),
    "GET": _get,
    "PARSE_JSON": parse_json,
    "LIKE": lambda value, pattern, escape="": bool(like_pattern(pattern, exact_case=True).fullmatch(value)),
    "ILIKE": lambda value, pattern, escape="": bool(like_pattern(pattern).fullmatch(value)),
    "RLIKE": lambda value, pattern: bool(re.fullmatch(pattern, value)),
    "UPPER": lambda text: str(text).upper(),
    "LOWER": lambda text: str(text).lower(),
    "TRIM": lambda text: str(text).strip(),
    "LENGTH": lambda text: len(str(text)),
    "REPLACE": lambda text, old, new="": str(text).replace(old, new),
    "SPLIT_PART": lambda text, by, nth: ([*str(text).split(by), *[""] * int(nth)])[int(nth) - 1],
    "STARTSWITH": lambda text, start: str(text).startswith(start),
    "ENDSWITH": lambda text, end: str(text).endswith(end),
    "CONTAINS": lambda text, part: part in str(text),
    "ROUND": _round,
    "ABS": lambda value: abs(value),
    "FLOOR": lambda value: int(value // 1),
    "CEIL": lambda value: -int(-value // 1),
    "GREATEST": lambda *values: max(values),
    "LEAST": lambda *values: min(values),
    "MOD": lambda a, b: a % b,
    "ARRAY_SIZE": lambda values: len(values),
    "ARRAY_TO_STRING": lambda values, by: by.join(map(str, values)),
}


def _coalesce(*values: object) -> object:
    return next((value for value in values if value is not None), None)


# These see NULL as a value.
LENIENT: dict[str, Function] = {
    "COALESCE": _coalesce,
    "IFNULL": _coalesce,
    "NVL": _coalesce,
    "ZEROIFNULL": lambda value: 0 if value is None else value,
    "NULLIF": lambda a, b: None if a is not None and a == b else a,
    "NULLIFZERO": lambda a: None if a == 0 else a,
    "IFF": lambda condition, yes, no: yes if condition is True else no,
    "IS NULL": lambda value: value is None,
    "EQUAL_NULL": lambda a, b: a == b,
    "NOT": lambda value: None if value is None else not value,
    "ARRAY_CONSTRUCT": lambda *values: list(values),
    "OBJECT_CONSTRUCT": lambda *pairs: {
        str(k): v for k, v in zip(pairs[::2], pairs[1::2]) if k is not None and v is not None
    },
}


def is_in(value: object, choices: Sequence[object]) -> bool | None:
    """Three-valued IN."""
    if value is None:
        return None
    for choice in choices:
        if choice is not None:
            left, right = comparable(value, choice)
            if left == right:
                return True
    return None if None in choices else False
