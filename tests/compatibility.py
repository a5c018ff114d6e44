"""Runs the plugin's own tests on every Python that DSS runs plugins with, with the oldest and the newest packages.

    python -m tests.compatibility [3.9-oldest 3.13-newest ...]
    python -m tests.compatibility --list    # the runs as JSON, for a CI's matrix

Environments are made once in .venvs/ and kept until their lock changes. A Python that this machine does not have is
told and left out. Exits with 1 when a run fails, or when there was none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venvs"
LOCKS = {
    "oldest": ROOT / "requirements" / "oldest.txt",
    "newest": ROOT / "requirements" / "matrix.txt",
}
# The oldest packages came before Python 3.11, and some have no wheels for it.
RUNS = ("3.9-oldest", "3.10-oldest", "3.9-newest", "3.10-newest", "3.11-newest", "3.12-newest", "3.13-newest")
MODELS = ROOT / "requirements" / "models.txt"
PATIENCE = 3600  # seconds for one run
# All but those that need development tools: the connector, the notebook, the registry's package.
TESTS = (
    "tests/unit",
    "tests/integration",
    "--ignore=tests/integration/test_notebook.py",
    "--ignore=tests/integration/test_model_registry.py",
    "--ignore=tests/integration/test_copied_lines.py",
    "--ignore=tests/integration/test_demo.py",
    "--ignore=tests/integration/test_regressions.py",
)
QUICK_AND_EXHAUSTIVE = "not real and not soak and not bench"
# The sandbox's own tests: it runs where its packages do.
CONTRACT = ("tests/contract", "--ignore=tests/contract/test_snowflake_connector.py")
# What a hostile server can do depends on the interpreter and on urllib3, so the two ends of the range show it. The bare
# interpreters are the same in each run; `make test-exhaustive` has them.
HOSTILE = ("tests/hostile", "--ignore=tests/hostile/test_bare_interpreters.py")
HOSTILE_RUNS = ("3.9-oldest", "3.13-newest")
# Before version 2, urllib3 leaves the sockets of a pool that is gone to the garbage collector.
OPEN_SOCKETS = ("-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
# Their packages are for 3.10 and later.
WITHOUT_MODELS = (
    "--ignore=tests/integration/test_openai_servers.py",
    "-k",
    "not smollm2 and not llama_cpp and not e5 and not test_settings_reach",
)


def main(names: list[str]) -> int:
    if names == ["--list"]:
        runs = (name.split("-") for name in RUNS)
        print(json.dumps([{"python": version, "packages": packages} for version, packages in runs]))
        return 0
    unknown = set(names) - set(RUNS)
    if unknown:
        print(f"No such run: {', '.join(sorted(unknown))}. There are: {', '.join(RUNS)}.")
        return 2
    results = {name: _run(name) for name in names or RUNS}
    for name, (outcome, seconds) in results.items():
        print(f"{name:12} {seconds:6.1f} s  {outcome}")
    outcomes = [outcome for outcome, _ in results.values() if outcome != "no such Python here"]
    return 0 if outcomes and all(outcome.startswith("passed") for outcome in outcomes) else 1


def _run(name: str) -> tuple[str, float]:
    began = time.monotonic()
    version, _, packages = name.partition("-")
    python = find_python(version)
    if python is None:
        return "no such Python here", 0.0
    try:
        interpreter = _environment(name, python, LOCKS[packages])
    except subprocess.CalledProcessError:
        return "FAILED: its packages cannot be installed", time.monotonic() - began
    command = [str(interpreter), "-m", "pytest", *TESTS, "-p", "no:cacheprovider", "-m", QUICK_AND_EXHAUSTIVE]
    if version == "3.9":
        command += WITHOUT_MODELS
    elif packages == "newest":
        command += CONTRACT
    if name in HOSTILE_RUNS:
        command += HOSTILE
    if packages == "oldest":
        command += OPEN_SOCKETS
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"FAILED: not ended after {PATIENCE} s", time.monotonic() - began
    summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip()[-200:]
    if done.returncode != 0:
        print(f"===== {name}\n{done.stdout[-20_000:]}{done.stderr[-2_000:]}")
        return f"FAILED: {summary}", time.monotonic() - began
    return f"passed: {summary}", time.monotonic() - began


def find_python(version: str) -> Path | None:
    """An interpreter of this version: pyenv's newest, or the one on the path."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    installed = sorted(root.glob(f"versions/{version}.*/bin/python"), key=_patch_level)
    on_path = shutil.which(f"python{version}")
    for candidate in [*reversed(installed), *([Path(on_path)] if on_path else [])]:
        probe = [str(candidate), "-c", "import ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"]
        told = subprocess.run(probe, capture_output=True, text=True, timeout=60)
        if told.returncode == 0 and told.stdout.strip() == version:
            return candidate
    return None


def _patch_level(python: Path) -> list[int]:
    return [int(part) for part in python.parents[1].name.split(".") if part.isdigit()]


def _environment(name: str, python: Path, lock: Path) -> Path:
    folder = ENVIRONMENTS / name
    interpreter, stamp = folder / "bin" / "python", folder / "made-from"
    wanted = f"{python} {hashlib.sha256(lock.read_bytes() + MODELS.read_bytes()).hexdigest()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([str(python), "-m", "venv", str(folder)], check=True, timeout=300)
    install = [str(interpreter), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, "--require-hashes", "-r", str(lock)], check=True, timeout=900)
    subprocess.run([*install, "--require-hashes", "--no-deps", "-r", str(MODELS)], check=True, timeout=300)
    stamp.write_text(wanted)
    return interpreter


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
