"""The webapp's knowledge of an account: how it is kept up to date, and by how many statements."""

from __future__ import annotations

import gc
import json
import threading
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import pytest

from spcs_llm.control.cost_report import CostReport
from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import QualifiedName, qualified
from spcs_llm.control.session import Row
from spcs_llm.control.sql_refusals import sql_error_in_text
from spcs_llm.control.usage_views import ServiceDay
from spcs_llm.errors import NetworkError, QueryError, SpcsError
from spcs_llm.form_fields import Field
from spcs_llm.monitor.account import Account
from spcs_llm.monitor.background import Background
from spcs_llm.monitor.cost import Cost, cost_work, stacked
from spcs_llm.monitor.cost_page import _cell, cost_csv, cost_page
from spcs_llm.monitor.lookout import STATEMENTS_PER_LOOK, Lookout
from spcs_llm.monitor.overview import Price, Selection, rows_of, selected, sums_of
from spcs_llm.monitor.settings import MonitorFields, read_monitor
from spcs_llm.monitor.telemetry import read_events, read_series
from spcs_llm.monitor.viewers import NOBODY, Viewer, Viewers
from spcs_llm.monitor.watches import Watches
from tests.clock import Clock
from tests.unit.scripted_session import ABSENT, NO_PRIVILEGE, ScriptedSession, rows
from tests.waiting import wait_for

_LOOKS_AN_HOUR = 180
PRICE = Price(3.0, "USD", "as entered")


def test_a_body_that_is_nested_too_deeply_is_none() -> None:
    """Read as any other that is no object, and not told to the plugin's authors as a fault of theirs."""
    flask = pytest.importorskip("flask")
    from spcs_llm.monitor.webapp import _body

    app = flask.Flask(__name__)
    with app.test_request_context(method="POST", data="[" * 100_000, content_type="application/json"):
        assert _body() == {}


@pytest.mark.parametrize("length", [None, 200_001, 10**12])
def test_a_body_that_is_too_large_is_not_read(length: int | None) -> None:
    """Any viewer can send one, and the backend is everybody's."""
    flask = pytest.importorskip("flask")
    from spcs_llm.monitor.webapp import _body

    class Unread:
        def read(self, *_: object) -> bytes:
            raise AssertionError

        readline = readlines = __iter__ = read

    told: dict[str, Any] = {"wsgi.input": Unread(), "CONTENT_TYPE": "application/json"}
    if length is not None:
        told["CONTENT_LENGTH"] = str(length)
    context = flask.Flask(__name__).test_request_context(method="POST", environ_overrides=told)
    with context, pytest.raises(QueryError, match="too large"):
        _body()


class Town:
    """An account with as many services as one likes, by its answers to statements."""

    def __init__(self, services: int = 2, **answers: Any) -> None:
        self.names = [f"S{number:04}" for number in range(services)]
        self.status = dict.fromkeys(self.names, "RUNNING")
        self.container = dict.fromkeys(self.names, "READY|Running|0")
        self.resumed = self.updated = "2026-11-01 00:00:00"
        self.instances = 1
        self.model = ""
        self.answers: dict[str, Any] = {
            "SHOW SERVICES": self._services,
            "SHOW COMPUTE POOLS": lambda _: rows(
                "name state instance_family min_nodes max_nodes active_nodes idle_nodes num_services num_jobs",
                f"POOL|ACTIVE|GPU_NV_S|1|4|2|1|{sum(s != 'SUSPENDED' for s in self.status.values())}|0",
            ),
            "SHOW NODES": rows("instance_family", "GPU_NV_S", "GPU_NV_S", "GPU_NV_S"),
            "SHOW SERVICE CONTAINERS": self._containers,
            "SHOW ENDPOINTS": rows(
                "name port protocol is_public ingress_url", "api|80|HTTP|true|a-b.snowflakecomputing.app"
            ),
            "SHOW MODELS": [],
            "SELECT SYSTEM$GET_SERVICE_LOGS": rows("log", "INFO: ready"),
            'SELECT TIMESTAMP AS "timestamp", SEVERITY': [],
            'SELECT TIMESTAMP AS "timestamp", METRIC_NAME': [],
            **answers,
        }
        self.session = ScriptedSession(self.answers)
        self.clock = Clock()
        self.watched: list[QualifiedName] = []
        self.lookout = Lookout(lambda: self.session, price_list(), lambda: self.watched, self.clock)

    def _services(self, _: str) -> list[Row]:
        where = "database_name schema_name compute_pool owner"
        managed = "managing_object_domain managing_object_name"
        head = f"name status {where} current_instances target_instances created_on resumed_on updated_on {managed}"
        begun = f"2026-11-01 00:00:00|{self.resumed}|{self.updated}|MODEL|{self.model}"
        return rows(head, *(f"{n}|{self.status[n]}|DB|SC|POOL|OWNER|1|1|{begun}" for n in self.names))

    def _containers(self, statement: str) -> list[Row]:
        name = statement.rpartition(".")[2]
        return rows(
            "instance_id container_name status message restart_count",
            *(f"{number}|main|{self.container[name]}" for number in range(self.instances)),
        )

    def look(self, seconds: float = 20.0) -> tuple[Account, list[str]]:
        """A look, and the statements that it took."""
        self.session.asked.clear()
        account = self.lookout.look()
        self.clock.now += seconds
        return account, list(self.session.asked)


