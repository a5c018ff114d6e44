"""A knowledge bank over an in-memory index, embedded by a model of the LLM Mesh; cosine similarity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

Embed = Callable[[Sequence[str]], list[list[float]]]
Document = Union[str, Mapping[str, Any]]  # {"text": ..., "metadata": {...}}


class SearchError(Exception):
    """A search this vector store does not offer."""


@dataclass(frozen=True)
class KnowledgeBank:
    project_key: str
    id: str
    llm_id: str
    documents: tuple[Mapping[str, Any], ...]
    vectors: np.ndarray

    @classmethod
    def build(
        cls, project_key: str, id: str, llm_id: str, documents: Sequence[Document], embed: Embed
    ) -> KnowledgeBank:
        """Embeds all documents. Raises ValueError for vectors of unequal length."""
        whole = tuple({"text": d} if isinstance(d, str) else dict(d) for d in documents)
        vectors = np.array(embed([document["text"] for document in whole]), dtype=float)
        return cls(project_key, id, llm_id, whole, _normalised(vectors))

    def search(self, vector: Sequence[float], params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Documents with text, score and metadata, the best first. Raises SearchError."""
        kind = params.get("searchType", "SIMILARITY")
        if kind not in ("SIMILARITY", "SIMILARITY_THRESHOLD", "MMR"):
            raise SearchError(f"search type {kind} is not supported by the in-memory vector store")
        if params.get("performFiltering"):
            raise SearchError("metadata filters are not supported by the in-memory vector store")
        scores = self.vectors @ _normalised(np.array(vector, dtype=float))
        best = [int(index) for index in np.argsort(-scores, kind="stable")]
        limit = int(params.get("maxDocuments", 10))
        if kind == "SIMILARITY_THRESHOLD":
            best = [index for index in best if scores[index] >= params["similarityThreshold"]]
        if kind == "MMR":
            best = self._diverse(best[: int(params["mmrK"])], scores, float(params["mmrDiversity"]), limit)
        return [{"score": float(scores[i]), "metadata": {}, **self.documents[i]} for i in best[:limit]]

    def _diverse(self, candidates: list[int], scores: np.ndarray, relevance: float, limit: int) -> list[int]:
        """Maximal marginal relevance."""
        chosen: list[int] = []
        while candidates and len(chosen) < limit:
            nearest = (self.vectors[candidates] @ self.vectors[chosen].T).max(axis=1) if chosen else 0.0
            worth = relevance * scores[candidates] - (1 - relevance) * nearest
            chosen.append(candidates.pop(int(np.argmax(worth))))
        return chosen


def _normalised(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1.0, length)
