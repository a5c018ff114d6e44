"""Values in an otherwise good answer that DSS could not take: left out, made harmless, or an error of the plugin's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hostile import surfaces
from tests.hostile.known import judge
from tests.hostile.surfaces import OPENAI_CHAT, OPENAI_STREAM, SERVING_CHAT, Surface, completion, dumped
from tests.hostile.test_bodies import breaches
from tests.hostile.victim import Victim

pytestmark = pytest.mark.exhaustive

_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
COUNTS: dict[str, Any] = {
    "4300 digits": 10**4299,
    "beyond 64 bits": 2**70,
    "beyond a double": 2**53,
    "negative": -1,
    "a float": 1e300,
    "NaN": float("nan"),
    "truth": True,
    "a text": "7",
    "an object": {"a": 1},
}
LOG_PROBS: dict[str, Any] = {
    "NaN": {"token": "a", "logprob": float("nan")},
    "infinity": {"token": "a", "logprob": float("-inf")},
    "a number": 2**60,
    "a text": "a",
    "no log prob": {"token": "a"},
    "an object for a token": {"token": {"a": 1}, "logprob": -1.0},
}
IDS: dict[str, Any] = {
    "an object": {"a": 1},
    "a number": 7,
    "a list": [1],
    "truth": True,
    "long": "a" * 100_000,
}
REASONS: dict[str, Any] = {
    "an object": {"a": 1},
    "a list": ["stop"],
    "a number": 7,
    "an unknown word": "cosmic_rays",
}
TEXTS: dict[str, Any] = {
    "half of a surrogate": "a\ud800b",
    "NUL": "a\0b",
    "an object": {"a": 1},
    "a number": 7,
}


def answers() -> dict[str, dict[str, Any]]:
    """A completion for each value."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in COUNTS.items():
        usage = {"prompt_tokens": value, "completion_tokens": value, "total_tokens": value}
        details = {
            "prompt_tokens_details": {"cached_tokens": value},
            "completion_tokens_details": {"reasoning_tokens": value},
        }
        found[f"a count, {name}"] = {**completion("a"), "usage": {**usage, **details}}
    for name, value in LOG_PROBS.items():
        found[f"a log prob, {name}"] = completion("a", logprobs={"content": [value]})
    for name, value in IDS.items():
        call = {"index": 0, "id": value, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        found[f"a call's id, {name}"] = completion(
            "", message={"tool_calls": [call]}, finish_reason="tool_calls"
        )
    for name, value in REASONS.items():
        found[f"a finish reason, {name}"] = completion("a", finish_reason=value)
    for name, value in TEXTS.items():
        found[f"a text, {name}"] = completion("a", message={"content": value})
        found[f"a reasoning, {name}"] = completion("a", message={"content": "a", "reasoning_content": value})
    return found


@pytest.mark.parametrize("surface", [OPENAI_CHAT, OPENAI_STREAM, SERVING_CHAT], ids=str)
def test_dss_is_given_what_it_can_take(victim: Victim, surface: Surface) -> None:
    complaints = {}
    for name, answer in answers().items():
        if surface is OPENAI_STREAM:
            (choice,) = answer["choices"]
            piece = {**answer, "choices": [{**choice, "delta": choice["message"]}]}
            sent = surface.reply(surfaces.event(piece) + surfaces.DONE)
        elif surface is SERVING_CHAT:
            sent = surface.reply(dumped({"data": [[0, answer]]}))
        else:
            sent = surface.reply(dumped(answer), content_type="application/json")
        with surface.serve(lambda request, sent=sent: sent) as server:  # type: ignore[misc]
            (outcome,) = victim.ask(
                surface.ask(server.url, mesh={} if surface is SERVING_CHAT else {"tools": [_TOOL]})
            )
        if outcome.died or outcome.place == "plugin":
            complaints[f"values, {surface}, {name}"] = outcome.died or outcome.text
        else:
            complaints[f"values, {surface}, {name}"] = (
                "; ".join(breaches(surface, outcome.answer)) if outcome.answer else ""
            )
    judge(complaints)
