"""The settings of a query that protocols for models of text cannot carry, and ignore."""

from __future__ import annotations

from collections.abc import Collection

from spcs_llm.domain import SAMPLING_SETTINGS, ChatRequest

# Stop sequences are always obeyed.
_SETTINGS = {field: name for field, name in SAMPLING_SETTINGS.items() if field != "stop_sequences"}


def ignored_settings(request: ChatRequest, taken: Collection[str] = ()) -> tuple[str, ...]:
    """Lists the settings of a query that a request does not carry.

    Args:
        request: The query.
        taken: What the request carries: names of fields of Sampling, and `json_format`.

    Returns:
        The other settings that the query has, in LLM Mesh's words, such as `maxOutputTokens`.
    """
    names = [name for field, name in _SETTINGS.items() if field not in taken and _is_asked(request, field)]
    if request.json_format is not None and "json_format" not in taken:
        names.append("responseFormat")
    return tuple(names)


def _is_asked(request: ChatRequest, field: str) -> bool:
    value = getattr(request.sampling, field)
    return value is not None and value is not False
