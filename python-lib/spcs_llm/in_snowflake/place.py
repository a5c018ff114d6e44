"""Where a job reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from spcs_llm.control.identifiers import QualifiedName

Write = Callable[[str, str, "list[str]"], None]


@dataclass(frozen=True)
class Place:
    """Where a job reads and writes.

    Attributes:
        input: The input table.
        output: The output table.
        failures: The table of failed rows; None if there is no dataset for them.
        write: Lets DSS write a query's rows to an output: "output" or "failures", the query, the statements before it.
    """

    input: QualifiedName
    output: QualifiedName
    failures: QualifiedName | None
    write: Write
