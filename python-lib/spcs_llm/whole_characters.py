"""Text without half a character.

JSON writes a character beyond U+FFFF as two escapes. Of a text that was cut between them, Python keeps half a
surrogate pair, which no UTF-8 has.
"""

from __future__ import annotations


def whole_characters(text: str) -> str:
    """`text` with the two halves of a character joined, and a half without the other replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
