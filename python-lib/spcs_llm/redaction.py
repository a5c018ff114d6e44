"""Keeps users' texts out of errors that quote a server which quotes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_WINDOW = 8
_MASK = "…"
_TEXTS = ("query", "prompt", "input")
_NAMES = ("role", "type", "name", "columns")  # of the protocols' own: an error about them should be readable
_HEAD_OF_IMAGE = (
    4096  # of a data URL: an error quotes its head, if anything, and searching megabytes takes seconds
)


def without_private_text(message: str, payload: Any) -> str:
    """`message` with every stretch of 8 characters or more that also stands in a text of `payload` masked, written
    plainly or escaped as in JSON or Python.

    Texts are the strings below the payload's top level (messages, rows), apart from roles and types. Strings at its
    top level are parameters, such as the model's name, which an error may quote, except those that hold a text.
    """
    texts = [text for text in _private_texts(payload) if len(text) >= _WINDOW]
    if not texts:
        return message
    private = "\0".join(dict.fromkeys(form for text in texts for form in _forms(text)))
    masked = [False] * len(message)
    for start in range(len(message) - _WINDOW + 1):
        if message[start : start + _WINDOW] in private:
            masked[start : start + _WINDOW] = [True] * _WINDOW
    return "".join(
        _MASK if hidden and not (at and masked[at - 1]) else "" if hidden else character
        for at, (character, hidden) in enumerate(zip(message, masked))
    )


def _forms(text: str) -> tuple[str, ...]:
    escaped = json.dumps(text)[1:-1]
    twice = json.dumps(escaped)[1:-1]  # by a proxy that quotes the error of a server behind it
    return text, escaped, twice, json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]


def _private_texts(payload: Any) -> Iterator[str]:
    if isinstance(payload, dict):
        for key, value in payload.items():
            if key in _TEXTS or not isinstance(value, str):
                yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:_HEAD_OF_IMAGE] if value.startswith("data:") else value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NAMES:
                yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def last_line(text: str) -> str:
    """Of a traceback, only the last line tells what is wrong; the others are the service's code."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
