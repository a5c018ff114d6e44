"""The parameters of a row, an OBJECT, as settings of LLM Mesh, which `spcs_llm` reads.

They have LLM Mesh's names (`maxOutputTokens`), OpenAI's, which are those of Snowflake's model serving and of
AI_COMPLETE too (`max_tokens`), and `jsonSchema`. A name that is neither is refused: a misspelt limit would be none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batch_gateway.snowflake_json import loads
from spcs_llm.domain import SAMPLING_SETTINGS
from spcs_llm.errors import QueryError

# What a row's value has no place for.
_WITHOUT_PLACE = ("logProbs", "topLogProbs")
_OF_CHATS = {
    **{name: name for name in SAMPLING_SETTINGS.values() if name not in _WITHOUT_PLACE},
    "responseFormat": "responseFormat",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "logit_bias": "logitBias",
    "response_format": "responseFormat",
    "jsonSchema": "responseFormat",
}
_OF_EMBEDDINGS = {"textOverflowMode": "textOverflowMode"}


def chat_settings(parameters: Any) -> dict[str, Any]:
    """Reads the parameters of a chat.

    Args:
        parameters: An OBJECT, its JSON as text, or None.

    Returns:
        LLM Mesh's dict of completion settings.

    Raises:
        QueryError: If they are not an object, or a name is not known or is given twice.
    """
    return _settings(parameters, _OF_CHATS)


def embedding_settings(parameters: Any) -> dict[str, Any]:
    """The same for an embedding."""
    return _settings(parameters, _OF_EMBEDDINGS)


def _settings(parameters: Any, known: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in _as_object(parameters).items():
        if name not in known:
            raise QueryError(
                f"The parameters have the name {name[:40]!r}, which is not known.",
                f"Known names are {', '.join(known)}.",
            )
        if value is None:
            continue
        setting = known[name]
        if setting in settings:
            raise QueryError(f"The parameters set {setting} twice, by two of its names.")
        settings[setting] = _response_format(name, value) if setting == "responseFormat" else value
    return settings


def _as_object(parameters: Any) -> Mapping[str, Any]:
    if isinstance(parameters, str):
        try:
            parameters = loads(parameters.strip() or "null")
        except (ValueError, RecursionError):
            parameters = ()
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise QueryError("The parameters are not an object.", "Use OBJECT_CONSTRUCT('max_tokens', 200).")
    return parameters


def _response_format(name: str, value: Any) -> Any:
    """LLM Mesh's form of a response format, of which OpenAI's is another."""
    if name == "jsonSchema":
        return {"type": "json", "schema": value}
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "json_object":
        return {"type": "json"}
    if kind == "json_schema":
        within = value.get("json_schema")
        within = within if isinstance(within, Mapping) else {}
        return {"type": "json", "schema": within.get("schema"), "strict": within.get("strict")}
    return value
