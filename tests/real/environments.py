"""Virtual environments for real servers, made once from their locks."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Installed beside the lock: torch's build for CPUs has no hash that holds for every machine.
BESIDE = {"transformers": ["torch==2.13.0"], "infinity": ["torch==2.13.0"]}


def environment(name: str, python: str = "python3.11") -> Path:
    """The Python of `.venvs/real-<name>`, installed from `requirements/real-<name>.txt`; skips where it cannot be."""
    found = shutil.which(python) or (sys.executable if python in f"python{sys.version}" else None)
    if found is None:
        pytest.skip(f"{python} is not on this machine")
    lock = ROOT / "requirements" / f"real-{name}.txt"
    folder = ROOT / ".venvs" / f"real-{name}"
    stamp, wanted = folder / "installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"\ninstalling {lock.name} into {folder.relative_to(ROOT)} ...", flush=True)
        subprocess.run([found, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [
            folder / "bin" / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        if name in BESIDE:
            _install([*pip, *BESIDE[name]], name)
        _install([*pip, "--require-hashes", "-r", lock], name)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def _install(command: list[str | Path], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]
        pytest.skip(f"requirements/real-{name}.txt cannot be installed on this machine: {last}")