def name_of(number: int) -> QualifiedName:
    return qualified(f"DB.SC.S{number:04}")


# -- statements --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("services", [200, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_many_services_are_looked_at_within_the_same_budget(services: int) -> None:
    town = Town(services)
    counts = [len(town.look()[1]) for _ in range(2 * services // STATEMENTS_PER_LOOK + 5)]
    assert max(counts) == STATEMENTS_PER_LOOK + 2
    account, _ = town.look()
    assert all(f.containers is not None and f.endpoints is not None for f in account.services.values())


def test_once_all_is_known_a_look_takes_two_statements() -> None:
    town = Town(3)
    town.look()
    assert [len(town.look()[1]) for _ in range(5)] == [2] * 5


def test_containers_that_are_ready_are_asked_for_again_after_five_minutes() -> None:
    town = Town(3)
    town.look()
    quiet = [sum("CONTAINERS" in statement for statement in town.look()[1]) for _ in range(14)]
    assert sum(quiet) == 0
    assert sum("CONTAINERS" in statement for statement in town.look()[1]) == 3


def test_a_service_that_changes_is_asked_for_again_at_once() -> None:
    town = Town(30)
    for _ in range(5):
        town.look()
    town.status["S0007"], town.container["S0007"] = "PENDING", "PENDING|Waiting to start|0"
    account, asked = town.look()
    assert [s for s in asked if "CONTAINERS" in s] == ["SHOW SERVICE CONTAINERS IN SERVICE DB.SC.S0007"]
    assert account.services[name_of(7)].ready == 0
    assert [s for s in town.look()[1] if "CONTAINERS" in s] == [
        "SHOW SERVICE CONTAINERS IN SERVICE DB.SC.S0007"
    ]


def test_logs_events_and_metrics_are_asked_for_only_while_a_page_is_open() -> None:
    town = Town(2)
    town.look()
    town.watched = [name_of(1)]
    account, asked = town.look()
    assert sum("LOGS" in s for s in asked) == sum("EVENTS" in s for s in asked) == 1
    assert account.closer[name_of(1)].logs == {"main": ("INFO: ready",)}
    town.watched = []
    account, asked = town.look()
    assert (len(asked), dict(account.closer)) == (2, {})


@pytest.mark.parametrize("looks_the_same", [False, True])
def test_a_log_that_was_refused_is_asked_for_again_when_its_container_is_another_one(
    looks_the_same: bool,
) -> None:
    """A page that is open while its service is resumed: the container whose log is asked for is gone by then."""
    gone = ("001003", "42601", "Invalid argument: the service has no instance with id 0.")
    town = Town(1, **{"SELECT SYSTEM$GET_SERVICE_LOGS": gone})
    town.watched = [name_of(0)]
    assert town.look()[0].closer[name_of(0)].notes["logs"]
    assert not any("LOGS" in statement for statement in town.look()[1])
    town.answers["SELECT SYSTEM$GET_SERVICE_LOGS"] = rows("log", "INFO: ready")
    if looks_the_same:
        town.resumed = "2026-11-02 00:00:00"
    else:
        town.container["S0000"] = "READY|Running|1"
    account, _ = town.look()
    assert account.closer[name_of(0)].logs == {"main": ("INFO: ready",)}


def test_nodes_that_came_and_went_between_two_looks_are_not_billed_for_minutes() -> None:
    town = Town(1)
    three = town.answers["SHOW NODES"]
    town.answers["SHOW NODES"] = [*three, *three]
    assert town.look()[0].rates["POOL"].nodes == 6
    town.answers["SHOW NODES"] = three
    assert town.look()[0].rates["POOL"].nodes == 3
    assert not any("NODES" in statement for statement in town.look()[1])


def test_instances_that_came_and_went_between_two_looks_are_not_shown_for_minutes() -> None:
    town = Town(1)
    town.instances = 2
    assert len(town.look()[0].services[name_of(0)].containers or ()) == 2
    town.instances = 1
    assert len(town.look()[0].services[name_of(0)].containers or ()) == 1
    assert not any("CONTAINERS" in statement for statement in town.look()[1])


def test_a_service_that_was_altered_is_asked_for_its_endpoints_again() -> None:
    town = Town(2)
    town.look()
    head = "name port protocol is_public ingress_url"
    town.answers["SHOW ENDPOINTS"] = rows(head, "chat|8000|HTTP|true|c-d.snowflakecomputing.app")
    town.updated = "2026-11-02 00:00:00"
    account, _ = town.look()
    assert [e.name for e in account.services[name_of(1)].endpoints or ()] == ["chat"]
    assert len(town.look()[1]) == 2


@pytest.mark.parametrize("known", ["OTHER", "CHAT"])
def test_the_version_that_a_new_service_serves_is_known_at_the_next_look(known: str) -> None:
    columns, versions = "name database_name schema_name", "name inference_services"
    town = Town(
        2, **{"SHOW MODELS": rows(columns, f"{known}|DB|SC"), "SHOW VERSIONS": rows(versions, "V1|[]")}
    )
    assert town.look()[0].models == {}
    town.model = "DB.SC.CHAT"
    town.answers["SHOW MODELS"] = rows(columns, "CHAT|DB|SC", "OTHER|DB|SC")
    town.answers["SHOW VERSIONS IN MODEL DB.SC.CHAT"] = rows(versions, 'V1|["DB.SC.S0000"]')
    account, _ = town.look()
    assert account.models[name_of(0)].version == "V1"
    town.names.reverse()
    assert len(town.look()[1]) == 2, "in whatever order Snowflake lists them"


def test_an_open_page_comes_before_a_thousand_others() -> None:
    town = Town(1000)
    town.watched = [name_of(999)]
    account, _ = town.look()
    assert account.services[name_of(999)].containers is not None
    assert account.closer[name_of(999)].logs is not None


def test_without_rights_the_grant_is_told_and_the_rest_is_there() -> None:
    town = Town(2, **{"SHOW SERVICE CONTAINERS": NO_PRIVILEGE})
    account, _ = town.look()
    (note,) = account.services[name_of(0)].notes
    assert "GRANT MONITOR ON SERVICE DB.SC.S0000 TO ROLE ANALYST" in note
    assert account.services[name_of(0)].endpoints
    assert [len(town.look()[1]) for _ in range(3)] == [2] * 3, (
        "what is refused is not asked for at every look"
    )


def test_events_that_an_account_does_not_collect_are_explained() -> None:
    town = Town(1, **{'SELECT TIMESTAMP AS "timestamp", SEVERITY': ABSENT})
    town.watched = [name_of(0)]
    account, _ = town.look()
    assert "LOG_EVENT_LEVEL" in account.closer[name_of(0)].notes["events"]


def test_a_lost_session_is_opened_again() -> None:
    town = Town(1)
    opened: list[int] = []
    town.lookout.open_session = lambda: opened.append(1) or town.session
    town.look()
    good, town.answers["SHOW SERVICES"] = town.answers["SHOW SERVICES"], NetworkError("The host is gone.")
    with pytest.raises(NetworkError):
        town.look()
    town.answers["SHOW SERVICES"] = good
    assert town.look()[0].services
    assert len(opened) == 2


def test_what_was_dropped_is_forgotten() -> None:
    town = Town(50)
    for _ in range(8):
        town.look()
    town.names = town.names[:1]
    town.look()
    assert {key[1] for key in town.lookout._kept if key[0] == "containers"} == {name_of(0)}


@pytest.mark.exhaustive
def test_hours_of_looking_take_no_more_memory_than_one() -> None:
    hours = 12
    town = Town(20)
    town.watched = [name_of(3)]

    def looks(count: int) -> None:
        for number in range(count):
            town.status[f"S{number % 20:04}"] = "RUNNING" if number % 3 else "PENDING"
            town.look()

    looks(_LOOKS_AN_HOUR)
    tracemalloc.start()
    try:
        looks(_LOOKS_AN_HOUR)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        looks((hours - 1) * _LOOKS_AN_HOUR)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1.2 * before + (hours - 1) * 18_000
    finally:
        tracemalloc.stop()


# -- the thread --------------------------------------------------------------------------------------------


def test_nobody_waits_and_all_get_the_same() -> None:
    going, clock, runs = threading.Event(), Clock(), []

    def work(publish: Callable[[int], None]) -> int:
        going.wait()
        runs.append(1)
        return len(runs)

    background = Background("test", work, 20, 20, clock=clock)
    assert background.ask().value is None
    wait_for(lambda: background._began_at is not None)
    clock.now += 61
    told = background.ask().problem
    assert told is not None
    assert "has not answered for 61 s" in told.message
    going.set()
    wait_for(lambda: background.ask().value == 2)  # another look was due long ago
    clock.now += 5
    state = background.ask()
    assert (state.value, state.age, state.problem, runs) == (2, 5, None, [1, 1])
    background.close()


def test_what_is_known_stays_when_it_cannot_be_renewed_and_a_bug_is_told_by_its_place() -> None:
    failures: list[Exception] = []

    def work(publish: Callable[[int], None]) -> int:
        if failures:
            raise failures[-1]
        return 7

    background = Background("test", work, 0.01, 0.01)
    wait_for(lambda: background.ask().value == 7)
    failures.append(SpcsError("Gone.", "Wait."))
    wait_for(lambda: background.ask().problem is not None)
    assert background.ask().value == 7
    failures.append(KeyError("secret"))
    wait_for(lambda: "KeyError" in str(background.ask().problem))
    assert "secret" not in str(background.ask().problem)
    failures.clear()
    wait_for(lambda: background.ask().problem is None)
    background.close()


def test_a_wrong_password_is_not_sent_again_and_again() -> None:
    """buremba/universql#24: five of them lock the user of DSS's connection, which other projects use as well."""
    text = "Incorrect username or password was specified."
    failures = [sql_error_in_text("SHOW SERVICES IN ACCOUNT", text), SpcsError("Gone.")]

    def work(publish: Callable[[int], None]) -> int:
        raise failures[0]

    background = Background("test", work, 20, 20)
    wait_for(lambda: background.ask().problem is not None)
    assert background._pause() == 900
    del failures[0]
    wait_for(lambda: "Gone" in str(background.ask(soon=True).problem))
    assert background._pause() < 900
    background.close()


def test_days_of_failures_do_not_end_the_thread() -> None:
    """Two to the number of failures is more than a float holds after 1,024 of them, in about 57 hours of looks."""
    runs = []

    def work(publish: Callable[[int], None]) -> int:
        runs.append(1)
        if len(runs) < 1_200:
            raise SpcsError("Gone.")
        return 7

    background = Background("test", work, 1e-6, 1e-6)
    wait_for(lambda: background.ask(soon=True).value == 7)
    background.close()


def test_it_rests_while_nobody_looks_and_begins_again_at_once() -> None:
    clock, runs = Clock(), []

    def work(publish: Callable[[int], None]) -> int:
        runs.append(clock())
        return len(runs)

    background = Background("test", work, 0.001, 1, idle=300, clock=clock)
    background.ask()
    wait_for(lambda: background._began_at is None and runs)
    clock.now += 301  # the period is over, too: but nobody has asked
    before = len(runs)
    thread = background._thread
    assert thread is not None
    state = background.ask()
    assert state.age is not None
    wait_for(lambda: len(runs) > before)
    background.close()


def test_a_clock_that_jumps_makes_no_age_negative() -> None:
    clock = Clock()
    background = Background("test", lambda publish: 1, 20, 20, clock=clock)
    wait_for(lambda: background.ask().value == 1)
    clock.now -= 500
    assert background.ask().age == 0
    background.close()


# -- the pages ---------------------------------------------------------------------------------------------


def test_kinds_shares_and_sums() -> None:
    town = Town(4)
    town.status["S0001"], town.container["S0001"] = "PENDING", "PENDING|Waiting to start|0"
    town.status["S0002"], town.container["S0002"] = "PENDING", "FAILED|OOMKilled|5"
    town.status["S0003"] = "SUSPENDED"
    account, _ = town.look()
    found = rows_of(account, PRICE)
    assert [row["kind"] for row in found] == ["running", "starting", "failed", "suspended"]
    assert [row["credits"] for row in found] == [pytest.approx(0.57)] * 3 + [0.0]
    assert "Raise the memory" in found[2]["trouble"]
    sums = sums_of(account, found, PRICE)
    assert (sums["services"], sums["failed"], sums["nodes"], sums["idleNodes"]) == (4, 1, 3, 1)
    assert sums["credits"] == pytest.approx(3 * 0.57), "a pool counts once, however many services are on it"
    assert selected(found, Selection(kind="failed"))["found"] == 1


def test_services_are_sorted_by_when_they_began_whatever_the_offset_of_each() -> None:
    """A session's zone has two offsets in a year: on the day of a change, the later text is the earlier moment."""
    town = Town(2)
    head = "name status database_name schema_name compute_pool current_instances target_instances created_on"
    town.answers["SHOW SERVICES"] = rows(
        head,
        "EARLY|RUNNING|DB|SC|POOL|1|1|2026-11-01 01:40:00 -0700",
        "LATE|RUNNING|DB|SC|POOL|1|1|2026-11-01 01:20:00 -0800",
        "SOME|RUNNING|DB|SC|POOL|1|1|NULL",
    )
    town.answers["SHOW SERVICE CONTAINERS"] = rows("instance_id container_name status", "0|main|READY")
    found = rows_of(town.look()[0], PRICE)
    shown = selected(found, Selection(sort="since"))["rows"]
    assert [row["name"] for row in shown] == ["SOME", "EARLY", "LATE"]


@pytest.mark.parametrize(
    ("status", "container", "kind"),
    [
        ("DELETING", "TERMINATING|NULL|0", "failed"),
        ("INTERNAL_ERROR", "UNKNOWN|NULL|0", "failed"),
        ("CANCELLING", "TERMINATING|NULL|0", "failed"),
        ("SUSPENDING", "TERMINATING|NULL|0", "suspended"),
        ("UPGRADING", "READY|Running|0", "starting"),
        ("RUNNING", "UNKNOWN|NULL|0", "starting"),
        ("Running", "Ready|Running|2", "running"),
    ],
)
def test_each_state_of_the_documentation_is_of_a_kind(status: str, container: str, kind: str) -> None:
    """Snowflake documentation, SHOW SERVICES and SHOW SERVICE CONTAINERS."""
    town = Town(1)
    town.status["S0000"], town.container["S0000"] = status, container
    account, _ = town.look()
    assert [row["kind"] for row in rows_of(account, PRICE)] == [kind]


def test_a_share_is_not_guessed_where_services_are_hidden() -> None:
    town = Town(2)
    town.answers["SHOW COMPUTE POOLS"] = rows(
        "name state instance_family active_nodes num_services", "POOL|ACTIVE|GPU_NV_S|2|9"
    )
    account, _ = town.look()
    assert [row["credits"] for row in rows_of(account, PRICE)] == [None, None]


def test_a_suspended_service_does_not_stand_for_one_that_is_hidden() -> None:
    town = Town(2)
    town.status[town.names[1]] = "SUSPENDED"
    shown = {}
    for running in (1, 2):
        town.answers["SHOW COMPUTE POOLS"] = rows(
            "name state instance_family active_nodes num_services", f"POOL|ACTIVE|GPU_NV_S|2|{running}"
        )
        shown[running] = [row["credits"] for row in rows_of(town.look()[0], PRICE)]
    assert shown == {1: [pytest.approx(1.71), 0.0], 2: [None, 0.0]}


def test_bars_name_the_dearest_and_sum_up_the_rest() -> None:
    day = datetime(2026, 11, 1, tzinfo=timezone.utc).date()
    found = stacked(((day, f"P{n}", float(n)) for n in range(12)), most=3)
    assert list(found) == ["P11", "P10", "P9", ""]
    assert found[""][day] == sum(range(9))


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_no_cell_of_the_csv_begins_a_formula(name: str) -> None:
    assert _cell(name) == f"'{name}"


# -- who looks ---------------------------------------------------------------------------------------------


def test_dss_is_asked_again_after_half_a_minute_and_before_each_change() -> None:
    clock, groups, asked = Clock(), ["ops"], []

    def identify(headers: Any) -> Any:
        asked.append(headers)
        return {"authIdentifier": "olga", "groups": list(groups)}

    viewers, headers = Viewers(identify, clock), {"Cookie": "session=1"}
    assert viewers.viewer(headers) == Viewer("olga", frozenset(["ops"]))
    groups.clear()
    assert viewers.viewer(headers).groups, "what DSS said half a minute ago is good enough to look"
    assert not viewers.viewer(headers, fresh=True).groups
    clock.now += 31
    viewers.viewer(headers)
    assert len(asked) == 3
    assert viewers.viewer({"Cookie": "session=2"}) and len(asked) == 4, (
        "another browser is asked for by itself"
    )


def test_nobody_is_taken_for_another_where_dss_knows_browsers_by_headers_of_a_proxy() -> None:
    """DSS is given all headers, and which of them name the user is its own matter."""
    viewers = Viewers(lambda headers: {"authIdentifier": headers["X-Remote-User"], "groups": []}, Clock())
    seen = [viewers.viewer({"Accept": "*/*", "X-Remote-User": user}).user for user in ("ann", "bob", "ann")]
    assert seen == ["ann", "bob", "ann"]


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"authIdentifier": None},
        {"authIdentifier": ""},
        {"authIdentifier": ["a"]},
        ValueError("no"),
    ],
)
def test_whatever_dss_says_of_a_stranger_it_is_nobody(told: Any) -> None:
    def identify(headers: Any) -> Any:
        if isinstance(told, Exception):
            raise told
        return told

    viewer = Viewers(identify).viewer({})
    assert viewer == NOBODY
    assert not viewer.is_operator(("",)) and not viewer.is_operator(())


