"""A whole HTTP answer as a value: taken from an application, sent through ASGI or turned into bytes."""

from __future__ import annotations

import http
import json
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any

from sandbox.snowflake.wire import App, Receive, Scope, Send


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @classmethod
    def json(cls, body: object, status: int = 200, headers: list[tuple[str, str]] | None = None) -> Reply:
        content = [("content-type", "application/json"), *(headers or [])]
        return cls(status, content, json.dumps(body).encode())

    @classmethod
    async def of(cls, app: App, scope: Scope, receive: Receive) -> Reply:
        """Run the application and keep what it says."""
        status, headers, parts = 500, [], []

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in message.get("headers", [])]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await app(scope, receive, send)
        return cls(status, headers, b"".join(parts))

    def with_body(self, body: bytes) -> Reply:
        return replace(self, body=body)

    async def send(self, send: Send) -> None:
        headers = [*self._headers(), ("content-length", str(len(self.body)))]
        encoded = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]
        await send({"type": "http.response.start", "status": self.status, "headers": encoded})
        await send({"type": "http.response.body", "body": self.body})

    def head(self, framing: list[tuple[str, str]]) -> bytes:
        """The status line and headers as bytes, with the framing headers given."""
        try:
            phrase = http.HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in [*self._headers(), *framing]]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def raw(self, *, content_length: int | None = None) -> bytes:
        length = len(self.body) if content_length is None else content_length
        return self.head([("content-length", str(length))]) + self.body

    def _headers(self) -> list[tuple[str, str]]:
        framing = {"content-length", "transfer-encoding"}
        return [(name, value) for name, value in self.headers if name.lower() not in framing]


async def read_body(receive: Receive) -> bytes:
    """The request's body to its end (or to where the client left)."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)
