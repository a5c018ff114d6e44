"""The sessions of a job: a Snowflake connection of DSS, each call a session with its settings before the statement.

DSS rolls back what is not committed (Dataiku documentation, "Performing SQL, Hive and Impala queries"), and a driver
may give up on a statement that says nothing for ten minutes: so each change commits, and each statement has a time
limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Protocol

from spcs_llm.control.connection_refusals import statement_error
from spcs_llm.control.executor_session import QueryReader, cell_text
from spcs_llm.control.identifiers import literal, quoted
from spcs_llm.control.session import BaseSession, Row
from spcs_llm.control.statements import EXACT_NAMES, with_literals

STATEMENT_SECONDS = 540  # DSS waits for 600 s between two bytes


class Executor(Protocol):
    """What is used of `dataiku.SQLExecutor2`."""

    def query_to_iter(
        self, query: str, pre_queries: list[str] | None = None, post_queries: list[str] | None = None
    ) -> QueryReader:
        """Runs a statement, between others in the same session."""


class JobSession(BaseSession):
    """Runs the statements of a job. It is a `SqlSession`, and may be used by many threads.

    Args:
        executor: Makes a `SQLExecutor2` of the connection; each call has its own.
        warehouse: The warehouse, as SHOW prints it; None for the connection's.
        tag: What the query tag says besides the name of the plugin.

    Attributes:
        before_writing: The statements that DSS is to run before it writes to an output.
    """

    def __init__(
        self,
        executor: Callable[[], Executor],
        *,
        warehouse: str | None = None,
        tag: dict[str, str] | None = None,
    ) -> None:
        self._executor = executor
        query_tag = " ".join(
            ["dataiku-spcs-llm", *(f"{name}={value}" for name, value in (tag or {}).items())]
        )
        settings = f"ALTER SESSION SET TIMEZONE = 'UTC', QUERY_TAG = {literal(query_tag)}"
        limit = f", STATEMENT_TIMEOUT_IN_SECONDS = {STATEMENT_SECONDS}, {EXACT_NAMES}"
        use = [f"USE WAREHOUSE {quoted(warehouse)}"] if warehouse is not None else []
        self._before = [*use, settings + limit]
        # DSS's INSERT of all rows may take longer, into columns that it has named in another session.
        self.before_writing = [*use, settings]

    def rows(self, statement: str, *, bindings: Sequence[str] = ()) -> list[Row]:
        return self._run(with_literals(statement, bindings) if bindings else statement, None)

    def change(self, statement: str) -> None:
        """Runs one statement that changes something, and commits it.

        Args:
            statement: INSERT, UPDATE, DELETE, CREATE or DROP.

        Raises:
            SqlError: If Snowflake refuses it. Then nothing has changed.
        """
        self._run(statement, ["COMMIT"])

    def _run(self, statement: str, after: list[str] | None) -> list[Row]:
        try:
            reader = self._executor().query_to_iter(
                statement, pre_queries=list(self._before), post_queries=after
            )
            found: list[list[Any]] = [list(row) for row in reader.iter_tuples()]
            if not found:
                return []
            names = [str(column["name"]).strip('"').lower() for column in reader.get_schema()]
        except Exception as error:  # noqa: BLE001 - DSS's own code, which wraps what the database's driver raises
            raise statement_error(statement, error, "The connection of the datasets") from None
        return [{name: cell_text(cell) or None for name, cell in zip(names, row)} for row in found]
