"""Every regular expression in python-lib, and texts on which each would take longest, made from its own structure."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants, _parser  # type: ignore[attr-defined]
else:  # pragma: no cover
    import sre_constants as _constants
    import sre_parse as _parser

PYTHON_LIB = Path(__file__).parents[2] / "python-lib"
PACKAGES = ("spcs_llm", "spcs_deployment")
_USES = ("compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
# Of expressions that are put together when they are used: the field's name is one of ours.
_FILLED_IN = {"field": "temperature", "_TEXT": "generated_text", "name": "temperature", "word": "temperature"}


def compiled_expressions() -> dict[str, re.Pattern[Any]]:
    """Those that modules keep: name -> expression."""
    found: dict[str, re.Pattern[Any]] = {}
    for module in _modules():
        for name, value in vars(module).items():
            for where, pattern in _kept_in(value, name):
                if pattern not in found.values():
                    found[f"{module.__name__}.{where}"] = pattern
    return found


def is_only_matched(name: str) -> bool:
    """Whether nothing but `match` and `fullmatch` is asked of an expression of `compiled_expressions`.

    They try one place, where a search or a substitution tries each.
    """
    module, _, variable = name.rpartition(".")
    if not variable.startswith("_") or not variable.isidentifier():
        return False  # others may import it, or a loop takes it from its table
    source = Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")
    return len(re.findall(rf"\b{variable}\b(?!\.(?:full)?match\()", source)) == 1  # where it is made


def _kept_in(value: Any, name: str) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """The expressions that a variable holds, also those of a table."""
    if isinstance(value, re.Pattern):
        yield name, value
    elif isinstance(value, (tuple, list)):
        for at, item in enumerate(value):
            yield from _kept_in(item, f"{name}[{at}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _kept_in(item, f"{name}[{key}]")


def _modules() -> Iterator[Any]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for info in pkgutil.walk_packages(package.__path__, f"{name}."):
            yield importlib.import_module(info.name)


def expressions_in_source() -> tuple[dict[str, str], list[str]]:
    """Those written where they are used: place -> source; and the places of those that cannot be read there."""
    found: dict[str, str] = {}
    unread: list[str] = []
    for path in sorted(PYTHON_LIB.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (
                isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in _USES
            ):
                continue
            place = f"{path.relative_to(PYTHON_LIB)}:{ast.unparse(node.args[0])[:60]}"
            source = _source(node.args[0])
            if source is not None:
                found[place] = source
            elif not _is_kept_by_a_module(tree, node):
                unread.append(place)
    return found, unread


def _source(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [
            _source(value.value) if isinstance(value, ast.FormattedValue) else _source(value)
            for value in node.values
        ]
        return None if None in parts else "".join(part for part in parts if part is not None)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.escape":
        return "escaped"
    if isinstance(node, ast.Name):
        return _FILLED_IN.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _source(node.left), _source(node.right)
        return None if left is None or right is None else left + right
    return None


def _is_kept_by_a_module(tree: ast.Module, call: ast.Call) -> bool:
    """Whether the call's value is what a module's variable holds: `compiled_expressions` finds that."""
    return any(isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is call for node in tree.body)


def attacks_on(pattern: re.Pattern[Any], ends: Iterable[str]) -> Iterator[tuple[Any, Any, Any]]:
    """Texts as (before, pumped, after): each repetition of the expression, with its beginning before and no end behind.

    Repeated apart, and each one with its neighbour, so that two that take the same characters have them to share out.
    """
    is_bytes = isinstance(pattern.pattern, bytes)
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE if is_bytes else pattern.flags)
    seen: set[tuple[str, str, str]] = set()
    for before, body in _repetitions(tree):
        for pumped in (body, body[:1], f"{body} ", " "):
            for after in ends:
                attack = (before, pumped or "a", after)
                if attack not in seen:
                    seen.add(attack)
                    yield tuple(part.encode("latin-1", "replace") for part in attack) if is_bytes else attack  # type: ignore[misc]


def _repetitions(tree: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Each repetition with no small limit: an example of all before it, and one of what is repeated."""
    for kind, value in tree:
        if kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            least, most, inner = value
            example = _example(inner)
            if most > 30:
                yield before, example
                yield "", example
            yield from _repetitions(inner, before)
            before += example * max(1, min(least, 3))
            continue
        for branch in _branches(kind, value):
            yield from _repetitions(branch, before)
        before += _example([(kind, value)])


def _branches(kind: Any, value: Any) -> list[Any]:
    if kind is _constants.SUBPATTERN:
        return [value[3]]
    if kind is _constants.BRANCH:
        return list(value[1])
    if kind in (_constants.ASSERT, _constants.ASSERT_NOT):
        return [value[1]]
    return []


def _example(tree: Any) -> str:
    """A text that the part of an expression takes, or something near."""
    text = ""
    for kind, value in tree:
        if kind is _constants.LITERAL:
            text += chr(value)
        elif kind is _constants.NOT_LITERAL or kind is _constants.ANY:
            text += "a"
        elif kind is _constants.IN:
            text += _of_class(value)
        elif kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            text += _example(value[2]) * max(1, min(value[0], 3))
        elif kind is _constants.BRANCH:
            text += _example(value[1][0])
        elif kind is _constants.SUBPATTERN:
            text += _example(value[3])
    return text


def _of_class(items: Any) -> str:
    if items and items[0][0] is _constants.NEGATE:
        return "a"
    for kind, value in items:
        if kind is _constants.LITERAL:
            return chr(value)
        if kind is _constants.RANGE:
            return chr(value[0])
        if kind is _constants.CATEGORY:
            return {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " "}.get(str(value), "a")
    return "a"
