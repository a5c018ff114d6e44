"""Arguments of tool calls: read as models write them, written as the JSON object that everybody else expects.

Models leave line ends unescaped, encode twice, write Python, and add a comma, a brace, a fence or a sentence. Agent
frameworks and servers take nothing but a JSON object, servers also in the conversation that is handed back to them.
"""

from __future__ import annotations

import json
import re
from typing import Any

from spcs_llm.protocols.openai.text import whole_characters, with_whole_characters

# Under this name an agent gets arguments that nobody can read: a tool that demands some of its own then fails with a
# reason, which the model is told, and may call it again.
UNREADABLE = "unreadable_arguments"

_NOTHING = frozenset({"", "null", "None", "[]", "{}", '""', "undefined"})
# Texts that never end match to the end: looking for their end from each quote anew would take quadratic time.
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)'
_PYTHON_STRING = r"'([^'\\]*(?:\\.[^'\\]*)*)(?:'|\\?\Z)"
_COMMA_BEFORE_END = re.compile(rf"({_STRING})|,(?=\s*[}}\]])", re.DOTALL)
_PYTHON = re.compile(rf"({_STRING})|{_PYTHON_STRING}|\b(True|False|None)\b|\\[nrt]|,(?=\s*[}}\]])", re.DOTALL)
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_FENCE = "```"
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_TIMES_ENCODED = 3


def arguments_object(text: str) -> str:
    """The JSON object that `text` is meant to be; one that holds `text` itself where no such object can be read."""
    text = whole_characters(text)
    found = _object_in(text)
    if found is not None:
        return found
    several = _objects_in(text)
    return _dumped({UNREADABLE: several}) or json.dumps({UNREADABLE: text}, ensure_ascii=False)


def is_json_object(text: str) -> bool:
    """Whether `text` is a JSON object to the letter."""
    return isinstance(_loaded(text, strict=True), dict)


def _object_in(text: str) -> str | None:
    stripped = text.strip()
    if stripped in _NOTHING:
        return "{}"
    value = _loaded(stripped, strict=True)
    if isinstance(value, dict) and not _ESCAPED_HALF.search(stripped):
        return stripped
    for _ in range(_TIMES_ENCODED):
        if not isinstance(value, str):
            break
        if value.strip() in _NOTHING:
            return "{}"
        value = _read_leniently(value)
    if value is None:
        value = _read_leniently(stripped)
    if isinstance(value, str):
        value = _read_leniently(value)
    return _dumped(value) if isinstance(value, dict) else None


def _objects_in(text: str) -> Any:
    """The objects that were glued together in `text`, of which it is not said which one is meant; or `text`."""
    objects: list[Any] = []
    at = 0
    text = text.strip()
    try:
        while at < len(text):
            value, at = _LENIENT.raw_decode(text, at)
            objects.append(value)
            while at < len(text) and text[at].isspace():
                at += 1
    except (ValueError, RecursionError):
        return text
    return objects if len(objects) > 1 and all(isinstance(each, dict) for each in objects) else text


def _dumped(value: dict[str, Any]) -> str | None:
    try:
        return json.dumps(with_whole_characters(value), ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _read_leniently(text: str) -> Any:
    """What `text` means as JSON, by the first reading that makes sense; None when none does."""
    text = _without_fence(text.strip())
    for reading in (_plain, _first_object, _without_commas, _as_python):
        value = reading(text)
        if isinstance(value, (dict, str)):
            return value
    return None


def _without_fence(text: str) -> str:
    if not text.startswith(_FENCE):
        return text
    text = text[len(_FENCE) :]
    begin = text.find("{")
    if text[:begin].strip().isalnum() or not text[:begin].strip():
        text = text[begin:]
    return text[: -len(_FENCE)].rstrip() if text.endswith(_FENCE) else text


def _plain(text: str) -> Any:
    return _loaded(text, strict=False)


def _first_object(text: str) -> Any:
    """The object that begins `text`, if what follows it is not another one."""
    if not text.startswith("{"):
        return None
    try:
        value, end = _LENIENT.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = text[end:].strip()
    if "{" not in rest:
        return value
    return value if _plain(rest) == value else None  # two that differ: which of them is meant is a guess


def _without_commas(text: str) -> Any:
    return _loaded(_COMMA_BEFORE_END.sub(lambda found: found[1] or "", text), strict=False)


def _as_python(text: str) -> Any:
    """`text` as a literal of Python: by its tokens, as a parser of Python must not be given what a server sends."""
    if not text.startswith("{"):
        return None
    return _loaded(_PYTHON.sub(_as_json, text), strict=False)


def _as_json(found: re.Match[str]) -> str:
    if found[1] is not None:
        return found[1]
    if found[2] is not None:
        plain = re.sub(r'\\(.)|(")', lambda part: _requoted(part), found[2], flags=re.DOTALL)
        return f'"{plain}"'
    if found[3] is not None:
        return _PYTHON_WORDS[found[3]]
    return "" if found[0] == "," else " "  # a line end that was escaped outside of a text


def _requoted(part: re.Match[str]) -> str:
    if part[2] is not None:
        return '\\"'
    return "'" if part[1] == "'" else part[0]


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_STRICT = json.JSONDecoder(parse_constant=_no_number)
_LENIENT = json.JSONDecoder(parse_constant=lambda name: None, strict=False)


def _loaded(text: str, *, strict: bool) -> Any:
    """None for what is no JSON, and for null."""
    try:
        return (_STRICT if strict else _LENIENT).decode(text)
    except (ValueError, RecursionError):
        return None
