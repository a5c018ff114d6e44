"""A dataset of a project, as far as its place goes: rows are not read here.

Source: DSS documentation, Dataset; keys of the location as public plugins read them.
"""

from __future__ import annotations

from typing import Any

from dataiku.core.base import api_client, default_project_key


class Dataset:
    def __init__(self, name: str, project_key: str | None = None) -> None:
        self.full_name = name if "." in name else f"{project_key or default_project_key()}.{name}"
        self.project_key, _, self.short_name = self.full_name.partition(".")

    @property
    def name(self) -> str:
        return self.full_name

    def get_location_info(self, sensitive_info: bool = False) -> Any:
        return self._asked("location")

    def get_config(self) -> Any:
        return self._asked("config")

    def read_schema(self) -> Any:
        return self._asked("config")["schema"]["columns"]

    def _asked(self, what: str) -> Any:
        body = {"dataset": self.full_name, "what": what}
        return api_client()._perform_json("POST", "/kernels/dataset", body=body)
