"""The cost as CSV: whatever names an account has, no cell of it is a formula."""

from __future__ import annotations

import csv
import io
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from spcs_llm.monitor.cost_page import cost_csv


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(1)", "'@SUM(1)"),
        (" =1+1", "' =1+1"),
        ("\t=1+1", "'\t=1+1"),
        ("\n=1+1", "'\n=1+1"),
        ("\u00a0=1+1", "'\u00a0=1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\u200b=1+1", "'\u200b=1+1"),
        ("POOL_1", "POOL_1"),
        ('my "pool"', 'my "pool"'),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(name: str, shown: str) -> None:
    price = SimpleNamespace(amount=2.0, currency=name)
    pool = SimpleNamespace(day=date(2026, 1, 1), pool=name, credits=1.5)
    cost: Any = SimpleNamespace(report=SimpleNamespace(price=price, pool_days=[pool]), service_days=None)
    _, row = csv.reader(io.StringIO(cost_csv(cost), newline=""))
    assert row == ["2026-01-01", "pool", shown, "1.5", "3.0", shown]
