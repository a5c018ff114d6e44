"""What the tests of the row-indexed protocols share: their answers, and a short way to ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spcs_llm.chat_templates.template import ChatTemplate
from spcs_llm.domain import ChatAnswer, ChatRequest, Message, TextPart
from spcs_llm.errors import SpcsError
from spcs_llm.query_context import QueryContext

SECRET = "the patient's name is Rumpelstiltskin"


def rows(*contents: Any, start: int = 0) -> dict[str, Any]:
    return {"data": [[index, content] for index, content in enumerate(contents, start)]}


def outputs(*values: Any) -> dict[str, Any]:
    return rows(*({"outputs": value} for value in values))


def template(mode: str) -> ChatTemplate:
    return ChatTemplate.for_mode(f"TEXT_GENERATION_{mode}")


def user(text: str = "What is the capital of France?", **request: Any) -> ChatRequest:
    return ChatRequest((Message("user", (TextPart(text),)),), **request)


def call() -> QueryContext:
    return QueryContext(20)


def text_of(row: ChatAnswer | SpcsError) -> str:
    assert isinstance(row, ChatAnswer), repr(row)
    return row.text


def error_of(row: Any) -> SpcsError:
    assert isinstance(row, SpcsError), "an answer where an error should be"
    return row


def assert_tells_nothing(error: SpcsError, *secrets: str) -> None:
    for secret in (SECRET, *secrets):
        assert secret not in str(error)
        assert secret not in repr(error)


def texts(answers: Sequence[ChatAnswer | SpcsError]) -> list[str]:
    return [text_of(answer) for answer in answers]
