"""Docstrings describe arguments and errors in sections that editors read, and not in their prose.

The rules of ruff (`D` and `DOC` in pyproject.toml) see to what stands in the sections.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "python-lib"
MODULES = sorted(path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py"))
SECTIONS = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$", re.MULTILINE)


@pytest.mark.exhaustive
@pytest.mark.parametrize("module", MODULES)
def test_arguments_and_errors_are_described_in_sections(module: str) -> None:
    tree = ast.parse((LIBRARY / module).read_text())
    assert [f"{module}:{line} {name}: {what}" for line, name, what in _in_prose(tree)] == []


def _in_prose(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        text = ast.get_docstring(node) or ""
        prose = SECTIONS.split(text)[0]
        described = set(re.findall(r"(?:^|[.:] |\n)`?(\w+)`?: ", prose)) & _names(node)
        if described:
            yield node.lineno, node.name, f"describes {', '.join(sorted(described))} in prose"
        if re.search(r"\bRaises? [A-Z]\w+", prose):
            yield node.lineno, node.name, "names an error in prose"


def _names(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The arguments of a function; the fields of a class, and the arguments to make one."""
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        return {argument.arg for argument in arguments.posonlyargs + arguments.args + arguments.kwonlyargs}
    names: set[str] = set()
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.add(statement.target.id)
        elif isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            names |= _names(statement)
    return names


def test_prose_that_describes_is_found() -> None:
    code = '''
def wait(seconds: float) -> None:
    """Waits. seconds: how long. Raises QueryTimeout."""

def rest(seconds: float) -> None:
    """Rests: for a while.

    Args:
        seconds: How long.

    Raises:
        QueryTimeout: If the time is up.
    """
'''
    assert [what for _, _, what in _in_prose(ast.parse(code))] == [
        "describes seconds in prose",
        "names an error in prose",
    ]
