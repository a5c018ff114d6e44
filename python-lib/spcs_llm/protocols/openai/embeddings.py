"""Embeddings: the JSON of `/v1/embeddings`, with vectors as base64 where the server can."""

from __future__ import annotations

import array
import base64
import binascii
import math
import sys
from collections.abc import Sequence
from typing import Any, Union

from spcs_llm.domain import Embedding
from spcs_llm.errors import ModelError, SpcsError
from spcs_llm.protocols.openai.answer import usage_of
from spcs_llm.protocols.reply_errors import error_within, unexpected_reply

Row = Union[Embedding, SpcsError]


def embeddings_payload(texts: Sequence[str], model: str | None, *, as_base64: bool) -> dict[str, Any]:
    payload: dict[str, Any] = {"input": list(texts)}
    if model is not None:
        payload["model"] = model
    if as_base64:
        payload["encoding_format"] = "base64"  # parses ten times as fast as decimal numbers
    return payload


def came_as_base64(body: Any) -> bool:
    return any(isinstance(item.get("embedding"), str) for item in body["data"])


def read_embeddings(body: Any, count: int, payload: dict[str, Any]) -> list[Row]:
    """One row for each of `count` texts, in order; a text without a usable vector gets an error of its own.

    Raises ModelError when the answer has no rows, or ServiceError when it is an error.
    """
    error = error_within(body, payload)
    if error is not None:
        raise error
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise unexpected_reply("The service answers with JSON that has no embeddings.")
    found: dict[int, list[float] | ModelError] = {}
    for position, item in enumerate(data):
        index = item.get("index", position)
        if not isinstance(index, int):
            raise unexpected_reply("The service answers with an embedding whose index is no number.")
        twice = index in found
        found[index] = (
            ModelError("The service gives two embeddings for this text.") if twice else _vector(item)
        )
    vectors = [
        found.get(index) or ModelError("The service gives no embedding for this text.")
        for index in range(count)
    ]
    lengths = {len(vector) for vector in vectors if isinstance(vector, list)}
    if len(lengths) > 1:
        return [
            ModelError("The service gives embeddings of different lengths for one request.") for _ in vectors
        ]
    tokens = (
        usage_of(body.get("usage")).prompt_tokens if count == 1 else None
    )  # it tells those of the whole request
    return [Embedding(vector, tokens) if isinstance(vector, list) else vector for vector in vectors]


def _vector(item: dict[str, Any]) -> list[float] | ModelError:
    embedding = item.get("embedding")
    try:
        vector = (
            _decoded(embedding) if isinstance(embedding, str) else array.array("d", embedding or ()).tolist()
        )
    except (TypeError, ValueError, OverflowError, binascii.Error):
        return ModelError("The service gives something that is no list of numbers as this text's embedding.")
    if not vector:
        return ModelError("The service gives an empty embedding for this text.")
    if not math.isfinite(sum(vector)) and not all(map(math.isfinite, vector)):
        return ModelError("The service gives an embedding with NaN or infinite values for this text.")
    return vector


def _decoded(text: str) -> list[float]:
    """Little-endian float32, by OpenAI's clients (openai-python, resources/embeddings.py)."""
    numbers = array.array("f", base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
