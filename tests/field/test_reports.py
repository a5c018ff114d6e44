"""Each report of this folder is replayed over a real socket through the whole plugin, as DSS runs it.

A test per file and way. What is known to fail is marked in the file, and has to fail.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.field.mesh import REPORTS_PER_DSS, Field
from tests.field.replay_report import replay
from tests.field.reports import UNARY, Report, all_reports


@pytest.fixture(scope="module")
def field(request: pytest.FixtureRequest) -> Iterator[Field]:
    """A DSS for some of the reports: the parameter tells which share a DSS."""
    with Field() as made:
        yield made


def _cases() -> list[object]:
    asked = [(report, way) for report in all_reports() for way in report.ways]
    return [_case(number // REPORTS_PER_DSS, report, way) for number, (report, way) in enumerate(asked)]


def _cases_of_texts() -> list[object]:
    asked = [
        report
        for report in all_reports()
        if any(len(each.asked.get("texts") or ()) > 1 for each in report.queries)
    ]
    return [_case(number // REPORTS_PER_DSS, report, UNARY) for number, report in enumerate(asked)]


def _case(dss: int, report: Report, way: str) -> object:
    known = pytest.mark.xfail(strict=True, reason="a known fault, marked in the report")
    marks = [known] if way in report.known_faults else []
    return pytest.param(dss, report, way, id=f"{report.name}-{way}", marks=marks)


@pytest.mark.sample(120)
@pytest.mark.parametrize(("field", "report", "way"), _cases(), indirect=["field"], scope="module")
def test_a_report_is_answered_rightly(field: Field, report: Report, way: str) -> None:
    wrong = replay(field, report, way)
    assert not wrong, "\n".join([report.report, *wrong])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("field", "report", "way"), _cases_of_texts(), indirect=["field"], scope="module")
def test_texts_may_come_one_by_one(
    field: Field, report: Report, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do where threads start late: what is right does not depend on which texts share a request."""
    monkeypatch.setattr("sandbox.dss.checks.check_max_parallelism", lambda value: 1)
    wrong = replay(field, report, way)
    assert not wrong, "\n".join([report.report, *wrong])
