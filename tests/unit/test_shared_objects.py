"""Objects that all who name the same key share: as long as somebody uses them, and a while longer."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

from spcs_llm.sharing.shared_objects import SharedObjects


class Thing:
    pass


def test_one_key_is_one_object() -> None:
    things: SharedObjects[str, Thing] = SharedObjects(2)
    assert things.get("a", Thing) is things.get("a", Thing)
    assert things.get("a", Thing) is not things.get("b", Thing)


def test_what_is_used_is_never_made_again_however_many_come_after_it() -> None:
    things: SharedObjects[int, Thing] = SharedObjects(2)
    used = things.get(0, Thing)
    for number in range(1, 50):
        things.get(number, Thing)
    assert things.get(0, Thing) is used


def test_what_nobody_uses_is_kept_until_others_came() -> None:
    things: SharedObjects[int, Thing] = SharedObjects(2)
    unused = weakref.ref(things.get(0, Thing))
    things.get(1, Thing)
    gc.collect()
    assert unused() is not None
    things.get(0, Thing)
    things.get(2, Thing)  # the second of them has to go, which was asked for before the first
    gc.collect()
    assert unused() is not None
    things.get(3, Thing)
    gc.collect()
    assert unused() is None


def test_a_second_key_may_stand_for_an_object() -> None:
    things: SharedObjects[str, Thing] = SharedObjects(8)
    first, second = things.get("first", Thing), things.get("second", Thing)
    assert things.put("alias", first) is first
    assert things.get("alias", Thing) is first
    assert things.put("second", first) is second, "what somebody uses under a key stays"


def test_an_object_that_takes_long_to_make_keeps_nobody_from_another() -> None:
    things: SharedObjects[str, Thing] = SharedObjects(8)
    made, may_end = threading.Event(), threading.Event()

    def slow() -> Thing:
        made.set()
        assert may_end.wait(10)
        return Thing()

    with ThreadPoolExecutor(1) as pool:
        slow_one = pool.submit(things.get, "slow", slow)
        assert made.wait(10)
        things.get("other", Thing)
        quick = things.get("slow", Thing)
        may_end.set()
        assert slow_one.result(10) is quick, "the first that was there is everybody's"


def test_the_end_of_an_object_may_ask_for_another() -> None:
    things: SharedObjects[str, object] = SharedObjects(1)

    class Asking:
        def __del__(self) -> None:
            things.get("c", Thing)

    things.get("a", Asking)
    things.get("b", Thing)
    assert things.get("c", Thing) is things.get("c", Thing)


def test_many_threads_get_one_object() -> None:
    things: SharedObjects[str, Thing] = SharedObjects(1)
    start = threading.Barrier(16)

    def ask() -> Thing:
        start.wait(10)
        return things.get("a", Thing)

    with ThreadPoolExecutor(16) as pool:
        got = [each.result(10) for each in [pool.submit(ask) for _ in range(16)]]
    assert len(set(map(id, got))) == 1
