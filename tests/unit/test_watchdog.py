"""The watchdog keeps every query's time limit, whatever happens to one of them, or to its own thread."""

from __future__ import annotations

import threading
import time

import pytest

from spcs_llm.errors import NetworkError, SpcsError
from spcs_llm.http.exchange import Exchange
from spcs_llm.http.watchdog import Watchdog


class Watched:
    def __init__(self, seconds: float, fails: bool = False) -> None:
        self.until = time.monotonic() + seconds
        self.was_cut = threading.Event()
        self._fails = fails

    def cut_off(self) -> None:
        self.was_cut.set()
        if self._fails:
            raise RuntimeError("whatever")


def test_one_that_cannot_be_ended_keeps_no_other_from_its_end(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog()
    broken, other = Watched(0.01, fails=True), Watched(0.02)
    watchdog.watch(broken)
    watchdog.watch(other)
    assert broken.was_cut.wait(20)
    assert other.was_cut.wait(20)
    later = Watched(0.01)
    watchdog.watch(later)
    assert later.was_cut.wait(20)
    assert "whatever" not in caplog.text


def test_a_thread_that_cannot_be_started_fails_the_query_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watchdog = Watchdog()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        for _ in range(2):
            with pytest.raises(SpcsError, match="cannot start another thread"):
                watchdog.watch(Watched(0.01))
    watched = Watched(0.01)
    watchdog.watch(watched)
    assert watched.was_cut.wait(20)


def test_a_thread_that_has_died_is_replaced() -> None:
    watchdog = Watchdog()
    first = Watched(0.01)
    watchdog.watch(first)
    assert first.was_cut.wait(20)
    dead = threading.Thread()
    dead.start()
    dead.join()
    watchdog._thread = dead
    second = Watched(0.01)
    watchdog.watch(second)
    assert second.was_cut.wait(20)


class Endless:
    """A body behind a connection that shows no socket, as that of a SOCKS proxy does."""

    chunked = False
    length = None

    def read1(self, size: int) -> bytes:
        return b"x"

    def close(self) -> None:
        pass


class Response:
    status_code = 200
    headers: dict[str, str] = {}

    def __init__(self) -> None:
        self.raw = self
        self._fp = Endless()

    def close(self) -> None:
        pass


def test_an_exchange_without_a_socket_ends_all_the_same() -> None:
    exchange = Exchange("host.example", 10, 10)
    exchange.answered(Response())  # type: ignore[arg-type]
    chunks = exchange.chunks()
    assert next(chunks) == b"x"
    exchange.cut_off()
    with pytest.raises(NetworkError, match="time expired"):
        next(chunks)
    exchange.close()


def test_what_may_still_follow_an_answer_has_a_moment_to_come() -> None:
    exchange = Exchange("host.example", 10, 10)
    exchange.answered(Response())  # type: ignore[arg-type]
    chunks = exchange.chunks()
    assert next(chunks) == b"x"
    exchange.expect_end(0.0)
    with pytest.raises(NetworkError):
        list(chunks)
    exchange.close()
