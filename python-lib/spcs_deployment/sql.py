"""Names and rows of SQL: nothing typed into the parameter cell reaches a statement unchecked."""

from __future__ import annotations

import re
from typing import Any, Protocol

from spcs_deployment.problems import DeploymentError, explained

_UNQUOTED = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,254}")
_QUOTED = re.compile(r'"(?:[^"]|"")+"')


class Query(Protocol):
    """What is used of snowflake.snowpark.DataFrame."""

    def collect(self) -> list[Any]: ...


class Session(Protocol):
    """What is used of snowflake.snowpark.Session."""

    def sql(self, query: str) -> Query: ...


def identifier(text: str, what: str) -> str:
    """Reads an identifier as Snowflake does: in upper case unless it is quoted.

    Args:
        text: The identifier.
        what: The parameter that it comes from, for the error.

    Returns:
        The identifier to write into a statement.

    Raises:
        DeploymentError: If it is not one.
    """
    if not isinstance(text, str):
        raise DeploymentError(f"{what} must be a text, not {type(text).__name__}.", "See the parameter cell.")
    text = text.strip()
    if _QUOTED.fullmatch(text):
        return text
    if _UNQUOTED.fullmatch(text):
        return text.upper()
    raise DeploymentError(
        f"{what} is not a Snowflake identifier.",
        "Use letters, digits and underscores, or put the name in double quotes.",
    )


def qualified(text: str, what: str, count: int) -> str:
    """A dotted name of exactly `count` identifiers."""
    names = parts(text or "")
    if len(names) != count:
        raise DeploymentError(
            f"{what} must be a full name of {count} parts.",
            "Write it as DATABASE.SCHEMA.NAME." if count == 3 else "",
        )
    return ".".join(identifier(name, what) for name in names)


def parts(name: str) -> list[str]:
    """A dotted name's identifiers; dots inside double quotes do not part them."""
    return re.findall(r'"(?:[^"]|"")+"|[^."]+', name)


def bare(name: str) -> str:
    """The name as SHOW prints it: without the quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def literal(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def rows(session: Session, statement: str, doing: str) -> list[dict[str, Any]]:
    """Runs a statement.

    Args:
        session: Runs it.
        statement: SQL.
        doing: What it does, for the error, such as "creating service X".

    Returns:
        The rows as dicts with keys in lower case.

    Raises:
        DeploymentError: If Snowflake refuses it.
    """
    with explained(doing):
        found = session.sql(statement).collect()
    return [{str(key).lower(): value for key, value in row.as_dict().items()} for row in found]


def run(session: Session, statement: str, doing: str) -> None:
    """Runs a statement whose rows do not matter."""
    rows(session, statement, doing)


def named(session: Session, show: str, name: str, doing: str, scope: str = "") -> dict[str, Any] | None:
    """The row of that exact name out of `SHOW <show> LIKE`, whose pattern reads `_` as any character."""
    statement = f"SHOW {show} LIKE {literal(bare(name))}{scope}"
    for row in rows(session, statement, doing):
        if row.get("name") == bare(name):
            return row
    return None
