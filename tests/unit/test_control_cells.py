"""Cells are read however a session writes them, and never fail."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control import cells


@pytest.mark.parametrize("written", ["true", "TRUE", "True", "1", '"1"', " true ", "Y"])
def test_a_true_boolean_is_read_in_every_form(written: str) -> None:
    assert cells.boolean({"auto_resume": written}, "auto_resume") is True


@pytest.mark.parametrize("written", ["false", "FALSE", "0", '"0"', "N"])
def test_a_false_boolean_is_read_in_every_form(written: str) -> None:
    assert cells.boolean({"auto_resume": written}, "auto_resume") is False


@pytest.mark.parametrize("written", [None, "", " ", "perhaps", "2"])
def test_what_is_no_boolean_is_unknown(written: str | None) -> None:
    assert cells.boolean({"auto_resume": written}, "auto_resume") is None
    assert cells.boolean({}, "auto_resume") is None


@pytest.mark.parametrize(
    ("written", "value"), [("3", 3), ("3.0", 3), (" 3", 3), ("3.5", None), ("nan", None)]
)
def test_a_count_is_a_whole_number_or_unknown(written: str, value: int | None) -> None:
    assert cells.whole({"current_instances": written}, "current_instances") == value


@pytest.mark.parametrize(
    "written",
    [
        "2024-11-29 12:12:47.310 -0800",
        "2024-11-29T20:12:47.310Z",
        "2024-11-29T20:12:47.310+00:00",
        "2024-11-29 20:12:47.310",
        "1732911167.310000000",
        "1732911167.310 960",
    ],
)
def test_a_time_is_the_same_instant_in_every_form(written: str) -> None:
    read = cells.moment({"created_on": written}, "created_on")
    assert read == datetime(2024, 11, 29, 20, 12, 47, 310_000, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "written", [None, "", "soon", "2024-13-40", "99999999999999999999", "2024-11-29 +9999"]
)
def test_what_is_no_time_is_unknown(written: str | None) -> None:
    assert cells.moment({"created_on": written}, "created_on") is None


@given(st.one_of(st.none(), st.text()))
def test_no_cell_makes_a_reader_fail(written: str | None) -> None:
    row = {"cell": written}
    for read in (cells.text, cells.boolean, cells.number, cells.whole, cells.moment, cells.json_value):
        read(row, "cell")
