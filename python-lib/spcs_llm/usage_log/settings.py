"""The plugin's setting `usageLogFolder`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIELD = "usageLogFolder"


def usage_log_folder(plugin_config: Any) -> Path | None:
    """The folder of the usage log.

    Args:
        plugin_config: The plugin's settings, as DSS hands them over: a dict, or None where there are none.

    Returns:
        The folder, as it was entered; None where the usage log is off.
    """
    entered = plugin_config.get(FIELD) if isinstance(plugin_config, Mapping) else None
    return Path(entered.strip()) if isinstance(entered, str) and entered.strip() else None
