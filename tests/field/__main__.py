"""`python -m tests.field [--mark] [part of a name…]`: how many reports are answered rightly, by kind, and what is not.

`--mark` brings the marks of known faults in the files up to date.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from tests.field.mesh import with_a_dss
from tests.field.replay_report import replay
from tests.field.reports import Report, all_reports

_MARK = re.compile(r"^known_fault:.*\n", re.MULTILINE)


def main(arguments: list[str]) -> None:
    """Replays the reports whose names contain one of the arguments, or all of them."""
    parts = [argument for argument in arguments if not argument.startswith("-")]
    right: Counter[str] = Counter()
    of: Counter[str] = Counter()
    asked_for = [
        report for report in all_reports() if not parts or any(part in report.name for part in parts)
    ]
    for field, report in with_a_dss(asked_for):
        wrong = {way: faults for way in report.ways if (faults := replay(field, report, way))}
        of[report.kind] += 1
        right[report.kind] += not wrong
        for way, faults in wrong.items():
            print(f"{report.name} ({way})", *(f"    {fault}" for fault in faults), sep="\n")
        if "--mark" in arguments:
            mark(report, [way for way in report.ways if way in wrong])
    for kind, count in of.items():
        print(f"{kind:20} {right[kind]:3} of {count:3}")
    print(f"{'all':20} {right.total():3} of {of.total():3}")


def mark(report: Report, ways: list[str]) -> None:
    """Writes into the report's file in which ways it is known to fail."""
    path = Path(report.path)
    text = path.read_text("utf-8")
    marked = _MARK.sub("", text)
    if ways:
        marked = f"{marked.rstrip()}\nknown_fault: [{', '.join(ways)}]\n"
    if marked != text:
        path.write_text(marked, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
