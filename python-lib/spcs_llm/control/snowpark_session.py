"""A session over a Snowpark session, which a notebook has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from spcs_llm.control.executor_session import cell_text
from spcs_llm.control.session import BaseSession, Row
from spcs_llm.control.sql_refusals import sql_error_in_text
from spcs_llm.control.statements import with_literals


class Query(Protocol):
    """What is used of `snowflake.snowpark.DataFrame`."""

    def collect(self) -> list[Any]:
        """The rows, each with `as_dict`."""


class Snowpark(Protocol):
    """What is used of `snowflake.snowpark.Session`."""

    def sql(self, query: str) -> Query:
        """A statement that has not run yet."""


class SnowparkSession(BaseSession):
    """Runs statements by a Snowpark session.

    Args:
        session: A `snowflake.snowpark.Session`.
    """

    def __init__(self, session: Snowpark) -> None:
        self._session = session

    def rows(self, statement: str, *, bindings: Sequence[str] = ()) -> list[Row]:
        bound = with_literals(statement, bindings) if bindings else statement
        try:
            found = [row.as_dict() for row in self._session.sql(bound).collect()]
        except Exception as error:  # Snowpark and the connector share no base class
            raise sql_error_in_text(statement, str(error)) from error
        return [
            {str(name).strip('"').lower(): cell_text(cell) for name, cell in row.items()} for row in found
        ]
