"""A model whose queries are written to the usage log.

It is put around a model where the log is on. Where it is off, the model is used as it is, and nothing is paid for it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spcs_llm.usage_log.lines import UsageLine, endpoint_mark
from spcs_llm.usage_log.settings import usage_log_folder
from spcs_llm.usage_log.writer import UsageWriter, writer_for

if TYPE_CHECKING:
    from types import TracebackType

    from spcs_llm.model import Model
    from spcs_llm.settings import Settings

# Where DSS tells a process the project that it works for. For the process of a custom LLM that is not documented.
_PROJECT = "DKU_CURRENT_PROJECT_KEY"


def logged(model: Model, plugin_config: Any) -> Model | LoggedModel:
    """A model as the plugin's settings want it.

    Args:
        model: The model.
        plugin_config: The plugin's settings, as DSS hands them over.

    Returns:
        The model itself, unless the usage log is on and the model's settings are usable.
    """
    folder = usage_log_folder(plugin_config)
    settings = model.settings
    if folder is None or settings is None:
        return model
    return LoggedModel(model, settings, folder)


class LoggedModel:
    """A model of which each query is one line in the usage log. Its methods are those of `Model`.

    Args:
        model: The model.
        settings: The model's.
        folder: The folder of the log.
    """

    def __init__(self, model: Model, settings: Settings, folder: Path) -> None:
        self._model = model
        self._settings = settings
        self._writer = writer_for(folder)
        self._endpoint = endpoint_mark(settings.endpoint.url.host)
        self._project = os.environ.get(_PROJECT) or None

    @property
    def chat_parallelism(self) -> int:
        return self._model.chat_parallelism

    @property
    def row_parallelism(self) -> int:
        return self._model.row_parallelism

    def complete(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        with self._entry("chat", trace) as entry:
            return entry.answered(self._model.complete(query, settings, trace))

    def stream(self, query: Any, settings: Any, trace: Any) -> Iterator[dict[str, Any]]:
        stream = self._model.stream(query, settings, trace)
        with self._entry("chat", trace) as entry, contextlib.closing(stream) as items:  # type: ignore[type-var]
            for item in items:
                if "footer" in item:
                    entry.answered(item["footer"])
                yield item

    def embed(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        with self._entry("embed", trace) as entry:
            return entry.answered(self._model.embed(query, settings, trace))

    def rerank(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        with self._entry("rerank", trace) as entry:
            return entry.answered(self._model.rerank(query, settings, trace))

    def _entry(self, kind: str, trace: Any) -> _Entry:
        return _Entry(self._writer, self._settings, kind, self._endpoint, self._project, trace)


class _Entry:
    """The line of a query under way, which is written when the block is left, however that is.

    Args:
        writer: Writes the line.
        settings: The model's.
        kind: The kind of the query.
        endpoint: The endpoint's mark.
        project: The project's key, if it is known.
        trace: DSS's span, where the model leaves the busy time; None if there is none.
    """

    def __init__(
        self,
        writer: UsageWriter,
        settings: Settings,
        kind: str,
        endpoint: str,
        project: str | None,
        trace: Any,
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._kind = kind
        self._endpoint = endpoint
        self._project = project
        self._trace = trace
        self._answer: Mapping[str, Any] | None = None
        self._began = time.perf_counter()

    def __enter__(self) -> _Entry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.append(self._line(kind).written())

    def answered(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Takes note of an answer.

        Args:
            answer: LLM Mesh's dict of it.

        Returns:
            The same.
        """
        self._answer = answer
        return answer

    def _line(self, error: type[BaseException] | None) -> UsageLine:
        answers = _rows_of(self._answer or {})
        counts = [_counts_of(answer) for answer in answers]
        busy = self._busy_seconds()
        cost = sum(_number(count.get("estimatedCost")) for count in counts)
        status = "failed"
        if self._answer is not None and (not answers or any("errorMessage" not in row for row in answers)):
            status, error = "ok", None
        elif error is GeneratorExit:
            status, error = "abandoned", None
        return UsageLine(
            datetime.now(timezone.utc),
            self._kind,
            model=self._settings.protocol.model_name,
            endpoint=self._endpoint,
            project=self._project,
            status=status,
            error=None if error is None else error.__name__,
            rows=max(1, len(answers)),
            prompt_tokens=_sum(counts, "promptTokens"),
            completion_tokens=_sum(counts, "completionTokens"),
            total_tokens=_sum(counts, "totalTokens"),
            estimated=any(count.get("tokenCountsAreEstimated") for count in counts),
            seconds=round(time.perf_counter() - self._began, 6),
            busy_seconds=round(busy, 6),
            cost=cost if status == "ok" else self._settings.rate.cost(busy),
        )

    def _busy_seconds(self) -> float:
        attributes = getattr(self._trace, "attributes", None)
        return _number(attributes.get("busySeconds")) if isinstance(attributes, Mapping) else 0.0


def _rows_of(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """An embedding query of several texts has an answer for each."""
    rows: list[Mapping[str, Any]] = answer.get("responses", [answer])
    return rows


def _counts_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """A ranking has its counts one level down."""
    counts: Mapping[str, Any] = answer.get("totalUsage", answer)
    return counts


def _sum(counts: list[Mapping[str, Any]], name: str) -> int | None:
    known = [count[name] for count in counts if name in count]
    return sum(known) if known else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
