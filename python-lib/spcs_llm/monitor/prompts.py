"""Asks a model one prompt, through LLM Mesh and with the viewer's own rights.

Calls: Dataiku developer guide, "LLM Mesh" and "Impersonation in webapps" (WebappImpersonationContext). Prompts and
answers are neither kept nor logged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.control import cells
from spcs_llm.errors import QueryError, ServiceBusy, SpcsError
from spcs_llm.server_text.foreign_text import plain
from spcs_llm.server_text.redaction import without_private_text, without_secrets

MAX_PROMPT, _MAX_TOKENS, _AT_ONCE = 8000, 1024, 4
_MAX_SPANS, _MAX_DEPTH = 200, 12


@dataclass(frozen=True)
class Mesh:
    """What is needed of DSS.

    Attributes:
        impersonation: Makes a `dataiku.WebappImpersonationContext`: within it, calls have the viewer's rights.
        client: `dataiku.api_client`.
        project_key: `dataiku.default_project_key`.
    """

    impersonation: Callable[[], AbstractContextManager[Any]]
    client: Callable[[], Any]
    project_key: Callable[[], str]


class Prompts:
    """Asks models for viewers. Thread-safe.

    Args:
        mesh: What DSS provides.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def models(self) -> list[dict[str, str]]:
        """The custom models for chats that the viewer may use, by name.

        Returns:
            Their ids and names.

        Raises:
            SpcsError: If DSS refuses to act as the viewer, or to list them.
        """

        def listed(project: Any) -> list[dict[str, str]]:
            found = [dict(entry) for entry in project.list_llms(purpose="GENERIC_COMPLETION")]
            return [
                {
                    "id": str(entry.get("id")),
                    "name": plain(str(entry.get("friendlyName") or entry.get("id")), 200),
                }
                for entry in found
                if str(entry.get("id", "")).startswith("custom:")
            ]

        return sorted(self._as_viewer(listed), key=lambda one: one["name"])

    def ask(self, model: object, prompt: object) -> dict[str, Any]:
        """Asks a model.

        Args:
            model: The model's id in LLM Mesh.
            prompt: What to ask.

        Returns:
            The answer with its tokens, its cost and its trace, as plain data.

        Raises:
            SpcsError: If there is nothing to ask, if too many ask at once, or if DSS or the model refuses.
        """
        if not isinstance(model, str) or not model.startswith("custom:"):
            raise QueryError("No model is selected.", "Select a model.")
        if not isinstance(prompt, str) or not prompt.strip():
            raise QueryError("The prompt is empty.", "Enter a prompt.")
        if len(prompt) > MAX_PROMPT:
            raise QueryError(f"The prompt has more than {MAX_PROMPT:,} characters.", "Enter a shorter one.")
        if not self._places.acquire(blocking=False):
            raise ServiceBusy(
                f"{_AT_ONCE} prompts are being answered.", "Try again in a moment.", place="webapp"
            )
        try:
            answer: dict[str, Any] = self._as_viewer(
                lambda project: _answered(project, model, prompt), prompt
            )
            return answer
        finally:
            self._places.release()

    def _as_viewer(self, call: Callable[[Any], Any], private: str = "") -> Any:
        try:
            context = self._mesh.impersonation()
            context.__enter__()
        except Exception as error:  # noqa: BLE001 - DSS's own code
            raise SpcsError(
                f"DSS does not let this webapp act as you ({type(error).__name__}).",
                "Ask a DSS administrator to let the webapp's run-as user impersonate your group: 'Impersonation in"
                " webapps', in the security settings of a group of that user.",
                place="webapp",
            ) from None
        try:
            return call(self._mesh.client().get_project(self._mesh.project_key()))
        except SpcsError:
            raise
        except Exception as error:  # noqa: BLE001 - DSS's own code
            raise SpcsError(f"DSS refuses it: {_safe(str(error), private)}", place="webapp") from None
        finally:
            context.__exit__(None, None, None)


def _answered(project: Any, model: str, prompt: str) -> dict[str, Any]:
    completion = project.get_llm(model).new_completion()
    completion.with_message(prompt)
    completion.settings["maxOutputTokens"] = _MAX_TOKENS
    began = time.monotonic()
    response = completion.execute()
    seconds = time.monotonic() - began
    raw = getattr(response, "_raw", None)
    told: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    if not response.success:
        raise SpcsError(
            f"The query failed. {_safe(str(told.get('errorMessage') or ''), prompt)}".strip(), place="webapp"
        )
    return {
        "text": str(response.text),
        "seconds": seconds,
        "promptTokens": _number(told.get("promptTokens")),
        "completionTokens": _number(told.get("completionTokens")),
        "tokensAreEstimated": told.get("tokenCountsAreEstimated") is True,
        "cost": _number(told.get("estimatedCost")),
        "trace": _timeline(told.get("trace") or getattr(response, "trace", None)),
    }


def _timeline(trace: Any) -> list[dict[str, Any]]:
    """The spans of a trace in the order in which they began, with milliseconds since the first one."""
    spans: list[dict[str, Any]] = []

    def collect(span: Any, depth: int) -> None:
        if not isinstance(span, Mapping) or depth > _MAX_DEPTH or len(spans) >= _MAX_SPANS:
            return
        begin, length = _moment(span.get("begin")), _number(span.get("duration"))
        spans.append(
            {
                "name": plain(str(span.get("name") or "span"), 100),
                "depth": depth,
                "begin": begin,
                "length": length or 0,
            }
        )
        for child in span.get("children") or ():
            collect(child, depth + 1)

    collect(trace, 0)
    first = min((span["begin"] for span in spans if span["begin"] is not None), default=0.0)
    for span in spans:
        span["begin"] = 0.0 if span["begin"] is None else span["begin"] - first
    return spans


def _moment(text: Any) -> float | None:
    """Milliseconds of a time in ISO 8601."""
    at = cells.moment({"at": text if isinstance(text, str) else None}, "at")
    return at.timestamp() * 1000 if at is not None else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _safe(text: str, private: str) -> str:
    return without_secrets(without_private_text(plain(text, 1000), {"messages": [{"content": private}]}))
