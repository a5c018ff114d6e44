"""The attacks that are known to succeed today, each with the kind of fault: a strict expectation, both ways.

`known_failures.txt` has a line for each: the attack's name, a tab, the kind of fault. An attack that succeeds and is
not there fails its test, and so does one that is there and no longer succeeds: whoever closes a hole removes its lines.
With HOSTILE_ALL=1 none is known; HOSTILE_RECORD=<file> writes down what came of each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

_FILE = Path(__file__).with_name("known_failures.txt")


def known_failures() -> dict[str, str]:
    if os.environ.get("HOSTILE_ALL"):
        return {}
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if line and not line.startswith("#"))


class Complaints(dict[str, str]):
    """Of several tries of one attack, what came of any."""

    def add(self, name: str, *complaints: str) -> None:
        told = [complaint for complaint in (self.get(name, ""), *complaints) if complaint]
        self[name] = "; ".join(dict.fromkeys("; ".join(told).split("; ")))


def judge(complaints: Mapping[str, str]) -> None:
    """Ends a test. complaints: for each attack that was tried, what came of it that should not; empty for nothing."""
    known = known_failures()
    succeeded = {name: complaint for name, complaint in complaints.items() if complaint}
    if record := os.environ.get("HOSTILE_RECORD"):
        with Path(record).open("a", encoding="utf-8") as file:
            file.writelines(f"{name}\t{complaint[:300]!r}\n" for name, complaint in complaints.items())
    new = [f"{name}: {complaint}" for name, complaint in succeeded.items() if name not in known]
    gone = [name for name in complaints if name in known and name not in succeeded]
    assert not new, "\n".join(["these attacks succeed:", *new])
    assert not gone, "\n".join(["these do not succeed any more, take them out of known_failures.txt:", *gone])
    if succeeded:
        pytest.xfail("; ".join(sorted({known[name] for name in succeeded})))
