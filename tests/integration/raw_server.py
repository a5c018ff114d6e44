"""A server that answers with scripted bytes, or does what no HTTP server would. Standard library only."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from typing_extensions import Self

LOOPBACK = "127.0.0.1"
CLOSE = "close"


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes
    over: int = field(compare=False)  # the connection's number, from 1


Step = Union[bytes, Callable[[Any], Any]]


class RawServer:
    """Reads requests and does one step of the script for each; the last step stays.

    A step is bytes to send, or a function of the connection; one that returns CLOSE, or raises OSError, closes it.
    tls: wraps each connection. on_connect: done to a connection before anything is read.
    """

    def __init__(
        self,
        *script: Step,
        tls: ssl.SSLContext | None = None,
        on_connect: Callable[[socket.socket], Any] | None = None,
    ) -> None:
        self._script = list(script)
        self._tls = tls
        self._on_connect = on_connect
        self._lock = threading.Lock()
        self._open: list[Any] = []
        self._listener = socket.create_server((LOOPBACK, 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.address = f"{LOOPBACK}:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self.requests: list[Request] = []
        self.connections = 0
        self.gone = threading.Event()
        self._name = f"raw-server-{self.port}"
        threading.Thread(target=self._accept, name=self._name, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_connections()
        for thread in threading.enumerate():
            if thread.name == self._name:
                thread.join(5)

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._open)

    def close_connections(self, *, reset: bool = False) -> None:
        """Ends what is open: by FIN, as servers do with idle connections, or by RST, as firewalls do."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    if reset:
                        reset_on_close(connection)
                    # Wakes the thread that reads, which closes; before that the kernel would hold the connection.
                    socket.socket.shutdown(connection, socket.SHUT_RD if reset else socket.SHUT_RDWR)
        until = time.monotonic() + 5
        while reset and self.open_connections and time.monotonic() < until:
            time.sleep(0.001)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # As servers do: what waits for the client's word on the packet before is lost with a reset.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            serve, arguments = self._serve, (connection, self.connections)
            threading.Thread(target=serve, args=arguments, name=self._name, daemon=True).start()

    def _serve(self, connection: Any, number: int) -> None:
        try:
            if self._on_connect is not None:
                self._on_connect(connection)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with self._lock:
                self._open.append(connection)
            while (request := _read_request(connection, number)) is not None:
                if self._step(connection, request) == CLOSE:
                    return
        except (OSError, ValueError):
            pass
        finally:
            self.gone.set()
            with contextlib.suppress(OSError):
                connection.close()
            with self._lock:
                if connection in self._open:
                    self._open.remove(connection)

    def _step(self, connection: Any, request: Request) -> Any:
        with self._lock:
            self.requests.append(request)
            step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, bytes):
            return connection.sendall(step)
        return step(connection)


def _read_request(connection: Any, number: int) -> Request | None:
    received = bytearray()
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65536)):
            return None
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        if not (more := connection.recv(1 << 20)):
            return None
        body += more
    return Request(line, headers, bytes(body), number)


# -- steps ----------------------------------------------------------------------------------------------------


def reply(status: int = 200, body: bytes = b'{"ok": 1}', reason: str = "Reason", **headers: str) -> bytes:
    """A whole response that is framed by its length. Header names: `content_type` for Content-Type."""
    fields = {"content_type": "application/json", "content_length": str(len(body)), **headers}
    return head(status, reason, **fields) + body


def head(status: int = 200, reason: str = "Reason", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {reason}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


CHUNKED: dict[str, Any] = {"transfer_encoding": "chunked", "content_type": "application/json"}


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def then_close(data: bytes) -> Step:
    def step(connection: Any) -> str:
        connection.sendall(data)
        return CLOSE

    return step


def then_reset(data: bytes = b"") -> Step:
    def step(connection: Any) -> str:
        if data:
            connection.sendall(data)
        reset_on_close(connection)
        return CLOSE

    return step


def then_silence(data: bytes = b"", reached: Callable[[], object] = lambda: None) -> Step:
    """Sends, says by `reached` that it has, and then nothing until the client goes."""

    def step(connection: Any) -> str:
        connection.sendall(data)
        reached()
        connection.recv(1)
        return CLOSE

    return step


def dripping(start: bytes, piece: bytes, reached: Callable[[], object] = lambda: None) -> Step:
    """Sends `start`, says by `reached` that it has, and a `piece` at a time for ever: never silent, never at an end."""

    def step(connection: Any) -> None:
        connection.sendall(start)
        reached()
        wait = threading.Event()
        while True:
            connection.sendall(piece)
            wait.wait(0.01)

    return step


def endless(start: bytes, piece: bytes) -> Step:
    """Sends `piece` over and over as fast as it is taken."""

    def step(connection: Any) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return step


def reset_on_close(connection: Any) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_at_once(connection: socket.socket) -> None:
    """For `on_connect`: a connection that is cut before a byte, as in a TLS handshake."""
    connection.recv(1)
    reset_on_close(connection)
    raise OSError("cut")


# -- addresses without a server -------------------------------------------------------------------------------


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """host:port where nothing listens."""
    with socket.socket() as sock:  # bound without listening, so that nobody else is given the port meanwhile
        sock.bind((LOOPBACK, 0))
        yield f"{LOOPBACK}:{sock.getsockname()[1]}"


@contextlib.contextmanager
def hanging_connect() -> Iterator[str]:
    """host:port whose TCP handshake is never answered, as its queue of connections is full (Linux)."""
    with contextlib.ExitStack() as held:
        sock = held.enter_context(socket.socket())
        sock.bind((LOOPBACK, 0))
        sock.listen(0)
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield f"{LOOPBACK}:{sock.getsockname()[1]}"


# -- a proxy --------------------------------------------------------------------------------------------------


class Proxy:
    """Connects through to where it is asked, unless it `refuses` with a status line."""

    def __init__(self, refuses: bytes | None = None) -> None:
        self._refuses = refuses
        self.server = RawServer(self._step)
        self.url = f"http://user:proxy-canary@{self.server.address}"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.__exit__()

    @property
    def asked(self) -> list[str]:
        return [request.line for request in self.server.requests]

    def _step(self, connection: Any) -> str:
        if self._refuses is not None:
            connection.sendall(b"HTTP/1.1 " + self._refuses + b"\r\ncontent-length: 0\r\n\r\n")
            return CLOSE
        host, _, port = self.asked[-1].split(" ")[1].rpartition(":")
        with socket.create_connection((host, int(port))) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(onward, connection), daemon=True)
            back.start()
            _pump(connection, onward)
            back.join(5)
        return CLOSE


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
