"""Splits a SQL file into statements, as Snowsight's "Run all" does, and finds those that are commented out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "resource" / "sql"
_VERBS = "ALTER|CREATE|DROP|GRANT|REVOKE|SELECT|USE"
_STARTS = re.compile(rf"-- (?:{_VERBS}) ")
_PARTS = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\$\$.*?\$\$|;|[^;'$-]+|.", re.DOTALL)


@dataclass(frozen=True)
class Statement:
    """text: without comments around it and without its semicolon. line: where it starts, from 1."""

    text: str
    line: int
    script: str

    def __str__(self) -> str:
        return f"{self.script}:{self.line}: {' '.join(self.text.split())[:100]}"


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def statements(text: str, script: str = "") -> list[Statement]:
    """Args:
        text: of a whole file. script: its name, for messages.

    Returns: the statements that run, in order; comments are dropped, those inside `$$` bodies kept.
    """
    found: list[Statement] = []
    current, line, start = "", 1, 0
    for part in _PARTS.findall(text + "\n;"):
        if part == ";":
            if current.strip():
                found.append(Statement(current.strip(), start, script))
            current, start = "", 0
        elif not part.startswith("--"):
            if part.strip() and not current.strip():
                start = line + part[: len(part) - len(part.lstrip())].count("\n")
            current += part
        line += part.count("\n")
    return found


def uncommented(text: str) -> str:
    """The file with every commented-out statement made real: comment lines from a verb to a semicolon."""
    lines = text.splitlines()
    inside = False
    for number, line in enumerate(lines):
        if not line.startswith("--"):
            inside = False
        elif _STARTS.match(line):
            inside = _ends(lines[number:])
        if inside:
            lines[number] = line[2:].lstrip()
            inside = not line.rstrip().endswith(";")
    return "\n".join(lines) + "\n"


def _ends(lines: list[str]) -> bool:
    for line in lines:
        if not line.startswith("--"):
            return False
        if line.rstrip().endswith(";"):
            return True
    return False
