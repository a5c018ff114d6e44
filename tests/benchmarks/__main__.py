"""Runs all benchmarks, then writes their tables to docs/benchmarks.md and their pictures to docs/benchmarks/.

python -m tests.benchmarks [pytest's arguments, such as -k growth]
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.benchmarks import pictures
from tests.benchmarks.report import FOLDER, as_markdown, machine

DOCS = pictures.ROOT / "docs"
ORDER = [
    "calls", "streamed_calls", "streaming", "throughput", "tls", "embeddings", "batching", "lone_caller", "growth",
    "import", "real_chat", "real_embeddings", "batch_gateway", "batch_gateway_embeddings", "in_snowflake",
    "recipe_and_mesh",
]  # fmt: skip
HEAD = """# Benchmarks

Written by `make bench`, on {machine}.
The client and the service each have their own core. The clients, or the ways to do the same, are measured in turns
within one run, so compare the ratios: absolute figures differ from machine to machine. Each figure is the median,
followed by the minimum and the maximum in parentheses.
"""


def main(arguments: list[str]) -> int:
    failed = pytest.main(["-m", "bench", "-s", "tests/benchmarks", *arguments])
    found = {
        file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))
    }
    write(found)
    return int(failed)


def write(found: dict[str, Any]) -> None:
    drawn = pictures.draw(found)
    parts = [HEAD.format(machine=machine())]
    for name in sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)):
        benchmark = found[name]
        parts.append(f"\n## {benchmark['title']}\n\n{benchmark['note']}\n")
        if name in drawn:
            parts.append(f"\n![{benchmark['title']}](benchmarks/{drawn[name]})\n")
        parts.append("\n" + as_markdown(benchmark["rows"]))
    (DOCS / "benchmarks.md").write_text("".join(parts), encoding="utf-8")
    print(f"\nwritten: docs/benchmarks.md, {', '.join(sorted(set(drawn.values())))}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
