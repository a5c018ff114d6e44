"""Statements as tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.snowflake.sql.errors import syntax_error

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|//[^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | (?P<dollars>\$\$.*?\$\$)
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<position>\$\d+)
      | (?P<word>[^\W\d][\w$]*)
      | (?P<symbol>->>|::|=>|<=|>=|<>|!=|\|\||[-+*/%(),.;:=<>!?@\[\]{}&^~|$\\#])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b"}


@dataclass(frozen=True)
class Token:
    """kind: word, quoted, string, number, position ($1), symbol or end; value: without quotes and escapes."""

    kind: str
    text: str
    value: str
    line: int
    column: int


def tokens_of(text: str) -> list[Token]:
    """All tokens and one that marks the end; raises `SqlError` for anything that is not a token."""
    found: list[Token] = []
    at, line, line_start = 0, 1, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise syntax_error(line, at - line_start, text[at])
        kind, piece = str(match.lastgroup), match.group()
        if kind != "space":
            found.append(_token(kind, piece, line, at - line_start))
        breaks = piece.count("\n")
        if breaks:
            line, line_start = line + breaks, at + piece.rfind("\n") + 1
        at = match.end()
    return [*found, Token("end", "<EOF>", "", line, at - line_start)]


def _token(kind: str, piece: str, line: int, column: int) -> Token:
    if kind == "string":
        value = re.sub(r"''|\\(.)", _unescaped, piece[1:-1], flags=re.DOTALL)
        return Token("string", piece, value, line, column)
    if kind == "dollars":
        return Token("string", piece, piece[2:-2], line, column)
    if kind == "quoted":
        return Token(kind, piece, piece[1:-1].replace('""', '"'), line, column)
    if kind == "word":
        return Token(kind, piece, piece.upper(), line, column)
    return Token(kind, piece, piece, line, column)


def _unescaped(match: re.Match[str]) -> str:
    if match.group() == "''":
        return "'"
    return _ESCAPES.get(match.group(1), match.group(1))


def split(tokens: list[Token], symbol: str) -> list[list[Token]]:
    """What stands between the symbols, each part with the token that marks the end."""
    parts: list[list[Token]] = [[]]
    for token in tokens[:-1]:
        if token.text == symbol:
            parts.append([])
        else:
            parts[-1].append(token)
    return [[*part, tokens[-1]] for part in parts]


def statements_of(text: str) -> list[list[Token]]:
    """The statements of a text, without empty ones."""
    return [statement for statement in split(tokens_of(text), ";") if len(statement) > 1]
