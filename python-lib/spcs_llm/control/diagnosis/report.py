"""A diagnosis as people read it: a table of findings, and a text where there can be no table."""

from __future__ import annotations

from collections.abc import Sequence

from spcs_llm.control.diagnosis.finding import FAILED, OK, Finding

COLUMNS = (
    ("step", "Step"),
    ("result", "Result"),
    ("seen", "What was seen"),
    ("hint", "What to do"),
    ("seconds", "Seconds"),
)
RECORD = "Record"
_SEND_IT = (
    "If you are one of the first users of this plugin, please send this line to its authors. It contains versions,"
    " statuses, times and names of headers and columns, and no host, name, token or content."
)


class ProblemsFound(Exception):
    """What a diagnosis found wrong. A macro that raises has no table: the text has all of it."""


def rows(findings: Sequence[Finding], record: str) -> list[list[str]]:
    """The table's rows.

    Args:
        findings: What was found.
        record: The record as one line.

    Returns:
        A row for each finding, and one with the record; the cells are in the order of `COLUMNS`.
    """
    told = [[found.step, found.result, found.seen, found.hint, f"{found.seconds:.2f}"] for found in findings]
    return [*told, [RECORD, OK, record, _SEND_IT, "0.00"]]


def text(findings: Sequence[Finding], record: str) -> str:
    """The findings as a text, the first problem before all others.

    Args:
        findings: What was found.
        record: The record as one line.

    Returns:
        Lines.
    """
    first = next((found for found in findings if found.result == FAILED), None)
    head = "Nothing failed." if first is None else f"To correct first: {_line(first)}"
    return "\n".join([head, "", *map(_line, findings), "", f"{RECORD}: {record}"])


def _line(found: Finding) -> str:
    hint = f" What to do: {found.hint}" if found.hint else ""
    return f"{found.step}: {found.result}. {found.seen}{hint}"
