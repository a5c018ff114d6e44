"""A service without a model: its answers follow from the inputs, and its speed is what one sets.

For tests of speed and of faults: `answer_to` and `vector_of` say what each input must get back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sandbox.services.local import LocalService
from sandbox.services.predict import predict_app

DIMENSIONS = 8
POISON = "__boom__"


def answer_to(text: str) -> str:
    return f"answer {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def vector_of(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[i % len(digest)] / 255 for i in range(dimensions)]


@dataclass
class Stats:
    """What the service was asked: rows of each request in order, and the most requests at once."""

    batch_sizes: list[int] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    inputs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def request(self, inputs: list[str]) -> Any:
        with self._lock:
            self.batch_sizes.append(len(inputs))
            self.inputs.extend(inputs)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


class ScriptedModel:
    """Costs `request_seconds` + rows times `row_seconds` on one of `replicas`, each of which is serial."""

    def __init__(
        self,
        kind: str = "chat",
        *,
        request_seconds: float = 0.0,
        row_seconds: float = 0.0,
        replicas: int = 1,
        max_rows: int | None = None,
        echo: bool = False,
        dimensions: int = DIMENSIONS,
        outputs: str = "string",
    ) -> None:
        self.kind = kind
        self.stats = Stats()
        self._cost = (request_seconds, row_seconds)
        self._replicas = asyncio.Semaphore(replicas)
        self._max_rows = max_rows
        self._echo = echo
        self._dimensions = dimensions
        self._outputs = outputs

    @contextlib.asynccontextmanager
    async def turn(self, inputs: list[str]) -> AsyncIterator[None]:
        """A request's time on a replica; raises for the poisoned input and for too many rows."""
        with self.stats.request(inputs):
            async with self._replicas:
                per_request, per_row = self._cost
                if seconds := per_request + per_row * len(inputs):
                    await asyncio.sleep(seconds)
            if self._max_rows is not None and len(inputs) > self._max_rows:
                raise RuntimeError(f"CUDA out of memory: a batch of {len(inputs)} rows")
            if any(POISON in text for text in inputs):
                raise ValueError("model exploded on purpose")
            yield

    async def predict(self, inputs: list[str]) -> list[Any]:
        async with self.turn(inputs):
            return [self._output(text) for text in inputs]

    def _output(self, text: str) -> Any:
        if self.kind == "chat":
            answer = text + answer_to(text) if self._echo else answer_to(text)
            native: Any = [{"generated_text": answer}]
        else:
            native = vector_of(text, self._dimensions)
        if self._outputs == "native":
            return native
        return str(native) if self.kind == "embedding" or self._outputs == "repr" else json.dumps(native)


class ScriptedService(LocalService):
    """The scripted model behind one of the protocols; `stats` can be read at any time."""

    def __init__(self, protocol: str = "PREDICT", **options: Any) -> None:
        server = {name: options.pop(name) for name in ("concurrent_requests_max",) if name in options}
        self.model = ScriptedModel(**options)
        super().__init__(predict_app(self.model, **server), "scripted-service")

    @property
    def stats(self) -> Stats:
        return self.model.stats
