"""How many tokens a text has, where the service does not tell."""

from __future__ import annotations

import re

_PIECES = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z\d]+|\n+")


def estimate_tokens(text: str) -> int:
    """An estimate of the number of tokens of `text`."""
    tokens = 0.0
    for piece in _PIECES.findall(text):
        first = piece[0]
        if first.isascii() and first.isalpha():
            tokens += 1 if len(piece) <= 7 else len(piece) / 4.5
        elif first.isdigit():
            tokens += len(piece)
        elif first.isascii():
            tokens += max(1, len(piece) / 2)
        else:
            tokens += len(piece) * 0.9
    return max(1, round(tokens)) if text else 0
