"""What several threads want at the same time is done once, and each of them is told what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from spcs_llm.errors import QueryTimeout, ServiceDown, SpcsError
from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.single_flight import SingleFlight
from tests.unit.scripted_service import Waiting, wait_until

WAITERS = 12


class Work:
    """Does nothing until a test lets it end in a result or an error."""

    def __init__(self) -> None:
        self.begun = 0
        self.end: Callable[[], Any] = lambda: None
        self.may_end = threading.Event()

    def __call__(self) -> Any:
        self.begun += 1
        assert self.may_end.wait(10)
        return self.end()


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def ask(flights: SingleFlight[Any], work: Work, context: QueryContext) -> Any:
    return flights.run(work, context, "another", lambda: context.timeout("waiting for another"))


def several(flights: SingleFlight[Any], work: Work, pool: ThreadPoolExecutor) -> list[Future[Any]]:
    """A leader that is at work, and `WAITERS` threads that wait for it."""
    leader = pool.submit(ask, flights, work, QueryContext(10))
    wait_until(lambda: work.begun == 1)
    contexts = [Waiting() for _ in range(WAITERS)]
    others = [pool.submit(ask, flights, work, context) for context in contexts]
    wait_until(lambda: all(context.waits for context in contexts))
    assert flights.is_under_way
    return [leader, *others]


@pytest.mark.parametrize("result", ["done", None])
def test_what_is_done_once_is_everybodys(result: Any) -> None:
    flights: SingleFlight[Any] = SingleFlight()
    work = Work()
    work.end = lambda: result
    with ThreadPoolExecutor(WAITERS + 1) as pool:
        asked = several(flights, work, pool)
        work.may_end.set()
        assert [each.result(10) for each in asked] == [result] * (WAITERS + 1)
    assert work.begun == 1
    assert not flights.is_under_way


def test_a_failure_is_told_to_all_who_wait_each_with_an_error_of_its_own() -> None:
    flights: SingleFlight[Any] = SingleFlight()
    work = Work()
    work.end = raising(ServiceDown("down"))
    with ThreadPoolExecutor(WAITERS + 1) as pool:
        asked = several(flights, work, pool)
        work.may_end.set()
        errors = [each.exception(10) for each in asked]
    assert work.begun == 1
    assert all(isinstance(error, ServiceDown) for error in errors)
    assert len(set(map(id, errors))) == WAITERS + 1


@pytest.mark.parametrize("error", [QueryTimeout("its own time"), KeyError("a bug")])
def test_another_thread_takes_over_what_only_the_first_could_not_end(error: Exception) -> None:
    flights: SingleFlight[Any] = SingleFlight()
    work = Work()

    def first_fails() -> str:
        if work.begun == 1:
            raise error
        return "done"

    work.end = first_fails
    with ThreadPoolExecutor(WAITERS + 1) as pool:
        leader, *others = several(flights, work, pool)
        work.may_end.set()
        assert [each.result(10) for each in others] == ["done"] * WAITERS
        assert leader.exception(10) is error
    assert not flights.is_under_way


def test_a_later_thread_works_again() -> None:
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    work.may_end.set()
    work.end = lambda: work.begun
    assert [ask(flights, work, QueryContext(10)) for _ in range(3)] == [1, 2, 3]


def test_who_waits_waits_no_longer_than_its_own_time() -> None:
    flights: SingleFlight[Any] = SingleFlight()
    work = Work()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(ask, flights, work, QueryContext(10))
        wait_until(lambda: work.begun == 1)
        with pytest.raises(SpcsError, match="waiting for another"):
            ask(flights, work, QueryContext(0.01))
        work.may_end.set()
        assert leader.result(10) is None


def test_who_has_something_else_to_go_on_with_need_not_wait() -> None:
    flights: SingleFlight[Any] = SingleFlight()
    work = Work()
    work.end = lambda: "done"
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(ask, flights, work, QueryContext(10))
        wait_until(lambda: work.begun == 1)
        assert flights.run_if_idle(work) is None
        work.may_end.set()
        assert leader.result(10) == "done"
    assert flights.run_if_idle(work) == "done"
    assert work.begun == 2
