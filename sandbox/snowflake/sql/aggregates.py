"""Functions of many rows."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any


def _sum(values: list[Any]) -> object:
    return sum(values[1:], values[0]) if values else None


def _average(values: list[Any]) -> object:
    if not values:
        return None
    total = _sum(values)
    if isinstance(total, float):
        return total / len(values)
    return (Decimal(str(total)) / len(values)).quantize(Decimal("1e-6"))


# Of the values that are not NULL.
AGGREGATES: dict[str, Callable[[list[Any]], object]] = {
    "COUNT": len,
    "SUM": _sum,
    "AVG": _average,
    "MIN": lambda values: min(values) if values else None,
    "MAX": lambda values: max(values) if values else None,
    "ANY_VALUE": lambda values: values[0] if values else None,
    "COUNT_IF": lambda values: sum(value is True for value in values),
    "ARRAY_AGG": lambda values: values,
    "BOOLOR_AGG": lambda values: any(values) if values else None,
    "BOOLAND_AGG": lambda values: all(values) if values else None,
    "LISTAGG": lambda values: ",".join(map(str, values)),
}
