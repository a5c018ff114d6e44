"""What of a query cannot be carried by protocols for models of text: refused where it matters, ignored where not."""

from __future__ import annotations

from collections.abc import Collection

from spcs_llm.domain import ChatRequest
from spcs_llm.errors import QueryError

# Sampling's fields, as LLM Mesh names them. Stop sequences are not among them: they are always obeyed.
_SETTINGS = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "logit_bias": "logitBias",
    "log_probs": "logProbs",
    "top_log_probs": "topLogProbs",
    "seed": "seed",
}
_USE_OPENAI = "Serve the model with vLLM or the like, and choose OpenAI as 'Service protocol'."


def ignored_settings(request: ChatRequest, taken: Collection[str] = ()) -> tuple[str, ...]:
    """The query's settings, in LLM Mesh's words, that are not among the `taken`.

    taken: fields of Sampling, and `json_format`.
    """
    names = [name for field, name in _SETTINGS.items() if field not in taken and _is_asked(request, field)]
    if request.json_format is not None and "json_format" not in taken:
        names.append("responseFormat")
    return tuple(names)


def _is_asked(request: ChatRequest, field: str) -> bool:
    value = getattr(request.sampling, field)
    return value is not None and value is not False


def refuse_beyond_text(request: ChatRequest) -> None:
    """Raises QueryError for tools, their calls and images.

    A query that offers tools counts on a model that may call them: an answer given without knowing of them would look
    like a decision to do without. Only the choice `none` says that the answer is the same.
    """
    choice = request.tool_choice.mode if request.tool_choice is not None else "auto"
    if choice in ("required", "tool") or (request.tools and choice != "none"):
        raise QueryError("The query has tools, which this service's protocol does not know.", _USE_OPENAI)
    for message in request.messages:
        if message.role == "tool" or message.tool_calls:
            raise QueryError(
                "The query has tool calls in its history, which this service's protocol does not know.",
                _USE_OPENAI,
            )
        if message.has_images:
            raise QueryError(
                "The query has an image, and this service's protocol takes text alone.", _USE_OPENAI
            )


def refuse_json(request: ChatRequest) -> None:
    """Raises QueryError for a JSON format that the query does not give leave to ignore."""
    if request.json_format is not None and not request.json_format.if_supported:
        raise QueryError(
            "The query wants JSON output, to which this service cannot hold its model.", _USE_OPENAI
        )
