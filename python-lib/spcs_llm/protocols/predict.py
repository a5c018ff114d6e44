"""`POST /predict` of services that the earlier notebook deployed: a row's `inputs` in, its `outputs` back.

Server: snowflake-ml-python 1.0 to 1.5.4, `_deploy_client/image_builds/inference_server/main.py`. Sampling settings are
fixed when a model is logged: none can be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from spcs_llm.call import Call
from spcs_llm.chat_templates import ChatTemplate, TemplateError
from spcs_llm.domain import ChatAnswer, ChatRequest, Embedding
from spcs_llm.endpoint import Endpoint, Outgoing
from spcs_llm.errors import QueryError, SpcsError
from spcs_llm.protocols.generated_text import answer_of, generated_text, ignored_settings, refuse_beyond_text
from spcs_llm.protocols.rows import column, embedding, matched_rows, of_one_length

T = TypeVar("T")

_INPUTS, _OUTPUTS = "inputs", "outputs"


class PredictProtocol:
    """Chats and embeddings at one endpoint, several rows a request. Thread-safe."""

    coalesces_chat: Literal[True] = True

    def __init__(
        self, endpoint: Endpoint, *, template: ChatTemplate, input_column: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._template = template
        self._column = input_column or _INPUTS

    def check(self, request: ChatRequest) -> None:
        """Raises QueryError for what this protocol cannot carry."""
        refuse_beyond_text(request)
        self._prompt(request)

    def chat_rows(self, requests: Sequence[ChatRequest], call: Call) -> list[ChatAnswer | SpcsError]:
        """An answer, or the error that is this row's alone, for each request in order. Raises SpcsError."""
        prompts = [self._prompt(request) for request in requests]
        contents = self._send(prompts, call)

        def answer(at: int, content: Any) -> ChatAnswer:
            request, prompt = requests[at], prompts[at]
            return answer_of(
                generated_text(column(content, _OUTPUTS)),
                prompt,
                (*request.sampling.stop_sequences, *self._template.stop_strings),
                ignored_settings(request),
                raw=len(request.messages) == 1 and prompt == request.messages[0].text,
            )

        return _each(contents, answer)

    def embed(self, texts: Sequence[str], call: Call) -> list[Embedding | SpcsError]:
        """An embedding, or the error that is this text's alone, for each text in order. Raises SpcsError."""
        contents = self._send(texts, call)
        return of_one_length(_each(contents, lambda at, content: embedding(column(content, _OUTPUTS))))

    def _send(self, texts: Sequence[str], call: Call) -> list[Any | SpcsError]:
        payload = {"data": [[index, {self._column: text}] for index, text in enumerate(texts)]}
        body = self._endpoint.send(Outgoing("/predict", payload, weight=len(texts)), call)
        return matched_rows(body, len(texts))

    def _prompt(self, request: ChatRequest) -> str:
        try:
            return self._template.render(request.messages)
        except TemplateError as error:
            raise QueryError(
                f"The messages do not fit the chat template {self._template.name}: {error}"
            ) from None


def _each(contents: Sequence[Any], read: Callable[[int, Any], T]) -> list[T | SpcsError]:
    rows: list[T | SpcsError] = []
    for at, content in enumerate(contents):
        try:
            rows.append(content if isinstance(content, SpcsError) else read(at, content))
        except SpcsError as error:
            rows.append(error)
    return rows
