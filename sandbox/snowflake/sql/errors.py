"""Why a statement fails: code, SQLSTATE and text, as clients get them.

Codes and states: error tables of Snowflake's drivers, and logs that users of connectors made public (such as issue
1241 of snowflake-connector-python); messages: Snowflake documentation where it prints them. Since June 2026 the server
adds a hint at privileges to objects that do not exist or are not authorized (snowflake-jdbc, pull request 2661). The
exact end of that hint, and the codes 001015, 001044, 3950xx and 392503, are assumptions.
"""

from __future__ import annotations


class SqlError(Exception):
    """A statement's failure."""

    def __init__(self, code: str, state: str, message: str) -> None:
        super().__init__(f"{code} ({state}): {message}")
        self.code = code
        self.state = state
        self.message = message


def compilation(code: str, state: str, text: str) -> SqlError:
    return SqlError(code, state, f"SQL compilation error:\n{text}")


def syntax_error(line: int, position: int, unexpected: str) -> SqlError:
    return compilation(
        "001003", "42000", f"syntax error line {line} at position {position} unexpected '{unexpected}'."
    )


def does_not_exist(kind: str, name: str, role: str | None = None, *, table: bool = False) -> SqlError:
    """002003: the object is not there, or the role may not know of it. role: hinted at, unless None."""
    hint = ""
    if role is not None:
        hint = (
            f" Your primary role {role} or one of your secondary roles must have at least one privilege granted on "
            f"the {kind.lower()}."
        )
    state = "42S02" if table else "02000"
    return compilation("002003", state, f"{kind} '{name}' does not exist or not authorized.{hint}")


def no_such_scope() -> SqlError:
    return compilation("002043", "02000", "Object does not exist, or operation cannot be performed.")


def insufficient(kind: str, name: str) -> SqlError:
    message = f"SQL access control error:\nInsufficient privileges to operate on {kind.lower()} '{name}'."
    return SqlError("003001", "42501", message)


def no_warehouse() -> SqlError:
    message = (
        "No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' "
        "command."
    )
    return SqlError("000606", "57P03", message)


def no_database(verb: str) -> SqlError:
    message = (
        f"Cannot perform {verb}. This session does not have a current database. Call 'USE DATABASE', or use a "
        "qualified name."
    )
    return SqlError("090105", "22000", message)


def invalid_identifier(name: str) -> SqlError:
    return compilation("000904", "42000", f"error line 1 at position 7\ninvalid identifier '{name}'")


def unknown_function(name: str) -> SqlError:
    return compilation("002140", "42601", f"Unknown function {name}")


def wrong_arguments(name: str) -> SqlError:
    return compilation(
        "001044", "42P13", f"error line 1 at position 7\nInvalid argument types for function '{name}'"
    )


def invalid_argument(text: str) -> SqlError:
    return compilation("001044", "42P13", text)


def cancelled() -> SqlError:
    return SqlError("000604", "57014", "SQL execution canceled")


def timed_out(seconds: float) -> SqlError:
    message = (
        f"Statement reached its statement or warehouse timeout of {seconds:g} second(s) and was canceled."
    )
    return SqlError("000630", "57014", message)
