"""A session over Snowflake's SQL API v2: statements by HTTPS, with a token and without a login.

Bodies, statuses and codes: Snowflake documentation, "Snowflake SQL API", and its OpenAPI specification (`sqlapi.yaml`
of snowflakedb/snowflake-rest-api-specs). Each statement is a separate session for Snowflake: its role and warehouse are
in its body. A statement that takes longer than 45 seconds goes on in Snowflake, and is asked about until it ends.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable
from urllib.parse import urlencode
from uuid import uuid4

from spcs_llm import __version__
from spcs_llm.control.session import BaseSession, Row
from spcs_llm.control.sql_api_cells import Column, columns, row_of
from spcs_llm.control.sql_api_errors import SqlApiErrors
from spcs_llm.control.sql_refusals import sql_error
from spcs_llm.control.statements import kind
from spcs_llm.errors import ModelError, NetworkError, QueryTimeout, SpcsError, SqlError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.network_errors import SNOWFLAKE_ACCOUNT_URL
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.token_source import TokenSource
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.login_errors import CHECK_URL, SignInKind, no_account
from spcs_llm.urls import BaseUrl

_PATH = "/api/v2/statements"
_HEADERS = {"Accept": "application/json", "User-Agent": f"dataiku-spcs-llm/{__version__}"}
_IDLE_SECONDS = 75.0  # an answer may take 45 s, and some more on the way
_CANCEL_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_MAX_BODY = 64 << 20
_MAX_ROWS = 200_000
_IS_CUT = "391908"
_HANDLE = re.compile(r"[0-9A-Za-z-]{1,64}")
_LONGEST = 604_800  # seconds that Snowflake lets a statement run


class SqlApiSession(BaseSession):
    """Runs statements by the SQL API. Thread-safe.

    Attributes:
        parallelism: How many statements may well run at the same time.

    Args:
        endpoint: The client of the account.
        role: The role, as SHOW prints it; None for the user's default role, or that of the token.
        warehouse: The warehouse, as SHOW prints it; None for the user's default one.
        seconds: The most that a statement may take.
        sleep: Makes the pauses between two looks at a statement that runs.
    """

    parallelism = 8

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        role: str | None = None,
        warehouse: str | None = None,
        seconds: float = 300.0,
        sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a statement runs meanwhile
    ) -> None:
        self._endpoint = endpoint
        self._role = role
        self._warehouse = warehouse
        self._seconds = seconds
        self._sleep = sleep

    @classmethod
    def at(
        cls,
        url: BaseUrl,
        tokens: TokenSource,
        sign_in: SignInKind,
        *,
        retry: RetryPolicy = RetryPolicy(),
        **how: Any,
    ) -> SqlApiSession:
        """A session of an account.

        Args:
            url: The account's URL.
            tokens: Gives the headers with the token (see `snowflake.bearer`).
            sign_in: The kind of token, for hints.
            retry: How often a request is tried again.
            **how: As for the class.

        Returns:
            The session.

        Raises:
            NetworkError: If the proxy or the CA bundle of the environment cannot be used.
        """
        transport = Transport(url, field=SNOWFLAKE_ACCOUNT_URL)
        errors = SqlApiErrors(sign_in)
        endpoint = Endpoint(
            transport, tokens, errors, retry=retry, idle_seconds=_IDLE_SECONDS, step_name="SNOWFLAKE_SQL"
        )
        session = cls(endpoint, **how)
        weakref.finalize(session, transport.close).atexit = False
        return session

    def rows(self, statement: str, *, bindings: Sequence[str] = ()) -> list[Row]:
        context = QueryContext(self._seconds)
        with _explained(statement, context):
            answer = self._submitted(statement, bindings, context)
            handle = _handle(answer)
            try:
                while _is_running(answer):
                    answer = self._looked_at(handle, context)
                return list(self._all_rows(handle, answer, context))
            except (QueryTimeout, NetworkError):
                self._cancel(handle)
                raise

    def _submitted(self, statement: str, bindings: Sequence[str], context: QueryContext) -> Mapping[str, Any]:
        body: dict[str, Any] = {
            "statement": statement,
            "timeout": min(_LONGEST, max(1, math.ceil(context.remaining()))),
            "parameters": {"timezone": "UTC", "query_tag": "dataiku-spcs-llm"},
        }
        if self._role is not None:
            body["role"] = self._role
        if self._warehouse is not None:
            body["warehouse"] = self._warehouse
        if bindings:
            body["bindings"] = {
                str(number): {"type": "TEXT", "value": value} for number, value in enumerate(bindings, 1)
            }
        path = f"{_PATH}?{urlencode({'requestId': str(uuid4())})}"
        return self._answer(
            HttpRequest(
                path,
                # As bytes: an error may quote the names in a statement, which are no user's text.
                body=json.dumps(body).encode(),
                headers=_HEADERS,
                max_body=_MAX_BODY,
                path_of_retries=f"{path}&retry=true",
            ),
            context,
        )

    def _looked_at(self, handle: str, context: QueryContext) -> Mapping[str, Any]:
        """The statement's state, asked for after a pause that grows with the time that it has taken."""
        taken = context.seconds - context.remaining()
        pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, taken / 10))
        if pause >= context.remaining():
            raise context.timeout("the statement was running")
        self._sleep(pause)
        return self._answer(self._get(handle), context)

    def _all_rows(self, handle: str, answer: Mapping[str, Any], context: QueryContext) -> Iterator[Row]:
        metadata = answer.get("resultSetMetaData")
        if not isinstance(metadata, Mapping):
            raise no_account("does not answer with the JSON of the SQL API")
        if answer.get("code") == _IS_CUT:
            raise SqlError(
                "Snowflake returns not all rows of the statement: they are too large.",
                "Ask for less, such as one database or schema, or fewer days.",
            )
        shape = columns(metadata.get("rowType"))
        partitions = metadata.get("partitionInfo")
        count = len(partitions) if isinstance(partitions, list) else 1
        yield from _rows(shape, answer)
        told = 0
        for number in range(1, count):
            part = self._answer(self._get(handle, number), context)
            rows = list(_rows(shape, part))
            told += len(rows)
            if told > _MAX_ROWS:
                raise SqlError(
                    f"The statement has more than {_MAX_ROWS:,} rows.", "Ask for less, such as fewer days."
                )
            yield from rows

    def _get(self, handle: str, partition: int | None = None) -> HttpRequest:
        query = "" if partition is None else f"?partition={partition}"
        return HttpRequest(f"{_PATH}/{handle}{query}", method="GET", headers=_HEADERS, max_body=_MAX_BODY)

    def _cancel(self, handle: str) -> None:
        """Ends a statement that nobody waits for any longer; its own timeout ends it if this fails."""
        request = HttpRequest(f"{_PATH}/{handle}/cancel", body=b"", headers=_HEADERS, max_body=_MAX_BODY)
        with contextlib.suppress(SpcsError):
            self._endpoint.send_for_body(request, QueryContext(_CANCEL_SECONDS))

    def _answer(self, request: HttpRequest, context: QueryContext) -> Mapping[str, Any]:
        answer = self._endpoint.send(request, context)
        if not isinstance(answer, Mapping):
            raise no_account("does not answer with the JSON of the SQL API")
        return answer


