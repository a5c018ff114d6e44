"""The embeddings in rows: lists of numbers, native or written as JSON or as Python does.

The earlier notebook logs embedding models whose output is `str(list)`, in which `nan`, `inf` and `None` are no JSON.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Union

from spcs_llm.domain import Embedding, EmbeddingSettings
from spcs_llm.errors import ModelError, SpcsError
from spcs_llm.protocols.inference_server.rows import map_rows, output_column, parsed_json
from spcs_llm.protocols.reply_errors import unexpected_reply

Row = Union[Embedding, SpcsError]

# Custom models of the earlier notebook; huggingface.SentenceTransformer; models logged with sample data.
_COLUMNS = ("outputs", "output", "output_feature_0")
_TRUNCATION = ("textOverflowMode",)
_NO_NUMBER = re.compile(r"\b(nan|inf|none|null)\b", re.IGNORECASE)
_NAMES = {"nan": "NaN", "inf": "Infinity", "none": "None", "null": "null"}


def embeddings_of(contents: Sequence[Any], settings: EmbeddingSettings) -> list[Row]:
    """An embedding for each row's content, or the error that is only this row's."""
    rows = _embeddings(contents)
    if not settings.truncate:
        return rows
    # Whether such a model cuts a long text is fixed when it is logged.
    return [replace(row, ignored_settings=_TRUNCATION) if isinstance(row, Embedding) else row for row in rows]


def _embeddings(contents: Sequence[Any]) -> list[Row]:
    rows = map_rows(contents, lambda at, content: _embedding(_vector_column(content)))
    lengths = {len(row.vector) for row in rows if isinstance(row, Embedding)}
    if len(lengths) > 1:  # an error of each row: asked again in smaller requests, they would pass for good
        return [
            unexpected_reply(f"The service answers with embeddings of unequal lengths ({sorted(lengths)}).")
            for _ in rows
        ]
    return rows


def _vector_column(content: Any) -> Any:
    if isinstance(content, Mapping) and not any(name in content for name in _COLUMNS):
        lists = [value for value in content.values() if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
    return output_column(content, *_COLUMNS)


def _embedding(value: Any) -> Embedding:
    numbers = _written(value) if isinstance(value, str) else value
    while isinstance(numbers, (list, tuple)) and len(numbers) == 1 and isinstance(numbers[0], (list, tuple)):
        numbers = numbers[0]
    if not isinstance(numbers, (list, tuple)):
        raise unexpected_reply(
            "The service answers with something that is no list of numbers as an embedding."
        )
    if not numbers:
        raise unexpected_reply("The service answers with an empty embedding.")
    if isinstance(numbers[0], (list, tuple)):
        raise ModelError(
            "The service answers with an embedding for each token, not with one for the text.",
            "Deploy a sentence embedding model, which pools them.",
        )
    return Embedding([_number(number) for number in numbers])


def _written(text: str) -> Any:
    numbers = parsed_json(text)
    if numbers is not None or not text.lstrip().startswith(("[", "(")):
        return numbers
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        missing = _NO_NUMBER.search(text)
        if missing is None:
            return None
        raise _not_a_number(_NAMES[missing.group().lower()]) from None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _not_a_number("null" if value is None else "something that is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _not_a_number("NaN" if math.isnan(number) else "Infinity")
    return number


def _not_a_number(what: str) -> ModelError:
    return ModelError(
        f"The service answers with an embedding that holds {what}.",
        "The model fails on this text: is it empty, or too long for the model?",
    )
