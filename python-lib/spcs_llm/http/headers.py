"""The headers of a response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


class Headers(Mapping[str, str]):
    """Values by name, in whatever case it is asked for. Values of one name that comes several times are joined."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields: dict[str, tuple[str, list[str]]] = {}
        for name, value in fields:
            self._fields.setdefault(name.lower(), (name, []))[1].append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._fields[name.lower()][1])

    def get(self, name: str, default: Any = None) -> Any:
        """As a dict's; `Mapping` would raise and catch an error where there is no such header."""
        field = self._fields.get(name.lower())
        return default if field is None else ", ".join(field[1])

    def get_all(self, name: str) -> Sequence[str]:
        """The values of a header, each time that it comes."""
        field = self._fields.get(name.lower())
        return () if field is None else field[1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)
