"""Suspending and resuming: which services are meant, what is changed, what is told."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import NotAName, QualifiedName
from spcs_llm.control.operate import Operation, operate
from spcs_llm.control.operated import Outcome, Verb
from spcs_llm.control.service_patterns import Pattern
from spcs_llm.errors import LoginError, NetworkError, SqlError

from .scripted_session import ABSENT, NO_PRIVILEGE, ScriptedSession, rows

COLUMNS = "database_name schema_name name status compute_pool is_job min_instances"
POOLS = rows(
    "name state instance_family min_nodes max_nodes active_nodes idle_nodes num_services num_jobs auto_suspend_secs",
    "GPU|ACTIVE|GPU_NV_S|1|2|1|0|1|0|300",
    "CPU|SUSPENDED|CPU_X64_XS|1|1|0|0|1|0|300",
)
NODES = rows("node_id instance_family", "n1|GPU_NV_S")


class Account:
    """Services that take as many looks as a test says until they have suspended or resumed."""

    def __init__(self, *services: str, looks: int = 0) -> None:
        self.states = {line.split("|")[2]: line.split("|")[3] for line in services}
        self.lines = services
        self.columns = COLUMNS
        self.looks = looks
        self.refused: dict[str, Any] = {}
        self.containers = rows("instance_id container_name status message", "0|main|READY|Running")
        self.session = ScriptedSession(
            {
                "SHOW SERVICES": self._show,
                "ALTER SERVICE": self._alter,
                "SHOW COMPUTE POOLS": POOLS,
                "SHOW NODES": NODES,
                "SHOW SERVICE CONTAINERS": lambda statement: self.containers,
                "DESCRIBE COMPUTE POOL": rows(
                    "name state error_code status_message", "GPU|STARTING|392507|No capacity."
                ),
            }
        )
        self.slept = 0.0

    def _show(self, statement: str) -> Any:
        shown = rows(self.columns, *self.lines)
        ends = {"SUSPENDING": "SUSPENDED", "PENDING": "RUNNING"}
        if " LIKE " in statement:
            self.looks -= 1
        for row in shown:
            state = self.states[str(row["name"])]
            if state in ends and self.looks <= 0:
                self.states[str(row["name"])] = ends[state]
            row["status"] = self.states[str(row["name"])]  # type: ignore[index]
        if "IN COMPUTE POOL" in statement:
            return [row for row in shown if row["compute_pool"] == statement.split()[-1]]
        return shown

    def _alter(self, statement: str) -> Any:
        _, _, name, verb = statement.split()
        if name in self.refused:
            return self.refused[name]
        self.states[name.split(".")[-1]] = "SUSPENDING" if verb == "SUSPEND" else "PENDING"
        return rows("status", "Statement executed successfully.")

    def operate(self, verb: Verb, *patterns: str | Pattern, **how: Any) -> Operation:
        def sleep(seconds: float) -> None:
            self.slept += seconds

        return operate(
            self.session,
            verb,
            [one if isinstance(one, Pattern) else Pattern.read(one) for one in patterns or ("*.*.*",)],
            price_list(),
            sleep=sleep,
            clock=lambda: self.slept,
            **{"dry_run": False, **how},
        )

    @property
    def altered(self) -> list[str]:
        return [statement for statement in self.session.asked if statement.startswith("ALTER")]


CHAT, EMBEDDING = "ML|PROD|CHAT|RUNNING|GPU|false|1", "ML|PROD|EMBED|SUSPENDED|CPU|false|1"
JOB, BUILD = "ML|PROD|NIGHTLY|RUNNING|GPU|true|1", "ML|PROD|MODEL_BUILD_1|RUNNING|GPU|false|1"


@pytest.mark.parametrize(
    ("pattern", "fits", "not_"),
    [
        ("ml.prod.chat", ("ML", "PROD", "CHAT"), ("ML", "PROD", "CHAT2")),
        ("ml.prod.*", ("ML", "PROD", "ANYTHING"), ("ML", "TEST", "CHAT")),
        ("*.prod.*chat*", ("X", "PROD", "MY_CHAT_1"), ("X", "PROD", "EMBED")),
        ('"My Db".*.a', ("My Db", "any schema", "A"), ("MY DB", "S", "A")),
        ('ml."pr*".a', ("ML", "prod.x", "A"), ("ML", "Prod", "A")),
        ("ml.p_d.a", ("ML", "P_D", "A"), ("ML", "PXD", "A")),
        ("ml.prod.a.*", None, None),
        ("chat", None, None),
        ("ml.prod.a b", None, None),
        ("ml.prod.a*;drop", None, None),
    ],
)
def test_a_pattern_means_full_names(pattern: str, fits: Any, not_: Any) -> None:
    if fits is None:
        with pytest.raises(NotAName):
            Pattern.read(pattern)
        return
    read = Pattern.read(pattern)
    assert read.fits(QualifiedName(*fits))
    assert not read.fits(QualifiedName(*not_))


@given(st.text("A*B", min_size=1, max_size=6), st.text("AB", min_size=1, max_size=8))
def test_stars_stand_for_any_characters(pattern: str, name: str) -> None:
    expected = re.fullmatch(pattern.replace("*", ".*"), name) is not None
    assert Pattern.read(f'D.S."{pattern}"').fits(QualifiedName("D", "S", name)) is expected


def test_a_pattern_of_many_stars_takes_no_longer_than_the_name_is() -> None:
    pattern = Pattern.read(f"D.S.{'*A' * 100}*B")
    assert not pattern.fits(QualifiedName("D", "S", "A" * 255))


def test_a_service_named_like_a_pattern_is_suspended_alone() -> None:
    account = Account(CHAT, "ML|PROD|*|RUNNING|GPU|false|1")
    told = account.operate(Verb.SUSPEND, Pattern.of(QualifiedName("ML", "PROD", "*")))
    assert [one.name for one in told.services] == ['ML.PROD."*"']
    assert account.altered == ['ALTER SERVICE ML.PROD."*" SUSPEND']


def test_a_dry_run_changes_nothing_and_says_what_it_would() -> None:
    account = Account(CHAT, EMBEDDING, JOB, BUILD)
    told = account.operate(Verb.SUSPEND, dry_run=True, wait=60)
    assert account.altered == []
    assert [(one.name, one.outcome) for one in told.services] == [
        ("ML.PROD.CHAT", Outcome.WOULD_CHANGE),
        ("ML.PROD.EMBED", Outcome.UNCHANGED),
    ]
    assert told.pools[0].credits_per_hour == pytest.approx(0.57)


def test_what_runs_is_suspended_and_jobs_and_builds_are_left() -> None:
    account = Account(CHAT, EMBEDDING, JOB, BUILD)
    told = account.operate(Verb.SUSPEND)
    assert account.altered == ["ALTER SERVICE ML.PROD.CHAT SUSPEND"]
    assert told.services[0].outcome is Outcome.CHANGED
    assert not told.failures


@pytest.mark.parametrize("verb", list(Verb))
def test_no_statement_drops_or_stops_anything(verb: Verb) -> None:
    account = Account(CHAT, EMBEDDING)
    account.operate(verb, wait=60)
    words = " ".join(account.session.asked).upper()
    assert "DROP" not in words
    assert "STOP" not in words
    assert "ALTER COMPUTE POOL" not in words


def test_waiting_ends_when_the_services_are_suspended() -> None:
    account = Account(CHAT, looks=3)
    told = account.operate(Verb.SUSPEND, wait=600)
    assert (told.services[0].after, told.services[0].outcome) == ("SUSPENDED", Outcome.CHANGED)
    assert 0 < account.slept < 600


def test_a_resumed_service_is_waited_for_until_its_containers_are_ready() -> None:
    account = Account(EMBEDDING)
    told = account.operate(Verb.RESUME, wait=600)
    assert (told.services[0].after, told.services[0].outcome) == ("RUNNING", Outcome.CHANGED)
    assert told.pools[0].credits_per_hour == pytest.approx(0.06)
    assert "0.06 credits per hour begin" in told.pools[0].text


def test_a_pool_that_does_not_start_is_named_with_its_reason() -> None:
    account = Account("ML|PROD|CHAT|SUSPENDED|GPU|false|1", looks=10**6)
    account.containers = []
    told = account.operate(Verb.RESUME, wait=30)
    (late,) = told.failures
    assert late.outcome is Outcome.WAITING
    assert "PENDING after 30 s" in late.note
    assert "392507 No capacity." in late.note


def test_a_container_that_crashes_ends_the_wait() -> None:
    account = Account("ML|PROD|CHAT|SUSPENDED|GPU|false|1")
    account.containers = rows(
        "instance_id container_name status message restart_count", "0|main|PENDING|OOM|5"
    )
    told = account.operate(Verb.RESUME, wait=600)
    assert told.failures[0].note == "main is PENDING: OOM (restarted 5 times)"
    assert account.slept == 0


def test_a_service_that_cannot_start_is_told_with_what_its_log_says() -> None:
    account = Account("ML|PROD|CHAT|SUSPENDED|GPU|false|1")
    account.containers = rows(
        "instance_id container_name status message restart_count", "0|main|PENDING|Encountered fatal error|5"
    )
    log = "OSError: You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/a/b."
    account.session.answers["SELECT SYSTEM$GET_SERVICE_LOGS"] = [{"log": log}]
    note = account.operate(Verb.RESUME, wait=600).failures[0].note
    assert note.startswith(
        "main is PENDING: Encountered fatal error (restarted 5 times); its log says that Hugging"
    )
    assert "it is gated. Accept the licence" in note


def test_without_the_privilege_the_grant_is_named_and_the_others_go_on() -> None:
    account = Account(CHAT, "ML|PROD|OTHER|RUNNING|GPU|false|1")
    account.refused["ML.PROD.CHAT"] = NO_PRIVILEGE
    told = account.operate(Verb.SUSPEND)
    (failed,) = told.failures
    assert "GRANT OPERATE ON SERVICE ML.PROD.CHAT TO ROLE ANALYST" in failed.note
    assert account.altered[-1] == "ALTER SERVICE ML.PROD.OTHER SUSPEND"
    assert told.pools[0].credits_per_hour is None
    assert "not all of its services" in told.pools[0].text


def test_two_people_who_suspend_at_once_both_succeed() -> None:
    account = Account(CHAT)

    def somebody_else(statement: str) -> Any:
        account.states["CHAT"] = "SUSPENDING"
        raise SqlError("Snowflake refuses ALTER SERVICE: the service is being suspended.", code="395000")

    account.session.answers["ALTER SERVICE"] = somebody_else
    told = account.operate(Verb.SUSPEND)
    assert told.failures == []
    assert "Somebody else suspended it" in told.services[0].note


def test_somebody_who_suspends_what_is_resumed_is_told() -> None:
    account = Account(EMBEDDING)

    def suspend_it(statement: str) -> Any:
        account.states["EMBED"] = "SUSPENDED"
        return rows("instance_id container_name status message", "0|main|PENDING|Waiting")

    account.session.answers["SHOW SERVICE CONTAINERS"] = suspend_it
    told = account.operate(Verb.RESUME, wait=60)
    assert told.failures[0].note == "Somebody suspended it again."


def test_a_listing_that_is_older_than_the_resume_is_no_failure() -> None:
    account = Account(EMBEDDING)
    show, looks = account.session.answers["SHOW SERVICES"], []

    def late(statement: str) -> Any:
        shown = show(statement)
        looks.append(statement)
        if " LIKE " in statement and len(looks) < 5:
            return [{**row, "status": "SUSPENDED"} for row in shown]
        return shown

    account.session.answers["SHOW SERVICES"] = late
    told = account.operate(Verb.RESUME, wait=600)
    assert (told.services[0].after, told.failures) == ("RUNNING", [])


def test_what_somebody_else_has_just_resumed_is_waited_for_too() -> None:
    account = Account("ML|PROD|CHAT|PENDING|GPU|false|1", looks=3)
    told = account.operate(Verb.RESUME, wait=600)
    assert account.altered == []
    assert (told.services[0].after, told.services[0].outcome) == ("RUNNING", Outcome.UNCHANGED)
    assert account.slept > 0


def test_a_failed_service_is_suspended_since_its_nodes_are_billed() -> None:
    account = Account("ML|PROD|CHAT|FAILED|GPU|false|1")
    told = account.operate(Verb.SUSPEND, wait=60)
    assert account.altered == ["ALTER SERVICE ML.PROD.CHAT SUSPEND"]
    assert (told.services[0].after, told.failures) == ("SUSPENDED", [])


def test_a_lost_connection_is_told_of_its_service_and_the_others_go_on() -> None:
    account = Account(CHAT, "ML|PROD|OTHER|RUNNING|GPU|false|1")
    account.refused["ML.PROD.CHAT"] = NetworkError("The connection was closed.")
    told = account.operate(Verb.SUSPEND)
    assert [one.outcome for one in told.services] == [Outcome.FAILED, Outcome.CHANGED]
    assert "The connection was closed." in told.services[0].note


def test_a_connection_that_is_lost_while_waiting_is_tried_again() -> None:
    account = Account(CHAT, looks=4)
    show, failures = account.session.answers["SHOW SERVICES"], [NetworkError("lost"), NetworkError("lost")]

    def flaky(statement: str) -> Any:
        if " LIKE " in statement and failures:
            raise failures.pop()
        return show(statement)

    account.session.answers["SHOW SERVICES"] = flaky
    told = account.operate(Verb.SUSPEND, wait=600)
    assert (told.services[0].after, told.failures) == ("SUSPENDED", [])


def test_a_pattern_that_fits_nothing_is_a_failure_with_what_to_grant() -> None:
    account = Account(CHAT)
    told = account.operate(Verb.SUSPEND, "ML.PROD.CHAT", "ML.PROD.MISSPELT")
    assert [one.name for one in told.failures] == ["ML.PROD.MISSPELT"]
    assert "OPERATE on the service" in told.failures[0].note


def test_a_scope_that_the_role_may_not_see_is_one_without_services() -> None:
    account = Account(CHAT)
    account.session.answers["SHOW SERVICES"] = ABSENT
    assert account.operate(Verb.SUSPEND, "ML.PROD.*").failures[0].name == "ML.PROD.*"


def test_each_scope_is_listed_once() -> None:
    account = Account(CHAT)
    account.operate(Verb.SUSPEND, "ML.PROD.CHAT", "ml.prod.*", "ML.TEST.A", 'ML."x*".A', dry_run=True)
    listed = [s for s in account.session.asked if s.startswith("SHOW SERVICES") and "POOL" not in s]
    assert listed == ["SHOW SERVICES EXCLUDE JOBS IN DATABASE ML"]


def test_other_services_keep_a_pool_up() -> None:
    account = Account(CHAT, "ML|PROD|OTHER|RUNNING|GPU|false|1")
    told = account.operate(Verb.SUSPEND, "ML.PROD.CHAT")
    assert told.pools[0].credits_per_hour == 0
    assert "stays up for 1 other service or job" in told.pools[0].text


def test_services_that_the_role_does_not_see_keep_a_pool_up_too() -> None:
    account = Account(CHAT)
    account.session.answers["SHOW COMPUTE POOLS"] = [{**POOLS[0], "num_services": "2"}]
    told = account.operate(Verb.SUSPEND)
    assert "stays up for 1 other service or job" in told.pools[0].text


def test_a_suspended_service_does_not_stand_for_one_that_runs_and_is_not_seen() -> None:
    account = Account(CHAT, "ML|PROD|OTHER|SUSPENDED|GPU|false|1")
    account.session.answers["SHOW COMPUTE POOLS"] = [{**POOLS[0], "num_services": "2"}]
    (effect,) = account.operate(Verb.SUSPEND, "ML.PROD.CHAT").pools
    assert effect.credits_per_hour == 0
    assert "stays up for 1 other service or job" in effect.text


def test_a_failed_service_cannot_be_resumed() -> None:
    account = Account("ML|PROD|CHAT|FAILED|GPU|false|1")
    told = account.operate(Verb.RESUME)
    assert "It is FAILED" in told.failures[0].note
    assert account.altered == []


def test_a_pool_that_cannot_be_seen_is_told() -> None:
    account = Account(CHAT)
    account.session.answers["SHOW COMPUTE POOLS"] = []
    told = account.operate(Verb.SUSPEND)
    assert told.pools[0].credits_per_hour is None
    assert "USAGE or MONITOR" in told.pools[0].text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"auto_suspend_secs": "0"}, "never suspends itself"),
        ({"instance_family": "GPU_OF_TOMORROW"}, "the price of GPU_OF_TOMORROW is not in the plugin's list"),
        ({"num_jobs": "2"}, "stays up for 2 other services or jobs"),
    ],
)
def test_what_keeps_a_pool_billed_is_told(change: dict[str, str], told: str) -> None:
    account = Account(CHAT)
    account.session.answers["SHOW COMPUTE POOLS"] = [{**POOLS[0], **change}]
    account.session.answers["SHOW NODES"] = ABSENT
    (effect,) = account.operate(Verb.SUSPEND).pools
    assert told in effect.text


def test_a_pool_that_is_up_already_begins_nothing_unless_it_grows() -> None:
    account = Account("ML|PROD|CHAT|SUSPENDED|GPU|false|2")
    account.session.answers["SHOW COMPUTE POOLS"] = [{**POOLS[0], "max_nodes": "3"}]
    (effect,) = account.operate(Verb.RESUME).pools
    assert effect.credits_per_hour == 0
    assert effect.text == (
        "Compute pool GPU is up already, with 1 node of GPU_NV_S; up to 1.14 if each instance needs its own node."
    )


def test_a_pool_whose_services_cannot_be_listed_counts_the_changed_ones_only() -> None:
    account = Account(CHAT)
    show = account.session.answers["SHOW SERVICES"]
    account.session.answers["SHOW SERVICES"] = lambda s: ABSENT if "COMPUTE POOL" in s else show(s)
    (effect,) = account.operate(Verb.SUSPEND).pools
    assert effect.credits_per_hour == pytest.approx(0.57)


def test_a_connection_that_is_lost_over_the_pools_fails_nothing() -> None:
    account = Account(CHAT)
    account.session.answers["SHOW NODES"] = NetworkError("The connection was closed.")
    told = account.operate(Verb.SUSPEND)
    assert told.failures == []
    assert "The connection was closed." in told.pools[0].text


def test_a_service_that_is_dropped_while_it_is_waited_for_is_told() -> None:
    account = Account(CHAT, looks=10**6)
    show = account.session.answers["SHOW SERVICES"]
    account.session.answers["SHOW SERVICES"] = lambda s: [] if " LIKE " in s else show(s)
    assert account.operate(Verb.SUSPEND, wait=60).failures[0].note == "It was dropped meanwhile."


def test_a_service_that_fails_while_it_is_waited_for_is_told_with_its_containers() -> None:
    account = Account(EMBEDDING)
    show = account.session.answers["SHOW SERVICES"]

    def failing(statement: str) -> Any:
        return (
            [{**row, "status": "FAILED"} for row in show(statement)]
            if " LIKE " in statement
            else show(statement)
        )

    account.session.answers["SHOW SERVICES"] = failing
    account.containers = rows("instance_id container_name status message", "0|main|FAILED|OOMKilled")
    assert account.operate(Verb.RESUME, wait=60).failures[0].note == "main is FAILED: OOMKilled"
    account = Account(EMBEDDING)
    account.session.answers["SHOW SERVICES"] = failing
    account.session.answers["SHOW SERVICE CONTAINERS"] = NO_PRIVILEGE
    assert account.operate(Verb.RESUME, wait=60).failures[0].note == "Read its logs."


def test_without_the_right_to_see_containers_running_is_enough_and_is_said() -> None:
    account = Account(EMBEDDING)
    account.session.answers["SHOW SERVICE CONTAINERS"] = NO_PRIVILEGE
    told = account.operate(Verb.RESUME, wait=60)
    assert told.failures == []
    assert "needs MONITOR" in told.services[0].note


@pytest.mark.parametrize(
    ("described", "told"),
    [
        (rows("name state", "GPU|STARTING"), "Compute pool GPU is STARTING."),
        (rows("name state", "GPU|ACTIVE"), "after 5 s"),
        (NO_PRIVILEGE, "after 5 s"),
    ],
)
def test_a_service_that_takes_too_long_says_what_its_pool_does(described: Any, told: str) -> None:
    account = Account("ML|PROD|CHAT|SUSPENDED|GPU|false|1", looks=10**6)
    account.containers = []
    account.session.answers["DESCRIBE COMPUTE POOL"] = described
    assert told in account.operate(Verb.RESUME, wait=5).failures[0].note


def test_a_session_that_ends_while_services_are_changed_is_told_of_each() -> None:
    account = Account(CHAT)
    account.session.answers["ALTER SERVICE"] = LoginError("The session has ended.", "Sign in again.")
    assert account.operate(Verb.SUSPEND).failures[0].note == "The session has ended. Sign in again."


TWO_INSTANCES = "instance_id container_name status message restart_count"


@pytest.mark.parametrize(
    ("least_ready", "other", "outcome"),
    [
        ("1", "PENDING|Unschedulable due to insufficient resources|0", Outcome.CHANGED),
        ("1", "FAILED|User application error, check container logs|4", Outcome.CHANGED),
        ("NULL", "PENDING|Unschedulable due to insufficient resources|0", Outcome.WAITING),
        ("2", "PENDING|Unschedulable due to insufficient resources|0", Outcome.WAITING),
        ("2", "FAILED|User application error, check container logs|4", Outcome.FAILED),
    ],
)
def test_a_service_is_resumed_once_as_many_instances_are_ready_as_it_needs(
    least_ready: str, other: str, outcome: Outcome
) -> None:
    """Snowflake documentation, BCR-1793: MIN_READY_INSTANCES must be ready for the service to process requests."""
    line = f"ML|PROD|CHAT|SUSPENDED|GPU|false|2|{least_ready}"
    account = Account(line)
    account.columns = f"{COLUMNS} min_ready_instances"
    account.containers = rows(
        TWO_INSTANCES, "0|main|READY|Running|0", "0|proxy|READY|Running|0", f"1|main|{other}"
    )
    (one,) = account.operate(Verb.RESUME, wait=60).services
    assert one.outcome is outcome
    assert "main is" in one.note


def test_a_service_that_is_dropped_before_its_turn_is_told_as_such() -> None:
    """Snowflake's words are those for a lack of rights, and a grant on what is gone is of no use to anybody."""
    account = Account(CHAT)

    def drop(statement: str) -> Any:
        account.lines = ()
        return ABSENT

    account.session.answers["ALTER SERVICE"] = drop
    (failed,) = account.operate(Verb.SUSPEND).failures
    assert failed.note == "It was dropped meanwhile."


