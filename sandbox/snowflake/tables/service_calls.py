"""Rows sent to services in batches, as Snowflake sends them: concurrent, retried, given up.

Wire, retried statuses and numbers of retries: Snowflake documentation, "Service functions" and "Troubleshooting
external functions"; 100351 and 100287 as users report them. Seconds of waiting are shortened by `pace`.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from sandbox.snowflake.sql.errors import SqlError, cancelled
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.tables.functions import ServiceFunction

RETRIED = (404, 429, 500, 502, 503, 504)
THIRTY_SECONDS = 30.0
DEFAULT_BATCH_ROWS = 64  # of model serving: not published

Row = tuple[int, list[Any]]


@dataclass
class BatchFault:
    """The next `times` batches meet it. kind: "status" (status, body), "duplicate", "lost", "garbage" or "null"."""

    kind: str
    times: int = 1
    skip: int = 0
    status: int = 500
    body: str = "Internal Server Error"


@dataclass
class Batches:
    """How batches are sent, and what is counted of them. pace: seconds here for a second there, of waiting only.

    null_if: a row with this text in it gets NULL, as if the service had not been able to answer it.
    """

    at_once: int = 4
    pace: float = 0.01
    single_call_seconds: float = THIRTY_SECONDS
    sent: list[int] = field(default_factory=list)
    retries: int = 0
    faults: list[BatchFault] = field(default_factory=list)
    null_if: str | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def arm(self, kind: str, **params: Any) -> BatchFault:
        fault = BatchFault(kind, **params)
        with self._lock:
            self.faults.append(fault)
        return fault

    def take(self) -> BatchFault | None:
        with self._lock:
            for fault in self.faults:
                if fault.skip > 0:
                    fault.skip -= 1
                elif fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def count(self, rows: int) -> None:
        with self._lock:
            self.sent.append(rows)


def call_service(
    run: Run, function: ServiceFunction, rows: Sequence[Row], query_id: str, batches: Batches
) -> list[str | None]:
    """A JSON text for each row, in order. Raises `SqlError` where a batch fails, unless it gives NULL then."""
    _awake(run, function)
    size = function.max_batch_rows or DEFAULT_BATCH_ROWS
    parts = [rows[at : at + size] for at in range(0, len(rows), size)]
    with requests.Session() as http, ThreadPoolExecutor(batches.at_once, "sandbox-batch") as pool:
        http.trust_env = False  # no proxy is between the warehouse and a service
        http.mount("http://", HTTPAdapter(pool_maxsize=batches.at_once))
        sender = _Sender(run, function, query_id, batches, http)
        answers = list(pool.map(sender.send, parts))
    return [value for part in answers for value in part]


def _awake(run: Run, function: ServiceFunction) -> None:
    """A suspended service is resumed by a call, and the query fails if it is not up in time."""
    ingress = _ingress(function)
    state = "no_hosts" if ingress is None else ingress.state_for_call(run.world.clock)
    if state != "running":
        raise _remote_error(function, 503, "no healthy upstream")


def _ingress(function: ServiceFunction) -> Any:
    return next((e.ingress for e in function.service.endpoints if e.ingress is not None), None)


class _Sender:
    def __init__(
        self, run: Run, function: ServiceFunction, query_id: str, batches: Batches, http: requests.Session
    ) -> None:
        self._http = http
        self._run = run
        self._function = function
        self._query_id = query_id
        self._batches = batches
        self._url = _ingress(function).upstream + function.path
        self._failed = threading.Event()

    def send(self, rows: Sequence[Row]) -> list[str | None]:
        if self._failed.is_set():
            return []  # the statement has failed
        try:
            return self._answered(rows)
        except SqlError:
            if self._function.returns_null:
                return [None] * len(rows)
            self._failed.set()
            raise

    def _answered(self, rows: Sequence[Row]) -> list[str | None]:
        batch_id = str(uuid.uuid4())
        self._batches.count(len(rows))
        for attempt in range(self._function.max_batch_retries + 1):
            if self._run.stop.is_set():
                raise cancelled()
            if attempt:
                self._batches.retries += 1
                self._run.stop.wait(2**attempt * self._batches.pace)
            status, body = self._post(rows, batch_id)
            if status == 200:
                return self._values(body, rows)
            if status not in RETRIED:
                break
        raise _remote_error(self._function, status, body)

    def _post(self, rows: Sequence[Row], batch_id: str) -> tuple[int, str]:
        fault = self._batches.take()
        if fault is not None and fault.kind == "status":
            return fault.status, fault.body
        if fault is not None and fault.kind == "duplicate":
            self._once(rows, batch_id)
        status, body = self._once(rows, batch_id)
        if fault is not None and fault.kind == "lost":
            return 504, "upstream request timeout"
        if fault is not None and fault.kind == "null":
            return 200, json.dumps({"data": [[number, None] for number, _ in rows]})
        return (status, "{}") if fault is not None and fault.kind == "garbage" else (status, body)

    def _once(self, rows: Sequence[Row], batch_id: str) -> tuple[int, str]:
        headers = {
            "sf-external-function-format": "json",
            "sf-external-function-format-version": "1.0",
            "sf-external-function-current-query-id": self._query_id,
            "sf-external-function-query-batch-id": batch_id,
            "sf-external-function-name": self._function.name,
            "sf-external-function-return-type": self._function.returns,
        }
        seconds, left = self._batches.single_call_seconds, self._function.batch_seconds
        body = {"data": [[i, *cells] for i, cells in rows]}
        try:
            reply = self._http.post(self._url, json=body, headers=headers, timeout=seconds)
            while reply.status_code == 202 and left > 0 and not self._run.stop.wait(self._batches.pace):
                left -= 1
                reply = self._http.get(self._url, headers=headers, timeout=seconds)
        except requests.Timeout:
            return 504, "Timeout was reached"
        except requests.RequestException as error:
            return 503, type(error).__name__
        return reply.status_code, reply.text

    def _values(self, body: str, rows: Sequence[Row]) -> list[str | None]:
        """One value for each row, under the rows' own numbers."""
        try:
            data = json.loads(body)["data"]
            values = {entry[0]: entry[1] for entry in data}
        except (ValueError, KeyError, TypeError, IndexError):
            raise _malformed(self._function) from None
        if len(data) != len(rows) or set(values) != {number for number, _ in rows}:
            raise _malformed(self._function)
        mark = self._batches.null_if
        void = {n for n, cells in rows if mark is not None and mark in json.dumps(cells)}
        return [None if values[n] is None or n in void else json.dumps(values[n]) for n, _ in rows]


def _remote_error(function: ServiceFunction, status: int, body: str) -> SqlError:
    text = (
        f"Request failed for external function {function.name} with remote service error: {status} '{body}'"
    )
    return SqlError("100351", "22P02", text)


def _malformed(function: ServiceFunction) -> SqlError:
    text = (
        f"Error parsing JSON response for external function {function.name}: top-level JSON object must contain "
        '"data" JSON array element, with one array for each row that was sent'
    )
    return SqlError("100287", "22P02", text)
