"""What the control plane needs of Snowflake: statements in, rows out by column name, over any session.

Three sessions keep this contract: `sql_api.SqlApiSession` (the SQL API v2, with a preset of the plugin),
`executor_session.ExecutorSession` (a Snowflake connection of DSS) and `snowpark_session.SnowparkSession` (a notebook).
Code that uses one only knows `SqlSession`. How cells are read is in `cells`; the error of a statement that Snowflake
refuses is `errors.SqlError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol

from spcs_llm.control.statements import WHO
from spcs_llm.errors import SqlError

# Column name in lower case → text, None for NULL. Booleans are true or false, dates and times are ISO 8601.
Row = Mapping[str, Optional[str]]


@dataclass(frozen=True)
class Identity:
    """Whose rights statements run with, as Snowflake names them.

    Attributes:
        user: The user.
        role: The primary role; None if the session has none.
        warehouse: The warehouse; None if the session has none: then only SHOW, DESCRIBE and ALTER work.
        account: `<organization>-<account>`; None if Snowflake did not say.
        region: Such as AWS_US_WEST_2; None if Snowflake did not say.
    """

    user: str
    role: str | None
    warehouse: str | None
    account: str | None = None
    region: str | None = None

    @property
    def said_role(self) -> str:
        """What follows the word "role" in a sentence."""
        return self.role or "of this session"

    def __str__(self) -> str:
        return (
            f"user {self.user}, role {self.role or 'none'}, warehouse {self.warehouse or 'none'}"
            f"{f', account {self.account}' if self.account else ''}"
        )


def identity(ask: Callable[[str], Sequence[Row]]) -> Identity:
    """Asks whose rights statements run with.

    Args:
        ask: Runs a statement.

    Returns:
        The identity.

    Raises:
        SpcsError: If Snowflake refuses the role or the warehouse, or says nothing of a user.
    """
    try:
        rows = ask(WHO)
    except SqlError as error:
        if (
            error.is_about_rights
        ):  # the statement names no object: only the role or the warehouse can be meant
            error.hint = (
                "Correct 'Role' or 'Warehouse', or ask a Snowflake administrator to grant the user the role, and the"
                " role USAGE on the warehouse."
            )
        raise
    row = rows[0] if rows else {}
    user = row.get("user")
    if not user:
        raise SqlError("Snowflake does not say whose session this is.", "Check how the session signs in.")
    organization, account = row.get("organization"), row.get("account")
    return Identity(
        user,
        row.get("role") or None,
        row.get("warehouse") or None,
        f"{organization}-{account}" if organization and account else None,
        row.get("region") or None,
    )


class SqlSession(Protocol):
    """Runs statements with one user's rights."""

    def rows(self, statement: str, *, bindings: Sequence[str] = ()) -> list[Row]:
        """Runs one statement.

        Args:
            statement: One statement of SQL, without a semicolon at its end. Names in it are quoted by `identifiers`.
            bindings: A text for each `?` of the statement. Only SELECT takes any.

        Returns:
            All rows. A statement that gives none, or only says that it succeeded, may give an empty list.

        Raises:
            SqlError: If Snowflake refuses the statement.
            SpcsError: If it could not be sent, or did not end in time.
        """
        ...

    def whose(self) -> Identity:
        """The user, role and warehouse. They are asked for once.

        Returns:
            Whose rights the statements run with.

        Raises:
            SpcsError: As `rows`.
        """
        ...


class BaseSession(ABC):
    """A `SqlSession` that asks once whose rights it uses, when that is first wanted."""

    _whose: Identity | None = None

    @abstractmethod
    def rows(self, statement: str, *, bindings: Sequence[str] = ()) -> list[Row]:
        """As in `SqlSession`."""

    def whose(self) -> Identity:
        """As in `SqlSession`."""
        if self._whose is None:
            self._whose = identity(self.rows)
        return self._whose
