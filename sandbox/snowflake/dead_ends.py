"""Addresses on loopback at which no HTTP conversation comes about."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """host:port where nothing listens: ECONNREFUSED."""
    # Bound without listening, so that nobody else is given the port meanwhile.
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        yield _address(sock)


@contextlib.contextmanager
def hanging_connect() -> Iterator[str]:
    """host:port whose TCP handshake is never answered: the queue of connections is full (Linux)."""
    with contextlib.ExitStack() as held:
        sock = held.enter_context(socket.socket())
        sock.bind((LOOPBACK, 0))
        sock.listen(0)
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield _address(sock)


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """host:port that accepts and never says anything, nor reads: with https, a handshake that hangs."""
    with _accepting(lambda connection: None) as address:
        yield address


@contextlib.contextmanager
def handshake_cut() -> Iterator[str]:
    """host:port that resets the connection after the first bytes: with https, a handshake that is cut."""

    def cut(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with _accepting(cut) as address:
        yield address


@contextlib.contextmanager
def _accepting(act: object) -> Iterator[str]:
    assert callable(act)
    accepted: list[socket.socket] = []
    with socket.create_server((LOOPBACK, 0), backlog=64) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    accepted.append(connection)
                    act(connection)
                except OSError:
                    if server.fileno() < 0 or closing.is_set():
                        return

        closing = threading.Event()
        thread = threading.Thread(target=accept, name="dead-end", daemon=True)
        thread.start()
        try:
            yield _address(server)
        finally:
            closing.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(2)
            for connection in accepted:
                connection.close()


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"
