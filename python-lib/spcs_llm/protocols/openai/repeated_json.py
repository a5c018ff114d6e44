"""JSON that an engine writes more than once: begun and then whole, or whole again and again."""

from __future__ import annotations

import json
import re
from typing import Final

from spcs_llm.lenient_json import is_costly
from spcs_llm.protocols.openai.json_depth import JsonDepth
from spcs_llm.tool_arguments import is_whole

_decoder: Final = json.JSONDecoder(strict=False)
_FIRST_KEY: Final = re.compile(r'\{\s*("[^"\\]{0,200}")\s*:')


def last_beginning(text: str) -> int:
    """Where a text last has the beginning of its object, a brace and the first name; 0 if it has none."""
    first = _FIRST_KEY.match(text.lstrip())
    beginnings = re.finditer(r"\{\s*" + re.escape(first[1]) + r"\s*:", text) if first else ()
    return max((found.start() for found in beginnings), default=0)


def written_again(text: str) -> str:
    """Finds the object that a text has from its beginning to its end, behind the beginning only.

    Args:
        text: A text that is not a whole object.

    Returns:
        The whole object at the end of the text, if nothing but that object's beginning comes before, blanks aside; the
        text otherwise.
    """
    at = last_beginning(text)
    before, rest = text[:at], text[at:]
    if before.rstrip().endswith((":", "[")):
        return text  # a value of the object may begin here, which then lacks its own end
    is_beginning = not before.isspace() and _without_blanks(rest).startswith(_without_blanks(before))
    return rest if before and is_beginning and not is_whole(before) and is_whole(rest) else text


def written_once(text: str) -> str:
    """Finds the object that a text repeats, up to its end or up to the token limit.

    Args:
        text: A text that is not a whole object.

    Returns:
        The first object, if nothing but that object, or its beginning at last, comes behind it, blanks aside; the text
        otherwise.
    """
    begin = text.lstrip()
    if not begin.startswith("{") or is_costly(begin):
        return text
    try:
        _, end = _decoder.raw_decode(begin)
    except (ValueError, RecursionError):
        return text
    first, rest = _without_blanks(begin[:end]), _without_blanks(begin[end:])
    times = -(-len(rest) // len(first))
    return begin[:end] if (first * times).startswith(rest) else text


class FirstObject:
    """Hands on the object that a text in pieces begins with, and holds back what follows until the text's end."""

    def __init__(self) -> None:
        self._json: JsonDepth | None = JsonDepth()
        self._has_begun = False
        self._object: list[str] = []
        self._rest: list[str] = []

    def part(self, piece: str) -> str:
        """Takes in a piece of the text, and returns what of it is certain."""
        if self._json is None:
            return piece
        if self._rest:
            self._rest.append(piece)
            return ""
        if not self._has_begun and piece.strip():
            self._has_begun = True
            if not piece.lstrip().startswith("{"):
                self._json = None
                return piece
        end = self._json.add(piece)
        if end is None:
            self._object.append(piece)
            return piece
        self._object.append(piece[:end])
        self._rest.append(piece[end:])
        return piece[:end]

    def flush(self) -> str:
        """Ends the text, and returns what was held back, unless it is only the object once more."""
        first, rest = "".join(self._object), "".join(self._rest)
        self._rest = []
        is_again = rest and not rest.isspace() and written_once(first + rest) == first.lstrip()
        return "" if is_again else rest


def _without_blanks(text: str) -> bytes:
    """The text without JSON's blanks. Parted at them, it would take twenty times its memory."""
    return text.encode("utf-8", "surrogatepass").translate(None, b" \t\r\n")
