"""Names of objects as SQL writes them and as listings print them."""

from __future__ import annotations

import re

PLAIN = re.compile(r"[A-Z_][A-Z0-9_$]*", re.ASCII)


def quoted(name: str) -> str:
    """A name as it must be written in SQL: without quotes where it needs none."""
    if PLAIN.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def qualified(*parts: str) -> str:
    return ".".join(quoted(part) for part in parts)


def sql_name(name: str) -> str:
    """The identifier for a free name: upper case, and an underscore for what an unquoted identifier cannot hold."""
    text = re.sub(r"[^A-Z0-9_$]", "_", name.upper(), flags=re.ASCII)
    return text if PLAIN.fullmatch(text) else f"_{text}"
