"""Prompts with `{{column}}` placeholders, as pieces of text and columns.

`{{` behind a backslash is text. Without a name and `}}` it is as well, and is counted: whoever wrote it meant a column.
A name may stand in double quotes, as in SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_PLACEHOLDER = re.compile(r'(\\?)\{\{[ \t]*(?:"((?:[^"\n]|"")+)"[ \t]*|([^{}"\s][^{}"\n]*))\}\}')
_ESCAPED = "\\{{"
_OPENED = re.compile(r"\\?\{\{")


@dataclass(frozen=True)
class ColumnPiece:
    """A place where the text of a column is put.

    Attributes:
        name: The column's name, as it was written.
    """

    name: str


class UnknownColumn(ValueError):
    """A placeholder that does not name a column of the input."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Template:
    """A prompt: texts and columns by turns.

    Attributes:
        pieces: The pieces in their order. Neighbouring texts are joined.
        unread: How many `{{` are in the texts without a backslash before them.
    """

    pieces: tuple[str | ColumnPiece, ...] = field(repr=False)
    unread: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are put in, each once, as they were written."""
        return tuple(dict.fromkeys(piece.name for piece in self.pieces if isinstance(piece, ColumnPiece)))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts between the columns."""
        return tuple(piece for piece in self.pieces if isinstance(piece, str))


def read_template(text: str) -> Template:
    """Reads a prompt.

    Args:
        text: What was typed.

    Returns:
        Its pieces. Every text has some.
    """
    pieces: list[str | ColumnPiece] = []
    at = unread = 0
    for match in _PLACEHOLDER.finditer(text):
        if match[1]:
            continue  # escaped: it stays in the text, without its backslash
        unread += _add_text(pieces, text[at : match.start()])
        quoted, plain = match[2], match[3]
        pieces.append(ColumnPiece(plain.rstrip(" \t") if plain else quoted.replace('""', '"')))
        at = match.end()
    unread += _add_text(pieces, text[at:])
    return Template(tuple(pieces), unread)


def _add_text(pieces: list[str | ColumnPiece], text: str) -> int:
    """Adds a text to the pieces; returns how many `{{` are in it that have no backslash."""
    if text:
        pieces.append(text.replace(_ESCAPED, "{{"))
    return _OPENED.findall(text).count("{{")


def resolved(name: str, columns: Sequence[str]) -> str:
    """The column that a name means: exactly, or else the only one that differs from it in case.

    Args:
        name: What was typed.
        columns: The columns of the input.

    Returns:
        The column's name in the table.

    Raises:
        UnknownColumn: If there is none, or more than one.
    """
    if name in columns:
        return name
    alike = [column for column in columns if column.upper() == name.upper()]
    if len(alike) != 1:
        raise UnknownColumn(name)
    return alike[0]
