"""A database session as DSS opens one through its JDBC driver: statements in, columns and texts out.

`SqlSession` is all that DSS needs of a database. `SnowflakeSession` speaks what Snowflake's drivers speak: login,
query, logout. Source: snowflake-connector-python 4.8.1 and 5.2.0; types are those that Snowflake's JDBC driver gives.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any, Protocol

import requests

_ROWLESS = (
    "ALTER",
    "CREATE",
    "DROP",
    "USE",
    "SET",
    "UNSET",
    "GRANT",
    "REVOKE",
    "COMMENT",
    "TRUNCATE",
    "UNDROP",
)
_CHANGES = ("INSERT", "UPDATE", "DELETE", "MERGE")
_STILL_RUNNING = frozenset({"333333", "333334"})
_TIMEOUT = 120


class SqlError(Exception):
    """What the database refuses, in the words of its driver."""


@dataclass(frozen=True)
class Column:
    """A column of a result; `type` is DSS's, `original_type` the database's."""

    name: str
    type: str
    original_type: str


@dataclass(frozen=True)
class Rows:
    """A result: one text a cell, "" for NULL, as DSS streams it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


class SqlSession(Protocol):
    """One session: what a statement sets is there for the next one, and what is not committed is lost."""

    def run(self, statement: str) -> Rows | None:
        """None for a statement without rows. Raises SqlError."""
        ...

    def close(self) -> None:
        """Rolls back what is not committed."""
        ...


@dataclass(frozen=True)
class SnowflakeLogin:
    """Whose session it is: a user with a password, or with an OAuth access token, or with what gives a fresh one."""

    user: str
    password: str | None = field(default=None, repr=False)
    access_token: str | Callable[[], str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SnowflakeConnection:
    """A connection of DSS's administration pages.

    `logins` are those of DSS's users where each has their own; "*" is for everybody. `usable_by` are the
    users who may use it freely, None for all.
    """

    name: str
    account_url: str
    logins: Mapping[str, SnowflakeLogin]
    role: str | None = None
    warehouse: str | None = None
    database: str | None = None
    schema: str | None = None
    usable_by: frozenset[str] | None = None

    def open(self, user: str) -> SnowflakeSession:
        """Raises SqlError."""
        login = self.logins.get(user) or self.logins.get("*")
        if login is None:
            raise SqlError(f"User {user} has no credential for the connection {self.name}")
        return SnowflakeSession(self, login)


class SnowflakeSession:
    """A session of the account, as the JDBC driver opens it for DSS: without autocommit."""

    def __init__(self, connection: SnowflakeConnection, login: SnowflakeLogin) -> None:
        self._http = requests.Session()
        self._url = connection.account_url
        self._changed = False
        try:
            self._log_in(connection, login)
        except BaseException:
            self._http.close()
            raise

    def run(self, statement: str) -> Rows | None:
        word = _first_word(statement)
        data = self._query(statement)
        if word in _CHANGES:
            self._changed = True
        elif word in ("COMMIT", "ROLLBACK"):
            self._changed = False
        if word in (*_ROWLESS, *_CHANGES, "COMMIT", "ROLLBACK", "BEGIN"):
            return None
        return _rows(data)

    def close(self) -> None:
        try:
            if self._changed:  # the driver asks each time; only here is there something to undo
                self._query("ROLLBACK")
            self._post("/session?delete=true", {})
        finally:
            self._http.close()

    def _log_in(self, connection: SnowflakeConnection, login: SnowflakeLogin) -> None:
        asked = {
            "warehouse": connection.warehouse,
            "roleName": connection.role,
            "databaseName": connection.database,
            "schemaName": connection.schema,
        }
        data: dict[str, Any] = {
            "CLIENT_APP_ID": "JDBC",
            "LOGIN_NAME": login.user,
            "SESSION_PARAMETERS": {"AUTOCOMMIT": False},
        }
        token = login.access_token
        if token is not None:
            data |= {"AUTHENTICATOR": "OAUTH", "TOKEN": token() if callable(token) else token}
        else:
            data |= {"PASSWORD": login.password}
        params = {name: value for name, value in asked.items() if value is not None}
        answer = self._post("/session/v1/login-request", {"data": data}, params)
        self._http.headers["Authorization"] = f'Snowflake Token="{answer["data"]["token"]}"'

    def _query(self, statement: str) -> Mapping[str, Any]:
        body = {"sqlText": statement, "asyncExec": False, "sequenceId": 1}
        answer = self._post("/queries/v1/query-request", body, {"requestId": str(uuid.uuid4())})
        while answer.get("code") in _STILL_RUNNING:
            reply = self._http.get(self._url + answer["data"]["getResultUrl"], timeout=_TIMEOUT)
            answer = _successful(reply)
        data: Mapping[str, Any] = answer["data"]
        return data

    def _post(self, path: str, body: Any, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        return _successful(self._http.post(self._url + path, json=body, params=params, timeout=_TIMEOUT))


def _successful(reply: requests.Response) -> dict[str, Any]:
    if reply.status_code != 200:
        raise SqlError(f"HTTP status {reply.status_code}")
    answer: dict[str, Any] = reply.json()
    if not answer.get("success"):
        raise SqlError(f"net.snowflake.client.jdbc.SnowflakeSQLException: {answer.get('message')}")
    return answer


def _first_word(statement: str) -> str:
    return (statement.split() or [""])[0].rstrip(";").upper()


def _rows(data: Mapping[str, Any]) -> Rows:
    kinds = data["rowtype"]
    writers = [_WRITERS.get(kind["type"].lower(), str) for kind in kinds]
    rows = [
        ["" if cell is None else write(cell) for write, cell in zip(writers, row)] for row in data["rowset"]
    ]
    return Rows([Column(kind["name"], _dss_type(kind), kind["type"].upper()) for kind in kinds], rows)


def _dss_type(kind: Mapping[str, Any]) -> str:
    name = kind["type"].lower()
    if name == "fixed":
        return "double" if kind.get("scale") else "bigint"
    return _TYPES.get(name, "string")


def _moment(cell: str) -> str:
    return _utc(cell).isoformat(timespec="milliseconds")[:-6] + "Z"


def _moment_without_zone(cell: str) -> str:
    return _utc(cell).isoformat(timespec="milliseconds")[:-6]


def _utc(cell: str) -> datetime:
    """Snowflake writes "seconds.fraction", and after it, for TIMESTAMP_TZ, the minutes of the offset plus 1440."""
    seconds = float(cell.split()[0])
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)


_TYPES = {
    "real": "double",
    "decfloat": "double",
    "boolean": "boolean",
    "date": "dateonly",
    "timestamp_ltz": "date",
    "timestamp_tz": "date",
    "timestamp_ntz": "datetimenotz",
}
_WRITERS: Mapping[str, Callable[[str], str]] = {
    "boolean": lambda cell: "true" if cell.lower() in ("1", "true") else "false",
    "date": lambda cell: (date(1970, 1, 1) + timedelta(days=int(cell))).isoformat(),
    "timestamp_ltz": _moment,
    "timestamp_tz": _moment,
    "timestamp_ntz": _moment_without_zone,
}
