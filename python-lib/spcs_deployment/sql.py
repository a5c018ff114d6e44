"""Names that are typed into the parameter cell, and the notebook's Snowpark session, on top of the control plane."""

from __future__ import annotations

from typing import Any

from spcs_deployment.problems import DeploymentError, explained
from spcs_llm.control import identifiers
from spcs_llm.control.identifiers import NotAName, QualifiedName
from spcs_llm.control.session import Row
from spcs_llm.control.snowpark_session import Snowpark, SnowparkSession

Session = Snowpark


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
    _check_text(text, what)
    try:
        return identifiers.quoted(identifiers.typed(text))
    except NotAName:
        raise DeploymentError(
            f"{what} is not a Snowflake identifier.",
            "Use letters, digits and underscores, or put the name in double quotes.",
        ) from None


def qualified(text: str, what: str, count: int) -> str:
    """A dotted name of exactly `count` identifiers."""
    _check_text(text, what)
    names = identifiers.parts(text)
    if len(names) != count:
        raise DeploymentError(
            f"{what} must be a full name of {count} parts.",
            "Write it as DATABASE.SCHEMA.NAME." if count == 3 else "",
        )
    return ".".join(identifier(name, what) for name in names)


def _check_text(text: Any, what: str) -> None:
    if not isinstance(text, str):
        raise DeploymentError(f"{what} must be a text, not {type(text).__name__}.", "See the parameter cell.")


def full_name(text: str) -> QualifiedName:
    """The full name of a service, as `Plan.service` writes it."""
    return identifiers.qualified(text)


def bare(name: str) -> str:
    """The name as SHOW prints it: without the quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def rows(session: Session, statement: str, doing: str) -> list[Row]:
    """Runs a statement.

    Args:
        session: Runs it.
        statement: SQL.
        doing: What it does, for the error, such as "creating service X".

    Returns:
        The rows, by column names in lower case.

    Raises:
        DeploymentError: If Snowflake refuses it.
    """
    with explained(doing):
        return SnowparkSession(session).rows(statement)


def run(session: Session, statement: str, doing: str) -> None:
    """Runs a statement whose rows do not matter."""
    rows(session, statement, doing)
