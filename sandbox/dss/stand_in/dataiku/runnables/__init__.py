"""What a macro derives from, and the table it may return. Source: DSS documentation, plugins, macros."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Runnable:
    """The base of a macro's class. Calling its `__init__` is optional."""

    def __init__(self, project_key: str, config: Mapping[str, Any], plugin_config: Mapping[str, Any]) -> None:
        self.project_key = project_key
        self.config = config
        self.plugin_config = plugin_config

    def get_progress_target(self) -> tuple[float, str] | None:
        """The number that stands for done, and its unit: SIZE, FILES, RECORDS or NONE."""
        return None

    def run(self, progress_callback: Callable[[float], None]) -> Any:
        raise NotImplementedError


class ResultTable:
    """A table that DSS formats. Its columns are STRING or STRING_LIST."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.columns: list[dict[str, str]] = []
        self.records: list[list[Any]] = []

    def set_name(self, name: str) -> None:
        self.name = name

    def add_column(self, id: str, label: str, type: str = "STRING") -> None:
        self.columns.append({"id": id, "label": label, "type": type})

    def add_record(self, record: Sequence[Any]) -> None:
        self.records.append(list(record))
