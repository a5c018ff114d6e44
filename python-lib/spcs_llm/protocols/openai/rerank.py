"""Reranking: `/v1/rerank` as Cohere and Jina have it (vLLM, llama.cpp), `/rerank` of TEI, or `/v1/ranking` of NIM.

TEI is Hugging Face's Text Embeddings Inference.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from spcs_llm.domain import RankedDocument, Ranking, Usage
from spcs_llm.errors import ModelError, NotFound, ServiceError, SpcsError
from spcs_llm.http.request import HttpRequest
from spcs_llm.lenient_json import read_index
from spcs_llm.protocols.openai.envelopes import opened
from spcs_llm.protocols.openai.refusal_words import is_of_other_kind, may_be_a_refusal, reason_of
from spcs_llm.protocols.openai.server import Server
from spcs_llm.protocols.openai.usage import usage_of_answer
from spcs_llm.protocols.reply_errors import error_within, unexpected_reply
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.refusal_hints import is_about_length
from spcs_llm.sharing.learned import Learned

_MOST_ATTEMPTS: Final = 6
# What llama.cpp makes of a model for text as a reranker; those that score are never as sure of all documents.
_NEXT_TO_NOTHING: Final = 1e-15
_LISTS: Final = ("results", "data", "rankings")  # Cohere's and Jina's name, Voyage's, NIM's
_INDEXES: Final = ("index", "document_index", "corpus_id")  # the last is sentence-transformers'
_SCORES: Final = ("relevance_score", "score", "logit", "relevanceScore")  # the last is Bedrock's
_MAX_RANKING: Final = 4 << 20  # bytes; some servers send the documents back, of which a request has 1 MB


@dataclass(frozen=True)
class RankingForm:
    """How a ranking is asked for.

    Attributes:
        path: `/v1/rerank` as Cohere and Jina have it (vLLM, llama.cpp), `/rerank` of TEI and Infinity, or
            `/v1/ranking` of NIM.
        as_texts: Documents are under `texts`, as TEI has them.
        as_passages: Documents are under `passages`, as NIM has them.
        top_n: The number of results is asked for.
        truncates: vLLM is asked to cut what is too long.
    """

    path: str = "/v1/rerank"
    as_texts: bool = False
    as_passages: bool = False
    top_n: bool = True
    truncates: bool = False

    def request(self, query: str, documents: Sequence[str], model: str | None) -> HttpRequest:
        if self.as_passages:
            payload: dict[str, Any] = {
                "query": {"text": query},
                "passages": [{"text": document} for document in documents],
            }
        elif self.as_texts:
            payload = {"query": query, "texts": list(documents)}
        else:
            payload = {"query": query, "documents": list(documents)}
            if self.top_n:
                payload["top_n"] = len(documents)
        if model is not None and not self.as_texts:
            payload["model"] = model
        if self.truncates:
            payload.update({"truncate": "END"} if self.as_passages else {"truncate": True})
            if not self.as_texts and not self.as_passages:
                payload = {key: value for key, value in payload.items() if key != "truncate"}
                payload["truncate_prompt_tokens"] = -1
        return HttpRequest(self.path, payload, max_body=_MAX_RANKING)


_OF_TEI: Final = RankingForm("/rerank", as_texts=True)
_OF_NIM: Final = RankingForm("/v1/ranking", as_passages=True)


class Reranker:
    """Rankings at one endpoint. Thread-safe. What a server refuses is put another way, and that is remembered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._form = Learned(RankingForm())

    def rank(self, query: str, documents: Sequence[str], context: QueryContext) -> Ranking:
        """Ranks documents.

        Args:
            query: What the documents are compared with.
            documents: Their texts.
            context: The query that they are for.

        Returns:
            All documents by falling score. Scores are the server's own, of whatever scale.

        Raises:
            SpcsError: If no form of the request brings an answer within the query's time, or the answer does not rank
                all documents.
        """
        if not documents:
            return Ranking(())
        return self._server.ask(
            context, "rerank", lambda model: self._checked_ranking(query, documents, model, context)
        )

    def _checked_ranking(
        self, query: str, documents: Sequence[str], model: str | None, context: QueryContext
    ) -> Ranking:
        try:
            return self._ranking(query, documents, model, context)
        except ServiceError as error:
            private = {"query": query, "documents": documents}
            raise self._server.checked(_told(error), private, context) from None

    def _ranking(
        self, query: str, documents: Sequence[str], model: str | None, context: QueryContext
    ) -> Ranking:
        known = form = self._form.value
        tried = {form}
        first: ServiceError | None = None
        for _ in range(_MOST_ATTEMPTS):
            http_request = form.request(query, documents, model)
            try:
                body = self._server.endpoint.send(http_request, context)
                if (
                    form == _OF_NIM
                    and first is not None
                    and not (isinstance(body, dict) and "rankings" in body)
                ):
                    raise first  # something answers there, but no NIM
                ranking = read_ranking(body, len(documents), http_request.payload)
            except ServiceError as error:
                first = first or error
                other = _another(form, error, is_known=self._server.has_answered)
                if other is None or other in tried:
                    # That other paths are not there either is no news.
                    raise (first if _has_no_such_path(error) else error) from None
                tried.add(other)
                form = other
                continue
            if form != known:
                self._form.learn(form)
            self._server.has_answered = True
            return ranking
        raise first or ModelError("The service refuses every form of the request for a ranking.")


