"""What a plugin's recipe asks for: its form and its datasets by role. In the environment of its process.

Source: DSS documentation, plugins, recipes; public copies of `dataiku/customrecipe.py`.
"""

from __future__ import annotations

import json
import os
from typing import Any

from dataiku.core.dataset import Dataset


def get_recipe_config() -> Any:
    return json.loads(os.environ["DKU_CUSTOM_RECIPE_CONFIG"])


def get_plugin_config() -> Any:
    return json.loads(os.environ["DKU_CUSTOM_RECIPE_PLUGIN_CONFIG"])


def get_recipe_resource() -> str:
    return os.environ["DKU_CUSTOM_RESOURCE_FOLDER"]


def get_input_names_for_role(role: str) -> list[str]:
    return _names("in", role)


def get_output_names_for_role(role: str) -> list[str]:
    return _names("out", role)


def get_inputs_as_datasets(role: str) -> list[Dataset]:
    return [Dataset(name) for name in get_input_names_for_role(role)]


def get_outputs_as_datasets(role: str) -> list[Dataset]:
    return [Dataset(name) for name in get_output_names_for_role(role)]


def _names(direction: str, role: str) -> list[str]:
    flow = json.loads(os.environ["DKU_FLOW_SPEC"])
    return [item["fullName"] for item in flow[direction] if item["role"] == role]
