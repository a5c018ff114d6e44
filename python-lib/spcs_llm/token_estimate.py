"""How many tokens a text has, where the service does not tell.

The weights are a least-squares fit over 650 pieces of real text (manual pages in seven languages, Python, JSON, SQL,
licences), to the mean of three tokenizers: Mistral's first (32,000 entries, near Llama 2's) and Tekken (131,000), both
of mistral-common 1.9.1, and SmolLM2's (49,152). How far off the estimate is on other texts:
`tests/unit/test_token_estimate.py`.
"""

from __future__ import annotations

import string

_LOWER = string.ascii_lowercase.encode()
# Each byte as one that stands for its kind. Lower-case letters, which are most of a text, are counted before that.
_KINDS = bytes(
    ord(
        "U" if character in string.ascii_uppercase
        else "D" if character in string.digits
        else "P" if character in string.punctuation
        else "H" if character > "\x7f"
        else " "
    )
    for character in map(chr, range(256))
)  # fmt: skip

# Tokens for each
_UPPER_LETTER = 0.35
_LOWER_LETTER = 0.25
_DIGIT = 1.5
_MARK = 0.75
_TWO_BYTES = 0.5  # a character with an accent, a Cyrillic, Greek, Arabic or Hebrew one
_MORE_BYTES = 1.25  # one of Chinese, Japanese, Korean or an Indian script, an emoji
_FOREIGN_LETTER = 0.25  # on top, for an ASCII letter in a language other than English


def estimate_tokens(text: str) -> int:
    """An estimate of the number of tokens of `text`, in a few passes that run at the speed of C."""
    if not text:
        return 0
    encoded = text.encode("utf-8", "replace")
    others = encoded.translate(None, _LOWER)
    lower = len(encoded) - len(others)
    kinds = others.translate(_KINDS)
    upper = kinds.count(b"U")
    tokens = _UPPER_LETTER * upper + _LOWER_LETTER * lower
    tokens += _DIGIT * kinds.count(b"D") + _MARK * kinds.count(b"P")
    if len(encoded) > len(text):
        tokens += _beyond_ascii(text, encoded, kinds.count(b"H"), upper + lower)
    return max(1, round(tokens))


def _beyond_ascii(text: str, encoded: bytes, high: int, letters: int) -> float:
    characters = len(text) - (len(encoded) - high)
    two = max(0, 3 * characters - high)  # of them, were each of two or three bytes
    # One accent in twelve letters tells another language than English, whose words tokenizers cut smaller.
    foreign = min(letters, 12 * two)
    return _TWO_BYTES * two + _MORE_BYTES * (characters - two) + _FOREIGN_LETTER * foreign
