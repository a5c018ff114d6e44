"""Reads a statement's tokens from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from sandbox.snowflake.sql.errors import SqlError, syntax_error
from sandbox.snowflake.sql.tokens import Token


class Reader:
    """A statement and how far it has been read. bindings: the values of its `?`, in order."""

    def __init__(self, tokens: Sequence[Token], bindings: Sequence[object] = ()) -> None:
        self._tokens = tokens
        self._at = 0
        self._bindings = list(bindings)
        self._bound = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    def peek(self, ahead: int) -> Token:
        return self._tokens[max(0, min(self._at + ahead, len(self._tokens) - 1))]

    def advance(self) -> Token:
        token = self.next
        if token.kind != "end":
            self._at += 1
        return token

    @property
    def position(self) -> int:
        return self._at

    def text_since(self, position: int) -> str:
        """What was read since, as the name of a column without an alias: upper case, without spaces."""
        tokens = self._tokens[position : self._at]
        if len(tokens) == 1:
            return tokens[0].value if tokens[0].kind in ("word", "quoted") else tokens[0].text
        if tokens[-2].text == "." and all(t.kind in ("word", "quoted") or t.text == "." for t in tokens):
            return tokens[-1].value
        return "".join(token.text.upper() if token.kind == "word" else token.text for token in tokens)

    def go_back(self, count: int) -> None:
        self._at -= count

    def take(self, *words: str) -> bool:
        """Whether these words or symbols come next; if so they are read."""
        if not self.sees(*words):
            return False
        self._at += len(words)
        return True

    def sees(self, *words: str) -> bool:
        ahead = (self.peek(i) for i in range(len(words)))
        return all(t.kind in ("word", "symbol") and t.value == w for t, w in zip(ahead, words))

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.take(word):
                self.fail()

    def one_of(self, *words: str) -> str:
        for word in words:
            if self.take(*word.split()):
                return word
        raise self.error()

    def fail(self) -> NoReturn:
        raise self.error()

    def error_after(self, beginnings: set[str]) -> SqlError:
        """At the second word if the first is one of these, as a parser that knows the first would say it."""
        if self.next.value in beginnings:
            self.advance()
        return self.error()

    def error(self) -> SqlError:
        return syntax_error(self.next.line, self.next.column, self.next.text)

    def end(self) -> None:
        if self.next.kind != "end":
            self.fail()

    # -- parts of statements ---------------------------------------------------------------------------

    def identifier(self) -> str:
        """A name: upper case unless it is quoted."""
        if self.next.kind not in ("word", "quoted"):
            self.fail()
        return self.advance().value

    def qualified(self) -> tuple[str, ...]:
        """A name of one to three parts."""
        if self.take("IDENTIFIER", "("):
            return self._indirect()
        parts = [self.identifier()]
        while len(parts) < 3 and self.take("."):
            parts.append(self.identifier())
        return tuple(parts)

    def _indirect(self) -> tuple[str, ...]:
        from sandbox.snowflake.sql.tokens import tokens_of

        text = self.string()
        self.expect(")")
        inner = Reader(tokens_of(text))
        name = inner.qualified()
        inner.end()
        return name

    def string(self) -> str:
        value = self.literal()
        if not isinstance(value, str):
            self.fail()
        return value

    def integer(self) -> int:
        value = self.literal()
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail()
        return value

    def boolean(self) -> bool:
        return self.one_of("TRUE", "FALSE") == "TRUE"

    def literal(self) -> object:
        """A string, a whole number, or the value that is bound to a `?`."""
        if self.take("?"):
            return self.bound()
        token = self.next
        if token.kind == "string":
            return self.advance().value
        if token.kind == "number" and token.value.isdigit():
            return int(self.advance().value)
        raise self.error()

    def bound(self) -> object:
        if self._bound >= len(self._bindings):
            raise SqlError("002049", "42601", "SQL compilation error:\nBind variable is not set.")
        self._bound += 1
        return self._bindings[self._bound - 1]
