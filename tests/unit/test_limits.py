"""How many requests are in flight, and whose turn it is."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import pytest

from spcs_llm.errors import QueryTimeout
from spcs_llm.http.limits import Limiter
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_service import BOUND, ImpatientCall, wait_until


class Waiter(threading.Thread):
    """Acquires a slot and keeps it; `order` tells who got theirs when."""

    def __init__(
        self, limiter: Limiter, name: str, order: list[str], call: QueryContext | None = None
    ) -> None:
        super().__init__(daemon=True)
        self.call = call or QueryContext(BOUND, name[0])
        self.error: BaseException | None = None
        self._asked = (limiter, name, order)
        self.start()

    def run(self) -> None:
        limiter, name, order = self._asked
        try:
            limiter.acquire(self.call)
            order.append(name)
        except BaseException as error:  # noqa: BLE001
            self.error = error


def waiting(limiter: Limiter) -> int:
    return sum(map(len, limiter._waiting.values()))


def queue_up(limiter: Limiter, names: list[str]) -> tuple[list[str], list[Waiter]]:
    order: list[str] = []
    waiters = []
    for name in names:
        waiters.append(Waiter(limiter, name, order))
        wait_until(lambda: waiting(limiter) == len(waiters))
    return order, waiters


def full(limit: int) -> Limiter:
    limiter = Limiter(limit)
    for _ in range(limit):
        limiter.acquire(QueryContext(BOUND))
    return limiter


def test_as_many_as_the_limit_have_a_slot_at_once_and_the_next_waits_for_one() -> None:
    limiter = full(2)
    order, _ = queue_up(limiter, ["next"])
    assert (limiter.in_flight, order) == (2, [])
    limiter.release()
    wait_until(lambda: order == ["next"])
    assert limiter.in_flight == 2


def test_users_take_turns_and_each_users_calls_keep_their_order() -> None:
    limiter = full(1)
    order, _ = queue_up(limiter, ["a1", "a2", "a3", "a4", "b1", "b2", "c1"])
    for count in range(7):
        limiter.release()
        wait_until(lambda: len(order) == count + 1)  # noqa: B023
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    limiter = full(1)
    order, _ = queue_up(limiter, ["a1"])
    limiter.release()
    with pytest.raises(QueryTimeout, match="Max parallelism"):
        limiter.acquire(QueryContext(0.01, "b"))
    wait_until(lambda: order == ["a1"])


def test_a_higher_limit_lets_waiting_calls_in_at_once() -> None:
    limiter = full(1)
    order, _ = queue_up(limiter, ["a1", "a2", "a3"])
    limiter.resize(3)
    wait_until(lambda: len(order) == 2)
    assert (limiter.limit, limiter.in_flight, waiting(limiter)) == (3, 3, 1)


def test_a_lower_limit_lets_nobody_in_until_enough_have_ended() -> None:
    limiter = full(3)
    order, _ = queue_up(limiter, ["a1"])
    limiter.resize(1)
    limiter.release()
    limiter.release()
    assert (limiter.in_flight, waiting(limiter)) == (1, 1)
    limiter.release()
    wait_until(lambda: order == ["a1"])


def test_a_call_whose_time_is_up_leaves_and_its_turn_goes_to_the_next() -> None:
    limiter = full(1)
    order, _ = queue_up(limiter, ["a1"])
    impatient = Waiter(limiter, "a2", order, ImpatientCall())
    impatient.join(BOUND)
    assert isinstance(impatient.error, QueryTimeout)
    limiter.release()
    wait_until(lambda: order == ["a1"])
    limiter.release()
    assert limiter.in_flight == 0


def test_a_slot_given_in_the_moment_of_giving_up_goes_to_the_next() -> None:
    limiter = full(1)
    order: list[str] = []

    class Late(QueryContext):
        """The slot is given while it computes how long to wait, and it has no time left to take it."""

        def remaining(self) -> float:
            Waiter(limiter, "next", order)
            wait_until(lambda: limiter.waiting == 2)
            limiter.release()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        limiter.acquire(Late(BOUND))
    wait_until(lambda: order == ["next"])
    assert (limiter.in_flight, limiter.waiting) == (1, 0)
    limiter.release()
    assert limiter.in_flight == 0


def test_an_interrupted_call_leaves_the_queue() -> None:
    limiter = full(1)

    class Broken(QueryContext):
        def remaining(self) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        limiter.acquire(Broken(BOUND))
    limiter.release()
    assert (limiter.in_flight, waiting(limiter)) == (0, 0)


@pytest.mark.sample(1)
@pytest.mark.parametrize("limits", [[1], [3], [1, 2, 5]], ids=str)
def test_under_stress_there_are_never_more_than_the_limit_and_no_slot_is_lost(limits: list[int]) -> None:
    limiter, lock = Limiter(limits[0]), threading.Lock()
    in_flight = most = 0
    served: Counter[str] = Counter()
    timeouts: Counter[str] = Counter()
    end = time.monotonic() + 0.7

    def is_over() -> bool:
        now = time.monotonic()
        seen = served["lone"] > 50 and timeouts["flood"]  # enough to compare, however slow the machine is
        return now > (end if seen else end + BOUND)

    def use(user: str, seed: int) -> None:
        nonlocal in_flight, most
        choose = random.Random(seed)
        while not is_over():
            try:
                limiter.acquire(QueryContext(choose.choice((BOUND, 0.001, 0.0)), user))
            except QueryTimeout:
                timeouts[user] += 1
                continue
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            time.sleep(choose.choice((0, 0.0005)))
            with lock:
                in_flight -= 1
                served[user] += 1
            limiter.release()

    threads = [threading.Thread(target=use, args=("lone", 99))]
    threads += [threading.Thread(target=use, args=("flood", n)) for n in range(15)]
    for thread in threads:
        thread.start()
    choose_limit = random.Random(1)
    while not is_over():
        limiter.resize(choose_limit.choice(limits))
        time.sleep(0.005)
    for thread in threads:
        thread.join(BOUND)
        assert not thread.is_alive()
    assert 1 <= most <= max(limits)
    assert (limiter.in_flight, waiting(limiter)) == (0, 0)
    assert timeouts["flood"]
    assert served["lone"] > served["flood"] / 15, (
        "one caller of its own user is served more often than one of many"
    )
