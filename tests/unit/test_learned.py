"""What was learnt of a service holds for some minutes, and is never lost to a lesson that came in between."""

from __future__ import annotations

import threading

from spcs_llm.sharing.learned import LESSON_SECONDS, Learned
from tests.clock import Clock


def test_a_value_is_assumed_until_another_is_learnt_and_again_some_minutes_later() -> None:
    clock = Clock()
    learned = Learned("assumed", clock=clock)
    assert (learned.value, learned.is_known) == ("assumed", False)
    learned.learn("other")
    clock.now += LESSON_SECONDS - 0.001
    assert (learned.value, learned.is_known) == ("other", True)
    clock.now += 0.002
    assert (learned.value, learned.is_known) == ("assumed", False)


def test_the_same_lesson_holds_longer_when_it_is_learnt_again() -> None:
    clock = Clock()
    learned = Learned(1, seconds=60, clock=clock)
    learned.learn(2)
    clock.now += 50
    learned.learn(2)
    clock.now += 50
    assert learned.value == 2


def test_only_the_lesson_that_proved_wrong_is_forgotten() -> None:
    learned = Learned(0)
    learned.learn(1)
    learned.learn(2)
    learned.forget(1)
    assert learned.value == 2
    learned.forget(2)
    assert (learned.value, learned.is_known) == (0, False)


def test_a_lesson_may_be_that_there_is_none() -> None:
    learned: Learned[str | None] = Learned("assumed")
    learned.learn(None)
    assert (learned.value, learned.is_known) == (None, True)


def test_a_change_starts_from_what_is_assumed_once_a_lesson_no_longer_holds() -> None:
    clock = Clock()
    learned: Learned[frozenset[str]] = Learned(frozenset(), seconds=60, clock=clock)
    learned.update(lambda names: names | {"a"})
    assert learned.update(lambda names: names | {"b"}) == {"a", "b"}
    clock.now += 61
    assert learned.update(lambda names: names | {"c"}) == {"c"}


def test_no_change_is_lost_among_threads() -> None:
    learned = Learned(0)
    start = threading.Barrier(8)

    def count() -> None:
        start.wait(10)
        for _ in range(500):
            learned.update(lambda value: value + 1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert learned.value == 8 * 500