def _is_running(answer: Mapping[str, Any]) -> bool:
    return "resultSetMetaData" not in answer and "data" not in answer and "statementHandle" in answer


def _handle(answer: Mapping[str, Any]) -> str:
    handle = answer.get("statementHandle")
    if isinstance(handle, str) and _HANDLE.fullmatch(handle):
        return handle
    raise no_account("does not answer with the JSON of the SQL API")


def _rows(shape: Sequence[Column], answer: Mapping[str, Any]) -> Iterator[Row]:
    data = answer.get("data")
    if not isinstance(data, list):
        raise no_account("does not answer with the JSON of the SQL API")
    for cells in data:
        if isinstance(cells, list):
            yield row_of(shape, cells)


@contextlib.contextmanager
def _explained(statement: str, context: QueryContext) -> Iterator[None]:
    """Says of which statement an error is; the words of queries to models do not fit here."""
    try:
        yield
    except SqlError as error:
        raise _of(statement, error) from None
    except QueryTimeout:
        raise _timeout(statement, context) from None
    except ModelError:
        raise no_account("answers with a web page, or with what is no JSON of the SQL API") from None
    except NetworkError as error:
        if error.silent:
            error.hint = CHECK_URL
        raise


def _of(statement: str, error: SqlError) -> SqlError:
    if error.statement_kind != SqlError.unknown_kind or not error.quotation:
        return error  # it is complete, or not in Snowflake's words
    known = sql_error(statement, error.server_text, error.code, error.sqlstate, error.status)
    known.request_id = error.request_id
    return known


def _timeout(statement: str, context: QueryContext) -> QueryTimeout:
    last = context.last_error
    tail = f" Last failure: {last.message}" if last is not None else ""
    return QueryTimeout(
        f"{kind(statement)} did not end within {context.seconds:g} s, and was cancelled.{tail}",
        (last.hint if last is not None else "")
        or "Run it again. If it happens again, ask for less: one database or schema, or fewer days.",
        place="SQL",
    )
