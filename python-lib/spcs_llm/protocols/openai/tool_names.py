"""Which of the offered tools a model means: names come with what engines leave on them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from typing import Final

from spcs_llm.protocols.openai.call_markup import OPENING

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
    # the last is of Mistral, between the name and the arguments
    r"\s{0,20}(?:$|[<\n\"'`\])(:,;=].*|(?<=\n).*|\[(?:ARGS|CALL_ID)\].*)",
    re.DOTALL,
)
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_PLAIN: Final = 64


def is_plain(name: str) -> bool:
    """Whether a tool's name is one that every server takes."""
    return _PLAIN.fullmatch(name) is not None


def plain_names(offered: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """Finds names that every server takes: a letter, then letters, digits, underscores and dashes, 64 in all.

    Args:
        offered: The names of the tools that the model may call.
        others: Names of earlier calls. They do not change what is found for the tools.

    Returns:
        The plain name for each name: itself where it is plain, and never the same one for two tools.
    """
    offered = list(offered)
    found = {name: name for name in offered if is_plain(name)}
    taken = set(found)
    for name in (*offered, *others):
        if name not in found:
            found[name] = name if is_plain(name) else _made_plain(name, taken)
            taken.add(found[name])
    return found


def _made_plain(name: str, taken: Collection[str]) -> str:
    made = _NOT_PLAIN.sub("_", name)
    if not made[:1].isalpha():
        made = f"tool_{made.lstrip('_-')}"
    if len(made) <= _LONGEST_PLAIN and made not in taken and made != "tool_":
        return made
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{made[: _LONGEST_PLAIN - 9]}_{digest}"


class OfferedTools:
    """The names that a model may call by: those of the query, or the plain ones that a server was given for them.

    Args:
        names: The names of the query's tools.

    Attributes:
        all_names: The names, and the plain ones.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._by_plain_name = {plain: name for name, plain in plain_names(names).items()}
        self.all_names = self._names.union(self._by_plain_name)
        self._folded: dict[str, str | None] = {}
        for name in self._names:
            key = _folded(name)
            self._folded[key] = None if key in self._folded else name  # None: it is not clear which

    def meant_by(self, name: str) -> str | None:
        """The one offered tool that `name` clearly is, or None."""
        if name in self._names:
            return name
        if name in self._by_plain_name:
            return self._by_plain_name[name]
        if len(name) > _LONGEST_SAID:  # of each piece of a call it is asked anew
            return None
        for candidate in (name.strip(), _cleaned(name), _behind_tags(name)):
            if candidate in self._names:
                return candidate
            if candidate in self._by_plain_name:
                return self._by_plain_name[candidate]
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


def _behind_tags(name: str) -> str:
    """What follows the last tag that begins a call: a parser may take the sentence before it for the name, too."""
    return OPENING.split(name)[-1].strip()


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")
