"""The life of a token that many threads use. Time stands still unless a test moves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from spcs_llm.errors import LoginError, NetworkError, QueryTimeout, ServiceDown, SpcsError, TokenRefused
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.token_cache import Token, TokenCache
from tests.clock import Clock
from tests.waiting import FAR_TOO_LONG, wait_for

REFUSED = TokenRefused("No.")


class ScriptedSignIn:
    """Grants tokens of `seconds` by name: login1, login2, ..., renewal1, ...; or does what a test puts in its way."""

    def __init__(self, clock: Clock, seconds: float = 3600) -> None:
        self._clock = clock
        self.seconds = seconds
        self.credentials = ["credential-1"]
        self.on_login: Callable[[str, QueryContext], object] = lambda credential, call: None
        self.on_renewal: Callable[[QueryContext], object] = lambda call: None
        self.can_renew = True
        self.done: list[str] = []

    def credential(self) -> str:
        return self.credentials.pop(0) if len(self.credentials) > 1 else self.credentials[0]

    def log_in(self, credential: str, call: QueryContext) -> Token:
        since = self._clock()
        self.done.append("login")
        self.on_login(credential, call)
        return self._token("login", since)

    def renew(self, token: Token, call: QueryContext) -> Token | None:
        if not self.can_renew:
            return None
        since = self._clock()
        self.done.append("renewal")
        self.on_renewal(call)
        return self._token("renewal", since)

    def _token(self, way: str, since: float) -> Token:
        return Token.lasting({"Authorization": f"{way}{self.done.count(way)}"}, self.seconds, since)


def failing(*errors: SpcsError | None) -> Callable[..., None]:
    """Raises one after the other, and the last one ever after; None lets pass."""
    left = list(errors)

    def fail(*_: Any) -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    return fail


class Life:
    def __init__(self, seconds: float = 3600) -> None:
        self.clock = Clock()
        self.sign_in = ScriptedSignIn(self.clock, seconds)
        self.tokens = TokenCache(self.sign_in, self.clock)

    def ask(self, seconds: float = FAR_TOO_LONG) -> str:
        return self.tokens.headers(QueryContext(seconds))["Authorization"]

    def refuse(self, token: str) -> bool:
        return self.tokens.refused({"Authorization": token}, REFUSED)

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds


@pytest.fixture
def life() -> Life:
    return Life()


def together(count: int, ask: Callable[[], Any]) -> list[Any]:
    """What `ask` gives to so many threads that begin at the same moment: results or errors."""
    barrier = threading.Barrier(count)

    def one(_: int) -> Any:
        barrier.wait(FAR_TOO_LONG)
        try:
            return ask()
        except SpcsError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count), timeout=60))


# -- life ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "margin"), [(3600, 60), (200, 60), (120, 60), (100, 50), (4, 2), (0.5, 0.25)]
)
def test_a_token_is_renewed_a_minute_before_its_end_or_at_half_its_life(
    seconds: float, margin: float
) -> None:
    life = Life(seconds)
    assert life.ask() == "login1"
    life.passes(seconds - margin - 0.001)
    assert life.ask() == "login1"
    life.passes(0.002)
    assert life.ask() == "renewal1"
    assert life.ask() == "renewal1"
    assert life.sign_in.done == ["login", "renewal"]


def test_a_token_that_nothing_renews_is_replaced_by_a_login(life: Life) -> None:
    life.ask()
    life.sign_in.can_renew = False
    life.passes(3600)
    assert life.ask() == "login2"


def test_a_token_that_is_over_when_it_comes_is_still_used_once() -> None:
    life = Life(seconds=1)
    life.sign_in.on_login = lambda credential, call: life.passes(2)
    assert life.ask() == "login1"
    assert life.sign_in.done == ["login"]


def test_a_fresh_token_costs_no_lock(life: Life) -> None:
    life.ask()
    with life.tokens._lock:
        assert life.ask() == "login1"


# -- refusal -------------------------------------------------------------------------------------------


def test_a_refused_token_is_replaced_once_for_all_and_by_a_login(life: Life) -> None:
    life.ask()
    assert all(life.refuse("login1") for _ in range(5))
    assert [life.ask() for _ in range(5)] == ["login2"] * 5
    assert life.sign_in.done == ["login", "login"]


def test_a_late_refusal_never_throws_away_a_newer_token(life: Life) -> None:
    life.ask()
    life.refuse("login1")
    assert life.ask() == "login2"
    assert life.refuse("login1") is True, "there is another to try"
    assert life.ask() == "login2"


def test_a_token_refused_while_it_is_being_renewed_is_not_kept(life: Life) -> None:
    life.ask()
    life.passes(3590)

    def refused_meanwhile(call: QueryContext) -> None:
        life.refuse("login1")
        raise NetworkError("down")

    life.sign_in.on_renewal = refused_meanwhile
    life.ask()
    assert life.ask() == "login2"


def test_a_new_token_that_comes_when_the_old_one_was_just_refused_is_kept(life: Life) -> None:
    life.ask()
    life.passes(3590)
    life.sign_in.on_renewal = lambda call: life.refuse("login1")
    assert life.ask() == "renewal1"
    assert life.ask() == "renewal1"


@pytest.mark.parametrize("code", ["390303", "390318"])
def test_a_refused_session_outlives_its_access_token_by_its_master_token(life: Life, code: str) -> None:
    life.ask()
    life.sign_in.on_login = failing(LoginError("over", code=code))
    life.refuse("login1")
    assert life.ask() == "renewal1"


def test_the_logins_reason_is_told_when_the_master_token_is_over_as_well(life: Life) -> None:
    life.ask()
    life.sign_in.on_login = failing(LoginError("sign in again", code="390318"))
    life.sign_in.can_renew = False
    life.refuse("login1")
    with pytest.raises(LoginError, match="sign in again"):
        life.ask()


# -- single flight -------------------------------------------------------------------------------------


def test_a_hundred_threads_make_one_login(life: Life) -> None:
    life.sign_in.on_login = lambda credential, call: time.sleep(0.05)
    assert together(100, life.ask) == ["login1"] * 100
    assert life.sign_in.done == ["login"]


def test_a_hundred_threads_whose_token_is_refused_make_one_login(life: Life) -> None:
    life.ask()

    def refused_and_asked_again() -> str:
        life.refuse("login1")
        return life.ask()

    assert together(100, refused_and_asked_again) == ["login2"] * 100
    assert life.sign_in.done == ["login", "login"]


def test_others_go_on_with_the_old_token_while_one_renews_it(life: Life) -> None:
    life.ask()
    life.passes(3590)
    renewing, done = threading.Event(), threading.Event()
    life.sign_in.on_renewal = lambda call: (renewing.set(), done.wait(FAR_TOO_LONG))
    with ThreadPoolExecutor(1) as pool:
        renewed = pool.submit(life.ask)
        assert renewing.wait(FAR_TOO_LONG)
        assert [life.ask() for _ in range(3)] == ["login1"] * 3
        done.set()
        assert renewed.result(FAR_TOO_LONG) == "renewal1"


def test_a_waiting_query_ends_with_its_own_time(life: Life) -> None:
    done = threading.Event()
    life.sign_in.on_login = lambda credential, call: done.wait(60)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(life.ask, 60)
        wait_for(lambda: life.sign_in.done)
        began = time.monotonic()
        with pytest.raises(QueryTimeout, match="signing in") as raised:
            life.ask(seconds=0.1)
        assert time.monotonic() - began < FAR_TOO_LONG
        assert raised.value.place == "login"
        done.set()
        assert leader.result(FAR_TOO_LONG) == "login1"


def test_when_the_leaders_own_time_is_up_another_takes_over(life: Life) -> None:
    first = threading.Event()

    def hang_once(credential: str, call: QueryContext) -> None:
        if len(life.sign_in.done) == 1:
            first.wait(FAR_TOO_LONG)
            raise call.timeout("signing in")

    life.sign_in.on_login = hang_once
    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(life.ask)
        wait_for(lambda: life.sign_in.done)
        others = [pool.submit(life.ask) for _ in range(3)]
        first.set()
        assert [other.result(FAR_TOO_LONG) for other in others] == ["login2"] * 3
        with pytest.raises(QueryTimeout):
            leader.result(FAR_TOO_LONG)
    assert life.sign_in.done == ["login", "login"]


def test_an_accident_in_the_leader_leaves_nobody_waiting(life: Life) -> None:
    def accident(credential: str, call: QueryContext) -> None:
        life.sign_in.on_login = lambda credential, call: None
        raise KeyError("a bug")

    life.sign_in.on_login = accident
    with pytest.raises(KeyError):
        life.ask()
    assert life.ask() == "login2"


# -- failures ------------------------------------------------------------------------------------------


def test_a_failure_is_shared_by_all_who_wait_and_each_has_its_own_copy(life: Life) -> None:
    def slow_refusal(credential: str, call: QueryContext) -> None:
        time.sleep(0.05)
        raise LoginError("No.", "Mend.", code="390100")

    life.sign_in.on_login = slow_refusal
    errors = together(50, life.ask)
    assert {(type(error), error.message, error.hint, error.code) for error in errors} == {
        (LoginError, "No.", "Mend.", "390100")
    }
    assert len({id(error) for error in errors}) == 50
    assert life.sign_in.done == ["login"]


def test_a_refusal_is_remembered_for_ten_seconds(life: Life) -> None:
    life.sign_in.on_login = failing(LoginError("No.", code="390100"))
    for _ in range(5):
        with pytest.raises(LoginError):
            life.ask()
        life.passes(1.9)
    assert life.sign_in.done == ["login"]
    life.passes(1)
    life.sign_in.on_login = failing(None)
    assert life.ask() == "login2"


def test_another_credential_is_tried_at_once_whatever_befell_the_first(life: Life) -> None:
    life.sign_in.on_login = lambda credential, call: failing(
        LoginError("No.", code="390100") if credential == "credential-1" else None
    )()
    with pytest.raises(LoginError):
        life.ask()
    life.sign_in.credentials = ["credential-2"]
    assert life.ask() == "login2"


@pytest.mark.parametrize("code", ["390303", "390318"])
def test_an_access_token_that_is_over_is_read_again_and_tried_once_more_if_it_differs(code: str) -> None:
    life = Life()
    tried: list[str] = []

    def over(credential: str, call: QueryContext) -> None:
        tried.append(credential)
        if credential == "credential-1":
            raise LoginError("over", code=code)

    life.sign_in.on_login = over
    life.sign_in.credentials = ["credential-1", "credential-2"]
    assert life.ask() == "login2"
    assert tried == ["credential-1", "credential-2"]


def test_an_access_token_that_stays_the_same_is_not_tried_again(life: Life) -> None:
    life.sign_in.on_login = failing(LoginError("over", code="390318"))
    with pytest.raises(LoginError, match="over"):
        life.ask()
    assert life.sign_in.done == ["login"]


def test_access_tokens_that_are_all_over_are_not_tried_for_ever(life: Life) -> None:
    life.sign_in.on_login = failing(LoginError("over", code="390318"))
    life.sign_in.credentials = [f"c{number}" for number in range(100)]
    with pytest.raises(LoginError, match="over"):
        life.ask()
    assert life.sign_in.done == ["login", "login"]


def test_an_outage_is_remembered_for_a_moment(life: Life) -> None:
    life.sign_in.on_login = failing(ServiceDown("down"))
    for _ in range(5):
        with pytest.raises(ServiceDown):
            life.ask()
    assert life.sign_in.done == ["login"]
    life.passes(1.6)
    life.sign_in.on_login = failing(None)
    assert life.ask() == "login2"


def test_a_query_that_runs_out_of_time_leaves_no_failure_to_others(life: Life) -> None:
    life.sign_in.on_login = failing(QueryTimeout("its own"), None)
    with pytest.raises(QueryTimeout):
        life.ask()
    assert life.ask() == "login2"


# -- between refresh and expiry ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [NetworkError("down"), ServiceDown("down"), LoginError("No."), QueryTimeout("slow")]
)
def test_a_renewal_that_fails_before_the_end_fails_no_query(life: Life, error: SpcsError) -> None:
    life.ask()
    life.passes(3590)
    life.sign_in.on_renewal = failing(error)
    assert life.ask() == "login1"


def test_a_renewal_that_fails_is_tried_again_but_not_for_each_query(life: Life) -> None:
    life.ask()
    life.passes(3540)
    life.sign_in.on_renewal = failing(NetworkError("down"))
    for _ in range(599):
        assert life.ask() == "login1"
        life.passes(0.1)
    assert 5 <= life.sign_in.done.count("renewal") <= 20
    life.sign_in.on_renewal = failing(None)
    life.passes(0.2)
    assert life.ask().startswith("renewal")


def test_a_renewal_before_the_end_takes_little_of_a_querys_time(life: Life) -> None:
    life.ask()
    life.passes(3590)
    left: list[float] = []
    life.sign_in.on_renewal = lambda call: left.append(call.remaining())
    life.ask(seconds=600)
    assert left[0] <= 10


def test_at_its_end_a_token_is_used_no_more(life: Life) -> None:
    life.ask()
    life.passes(3600)
    life.sign_in.on_renewal = failing(NetworkError("down"))
    with pytest.raises(NetworkError, match="down"):
        life.ask()


def test_no_repr_holds_a_token_or_a_credential(life: Life) -> None:
    life.ask()
    life.sign_in.on_login = failing(LoginError("No.", code="390100"))
    life.refuse("login1")
    with pytest.raises(LoginError):
        life.ask()
    kept = vars(life.tokens)
    assert "login1" not in repr(kept)
    assert "credential-1" not in repr(kept)


# -- a server cannot make it sign in for each query ------------------------------------------------------------


def test_a_server_that_refuses_tokens_in_turns_gets_few_of_them(life: Life) -> None:
    for _ in range(50):
        assert life.refuse(life.ask()) is True, "worth another try, with the same token if need be"
    assert len(life.sign_in.done) == 6
    life.passes(10)
    life.refuse(life.ask())
    life.ask()
    assert len(life.sign_in.done) == 7


@pytest.mark.parametrize("seconds", [1e-9, 1e-3, 0.1])
def test_tokens_that_last_next_to_nothing_are_used_somewhat_longer(seconds: float) -> None:
    life = Life(seconds)
    for _ in range(1000):
        life.ask()
        life.passes(0.01)
    assert len(life.sign_in.done) <= 10 + 2 * 10 + 1, "two a second in the long run"


def test_a_life_of_seconds_is_kept_to(life: Life) -> None:
    life = Life(2)
    for _ in range(100):
        token = life.ask()
        life.passes(1)
        assert life.ask() != token
