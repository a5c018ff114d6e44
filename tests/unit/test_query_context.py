"""The time a query has, and the record of what was done for it."""

from __future__ import annotations

from spcs_llm.errors import ServiceDown
from spcs_llm.query_context import QueryContext
from tests.clock import Clock


def test_the_time_left_runs_out() -> None:
    clock = Clock(50.0)
    call = QueryContext(10.0, clock=clock)
    clock.now += 4
    assert call.remaining() == 6.0
    clock.now += 7
    assert call.remaining() == -1.0


def test_a_timeout_tells_its_limit_and_what_was_being_done() -> None:
    error = QueryContext(0.5).timeout("waiting for a slot")
    assert error.message == (
        "No answer within the 0.5 s that a query may take: the time ran out while waiting for a slot."
    )
    assert "'Query timeout'" in error.hint
    assert error.place == "service"


def test_a_timeout_counts_the_attempts() -> None:
    call = QueryContext(600)
    call.attempts = 1
    assert call.timeout("waiting").message.endswith("while waiting, after 1 attempt.")
    call.attempts = 3
    assert call.timeout("waiting").message.endswith("while waiting, after 3 attempts.")


def test_a_timeout_tells_the_last_failure_with_its_place_and_mend() -> None:
    call = QueryContext(600)
    call.last_error = ServiceDown(
        "The service does not answer.", "Read its logs.", status=503, request_id="r1"
    )
    error = call.timeout("waiting")
    assert error.message.endswith("Last failure: [service] The service does not answer.")
    assert (error.hint, error.status, error.request_id) == ("Read its logs.", 503, "r1")


def test_what_is_done_on_the_way_shares_the_time_and_the_record() -> None:
    clock = Clock(50.0)
    call = QueryContext(10.0, "alice", clock=clock)
    clock.now += 4
    child = call.child()
    child.record_step("SNOWFLAKE_LOGIN", 0.0, 1.0)
    child.attempts += 1
    assert child.remaining() == call.remaining() == 6.0
    assert child.credential_id == "alice"
    assert [step.name for step in call.steps] == ["SNOWFLAKE_LOGIN"]
    assert call.attempts == 0
    assert "the 10 s that a query may take" in child.timeout("signing in").message


def test_steps_are_kept_in_order_with_their_facts() -> None:
    call = QueryContext(1)
    call.record_step("A", 1.0, 0.5, status=200)
    call.record_step("B", 2.0, 0.5)
    assert [(step.name, step.began, step.seconds, step.attributes) for step in call.steps] == [
        ("A", 1.0, 0.5, {"status": 200}),
        ("B", 2.0, 0.5, {}),
    ]
