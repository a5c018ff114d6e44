"""The data of tables in duckdb: a cursor and a transaction for each session of the account.

Snowflake documentation, "Transactions": a statement of DDL commits what is open and is not part of a transaction;
without autocommit the first change opens one. Changes of one row at the same time wait in Snowflake; duckdb refuses one
of them, which is tried again here if nothing else is open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import duckdb

from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.tables.dialect import MACROS
from sandbox.snowflake.world import Session

T = TypeVar("T")
_CONFLICTS = 200


class SessionCursor:
    """What one session has open."""

    def __init__(self, cursor: Any, autocommit: bool) -> None:
        self.cursor = cursor
        self.autocommit = autocommit
        self.in_transaction = False
        self.lock = threading.RLock()


class Store:
    """The databases and schemas of tables."""

    def __init__(self) -> None:
        self._root = duckdb.connect(":memory:")
        self._lock = threading.Lock()
        self._cursors: dict[int, SessionCursor] = {}
        self._schemas: set[tuple[str, str]] = set()
        self._databases: set[str] = set()
        for macro in MACROS:
            self._root.execute(macro)
        self._root.execute("SET TimeZone = 'UTC'")

    def ensure_schema(self, database: str, schema: str) -> None:
        with self._lock:
            if database not in self._databases:
                self._root.execute(f"ATTACH ':memory:' AS {_quoted(database)}")
                self._databases.add(database)
            if (database, schema) not in self._schemas:
                self._root.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(database)}.{_quoted(schema)}")
                self._schemas.add((database, schema))

    def of(self, session: Session) -> SessionCursor:
        """The session's cursor. Session 0 is the administrator's, which commits by itself."""
        with self._lock:
            if session.id not in self._cursors:
                autocommit = str(session.parameters.get("AUTOCOMMIT", True)).lower() != "false"
                self._cursors[session.id] = SessionCursor(self._root.cursor(), autocommit)
            return self._cursors[session.id]

    def read(self, session: Session, work: Callable[[Any], T]) -> T:
        own = self.of(session)
        with own.lock:
            return _told(lambda: work(own.cursor))

    def change(self, session: Session, work: Callable[[Any], T]) -> T:
        """INSERT, UPDATE or DELETE, in the session's transaction."""
        own = self.of(session)
        with own.lock:
            for _ in range(_CONFLICTS):
                fresh = not own.in_transaction
                if fresh:
                    own.cursor.execute("BEGIN")
                    own.in_transaction = True
                try:
                    found = work(own.cursor)
                    if own.autocommit:
                        self.commit(session)
                    return found
                except duckdb.TransactionException as error:
                    self.roll_back(session)
                    if not fresh:
                        raise SqlError("000625", "57014", f"Statement aborted: {error}") from None
                    time.sleep(0.01)
                except BaseException as error:
                    if fresh:
                        self.roll_back(session)
                    if isinstance(error, duckdb.Error):
                        raise _error(error) from None
                    raise
            raise SqlError("000625", "57014", "Statement aborted: the table is locked.")

    def define(self, session: Session, work: Callable[[Any], T]) -> T:
        """CREATE or DROP: commits what is open."""
        own = self.of(session)
        with own.lock:
            self.commit(session)
            return _told(lambda: work(own.cursor))

    def commit(self, session: Session) -> None:
        self._end(session, "COMMIT")

    def roll_back(self, session: Session) -> None:
        self._end(session, "ROLLBACK")

    def forget(self, session: Session) -> None:
        """The session is closed: what it did not commit is undone."""
        if session.id in self._cursors:
            self.roll_back(session)
            with self._lock:
                self._cursors.pop(session.id).cursor.close()

    def close(self) -> None:
        with self._lock:
            cursors, self._cursors = list(self._cursors.values()), {}
        for own in cursors:
            own.cursor.interrupt()
            with own.lock:
                own.cursor.close()
        self._root.close()

    def _end(self, session: Session, how: str) -> None:
        own = self.of(session)
        with own.lock:
            if own.in_transaction:
                own.in_transaction = False
                try:
                    own.cursor.execute(how)
                except duckdb.Error:
                    if how == "COMMIT":
                        raise


def insert_pairs(cursor: Any, table: str, numbers: Sequence[int], values: Sequence[str | None]) -> None:
    """Two columns into a table of this session: a number and JSON."""
    cursor.execute(f"INSERT INTO {table} SELECT unnest(?::BIGINT[]), unnest(?::JSON[])", [numbers, values])


def _told(work: Callable[[], T]) -> T:
    try:
        return work()
    except duckdb.Error as error:
        raise _error(error) from None


def _error(error: Exception) -> SqlError:
    """duckdb's words, where they are about data; else it is the stand-in that does not know something."""
    text = str(error).split("\n\n")[0]
    if isinstance(error, duckdb.ConversionException):
        return SqlError("100071", "22018", f"Failed to cast a value: {text}")
    if isinstance(error, duckdb.BinderException) and "not found" in text:
        return SqlError("000904", "42000", f"SQL compilation error:\ninvalid identifier: {text}")
    return SqlError("000603", "XX000", f"SQL execution internal error:\n{type(error).__name__}: {text}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
