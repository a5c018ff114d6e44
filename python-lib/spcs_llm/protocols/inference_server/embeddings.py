"""The embeddings in rows: lists of numbers, native or written as JSON or as Python does.

The earlier notebook logs embedding models whose output is `str(list)`, in which `nan`, `inf` and `None` are not JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Union

from spcs_llm.domain import MAX_DIMENSIONS, Embedding, EmbeddingSettings
from spcs_llm.errors import ModelError, SpcsError, UnusableVector
from spcs_llm.protocols.inference_server.generated_text import is_text_answer
from spcs_llm.protocols.inference_server.rows import ID_COLUMN, map_rows, output_column, parsed_json
from spcs_llm.protocols.reply_errors import ZEROS_HINT, unexpected_reply, vectors_of_tokens

Row = Union[Embedding, SpcsError]

# Custom models of the earlier notebook; huggingface.SentenceTransformer; models logged with sample data.
_COLUMNS = ("outputs", "output", "output_feature_0")
_TRUNCATION = ("textOverflowMode",)
_MAX_WRITTEN = 32 * MAX_DIMENSIONS  # characters of a vector in a text: Python writes a number in 25 at most
_MAX_NUMBER = 64  # characters
_NUMBER = re.compile(r"0|[1-9][0-9]{0,6}")  # of a column
_NUMPY = ("np.float16(", "np.float32(", "np.float64(")
_NO_NUMBERS = ("none", "null")


def embeddings_of(contents: Sequence[Any], settings: EmbeddingSettings) -> list[Row]:
    """Reads the embeddings in the rows of an answer.

    Args:
        contents: The content of each row: a vector, or a dict of columns with one; or the row's error.
        settings: The settings of the query.

    Returns:
        For each row, in order, its embedding or the error that is this row's only.
    """
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
            unexpected_reply(f"The service returned embeddings of different lengths ({sorted(lengths)}).")
            for _ in rows
        ]
    return rows


def _vector_column(content: Any) -> Any:
    if isinstance(content, Mapping) and "choices" in content:
        raise _text_answer()
    numbers = _numbered_columns(content) if isinstance(content, Mapping) else None
    if numbers is not None:
        return numbers
    if isinstance(content, Mapping) and not any(name in content for name in _COLUMNS):
        lists = [value for value in content.values() if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
    return output_column(content, *_COLUMNS)


def _numbered_columns(content: Mapping[str, Any]) -> list[Any] | None:
    """The vector whose numbers have a column each, as `output_feature_0`, in any order; None for other columns."""
    # snowflake-ml-python gives a model that returns an array such a signature (_signatures/numpy_handler.py).
    numbered: dict[int, Any] = {}
    prefixes = set()
    for name, value in content.items():
        prefix, _, number = name.rpartition("_")
        if name == ID_COLUMN:
            continue
        if not _NUMBER.fullmatch(number) or _is_nested(value):
            return None
        prefixes.add(prefix)
        numbered[int(number)] = value
    if len(prefixes) != 1 or len(numbered) < 2 or numbered.keys() != set(range(len(numbered))):
        return None
    return [numbered[at] for at in range(len(numbered))]


def _is_nested(value: Any) -> bool:
    return isinstance(value, (str, list, tuple, Mapping))


def _embedding(value: Any) -> Embedding:
    if is_text_answer(value):
        raise _text_answer()
    numbers = _written(value) if isinstance(value, str) else value
    while isinstance(numbers, (list, tuple)) and len(numbers) == 1 and isinstance(numbers[0], (list, tuple)):
        numbers = numbers[0]
    if not isinstance(numbers, (list, tuple)):
        raise unexpected_reply("The service returned an embedding that is not a list of numbers.")
    if not numbers:
        raise unexpected_reply("The service returned an empty embedding.")
    if len(numbers) > MAX_DIMENSIONS:
        raise _too_long()
    if isinstance(numbers[0], (list, tuple)):
        raise vectors_of_tokens()
    vector = [_number(number) for number in numbers]
    if not any(vector):
        raise UnusableVector("The service returned an embedding of zeros.", ZEROS_HINT)
    return Embedding(vector)


def _written(text: str) -> Any:
    """The numbers in a text, or None. Python's words for what is not a finite number are read, and no other code."""
    if len(text) > _MAX_WRITTEN:
        raise _too_long()
    numbers = parsed_json(text)
    if numbers is not None:
        return numbers
    inner = text.strip()
    if inner[:1] not in ("[", "(") or inner[-1:] not in ("]", ")"):
        return None
    for name in _NUMPY:
        if name in inner:
            inner = inner.replace(name, "").replace(")", "")
    return _numbers(inner.strip("[]() \t\r\n").split(","))


def _numbers(written: list[str]) -> list[float] | None:
    if written and not written[-1].strip():  # (0.1,)
        written = written[:-1]
    numbers = []
    for number in written:
        word = number.strip()
        if word.lower() in _NO_NUMBERS:
            raise _not_a_number("null")
        if len(word) > _MAX_NUMBER:
            return None
        try:
            numbers.append(_number(float(word)))
        except ValueError:
            return None
    return numbers


def _text_answer() -> ModelError:
    return ModelError(
        "The service returned a text instead of an embedding: its model generates text.",
        "In the DSS connection, choose chat completion as the capability of this model, or the endpoint of an"
        " embedding service.",
    )


def _too_long() -> ModelError:
    return unexpected_reply(f"The service returned an embedding of more than {MAX_DIMENSIONS:,} numbers.")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _not_a_number("null" if value is None else "something that is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _not_a_number("NaN" if math.isnan(number) else "Infinity")
    return number


def _not_a_number(what: str) -> UnusableVector:
    return UnusableVector(
        f"The service returned an embedding that contains {what}.",
        "The model fails on this text: is it empty, or too long for the model?",
    )
