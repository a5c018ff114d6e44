"""What could not be verified is listed, and each answer that the list promises can be given by the record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.snowflake import Snowflake
from spcs_llm.control.diagnosis.diagnosis import Diagnosis, diagnose
from spcs_llm.control.diagnosis.record import record
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.settings import LABELS
from tests.unit.scripted_session import ScriptedSession, rows

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "unverified.md").read_text(encoding="utf-8")
NOT_BY_IT = "Not by the record"
# Words by which code and documents say that something is not certain.
MARKS = re.compile(
    r"\b(?:is|are) (?:an assumption|assumptions|an inference)\b|\bnot documented\b|\bundocumented\b|\bnot published\b"
    r"|\*\*Not verified\b|\bhas not yet been verified\b|Where the public record is silent",
    re.IGNORECASE,
)
ABOUT_ITSELF = {"docs/unverified.md", "docs/architecture.md"}  # of architecture.md, the row on credentials


def table() -> list[tuple[str, str, str]]:
    lines = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(row[0], row[1], row[2]) for row in cells if row[0] != "What we could not verify"]


ROWS = table()


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Any]]:
    """A record of a model that works, with all that it can have."""
    with Snowflake() as snowflake:
        service = snowflake.create_service("chat", "scripted", "OPENAI", tokens=20, token_seconds=0.01)
        session = ScriptedSession({"SHOW SERVICES": rows("name auto_resume", "X | true")})
        config = {
            "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
            "snowflakeAccountUrl": snowflake.account_url,
            "llmEndpointUrl": service.url,
            "serviceProtocol": "AUTOMATIC",
        }
        diagnosis = diagnose(config, open_sql=lambda: session)
        yield record(diagnosis.subject, diagnosis.findings, "15.0")


def test_every_key_that_an_answer_names_is_in_the_record(told: dict[str, Any]) -> None:
    named = {
        key for *_, answer in ROWS for key in re.findall(r"`([a-z_\[\]]+(?:\.[a-z_0-9\[\]]+)*)`", answer)
    }
    named -= {"suspended_on", "resource/service_specs/vllm.yaml"}
    assert len(named) > 25
    missing = sorted(key for key in named if not _has(told, key) and not _is_of_an_error(key))
    assert missing == []


def _has(told: Any, key: str) -> bool:
    for part in key.split("."):
        name = part.replace("[]", "")
        if isinstance(told, list):
            told = told[0]
        if not isinstance(told, dict) or name not in told:
            return False
        told = told[name]
    return True


def _is_of_an_error(key: str) -> bool:
    """`error` is there when a step failed: see test_diagnosis_record."""
    return key == "error" or key in {
        f"error.{part}" for part in ("class", "place", "status", "code", "gateway_id")
    }


def test_every_step_that_an_answer_names_is_one() -> None:
    steps = {step.name for step in Diagnosis(Subject({}))._steps}
    others = {*LABELS.values(), "Snowflake connection", "Log lines", "Fail if there is a problem"}
    others |= {"Log each step of queries", "Suspend services", "Cost report"}
    named = {name for *_, answer in ROWS for name in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", answer)}
    assert named - steps - others == set()
    assert len(named & steps) > 8


def test_every_place_that_is_named_is_there() -> None:
    for _, where, _ in ROWS:
        paths = [
            *re.findall(r"`([\w./-]+)`", where),
            *(f"docs/{p}" for p in re.findall(r"\]\(([\w./-]+)\)", where)),
        ]
        assert paths, where
        for path in paths:
            assert (ROOT / path).exists(), path


def test_whatever_says_that_it_is_not_certain_is_in_the_list() -> None:
    listed = " ".join(where for _, where, _ in ROWS)
    unlisted = []
    for folder, pattern in (
        ("python-lib", "*.py"),
        ("sandbox", "*.py"),
        ("sandbox", "*.md"),
        ("docs", "*.md"),
        ("tests/sql", "*.py"),
    ):
        for path in sorted((ROOT / folder).rglob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if name in ABOUT_ITSELF or not MARKS.search(" ".join(path.read_text(encoding="utf-8").split())):
                continue
            if name not in listed and f"]({path.name})" not in listed:
                unlisted.append(name)
    assert unlisted == []


def test_the_readme_asks_for_the_record() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/unverified.md" in readme
    assert "Diagnose an endpoint" in readme


def test_most_of_the_list_can_be_settled_by_the_record() -> None:
    settled = [row for row in ROWS if not row[2].startswith(NOT_BY_IT)]
    count = re.search(r"(\d+) of the (\d+)", TEXT)
    assert count is not None
    assert (int(count[1]), int(count[2])) == (len(settled), len(ROWS))