@pytest.mark.parametrize("groups", [None, 5, "ops", {"ops": 1}])
def test_groups_in_another_form_than_a_list_are_none(groups: Any) -> None:
    viewer = Viewers(lambda _: {"authIdentifier": "olga", "groups": groups}).viewer({})
    assert viewer == Viewer("olga", frozenset())


def test_pages_that_nobody_looks_at_are_closed_after_a_minute() -> None:
    clock = Clock()
    watches = Watches(clock)
    assert watches.add(name_of(1)) and not watches.add(name_of(1))
    for number in range(20):
        watches.add(name_of(number))
    assert len(watches.open()) == 10
    clock.now += 61
    assert watches.open() == []


# -- the form ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "expected"),
    [(None, ()), ("", ()), (["a", " b ", "a", None], ("a", "b")), ("a, b\nc", ("a", "b", "c")), ([], ())],
)
def test_groups_are_read_as_dss_leaves_them(groups: Any, expected: tuple[str, ...]) -> None:
    settings = read_monitor({"snowflakeConnection": "sf", "operatorGroups": groups, "days": "7"})
    assert (settings.operator_groups, settings.days) == (expected, 7)


@pytest.mark.parametrize(
    "config",
    [None, {}, {"snowflakeConnection": "sf", "operatorGroups": 7}, {"snowflakeConnection": "sf", "days": 0}],
)
def test_a_form_that_cannot_be_used_is_refused(config: Any) -> None:
    with pytest.raises(SpcsError, match=r"'(Snowflake connection|Operator groups|Days)'"):
        read_monitor(config)


