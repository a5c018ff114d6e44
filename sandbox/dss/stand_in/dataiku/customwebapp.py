"""What a plugin's webapp reads of its settings. Source: the backends of Dataiku's own plugins."""

from __future__ import annotations

import json
import os
from typing import Any


def get_webapp_config() -> dict[str, Any]:
    """The values of the webapp's form. Those that were left empty are absent."""
    config: dict[str, Any] = json.loads(os.environ.get("DKU_CUSTOM_WEBAPP_CONFIG", "{}"))
    return config
