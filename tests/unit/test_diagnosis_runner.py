"""Steps are taken in order and in time; those that cannot be taken say what they wait for."""

from __future__ import annotations

import threading

import pytest

from spcs_llm.control.diagnosis import runner
from spcs_llm.control.diagnosis.finding import FAILED, OK, SKIPPED, WARNING, Finding, Outcome, ok, skipped
from spcs_llm.control.diagnosis.query_steps import _useful
from spcs_llm.control.diagnosis.runner import Step, findings_of
from spcs_llm.errors import LoginError, NetworkError, ServiceBusy, SpcsError
from spcs_llm.query_context import QueryContext
from tests.logs import everything_logged


@pytest.fixture
def a_short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """For steps that never tell that their time is up, however long they are waited for."""
    monkeypatch.setattr(runner, "_GRACE_SECONDS", 0.01)


def passes(context: QueryContext) -> Outcome:
    return ok("It works.")


def fails(context: QueryContext) -> Outcome:
    raise LoginError("Refused.", "Sign in.")


def hangs(context: QueryContext) -> Outcome:
    threading.Event().wait()
    return ok("never")


def taken(*steps: Step, seconds: float = 30.0) -> dict[str, Finding]:
    return {found.step: found for found in findings_of(steps, seconds)}


def test_what_needs_a_failed_step_waits_for_the_first_that_failed() -> None:
    found = taken(Step("a", fails), Step("b", passes, ("a",)), Step("c", passes, ("b",)), Step("d", passes))
    assert [each.result for each in found.values()] == [FAILED, SKIPPED, SKIPPED, OK]
    assert found["c"].seen == "Waits for the step 'a', which has to work first."
    assert (found["a"].seen, found["a"].hint) == ("[login] Refused.", "Sign in.")


def test_a_step_that_does_not_apply_holds_up_nothing() -> None:
    found = taken(Step("a", lambda context: skipped("Not needed.")), Step("b", passes, ("a",)))
    assert found["b"].result == OK


@pytest.mark.usefixtures("a_short_grace")
def test_a_step_that_hangs_is_left_behind() -> None:
    found = taken(Step("a", hangs, seconds=0.05, overdue="Look."), Step("b", passes))
    assert (found["a"].result, found["a"].hint) == (FAILED, "Look.")
    assert "0.05 s" in found["a"].seen
    assert found["b"].result == OK


@pytest.mark.usefixtures("a_short_grace")
def test_an_optional_step_is_never_a_failure_and_holds_up_nothing() -> None:
    found = taken(
        Step("a", hangs, seconds=0.05, optional=True),
        Step("b", fails, optional=True),
        Step("c", passes, ("a", "b")),
    )
    assert [each.result for each in found.values()] == [WARNING, WARNING, OK]


def test_an_error_of_ours_is_told_without_its_text() -> None:
    def breaks(context: QueryContext) -> Outcome:
        raise KeyError("canary")

    found = taken(Step("a", breaks))["a"]
    assert found.result == FAILED
    assert "KeyError in test_diagnosis_runner.py" in found.seen
    assert "canary" not in found.seen


def test_a_failure_without_a_hint_gets_that_of_the_step() -> None:
    def drops(context: QueryContext) -> Outcome:
        raise NetworkError("It closed the connection.")

    assert taken(Step("a", drops, fallback="Run it again."))["a"].hint == "Run it again."


def test_the_last_failure_before_the_end_is_the_reason_if_it_tells_one() -> None:
    def ends(last: SpcsError | None) -> Outcome:
        def late(context: QueryContext) -> Outcome:
            context.last_error = last
            context.deadline = 0.0
            raise context.timeout("waiting")

        return taken(Step("a", late, overdue="Look at its load."))["a"].outcome

    assert ends(None).hint == "Look at its load."
    assert ends(NetworkError("silent.", "no", silent=True)).hint == "Look at its load."
    assert ends(ServiceBusy("Too many requests.", "Lower it.")).hint == "Lower it."


@pytest.mark.usefixtures("a_short_grace")
def test_no_step_is_taken_when_the_time_of_all_is_up() -> None:
    found = taken(Step("a", hangs, seconds=60), Step("b", passes), seconds=0.05)
    assert (found["a"].result, found["b"].result) == (FAILED, SKIPPED)
    assert "has taken the 0.05 s" in found["b"].seen


def test_the_log_has_names_results_and_times_only() -> None:
    with everything_logged() as log:
        taken(Step("a", fails))
    assert log.getvalue().startswith("Diagnosis: 'a' is failed after ")
    assert "Refused" not in log.getvalue()


def test_the_useful_parallelism_is_where_more_gains_too_little() -> None:
    assert _useful({1: 10.0, 2: 19.0, 4: 36.0, 8: 38.0}) == 4
    assert _useful({1: 10.0, 2: 10.5}) == 1
    assert _useful({1: 10.0}) == 1
    assert _useful({}) == 1
