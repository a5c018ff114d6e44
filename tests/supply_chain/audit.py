"""Compares the locks and the floors of the code environment with the vulnerabilities recorded in advisories.json.

    python -m tests.supply_chain.audit

It needs no network. `make audit` asks the full databases, which know what was published since.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
CODE_ENVIRONMENT = ROOT / "code-env" / "python" / "spec" / "requirements.txt"
LOCKS = (
    *sorted((ROOT / "requirements").glob("*.txt")),
    ROOT / "resource" / "images" / "batch_gateway" / "requirements.txt",
)
RECORD = json.loads(Path(__file__).with_name("advisories.json").read_text())


@dataclass(frozen=True)
class Found:
    """A version that is known to be vulnerable, and where it stands."""

    file: str
    package: str
    version: str
    advisory: str

    def __str__(self) -> str:
        return f"{self.file}: {self.package} {self.version} has {self.advisory}"


def versions_in(path: Path) -> Iterator[tuple[str, str]]:
    """The packages of a lock with their versions; of a list of floors, with their lowest version.

    Raises:
        ValueError: If a line says neither a version nor a floor.
    """
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip().rstrip("\\").partition(" --hash")[0].strip()
        if not text or text.startswith("-"):
            continue
        requirement = Requirement(text)
        lowest = [part.version for part in requirement.specifier if part.operator in ("==", ">=")]
        if not lowest:
            raise ValueError(f"{path.name}: {requirement.name} has no lowest version")
        yield canonicalize_name(requirement.name), lowest[0]


def vulnerable(path: Path) -> list[Found]:
    """What advisories.json knows of the versions in a file."""
    return [
        Found(path.relative_to(ROOT).as_posix(), package, version, advisory["id"])
        for package, version in versions_in(path)
        for advisory in RECORD["advisories"]
        if advisory["package"] == package
        and any(Version(version) in SpecifierSet(affected) for affected in advisory["affected"])
    ]


def is_accepted(found: Found) -> bool:
    """Whether advisories.json gives a reason for this version in this file."""
    return any(_covers(accepted, found) for accepted in RECORD["accepted"])


def unneeded_exceptions(every: list[Found]) -> list[str]:
    """The exceptions in advisories.json to which nothing corresponds any more."""
    return [
        f"{accepted['file']}: {accepted['packages']}"
        for accepted in RECORD["accepted"]
        if not any(_covers(accepted, found) for found in every)
    ]


def _covers(accepted: dict[str, str], found: Found) -> bool:
    return accepted["file"] == found.file and re.fullmatch(accepted["packages"], found.package) is not None


def main() -> int:
    every = [found for path in (*LOCKS, CODE_ENVIRONMENT) for found in vulnerable(path)]
    refused = [found for found in every if not is_accepted(found)]
    for found in refused:
        print(found)
    print(
        f"{len(LOCKS)} locks: {len(every)} known vulnerabilities, {len(every) - len(refused)} of them accepted."
    )
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
