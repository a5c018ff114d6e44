"""Embeds texts in several ways against a service of known cost, and says how far from the best possible each is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sandbox.services import ChildService
from sandbox.services.scripted import vector_of
from spcs_llm.batching import Batcher, BatchSpec
from spcs_llm.chat_templates.template import ChatTemplate
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.token_source import NoToken
from spcs_llm.http.transport import Transport
from spcs_llm.protocols.inference_server.predict import PredictProtocol
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.ingress import error_from_response
from spcs_llm.urls import parse_base_url

REQUEST_SECONDS = 0.020
ROW_SECONDS = 0.001
MAX_ROWS = 64
SECONDS = 120.0


@contextmanager
def service(replicas: int = 1, *, instant: bool = False) -> Iterator[str]:
    """The URL of a `/predict` service in a separate process, each of whose replicas does one request at a time."""
    cost = {} if instant else {"request_seconds": REQUEST_SECONDS, "row_seconds": ROW_SECONDS}
    child = ChildService("scripted", "PREDICT", {"kind": "embedding", "replicas": replicas, **cost})
    try:
        yield child.url
    finally:
        child.stop()


@dataclass
class Client:
    """The plugin's way from texts to vectors, with as many requests in flight as there are replicas."""

    url: str
    limit: int
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        limiter = Limiter(self.limit)
        transport = Transport(parse_base_url(self.url), self.limit)
        endpoint = Endpoint(transport, NoToken(), error_from_response, limiter=limiter)
        self._protocol = PredictProtocol(
            endpoint, template=ChatTemplate.for_mode("TEXT_GENERATION_OTHER", None)
        )
        self._batcher = Batcher(limiter)
        self._job = BatchSpec("embed", self.send, MAX_ROWS, len)

    def send(self, texts: Sequence[str], call: QueryContext) -> list[Any]:
        self.sizes.append(len(texts))
        return self._protocol.embed(texts, call)

    def alone(self, text: str) -> Any:
        return self._protocol.embed([text], QueryContext(SECONDS))[0]

    def together(self, text: str) -> Any:
        return self._batcher.submit(text, QueryContext(SECONDS), self._job)

    def seconds_for_list(self, texts: int) -> float:
        """Wall time of one query that carries them all."""
        rows = [f"text number {number}" for number in range(texts)]
        began = time.perf_counter()
        vectors = self._batcher.submit_all(rows, QueryContext(SECONDS), self._job)
        seconds = time.perf_counter() - began
        assert vectors[-1].vector == vector_of(rows[-1])
        return seconds


def seconds_for(embed: Callable[[str], Any], texts: int, callers: int) -> float:
    """Wall time of `callers` threads that take one text after the other. Every tenth vector is checked."""
    left = iter(range(texts))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in left:
                text = f"text number {number}"
                vector = embed(text).vector
                assert number % 10 or vector == vector_of(text)
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    assert not failures, failures[0]
    return seconds


def best_seconds(texts: int, callers: int, replicas: int) -> float:
    """Nobody can do better with that many callers, each of whom has one text under way: even shares, no pauses."""
    rows = min(MAX_ROWS, math.ceil(callers / replicas))
    return texts / (rows * replicas) * (REQUEST_SECONDS + ROW_SECONDS * rows)


def warm(client: Client, callers: int) -> None:
    """Connections are open, and threads have run."""
    seconds_for(client.together, callers * 3, callers)
    client.sizes.clear()