def _another(form: RankingForm, error: ServiceError, *, is_known: bool) -> RankingForm | None:
    """Another form, by what the server says of this one."""
    text = reason_of(error)
    if is_of_other_kind(error):
        return None
    if _has_no_such_path(error):
        if form.path == "/v1/rerank":
            return _OF_TEI
        # NIM says so itself. Where the gateway may hide a refusal behind its 404, each path costs a token, too.
        return _OF_NIM if form == _OF_TEI and not is_known and error.place == "service" else None
    if is_about_length(text):
        return replace(form, truncates=True) if not form.truncates else None
    if form.truncates and "truncat" in text:
        return replace(form, truncates=False)
    if not may_be_a_refusal(error):
        return None
    if not form.as_texts and re.search(r"\btexts\b", text):
        return replace(form, as_texts=True)
    if form.as_texts and re.search(r"\bdocuments\b", text):
        return replace(form, as_texts=False)  # Infinity, which may have no prefix
    if not form.as_passages and re.search(r"\bpassages\b", text):
        return replace(form, as_passages=True, as_texts=False)
    if form.top_n and re.search(r"\btop_n\b", text):
        return replace(form, top_n=False)
    return None


def _has_no_such_path(error: ServiceError) -> bool:
    return isinstance(error, NotFound) or error.status in (405, 501)


def _told(error: ServiceError) -> SpcsError:
    if not is_about_length(reason_of(error)):
        return error
    told = error.again()
    told.hint = "Send shorter documents, or smaller chunks of them."
    return told


def read_ranking(body: Any, count: int, payload: Any) -> Ranking:
    """Reads a ranking.

    Args:
        body: The answer's JSON: a list of `{"index", "relevance_score"}`, where the score may also be `score`,
            `logit` or `relevanceScore`, and the index `document_index` or `corpus_id`; or a dict that has the list
            under `results`, `data` or `rankings`.
        count: How many documents were sent.
        payload: The request's JSON, whose texts no error may quote.

    Returns:
        All documents by falling score.

    Raises:
        ModelError: If the answer does not rank each document once, or its scores say nothing.
        ServiceError: If the answer is an error.
    """
    error = error_within(body, payload)
    if error is not None:
        raise error
    body = opened(body, _LISTS)
    results = body
    if isinstance(body, dict):
        results = next((body[key] for key in _LISTS if key in body), None)
    if not isinstance(results, list) or len(results) > 2 * count:
        raise unexpected_reply("The service's answer is JSON, but not a ranking.")
    documents = [_document(result, count) for result in results]
    if len({document.index for document in documents}) != len(documents):
        raise unexpected_reply("The service ranks a document twice.")
    if len(documents) < count:
        raise unexpected_reply(f"The service ranks {len(documents)} of {count} documents only.")
    if any(document.score for document in documents) and all(
        abs(document.score) < _NEXT_TO_NOTHING for document in documents
    ):
        raise ModelError(
            "All scores of the service are close to 0: its model has no head that scores documents.",
            "Ask whoever runs the service for a reranker that was converted with its head.",
        )
    documents.sort(key=lambda document: -document.score)
    usage = usage_of_answer(body) if isinstance(body, dict) else Usage()
    return Ranking(tuple(documents), usage)


def _document(result: Any, count: int) -> RankedDocument:
    if not isinstance(result, dict):
        raise unexpected_reply("The ranking in the service's answer has an unknown structure.")
    index = read_index(next((result[key] for key in _INDEXES if key in result), None))
    score = next((result[key] for key in _SCORES if key in result), None)
    if index is None:
        raise unexpected_reply("The service does not say by an index which document a score is of.")
    if not 0 <= index < count:
        raise unexpected_reply("The service ranks a document that it was not given.")
    return RankedDocument(index, _number(score))


def _number(score: Any) -> float:
    if isinstance(score, (int, float)) and not isinstance(score, bool):
        with contextlib.suppress(OverflowError):
            number = float(score)
            if math.isfinite(number):
                return number
    raise unexpected_reply("The service returned a score that is not a number.")
