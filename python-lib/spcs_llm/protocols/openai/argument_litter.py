"""What engines leave in the arguments of a tool call: marks of the model's own format, and the call that follows."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from spcs_llm.protocols.openai.call_markup import OPENING
from spcs_llm.tool_arguments import is_whole

TOKENS: Final = ("DSML",)  # in a prompt that speaks of the marks which are taken off values
# Mistral's mark behind the name, and a mark of bytes.
_BEFORE: Final = re.compile(r"[\s\ufeff]{0,16}\[ARGS\]|\ufeff")
# DeepSeek's tag at the end of a value, whole or without its last characters.
_VALUE_END: Final = re.compile(r"</(?:\uff5c{1,2}|\|{1,2})DSML(?:\uff5c|\|)[^<>\"\\]{0,40}>?\s{0,8}\Z")
_TAG: Final = re.compile(r"<[^<>]{1,40}>")
_BETWEEN: Final = " \t\r\n`"  # two calls, in a fence or without one
_MOST_TAGS: Final = 8
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|["{}\[\]]', re.DOTALL)
_ENDS: Final = {"{": "}", "[": "]"}
_MOST_LOST_BRACKETS: Final = 8


def behind_mark(text: str) -> str:
    """The arguments without what stands before them."""
    before = _BEFORE.match(text)
    return text[before.end() :] if before else text


def without_next_call(text: str) -> str:
    """Takes off the calls behind the arguments, which stand there in the model's own words.

    Args:
        text: The arguments as they came.

    Returns:
        The arguments of the one call; the text if that is what it is.
    """
    for found in itertools.islice(OPENING.finditer(text), _MOST_TAGS):
        head = text[: found.start()].rstrip(_BETWEEN)
        if is_whole(head):
            return head
    return text


def with_its_end(text: str) -> str:
    """Ends arguments that have a tag of the model's instead of their end.

    Args:
        text: The arguments.

    Returns:
        A JSON object's text; the arguments if they do not become one.
    """
    tag = _VALUE_END.search(text, max(0, len(text) - 64))
    ended = f'{text[: tag.start()]}"}}' if tag else text
    return ended if is_whole(ended) else text


def with_lost_brackets(text: str) -> str:
    """Closes what engines leave open that take the end of an inner object for the end of the arguments.

    Args:
        text: The arguments.

    Returns:
        A JSON object's text; the arguments if they do not end behind an inner object or list.
    """
    if not text.rstrip().endswith(("}", "]")):
        return text
    lost: list[str] = []
    for found in _BRACKETS.finditer(text):
        mark = found[0]
        if mark in _ENDS:
            lost.append(_ENDS[mark])
        elif mark in _ENDS.values() and (not lost or lost.pop() != mark):
            return text
    closed = text + "".join(reversed(lost[:_MOST_LOST_BRACKETS]))
    return closed if is_whole(closed) else text


def without_marks(arguments: str, schema: Mapping[str, Any] | None, *, may_quote: bool) -> str:
    """Takes marks of the model's format off the names and the ends of values.

    Args:
        arguments: The text of a JSON object.
        schema: The JSON schema of the tool's arguments: a name that it declares stays.
        may_quote: Whether values may have such marks, because the query is about them.

    Returns:
        The arguments.
    """
    if "<" not in arguments:
        return arguments
    values = json.loads(arguments)
    declared = schema.get("properties") if isinstance(schema, Mapping) else None
    names = _declared_names(values, declared) if isinstance(declared, Mapping) else {}
    cleaned = {
        names.get(name, name): value if may_quote else _without_end(value) for name, value in values.items()
    }
    return arguments if cleaned == values else json.dumps(cleaned, ensure_ascii=False)


def _declared_names(values: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, str]:
    """For each name that is a declared one but for tags on it, the declared one, unless another value has it."""
    found: dict[str, str] = {}
    for name in values:
        meant = _TAG.sub("", name).strip()
        is_free = meant not in values and meant not in found.values()
        if name not in declared and meant in declared and is_free:
            found[name] = meant
    return found


def _without_end(value: Any) -> Any:
    return _VALUE_END.sub("", value, count=1) if isinstance(value, str) and "DSML" in value[-64:] else value
