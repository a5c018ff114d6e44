"""Values that a program or a model wrote as JSON or as Python does, read by a small grammar.

Objects, lists, tuples, texts in either kind of quotes, numbers, `None`, `True`, `nan` and a comma too many are read.
Python's own parser is not used: it runs out of stack, and ends the process, on texts that a server may send. This one
keeps no stack of calls, takes time and memory proportional to the text, and stops at bounds on depth and count.
"""

from __future__ import annotations

import math
import re
from typing import Any

from spcs_llm.whole_characters import whole_characters

_MAX_DEPTH = 100
_MAX_VALUES = 200_000
_MAX_PARTS = 500_000
_MAX_COMMAS = 8_000_000
_MAX_DIGITS = 400  # of a number as it is written: converting longer ones takes quadratic time

_BLANKS = re.compile(r"[ \t\r\n\f\v]*")
_NUMBER = re.compile(
    r"(?<![0-9A-Za-z_.])"
    r"[-+]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,9})?(?![0-9A-Za-z_.])"
)
_NAME = re.compile(r"[-+]?[A-Za-z]{3,8}(?![0-9A-Za-z_])")
_NAMES: dict[str, Any] = {
    "None": None, "null": None, "True": True, "true": True, "False": False, "false": False,
}  # fmt: skip
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(\r\n|.))", re.DOTALL
)
_ESCAPED = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "/": "/", "\n": "", "\r\n": "",
}  # fmt: skip
_CLOSING = {"[": "]", "(": ")", "{": "}"}


def read_index(value: Any, most_digits: int = 9) -> int | None:
    """Reads an index, which some servers write as a text, or as a number with a fraction of zero.

    Args:
        value: The value in the server's JSON.
        most_digits: How many digits a text may have.

    Returns:
        The index; None if the value is not one.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= most_digits:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_costly(text: str) -> bool:
    """Whether a text has more parts than JSON of a model can have: an empty list, of three bytes, takes 70 in memory.

    What is within its quotes is counted as well, for that is much faster than to find out what is.

    Args:
        text: A text that may be JSON.

    Returns:
        Whether not to read it.
    """
    if len(text) <= _MAX_PARTS:
        return False
    return sum(map(text.count, "[{:")) > _MAX_PARTS or text.count(",") > _MAX_COMMAS


def read_leniently(text: str, at: int = 0) -> tuple[Any, int]:
    """Reads the value that begins at a place of a text, after blanks.

    Args:
        text: The text that holds the value.
        at: The place in it, in characters.

    Returns:
        The value, made of dict, list, str, int, float, bool and None (a tuple comes as a list), and where it ends.

    Raises:
        ValueError: If there is no such value, or it is deeper, longer or has more parts than is sensible.
    """
    return _Reader(text, at).value()


class _Open:
    """A list or an object whose end has not come yet."""

    def __init__(self, opening: str) -> None:
        self.closing = _CLOSING[opening]
        self.items: list[Any] = []
        self.entries: dict[str, Any] = {}
        self.key: str | None = None
        self.wants_comma = False

    def add(self, value: Any) -> None:
        if self.closing == "}":
            if self.key is None:
                raise ValueError("a value without a key")
            self.entries[self.key] = value
            self.key = None
        else:
            self.items.append(value)
        self.wants_comma = True

    def whole(self) -> Any:
        return self.entries if self.closing == "}" else self.items


class _Reader:
    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at
        self._left = _MAX_VALUES

    def value(self) -> tuple[Any, int]:
        open_ones: list[_Open] = []
        while True:
            self._skip_blanks()
            character = self._text[self._at : self._at + 1]
            inner = open_ones[-1] if open_ones else None
            if inner is not None and character == inner.closing and inner.key is None:
                self._at += 1
                open_ones.pop()
                value = inner.whole()
            elif inner is not None and inner.wants_comma:
                self._expect(",")
                inner.wants_comma = False
                continue
            elif inner is not None and inner.closing == "}" and inner.key is None:
                inner.key = self._text_value()
                self._skip_blanks()
                self._expect(":")
                continue
            elif character and character in _CLOSING:
                self._at += 1
                self._count()
                open_ones.append(_Open(character))
                if len(open_ones) > _MAX_DEPTH:
                    raise ValueError("nested too deep")
                continue
            else:
                value = self._plain(character)
            if not open_ones:
                return value, self._at
            open_ones[-1].add(value)

    def _plain(self, character: str) -> Any:
        self._count()
        if character in ("'", '"'):
            return self._text_value()
        number = _NUMBER.match(self._text, self._at)
        if number is not None:
            self._at = number.end()
            return _number(number.group())
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise ValueError("no value")
        self._at = name.end()
        return _named(name.group())

    def _text_value(self) -> str:
        """A text in quotes, its escapes resolved."""
        quote = self._text[self._at : self._at + 1]
        if quote not in ("'", '"'):
            raise ValueError("no text")
        begin = self._at + 1
        end = self._text.find(quote, begin)
        while end >= 0 and _is_escaped(self._text, begin, end):
            end = self._text.find(quote, end + 1)
        if end < 0:
            raise ValueError("a text without an end")
        self._at = end + 1
        inner = self._text[begin:end]
        return _unescaped(inner) if "\\" in inner else inner

    def _skip_blanks(self) -> None:
        blanks = _BLANKS.match(self._text, self._at)
        if blanks is not None:
            self._at = blanks.end()

    def _expect(self, mark: str) -> None:
        if not self._text.startswith(mark, self._at):
            raise ValueError(f"no {mark}")
        self._at += 1

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many values")


def _is_escaped(text: str, begin: int, at: int) -> bool:
    backslashes = 0
    while at - backslashes > begin and text[at - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def _unescaped(text: str) -> str:
    return whole_characters(_ESCAPE.sub(_character, text))


def _character(escape: re.Match[str]) -> str:
    for digits in escape.group(1, 2, 3):
        if digits is not None:
            code = int(digits, 16)
            return chr(code) if code <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
    if escape.group(4) is not None:
        return chr(int(escape.group(4), 8))
    return _ESCAPED.get(escape.group(5), escape.group())


def _number(written: str) -> int | float:
    if len(written) > _MAX_DIGITS:
        raise ValueError("a number of too many digits")
    is_whole = written.lstrip("+-").isdecimal()
    return int(written) if is_whole else float(written)


def _named(name: str) -> Any:
    if name in _NAMES:
        return _NAMES[name]
    sign = -1.0 if name.startswith("-") else 1.0
    number = _NOT_FINITE.get(name.lstrip("+-").lower())
    if number is None:
        raise ValueError("an unknown name")
    return sign * number
