"""What DSS says of a Snowflake connection that it does not have, or does not let somebody use.

That is before a statement reaches Snowflake. DSS's words for it are not documented.
"""

from __future__ import annotations

import re

from spcs_llm.control.sql_refusals import CODE, sql_error_in_text
from spcs_llm.errors import SettingsError, SqlError
from spcs_llm.server_text.foreign_text import MAX_TEXT, plain, without_markup

CONNECTION = "'Snowflake connection'"
GROUP = "your group"
_MAX_NAME = 100
_NO_CONNECTION = re.compile(
    r"\bconnection not found\b|\b(?:unknown|no such) connection\b"
    r"|\bconnection\b.{0,200}\b(?:does not|doesn't) exist\b"
    r"|\b(?:may not|cannot|can't|allowed to|authorized to|permissions? to|rights? to) (?:freely )?use\b"
    r".{0,60}\bconnection\b",
    re.I,
)


def named_connection(name: str) -> str:
    """How an error calls a connection: by its field, with the name that was selected there."""
    return f"{CONNECTION} {without_markup(plain(name, _MAX_NAME))}"


def connection_error(text: str, what: str, whose: str = GROUP) -> SettingsError | None:
    """The error of a connection that DSS does not have, or does not let somebody use.

    Args:
        text: The text of an exception of DSS.
        what: How the error calls the connection.
        whose: Who needs the right to use it.

    Returns:
        The error; None if the text is about something else. Snowflake has objects called connections as well.
    """
    text = plain(text, 4 * MAX_TEXT)
    if CODE.search(text) or "SQL compilation error" in text or not _NO_CONNECTION.search(text):
        return None
    return SettingsError(
        f"{what} does not exist in DSS, or its use is not allowed.",
        "Correct its name, in which capital letters count, or ask a DSS administrator to let"
        f" {whose} use the connection freely.",
    )


def statement_error(
    statement: str, error: Exception, what: str, whose: str = GROUP
) -> SettingsError | SqlError:
    """The error of a statement that failed in DSS: of the connection, or what DSS passes on of Snowflake's words.

    Args:
        statement: The statement, of which the error names the kind only.
        error: DSS's exception.
        what: How the error calls the connection.
        whose: Who needs the right to use it.

    Returns:
        The error.
    """
    return connection_error(str(error), what, whose) or sql_error_in_text(statement, str(error))