def test_the_form_of_the_webapp_is_that_of_the_code() -> None:
    path = Path(__file__).parents[2] / "webapps" / "spcs-llm-services" / "webapp.json"
    form = {field["name"]: field for field in json.loads(path.read_text())["params"]}
    known = {field.name: field for field in vars(MonitorFields).values() if isinstance(field, Field)}
    assert list(form) == [known[name].name for name in form]
    assert set(form) == set(known)
    for name, field in form.items():
        assert field["label"] == known[name].label
        assert field["description"]
        assert field["type"] in known[name].kinds or field["type"] == "CONNECTION"
        assert field.get("defaultValue") == (known[name].absent or None)
        bounds = {field.get("maxI"), field.get("maxD")} - {None}
        assert bounds <= {getattr(known[name], "most", None)}


def test_cost_is_told_by_day_for_bars_table_and_csv() -> None:
    days = rows(
        "day pool credits until",
        "2026-11-01|P|2.5|2026-11-03 00:00:00",
        "2026-11-02|P|1.5|2026-11-03 00:00:00",
    )
    by_service = rows("day database schema service credits", "2026-11-01|DB|SC|S0001|0.5")
    session = ScriptedSession(
        {
            'SELECT CAST(START_TIME AS DATE) AS "day", COMPUTE_POOL_NAME': days,
            'SELECT CAST(START_TIME AS DATE) AS "day", DATABASE_NAME': by_service,
            "SELECT SERVICE_NAME": rows("service model pool workload credits", "S0001|M|P|SERVICE|0.5"),
            "SELECT DATE": [],
            "SHOW COMPUTE POOLS": rows(
                "name state instance_family active_nodes idle_nodes", "P|IDLE|GPU_NV_S|0|2"
            ),
            "SHOW NODES": rows("instance_family", "GPU_NV_S", "GPU_NV_S"),
        }
    )
    now = datetime(2026, 11, 3, 12, tzinfo=timezone.utc)
    cost = cost_work(lambda: session, price_list(), 7, 2.0, lambda: now)(lambda cost: None)
    assert cost.days_of(name_of(1)) == {datetime(2026, 11, 1).date(): 0.5}
    assert cost.days_of(name_of(2)) is None
    page = cost_page(cost, "pool")
    assert (page["credits"], page["cost"], page["idleNodes"], page["nodes"]) == (4.0, 8.0, 2, 2)
    assert cost_page(cost, "service")["series"][0]["name"] == "DB.SC.S0001"
    assert cost_csv(cost).splitlines()[1:] == [
        "2026-11-01,pool,P,2.5,5.0,USD",
        "2026-11-02,pool,P,1.5,3.0,USD",
        "2026-11-01,service,DB.SC.S0001,0.5,1.0,USD",
    ]


