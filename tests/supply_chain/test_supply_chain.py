"""The locks and floors hold no version that advisories.json knows to be vulnerable, and the licences are listed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.supply_chain import audit, licences

EVERY = [found for path in (*audit.LOCKS, audit.CODE_ENVIRONMENT) for found in audit.vulnerable(path)]


def test_no_lock_or_floor_has_a_known_vulnerability_without_a_reason() -> None:
    assert [str(found) for found in EVERY if not audit.is_accepted(found)] == []


def test_every_reason_is_still_needed() -> None:
    assert audit.unneeded_exceptions(EVERY) == []


@pytest.mark.parametrize(
    ("line", "identifiers"),
    [
        ("jinja2==3.1.5", {"CVE-2025-27516"}),
        ("Jinja2>=3.1.6", set()),
        ("urllib3==2.6.3 ; python_full_version < '3.10' \\", {"CVE-2026-44431", "CVE-2026-44432"}),
        ("urllib3==1.26.18", {"CVE-2024-37891", "CVE-2025-50181"}),
        ("PyJWT[crypto]>=2.10.0", {"CVE-2024-53861", "CVE-2026-32597", "CVE-2026-48526"}),
        ("    --hash=sha256:00", set()),
    ],
)
def test_a_vulnerable_version_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, identifiers: set[str]
) -> None:
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"# a comment\n{line}\n")
    found = {found.advisory for found in audit.vulnerable(lock)}
    assert found >= identifiers if identifiers else found == set()


def test_a_requirement_without_a_lowest_version_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("requests<3\n")
    with pytest.raises(ValueError, match="requests has no lowest version"):
        list(audit.versions_in(lock))


def test_every_advisory_names_an_identifier_a_package_and_a_range() -> None:
    record = json.loads(Path(audit.__file__).with_name("advisories.json").read_text())
    for advisory in record["advisories"]:
        assert re.fullmatch(r"CVE-\d{4}-\d+", advisory["id"])
        assert advisory["package"] == advisory["package"].lower()
        assert advisory["affected"]
        assert advisory["about"]
    identifiers = [advisory["id"] for advisory in record["advisories"]]
    assert sorted(set(identifiers)) == sorted(identifiers)
    assert all(accepted["reason"] for accepted in record["accepted"])


def test_every_locked_package_is_pinned_by_its_hash_and_comes_from_no_named_index() -> None:
    for lock in audit.LOCKS:
        text = lock.read_text()
        assert "index-url" not in text, lock.name
        assert "://" not in text, lock.name
        pins = re.findall(
            r"^[A-Za-z0-9._-]+(?:\[.*\])?==.*?(?=^[A-Za-z0-9]|\Z)", text, re.DOTALL | re.MULTILINE
        )
        assert [pin.split(" ")[0] for pin in pins if "--hash=sha256:" not in pin] == [], lock.name


def test_the_licences_of_all_packages_are_listed() -> None:
    assert licences.DOCUMENT.read_text() == licences.document(), "run: make licences"
