"""What callers may expect of group commit: who shares a request, who gets what, and who pays."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from spcs_llm.batching import Batcher, BatchSpec
from spcs_llm.batching.sizes import BatchSizes, Refusal
from spcs_llm.errors import (
    AccessDenied,
    BadRequest,
    Blocked,
    LoginError,
    ModelError,
    NetworkError,
    NotFound,
    QueryError,
    QueryTimeout,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    ServiceStarting,
    SpcsError,
    UnusableVector,
)
from spcs_llm.http.limits import Limiter
from spcs_llm.query_context import QueryContext
from tests.clock import Clock
from tests.unit.scripted_service import BOUND, Caller, ImpatientCall, Service, wait_until, waiting_behind_one

MAY_BE_ONE_ROWS_FAULT = [
    BadRequest("no", status=400),
    RequestTooLarge("too large", status=413),
    Blocked("an attack", status=403),
    ModelError("no rows"),
    ServiceError("broken", status=500),
    QueryError("not this"),
    ServiceDown("cut", status=504),
    NetworkError("silence", silent=True),
]
IS_EVERYBODYS = [
    LoginError("no"),
    AccessDenied("no"),
    ServiceStarting("suspended"),
    NetworkError("refused"),
    ServiceBusy("too many", status=429),
    ServiceDown("down", status=503),
    NotFound("no such path", status=404),
    SpcsError("something else"),
]


def name(error: SpcsError) -> str:
    return f"{type(error).__name__}{error.status or ''}"


def outcomes(callers: Sequence[Caller]) -> list[object]:
    return [caller.result() for caller in callers]


# -- who shares a request


def test_a_lone_query_goes_at_once_by_its_own_call() -> None:
    service, call = Service(), QueryContext(BOUND)
    assert Batcher(Limiter()).submit("a", call, service.job()) == "A"
    assert service.calls == [call]
    assert service.senders == [threading.get_ident()]


def test_a_lone_caller_never_waits_for_others() -> None:
    service, batcher = Service(), Batcher(Limiter(), regroup_seconds=BOUND)
    began = time.monotonic()
    for _ in range(50):
        batcher.submit("a", QueryContext(BOUND), service.job())
    assert time.monotonic() - began < BOUND / 2
    assert service.sizes == [1] * 50


def test_queries_that_come_while_a_request_is_in_flight_share_the_next() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a", "b", "c"])
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A", "B", "C"]
    assert service.requests == [["first"], ["a", "b", "c"]]


def test_only_queries_of_one_kind_share_a_request() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, [])
    for row, key in [("a", "x"), ("b", "y"), ("c", "x")]:
        callers.append(Caller(batcher, row, service.job(key)))
        wait_until(lambda: len(batcher._queue) == len(callers) - 1)
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A", "B", "C"]
    assert service.requests == [["first"], ["a", "c"], ["b"]]


def test_a_request_has_no_more_rows_than_the_service_takes() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, list("abcde"), service.job(max_rows=2))
    service.let_go()
    assert outcomes(callers)[1:] == list("ABCDE")
    assert service.sizes == [1, 2, 2, 1]


@pytest.mark.parametrize("most", [0, -3])
def test_a_senseless_number_of_rows_means_one(most: int) -> None:
    service, batcher = Service(), Batcher(Limiter())
    assert batcher.submit("a", QueryContext(BOUND), service.job(max_rows=most)) == "A"
    assert batcher.submit_all(["a", "b"], QueryContext(BOUND), service.job(max_rows=most)) == ["A", "B"]
    assert service.sizes == [1, 1, 1]


def test_a_request_stays_below_the_largest_body_and_a_row_too_large_goes_alone() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter(), body_limit=10)
    rows = ["a" * 4, "b" * 4, "c" * 4, "d" * 40, "e", "f"]
    callers = waiting_behind_one(batcher, service, rows)
    service.let_go()
    assert outcomes(callers)[1:] == [row.upper() for row in rows]
    assert service.requests[1:] == [[rows[0], rows[1]], [rows[2]], [rows[3]], [rows[4], rows[5]]]


@pytest.mark.parametrize("waiting", ["abcdef", "abcde"])
def test_there_are_never_more_requests_in_flight_than_the_limit_and_they_share_the_callers(
    waiting: str,
) -> None:
    # A clock by hand, or who was just answered may be waited for no more by the time that the next request is made.
    clock = Clock()
    service, batcher = Service(hold=True), Batcher(Limiter(2), clock=clock)
    callers = [Caller(batcher, "first", service.job()), Caller(batcher, "second", service.job())]
    wait_until(lambda: service.in_flight == 2)
    for row in waiting:
        callers.append(Caller(batcher, row, service.job()))
        wait_until(lambda: len(batcher._queue) == len(callers) - 2)
    service.let_go(1)
    wait_until(lambda: len(service.sizes) == 3)
    assert service.sizes[2] == 4, "half of eight callers, and the larger half of seven"
    service.let_go()

    def all_have_ended() -> bool:
        clock.now += 1  # nobody comes back
        return not any(caller.is_alive() for caller in callers)

    wait_until(all_have_ended)
    assert outcomes(callers)[2:] == list(waiting.upper())
    assert service.most_in_flight == 2


def test_callers_who_trickle_back_do_not_hold_a_request_without_end() -> None:
    """Each who comes renews the wait for the others, until four times its length is over since the last answer."""
    clock = Clock()
    service, batcher = Service(hold=True), Batcher(Limiter(), clock=clock, regroup_seconds=0.003)
    callers = waiting_behind_one(batcher, service, list("abcdefgh"))
    service.let_go(1)
    callers[0].result()
    clock.now += 1  # the first does not come back
    wait_until(lambda: service.sizes == [1, 8])
    service.let_go(1)
    outcomes(callers)
    back = []
    for row in "ijkl":
        clock.now += 0.0029
        back.append(Caller(batcher, row, service.job()))
        wait_until(lambda: len(batcher._queue) == len(back))
    assert service.sizes == [1, 8]
    clock.now += 0.0005
    wait_until(lambda: service.sizes == [1, 8, 4])
    service.let_go()
    assert outcomes(back) == list("IJKL")


def test_a_higher_limit_is_used_from_the_next_query_on() -> None:
    service, limiter = Service(hold=True), Limiter(1)
    batcher = Batcher(limiter)
    callers = waiting_behind_one(batcher, service, ["a"])
    limiter.resize(2)
    callers.append(Caller(batcher, "b", service.job()))
    wait_until(lambda: service.in_flight == 2)
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A", "B"]


def test_the_callers_just_answered_are_waited_for() -> None:
    """Otherwise the requests would hold one caller, and all but one, in turns."""
    service, batcher = Service(hold=True), Batcher(Limiter(), regroup_seconds=BOUND)

    def ask(times: int) -> None:
        for _ in range(times):
            batcher.submit("a", QueryContext(BOUND), service.job())

    threads = [
        threading.Thread(target=ask, args=(11,)),
        *(threading.Thread(target=ask, args=(10,)) for _ in "1234567"),
    ]
    threads[0].start()
    wait_until(lambda: service.in_flight == 1)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(batcher._queue) == 7)
    service.let_go()
    for thread in threads:
        thread.join(BOUND)
        assert not thread.is_alive()
    assert service.sizes == [1] + [8] * 10


def test_callers_who_do_not_come_back_are_waited_for_a_moment_only() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter(), regroup_seconds=0.05)
    callers = waiting_behind_one(batcher, service, ["a", "b"])
    service.let_go()
    outcomes(callers)
    began = time.monotonic()
    batcher.submit("c", QueryContext(BOUND), service.job())
    assert time.monotonic() - began < BOUND / 2
    assert service.requests[-1] == ["c"]


def test_a_flood_of_one_user_does_not_starve_another() -> None:
    limiter, service = Limiter(1), Service(hold=True)

    def send(rows: Sequence[str], call: QueryContext) -> list[str]:
        limiter.acquire(call)
        try:
            return service.send(rows, call)
        finally:
            limiter.release()

    job = BatchSpec("job", send, 4, len)
    flood = waiting_behind_one(Batcher(limiter), service, list("abcdefgh"), job)
    lone = Caller(Batcher(limiter), "lone", job, QueryContext(BOUND, "another user"))
    wait_until(lambda: sum(map(len, limiter._waiting.values())) == 1)
    service.let_go()
    assert outcomes([lone, *flood]) == ["LONE", "FIRST", *"ABCDEFGH"]
    assert service.requests[1] == ["lone"]


# -- a refused request


@pytest.mark.parametrize("error", MAY_BE_ONE_ROWS_FAULT, ids=name)
def test_a_refused_request_is_split_until_only_the_bad_row_fails(error: SpcsError) -> None:
    service = Service(lambda rows: error if "bad" in rows else None, hold=True)
    batcher = Batcher(Limiter())
    rows = ["a", "b", "c", "bad", "e", "f", "g"]
    callers = waiting_behind_one(batcher, service, rows)
    service.let_go()
    results = outcomes(callers)[1:]
    assert type(results.pop(3)) is type(error)
    assert results == ["A", "B", "C", "E", "F", "G"]
    assert service.requests[1:3] == [rows, rows[:4]]


@pytest.mark.parametrize("error", IS_EVERYBODYS, ids=name)
def test_what_concerns_everybody_fails_everybody_at_once_each_with_an_error_of_its_own(
    error: SpcsError,
) -> None:
    service = Service(lambda rows: error if rows != ["first"] else None, hold=True)
    callers = waiting_behind_one(Batcher(Limiter()), service, ["a", "b", "c"])
    service.let_go()
    results = outcomes(callers)[1:]
    assert [str(result) for result in results] == [str(error)] * 3
    assert len({id(result) for result in results}) == 3
    assert service.sizes == [1, 3]


def quoting(words: str) -> ServiceDown:
    error = ServiceDown(
        "The service does not answer (HTTP 503).", "Read its logs.", status=503, request_id="r-1"
    )
    error.quote(words)
    return error


def test_what_a_server_says_of_a_request_of_several_callers_is_told_to_none_of_them() -> None:
    """It may quote the text of any of them, in a form that no mask knows."""
    service = Service(lambda rows: quoting("cannot say emordnilap") if rows != ["first"] else None, hold=True)
    callers = waiting_behind_one(Batcher(Limiter()), service, ["a", "b", "c"])
    service.let_go()
    results = outcomes(callers)[1:]
    told = "[service] The service does not answer (HTTP 503). (request id r-1) Read its logs."
    assert [str(result) for result in results] == [told] * 3
    for caller in callers[1:]:
        assert "emordnilap" not in repr(caller.call.steps)
        assert caller.call.last_error is None or "emordnilap" not in str(caller.call.last_error)


def test_what_it_says_of_a_callers_own_rows_is_told() -> None:
    def send(rows: Sequence[str], call: QueryContext) -> list[str | SpcsError]:
        raise quoting("the queue is full")

    job = BatchSpec("k", send, 64, len)
    with pytest.raises(ServiceDown, match="the queue is full"):
        Batcher(Limiter()).submit("a", QueryContext(BOUND), job)
    rows = Batcher(Limiter()).submit_all(["a", "b"], QueryContext(BOUND), job)
    assert all("the queue is full" in str(row) for row in rows)


def test_a_timeout_tells_others_nothing_of_what_the_server_said() -> None:
    context = QueryContext(BOUND)
    context.last_error = quoting("cannot say emordnilap")
    timeout = context.timeout("waiting to try again")
    assert "emordnilap" in str(timeout)
    assert "emordnilap" not in str(timeout.without_quotation())
    assert "does not answer" in str(timeout.without_quotation())


def test_an_error_in_place_of_a_result_is_that_rows() -> None:
    def send(rows: Sequence[str], call: QueryContext) -> list[str | SpcsError]:
        return [ModelError("NaN") if row == "b" else row.upper() for row in rows]

    batcher = Batcher(Limiter())
    job = BatchSpec("k", send, 64, len)
    first, second, third = batcher.submit_all(["a", "b", "c"], QueryContext(BOUND), job)
    assert (first, type(second), third) == ("A", ModelError, "C")


@pytest.mark.parametrize("alone", [True, False], ids=["has one alone", "has none"])
def test_a_text_without_a_usable_vector_among_others_is_asked_for_by_itself(alone: bool) -> None:
    """Some models return NaN for texts that are padded to the length of another."""
    requests: list[list[str]] = []

    def send(rows: Sequence[str], call: QueryContext) -> list[str | SpcsError]:
        requests.append(list(rows))
        spoiled = len(rows) > 1 or not alone
        return [UnusableVector("NaN") if row == "b" and spoiled else row.upper() for row in rows]

    found = Batcher(Limiter()).submit_all(["a", "b", "c"], QueryContext(BOUND), BatchSpec("k", send, 64, len))
    assert [found[0], found[2]] == ["A", "C"]
    assert found[1] == "B" if alone else isinstance(found[1], UnusableVector)
    assert requests == [["a", "b", "c"], ["b"]]


def test_texts_none_of_which_has_a_usable_vector_are_not_asked_for_again() -> None:
    requests: list[list[str]] = []

    def send(rows: Sequence[str], call: QueryContext) -> list[SpcsError]:
        requests.append(list(rows))
        return [UnusableVector("zeros") for _ in rows]

    found = Batcher(Limiter()).submit_all(["a", "b"], QueryContext(BOUND), BatchSpec("k", send, 64, len))
    assert all(isinstance(result, UnusableVector) for result in found)
    assert len(requests) == 1


def test_a_caller_whose_row_is_asked_for_by_itself_waits_for_it() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())

    def send(rows: Sequence[str], call: QueryContext) -> list[Any]:
        answers = service.send(rows, call)
        return [
            UnusableVector("NaN") if row == "b" and len(rows) > 1 else answers[at]
            for at, row in enumerate(rows)
        ]

    job = BatchSpec("k", send, 64, len)
    callers = waiting_behind_one(batcher, service, ["a", "b", "c"], job)
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A", "B", "C"]
    assert service.requests == [["first"], ["a", "b", "c"], ["b"]]


def test_the_halves_are_sent_side_by_side_where_the_limit_allows() -> None:
    together = threading.Barrier(2)

    def refuse(rows: Sequence[str]) -> BaseException | None:
        if len(rows) == 4:
            return RequestTooLarge("too large")
        if len(rows) == 2:
            together.wait(BOUND)
        return None

    service, limiter = Service(refuse, hold=True), Limiter(1)
    callers = waiting_behind_one(Batcher(limiter), service, list("abcd"))
    service.let_go(1)
    wait_until(lambda: service.sizes == [1, 4])
    limiter.resize(2)
    service.let_go()
    assert outcomes(callers)[1:] == list("ABCD")


@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_service_that_gives_another_number_of_results_never_gives_a_neighbours(given: int) -> None:
    def send(rows: Sequence[str], call: QueryContext) -> list[str]:
        return ["X"] * given if len(rows) == 2 else [row.upper() for row in rows]

    assert Batcher(Limiter()).submit_all(["a", "b"], QueryContext(BOUND), BatchSpec("k", send, 64, len)) == [
        "A",
        "B",
    ]


def test_a_service_that_gives_two_results_for_one_row_is_told_so() -> None:
    job = BatchSpec("k", lambda rows, call: [*rows, "more"], 64, len)
    with pytest.raises(ModelError, match="2 results for 1"):
        Batcher(Limiter()).submit("a", QueryContext(BOUND), job)


# -- the size that works is remembered


def too_many(most: int, error: SpcsError) -> Service:
    return Service(lambda rows: error if len(rows) > most else None)


@pytest.mark.parametrize(
    "error", [RequestTooLarge("m"), BadRequest("batch size"), ServiceDown("cut", status=504)], ids=name
)
def test_the_size_that_worked_is_kept_after_a_refusal_for_size(error: SpcsError) -> None:
    service, batcher = too_many(8, error), Batcher(Limiter())
    rows = [str(i) for i in range(64)]
    assert batcher.submit_all(rows, QueryContext(BOUND), service.job(max_rows=32)) == rows
    assert service.sizes == [32, 16, 8, 8, 16, 8, 8, 8, 8, 8, 8]


def test_it_is_each_kind_of_requests_own() -> None:
    service, batcher = too_many(2, RequestTooLarge("m")), Batcher(Limiter())
    batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job("one"))
    batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job("one"))
    batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job("other"))
    assert service.sizes == [4, 2, 2, 2, 2, 4, 2, 2]


def test_the_sizes_of_only_so_many_kinds_are_remembered() -> None:
    sizes = BatchSizes(Clock())
    for key in range(300):
        for _ in range(2):
            sizes.half_accepted(key, Refusal(RequestTooLarge("m"), 8, 0.1, accepted_halves=1))
    remembered = [key for key in range(300) if sizes.most_rows(key, 64) == 4]
    assert remembered == list(range(44, 300))


def test_it_grows_back_after_ten_minutes() -> None:
    clock = Clock()
    service, batcher = too_many(2, RequestTooLarge("m")), Batcher(Limiter(), clock=clock)
    job = service.job(max_rows=4)
    batcher.submit_all(list("abcd"), QueryContext(BOUND), job)
    clock.now += 599
    batcher.submit_all(list("abcd"), QueryContext(BOUND), job)
    assert service.sizes == [4, 2, 2, 2, 2]
    clock.now += 2
    batcher.submit_all(list("abcd"), QueryContext(BOUND), job)
    assert service.sizes[5:] == [4, 2, 2]


def test_it_grows_back_later_where_a_refusal_takes_long() -> None:
    clock = Clock()

    def refuse(rows: Sequence[str]) -> BaseException | None:
        if len(rows) < 4:
            return None
        clock.now += 90
        return NetworkError("silence", silent=True)

    service, batcher = Service(refuse), Batcher(Limiter(), clock=clock)
    batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job(max_rows=4))
    clock.now += 8999
    batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job(max_rows=4))
    assert service.sizes == [4, 2, 2, 2, 2]


def test_one_bad_row_does_not_make_requests_smaller() -> None:
    service = Service(lambda rows: RequestTooLarge("m") if "bad" in rows else None)
    batcher = Batcher(Limiter())
    batcher.submit_all(["a", "bad", "c", "d"], QueryContext(BOUND), service.job())
    before = len(service.requests)
    batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job())
    assert service.sizes[before:] == [4]


def test_a_passing_failure_of_the_model_does_not_make_requests_smaller() -> None:
    failures = [ServiceError("once", status=500)]
    service = Service(lambda rows: failures.pop() if failures else None)
    batcher = Batcher(Limiter())
    assert batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job()) == list("ABCD")
    batcher.submit_all(list("abcd"), QueryContext(BOUND), service.job())
    assert service.sizes == [4, 2, 2, 4]


# -- time


def test_a_query_whose_time_is_up_while_it_waits_is_never_sent() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, [])
    impatient = Caller(batcher, "a", service.job(), ImpatientCall())
    wait_until(lambda: len(batcher._queue) == 1)
    impatient.call.give_up()
    assert "waiting for other requests" in str(impatient.result())
    callers.append(Caller(batcher, "b", service.job()))
    service.let_go()
    assert outcomes(callers) == ["FIRST", "B"]
    assert service.requests == [["first"], ["b"]]


def test_a_query_without_time_is_not_sent_at_all() -> None:
    service = Service()
    with pytest.raises(QueryTimeout):
        Batcher(Limiter()).submit("a", QueryContext(-1), service.job())
    (error,) = Batcher(Limiter()).submit_all(["a"], QueryContext(0), service.job())
    assert isinstance(error, QueryTimeout)
    assert service.requests == []


def test_the_caller_with_most_time_sends_for_all() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, [])
    for seconds in (700, 900, 800):
        callers.append(Caller(batcher, str(seconds), service.job(), QueryContext(seconds)))
    wait_until(lambda: len(batcher._queue) == 3)
    service.let_go()
    outcomes(callers)
    assert service.senders[1] == callers[2].ident
    assert service.calls[1].deadline == callers[2].call.deadline
    assert service.calls[1].seconds == 900


def test_a_query_whose_time_is_up_in_flight_leaves_alone() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a"])
    impatient = Caller(batcher, "b", service.job(), ImpatientCall())
    wait_until(lambda: len(batcher._queue) == 2)
    service.let_go(1)
    wait_until(lambda: service.sizes == [1, 2])
    service.calls[1].last_error = ServiceBusy("The service is busy.", status=429)
    impatient.call.give_up()
    error = impatient.result()
    assert isinstance(error, QueryTimeout)
    assert "after 1 attempt" in str(error)
    assert "The service is busy." in str(error)
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A"]


def test_the_half_of_a_refused_request_is_not_sent_for_those_who_left() -> None:
    service = Service(lambda rows: BadRequest("no") if len(rows) > 1 else None, hold=True)
    batcher = Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a"])
    impatient = Caller(batcher, "b", service.job(), ImpatientCall())
    wait_until(lambda: len(batcher._queue) == 2)
    service.let_go(1)
    wait_until(lambda: service.sizes == [1, 2])
    impatient.call.give_up()
    assert isinstance(impatient.result(), QueryTimeout)
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A"]
    assert service.requests[2:] == [["a"]]


def test_a_row_whose_half_waits_is_told_so_when_its_time_is_up() -> None:
    service = Service(lambda rows: BadRequest("no") if len(rows) > 1 else None, hold=True)
    batcher = Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a"])
    impatient = Caller(batcher, "b", service.job(), ImpatientCall())
    wait_until(lambda: len(batcher._queue) == 2)
    service.let_go(2)  # the first, and the request of both, which is refused
    wait_until(lambda: service.requests[2:] == [["a"]])
    impatient.call.give_up()
    error = impatient.result()
    assert isinstance(error, QueryTimeout)
    assert "'Max parallelism'" in str(error)
    assert impatient.call.attempts == 1
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A"]


def test_a_caller_with_little_time_leaves_in_the_midst_of_regrouping() -> None:
    service, limiter = Service(hold=True), Limiter(3)
    batcher = Batcher(limiter, regroup_seconds=BOUND)
    callers = [Caller(batcher, row, service.job()) for row in "abc"]
    wait_until(lambda: service.in_flight == 3)
    service.let_go()
    outcomes(callers)
    limiter.resize(1)  # now a request would have a share of three, of whom two do not come back
    began = time.monotonic()
    with pytest.raises(QueryTimeout):
        batcher.submit("d", QueryContext(0.05), service.job())
    assert time.monotonic() - began < BOUND / 2
    assert len(service.requests) == 3


# -- what must not happen, and does


@pytest.mark.parametrize("blow", [ZeroDivisionError("bug"), KeyboardInterrupt()], ids=["bug", "interrupt"])
def test_a_sender_that_breaks_off_leaves_nobody_waiting(blow: BaseException) -> None:
    service = Service(lambda rows: blow if "a" in rows else None, hold=True)
    batcher = Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a", "b", "c"])
    service.let_go()
    results = outcomes(callers)[1:]
    assert results[2] is blow, "whose thread sent has the blow itself"
    assert [type(result) for result in results[:2]] == [SpcsError, SpcsError]
    assert type(blow).__name__ in str(results[0])
    assert batcher.submit("d", QueryContext(BOUND), service.job()) == "D"


class Interrupted(QueryContext):
    """Once armed, a KeyboardInterrupt strikes its thread when that looks at the clock, at least every `seconds`."""

    __slots__ = ("armed",)

    def remaining(self) -> float:
        if getattr(self, "armed", False):
            raise KeyboardInterrupt
        return self.seconds


def test_a_caller_interrupted_while_it_waits_does_not_hold_the_others() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, [])
    interrupted = Caller(batcher, "a", service.job(), Interrupted(0.02))
    wait_until(lambda: len(batcher._queue) == 1)
    interrupted.call.armed = True
    assert isinstance(interrupted.result(), KeyboardInterrupt)
    callers.append(Caller(batcher, "b", service.job()))
    service.let_go()
    assert outcomes(callers) == ["FIRST", "B"]
    assert service.requests == [["first"], ["b"]]


def test_a_sender_interrupted_before_it_sends_is_replaced() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a"])
    sender = Caller(batcher, "b", service.job(), Interrupted(100 * BOUND))
    wait_until(lambda: len(batcher._queue) == 2)
    sender.call.armed = True
    service.let_go()
    assert outcomes(callers) == ["FIRST", "A"]
    assert isinstance(sender.result(), KeyboardInterrupt)
    assert service.requests == [["first"], ["a"]]


# -- what it took, shared out


def test_each_row_bears_its_share_of_a_shared_request() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a", "b", "c", "d"])
    service.let_go(1)
    wait_until(lambda: service.sizes == [1, 4])
    shared = service.calls[1]
    shared.busy_seconds = 1.0
    shared.record_step("SPCS_REQUEST", 0.0, 0.5, queries=4)
    service.let_go()
    outcomes(callers)
    for caller in callers[1:]:
        assert caller.call.busy_seconds == 0.25
        assert caller.call.attempts == 1
        assert [step.attributes for step in caller.call.steps] == [{"queries": 4}]


def test_who_has_left_is_not_charged_and_the_others_bear_it_all() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    callers = waiting_behind_one(batcher, service, ["a", "b"])
    impatient = Caller(batcher, "c", service.job(), ImpatientCall())
    wait_until(lambda: len(batcher._queue) == 3)
    service.let_go(1)
    wait_until(lambda: service.sizes == [1, 3])
    impatient.call.give_up()
    impatient.result()
    service.calls[1].busy_seconds = 1.0
    service.let_go()
    outcomes(callers)
    assert [caller.call.busy_seconds for caller in [*callers[1:], impatient]] == [0.5, 0.5, 0.0]


def test_a_row_of_a_refused_request_bears_its_share_of_each_request_it_was_in() -> None:
    def refuse(rows: Sequence[str]) -> BaseException | None:
        service.calls[-1].busy_seconds += 1.0
        return BadRequest("no") if "bad" in rows else None

    service = Service(refuse, hold=True)
    callers = waiting_behind_one(Batcher(Limiter()), service, ["a", "b", "c", "bad"])
    service.let_go()
    outcomes(callers)
    assert [caller.call.busy_seconds for caller in callers[1:]] == [0.75, 0.75, 1.75, 1.75]
    assert [caller.call.attempts for caller in callers[1:]] == [2, 2, 3, 3]


# -- one query of many texts


def test_many_rows_are_answered_in_their_order_by_few_requests() -> None:
    service = Service()
    rows = [f"row{i}" for i in range(10)]
    call = QueryContext(BOUND)
    assert Batcher(Limiter()).submit_all(rows, call, service.job(max_rows=4)) == [r.upper() for r in rows]
    assert service.requests == [rows[:4], rows[4:8], rows[8:]]
    assert call.attempts == 3


def test_no_rows_are_no_request() -> None:
    service = Service()
    assert Batcher(Limiter()).submit_all([], QueryContext(BOUND), service.job()) == []
    assert service.requests == []


def test_many_rows_stay_below_the_largest_body() -> None:
    service = Service()
    rows = ["a" * 6, "b" * 4, "c", "d" * 30, "e"]
    assert Batcher(Limiter(), body_limit=10).submit_all(rows, QueryContext(BOUND), service.job()) == [
        row.upper() for row in rows
    ]
    assert service.requests == [rows[:2], rows[2:3], rows[3:4], rows[4:]]


def test_bad_rows_among_many_fail_alone() -> None:
    service = Service(lambda rows: BadRequest("no") if "bad" in rows else None)
    results = Batcher(Limiter()).submit_all(["a", "bad", "c", "bad"], QueryContext(BOUND), service.job())
    assert [type(result).__name__ for result in results] == ["str", "BadRequest", "str", "BadRequest"]


def test_an_outage_is_met_once_not_by_each_request_of_the_query() -> None:
    service = Service(lambda rows: ServiceDown("down", status=503) if "c" in rows else None)
    results = Batcher(Limiter()).submit_all(list("abcdefgh"), QueryContext(BOUND), service.job(max_rows=2))
    assert results[:2] == ["A", "B"]
    assert [type(result) for result in results[2:]] == [ServiceDown] * 6
    assert service.requests == [["a", "b"], ["c", "d"]]


def test_single_queries_take_turns_with_a_query_of_many_texts() -> None:
    service, batcher = Service(hold=True), Batcher(Limiter())
    rows = [f"row{i}" for i in range(6)]
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.extend(batcher.submit_all(rows, QueryContext(BOUND), service.job(max_rows=2)))
    )
    thread.start()
    wait_until(lambda: service.in_flight == 1)
    callers = [Caller(batcher, row, service.job()) for row in "ab"]
    wait_until(lambda: len(batcher._queue) == 2)
    service.let_go()
    assert sorted(map(str, outcomes(callers))) == ["A", "B"]
    thread.join(BOUND)
    assert results == [row.upper() for row in rows]
    assert sorted(service.requests[1]) == ["a", "b"]
