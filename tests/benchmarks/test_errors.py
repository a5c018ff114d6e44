"""What a failed attempt costs in CPU for keeping the request's texts out of its error, by the size of the request."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from spcs_llm.server_text.redaction import without_private_text
from tests.benchmarks.report import record

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

SIZES = (10_000, 50_000, 100_000, 500_000, 1_000_000, 2_000_000, 4_000_000)
_random = random.Random(5)
_WORDS = [
    "".join(_random.choices("abcdefghijklmnopqrstuvwxyz", k=_random.randint(2, 9))) for _ in range(5000)
]


def _text(size: int) -> str:
    return " ".join(_random.choices(_WORDS, k=size // 5))[:size]


def _cpu(payload: Any) -> float:
    message = f"The service cannot parse {_text(400)}"
    best = float("inf")
    for _ in range(9):
        began = time.process_time()
        without_private_text(message, payload)
        best = min(best, time.process_time() - began)
    return best


def test_masking_is_linear_in_the_request() -> None:
    chats = [_cpu({"messages": [{"role": "user", "content": _text(size)}]}) for size in SIZES]
    rows = [_cpu({"data": [[row, {"inputs": _text(size // 500)}] for row in range(500)]}) for size in SIZES]
    record(
        "masking",
        "Masking by the size of the request",
        "CPU time of one failed attempt, where the server's error has 400 characters.",
        [
            {"bytes": size, "chat, CPU ms": chat * 1e3, "500 rows, CPU ms": batch * 1e3}
            for size, chat, batch in zip(SIZES, chats, rows, strict=True)
        ],
        {"chats": [cost * 1e3 for cost in chats], "rows": [cost * 1e3 for cost in rows]},
    )
    for costs in (chats, rows):
        assert costs[-1] < 3 * costs[-2], "twice the request, twice the time"
        assert costs[SIZES.index(500_000)] < 10 * costs[0], "fifty times the request"
