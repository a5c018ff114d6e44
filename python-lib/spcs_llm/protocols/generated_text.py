"""The text that a text-generation pipeline gives, and what has to be taken off it.

Shapes: Hugging Face transformers 4.4x, `TextGenerationPipeline`: a list of `{"generated_text"}`, whose value is a
text or, for chats, the list of messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spcs_llm.domain import ChatAnswer, ChatRequest
from spcs_llm.errors import QueryError
from spcs_llm.protocols.rows import no_answer, parsed

# Sampling's fields, as LLM Mesh names them.
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


def generated_text(value: Any) -> str:
    """The text in a pipeline's output, native or as JSON in a text. Raises ModelError."""
    found = parsed(value)
    if isinstance(found, (list, tuple)):
        if not found:
            raise no_answer("The model answers with an empty list.")
        found = found[0]
        if isinstance(found, (list, tuple)) and found:
            found = found[0]
    if isinstance(found, dict) and "generated_text" in found:
        text = found["generated_text"]
        if isinstance(text, (list, tuple)) and text and isinstance(text[-1], dict):
            text = text[-1].get("content")
        if isinstance(text, str):
            return text
        raise no_answer("The model answers with a generated_text that is no text.")
    if isinstance(value, str) and not isinstance(found, str):
        return value  # a plain text that happens to be JSON
    if isinstance(found, str):
        return found
    raise no_answer("The model answers with an output that holds no generated_text.")


def answer_of(
    text: str, prompt: str, stops: Sequence[str], ignored: tuple[str, ...], *, raw: bool
) -> ChatAnswer:
    """The answer in what a model made of `prompt`: without the prompt, where it is repeated, and up to a stop sequence.

    raw: the prompt is the user's text as it stands, and so is the answer; otherwise the white space around the
    answer, which belongs to the format of the conversation, is taken off. These services do not tell why a model
    stopped; "stop" is what is reported.
    """
    if text.startswith(prompt):
        text = text[len(prompt) :]
    ends = [end for end in (text.find(stop) for stop in stops if stop) if end >= 0]
    if ends:
        text = text[: min(ends)]
    return ChatAnswer(text if raw else text.strip(), "stop", ignored_settings=ignored)


def ignored_settings(request: ChatRequest, taken: Sequence[str] = ()) -> tuple[str, ...]:
    """The query's settings, in LLM Mesh's words, that are not among the `taken`, fields of Sampling."""
    sampling = request.sampling
    names = [
        name
        for field, name in _SETTINGS.items()
        if field not in taken and getattr(sampling, field) is not None
    ]
    if request.json_format is not None and "json_format" not in taken:
        names.append("responseFormat")
    return tuple(names)


def refuse_beyond_text(request: ChatRequest, *, json_output: bool = False) -> None:
    """Raises QueryError for what a text model behind this protocol cannot be asked.

    json_output: whether it can be held to a JSON format.
    """
    if request.tools and not (request.tool_choice and request.tool_choice.mode == "none"):
        raise QueryError("The query has tools, which this service's protocol does not know.", _USE_OPENAI)
    for message in request.messages:
        if message.role == "tool" or message.tool_calls:
            raise QueryError("The query has tool calls in its history, which this service's protocol does not know.",
                             _USE_OPENAI)  # fmt: skip
        if message.has_images:
            raise QueryError("The query has an image, and this model takes text alone.", _USE_OPENAI)
    wanted = request.json_format
    if wanted is not None and not json_output and not wanted.if_supported:
        raise QueryError(
            "The query wants JSON output, to which this service cannot hold its model.", _USE_OPENAI
        )


_USE_OPENAI = "Serve the model with vLLM or the like, and choose OpenAI as 'Service protocol'."
