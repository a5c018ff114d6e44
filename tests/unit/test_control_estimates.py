"""What the plugin's own usage log adds to the cost report."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path

from spcs_llm.control.cost_report import Missing
from spcs_llm.control.plugin_estimates import plugin_estimates
from spcs_llm.usage_log.lines import UsageLine

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=timezone.utc)


def write(folder: Path, *entries: tuple[int, float]) -> None:
    lines = [
        UsageLine(datetime(2026, 11, day, 12, tzinfo=timezone.utc), "chat", cost=cost).written()
        for day, cost in entries
    ]
    (folder / "usage.jsonl").write_bytes(b"".join(lines))


def test_the_log_is_added_up_by_day_over_the_days_of_the_report(tmp_path: Path) -> None:
    write(tmp_path, (1, 9.0), (19, 1.0), (25, 2.0), (25, 0.5))
    totals = plugin_estimates({"usageLogFolder": str(tmp_path)}, 7, NOW)
    assert totals == {date(2026, 11, 19): 1.0, date(2026, 11, 25): 2.5}


def test_without_a_log_there_are_no_estimates() -> None:
    assert plugin_estimates(None, 7, NOW) is None
    assert plugin_estimates({"usageLogFolder": " "}, 7, NOW) is None


def test_a_log_that_cannot_be_read_names_the_setting(tmp_path: Path) -> None:
    missing = plugin_estimates({"usageLogFolder": str(tmp_path / "gone")}, 7, NOW)
    assert isinstance(missing, Missing)
    assert "'Folder of the usage log'" in missing.hint
    assert str(tmp_path) not in f"{missing.why} {missing.hint}"


def test_a_day_to_come_is_not_in_the_report(tmp_path: Path) -> None:
    write(tmp_path, (25, 2.0), (28, 7.0))
    assert plugin_estimates({"usageLogFolder": str(tmp_path)}, 7, NOW) == {date(2026, 11, 25): 2.0}
