"""What each DSS version offers to a custom LLM written in Python.

14.1 is the first that runs them (release notes of DSS 14). Where the first version of a feature is not
published, it is the first one seen to have it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Release:
    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Release:
        """Raises ValueError for a version that cannot run custom LLMs written in Python."""
        major, minor = (int(part) for part in [*text.split("."), "0"][:2])
        release = cls(major, minor)
        if release < cls(14, 1):
            raise ValueError(f"DSS {text} has no custom LLMs in Python: they exist from 14.1")
        return release

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @property
    def has_reranking(self) -> bool:
        return self >= Release(15, 0)

    @property
    def has_retryable_exception(self) -> bool:
        return self >= Release(15, 0)

    @property
    def has_fresh_oauth_credentials(self) -> bool:
        return self >= Release(14, 5)

    @property
    def has_embedding_base_in_package(self) -> bool:
        """Before, only `dataiku.llm.python.custom.base_embedding_model` had it."""
        return self >= Release(14, 5)

    @property
    def has_total_usage(self) -> bool:
        """`total_usage` of an answer and of a stream's footer came with dataiku-api-client 14.5."""
        return self >= Release(14, 5)

    @property
    def has_trace_events(self) -> bool:
        """`SpanBuilder.event` came with dataiku-api-client 14.5."""
        return self >= Release(14, 5)
