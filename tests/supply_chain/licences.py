"""Writes docs/licences.md: the licence of every package that the plugin and its development use.

    python -m tests.supply_chain.licences

Run it in .venv, which holds what requirements/dev.txt names. A licence is what the package's own metadata says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply_chain.audit import CODE_ENVIRONMENT, ROOT, versions_in

DOCUMENT = ROOT / "docs" / "licences.md"
DEVELOPMENT = (ROOT / "requirements" / "dev.txt", ROOT / "requirements" / "models.txt")
_HEAD = """# Licences

The plugin itself is under the [Apache License 2.0](../LICENSE). Its zip contains no other package. This list is
written by `python -m tests.supply_chain.licences` from the metadata of the packages.
"""
_NAMES = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "ISC license": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def licence(name: str) -> str:
    """A package's licence: SPDX where its metadata gives it so or has a text that means one, else its own words.

    Raises:
        PackageNotFoundError: If the package is not installed.
        ValueError: If its metadata says nothing.
    """
    metadata: Any = distribution(name).metadata  # an email.message.Message
    field = (metadata.get("License") or "").strip()
    prefix = "License :: "
    classifiers = [text for text in metadata.get_all("Classifier", []) if text.startswith(prefix)]
    stated = metadata.get("License-Expression") or (field if "\n" not in field and field != "UNKNOWN" else "")
    stated = stated or " or ".join(sorted({text.rpartition(" :: ")[2] for text in classifiers}))
    stated = stated or field.partition("\n")[0].strip()  # the title of a whole text
    if not stated:
        raise ValueError(f"The metadata of {name} names no licence")
    return _NAMES.get(stated, stated)


def runtime_packages() -> set[str]:
    """What the code environment asks for, and what that brings along."""
    wanted = [Requirement(line) for line in _requirements(CODE_ENVIRONMENT)]
    found: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        extras = [*requirement.extras, ""]
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        found.add(name)
        for text in distribution(name).requires or []:
            brought = Requirement(text)
            applies = brought.marker is None or any(
                brought.marker.evaluate({"extra": extra}) for extra in extras
            )
            if applies and canonicalize_name(brought.name) not in found:
                wanted.append(brought)
    return found


def _requirements(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines():
        if text := re.sub(r"#.*", "", line).strip():
            yield text


def development_packages() -> set[str]:
    """What requirements/dev.txt names for this system, less what the plugin needs itself."""
    installed = set()
    for lock in DEVELOPMENT:
        for name, _ in versions_in(lock):
            try:
                distribution(name)
            except PackageNotFoundError:  # for another system or Python
                continue
            installed.add(name)
    return installed - runtime_packages()


def document() -> str:
    """The text of docs/licences.md."""
    parts = [_HEAD]
    for title, packages in (
        ("In the plugin's code environment", runtime_packages()),
        ("For development, tests and the sandbox", development_packages()),
    ):
        rows = [f"| {name} | {licence(name)} |" for name in sorted(packages)]
        parts.append("\n".join([f"## {title}\n", "| package | licence |", "| --- | --- |", *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    print(f"{DOCUMENT.relative_to(ROOT)} is written.")
