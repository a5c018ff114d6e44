"""Rows with an index, as Snowflake's inference servers take and give them: `{"data": [[0, {...}], ...]}`.

Servers: snowflake-ml-python 1.3.0, `_deploy_client/image_builds/inference_server/main.py`, which numbers the rows of an
answer anew; model serving (Snowflake documentation, "Real-time inference REST API").
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from spcs_llm.domain import Embedding
from spcs_llm.errors import ModelError, SpcsError

_CHECK = "Check that 'Service protocol' suits the service, and read its logs: SYSTEM$GET_SERVICE_LOGS."
_ID = "_ID"


def no_answer(what: str) -> ModelError:
    """The error of an answer that is not what the protocol promises. `what` quotes nothing of it."""
    return ModelError(what, _CHECK)


def matched_rows(body: Any, count: int) -> list[Any | SpcsError]:
    """The content of the row for each of `count` that were asked, in order. Raises ModelError when there are none.

    Rows are matched by their index. One that is missing, or there twice, is an error of its own, never a neighbour's
    answer; rows numbered from elsewhere, in rising order and all there, are taken in that order.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise no_answer("The service answers with JSON that holds no rows ('data').")
    rows = [_row(row) for row in data]
    indexes = [index for index, _ in rows]
    if len(rows) == count and (count == 1 or _rises(indexes)):
        return [content for _, content in rows]
    if not rows:
        raise no_answer("The service answers with no row.")
    found: dict[int, Any] = {}
    for index, content in rows:
        if index is not None:
            found[index] = no_answer("The service answers twice for this row.") if index in found else content
    missing = no_answer(f"The service answers with {len(rows)} rows for {count}: this one is missing.")
    return [found.get(index, missing) for index in range(count)]


def _row(row: Any) -> tuple[int | None, Any]:
    if not isinstance(row, list) or len(row) < 2:
        raise no_answer("The service answers with rows that are not pairs of index and content.")
    content = row[1] if len(row) == 2 else row[1:]
    try:
        index = None if isinstance(row[0], bool) else int(row[0])
    except (TypeError, ValueError, OverflowError):
        index = None
    return index, content


def _rises(indexes: Sequence[int | None]) -> bool:
    return all(
        before is not None and after is not None and before < after
        for before, after in zip(indexes, indexes[1:])
    )


def column(content: Any, name: str) -> Any:
    """The value of the output column: by its name, or the only one there is. Raises ModelError."""
    if not isinstance(content, Mapping):
        return content
    if name in content:
        return content[name]
    others = [key for key in content if key != _ID]
    if len(others) == 1:
        return content[others[0]]
    raise no_answer(f"The service answers with {len(others)} columns, of which none is '{name}'.")


def parsed(value: Any) -> Any:
    """What a text holds: JSON, or else a Python literal, or else the text itself. NaN comes as a float."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    if value.lstrip()[:1] not in ("[", "{", "("):
        return value
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return value


def embedding(value: Any) -> Embedding:
    """The vector in an output, however it is written. Raises ModelError."""
    numbers = parsed(value)
    while isinstance(numbers, (list, tuple)) and len(numbers) == 1 and isinstance(numbers[0], (list, tuple)):
        numbers = numbers[0]
    if isinstance(numbers, str) and "nan" in numbers.lower():
        raise _not_a_number("NaN")
    if not isinstance(numbers, (list, tuple)):
        raise no_answer("The service answers with something that is no embedding.")
    if not numbers:
        raise no_answer("The service answers with an empty embedding.")
    if isinstance(numbers[0], (list, tuple)):
        raise ModelError(
            "The service answers with an embedding for each token, not one for the text.",
            "Deploy a sentence embedding model, which pools them.",
        )
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise _not_a_number("null" if number is None else "something that is no number")
        if not math.isfinite(number):
            raise _not_a_number("NaN" if math.isnan(number) else "Infinity")
    return Embedding([float(number) for number in numbers])


def of_one_length(rows: Sequence[Embedding | SpcsError]) -> list[Embedding | SpcsError]:
    """The rows, unless their vectors differ in length. Raises ModelError."""
    lengths = {len(row.vector) for row in rows if isinstance(row, Embedding)}
    if len(lengths) > 1:
        raise no_answer(f"The service answers with embeddings of unequal lengths ({sorted(lengths)}).")
    return list(rows)


def _not_a_number(what: str) -> ModelError:
    return ModelError(
        f"The service answers with an embedding that holds {what}.",
        "The model fails on this text: an empty one, or one that is too long for it?",
    )
