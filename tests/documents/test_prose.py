"""What people read uses none of the words that CONTRIBUTING.md asks to avoid.

People are users, administrators and contributors: documents, forms, errors, log lines and docstrings.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents.error_list import PAGE, known_errors

ROOT = Path(__file__).parents[2]
# Phrases that contain a word of the list and are right, each with the reason.
ALLOWED = {
    "is no longer": "an adverb of time, not a noun that is denied",
    "are no longer": "the same",
    "there is no": "says that something does not exist",
    "there are no": "the same",
}
WITH_DOCSTRINGS = ("python-lib", "sandbox", "tests/benchmarks")
_LOGGING = ("debug", "info", "warning", "error", "exception", "log")
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_SENTENCE = re.compile(r'"((?:[^"\\\n]|\\.)* (?:[^"\\\n]|\\.)*)"')  # in JavaScript


def avoided_words() -> list[str]:
    """The words of the first column of the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| Do not write | Write |\n| --- | --- |\n")[2].partition("\n\n")[0]
    return [word.strip() for row in table.splitlines() for word in row.split("|")[1].split(",")]


def hits(text: str) -> list[str]:
    """The avoided words in a text, each with what surrounds it. Quoted code is not read."""
    text = " ".join(_CODE.sub("`…`", text).split())
    for phrase in ALLOWED:
        text = re.sub(rf"\b{phrase}\b", "…", text, flags=re.IGNORECASE)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, avoided_words()))})\b", re.IGNORECASE)
    return [text[max(0, found.start() - 40) : found.end() + 40] for found in pattern.finditer(text)]


def _strings(value: Any) -> Iterator[str]:
    """The labels and descriptions in a form, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and key in ("label", "description", "longDescription"):
                yield inner
            else:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _texts() -> Iterator[tuple[str, Callable[[], str]]]:
    """Everything that people read, by where it is. A text is read by the test that is about it."""
    documents = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
    for path in [*documents, *sorted((ROOT / "docs").glob("*.md"))]:
        if path != PAGE:  # generated from the errors, which are read below
            yield _of_file(path, lambda text: text)
    yield _of_file(ROOT / "CONTRIBUTING.md", _without_the_words)
    for form in ("plugin.json", *_forms()):
        yield _of_file(ROOT / form, lambda text: "\n".join(_strings(json.loads(text))))
    for page in sorted(ROOT.glob("webapps/*/app.js")):
        yield _of_file(page, lambda text: "\n\n".join(_SENTENCE.findall(text)))
    for script in sorted((ROOT / "resource/sql").glob("*.sql")):
        yield _of_file(script, lambda text: "\n".join(re.findall(r"--(.*)", text)))
    for notebook in sorted(ROOT.glob("*.ipynb")):
        yield _of_file(notebook, _prose_of_cells)
    yield "the diagnosis", lambda: "\n".join(_said_by_the_diagnosis())
    yield "the errors", lambda: "\n".join(f"{known.message} {known.hint}" for known in known_errors())
    for folder in WITH_DOCSTRINGS:
        yield f"docstrings in {folder}", _of_sources(folder, _docstrings, "\n\n")
        if folder.startswith("python-"):
            yield f"log lines in {folder}", _of_sources(folder, _log_lines, "\n")


def _of_file(path: Path, read: Callable[[str], str]) -> tuple[str, Callable[[], str]]:
    return str(path.relative_to(ROOT)), lambda: read(path.read_text(encoding="utf-8"))


def _of_sources(folder: str, read: Callable[[ast.Module], Iterator[str]], between: str) -> Callable[[], str]:
    def texts() -> Iterator[str]:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from read(ast.parse(path.read_text(encoding="utf-8")))

    return lambda: between.join(texts())


def _without_the_words(contributing: str) -> str:
    before, _, table = contributing.partition("| Do not write |")
    return before + table.partition("\n\n")[2]


def _prose_of_cells(notebook: str) -> str:
    cells = json.loads(notebook)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""


def _log_lines(tree: ast.Module) -> Iterator[str]:
    """The texts of calls such as `logger.info("…")` and `context.log("…")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOGGING:
            for part in ast.walk(node.args[0]) if node.args else ():
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def _said_by_the_diagnosis() -> Iterator[str]:
    """The texts of more than two words in the code of the diagnosis, which are no docstrings."""
    folder = ROOT / "python-lib" / "spcs_llm" / "control"
    for path in (*sorted((folder / "diagnosis").glob("*.py")), folder / "container_messages.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if (
                not isinstance(node, ast.Constant)
                or not isinstance(node.value, str)
                or id(node) in docstrings
            ):
                continue
            if len(node.value.split()) > 2:
                yield node.value


def _forms() -> list[str]:
    found = [*ROOT.glob("python-llms/*/llm.json"), *ROOT.glob("parameter-sets/*/parameter-set.json")]
    assert len(found) == 4
    macros = [*ROOT.glob("python-runnables/*/runnable.json")]
    assert len(macros) >= 4
    webapps = [*ROOT.glob("webapps/*/webapp.json")]
    recipes = [*ROOT.glob("custom-recipes/*/recipe.json")]
    assert webapps and recipes
    return sorted(str(path.relative_to(ROOT)) for path in [*found, *macros, *webapps, *recipes])


@pytest.mark.exhaustive
@pytest.mark.parametrize("read", [pytest.param(read, id=where) for where, read in _texts()])
def test_people_read_plain_english(read: Callable[[], str]) -> None:
    text = read()
    assert text.strip()
    assert hits(text) == []


def test_docstrings_and_log_lines_are_found() -> None:
    tree = ast.parse(
        'def f():\n    """Its own."""\n    logger.info("a line", 1)\n    context.log(f"a {2} step")\n'
    )
    assert list(filter(None, _docstrings(tree))) == ["Its own."]
    assert list(_log_lines(tree)) == ["a line", "a ", " step"]


def test_a_word_of_the_list_is_found() -> None:
    assert "of its own" in avoided_words()
    assert len(avoided_words()) > 20
    assert hits("The service\nhas a key of\nits own.") == ["The service has a key of its own."]
    assert hits("Shall we?") == ["Shall we?"]
    assert hits("`shall` is code, and it is no longer used") == []
