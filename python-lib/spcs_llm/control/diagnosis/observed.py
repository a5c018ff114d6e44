"""Connections that note what is answered on them, for the record of a diagnosis: statuses and names, never contents."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from spcs_llm.http.exchange import Exchange
from spcs_llm.http.transport import Transport

_MAX_SEEN = 500


@dataclass(frozen=True)
class Seen:
    """What is noted of one answer.

    Attributes:
        host: The host that answered. It is for telling answers apart, and does not go into the record.
        method: The HTTP method of the request.
        status: The HTTP status.
        headers: The names of the headers, in lower case. A server chooses them.
        content_type: The media type, without its parameters. A server chooses it.
        from_gateway: Whether the answer bears the marks of Snowflake's ingress.
        location: Where a redirect leads: `same host`, `another host`, or "" if there is none.
        reused: Whether the connection had served an earlier request.
    """

    host: str = field(repr=False)
    method: str
    status: int
    headers: tuple[str, ...] = field(repr=False)
    content_type: str = field(repr=False)
    from_gateway: bool
    location: str
    reused: bool


class Observations:
    """What came back, in order. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._transports: list[Transport] = []

    def note(self, host: str, method: str, exchange: Exchange) -> None:
        headers = exchange.headers
        seen = Seen(
            host,
            method,
            exchange.status,
            tuple(sorted({name.lower() for name in headers})),
            (headers.get("Content-Type") or "").partition(";")[0].strip().lower(),
            (headers.get("Server") or "").strip() == "_" or "sfc-ss-" in (headers.get("Set-Cookie") or ""),
            _place(headers.get("Location"), host),
            exchange.reused_connection,
        )
        with self._lock:
            if len(self._seen) < _MAX_SEEN:
                self._seen.append(seen)

    def watch(self, transport: Transport) -> None:
        with self._lock:
            self._transports.append(transport)

    def close(self) -> None:
        """Ends the idle connections of all that was watched."""
        with self._lock:
            for transport in self._transports:
                transport.close()

    @property
    def all(self) -> list[Seen]:
        with self._lock:
            return list(self._seen)


def observed(observations: Observations) -> type[Transport]:
    """The class of connections that note what is answered.

    Args:
        observations: What takes the notes.

    Returns:
        The class, to be used instead of `Transport`.
    """

    class ObservedTransport(Transport):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            observations.watch(self)

        def send(self, method: str, *args: Any, **options: Any) -> Exchange:
            exchange = super().send(method, *args, **options)
            observations.note(self.url.netloc, method, exchange)
            return exchange

    return ObservedTransport


def _place(location: str | None, host: str) -> str:
    if not location:
        return ""
    try:
        netloc = urlsplit(location).netloc
    except ValueError:
        netloc = "?"
    return "same host" if netloc in ("", host) else "another host"
