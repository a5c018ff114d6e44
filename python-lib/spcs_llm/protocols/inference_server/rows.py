"""Rows with an index, as Snowflake's inference servers take and give them: `{"data": [[0, {...}], ...]}`.

Servers: snowflake-ml-python 1.3.0, `_deploy_client/image_builds/inference_server/main.py`, which numbers the rows of an
answer from the start; model serving (Snowflake documentation, "Real-time inference REST API"), which keeps their index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Callable, TypeVar

from spcs_llm.errors import SpcsError
from spcs_llm.lenient_json import read_index
from spcs_llm.protocols.reply_errors import error_within, unexpected_reply

T = TypeVar("T")
U = TypeVar("U")

_MAX_ROWS, _MAX_ROWS_EACH = 64, 4  # of an answer, whatever is asked, and more for each query
ID_COLUMN = "_ID"  # a column that the server of snowflake-ml-python hands back as it came


def matched_rows(body: Any, count: int, payload: Any) -> list[Any | SpcsError]:
    """Reads the row for each query of an answer: `{"data": [[0, {...}], ...]}`.

    Args:
        body: The JSON of the answer.
        count: The number of queries in the request.
        payload: The JSON of the request, which no error may quote.

    Returns:
        The content of each query's row, in the order of the queries; an error where a row is one.

    Raises:
        SpcsError: If the answer as a whole is an error, has no rows, or does not tell for certain which row is whose:
            asked one by one, the queries then get their own.
    """
    error = error_within(body, payload)
    if error is not None:
        raise error
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise unexpected_reply("The service's answer is JSON, but has no rows ('data').")
    if len(data) > _MAX_ROWS + count * _MAX_ROWS_EACH:
        raise unexpected_reply(f"The service answers with {len(data):,} rows for {count:,}.")
    rows = [_row(row) for row in data]
    return [error_within(content, payload, row=True) or content for content in _in_order(rows, count)]


def _in_order(rows: Sequence[tuple[int | None, Any]], count: int) -> list[Any]:
    """Of rows that a server numbers itself, one that it drops or adds shifts the others: no index can be trusted."""
    indexes = [index for index, _ in rows]
    if len(rows) == count and (count == 1 or _rises(indexes)):
        return [content for _, content in rows]
    found = dict(rows)
    said_twice = any(found[index] != content for index, content in rows)
    if not said_twice and (found.keys() == set(range(count)) or (count == 1 and 0 in found)):
        return [found[index] for index in range(count)]
    raise unexpected_reply(
        f"The service answers with {len(rows)} rows for {count}, and they do not say which query each is for."
        if rows
        else "The service's answer has no row."
    )


def _row(row: Any) -> tuple[int | None, Any]:
    if not isinstance(row, list) or len(row) < 2:
        raise unexpected_reply("The rows of the service's answer are not pairs of index and content.")
    return read_index(row[0]), row[1] if len(row) == 2 else row[1:]


def _rises(indexes: Sequence[int | None]) -> bool:
    return all(
        before is not None and after is not None and before < after
        for before, after in zip(indexes, indexes[1:])
    )


def map_rows(contents: Sequence[Any], read: Callable[[int, Any], T]) -> list[T | SpcsError]:
    """Reads each row, and keeps the errors of rows in their places.

    Args:
        contents: The content of each row, or the error that is there instead of one.
        read: Reads a content, given its place (0 is the first) and itself. It may raise SpcsError.

    Returns:
        What `read` gives for each row, in order, or the row's error.
    """
    rows: list[T | SpcsError] = []
    for at, content in enumerate(contents):
        try:
            rows.append(content if isinstance(content, SpcsError) else read(at, content))
        except SpcsError as error:
            rows.append(error)
    return rows


def map_valid_rows(
    items: Sequence[T | SpcsError], send: Callable[[list[T]], Sequence[U]]
) -> list[U | SpcsError]:
    """Sends the items that are not errors, all at once, and keeps the errors in their places.

    Args:
        items: The items, or the errors that are there instead of them.
        send: Gives a result for each of the items that it gets, in order. It is not called if all are errors.

    Returns:
        The result of each item, in order, or its error.
    """
    sound = [item for item in items if not isinstance(item, SpcsError)]
    results = iter(send(sound) if sound else ())
    return [item if isinstance(item, SpcsError) else next(results) for item in items]


def output_column(content: Any, *names: str) -> Any:
    """Reads the output column of a row.

    Args:
        content: The row: a dict of columns, or a value by itself.
        *names: The names that the output column may have, the likeliest first.

    Returns:
        The value of the first of these columns that there is, or else of the only column; a value by itself as it is.

    Raises:
        ModelError: If the row has none of these columns, and not exactly one other.
    """
    if not isinstance(content, Mapping):
        return content
    named = [name for name in names if name in content] or [name for name in content if name != ID_COLUMN]
    if len(named) != 1 and not any(name in names for name in named):
        raise unexpected_reply(
            f"The service answers with {len(named)} columns, and none of them is '{names[0]}'."
        )
    return content[named[0]]


def parsed_json(text: str) -> Any:
    """The value that the text holds as JSON (NaN as a float); None if it holds none, or nothing but null."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
