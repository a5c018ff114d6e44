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
ORDER = ["calls", "streamed_calls", "streaming", "throughput", "tls", "embeddings", "batching", "lone_caller"]
HEAD = """# Benchmarks

Written by `make bench`, on {machine}.
Client and service have a core each. Ways are measured in turns within one run; only ratios mean something on another
machine. Figures are medians, in brackets the least and the most.
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
