"""Why a slice's statement failed, and what helps: a smaller slice, another try, or nobody but an administrator.

Texts and codes: Snowflake documentation, "Troubleshooting external functions" and "Service functions"; 100350, 100351
and 100287 as users report them, with the status in quotes or without. A service's own words may quote a row, so they
stand in a failed row's reason only, never in a log; and they decide by the service's status and its busy or loading
model only, or one row could stop a job.
"""

from __future__ import annotations

import re
from enum import Enum

from spcs_llm.control.sql_refusals import said_by_service, said_by_snowflake, without_quoted
from spcs_llm.errors import SettingsError, SpcsError, SqlError
from spcs_llm.server_text.container_errors import reason_in_text
from spcs_llm.server_text.foreign_text import plain
from spcs_llm.server_text.refusal_hints import says_busy, says_loading

MAX_REASON = 300
_SERVICE_CODES = ("100351", "100287", "100335", "100352")
_SERVICE_WORDS = re.compile(
    r"remote service error|external function|service function|timeout was reached|batch (?:failed|timed out)",
    re.I,
)
_ANSWER = re.compile(r"'?(\d{3})\b\s{0,4}['`]?(.*)", re.S)
_AWAY_STATUSES, _SLOW_STATUSES = (404, 429, 503), (502, 504)
_AWAY = re.compile(r"no hosts|remote service cannot be reached", re.I)
_SLOW = re.compile(r"timeout was reached", re.I)
_TOO_LONG = "000630"
# 000604 (canceled) also occurs if nobody canceled the statement. After a session has ended (3901..), DSS opens another.
_PASSING = ("000603", "000604", "000625", "300010", "390111", "390112", "390114")
_ABOUT_NO_DATA = ("00", "09", "39")  # how codes begin that are about names, rights, services and sessions
_READING = ("SELECT", "INSERT", "CREATE", "UPDATE", "DELETE", "MERGE", SqlError.unknown_kind)
# How Snowflake begins what it says of names and rights, which it quotes as well.
_ABOUT_NAMES = re.compile(r"\bSQL (?:compilation|access control) error\b", re.I)


class Remedy(Enum):
    """What helps after a failure."""

    DIVIDE = "the service refuses a row: smaller slices show which"
    WAIT = "the service does not answer: it may be starting"
    LOAD = "the service answers that it cannot answer yet: its model may be loading"
    SHORTEN = "the statement took too long: smaller slices are shorter"
    REPEAT = "Snowflake failed by itself: the same may succeed"
    STOP = "somebody has to do something"


def remedy(error: SpcsError) -> Remedy:
    """What helps.

    Args:
        error: What the statement of a slice raised.

    Returns:
        The remedy.
    """
    if isinstance(error, SettingsError):
        return Remedy.STOP
    if not isinstance(error, SqlError):
        return Remedy.REPEAT
    if error.is_about_rights or error.lacks_warehouse:
        return Remedy.STOP
    words = error.server_text
    status, said = _answer(words)
    own = words if status is None else said_by_snowflake(words)
    if status in _AWAY_STATUSES or _AWAY.search(own):
        return Remedy.WAIT
    reason = reason_in_text(said)
    if says_loading(reason, status) or says_busy(reason):
        return Remedy.LOAD
    if is_too_long(error) or status in _SLOW_STATUSES or _SLOW.search(own):
        return Remedy.SHORTEN
    if error.code in _SERVICE_CODES or _SERVICE_WORDS.search(without_quoted(own)):
        return Remedy.DIVIDE
    may_pass = error.code is None and not error.hint  # a hint says who has to do something
    return Remedy.REPEAT if may_pass or error.code in _PASSING else Remedy.STOP


def _answer(words: str) -> tuple[int | None, str]:
    """The HTTP status of the service's answer, and the answer itself, in what Snowflake says."""
    found = _ANSWER.match(said_by_service(words) or "")
    return (None, "") if found is None else (int(found[1]), found[2].rstrip("'`"))


def is_too_long(error: SpcsError) -> bool:
    """Whether Snowflake has ended the statement, because the session or the warehouse gives it no more time."""
    return isinstance(error, SqlError) and error.code == _TOO_LONG


def row_reason(error: SpcsError) -> str:
    """Why one row failed, for its entry in the failures: with the service's words."""
    said = plain(said_by_service(error.server_text) or error.server_text, MAX_REASON)
    return f"The service refuses the row: {said}"


def without_values(error: SpcsError) -> SpcsError:
    """The error to raise: Snowflake's words about data, such as a number that it cannot read, quote a cell.

    Args:
        error: What a statement raised.

    Returns:
        The error itself, if it is about names, rights or Snowflake itself; else one without Snowflake's words.
    """
    if not isinstance(error, SqlError) or (error.code or "").startswith(_ABOUT_NO_DATA):
        return error
    if error.code is None:
        return _without_unknown_values(error)
    return SqlError(
        f"Snowflake stops a statement of the job (code {error.code}).",
        "Look for it in the query history of Snowflake, by its query tag.",
        code=error.code,
        sqlstate=error.sqlstate,
        statement_kind=error.statement_kind,
    )


def _without_unknown_values(error: SqlError) -> SqlError:
    """The same, where nothing says whether it is about data: of a statement that reads data, what is quoted may be."""
    words = error.message
    if not error.statement_kind.startswith(_READING) or _ABOUT_NAMES.search(words):
        return error
    safe = without_quoted(words)
    if safe == words:
        return error
    return SqlError(
        safe, error.hint, sqlstate=error.sqlstate, statement_kind=error.statement_kind, status=error.status
    )


def told(error: SpcsError) -> str:
    """A failure for a log or an error: without the service's words, which may quote a row.

    Args:
        error: The failure.

    Returns:
        A sentence.
    """
    words = error.server_text
    status, _ = _answer(words)
    if status is not None:
        return f"The service answers with HTTP status {status}."
    if _SERVICE_WORDS.search(words) or remedy(error) in (Remedy.DIVIDE, Remedy.WAIT):
        code = f" (code {error.code})" if isinstance(error, SqlError) and error.code else ""
        return f"The service does not answer as a service function must{code}."
    return without_values(error).message
