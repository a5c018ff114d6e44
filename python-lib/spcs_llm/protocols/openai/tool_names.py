"""Which of the offered tools a model means: names come with what engines leave on them."""

from __future__ import annotations

import re
from collections.abc import Collection

_LONGEST = 256  # characters of a name; a tool's has 64 at most in OpenAI's API
_LONGEST_SAID = 4 * _LONGEST  # with what engines leave on it
_TAG = r"<[^<>]{0,80}>?"
_MEANT = re.compile(
    # tags and headers of the model's format before the name, its namespace, the name, and what hangs on it
    rf"(?:\s|{_TAG}|[\"'`\[(]){{0,20}}"
    rf"(?:(?:assistant|commentary|analysis)\b(?:\s|{_TAG}){{0,8}}){{0,3}}(?:to\s{{0,4}}=\s{{0,4}})?"
    r"(?P<whole>(?:(?:functions?|tools?|tool_calls?|default(?:_api)?|multi_tool_use|api|mcp|server|namespace)\s{0,4}[.:/]\s{0,4}){0,4}"
    r"(?P<name>[\w.\-/]{1,128}?))"
    r"(?::\d{1,9})?"
    r"\s{0,20}(?:$|[<\n\"'`\])(:,;=].*|(?<=\n).*)",
    re.DOTALL,
)


class OfferedTools:
    """The names that a model may call by."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._folded: dict[str, str | None] = {}
        for name in self._names:
            key = _folded(name)
            self._folded[key] = None if key in self._folded else name  # None: it is not clear which

    def meant_by(self, name: str) -> str | None:
        """The one offered tool that `name` clearly is, or None."""
        if name in self._names:
            return name
        if len(name) > _LONGEST_SAID:  # of each piece of a call it is asked anew
            return None
        for candidate in (name.strip(), _cleaned(name)):
            if candidate in self._names:
                return candidate
            found = self._folded.get(_folded(candidate))
            if found is not None:
                return found
        return None


def readable_name(name: str) -> str:
    """A name that was not offered, as it is handed on."""
    return _cleaned(name, "whole")[:_LONGEST]


def _cleaned(name: str, what: str = "name") -> str:
    found = _MEANT.match(name[:_LONGEST_SAID])
    return found[what] if found else name.strip()


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")
