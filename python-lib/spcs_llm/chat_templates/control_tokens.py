"""Texts that structure a conversation, made plain text where a message holds them.

A tokenizer reads `<|im_end|>` as the end of a turn wherever it stands, so a message that holds it would end its own
turn and begin another, the system's for example. A zero width space behind its first character prevents that and is
not seen by a reader; nothing is removed, so that no token can come of what is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SEPARATOR = "\N{ZERO WIDTH SPACE}"
# \uff5c is the bar in the tokens of DeepSeek.
_LOOKS_LIKE_ONE = re.compile(
    r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|<</?[A-Z]+>>|</?[a-z]+(?:_[a-z]+)*>|\[/?[A-Z]+(?:_[A-Z]+)*\]"
)
_ROLES = ("system", "user", "assistant")


class ControlTokens:
    """`tokens`: one that begins with a line end is meant at the start of any line, after blanks too."""

    def __init__(self, tokens: Iterable[str]) -> None:
        # Only the first character is consumed, the rest is looked at: tokens may overlap.
        forms = sorted({f"{re.escape(token[0])}(?={_rest(token)})" for token in tokens if token})
        self._pattern = re.compile("|".join(forms)) if forms else None

    def neutralised(self, text: str) -> str:
        """`text`, with a zero width space behind the first character of each control token in it."""
        if self._pattern is None:
            return text
        padded = f"\n{text}"  # its first line may come to stand at the start of a line
        return self._pattern.sub(_separated, padded)[1:]


def likely_control_tokens(source: str) -> set[str]:
    """What in a template's source looks like a control token, or is one once a role is put in it."""
    found = set(_LOOKS_LIKE_ONE.findall(source))
    return found | {f"<|{role}|>" for role in _ROLES} if "<|" in source else found


def _rest(token: str) -> str:
    blanks = r"[^\S\n]*" if token[0] == "\n" else ""
    return blanks + re.escape(token[1:])


def _separated(match: re.Match[str]) -> str:
    return match.group() + SEPARATOR
