"""A macro's result as plain data: the macro's own file makes what DSS shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spcs_llm.server_text.foreign_text import plain

MAX_CELL = 20_000


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

    def shown_in(self, result: Any) -> Any:
        """Fills DSS's table.

        Args:
            result: A new `dataiku.runnables.ResultTable`.

        Returns:
            The same, for the macro to return.
        """
        result.set_name(self.name)
        for column, label in self.columns.items():
            result.add_column(column, label, "STRING")
        for row in self.rows:
            result.add_record([plain(cell, MAX_CELL) for cell in row])
        return result


def amount(value: float | None, digits: int = 2) -> str:
    """A number for people; empty if it is not known."""
    return "" if value is None else f"{value:,.{digits}f}"
