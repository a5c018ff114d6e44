"""Snowflake's format of rows: `{"data": [[number, argument, …], …]}` in, `{"data": [[number, value], …]}` out.

Snowflake documentation, "Input and output data formats for external functions": the same numbers in the same order,
one value for each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batch_gateway.snowflake_json import loads

_MAX_CONTAINERS = 2_000_000
_PIECE = 1 << 20  # bytes


class BadBatch(Exception):
    """A request whose body is not a batch of rows. Its text says why, and quotes nothing of the body."""


@dataclass(frozen=True)
class Row:
    """One row of a batch.

    Attributes:
        number: Snowflake's number of the row within its batch.
        arguments: The function's arguments, as JSON has them.
    """

    number: int
    arguments: tuple[Any, ...] = field(repr=False)


def read_rows(body: bytes, most_arguments: int) -> list[Row]:
    """Reads a batch.

    Args:
        body: The request's body.
        most_arguments: How many arguments a row may have.

    Returns:
        The rows, in order.

    Raises:
        BadBatch: If it is not a batch.
    """
    if _opening(body) > _MAX_CONTAINERS and _opening_outside_texts(body) > _MAX_CONTAINERS:
        raise BadBatch("The body has more lists and objects than a batch can have.")
    try:
        batch = loads(body)
    except RecursionError:
        raise BadBatch("The body is JSON that is nested too deeply.") from None
    except ValueError:  # UnicodeDecodeError is one
        raise BadBatch("The body is not JSON in UTF-8.") from None
    data = batch.get("data") if isinstance(batch, dict) else None
    if not isinstance(data, list):
        raise BadBatch('The body is not a batch of rows: it must be {"data": [[0, …], …]}.')
    rows = [_row(place, item, most_arguments) for place, item in enumerate(data)]
    if len({row.number for row in rows}) != len(rows):
        raise BadBatch("Two rows of the batch have the same number.")
    return rows


def _row(place: int, item: Any, most_arguments: int) -> Row:
    if not isinstance(item, list) or not item or isinstance(item[0], bool) or not isinstance(item[0], int):
        raise BadBatch(
            f"Item {place} of the batch is not a row: a row is a list that begins with its number."
        )
    number, *arguments = item
    if not 1 <= len(arguments) <= most_arguments:
        raise BadBatch(
            f"Item {place} of the batch has {len(arguments)} arguments, and this path takes 1 to {most_arguments}:"
            " compare the function's arguments with those in create_batch_functions.sql."
        )
    return Row(number, tuple(arguments))


def write_rows(rows: Sequence[Row], values: Iterable[bytes]) -> bytes:
    """Writes the answer to a batch.

    Args:
        rows: The rows, in order.
        values: The value of each, as JSON.

    Returns:
        The response's body.
    """
    written = b",".join(b"[%d,%b]" % (row.number, value) for row, value in zip(rows, values))
    return b'{"data":[%b]}' % written


def _opening_outside_texts(body: bytes) -> int:
    """The same, but for those in texts. In pieces: an expression takes 100 bytes for each escape, or for each text."""
    body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    found, outside = 0, True
    for at in range(0, len(body), _PIECE):
        parts = body[at : at + _PIECE].split(b'"')
        found += _opening(b"".join(parts[0 if outside else 1 :: 2]))
        outside = outside == (len(parts) % 2 == 1)
    return found


def _opening(text: bytes) -> int:
    """Brackets that open lists and objects: the two bytes of an empty one stand for 64 in memory."""
    return text.count(b"[") + text.count(b"{")
