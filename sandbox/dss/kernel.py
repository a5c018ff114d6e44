"""One configured instance of a component, and the calls the LLM Mesh makes on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from dataikuapi.dss.llm_tracing import SpanBuilder

# The client's own mirror of what DSS does with a stream and with an answer to be streamed.
from dataikuapi.dss.llm_utils import _ChunkAggregator, _stream_from_single_response

from sandbox.dss import checks

# What DSS allows a component that does not say is not published.
DEFAULT_PARALLELISM = 8

Stream = Generator[Any, None, None]


class Kernel:
    """Calls go to `pool`, whose size is the component's own `get_max_parallelism()` where it has one.

    `base` is the class of `dataiku.llm.python` that the instance derives from: a method still the
    base's own is missing, and emulated from one that is there.
    """

    def __init__(self, instance: Any, base: type) -> None:
        self.instance = instance
        self._base = base
        self._loop = LoopThread()
        size = DEFAULT_PARALLELISM
        if hasattr(instance, "get_max_parallelism"):
            size = checks.check_max_parallelism(instance.get_max_parallelism())
        self.parallelism = size
        self.pool = ThreadPoolExecutor(size, thread_name_prefix="dss-kernel")

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        self._loop.close()

    def answer(self, query: Any, settings: Any, trace: SpanBuilder) -> Any:
        """A whole answer: `process`, else `aprocess`, else a stream consolidated. Unchecked."""
        if method := self._method("process"):
            return method(query, settings, trace)
        if method := self._method("aprocess"):
            return self._loop.run(method(query, settings, trace))
        streams = self._method("process_stream") or self._method("aprocess_stream")
        checks.require(
            streams, "implements-a-method", f"{type(self.instance).__name__} has no process method"
        )
        stream = self.items(query, settings, trace)
        with closing(stream), closing(_ChunkAggregator(checked(stream))) as aggregator:
            for _ in aggregator:
                pass
            response: dict[str, Any] = aggregator.response
        del response["ok"]
        return response

    def items(self, query: Any, settings: Any, trace: SpanBuilder) -> Stream:
        """Stream items: `process_stream`, else `aprocess_stream`, else a whole answer cut up. Unchecked."""
        if method := self._method("process_stream"):
            with closing(method(query, settings, trace)) as stream:
                yield from stream
        elif method := self._method("aprocess_stream"):
            with closing(self._loop.iterate(method(query, settings, trace))) as stream:
                yield from stream
        else:
            response = self.answer(query, settings, trace)
            checks.check_completion(response)
            yield from _stream_from_single_response(response)

    def _method(self, name: str) -> Callable[..., Any] | None:
        own = getattr(type(self.instance), name, None)
        if own is None or own is getattr(self._base, name, None):
            return None
        method: Callable[..., Any] = getattr(self.instance, name)
        checks.check_method_kind(name, method)
        return method


def checked(items: Iterator[Any]) -> Iterator[Any]:
    """The same items; raises ContractError."""
    check = checks.StreamCheck()
    for item in items:
        check.item(item)
        yield item
    check.end()


class LoopThread:
    """One event loop for all of a kernel's coroutines, so that clients bound to a loop keep working."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._started()).result()

    def iterate(self, stream: AsyncGenerator[Any, None]) -> Stream:
        async def step() -> tuple[bool, Any]:
            try:
                return True, await stream.__anext__()
            except StopAsyncIteration:
                return False, None

        async def end() -> None:
            await stream.aclose()

        try:
            more, item = self.run(step())
            while more:
                yield item
                more, item = self.run(step())
        finally:
            self.run(end())

    def close(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="dss-kernel-loop", daemon=True
                )
                self._thread.start()
            return self._loop
