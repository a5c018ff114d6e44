"""What LLM Mesh can write: JSON in UTF-8, with finite numbers, counts that every program reads and whole characters.

Servers send NaN and infinities as log probabilities, halves of characters in separate events, and counts of
any length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spcs_llm.domain import LARGEST_COUNT
from spcs_llm.whole_characters import whole_characters

_LEAST_LOG_PROB = -9999.0  # what vLLM itself writes for minus infinity
_MAX_WHOLE = 2**53  # beyond it, a number of JSON is not the same in every program
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def writable_log_probs(log_probs: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Log probabilities with finite numbers only; none of what is nested too deeply."""
    try:
        return [_writable(entry) for entry in log_probs]
    except RecursionError:
        return []


def is_count(value: Any) -> bool:
    """Whether a token count is one."""
    return isinstance(value, int) and 0 <= value <= LARGEST_COUNT


def _writable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else _LEAST_LOG_PROB if value == -math.inf else None
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, Mapping):
        return {whole_characters(str(key)): _writable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(item) for item in value]
    return value if value is None or isinstance(value, bool) or abs(value) < _MAX_WHOLE else None


class TextJoiner:
    """Texts that come in pieces, several at once: half a character at the end of a piece waits for the next."""

    def __init__(self) -> None:
        self._halves: dict[str, str] = {}

    def joined(self, slot: str, piece: str) -> str:
        """What can be written of the piece and of what waited before it.

        Args:
            slot: Which text the piece continues.
            piece: The piece.

        Returns:
            Text without half a character.
        """
        if self._halves:
            piece = self._halves.pop(slot, "") + piece
        if piece.isascii():
            return piece
        if "\ud800" <= piece[-1] <= "\udbff":
            self._halves[slot] = piece[-1]
            piece = piece[:-1]
        return whole_characters(piece)

    def rest(self) -> Iterator[tuple[str, str]]:
        """What still waits when no more comes, by its slot."""
        waiting, self._halves = self._halves, {}
        for slot in waiting:
            yield slot, _REPLACEMENT
