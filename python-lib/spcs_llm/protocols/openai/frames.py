"""The JSON in an event of a stream: one object as a rule; several where a gateway lost what parts them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

DONE: Final = object()
_GAP: Final = re.compile(r"[\s\x1e,]+|data:")  # repeated here, `re` would take 120 bytes a round
_HEARTBEAT: Final = re.compile(
    r":.{0,39}|\W{0,9}(ping|pong|heart[-_ ]?beat|keep[-_ ]?alive)\W{0,9}", re.IGNORECASE
)
_DECODER: Final = json.JSONDecoder(strict=False)


class BrokenFrame(ValueError):
    """What stands there is no JSON, or cut short."""


def frames(data: str) -> Iterator[Any]:
    """Reads the JSON values that stand one after the other.

    Args:
        data: An event's data. Between values may be blanks, line ends, commas, and the `data:` of an event that was
            glued to the one before.

    Yields:
        Each value, and DONE for `[DONE]`.

    Raises:
        BrokenFrame: If what follows is not JSON.
    """
    at = 0
    while True:
        while (gap := _GAP.match(data, at)) is not None:
            at = gap.end()
        if at >= len(data):
            return
        if data.startswith("[DONE]", at):
            yield DONE
            at += len("[DONE]")
            continue
        try:
            value, at = _DECODER.raw_decode(data, at)
        except (ValueError, RecursionError):
            raise BrokenFrame from None
        yield decoded_again(value)


def is_heartbeat(data: str) -> bool:
    """Whether an event's data only keeps the connection alive: a word, or a comment that was made an event."""
    return _HEARTBEAT.fullmatch(data) is not None


def decoded_again(value: Any) -> Any:
    """A value, or the object that it is the text of: some encode an event twice."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            return _DECODER.decode(value)
        except (ValueError, RecursionError):
            return value
    return value
