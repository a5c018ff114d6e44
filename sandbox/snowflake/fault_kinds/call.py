"""The one request that meets a fault, and the table in which every kind of fault enters itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sandbox.snowflake.reply import Reply, read_body
from sandbox.snowflake.wire import App, Receive, Scope, Send, Wire


@dataclass(frozen=True)
class Site:
    """Where a fault strikes: the listener's name, the sign-in page, and a host that is not ours."""

    name: str
    sign_in_url: str
    elsewhere_url: str


@dataclass(frozen=True)
class Call:
    app: App
    scope: Scope
    receive: Receive
    send: Send
    wire: Wire
    params: dict[str, Any]
    site: Site

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.params.get(name, default)

    async def answer(self, reply: Reply) -> None:
        await read_body(self.receive)
        await reply.send(self.send)

    async def real(self) -> Reply:
        """The answer that the request would have got."""
        return await Reply.of(self.app, self.scope, self.receive)


Kind = Callable[[Call], Awaitable[None]]
KINDS: dict[str, Kind] = {}


def kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function


class CutError(Exception):
    """The connection is gone; the application behind need not go on."""
