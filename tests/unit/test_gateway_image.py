"""The Dockerfile of the batch gateway: rules that a builder does not check, and files that are really there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.supply_chain.audit import versions_in

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "resource" / "images" / "batch_gateway"


def instructions() -> list[tuple[str, str]]:
    """(instruction, what follows it), comments dropped and lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines if line.strip()]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_the_base_is_pinned_by_version_and_digest() -> None:
    assert [
        re.fullmatch(r"python:3\.13\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base) is not None
        for base in of("FROM")
    ] == [True]


def test_it_runs_as_neither_root_nor_an_owner_of_files() -> None:
    assert of("USER") == ["65532:65532"]
    names = [name for name, _ in instructions()]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name in ("RUN", "COPY"))
    assert all("--chown" not in copied for copied in of("COPY"))


def test_packages_are_installed_by_their_hashes_and_nothing_else_is() -> None:
    (install,) = [run for run in of("RUN") if "install" in run]
    for option in ("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-cache-dir"):
        assert option in install.split()
    assert not re.search(r"\b(apt|apt-get|curl|wget)\b", " ".join(of("RUN")))
    assert of("ADD") == []


def test_what_it_copies_is_there_and_is_let_through_to_the_builder() -> None:
    sources = [copied.split()[0] for copied in of("COPY")]
    assert sources and all((ROOT / source).exists() for source in sources)
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    assert all(any(source.startswith(folder) for folder in allowed) for source in sources)


def test_it_starts_the_gateway_by_an_exec_form() -> None:
    assert of("ENTRYPOINT") == ['["python", "-m", "batch_gateway"]']
    assert of("CMD") == []


def test_the_packages_are_those_that_the_tests_run_with() -> None:
    locked = dict(versions_in(ROOT / "requirements" / "dev.txt"))
    image = dict(versions_in(FOLDER / "requirements.txt"))
    assert {name: locked[name] for name in image} == image
    assert len(image) <= 10


def test_the_gateway_imports_nothing_that_its_image_does_not_have() -> None:
    program = (
        "import sys; import batch_gateway.__main__, spcs_llm.protocols.openai.protocol;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    path = f"{ROOT / 'python-lib'}:{FOLDER}"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", f"import site; site.main(); {program}"],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    foreign = {"jinja2", "jwt", "cryptography", "starlette", "anyio", "pydantic", "numpy", "dataiku"}
    assert foreign & set(shown.stdout.split()) == set()
