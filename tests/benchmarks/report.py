"""Where benchmarks put their figures, for the tables and the pictures that `make bench` makes of them."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "dist" / "benchmarks"

Row = Mapping[str, Any]


def record(name: str, title: str, note: str, rows: Sequence[Row], series: Any = None) -> None:
    """Keeps the rows of one benchmark, and prints them. Keys are the columns; figures are shown to three digits.

    note: what was measured, in a sentence or two. series: figures for a picture, where the rows do not have them.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = {"title": title, "note": note, "rows": list(rows), "series": series}
    (FOLDER / f"{name}.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")
    print(f"\n\n{title}")
    for line in _as_lines(rows):
        print("  ".join(line))


def as_markdown(rows: Sequence[Row]) -> str:
    lines = [[cell.strip() for cell in line] for line in _as_lines(rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 0) -> str:
    """Median, and in brackets the least and the most."""
    low, middle, high = (
        f"{value * scale:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def machine() -> str:
    """Processor, cores, system and Python."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        processor = names[0] if names else processor
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _as_lines(rows: Sequence[Row]) -> list[list[str]]:
    """Head and rows as text, each column as wide as its widest cell."""
    columns = list(rows[0])
    cells = [columns, *([_shown(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    return [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
