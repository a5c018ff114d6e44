"""What the plugin's usage log estimates for queries, by day: beside the bill, never part of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any

from spcs_llm.control.cost_report import Missing
from spcs_llm.usage_log import read_usage, usage_log_folder

_WHAT = "what this plugin estimated for its queries"


def plugin_estimates(plugin_config: Any, days: int, now: datetime) -> Mapping[date, float] | Missing | None:
    """Adds up the usage log.

    Args:
        plugin_config: The plugin's settings, as DSS hands them over.
        days: How many days to look back.
        now: The time, with its zone.

    Returns:
        USD by day, in UTC; why the log cannot be read; None where it is off.
    """
    folder = usage_log_folder(plugin_config)
    if folder is None:
        return None
    today = now.astimezone(timezone.utc).date()
    since = datetime.combine(today - timedelta(days), datetime.min.time(), timezone.utc)
    totals: dict[date, float] = {}
    try:
        for line in read_usage(folder, since):
            day = line.time.astimezone(timezone.utc).date()
            if day <= today:  # a day to come is not in the report
                totals[day] = totals.get(day, 0.0) + line.cost
    except OSError as error:
        return Missing(
            _WHAT,
            f"The folder of the usage log cannot be read ({type(error).__name__}).",
            "Ask a DSS administrator to correct 'Folder of the usage log' in the plugin's settings.",
        )
    return totals
