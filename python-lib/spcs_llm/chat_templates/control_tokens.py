"""Texts that structure a conversation, made plain text where a message holds them.

A tokenizer reads `<|im_end|>` as the end of a turn wherever it occurs, so a message that holds it would end its own
turn and begin another, the system's for example. A zero width space behind its first character prevents that and is
not seen by a reader; nothing is removed, so that no token can come of what is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SEPARATOR = "\N{ZERO WIDTH SPACE}"
# \uff5c is the bar in the tokens of DeepSeek.
_LOOKS_LIKE_ONE = re.compile(
    r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|<</?[A-Z]+>>|</?[a-z]+(?:[_:][a-z0-9]+)*>"
    r"|\[/?[A-Z]+(?:_[A-Z0-9]+)*\]|\[\|[^\[\]|\s]{1,40}\|\]"
)
_ROLES = ("system", "user", "assistant", "tool")
_ROLE = re.compile("|".join((*_ROLES, "human", "bot", "model")), re.IGNORECASE)
# In what a template writes around messages: groups in brackets or between equal signs, and a label with its colon.
_GROUP = re.compile(
    r"<[^<>\s]{1,60}>|\[[^\[\]\s]{1,60}\]|(?P<sign>[^\w\s<>\[\]()'\"])(?P=sign){0,7}[\w.:/-]{1,60}(?P=sign){1,8}"
)
_LABEL = re.compile(
    r"(?:^|(?<=\s)|(?<=[>\]]))(?:#{1,6}\s?[A-Za-z]{1,21}(?: [A-Za-z]{1,21}){0,2}"
    r"|[A-Z][A-Za-z]{0,20}(?: [A-Z][A-Za-z]{0,20}){0,2}|system|user|assistant|tool|human|bot|model):"
)
_LINE_END = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"


class ControlTokens:
    """The control tokens of one format of conversations.

    Args:
        tokens: The tokens. One that begins with a line end is meant at the start of any line, after blanks too; one of
            nothing but blanks is left out.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        # Only the first character is consumed, the rest is looked at: tokens may overlap.
        forms = sorted({_form(token) for token in tokens if token.strip()})
        self._pattern = re.compile("|".join(forms)) if forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def neutralised(self, text: str) -> str:
        """The text with a zero width space behind the first character of each control token in it."""
        if self._pattern is None:
            return text
        padded = f"\n{text}"  # its first line may come to stand at the start of a line
        return self._pattern.sub(_separated, padded)[1:]


def likely_control_tokens(source: str) -> set[str]:
    """What in a template's source looks like a control token, or is one once a role is put in it."""
    found = set(_LOOKS_LIKE_ONE.findall(source))
    return found | {f"<|{role}|>" for role in _ROLES} if "<|" in source else found


def structure_tokens(rendered: str, marker: str) -> set[str]:
    """Finds the control tokens in what a template writes around messages.

    Args:
        rendered: A conversation whose messages are `marker` and a digit each, as the template renders it.
        marker: A word that the template itself does not hold.

    Returns:
        The tokens, each for every role. One that the template writes at the start of a line begins with a line end.
    """
    tokens: set[str] = set()
    for gap in re.split(rf"{re.escape(marker)}[0-9]", rendered, flags=re.IGNORECASE):
        for group in _GROUP.finditer(gap):
            tokens.update(_for_each_role(group.group()))
        for label in _LABEL.finditer(gap):
            begins_line = label.start() == 0 or gap[label.start() - 1] == "\n"
            tokens.update(("\n" if begins_line else "") + form for form in _for_each_role(label.group()))
    return tokens


def _for_each_role(token: str) -> set[str]:
    """The token, and the same with each other role instead of the one in it, in its case."""
    role = _ROLE.search(token)
    if role is None:
        return {token}
    cased = str.upper if role.group().isupper() else str.title if role.group()[0].isupper() else str.lower
    return {token} | {token[: role.start()] + cased(other) + token[role.end() :] for other in _ROLES}


def _form(token: str) -> str:
    """The pattern of a token. The blanks after a line end do not reach over the next one: that keeps it linear."""
    if token[0] == "\n":
        return rf"[{_LINE_END}](?=[^\S{_LINE_END}]*{re.escape(token[1:])})"
    return f"{re.escape(token[0])}(?={re.escape(token[1:])})"


def _separated(match: re.Match[str]) -> str:
    return match.group() + SEPARATOR
