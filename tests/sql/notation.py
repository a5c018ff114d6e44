"""Matches statements against the notation in which Snowflake's reference pages write their syntax.

`[ x ]` may be left out, `{ a | b }` is one of them, `{ a | b }...` is one or more in any order and each at most once.
`<label:kind>` is captured under its label. Kinds: name (dotted, with `!role`), word, int, bool, string, names and
strings, words and arguments (lists in parentheses; of arguments, the types), privileges (up to ON), body (`$$ … $$`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

_TOKEN = re.compile(
    r"\s+|(?P<string>'(?:[^']|'')*')|(?P<body>\$\$.*?\$\$)|(?P<int>\d+)"
    r"|(?P<word>[A-Za-z_][\w$]*|\"(?:[^\"]|\"\")+\")|(?P<mark>=>|[=(),.!@:*])",
    re.DOTALL,
)
_NOTATION = re.compile(r"<[\w ]+(?::\w+)?>|\}\.\.\.|[\[\]{}|]|=>|[=(),@*]|[\w$]+")

Captures = dict[str, Any]
Match = Iterator[tuple[int, Captures]]
Matcher = Callable[[list[tuple[str, str]], int, Captures], Match]


class NotDocumented(Exception):
    """A statement that no documented syntax covers."""


def tokenize(text: str) -> list[tuple[str, str]]:
    """(kind, text) of each token. Raises NotDocumented for a character that belongs to none: a placeholder's."""
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotDocumented(f"no token starts at: {text[position : position + 40]}")
        if match.lastgroup:
            tokens.append((match.lastgroup, match.group()))
        position = match.end()
    return tokens


@cache
def compiled(syntax: str) -> Matcher:
    notation = _NOTATION.findall(syntax)
    matcher, end = _sequence(notation, 0)
    assert end == len(notation), f"unbalanced notation: {syntax}"
    return matcher


def _sequence(notation: list[str], position: int) -> tuple[Matcher, int]:
    items: list[Matcher] = []
    while position < len(notation) and notation[position] not in ("]", "|", "}", "}..."):
        item, position = _item(notation, position)
        items.append(item)
    return _in_order(items), position


def _item(notation: list[str], position: int) -> tuple[Matcher, int]:
    mark = notation[position]
    if mark == "[":
        inner, end = _sequence(notation, position + 1)
        assert notation[end] == "]", notation[end]
        return _optional(inner), end + 1
    if mark == "{":
        choices, end = [], position
        while notation[end] not in ("}", "}..."):
            choice, end = _sequence(notation, end + 1)
            choices.append(choice)
        return (_any_order(choices) if notation[end] == "}..." else _one_of(choices)), end + 1
    if mark.startswith("<"):
        label, _, kind = mark[1:-1].partition(":")
        return _captured(label, kind or label), position + 1
    return _literal(mark), position + 1


def _in_order(items: list[Matcher]) -> Matcher:
    def match(tokens: list[tuple[str, str]], at: int, captures: Captures, first: int = 0) -> Match:
        if first == len(items):
            yield at, captures
            return
        for end, found in items[first](tokens, at, captures):
            yield from match(tokens, end, found, first + 1)

    return match


def _optional(inner: Matcher) -> Matcher:
    def match(tokens: list[tuple[str, str]], at: int, captures: Captures) -> Match:
        yield from inner(tokens, at, captures)
        yield at, captures

    return match


def _one_of(choices: list[Matcher]) -> Matcher:
    def match(tokens: list[tuple[str, str]], at: int, captures: Captures) -> Match:
        for choice in choices:
            yield from choice(tokens, at, captures)

    return match


def _any_order(choices: list[Matcher]) -> Matcher:
    def match(
        tokens: list[tuple[str, str]], at: int, captures: Captures, left: tuple[Matcher, ...] = tuple(choices)
    ) -> Match:
        for choice in left:
            rest = tuple(other for other in left if other is not choice)
            for end, found in choice(tokens, at, captures):
                yield from match(tokens, end, found, rest)
                yield end, found

    return match


def _literal(word: str) -> Matcher:
    def match(tokens: list[tuple[str, str]], at: int, captures: Captures) -> Match:
        if at < len(tokens) and tokens[at][1].upper() == word.upper() and tokens[at][0] in ("word", "mark"):
            yield at + 1, captures

    return match


def _captured(label: str, kind: str) -> Matcher:
    def match(tokens: list[tuple[str, str]], at: int, captures: Captures) -> Match:
        for end, value in _KINDS[kind](tokens, at):
            yield end, {**captures, label: value}

    return match


Values = Iterator[tuple[int, Any]]
# Words of clauses that no object here is called.
_RESERVED = {"IF", "NOT", "EXISTS", "SET", "UNSET", "TO", "ON", "FROM", "IN"}


def _name(tokens: list[tuple[str, str]], at: int) -> Values:
    text, expect_word = "", True
    while at < len(tokens):
        kind, part = tokens[at]
        if expect_word != (kind == "word") or (not expect_word and part not in (".", "!")):
            break
        if part.upper() in _RESERVED:
            return
        text += part if part.startswith('"') else part.upper()
        expect_word = not expect_word
        at += 1
    if text and not expect_word:
        yield at, text


def _one_token(wanted: str, convert: Callable[[str], Any]) -> Callable[[list[tuple[str, str]], int], Values]:
    def read(tokens: list[tuple[str, str]], at: int) -> Values:
        if at < len(tokens) and tokens[at][0] == wanted:
            value = convert(tokens[at][1])
            if value is not None:
                yield at + 1, value

    return read


def _list(
    of: Callable[[list[tuple[str, str]], int], Values],
) -> Callable[[list[tuple[str, str]], int], Values]:
    def read(tokens: list[tuple[str, str]], at: int) -> Values:
        if at >= len(tokens) or tokens[at][1] != "(":
            return
        values: list[Any] = []
        at += 1
        while at < len(tokens) and tokens[at][1] != ")":
            read_one = next(of(tokens, at), None)
            if read_one is None:
                return
            at, value = read_one
            values.append(value)
            if at < len(tokens) and tokens[at][1] == ",":
                at += 1
        if at < len(tokens):
            yield at + 1, values

    return read


def _string(text: str) -> str:
    return text[1:-1].replace("''", "'")


_STRING = _one_token("string", _string)


def _argument(tokens: list[tuple[str, str]], at: int) -> Values:
    """The type of an argument: `PROMPT VARCHAR`."""
    if [kind for kind, _ in tokens[at : at + 2]] == ["word", "word"]:
        yield at + 2, tokens[at + 1][1].upper()


def _privileges(tokens: list[tuple[str, str]], at: int) -> Values:
    """`USAGE, MONITOR` or `ALL PRIVILEGES`, up to ON: a list of privileges."""
    words: list[str] = []
    while at < len(tokens) and tokens[at][1].upper() != "ON":
        words.append(tokens[at][1].upper())
        at += 1
    if words:
        yield at, [privilege.strip() for privilege in " ".join(words).split(",")]


_KINDS: dict[str, Callable[[list[tuple[str, str]], int], Values]] = {
    "name": _name,
    "word": _one_token("word", str.upper),
    "int": _one_token("int", int),
    "bool": _one_token("word", {"TRUE": True, "FALSE": False}.get),
    "string": _STRING,
    "body": _one_token("body", lambda text: text[2:-2]),
    "names": _list(_name),
    "strings": _list(_STRING),
    "words": _list(_one_token("word", str.upper)),
    "arguments": _list(_argument),
    "privileges": _privileges,
}
