"""JSON as Snowflake writes it: NULL in an array is the word `undefined`, which is not valid JSON.

snowflakedb/snowflake-connector-python#1388: TO_JSON(ARRAY_CONSTRUCT(1, NULL)) is `[1,undefined]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_UNDEFINED = b"undefined"


def loads(text: bytes | str) -> Any:
    """Reads JSON.

    Args:
        text: JSON; as bytes, in UTF-8.

    Returns:
        The value, with None for `undefined`.

    Raises:
        ValueError: If it is not JSON with `undefined` either.
        RecursionError: If it is nested too deeply.
    """
    try:
        return json.loads(text)
    except ValueError:
        body = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        pieces = list(_outside_texts(body))
        if not pieces:
            raise
    return json.loads(b"null".join(_between(body, pieces)).decode("utf-8", "surrogatepass"))


def _outside_texts(body: bytes) -> Iterator[int]:
    """Where `undefined` stands outside of a text."""
    masked = body.replace(rb"\\", b"__").replace(rb"\"", b"__")  # so that each quote begins or ends a text
    quotes, seen = 0, 0
    at = masked.find(_UNDEFINED)
    while at >= 0:
        quotes += masked.count(b'"', seen, at)
        seen = at + len(_UNDEFINED)
        if quotes % 2 == 0:
            yield at
        at = masked.find(_UNDEFINED, seen)


def _between(body: bytes, places: list[int]) -> Iterator[bytes]:
    """What stands before, between and after those places."""
    begin = 0
    for at in places:
        yield body[begin:at]
        begin = at + len(_UNDEFINED)
    yield body[begin:]
