"""Embeddings: `/v1/embeddings`, with vectors as base64 where the server can, or the paths of TEI and Infinity.

TEI is Hugging Face's Text Embeddings Inference.
"""

from __future__ import annotations

import array
import base64
import binascii
import math
import re
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Union

from spcs_llm.domain import MAX_DIMENSIONS, Embedding
from spcs_llm.errors import BadRequest, ModelError, NotFound, ServiceError, SpcsError, UnusableVector
from spcs_llm.http.request import HttpRequest, max_body_of_vectors
from spcs_llm.lenient_json import read_index
from spcs_llm.protocols.openai.envelopes import opened
from spcs_llm.protocols.openai.refusal_words import is_of_other_kind, may_be_a_refusal, reason_of
from spcs_llm.protocols.openai.server import Server
from spcs_llm.protocols.openai.usage import usage_of_answer
from spcs_llm.protocols.reply_errors import ZEROS_HINT, error_within, unexpected_reply, vectors_of_tokens
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.refusal_hints import is_about_length
from spcs_llm.sharing.learned import Learned

Row = Union[Embedding, SpcsError]

_PATH: Final = "/v1/embeddings"
_PATH_OF_TEI: Final = "/embed"
_PATH_OF_INFINITY: Final = "/embeddings"  # as long as it is not started with --url-prefix /v1
_MOST_ATTEMPTS: Final = 6
_PATIENCE: Final = 2.0  # seconds: a first request that hangs does not hold up the others
_NO_REASON: Final = (400, 422, 500, 501)
_TOLERANCE: Final = 0.02  # of numbers of a GPU, which are not quite the same in requests of other sizes
# Gateways that can make nothing of the base64 that they passed on the wish for.
_UNREADABLE: Final = re.compile(
    r"\b(parse|decode|deseriali[sz]e)\b.{0,30}\bresponse\b|\bresponse\b.{0,30}\b(parsed|decoded|deseriali[sz]ed)\b",
    re.IGNORECASE,
)

# How servers are told to cut a text that is too long: vLLM to the model's length; NIM and Cohere at the end.
_TRUNCATIONS: Final[tuple[dict[str, Any], ...]] = ({"truncate_prompt_tokens": -1}, {"truncate": "END"})
_TRUNCATION_OF_TEI: Final = len(_TRUNCATIONS)  # only at its own path
_WORDS_OF_TEI: Final = re.compile(r"`inputs` must have less than \d")
# What servers call the vectors of all texts, and the vector of one: OpenAI and Ollama, BGE-M3's own library and servers
# that hand on what it returns, Google.
_VECTORS: Final = ("embeddings", "dense_vecs")
_VECTOR: Final = ("embedding", "dense_embedding", "values")
_PACKS_BITS: Final = re.compile(r"\bbit.?pack", re.IGNORECASE)
_TAKES_ONE_TEXT: Final = re.compile(
    r"\binput\b.{0,80}(\bvalid string|\b(be|expect\w*|require\w*) (an? |one )?(type |of type )?str(ing)?\b|\bstr type)"
)

# For each, what to say where it is refused.
_WORDS_FOR_PASSAGES: Final[Mapping[str | None, str]] = {None: "passage", "passage": "search_document"}


@dataclass(frozen=True)
class EmbeddingForm:
    """How embeddings are asked for.

    Attributes:
        as_base64: Vectors are asked for as base64, which parses ten times as fast as decimal numbers.
        input_type: What the texts are, for models that tell queries from passages: in NIM's word or in Cohere's. LLM
            Mesh does not say which; what is embedded in bulk are passages.
        one_text: Each request has one text, not a list.
        of_tei: The path and fields are those of TEI.
        of_infinity: The path is that of Infinity.
        truncation: The form among those of servers, when texts that are too long are to be cut; None for none.
    """

    as_base64: bool = True
    input_type: str | None = None
    one_text: bool = False
    of_tei: bool = False
    of_infinity: bool = False
    truncation: int | None = None

    def is_of_tei(self, *, truncates: bool) -> bool:
        """Whether it is TEI's own path that is asked: for all texts, or for those that it is to truncate."""
        return self.of_tei or (truncates and self.truncation == _TRUNCATION_OF_TEI)

    def request(self, texts: Sequence[str], model: str | None, *, truncates: bool) -> HttpRequest:
        if self.is_of_tei(truncates=truncates):
            payload: dict[str, Any] = {"inputs": list(texts)}
            if truncates:
                payload["truncate"] = True
            return HttpRequest(
                _PATH_OF_TEI, payload, weight=len(texts), max_body=max_body_of_vectors(len(texts))
            )
        payload = {"input": texts[0] if self.one_text else list(texts)}
        if model is not None:
            payload["model"] = model
        if self.as_base64:
            payload["encoding_format"] = "base64"
        if self.input_type is not None:
            payload["input_type"] = self.input_type
        if truncates and self.truncation is not None:
            payload.update(_TRUNCATIONS[self.truncation])
        path = _PATH_OF_INFINITY if self.of_infinity else _PATH
        return HttpRequest(path, payload, weight=len(texts), max_body=max_body_of_vectors(len(texts)))


