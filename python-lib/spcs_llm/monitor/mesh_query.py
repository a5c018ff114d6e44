"""One query of a diagnosis through LLM Mesh, of the kind that the model is for.

No two have the same text: DSS can answer from a cache, and a service that is down would seem to answer (Dataiku
knowledge base, "LLM cost control"; release notes of DSS 13.2.3).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.control.diagnosis.query_steps import CHAT, DOCUMENTS, EMBED, QUESTION, SEARCHED, TEXT, TOKENS
from spcs_llm.control.diagnosis.subject import StreamTiming
from spcs_llm.monitor.as_viewer import refusal
from spcs_llm.monitor.mesh_models import MeshModel
from spcs_llm.monitor.timeline import is_footer


@dataclass
class Asked:
    """What came of the query.

    Attributes:
        seen: What came, without its content.
        told: What LLM Mesh says of the query: its trace, tokens and cost.
        timing: When the pieces of a chat's answer came; None for other kinds.
        seconds: How long it took.
        ranking: The places in the query of the documents that were ranked, the best first.
    """

    seen: str
    told: Mapping[str, Any]
    timing: StreamTiming | None = None
    seconds: float = 0.0
    ranking: Sequence[object] = ()


def ask(project: Any, model: MeshModel, clock: Callable[[], float] = time.monotonic) -> Asked:
    """Sends the query.

    Args:
        project: A `dataikuapi` project, whose client has the viewer's rights.
        model: The model.
        clock: Seconds that never go back.

    Returns:
        What came of it.

    Raises:
        SpcsError: If the query is not answered.
    """
    began = clock()
    send = {CHAT: _chat, EMBED: _embed}.get(model.kind, _rerank)
    asked = send(project.get_llm(model.id), clock)
    asked.seconds = clock() - began
    return asked


def _chat(llm: Any, clock: Callable[[], float]) -> Asked:
    completion = llm.new_completion()
    completion.with_message(_once(QUESTION))
    completion.settings.update(maxOutputTokens=TOKENS, temperature=0)
    began, timing, told = clock(), StreamTiming(), dict[str, Any]()
    for piece in completion.execute_streamed():
        if is_footer(piece):
            told = dict(piece.data)
        elif piece.data.get("text") or piece.data.get("artifacts"):
            timing.moments.append(clock() - began)
    timing.whole = clock() - began
    return Asked("A chat has an answer.", told, timing)


def _embed(llm: Any, clock: Callable[[], float]) -> Asked:
    answer = _first(llm.new_embeddings().add_text(_once(TEXT)).execute())
    vector = answer.get("embedding")
    if not isinstance(vector, list):
        raise refusal(str(answer.get("errorMessage") or "LLM Mesh does not return an embedding."))
    return Asked(f"A text has an embedding of {len(vector)} dimensions.", answer)


def _rerank(llm: Any, clock: Callable[[], float]) -> Asked:
    query = llm.new_reranking().with_query(_once(SEARCHED))
    for document in DOCUMENTS:
        query.with_document(document)
    answer = _first(query.execute())
    if not answer.get("ok"):
        raise refusal(str(answer.get("errorMessage") or "LLM Mesh does not return a ranking."))
    documents = answer.get("documents") or ()
    ranking = [each.get("index") for each in documents if isinstance(each, Mapping)]
    return Asked(f"{len(documents)} documents are ranked.", answer, ranking=ranking)


def _once(text: str) -> str:
    return f"Test {secrets.token_hex(4)}. {text}"


def _first(response: Any) -> Mapping[str, Any]:
    """The one response in what DSS answered, which the client keeps as it came."""
    raw = getattr(response, "_raw", None)
    found = raw.get("responses") if isinstance(raw, Mapping) else None
    return found[0] if isinstance(found, list) and found and isinstance(found[0], Mapping) else {}
