"""Arguments of tool calls: read leniently from models and histories, written strictly as one JSON object.

DSS's client and LangChain parse what they are given, and chat templates fail on a history that holds anything else, so
that one call with broken arguments would end an agent's run.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from spcs_llm.lenient_json import is_costly, read_leniently
from spcs_llm.schema_reference import referred
from spcs_llm.whole_characters import whole_characters

INVALID_ARGUMENTS = "invalid_arguments"  # the one key of what stands for arguments that cannot be read
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_FENCE = re.compile(r"\s{0,100}```[A-Za-z]{0,20}\s{0,100}")
_OVER_ESCAPED = re.compile(r'[\[{:,]\s{0,20}\\"')  # a value or key that begins with an escaped quote
_MAX_ENCODINGS = 3
_KINDS: dict[type, set[str]] = {
    int: {"integer", "number"}, float: {"number"}, bool: {"boolean"}, list: {"array"}, dict: {"object"},
    type(None): {"null"},
}  # fmt: skip
_MAX_GLUED = 16


def arguments_text(value: Any) -> str:
    """The arguments of a call as the text of a JSON object.

    Args:
        value: The arguments as they came: a JSON object's text, as a rule; or an object, nothing, or a text that is
            not quite JSON.

    Returns:
        JSON that can be written as UTF-8 and does not contain NaN. A JSON object's text stays as it is. What cannot be
        read as one object without guessing becomes `{"invalid_arguments": <the text>}`, or a list of several objects
        instead: the tool refuses that, and an agent can ask the model again.
    """
    if isinstance(value, str) and _is_strict(value):
        return value
    found = arguments_object(value)
    if found is None:
        several = _glued(value) if isinstance(value, str) else []
        found = {INVALID_ARGUMENTS: several or (value if isinstance(value, str) else _written(value))}
    return _written(found)


def arguments_object(value: Any) -> dict[str, Any] | None:
    """The arguments of a call as an object. Nothing, null and an empty list are not arguments: `{}`.

    Args:
        value: The arguments as they came.

    Returns:
        The object; None when they cannot be read as one without guessing.
    """
    for _ in range(_MAX_ENCODINGS):
        if value is None or value == [] or (isinstance(value, str) and not value.strip()):
            return {}
        if isinstance(value, Mapping):
            return dict(value)
        if not isinstance(value, str):
            return None
        value = _read(value)
    return None


def with_declared_kinds(text: str, schema: Mapping[str, Any] | None) -> str:
    """Makes values of the kinds that a tool's schema declares, where a server made texts or fractions of them.

    Args:
        text: The arguments, as `arguments_text` writes them.
        schema: The JSON schema of the tool's arguments.

    Returns:
        The arguments. A text becomes the number, truth value, list or object that it is the JSON of, or null, if the
        schema declares such a kind for it and no text. A number such as 5.0 becomes 5 if the
        schema declares integers and no other numbers. All else stays, to be judged by the tool.
    """
    if (
        not isinstance(schema, Mapping)
        or not isinstance(schema.get("properties"), Mapping)
        or '"' not in text
    ):
        return text
    arguments = json.loads(text)
    meant = _as_declared(arguments, schema, schema)
    return text if repr(meant) == repr(arguments) else _written(meant)  # 1.0 and 1 are equal


def _as_declared(value: Any, declared: Any, schema: Mapping[str, Any], depth: int = 8) -> Any:
    """A value with its texts and numbers made into what the part of the schema for it declares."""
    if isinstance(value, str):
        value = _of_kind(value, _kinds(declared, schema))
    elif isinstance(value, float):
        value = _without_fraction(value, _kinds(declared, schema))
    if not isinstance(value, (dict, list)) or not depth:
        return value
    declared = _resolved(declared, schema)
    if isinstance(value, list):
        items = declared.get("items")
        return [_as_declared(each, items, schema, depth - 1) for each in value] if items else value
    properties = declared.get("properties")
    if not isinstance(properties, Mapping):
        return value
    return {
        name: _as_declared(each, properties[name], schema, depth - 1) if name in properties else each
        for name, each in value.items()
    }


def _of_kind(text: str, kinds: set[str]) -> Any:
    if not kinds or "string" in kinds:
        return text
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    value = _without_fraction(value, kinds) if isinstance(value, float) else value
    return value if kinds & _KINDS.get(type(value), set()) else text


def _without_fraction(value: float, kinds: set[str]) -> float:
    is_whole = value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole and "integer" in kinds and "number" not in kinds else value


def _resolved(declared: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a schema that holds for a value which is there: behind references, and null left aside."""
    for _ in range(4):
        if not isinstance(declared, Mapping):
            return {}
        options = declared.get("anyOf") or declared.get("oneOf") or declared.get("allOf")
        if isinstance(declared.get("$ref"), str):
            declared = referred(declared["$ref"], schema)
        elif isinstance(options, list):
            some = [each for each in options if not isinstance(each, Mapping) or each.get("type") != "null"]
            declared = some[0] if len(some) == 1 else {}
        else:
            return declared
    return {}


