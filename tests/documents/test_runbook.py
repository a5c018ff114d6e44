"""The runbook says what the diagnosis says: its entries are made by arming the faults that they are about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.documents import runbook
from tests.integration.conftest import short_back_offs  # noqa: F401 - a fixture


@pytest.mark.exhaustive
def test_each_entry_of_the_runbook_is_the_hint_of_the_diagnosis(
    short_back_offs: Callable[[], None],  # noqa: F811
) -> None:
    short_back_offs()
    made = runbook.page_with(runbook.section())
    assert runbook.PAGE.read_text(encoding="utf-8") == made, "run: make documents"
