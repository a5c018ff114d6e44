"""Log probabilities of tokens, as far as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from spcs_llm.errors import ModelError
from spcs_llm.whole_characters import whole_characters

# Of an answer: a few bytes of JSON become a dict, which is kept to the answer's end.
MOST_ENTRIES: Final = 500_000

# What OpenAI's own API gives for a token that is too unlikely to have a figure, of which JSON has no infinity.
_LEAST = -9999.0


def tokens_of(log_probs: Any) -> tuple[dict[str, Any], ...]:
    """Reads the log probabilities of a choice.

    Args:
        log_probs: The choice's `logprobs`: `{"content": [{"token", "logprob", "bytes", "top_logprobs"}]}`, or the
            older form with parallel lists, `{"tokens", "token_logprobs", "top_logprobs"}`.

    Returns:
        One dict a token, as in `content`, with a finite log probability (a natural logarithm) and a text of whole
        characters. The log probability is None if it is not a number at all. Empty if there are no tokens.
    """
    if not isinstance(log_probs, Mapping):
        return ()
    content = log_probs.get("content")
    if content is None and isinstance(log_probs.get("tokens"), list):
        content = _of_lists(log_probs)
    if not isinstance(content, list):
        return ()
    return tuple(_token(entry) for entry in content if isinstance(entry, Mapping))


def entries_of(log_probs: Any) -> int:
    """Counts what `tokens_of` would make of the log probabilities of a choice: tokens, and the others in their places.

    Args:
        log_probs: The choice's `logprobs`.

    Returns:
        The number of dicts.
    """
    if not isinstance(log_probs, Mapping):
        return 0
    content, tokens, tops = (log_probs.get(name) for name in ("content", "tokens", "top_logprobs"))
    entries = content if isinstance(content, list) else []
    others = [entry.get("top_logprobs") for entry in entries if isinstance(entry, Mapping)]
    if content is None and isinstance(tokens, list):
        entries, others = tokens, tops if isinstance(tops, list) else []
    return len(entries) + sum(len(other) for other in others if isinstance(other, (list, Mapping)))


def too_many_entries() -> ModelError:
    """Makes the error of an answer with more of them than are read."""
    return ModelError(
        f"The answer has log probabilities of more than {MOST_ENTRIES:,} tokens.",
        "Lower 'topLogProbs' or the query's maximum of output tokens.",
    )


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    token = _named(entry)
    if isinstance(entry.get("top_logprobs"), list):
        token["top_logprobs"] = [_named(top) for top in entry["top_logprobs"] if isinstance(top, Mapping)]
    return token


def _named(entry: Mapping[str, Any]) -> dict[str, Any]:
    token: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "token":
            token[key] = whole_characters(value) if isinstance(value, str) else str(value)
        elif key == "logprob":
            token[key] = _finite(value)
        elif key == "bytes" and (value is None or isinstance(value, list)):
            token[key] = value if value is None or all(map(_is_byte, value)) else None
    return token


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return value if _LEAST <= value < math.inf else _LEAST if value < 0 else None


def _of_lists(log_probs: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = log_probs.get("token_logprobs")
    values = values if isinstance(values, list) else []
    tops = log_probs.get("top_logprobs")
    tops = tops if isinstance(tops, list) else []
    entries = []
    for at, token in enumerate(log_probs["tokens"]):
        top = tops[at] if at < len(tops) and isinstance(tops[at], Mapping) else {}
        entries.append(
            {
                "token": token,
                "logprob": values[at] if at < len(values) else None,
                "bytes": None,
                "top_logprobs": [{"token": name, "logprob": value} for name, value in top.items()],
            }
        )
    return entries