def _kinds(declared: Any, schema: Mapping[str, Any], depth: int = 6) -> set[str]:
    """The kinds of value that a part of a schema allows; none if it does not name them all."""
    if not isinstance(declared, Mapping) or not depth:
        return set()
    kind = declared.get("type")
    if isinstance(kind, (str, list)):
        return {kind} if isinstance(kind, str) else {str(each) for each in kind}
    if isinstance(declared.get("$ref"), str):
        return _kinds(referred(declared["$ref"], schema), schema, depth - 1)
    if isinstance(declared.get("enum"), list):
        return set().union(*(_KINDS.get(type(each), {"string"}) for each in declared["enum"]))
    parts = declared.get("allOf")  # as older versions of Pydantic write a reference that has a description
    alternatives = declared.get("anyOf") or declared.get("oneOf")
    if isinstance(parts, list) and len(parts) == 1:
        alternatives = parts
    if not isinstance(alternatives, list):
        return set()
    found: set[str] = set()
    for each in alternatives:
        kinds = _kinds(each, schema, depth - 1)
        if not kinds:
            return set()
        found |= kinds
    return found


def is_whole(text: str) -> bool:
    """Whether the text is one JSON object from its beginning to its end, control characters allowed."""
    if is_costly(text):
        return False
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False


def _is_strict(text: str) -> bool:
    if is_costly(text):
        return False
    try:
        found = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and _SURROGATE.search(text) is None and _is_utf8(text)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(name: str) -> Any:
    raise ValueError(name)


def _read(text: str) -> Any:
    """The value in the text; 0, which is not an object, when there is none or more than one, or it is too costly."""
    if is_costly(text):
        return 0
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    if _OVER_ESCAPED.search(text):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text.replace('\\"', '"'), strict=False)
    fence = _FENCE.match(text)
    try:
        value, end = read_leniently(text, fence.end() if fence else 0)
    except ValueError:
        return 0
    # After a value a brace too many or a sentence may stand. Another object may be another call's, if it is not empty.
    if "{" not in text[end:]:
        return value
    filled = [found for found in _glued(text) if found]
    return filled[0] if len(filled) == 1 else 0


def _glued(text: str) -> list[Any]:
    """The objects of a text that is two or more of them and nothing else, as gateways glue those of parallel calls."""
    found: list[Any] = []
    at = 0
    while at < len(text) and len(found) < _MAX_GLUED:
        if text[at:].isspace():
            return found
        try:
            value, at = read_leniently(text, at)
        except ValueError:
            return []
        if not isinstance(value, dict):
            return []
        found.append(value)
    return found if at >= len(text) and len(found) > 1 else []


def _written(value: Any) -> str:
    try:
        text = json.dumps(finite(value), ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return json.dumps({INVALID_ARGUMENTS: "nested too deep"})
    return whole_characters(text)


def finite(value: Any) -> Any:
    """Takes out of a value what JSON cannot write.

    Args:
        value: Objects, lists, texts and numbers, one within the other.

    Returns:
        A copy with None for each number that is not finite, and text for each key.

    Raises:
        RecursionError: If the value is nested too deeply.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