ASLEEP = rows(
    "name state instance_family min_nodes max_nodes active_nodes idle_nodes num_services num_jobs auto_suspend_secs"
    " auto_resume",
    "CPU|SUSPENDED|CPU_X64_XS|1|1|0|0|1|0|300|false",
)


def test_a_pool_that_does_not_resume_by_itself_is_named_before_and_after() -> None:
    account = Account(EMBEDDING, looks=1000)
    account.session.answers["SHOW COMPUTE POOLS"] = ASLEEP
    account.session.answers["DESCRIBE COMPUTE POOL"] = ASLEEP
    (effect,) = account.operate(Verb.RESUME, dry_run=True).pools
    assert effect.credits_per_hour is None
    assert "CPU is SUSPENDED and does not resume by itself" in effect.text
    assert "ALTER COMPUTE POOL CPU RESUME" in effect.text
    (one,) = account.operate(Verb.RESUME, wait=30).services
    assert one.outcome is Outcome.WAITING
    assert "Compute pool CPU is SUSPENDED. Ask a Snowflake administrator" in one.note
    assert "ALTER COMPUTE POOL CPU RESUME" in one.note


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("STARTING", "392507", "392507 No capacity. Snowflake has no capacity for this instance family"),
        ("ACTIVE", "392508", "392508 No capacity. Ask a Snowflake administrator to raise MAX_NODES"),
        ("RESIZING", "", "Compute pool CPU is RESIZING. Wait"),
    ],
)
def test_why_a_service_is_late_has_what_to_do_about_its_pool(state: str, code: str, said: str) -> None:
    account = Account(EMBEDDING, looks=1000)
    message = "No capacity." if code else ""
    account.session.answers["DESCRIBE COMPUTE POOL"] = rows(
        "name state error_code status_message", f"CPU|{state}|{code}|{message}"
    )
    (one,) = account.operate(Verb.RESUME, wait=30).services
    assert said in one.note