@dataclass(frozen=True)
class _Question:
    """What is asked, in whatever form: the texts, of which model, for which query, and whether to cut long ones."""

    texts: Sequence[str] = field(repr=False)
    model: str | None
    context: QueryContext
    truncates: bool

    def about(self, text: str) -> _Question:
        return replace(self, texts=[text])


class Embedder:
    """Embeddings at one endpoint. Thread-safe. What a server refuses is put another way, and that is remembered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._form = Learned(EmbeddingForm())
        self._base64_is_proven = Learned(False)
        self._first = threading.Lock()

    def embed(self, texts: Sequence[str], context: QueryContext, *, truncates: bool = False) -> list[Row]:
        """Embeds texts.

        Args:
            texts: What to embed.
            context: The query that they are for.
            truncates: Whether texts that are too long for the model are to be cut to its length.

        Returns:
            A row for each text, in order: its embedding, or the error that is this text's only.

        Raises:
            SpcsError: If all texts failed, for one reason.
        """
        if not texts:
            return []
        # As long as nothing is known, one request finds out what the others would each find out as well.
        is_first = not self._server.has_answered and self._first.acquire(
            timeout=max(0.0, min(_PATIENCE, context.remaining()))
        )
        try:
            return self._server.ask(
                context, "embed", lambda model: self._negotiated(_Question(texts, model, context, truncates))
            )
        finally:
            if is_first:
                self._first.release()

    def _negotiated(self, question: _Question) -> list[Row]:
        known = form = self._form.value
        for _ in range(_MOST_ATTEMPTS):
            try:
                rows = self._asked(question, form)
            except ServiceError as error:
                other = self._another(form, error, truncates=question.truncates)
                if other is None:
                    told = _told(error, form, truncates=question.truncates)
                    raise self._server.checked(told, {"input": question.texts}, question.context) from None
                form = other
                continue
            if form != known:
                proven = self._form.value.as_base64
                self._form.learn(replace(form, as_base64=form.as_base64 and proven))
            self._server.has_answered = True
            return rows
        raise ModelError("The service refuses every form of the request for embeddings.")

    def _asked(self, question: _Question, form: EmbeddingForm) -> list[Row]:
        if form.one_text and len(question.texts) > 1:
            return [self._asked(question.about(text), form)[0] for text in question.texts]
        rows = self._read(question, form)
        if form.one_text or not _are_alike(rows, question.texts):
            return rows
        # A gateway may give each text of a request the vector of the last one (DIAL's adapter for Vertex AI did).
        alone = replace(form, one_text=True)
        ends = [self._asked(question.about(question.texts[at]), alone)[0] for at in (0, -1)]
        if all(map(_agree, ends, (rows[0], rows[-1]))):
            return rows
        self._form.update(lambda known: replace(known, one_text=True))
        return self._asked(question, alone)

    def _read(self, question: _Question, form: EmbeddingForm) -> list[Row]:
        count = len(question.texts)
        http_request = form.request(question.texts, question.model, truncates=question.truncates)
        body = _with_items(self._server.endpoint.send(http_request, question.context))
        is_of_tei = form.is_of_tei(truncates=question.truncates)
        if not form.as_base64 or is_of_tei or self._base64_is_proven.value:
            return read_embeddings(body, count, http_request.payload or {})
        # OpenRouter's way to refuse it
        refuses_base64 = isinstance(body, dict) and body.get("data") == []
        rows = [] if refuses_base64 else read_embeddings(body, count, http_request.payload or {})
        if rows and not came_as_base64(body):
            self._form.update(lambda known: replace(known, as_base64=False))
            return rows
        if rows and all(map(_is_of_length_one, rows)):
            self._base64_is_proven.learn(True)
            return rows
        return self._compared(rows, question, form)

    def _compared(self, rows: list[Row], question: _Question, form: EmbeddingForm) -> list[Row]:
        # vLLM wrote float64 before 0.5.5, FastChat writes the type that the model calculates in, and Infinity the
        # vectors of a text's tokens in a row. Read as float32, each is a vector, of nothing.
        try:
            in_numbers = self._asked(question, replace(form, as_base64=False))
        except BadRequest:
            if not rows:
                raise
            self._base64_is_proven.learn(True)  # Voyage takes nothing else
            return rows
        if any(map(_agree, rows, in_numbers)):
            self._base64_is_proven.learn(True)
        elif any(isinstance(row, Embedding) for row in (*rows, *in_numbers)):
            self._form.update(lambda known: replace(known, as_base64=False))
        return in_numbers

    def _another(self, form: EmbeddingForm, error: ServiceError, *, truncates: bool) -> EmbeddingForm | None:
        """Another form, by what the server says of this one."""
        text = reason_of(error)
        if is_of_other_kind(error) or _PACKS_BITS.search(text):
            return None  # in numbers, packed bits would pass for a vector
        if is_about_length(text):
            if not truncates or form.is_of_tei(truncates=truncates):
                return None
            return (
                replace(form, truncation=_TRUNCATION_OF_TEI)
                if _WORDS_OF_TEI.search(text)
                else _cut_otherwise(form)
            )
        if isinstance(error, NotFound):
            return None if self._server.has_answered else _at_another_path(form, error)
        if form.as_base64 and not self._base64_is_proven.value and _UNREADABLE.search(text):
            return replace(form, as_base64=False)
        if not may_be_a_refusal(error):
            return None
        if "input_type" in text and form.input_type in _WORDS_FOR_PASSAGES:
            return replace(form, input_type=_WORDS_FOR_PASSAGES[form.input_type])
        if form.truncation is not None and truncates and re.search("truncat", text):
            return _cut_otherwise(form)
        if form.as_base64 and re.search("encoding_format|base64", text):
            return replace(form, as_base64=False)
        if not form.one_text and _TAKES_ONE_TEXT.search(text) and not re.search("list|array", text):
            return replace(form, one_text=True)
        # It may be the reason if none is given.
        if form.as_base64 and not self._base64_is_proven.value and error.status in _NO_REASON:
            return replace(form, as_base64=False)
        return None


def _cut_otherwise(form: EmbeddingForm) -> EmbeddingForm | None:
    following = 0 if form.truncation is None else form.truncation + 1
    return replace(form, truncation=following) if following < len(_TRUNCATIONS) else None


def _at_another_path(form: EmbeddingForm, error: NotFound) -> EmbeddingForm | None:
    if form.of_infinity:
        return None
    if not form.of_tei:
        return replace(form, of_tei=True)
    # Where the gateway may hide a refusal behind its 404, each path costs a token, too.
    return replace(form, of_tei=False, of_infinity=True) if error.place == "service" else None


def _told(error: ServiceError, form: EmbeddingForm, *, truncates: bool) -> SpcsError:
    if not is_about_length(reason_of(error)):
        return error
    told = error.again()
    told.hint = "Send shorter texts, or smaller chunks of the documents."
    if truncates:
        told.hint = f"The service does not truncate texts, as 'textOverflowMode' asks for. {told.hint}"
    return told


def came_as_base64(body: Any) -> bool:
    """Whether an answer that `read_embeddings` has read holds a vector in base64."""
    return isinstance(body, dict) and any(
        isinstance(item.get("embedding"), str) for item in body.get("data") or ()
    )


def _is_of_length_one(row: Row) -> bool:
    """Whether it is a normalized vector, which no bytes are that were read as what they are not."""
    return isinstance(row, Embedding) and abs(math.hypot(*row.vector) - 1.0) < _TOLERANCE


def _are_alike(rows: Sequence[Row], texts: Sequence[str]) -> bool:
    """Whether different texts all have the same vector."""
    if len(set(texts)) < 2 or not all(isinstance(row, Embedding) for row in rows):
        return False
    vectors = [row.vector for row in rows if isinstance(row, Embedding)]
    return all(vector == vectors[0] for vector in vectors[1:])


def _agree(row: Row, other: Row) -> bool:
    if not isinstance(row, Embedding) or not isinstance(other, Embedding):
        return False
    tolerance = _TOLERANCE * max(map(abs, other.vector))
    return len(row.vector) == len(other.vector) and all(
        abs(one - another) <= tolerance for one, another in zip(row.vector, other.vector)
    )


def read_embeddings(body: Any, count: int, payload: dict[str, Any]) -> list[Row]:
    """Reads an answer of `/v1/embeddings`.

    Args:
        body: The answer's JSON: `{"data": [{"embedding", "index"}], "usage"}`, or the vectors under `embeddings`.
        count: How many texts were sent.
        payload: The request's JSON, whose texts no error may quote.

    Returns:
        One row for each text, in order. A text without a usable vector has its own error.

    Raises:
        ModelError: If the answer has no rows, or does not say of which text each of them is.
        ServiceError: If the answer is an error.
    """
    error = error_within(body, payload)
    if error is not None:
        raise error
    data = _items(body) if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise unexpected_reply("The service's answer is JSON, but has no embeddings.")
    found = dict(zip(_places(data, count), data))
    vectors = [_vector(found[place]) for place in range(count)]
    lengths = {len(vector) for vector in vectors if isinstance(vector, list)}
    if len(lengths) > 1:
        return [
            ModelError("The service returned embeddings of different lengths for one request.")
            for _ in vectors
        ]
    usage = usage_of_answer(body)  # it tells the tokens of the whole request
    tokens = usage.prompt_tokens or usage.total_tokens if count == 1 else None
    return [Embedding(vector, tokens) if isinstance(vector, list) else vector for vector in vectors]


def _places(items: Sequence[dict[str, Any]], count: int) -> list[int]:
    """Of which text each embedding is.

    One wrong index makes all of them doubtful: LiteLLM numbers the texts that are not in its cache by themselves, and
    a server that drops a text numbers those after it one less.

    Args:
        items: What the answer has, each with an `index`, or none where they are in order.
        count: How many texts were sent.

    Returns:
        The place of each one's text.

    Raises:
        ModelError: If a text has none, or several. If there are more of them than texts, it is unknown which
            were made from parts of the same text.
    """
    indexes = []
    for place, item in enumerate(items):
        told = item.get("index", item.get("text_index"))  # the latter is DashScope's
        index = place if told is None else read_index(told)
        if index is None:
            raise unexpected_reply("The service returned an embedding whose index is not a number.")
        indexes.append(index)
    if len(indexes) == count and indexes == list(range(indexes[0], indexes[0] + count)):
        return list(range(count))  # Xinference goes on from the texts of other requests
    times = Counter(indexes)
    if len(items) != count or any(times[place] != 1 for place in range(count)):
        raise unexpected_reply(
            f"The service answers with {len(items)} embeddings for {count}, and they do not say which text each is of."
            if items
            else "The service's answer has no embedding."
        )
    return indexes


def _with_items(body: Any) -> Any:
    """An answer with its envelope off, if a gateway put it into one, and with a name for a list that is all of it."""
    if isinstance(body, list) and body:  # TEI's, and that of a pipeline for feature extraction
        return {"data": [item if isinstance(item, dict) else {"embedding": item} for item in body]}
    return opened(body, ("data", *_VECTORS))


def _items(body: dict[str, Any]) -> Any:
    """What the answer has for the texts: `data` as OpenAI has it, or `embeddings` as Ollama and Cohere have them."""
    if "data" in body:
        return body["data"]
    if "embedding" in body:
        return [{"embedding": body["embedding"]}]
    vectors = next((body[name] for name in _VECTORS if name in body), None)
    if isinstance(vectors, dict):  # by their type
        vectors = vectors.get("float")
    if isinstance(vectors, list) and all(isinstance(vector, list) for vector in vectors):
        return [{"embedding": vector} for vector in vectors]
    return vectors


def _vector(item: dict[str, Any]) -> list[float] | ModelError:
    embedding = next((item[name] for name in _VECTOR if name in item), None)
    if isinstance(embedding, list) and len(embedding) == 1 and isinstance(embedding[0], list):
        embedding = embedding[0]  # one row of a matrix
    if isinstance(embedding, list) and embedding and isinstance(embedding[0], list):
        return vectors_of_tokens()
    if isinstance(embedding, (str, list)) and _dimensions(embedding) > MAX_DIMENSIONS:
        return UnusableVector(
            f"The service returned an embedding of more than {MAX_DIMENSIONS:,} dimensions for this text."
        )
    try:
        vector = (
            _decoded(embedding) if isinstance(embedding, str) else array.array("d", embedding or ()).tolist()
        )
    except (TypeError, ValueError, OverflowError, binascii.Error):
        return UnusableVector("The service returned an embedding of this text that is not a list of numbers.")
    if not vector:
        return UnusableVector("The service returned an empty embedding for this text.")
    if not any(vector):
        return UnusableVector("The service returned an embedding of zeros for this text.", ZEROS_HINT)
    if not math.isfinite(sum(vector)) and not all(map(math.isfinite, vector)):
        return UnusableVector("The service returned an embedding with NaN or infinite values for this text.")
    return vector


def _dimensions(embedding: str | list[Any]) -> int:
    return len(embedding) // 4 * 3 // 4 if isinstance(embedding, str) else len(embedding)


def _decoded(text: str) -> list[float]:
    """Little-endian float32, by OpenAI's clients (openai-python, resources/embeddings.py)."""
    numbers = array.array("f", base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
