"""Streams that are of no use, where the whole answer may be sound and is worth asking for."""

from __future__ import annotations

from spcs_llm.errors import ModelError, ServiceError


class EmptyStream(ServiceError):
    """A success without a word: what llama-cpp-python 0.3.36 sends where it refuses a streamed request."""

    def __init__(self) -> None:
        super().__init__(
            "The service's answer is empty.", "Read its logs: SYSTEM$GET_SERVICE_LOGS shows why it failed."
        )


class UselessStream(ModelError):
    """A stream without an answer, though the whole answer may be sound: an event is broken, or all are empty."""


class NamelessCall(UselessStream):
    """A tool call without the tool's name, as TGI before 3.1 streams it: its whole answers have the name."""

    def __init__(self) -> None:
        super().__init__(
            "The model calls a tool without naming it.",
            "A larger model, or clearer descriptions of the tools, may help.",
        )
