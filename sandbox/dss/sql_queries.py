"""SQL that DSS runs for others: started, streamed, and finished; each query has its own session.

The preceding statements, the query and the following ones run in it; without a COMMIT among them it is rolled back.
Source: dataiku-api-client 15.2.0, `dataikuapi/dss/sqlquery.py`; DSS documentation, SQLExecutor2.
"""

from __future__ import annotations

import csv
import io
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox.dss.rights import NotAllowedError
from sandbox.dss.sql_session import Rows, SnowflakeConnection, SqlError, SqlSession


class Connection(Protocol):
    """What a query is run on."""

    @property
    def usable_by(self) -> frozenset[str] | None: ...

    def open(self, user: str) -> SqlSession: ...


class UnknownQueryError(Exception):
    """There is no such connection, or no such query."""


@dataclass
class _Query:
    session: SqlSession
    rows: Rows
    post_queries: Sequence[str]
    error: SqlError | None = None


class SqlQueries:
    """The queries under way. `is_admin` may use every connection."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._queries: dict[str, _Query] = {}
        self._lock = threading.Lock()

    def add(self, name: str, connection: Connection) -> None:
        self._connections[name] = connection

    def names(self, user: str, *, is_admin: bool) -> list[str]:
        return [
            name
            for name, connection in self._connections.items()
            if is_admin or connection.usable_by is None or user in connection.usable_by
        ]

    def open(self, name: str, user: str, *, is_admin: bool) -> SqlSession:
        """A session on a connection. Raises UnknownQueryError, NotAllowedError, SqlError."""
        if name not in self._connections:
            raise UnknownQueryError(f"Connection not found: {name}")
        if name not in self.names(user, is_admin=is_admin):
            raise NotAllowedError(f"User {user} may not use the connection {name}")
        return self._connections[name].open(user)

    def start(self, order: Mapping[str, Any], user: str, *, is_admin: bool) -> dict[str, Any]:
        """Waits until the database answers. Raises UnknownQueryError, NotAllowedError, SqlError."""
        session = self.open(str(order.get("connection")), user, is_admin=is_admin)
        post_queries = order.get("postQueries") or []
        try:
            for statement in order.get("preQueries") or []:
                session.run(statement)
            rows = session.run(str(order["query"]))
            if rows is None:
                for statement in post_queries:
                    session.run(statement)
        except BaseException:
            session.close()
            raise
        query_id = uuid.uuid4().hex
        if rows is None:
            session.close()
            return {"queryId": query_id, "hasResults": False}
        with self._lock:
            self._queries[query_id] = _Query(session, rows, post_queries)
        schema = [
            {"name": column.name, "type": column.type, "originalType": column.original_type}
            for column in rows.columns
        ]
        return {"queryId": query_id, "hasResults": True, "schema": schema}

    def stream(self, query_id: str) -> Iterator[bytes]:
        """The rows as tab-separated text, then the statements that follow; what they raise is kept for `finish`."""
        query = self._query(query_id)
        for row in query.rows.rows:
            yield _line(row)
        try:
            for statement in query.post_queries:
                query.session.run(statement)
        except SqlError as error:
            query.error = error

    def finish(self, query_id: str) -> None:
        """Ends the session. Raises what went wrong while streaming."""
        query = self._query(query_id)
        with self._lock:
            del self._queries[query_id]
        query.session.close()
        if query.error is not None:
            raise query.error

    def close(self) -> None:
        """Ends the sessions that nobody finished."""
        with self._lock:
            queries, self._queries = list(self._queries.values()), {}
        for query in queries:
            query.session.close()

    def _query(self, query_id: str) -> _Query:
        try:
            return self._queries[query_id]
        except KeyError:
            raise UnknownQueryError(f"Query not found: {query_id}") from None


def _line(row: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", quotechar='"', doublequote=True, lineterminator="\n").writerow(row)
    return text.getvalue().encode()


__all__ = ["SnowflakeConnection", "SqlQueries", "UnknownQueryError"]
