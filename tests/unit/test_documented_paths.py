"""The files and folders that the documents for developers name are there, and all modules have their place in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "python-lib" / "spcs_llm"
SHOWN = [
    f"/{path.relative_to(ROOT).as_posix()}{'/' if path.is_dir() else ''}"
    for folder in (
        "python-lib",
        "python-llms",
        "python-runnables",
        "custom-recipes",
        "resource",
        "requirements",
        "sandbox",
        "tests",
        "docs",
        "parameter-sets",
    )
    for path in (ROOT / folder, *(ROOT / folder).rglob("*"))
]
SHOWN += [f"/{path.name}" for path in ROOT.iterdir()]
PATH = re.compile(r"`([\w./-]+(?:\.(?:py|md|json|toml|txt|jinja|sql)|/))`")


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md", "docs/dependencies.md"])
def test_paths_in_documents_are_there(document: str) -> None:
    named = set(PATH.findall((ROOT / document).read_text()))
    assert named
    assert sorted(name for name in named if not any(path.endswith(f"/{name}") for path in SHOWN)) == []


def test_every_module_of_the_library_has_its_place_in_the_architecture() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text()
    places = {name.rpartition("/")[2] if name.endswith(".py") else name for name in PATH.findall(table)}
    homeless = [
        name
        for name in (path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py"))
        if not name.endswith("__init__.py")
        and name.rpartition("/")[2] not in places
        and not any(name.startswith(folder) for folder in places if folder not in ("http/", "protocols/"))
    ]
    assert sorted(homeless) == []
