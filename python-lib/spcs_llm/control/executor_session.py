"""A session over a Snowflake connection of DSS: no second sign-in, and the rights that the connection has.

Calls: Dataiku documentation, "Performing SQL, Hive and Impala queries" (SQLExecutor2). Each call may get another
session of the database, so that role and warehouse are set before each statement. Rows are read one by one, not as a
data frame: pandas would take a name such as NA for a missing value, and a version such as 1.10 for a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Protocol

from spcs_llm.control.connection_refusals import (
    CONNECTION,
    GROUP,
    connection_error,
    named_connection,
    statement_error,
)
from spcs_llm.control.identifiers import quoted
from spcs_llm.control.session import BaseSession, Row
from spcs_llm.control.statements import EXACT_NAMES, kind, with_literals
from spcs_llm.errors import SettingsError


class QueryReader(Protocol):
    """What is used of the reader that `SQLExecutor2.query_to_iter` returns."""

    def get_schema(self) -> Sequence[Mapping[str, Any]]:
        """The columns, each with its `name`."""

    def iter_tuples(self) -> Iterable[Sequence[Any]]:
        """The rows."""


class Executor(Protocol):
    """What is used of `dataiku.SQLExecutor2`."""

    def query_to_iter(self, query: str, pre_queries: list[str] | None = None) -> QueryReader:
        """Runs a statement, after others in the same session."""


class ExecutorSession(BaseSession):
    """Runs statements by a Snowflake connection of DSS.

    Args:
        executor: A `SQLExecutor2` of the connection.
        role: The role, as SHOW prints it; None for the connection's.
        warehouse: The warehouse, as SHOW prints it; None for the connection's.
        connection: How an error calls the connection.
        whose: Who needs the right to use it.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        role: str | None = None,
        warehouse: str | None = None,
        connection: str = CONNECTION,
        whose: str = GROUP,
    ) -> None:
        self._executor = executor
        self._connection = connection
        self._user = whose
        self._role = role
        self._warehouse = warehouse

    def rows(self, statement: str, *, bindings: Sequence[str] = ()) -> list[Row]:
        bound = with_literals(statement, bindings) if bindings else statement
        try:
            reader = self._executor.query_to_iter(bound, pre_queries=self._before(statement))
            found = [list(row) for row in reader.iter_tuples()]
            if not found:
                return []  # a statement without a result has no schema either
            names = [str(column["name"]).strip('"').lower() for column in reader.get_schema()]
        except Exception as error:  # noqa: BLE001 - DSS's own code, which wraps what the database's driver raises
            raise statement_error(statement, error, self._connection, self._user) from None
        # DSS writes NULL as an empty text.
        return [{name: cell_text(cell) or None for name, cell in zip(names, row)} for row in found]

    def _before(self, statement: str) -> list[str]:
        """What must be set first. Only SELECT uses a warehouse, and days that begin in UTC."""
        before = [] if self._role is None else [f"USE ROLE {quoted(self._role)}"]
        if kind(statement) == "SELECT":
            if self._warehouse is not None:
                before.append(f"USE WAREHOUSE {quoted(self._warehouse)}")
            before.append(f"ALTER SESSION SET TIMEZONE = 'UTC', {EXACT_NAMES}")
        elif '"' in statement:
            before.append(f"ALTER SESSION SET {EXACT_NAMES}")
        return before


def open_executor_session(
    executor_of: Callable[[str], Executor],
    name: str,
    *,
    role: str | None,
    warehouse: str | None,
    whose: str = GROUP,
) -> ExecutorSession:
    """Opens a session over a connection. No statement is sent yet.

    Args:
        executor_of: Makes the `SQLExecutor2` of a connection by its name.
        name: The connection's name.
        role: The role, as SHOW prints it; None for the connection's.
        warehouse: The warehouse, as SHOW prints it; None for the connection's.
        whose: Who needs the right to use the connection.

    Returns:
        The session.

    Raises:
        SettingsError: If DSS refuses the connection.
    """
    connection = named_connection(name)
    try:
        executor = executor_of(name)
    except Exception as error:  # noqa: BLE001 - DSS's own code
        raise connection_error(str(error), connection, whose) or SettingsError(
            f"{CONNECTION} cannot be used ({type(error).__name__}).",
            f"Ask a DSS administrator to let {whose} use the connection freely.",
        ) from None
    return ExecutorSession(executor, role=role, warehouse=warehouse, connection=connection, whose=whose)


def cell_text(cell: Any) -> str | None:
    """A cell as the text that a `Row` has, whatever type a library gives it.

    Args:
        cell: The cell.

    Returns:
        Its text; None for NULL and for what is not a number.
    """
    if cell is None or cell != cell:  # NaN is how libraries of data frames write NULL
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if hasattr(cell, "isoformat"):
        return str(cell.isoformat())
    return str(cell)
