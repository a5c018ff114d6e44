"""A small server that is as strict as the SQL API is documented to be. Standard library only.

It runs no SQL: a test says what each statement gives, by its beginning. What it holds to: headers, the token and its
kind, the role in its own case, ids of requests (a statement is run once for each), partitions packed with gzip and
without metadata, 202 while a statement runs, and cancelling.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

if TYPE_CHECKING:
    from typing_extensions import Self

KINDS = ("OAUTH", "KEYPAIR_JWT", "PROGRAMMATIC_ACCESS_TOKEN")


@dataclass
class Result:
    """What a statement gives.

    columns: name and type of each. looks: how many times it is still running when asked about; -1 is for ever.
    error: code, state and message in place of rows.
    """

    columns: list[tuple[str, str]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    partition_rows: int = 1000
    looks: int = 0
    error: tuple[str, str, str] | None = None


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def statement(self) -> str:
        return str(self.body.get("statement", ""))


Answer = Callable[[Request], Any]


class SqlApiServer:
    """Serves on a free port until it is closed.

    results: by the beginning of a statement, a Result or a function of the request that gives one. The longest fits.
    before: called with each request; what it returns, (status, headers, body as a dict or bytes), is sent in place of
    the answer; "close" closes the connection without one.
    """

    def __init__(self, results: dict[str, Any], *, token: str = "good-token", kind: str = "OAUTH") -> None:
        self.results = results
        self.token = token
        self.kind = kind
        self.roles = {"ANALYST", "ops team"}
        self.before: Answer = lambda request: None
        self.requests: list[Request] = []
        self.executed: list[str] = []
        self.cancelled: list[str] = []
        self._by_request_id: dict[str, str] = {}
        self._running: dict[str, Result] = {}
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._do("GET")

            def do_POST(self) -> None:
                self._do("POST")

            def _do(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                request = Request(
                    method, url.path, query, dict(self.headers.items()), json.loads(body) if body else {}
                )
                with owner._lock:
                    owner.requests.append(request)
                    answer = owner.before(request) or owner._answer(request)
                if answer == "close":
                    self.close_connection = True
                    self.connection.close()
                    return
                status, headers, content = answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _answer(self, request: Request) -> Any:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        parts = request.path.removeprefix("/api/v2/statements").strip("/").split("/")
        if request.method == "POST" and parts == [""]:
            return self._submit(request)
        handle = parts[0]
        if handle not in self._running:
            return 404, {}, {"code": "000709", "message": "Statement not found", "sqlState": "02000"}
        if request.method == "POST" and parts[1:] == ["cancel"]:
            self.cancelled.append(handle)
            return 200, {}, {"code": "000604", "sqlState": "57014", "statementHandle": handle}
        return self._state(handle, int(request.query.get("partition", 0)))

    def _refusal(self, request: Request) -> Any:
        headers = request.headers
        if not headers.get("User-Agent") or "json" not in headers.get("Accept", ""):
            return 400, {}, {"code": "391902", "message": "Missing User-Agent or Accept header"}
        if headers.get("X-Snowflake-Authorization-Token-Type") not in KINDS:
            return 400, {}, {"code": "391903", "message": "Unknown token type"}
        good = headers.get("X-Snowflake-Authorization-Token-Type") == self.kind
        if not good or headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {}, {"code": "390303", "message": "Invalid OAuth access token. [id]"}
        if request.method == "POST" and request.path == "/api/v2/statements":
            if headers.get("Content-Type") != "application/json":
                return 415, {}, {"code": "391914", "message": "Unsupported media type"}
            role = request.body.get("role")
            if role is not None and role not in self.roles:
                return 422, {}, _error("390201", "08004", f"The requested role '{role}' does not exist")
        return None

    def _submit(self, request: Request) -> Any:
        known = {"statement", "timeout", "database", "schema", "warehouse", "role", "bindings", "parameters"}
        assert set(request.body) <= known, request.body
        request_id = str(UUID(request.query["requestId"]))
        if request_id not in self._by_request_id:
            statement = request.statement
            beginning = max((b for b in self.results if statement.startswith(b)), key=len, default=None)
            result = Result(
                error=("001003", "42000", f"SQL compilation error: syntax error line 1: {statement}")
            )
            if beginning is not None:
                result = self.results[beginning]
            self.executed.append(statement)
            handle = str(uuid4())
            self._by_request_id[request_id] = handle
            self._running[handle] = result(request) if callable(result) else result
        handle = self._by_request_id[request_id]
        result = self._running[handle]
        return self._state(handle, 0)

    def _state(self, handle: str, partition: int) -> Any:
        result = self._running[handle]
        if result.looks:
            result.looks -= 1
            running = {"code": "333334", "message": "Asynchronous execution in progress."}
            return 202, {}, {**running, "statementHandle": handle, "statementStatusUrl": f"/api/v2/{handle}"}
        if result.error is not None:
            return 422, {}, {**_error(*result.error), "statementHandle": handle}
        size = result.partition_rows
        parts = [result.rows[at : at + size] for at in range(0, len(result.rows), size)] or [[]]
        data = parts[partition]
        assert all(cell is None or isinstance(cell, str) for row in data for cell in row)
        if partition:
            packed = gzip.compress(json.dumps({"data": data}).encode())
            return 200, {"Content-Encoding": "gzip"}, packed
        metadata = {
            "numRows": len(result.rows),
            "format": "jsonv2",
            "rowType": [{"name": name, "type": kind, "nullable": True} for name, kind in result.columns],
            "partitionInfo": [{"rowCount": len(part), "uncompressedSize": 1} for part in parts],
        }
        body = {"resultSetMetaData": metadata, "data": data, "code": "090001", "sqlState": "00000"}
        return 200, {}, {**body, "statementHandle": handle, "message": "Statement executed successfully."}


def _error(code: str, state: str, message: str) -> dict[str, Any]:
    return {"code": code, "sqlState": state, "message": message}


def table(columns: str, *rows: str, **more: Any) -> Result:
    """A Result of texts. columns: names, parted by blanks; rows: cells parted by |, NULL is none."""
    names = columns.split()
    cells = [[None if cell.strip() == "NULL" else cell.strip() for cell in row.split("|")] for row in rows]
    assert all(len(row) == len(names) for row in cells), "a row has as many cells as there are columns"
    shape = [(name.partition(":")[0], name.partition(":")[2] or "text") for name in names]
    return Result(shape, cells, **more)
