"""Which module may know which: the arrows that docs/architecture.md describes, read from the import statements."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "python-lib"

# No module of the first may import a module of the others, not even for its types.
FORBIDDEN = {
    "spcs_llm": ("spcs_deployment",),
    "spcs_llm.protocol_choices": ("spcs_llm",),
    "spcs_llm.settings": ("spcs_llm.protocols", "spcs_llm.mesh", "spcs_llm.http", "spcs_llm.snowflake"),
    "spcs_llm.mesh": (
        "spcs_llm.protocols",
        "spcs_llm.http",
        "spcs_llm.snowflake",
        "spcs_llm.batching",
        "spcs_llm.control",
    ),
    "spcs_llm.protocols": (
        "spcs_llm.snowflake",
        "spcs_llm.mesh",
        "spcs_llm.connections",
        "spcs_llm.batching",
        "spcs_llm.control",
    ),
    "spcs_llm.snowflake": (
        "spcs_llm.protocols",
        "spcs_llm.mesh",
        "spcs_llm.connections",
        "spcs_llm.batching",
        "spcs_llm.control",
    ),
    "spcs_llm.http": (
        "spcs_llm.protocols",
        "spcs_llm.mesh",
        "spcs_llm.snowflake",
        "spcs_llm.settings",
        "spcs_llm.control",
    ),
    "spcs_llm.batching": (
        "spcs_llm.protocols",
        "spcs_llm.mesh",
        "spcs_llm.snowflake",
        "spcs_llm.settings",
        "spcs_llm.control",
    ),
    "spcs_llm.chat_templates": ("spcs_llm.protocols", "spcs_llm.mesh", "spcs_llm.snowflake", "spcs_llm.http"),
    "spcs_llm.server_text": ("spcs_llm.protocols", "spcs_llm.mesh", "spcs_llm.snowflake", "spcs_llm.http"),
    "spcs_llm.sharing": ("spcs_llm.protocols", "spcs_llm.mesh", "spcs_llm.snowflake", "spcs_llm.http"),
    "spcs_llm.control": ("spcs_llm.monitor", "spcs_llm.mesh", "spcs_deployment"),
    "spcs_llm.monitor": ("spcs_llm.mesh", "spcs_llm.protocols", "spcs_llm.batching", "spcs_deployment"),
    "spcs_deployment": ("spcs_llm.http", "spcs_llm.protocols", "spcs_llm.mesh", "spcs_llm.snowflake"),
}
# Who may import what does not come with Python, and the modules of Python that open connections. All others: nobody.
PLACES = {
    "requests": ("spcs_llm.http",),
    "urllib3": ("spcs_llm.http",),
    "http.client": ("spcs_llm.http",),
    "socket": ("spcs_llm.http",),
    "ssl": ("spcs_llm.http",),
    "urllib.request": (),
    "jinja2": ("spcs_llm.chat_templates.bounds", "spcs_llm.chat_templates.jinja_sandbox"),
    "flask": ("spcs_llm.monitor.webapp", "spcs_llm.monitor.access"),
    "snowflake": ("spcs_deployment.session",),
}


class Module:
    """What one file imports, by its own name: for its types as well as when it is run."""

    def __init__(self, path: Path, root: Path = LIBRARY) -> None:
        relative = path.relative_to(root)
        self.name = ".".join((relative.parent if path.stem == "__init__" else relative.with_suffix("")).parts)
        tree = ast.parse(path.read_text())
        self.imports: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.imports |= _imported_by(node)


def _imported_by(node: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    assert node.module, "relative imports hide which module is meant"
    names = {f"{node.module}.{alias.name}" for alias in node.names}
    modules = {f"{node.module}.{alias.name}" for alias in node.names if _is_module(node.module, alias.name)}
    return names if names == modules else {node.module, *names}


def _is_module(package: str, name: str) -> bool:
    return any((root / Path(*package.split("."), f"{name}.py")).exists() for root in (LIBRARY, ROOT))


@functools.cache
def library() -> tuple[Module, ...]:
    return tuple(Module(path) for path in sorted(LIBRARY.rglob("*.py")))


def sandbox() -> tuple[Module, ...]:
    return tuple(Module(path, ROOT) for path in sorted((ROOT / "sandbox").rglob("*.py")))


def within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_does_not_know_what_it_must_not(package: str) -> None:
    inside = [module for module in library() if within(module.name, (package,))]
    assert inside, f"no module of {package}: has it been renamed?"
    assert [
        f"{module.name} imports {name}"
        for module in inside
        for name in sorted(module.imports)
        if within(name, FORBIDDEN[package])
    ] == []


def test_other_packages_are_imported_only_where_they_belong() -> None:
    ours = tuple({module.name.split(".")[0] for module in library()})
    with_python: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    if not with_python:
        pytest.skip("Python 3.9 does not say which modules come with it")
    assert [
        f"{module.name} imports {name}"
        for module in library()
        for name in sorted(module.imports)
        if not within(name, ours) and not _may_import(module.name, name, with_python)
    ] == []


def _may_import(module: str, name: str, with_python: frozenset[str]) -> bool:
    for package, places in PLACES.items():
        if within(name, (package,)):
            return within(module, places)
    return name.split(".")[0] in with_python


@pytest.mark.parametrize("read", [library, sandbox])
def test_no_imports_go_in_a_circle(read: Callable[[], tuple[Module, ...]]) -> None:
    modules = read()
    names = {module.name for module in modules}
    try:
        TopologicalSorter({module.name: module.imports & names for module in modules}).prepare()
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


def test_only_the_files_that_dss_runs_import_dataiku() -> None:
    imports = {
        path.relative_to(ROOT).parts[0]
        for folder in ("python-lib", "python-llms", "python-runnables", "custom-recipes", "resource/forms")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in _imported_by(node)
        if within(name, ("dataiku", "dataikuapi"))
    }
    assert imports == {"python-llms", "python-runnables", "custom-recipes", "resource"}
