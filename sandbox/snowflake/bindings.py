"""Values that are bound to the `?` of a statement, as both protocols send them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def bound_values(bindings: dict[str, Any] | None) -> list[object]:
    """The values in order, of `{"1": {"type": "TEXT", "value": "..."}}`."""
    numbered = sorted((bindings or {}).items(), key=lambda pair: int(pair[0]))
    return [_value(str(bound.get("type", "TEXT")).upper(), bound.get("value")) for _, bound in numbered]


def _value(kind: str, value: object) -> object:
    if value is None:
        return None
    text = str(value)
    if kind == "FIXED":
        return int(text) if text.lstrip("-").isdigit() else Decimal(text)
    if kind == "REAL":
        return float(text)
    if kind == "BOOLEAN":
        return text.lower() in ("true", "1")
    return text
