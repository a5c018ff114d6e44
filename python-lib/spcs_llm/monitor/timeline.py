"""What LLM Mesh says of a query besides its answer: its trace as a timeline, its tokens and its cost.

Shapes: dataiku-api-client 15.2.0, `dataikuapi/dss/llm_tracing.py` and `llm.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from spcs_llm.control import cells
from spcs_llm.server_text.foreign_text import plain

_MAX_SPANS, _MAX_DEPTH = 200, 12


def spans_of(trace: Any, depth: int = 0) -> Iterator[tuple[Mapping[str, Any], int]]:
    """The spans of a trace with their depths, each before those within it."""
    if isinstance(trace, Mapping) and depth <= _MAX_DEPTH:
        yield trace, depth
        children = trace.get("children")
        for child in children if isinstance(children, list) else ():
            yield from spans_of(child, depth + 1)


def timeline(trace: Any) -> list[dict[str, Any]]:
    """The spans of a trace in their order, with milliseconds since the first of them began."""
    spans: list[dict[str, Any]] = []
    for span, depth in spans_of(trace):
        if len(spans) >= _MAX_SPANS:
            break
        spans.append(
            {
                "name": plain(str(span.get("name") or "span"), 100),
                "depth": depth,
                "begin": _moment(span.get("begin")),
                "length": number(span.get("duration")) or 0,
            }
        )
    first = min((span["begin"] for span in spans if span["begin"] is not None), default=0.0)
    for span in spans:
        span["begin"] = 0.0 if span["begin"] is None else span["begin"] - first
    return spans


def usage_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens and cost of a response or of the footer of a stream, which older versions of DSS have at its top level."""
    total = told.get("totalUsage")
    usage = {**(total if isinstance(total, Mapping) else {}), **told}
    return {
        "promptTokens": number(usage.get("promptTokens")),
        "completionTokens": number(usage.get("completionTokens")),
        "tokensAreEstimated": usage.get("tokenCountsAreEstimated") is True,
        "cost": number(usage.get("estimatedCost")),
    }


def is_footer(piece: Any) -> bool:
    """Whether a piece of a streamed answer is its end, which has the trace. Not all clients give it a type."""
    return getattr(piece, "type", "") == "footer" or type(piece).__name__ == "DSSLLMStreamedCompletionFooter"


def number(value: Any) -> float | None:
    """A finite number of DSS's JSON; None for anything else, which no browser may be able to read."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= sys.float_info.max else None


def _moment(text: Any) -> float | None:
    """Milliseconds of a time in ISO 8601."""
    at = cells.moment({"at": text if isinstance(text, str) else None}, "at")
    return at.timestamp() * 1000 if at is not None else None
