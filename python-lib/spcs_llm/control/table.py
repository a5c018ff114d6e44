"""A macro's result as plain data: the macro's own file makes what DSS shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_CELL = 2000


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        name: What it is a table of.
        columns: The label of each column, by its id.
        rows: A text for each column.
    """

    name: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[str]]


def amount(value: float | None, digits: int = 2) -> str:
    """A number for people; empty if it is not known."""
    return "" if value is None else f"{value:,.{digits}f}"
