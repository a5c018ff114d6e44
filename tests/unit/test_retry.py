"""What is tried again, when, and how often."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from spcs_llm.errors import (
    AccessDenied,
    BadRequest,
    GatewayDown,
    LoginError,
    ModelError,
    NetworkError,
    NotFound,
    QueryTimeout,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    ServiceStarting,
    SettingsError,
    SpcsError,
    TlsError,
    TokenRefused,
)
from spcs_llm.http.retry import MAX_RETRY_AFTER, Retries, RetryBudget, RetryPolicy
from tests.clock import Clock

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def retries(clock: Clock | None = None, budget: RetryBudget | None = None, **policy: Any) -> Retries:
    return Retries(
        RetryPolicy(**{"random": lambda: 1.0, **policy}), budget or RetryBudget(), clock or Clock(100.0)
    )


def delays(failures: Retries, *errors: SpcsError) -> list[float | None]:
    return [failures.delay_after(error) for error in errors]


# -- Retry-After ----------------------------------------------------------------------------------------------


def test_a_retry_after_is_obeyed() -> None:
    busy = ServiceBusy("busy", retry_after=7.0)
    assert retries(random=lambda: 0.0).delay_after(busy) == 7.0


def test_a_retry_after_shorter_than_the_backoff_does_not_shorten_it() -> None:
    assert retries(first_delay=5.0).delay_after(ServiceBusy("busy", retry_after=1.0)) == 5.0


def test_a_retry_after_beyond_reason_ends_the_call() -> None:
    patient, impatient = MAX_RETRY_AFTER, MAX_RETRY_AFTER + 1
    assert retries().delay_after(ServiceBusy("busy", retry_after=patient)) == patient
    assert retries().delay_after(ServiceBusy("busy", retry_after=impatient)) is None
    assert retries().delay_after(ServiceBusy("busy", retry_after=float("inf"))) is None


# -- what is retried, and how often ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [NetworkError("reset"), TlsError("cut"), ServiceBusy("429"), ServiceDown("503"), GatewayDown("500")],
    ids=repr,
)
def test_what_may_pass_is_tried_three_times_more(error: SpcsError) -> None:
    assert delays(retries(), *[error] * 4) == [0.5, 1.0, 2.0, None]


@pytest.mark.parametrize(
    "error",
    [
        TlsError("expired", transient=False),
        NetworkError("407", transient=False),
        SettingsError("wrong"),
        LoginError("refused"),
        TokenRefused("refused"),
        AccessDenied("no grant"),
        BadRequest("400"),
        NotFound("404"),
        RequestTooLarge("413"),
        ServiceError("500"),
        ModelError("no answer"),
        QueryTimeout("over"),
    ],
    ids=repr,
)
def test_what_would_fail_again_is_not_tried_again(error: SpcsError) -> None:
    assert retries().delay_after(error) is None


@pytest.mark.parametrize(
    "silence", [NetworkError("silent", silent=True), ServiceDown("cut by the ingress", status=504)], ids=repr
)
def test_a_silence_gets_one_more_try_and_not_three(silence: SpcsError) -> None:
    assert delays(retries(), silence, silence) == [0.5, None]


def test_a_second_silence_ends_the_call_whatever_was_between() -> None:
    silence = NetworkError("silent", silent=True)
    assert delays(retries(), silence, ServiceDown("503"), silence) == [0.5, 1.0, None]


def test_the_delay_is_anywhere_below_a_limit_that_doubles_up_to_a_bound() -> None:
    policy = RetryPolicy(first_delay=0.5, longest_delay=8.0, random=lambda: 0.25)
    assert [policy.delay(failure) for failure in range(1, 8)] == [0.125, 0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_delays_differ_between_calls() -> None:
    policy = RetryPolicy()
    assert len({policy.delay(1) for _ in range(20)}) > 1


# -- cold start -----------------------------------------------------------------------------------------------


def test_a_starting_service_is_asked_again_until_its_window_ends() -> None:
    clock, asked = Clock(100.0), []
    starting = retries(clock, cold_start=60.0)
    while (delay := starting.delay_after(ServiceStarting("starting"))) is not None:
        clock.now += delay
        asked.append(round(clock.now - 100.0, 3))
    assert asked == [1.0, 3.0, 7.0, 15.0, 30.0, 45.0, 60.0]


def test_the_window_of_a_cold_start_begins_with_the_first_sign_of_it() -> None:
    clock = Clock(100.0)
    call = retries(clock, cold_start=10.0)
    call.delay_after(ServiceDown("503"))
    clock.now += 100.0
    assert call.delay_after(ServiceStarting("starting")) == 1.0


def test_a_cold_start_does_not_use_up_the_other_attempts() -> None:
    call = retries()
    starting, down = ServiceStarting("starting"), ServiceDown("503")
    assert delays(call, *[starting] * 6)[-1] == 15.0
    assert delays(call, *[down] * 4) == [0.5, 1.0, 2.0, None]


def test_without_a_window_a_starting_service_is_not_asked_again() -> None:
    assert retries(cold_start=0.0).delay_after(ServiceStarting("starting")) is None


def test_a_retry_after_does_not_stretch_the_wait_for_a_cold_start() -> None:
    call = retries(cold_start=30.0)
    assert call.delay_after(ServiceStarting("starting", retry_after=20.0)) == 20.0
    assert call.delay_after(ServiceStarting("starting", retry_after=3600.0)) == 30.0


def test_a_cold_start_of_hours_can_be_waited_for() -> None:
    clock = Clock(100.0)
    call = retries(clock, cold_start=1e6)
    for _ in range(5000):
        delay = call.delay_after(ServiceStarting("starting"))
        assert delay is not None and delay <= 15.0
        clock.now += delay


def test_cold_delays_are_at_least_half_of_their_limit() -> None:
    assert RetryPolicy(random=lambda: 0.0).cold_delay(10) == 7.5


# -- the budget -----------------------------------------------------------------------------------------------


def test_an_outage_is_not_multiplied_once_the_budget_is_spent() -> None:
    budget, attempts = RetryBudget(), 0
    for _ in range(1000):
        call = retries(budget=budget)
        attempts += 1
        while call.delay_after(ServiceDown("503")) is not None:
            attempts += 1
    assert attempts == 1000 + RetryBudget.CAPACITY // 5


def test_who_is_not_tried_again_for_want_of_budget_is_told_so() -> None:
    budget = RetryBudget()
    while budget.spend(ServiceDown("503")):
        pass
    error = ServiceDown("503", "Look at its logs.")
    assert retries(budget=budget).delay_after(error) is None
    assert error.hint == "Look at its logs. So many requests fail that this one was not tried again."


def test_a_success_after_a_retry_gives_back_what_the_last_retry_cost() -> None:
    silence = NetworkError("silent", silent=True)
    for error, left in ((ServiceDown("503"), 100), (silence, 100)):
        budget = RetryBudget()
        call = retries(budget=budget)
        call.delay_after(error)
        call.succeeded()
        spent = 0
        while budget.spend(ServiceDown("503")):
            spent += 1
        assert spent == left


def test_the_budget_never_grows_beyond_what_there_was_at_first() -> None:
    budget = RetryBudget()
    calls = [retries(budget=budget) for _ in range(4)]
    for call in calls[:2]:
        call.delay_after(ServiceDown("503"))
        call.succeeded()
        call.succeeded()
    for call in calls[2:]:
        call.succeeded()
    assert affordable(budget, ServiceDown("503")) == 100


@pytest.mark.parametrize(
    ("error", "retries_in_all"),
    [
        (ServiceDown("503"), 100),
        (NetworkError("silent", silent=True), 50),
        (ServiceDown("cut", status=504), 50),
    ],
    ids=repr,
)
def test_a_silence_costs_twice_what_a_refusal_costs(error: SpcsError, retries_in_all: int) -> None:
    assert affordable(RetryBudget(), error) == retries_in_all


def affordable(budget: RetryBudget, error: SpcsError) -> int:
    """How many retries after such an error the budget has left."""
    count = 0
    while budget.spend(error):
        count += 1
    return count


def test_a_plain_success_earns_one_token() -> None:
    budget = RetryBudget()
    while budget.spend(ServiceDown("503")):
        pass
    for _ in range(4):
        retries(budget=budget).succeeded()
    assert budget.spend(ServiceDown("503")) is None
    retries(budget=budget).succeeded()
    assert budget.spend(ServiceDown("503")) == 5


def test_waiting_for_a_cold_start_costs_no_budget() -> None:
    budget, call = RetryBudget(), None
    for _ in range(300):
        call = retries(budget=budget)
        call.delay_after(ServiceStarting("starting"))
    assert budget.spend(ServiceDown("503")) == 5
