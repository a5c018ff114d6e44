"""JSON that comes in pieces, followed by its brackets and quotes, so that each piece is read once."""

from __future__ import annotations

import re
from typing import Final

_STRUCTURE: Final = re.compile(r'[\\"{}\[\]]')


class JsonDepth:
    """How deep in brackets and quotes a text in pieces is.

    Attributes:
        is_closed: Whether it is a whole value by them.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._depth = 0
        self._in_text = False
        self._escapes = False

    def add(self, piece: str) -> int | None:
        """Takes in a piece.

        Args:
            piece: What is new.

        Returns:
            Where the first value that ends in the piece is at its end; None if none ends there.
        """
        end: int | None = None
        escaped_at = 0 if self._escapes else -1
        self._escapes = False
        for found in _STRUCTURE.finditer(piece):
            at, mark = found.start(), found[0]
            if at == escaped_at:
                continue
            if mark == "\\":
                if self._in_text:
                    escaped_at = at + 1
                    self._escapes = escaped_at == len(piece)
                continue
            if mark == '"':
                self._in_text = not self._in_text
                self.is_closed = not self._in_text and self._depth == 0
            elif not self._in_text:
                self._depth += 1 if mark in "{[" else -1
                self.is_closed = self._depth <= 0
            if self.is_closed and end is None:
                end = at + 1
        return end
