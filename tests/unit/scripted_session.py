"""A SqlSession that follows a script, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spcs_llm.control.session import Identity, Row
from spcs_llm.control.sql_refusals import sql_error
from spcs_llm.errors import SpcsError

ABSENT = ("002003", "42S02", "Object 'X' does not exist or not authorized.")
NO_PRIVILEGE = ("003001", "42501", "Insufficient privileges to operate on service 'X'.")
NO_WAREHOUSE = ("000606", "57P03", "No active warehouse selected in the current session.")
JANE = Identity("JANE", "ANALYST", "XS", "MYORG-PROD", "AWS_EU_CENTRAL_1")


class ScriptedSession:
    """answers: by the beginning of a statement (the longest fits): rows, an error to raise, a tuple of code, state and
    message, or a function of the statement that gives one of these. A statement that fits none is refused."""

    def __init__(self, answers: dict[str, Any], identity: Identity = JANE) -> None:
        self.answers = answers
        self.identity = identity
        self.asked: list[str] = []

    def whose(self) -> Identity:
        return self.identity

    def rows(self, statement: str, *, bindings: Sequence[str] = ()) -> list[Row]:
        self.asked.append(statement)
        fits = [beginning for beginning in self.answers if statement.startswith(beginning)]
        answer: Any = ("001003", "42000", "SQL compilation error: syntax error line 1")
        if fits:
            answer = self.answers[max(fits, key=len)]
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(statement)
        if isinstance(answer, SpcsError):
            raise answer
        if isinstance(answer, tuple):
            code, state, message = answer
            raise sql_error(statement, message, code, state)
        return list(answer)


def rows(columns: str, *lines: str) -> list[Row]:
    """Rows of texts. columns: names, parted by blanks; lines: cells parted by |, NULL is none."""
    names = columns.split()
    found: list[Row] = []
    for line in lines:
        cells = [None if cell.strip() == "NULL" else cell.strip() for cell in line.split("|")]
        assert len(cells) == len(names), line
        found.append(dict(zip(names, cells)))
    return found
