"""`python -m tests.field.without <packages> <report> <way>`: replays one report in a process that lacks packages.

DSS runs plugin code in environments that it did not make, code agents' in containers for one. Prints what is wrong as
JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def replayed_without(packages: Sequence[str], path: Path, way: str) -> list[str]:
    """What is wrong with the report at `path` when these packages cannot be imported."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.field.without",
        ",".join(packages),
        str(path),
        way,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if done.returncode:
        return [f"the process failed: {done.stderr[-2000:]}"]
    wrong: list[str] = json.loads(done.stdout.splitlines()[-1])
    return wrong


class _Missing:
    """Finds none of these packages, as where they are not installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main(packages: str, path: str, way: str) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "python-lib"))
    sys.meta_path.insert(0, _Missing(packages.split(",")))
    from tests.field.mesh import Field
    from tests.field.replay_report import replayed
    from tests.field.reports import read_report

    with Field() as field:
        print(json.dumps(replayed(field, read_report(Path(path)), way)))


if __name__ == "__main__":
    main(*sys.argv[1:])
