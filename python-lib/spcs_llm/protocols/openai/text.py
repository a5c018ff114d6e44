"""The text of an answer as it grows: whole characters, each piece once, and marks that two pieces share.

Some servers and gateways send pieces that are not only what is new: the whole text once more with the finish reason,
or the text so far in each event. And some cut an emoji in two: JSON writes it as two escapes, of which each piece has
one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from typing import Any

from spcs_llm.whole_characters import whole_characters

_HIGH = re.compile("[\ud800-\udbff]")
_WORD = re.compile(r"\S+")
_REPLACEMENT = "\ufffd"

# A piece that begins with all of the text so far is a snapshot from this many characters on; below, it may be chance.
_NO_CHANCE = 16
_NO_CHANCE_WHEN_EQUAL = 32
_A_WORD = 4


def with_whole_characters(value: Any, depth: int = 64) -> Any:
    """Makes the characters in all texts of a value whole.

    Args:
        value: A value that came as JSON.
        depth: How many levels down to go. What is deeper stays as it is.

    Returns:
        The value with pairs of surrogates joined, and single ones replaced, in its keys and texts.
    """
    if isinstance(value, str):
        return whole_characters(value)
    if depth and isinstance(value, dict):
        return {whole_characters(key): with_whole_characters(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list):
        return [with_whole_characters(item, depth - 1) for item in value]
    return value


def begins_at(text: str, marks: Collection[str], start: int = 0) -> int:
    """Where one of the marks begins that may go on in the next piece of a text.

    Args:
        text: What came by now.
        marks: The marks.
        start: Where to begin to look.

    Returns:
        The place of what is the beginning of a mark and stands at the end of the text; the text's length if nothing is.
    """
    first = {mark[0] for mark in marks}
    for at in range(max(start, len(text) - max(map(len, marks)) + 1), len(text)):
        if text[at] in first and any(mark.startswith(text[at:]) for mark in marks):
            return at
    return len(text)


def same_words(text: str, other: str) -> bool:
    """Whether two texts differ by their blanks at most. A list of a text's words takes twenty times its memory."""
    return all(
        word is not None and same is not None and word[0] == same[0]
        for word, same in itertools.zip_longest(_WORD.finditer(text), _WORD.finditer(other))
    )


class GrowingText:
    """Text that comes in pieces. Time is linear in what comes: only a piece as long as all before is compared.

    Attributes:
        has_halves: Whether it had half a character without the other, which U+FFFD stands for.
    """

    def __init__(self) -> None:
        self.has_halves = False
        self._parts: list[str] = []
        self._length = 0
        self._count = 0
        self._half = ""
        self._held = ""
        self._comes_as_snapshots = False
        self._holds_likely_snapshot = False

    @property
    def so_far(self) -> str:
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def add(self, piece: str, *, is_last: bool = False) -> str:
        """Takes in a piece.

        Args:
            piece: The text as the server sent it.
            is_last: Whether the piece came with a finish reason.

        Returns:
            What is new of it, in whole characters. A piece that may repeat what came waits for the next one.
        """
        if not piece.isascii() or self._half:
            piece = self._joined(piece)
        if self._held or (self._length and len(piece) >= self._length):
            return self._compared(piece, is_last)
        if is_last and self._length <= 2 * len(piece) and self._is_all_again(piece):
            return ""
        return self._appended(piece)

    def rest_of(self, whole: str) -> str:
        """Takes in the whole text, of which pieces came before.

        Args:
            whole: The whole text.

        Returns:
            What the pieces lack of it. Where it is another text than they were, what came stands.
        """
        whole = whole_characters(whole)
        held = self.flush()
        # Only then is the text so far, which can be long, put together.
        is_more = len(whole) > self._length
        rest = whole[self._length :] if is_more and whole.startswith(self.so_far) else ""
        return held + self._appended(rest)

    def flush(self) -> str:
        """Ends the text, and returns what was held back."""
        rest, self._held = self._held, ""
        if rest and self._holds_likely_snapshot:
            rest = rest[self._length :]
        if self._half:
            rest, self._half, self.has_halves = rest + _REPLACEMENT, "", True
        return self._appended(rest)

    def _appended(self, piece: str) -> str:
        if piece:
            self._parts.append(piece)
            self._length += len(piece)
            self._count += 1
        return piece

    def _joined(self, piece: str) -> str:
        piece, self._half = self._half + piece, ""
        if piece and _HIGH.match(piece[-1]):
            piece, self._half = piece[:-1], piece[-1]
        whole = whole_characters(piece)
        self.has_halves = self.has_halves or whole.count(_REPLACEMENT) > piece.count(_REPLACEMENT)
        return whole

    def _compared(self, piece: str, is_last: bool) -> str:
        if self._held:
            held, self._held = self._held, ""
            is_likely, self._holds_likely_snapshot = self._holds_likely_snapshot, False
            if piece.startswith(held) and (is_likely or len(piece) > len(held)):
                self._comes_as_snapshots = True
                return self._appended(piece[self._length :])
            return self._appended(held) + self.add(piece, is_last=is_last)
        so_far = self.so_far
        if not piece.startswith(so_far):
            return "" if is_last and self._is_all_again(piece) else self._appended(piece)
        if len(piece) == self._length:
            if self._comes_as_snapshots or self._repeats_all(so_far, is_last):
                return ""
            if self._count > 1 or is_last or self._length < _NO_CHANCE:
                return self._appended(piece)
            self._held = piece  # a line that is said twice, or the text so far: the next piece tells
            return ""
        if self._is_snapshot(piece, so_far, is_last):
            if self._count == 1 and not is_last and not _runs_on(so_far):
                # It may be a line, and then that line twice: the next piece tells.
                self._held = piece
                self._holds_likely_snapshot = True
                return ""
            self._comes_as_snapshots = True
            return self._appended(piece[self._length :])
        if not is_last and any(map(str.isalpha, so_far)):
            self._held = piece  # "H", "He": the next piece tells
            return ""
        return self._appended(piece)

    def _is_all_again(self, piece: str) -> bool:
        """Whether a piece is the whole text once more, with other blanks."""
        return len(piece) >= _NO_CHANCE and same_words(piece, self.so_far)

    def _repeats_all(self, so_far: str, is_last: bool) -> bool:
        """Whether a piece equal to all before is that, and not a word or line that the model says twice."""
        if self._count == 1:
            return is_last and self._length >= _NO_CHANCE and not so_far.endswith("\n")
        return self._length >= _NO_CHANCE_WHEN_EQUAL or (is_last and len(set(so_far)) > 1)

    def _is_snapshot(self, piece: str, so_far: str, is_last: bool) -> bool:
        if self._length >= _NO_CHANCE or (is_last and self._count > 1 and self._length >= _A_WORD):
            return True
        return _runs_on(so_far) and self._length >= _A_WORD and len(set(so_far)) > 2


def _runs_on(text: str) -> bool:
    """Whether a text cannot follow itself, because its last word would run into its first."""
    return text[0].isalpha() and text[-1].isalpha()
