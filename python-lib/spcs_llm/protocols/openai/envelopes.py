"""Answers that a gateway puts into another object."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from spcs_llm.server_text.container_errors import ENVELOPES


def unwrapped(body: Any) -> Any:
    """The completion that a gateway puts into another object, in a field of any name; the body if it is not one."""
    if not isinstance(body, Mapping) or body.get("choices"):
        return body
    held = [
        value
        for value in body.values()
        if isinstance(value, Mapping) and isinstance(value.get("choices"), list) and value["choices"]
    ]
    return held[0] if len(held) == 1 else body


def opened(body: Any, names: Collection[str]) -> Any:
    """An answer that a gateway hands on as the output of a job, as RunPod and DashScope do.

    Args:
        body: The response's JSON.
        names: What the answer has, if it is the answer itself.

    Returns:
        What the envelope holds, with the counts that may be beside it; the JSON itself if it is not an envelope.
    """
    if not isinstance(body, dict) or not body.keys().isdisjoint(names):
        return body
    for envelope in ENVELOPES:
        within = body.get(envelope)
        within = within[0] if isinstance(within, list) and len(within) == 1 else within
        if isinstance(within, dict) and not within.keys().isdisjoint(names):
            return {"usage": body.get("usage"), **within}
    return body
