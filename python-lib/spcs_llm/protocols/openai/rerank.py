"""Reranking: `/v1/rerank` as Cohere and Jina have it (vLLM, llama.cpp), or `/rerank` of TEI.

TEI is Hugging Face's Text Embeddings Inference.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

from spcs_llm.domain import RankedDocument, Ranking, Usage
from spcs_llm.http.endpoint import HttpRequest
from spcs_llm.protocols.openai.answer import usage_of
from spcs_llm.protocols.reply_errors import error_within, unexpected_reply


def cohere_request(query: str, documents: Sequence[str], model: str | None) -> HttpRequest:
    payload: dict[str, Any] = {"query": query, "documents": list(documents), "top_n": len(documents)}
    if model is not None:
        payload["model"] = model
    return HttpRequest("/v1/rerank", payload)


def tei_request(query: str, documents: Sequence[str], model: str | None) -> HttpRequest:
    return HttpRequest("/rerank", {"query": query, "texts": list(documents)})


def read_ranking(body: Any, count: int, payload: Any) -> Ranking:
    """The ranking of `count` documents. Raises ModelError when it is not one of them all."""
    error = error_within(body, payload)
    if error is not None:
        raise error
    results = body.get("results") if isinstance(body, dict) else body
    if not isinstance(results, list):
        raise unexpected_reply("The service answers with JSON that is no ranking.")
    documents = [_document(result, count) for result in results]
    if len({document.index for document in documents}) != len(documents):
        raise unexpected_reply("The service ranks a document twice.")
    if len(documents) < count:
        raise unexpected_reply(f"The service ranks {len(documents)} of {count} documents only.")
    documents.sort(key=lambda document: -document.score)
    usage = usage_of(body.get("usage")) if isinstance(body, dict) else Usage()
    return Ranking(tuple(documents), usage)


def _document(result: Any, count: int) -> RankedDocument:
    if not isinstance(result, dict):
        raise unexpected_reply("The service answers with a ranking of an unknown shape.")
    index, score = result.get("index"), result.get("relevance_score", result.get("score"))
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise unexpected_reply("The service ranks a document that it was not given.")
    return RankedDocument(index, _number(score))


def _number(score: Any) -> float:
    if isinstance(score, (int, float)) and not isinstance(score, bool):
        with contextlib.suppress(OverflowError):
            number = float(score)
            if math.isfinite(number):
                return number
    raise unexpected_reply("The service gives a document a score that is no number.")