def test_a_day_of_a_service_is_found_by_the_schema_of_its_model() -> None:
    """The view names the schema of the model: SNOWFLAKE.MODELS, where Snowflake provides it."""
    day = datetime(2026, 11, 1).date()
    service, model = QualifiedName("ML", "PROD", "CHAT"), QualifiedName("REG", "MODELS", "QWEN")

    def found(database: str, schema: str, known: QualifiedName | None) -> bool:
        nothing = cast("CostReport", None)
        cost = Cost(nothing, (ServiceDay(day, database, schema, "CHAT", 3.5),))
        return cost.days_of(service, known) == {day: 3.5}

    assert found("ML", "PROD", None) and found("ML", "PROD", model)
    assert found("SNOWFLAKE", "MODELS", None)
    assert found("SNOWFLAKE", "MODELS", QualifiedName("SNOWFLAKE", "MODELS", "QWEN"))
    assert found("REG", "MODELS", model)
    assert not found("REG", "MODELS", None)
    assert not found("SNOWFLAKE", "MODELS", model), "of a service with the same name in another schema"


def test_without_any_right_to_cost_the_reason_is_kept() -> None:
    work = cost_work(lambda: ScriptedSession({}), price_list(), 7, None, lambda: datetime.now(timezone.utc))
    with pytest.raises(SpcsError, match="Snowflake refuses"):
        work(lambda cost: None)


def test_metrics_and_events_are_read_by_name_and_what_is_odd_is_left_out() -> None:
    told = rows(
        "timestamp metric value unit container",
        "2026-11-01 00:02:00|container.cpu.usage|0.5|cpu|main",
        "2026-11-01 00:01:00|container.cpu.usage|0.25|cpu|main",
        "NULL|container.cpu.usage|1|cpu|main",
        "2026-11-01 00:01:00|container.cpu.usage|NaN|cpu|main",
    )
    (series,) = read_series(told)
    assert [value for _, value in series.points] == [0.25, 0.5]
    (event,) = read_events(
        [
            {
                "timestamp": None,
                "severity": "INFO",
                "event": "X",
                "details": '{"message": "token=abc", "status": "READY"}',
            }
        ]
    )
    assert (event.message, event.status) == ("token=…", "READY")
