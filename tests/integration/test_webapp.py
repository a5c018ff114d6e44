"""The webapp's backend as DSS runs it, over HTTP: who may do what, and what it says when something is wrong."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("flask", reason="Flask is what DSS brings; the sandbox's environment has it")

from sandbox.dss import SnowflakeConnection, SnowflakeLogin
from sandbox.snowflake import USER
from sandbox.snowflake.catalog import CALLER, WAREHOUSE
from tests.integration.webapp_scene import (
    CHAT,
    EMBED,
    OPERATOR,
    PROJECT,
    STRANGER,
    Scene,
    scene,
    wait_for_what_was_begun,
)
from tests.waiting import wait_for

SECRETS = (
    "hunter2-hunter2",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
    "hf_abcdefghijklmnop",
    "c2VjcmV0LXRva2Vu",
)
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "\x1b[31mred\x1b[0m \u202eesrever",
    f"password={SECRETS[0]}",
    f"Authorization: Bearer {SECRETS[1]}",
    f"downloading with {SECRETS[2]}",
    f'Snowflake Token="{SECRETS[3]}"',
    "Received request chatcmpl-1: prompt: 'the secret of the user'",
)
RATES = [0.57, 0.06]  # credits per hour: a node for each service, with nothing else on it


@pytest.fixture(scope="module")
def at() -> Iterator[Scene]:
    with scene() as made:
        yield made


@pytest.fixture(scope="module")
def started(at: Scene) -> Iterator[Any]:
    """A webapp whose backend is in this process. Other tests start one as DSS does, in a process of its own."""
    webapp = at.start()
    with at.quick(webapp, look_seconds=2.0):
        yield webapp


@pytest.fixture
def running(at: Scene, started: Any) -> Any:
    """The same, as soon as it has seen that what other tests changed is as it was."""
    browser, seen = at.browser(started, OPERATOR), list[Any]()

    def is_as_it_was() -> bool:
        seen[:] = [(row["kind"], row["credits"]) for row in at.known(browser, services=2)["rows"]]
        return seen == [("running", rate) for rate in RATES]

    try:
        wait_for(is_as_it_was)
    except AssertionError:
        pytest.fail(f"the webapp still sees {seen}")
    return started


@pytest.fixture(autouse=True)
def all_run(at: Scene) -> Iterator[None]:
    yield
    at.sf.statement_faults.clear()
    at.sf.faults.clear()
    with at.sf.world.lock:
        catalog = at.sf.world.catalog
        for key in [key for key in catalog.services if key[2] not in ("CHAT", "EMBED")]:
            catalog.drop_service(catalog.services[key])
        now = catalog.settle()
        for service in catalog.services.values():
            service.resume(now)
    wait_for_what_was_begun()


def test_dss_finds_the_backend_alive(at: Scene) -> None:
    running = at.start()
    url = f"{at.url}/web-apps-backends/{PROJECT}/{running.id}/__ping"
    assert at.browser(running, OPERATOR).http.get(url, timeout=30).status_code == 200


def test_a_backend_of_another_framework_is_refused_with_the_setting_that_selects_it() -> None:
    """From DSS 14.2 on, a webapp can have FastAPI (release notes of DSS 14)."""
    dss = importlib.import_module("spcs_llm.monitor.dss")
    with pytest.raises(Exception, match="needs Flask") as refused:
        dss.serve(object(), None, {})
    assert "Select Flask" in str(refused.value)


def test_all_services_are_there_with_what_they_cost(at: Scene, running: Any) -> None:
    seen = at.known(at.browser(running, STRANGER))
    assert [(row["id"], row["kind"], row["ready"], row["wanted"]) for row in seen["rows"]] == [
        (CHAT, "running", 1, 1),
        (EMBED, "running", 1, 1),
    ]
    assert [row["credits"] for row in seen["rows"]] == RATES
    assert (seen["sums"]["credits"], round(seen["sums"]["cost"], 2)) == (pytest.approx(0.63), 1.89)
    assert seen["age"] >= 0
    assert f"user {USER}, role {CALLER}" in seen["identity"]


def test_rows_are_searched_filtered_sorted_and_cut_into_pages(at: Scene, running: Any) -> None:
    browser = at.browser(running, STRANGER)
    assert [row["id"] for row in browser.json("overview", search="emb cpu")["rows"]] == [EMBED]
    assert browser.json("overview", kind="failed")["rows"] == []
    down = browser.json("overview", sort="credits", order="desc", size=1)
    assert ([row["id"] for row in down["rows"]], down["pages"], down["found"]) == ([CHAT], 2, 2)
    assert [row["id"] for row in browser.json("overview", size=1, page=99, sort="service")["rows"]] == [EMBED]
    odd = browser.json("overview", size="x", page="-3", sort="'; DROP", kind="<b>")
    assert odd["found"] == 2


def test_one_service_is_shown_with_its_log_events_and_values_for_the_form(at: Scene, running: Any) -> None:
    browser = at.browser(running, STRANGER)
    page: dict[str, Any] = {}

    def complete() -> bool:
        page.update(browser.json("service", name=CHAT))
        return page["logs"] is not None and page["events"] is not None and page["cost"] is not None

    wait_for(complete)
    assert page["containers"][0]["state"] == "READY"
    assert "INFO: Application startup complete." in page["logs"][0]["lines"]
    assert page["events"][0]["event"] == "SERVICE.STATUS_CHANGE"
    values = {field["name"]: field["value"] for field in page["form"][0]["values"]}
    assert values["llmEndpointUrl"] == at.chat.url
    assert (page["cost"]["of"], len(page["cost"]["days"])) == ("pool", 31)


def test_lines_of_a_log_show_neither_credentials_nor_prompts(at: Scene) -> None:
    with at.sf.world.lock:
        service = at.sf.world.catalog.service_named("CHAT")
        service.extra_log = HOSTILE
    running = at.start()
    browser = at.browser(running, STRANGER)
    at.known(browser)
    page: dict[str, Any] = {}

    def complete() -> bool:
        page.update(browser.json("service", name=CHAT))
        return page["logs"] is not None

    wait_for(complete)
    with at.sf.world.lock:
        service.extra_log = ()
    shown = json.dumps(page, ensure_ascii=False)
    assert [
        secret for secret in (*SECRETS, "the secret of the user", "\x1b", "\u202e") if secret in shown
    ] == []
    lines = page["logs"][0]["lines"]
    assert "password=…" in lines
    assert "(a line about a request)" in lines
    assert HOSTILE[0] in lines, "markup is text: it is for the page to show it as such"


# -- who may do what ---------------------------------------------------------------------------------------


def test_a_stranger_and_nobody_may_look_and_not_change(at: Scene) -> None:
    running = at.start(public=True)
    for user in (STRANGER, None):
        browser = at.browser(running, user)
        at.known(browser)
        assert browser.json("me")["operator"] is False
        refused = browser.post("operation/preview", {"verb": "suspend", "service": CHAT})
        assert refused.status_code == (403 if user else 401)
        refused = browser.post("operation", {"confirmation": "x" * 32})
        assert refused.status_code == (403 if user else 401)
    nobody = at.browser(running, None)
    assert nobody.json("me")["csrf"] is None
    assert nobody.json("service", name=CHAT)["logs"] is None
    assert nobody.get("diagnosis", name=CHAT).status_code == 401
    assert nobody.get("models").status_code == 401
    assert at.status("CHAT") == "RUNNING"


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "forged",
    [
        {"X-DKU-AuthIdentifier": OPERATOR, "X-Forwarded-User": OPERATOR, "Remote-User": OPERATOR},
        {"Cookie": "sandbox_dss_session=forged"},
        {"Cookie": 'sandbox_dss_session="\\000\\;; a=b'},
        {"Authorization": "Bearer forged"},
    ],
    ids=["names", "cookie", "broken cookie", "bearer"],
)
def test_a_forged_header_makes_nobody_an_operator(at: Scene, forged: dict[str, str]) -> None:
    running = at.start(public=True)
    browser = at.browser(running, None)
    url = f"{at.url}/web-apps-backends/{PROJECT}/{running.id}/api"
    me = browser.http.get(f"{url}/me", headers=forged, timeout=30).json()
    assert (me["user"], me["operator"], me["csrf"]) == (None, False, None)
    body = {"verb": "suspend", "service": CHAT}
    refused = browser.http.post(f"{url}/operation/preview", json=body, headers=forged, timeout=30)
    assert refused.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "ü"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["none", "wrong", "odd", "cross-site"],
)
def test_a_request_that_is_not_the_pages_changes_nothing(
    at: Scene, running: Any, headers: dict[str, str]
) -> None:
    browser = at.browser(running, OPERATOR)
    csrf = browser.json("me")["csrf"]
    if "Sec-Fetch-Site" in headers:
        headers = {**headers, "X-CSRF-Token": csrf}
    told = {name: value.encode() for name, value in headers.items()}
    refused = browser.post("operation/preview", {"verb": "suspend", "service": CHAT}, told)  # type: ignore[arg-type]
    assert refused.status_code == 403
    url = f"{at.url}/web-apps-backends/{PROJECT}/{running.id}/api/operation/preview"
    as_form = browser.http.post(url, data={"verb": "suspend"}, headers={"X-CSRF-Token": csrf}, timeout=30)
    assert as_form.status_code == 403


def test_the_token_of_one_viewer_is_of_no_use_to_another(at: Scene, running: Any) -> None:
    stolen = at.browser(running, STRANGER).json("me")["csrf"]
    operator = at.browser(running, OPERATOR)
    refused = operator.post(
        "operation/preview", {"verb": "suspend", "service": CHAT}, {"X-CSRF-Token": stolen}
    )
    assert refused.status_code == 403


@pytest.mark.exhaustive
def test_without_operator_groups_nobody_operates(at: Scene) -> None:
    running = at.start(operatorGroups=None)
    browser = at.browser(running, OPERATOR)
    at.known(browser)
    assert browser.post("operation/preview", {"verb": "suspend", "service": CHAT}).status_code == 403


# -- suspending and resuming -------------------------------------------------------------------------------


def test_an_operator_suspends_after_being_told_the_saving(at: Scene) -> None:
    running = at.start()
    browser = at.browser(running, OPERATOR)
    at.known(browser)
    preview = browser.post("operation/preview", {"verb": "suspend", "service": CHAT}).json()
    assert at.status("CHAT") == "RUNNING", "a preview changes nothing"
    assert (preview["effects"][0]["credits"], round(preview["effects"][0]["cost"], 2)) == (0.57, 1.71)
    done = browser.post("operation", {"confirmation": preview["confirmation"]})
    assert (done.status_code, done.json()["outcome"]) == (200, "changed")
    assert at.status("CHAT") == "SUSPENDED"
    again = browser.post("operation", {"confirmation": preview["confirmation"]})
    assert again.status_code == 400, "a confirmation is good once"
    wait_for(lambda: browser.json("service", name=CHAT)["row"]["kind"] == "suspended")
    preview = browser.post("operation/preview", {"verb": "resume", "service": CHAT}).json()
    assert browser.post("operation", {"confirmation": preview["confirmation"]}).json()["outcome"] == "changed"
    assert at.status("CHAT") == "RUNNING"
    assert "by user olga of DSS" in running.log


@pytest.mark.exhaustive
def test_of_two_operators_one_suspends_and_the_other_is_told(at: Scene, running: Any) -> None:
    at.dss.put_in_groups("otto", "ops")
    at.dss.give_rights("otto", PROJECT, "READ_CONF")
    first, second = at.browser(running, OPERATOR), at.browser(running, "otto")
    asked = {"verb": "suspend", "service": CHAT}
    previews = [b.post("operation/preview", asked).json()["confirmation"] for b in (first, second)]
    stolen = second.post("operation", {"confirmation": previews[0]})
    assert stolen.status_code == 400, "another operator's confirmation is of no use"
    previews[0] = first.post("operation/preview", asked).json()["confirmation"]
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda b=b, c=c: answers.append(b.post("operation", {"confirmation": c})))
        for b, c in ((first, previews[0]), (second, previews[1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.json()["outcome"] for answer in answers} <= {"changed", "unchanged"}
    assert at.status("CHAT") == "SUSPENDED"


def test_what_cannot_be_done_is_said_with_the_grant(at: Scene, running: Any) -> None:
    at.sf.statement_faults.arm(
        "error", "^ALTER SERVICE", code="003001", state="42501", message="Insufficient privileges"
    )
    browser = at.browser(running, OPERATOR)
    preview = browser.post("operation/preview", {"verb": "suspend", "service": CHAT}).json()
    refused = browser.post("operation", {"confirmation": preview["confirmation"]})
    assert refused.status_code == 422
    assert f"GRANT OPERATE ON SERVICE {CHAT} TO ROLE {CALLER}" in refused.json()["error"]["message"]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"verb": "drop", "service": CHAT}, 400),
        ({"verb": "suspend", "service": "DATAIKU_SPCS.PUBLIC.*"}, 400),
        ({"verb": "suspend", "service": "A.B.C"}, 404),
        ({"verb": "suspend", "service": "x; DROP SERVICE y"}, 400),
        ({"verb": "suspend", "service": ["A"]}, 400),
        ([], 400),
    ],
)
def test_nothing_else_is_operated(at: Scene, running: Any, body: Any, status: int) -> None:
    assert at.browser(running, OPERATOR).post("operation/preview", body).status_code == status
    assert at.status("CHAT") == "RUNNING"


# -- when something is wrong -------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_service_that_is_dropped_while_its_page_is_open_is_named(at: Scene) -> None:
    running = at.start()
    with at.quick(running):
        browser = at.browser(running, STRANGER)
        with at.sf.world.lock:
            extra = at.sf.world.catalog.add_service("GONE_SOON")
        name = "DATAIKU_SPCS.PUBLIC.GONE_SOON"
        wait_for(lambda: browser.get("service", name=name).status_code == 200)
        with at.sf.world.lock:
            at.sf.world.catalog.drop_service(extra)
        wait_for(lambda: browser.get("service", name=name).status_code == 404)
        error = browser.get("service", name=name).json()["error"]
        assert name in error["message"]
        assert "dropped" in error["hint"]


@pytest.mark.exhaustive
def test_while_snowflake_is_away_the_last_data_stays_with_the_reason(at: Scene) -> None:
    running = at.start()
    with at.quick(running):
        browser = at.browser(running, STRANGER)
        before = at.known(browser)
        at.sf.statement_faults.arm(
            "error", "^SHOW SERVICES", times=None, code="000603", state="XX000", message="Away"
        )
        wait_for(lambda: browser.json("overview")["problem"] is not None)
        seen = browser.json("overview", size=100)
        assert [row["id"] for row in seen["rows"]] == [row["id"] for row in before["rows"]]
        assert "Away" in seen["problem"]["message"]
        at.sf.statement_faults.clear()
        wait_for(lambda: browser.json("overview")["problem"] is None)


@pytest.mark.exhaustive
def test_a_connection_that_the_run_as_user_may_not_use_is_named(at: Scene) -> None:
    login = SnowflakeLogin(USER, access_token=at.sf.issue_oauth_token())
    closed = SnowflakeConnection(
        "closed", at.sf.account_url, {"*": login}, CALLER, WAREHOUSE, usable_by=frozenset()
    )
    at.dss.create_sql_connection("closed", closed)
    at.dss.give_rights("robot", PROJECT, "READ_CONF")
    values = {"snowflakeConnection": "closed"}
    running = at.dss.start_webapp(
        "snowpark-container-services-llm", "spcs-llm-services", PROJECT, values, run_as="robot"
    )
    browser = at.browser(running, STRANGER)
    wait_for(lambda: browser.json("overview")["problem"] is not None)
    seen = browser.json("overview")
    assert (seen["known"], seen["age"]) == (False, None)
    assert "closed" in seen["problem"]["message"]
    assert browser.get("service", name=CHAT).status_code == 409


@pytest.mark.exhaustive
def test_a_role_that_sees_nothing_has_an_empty_page_that_says_whose_rights_were_used(at: Scene) -> None:
    with at.sf.world.lock:
        at.sf.world.catalog.grants.add_role("NOTHING")
    login = SnowflakeLogin("NORA", password="pw")
    at.sf.world.add_user("NORA", "NOTHING", password="pw")
    at.dss.create_sql_connection(
        "bare", SnowflakeConnection("bare", at.sf.account_url, {"*": login}, "NOTHING")
    )
    running = at.start(snowflakeConnection="bare")
    browser = at.browser(running, STRANGER)
    wait_for(lambda: browser.json("overview")["known"])
    seen = browser.json("overview")
    assert (seen["found"], seen["sums"]["services"], seen["rows"]) == (0, 0, [])
    assert "role NOTHING" in seen["identity"]


def test_a_wrong_form_is_told_on_the_page(at: Scene) -> None:
    running = at.start(snowflakeConnection=None, days=0)
    browser = at.browser(running, STRANGER)
    problem = browser.json("me")["problem"]
    assert "'Snowflake connection' is empty" in problem["message"]
    wait_for(lambda: browser.json("overview")["problem"] is not None)


def test_answers_are_never_kept_and_never_run(at: Scene, running: Any) -> None:
    for path in ("me", "overview", "service?name=x", "nothing"):
        answer = at.browser(running, STRANGER).get(path)
        if path != "nothing":
            assert answer.headers["Cache-Control"] == "no-store"
            assert "sandbox" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


# -- cost, diagnosis, models -------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_cost_is_told_by_pool_by_service_and_as_csv(at: Scene) -> None:
    with at.sf.world.lock:
        catalog = at.sf.world.catalog
        services = {key[2]: service for key, service in catalog.services.items()}
        catalog.usage.seed(20, services["EMBED"].pool, services=[services["EMBED"]])
    running = at.start()
    browser = at.browser(running, STRANGER)
    wait_for(lambda: browser.json("cost")["known"])
    by_pool, by_service = browser.json("cost"), browser.json("cost", by="service")
    assert by_pool["credits"] > 0
    assert sum(
        sum(s["credits"] for s in [one]) if False else sum(one["credits"]) for one in by_pool["series"]
    ) == (pytest.approx(by_pool["credits"]))
    assert [one["name"] for one in by_service["series"]] == [EMBED]
    assert by_pool["monthCost"] > 0
    lines = browser.get("cost.csv").text.splitlines()
    assert lines[0] == "day_utc,kind,name,credits,cost,currency"
    assert any(f",service,{EMBED}," in line for line in lines)
    at.known(browser)
    assert browser.json("service", name=EMBED)["cost"]["of"] == "service"


def test_a_diagnosis_shows_its_steps_and_runs_once_for_all(at: Scene, running: Any) -> None:
    first, second = at.browser(running, OPERATOR), at.browser(running, STRANGER)
    wait_for(lambda: first.json("service", name=EMBED)["endpoints"])
    started = first.post("diagnosis", {"service": EMBED}).json()
    assert started["service"]["planned"][0] == "Service state"
    again = second.post("diagnosis", {"service": EMBED}).json()
    assert again["service"]["planned"] == started["service"]["planned"]
    wait_for(lambda: second.json("diagnosis", name=EMBED)["service"]["done"])
    seen = second.json("diagnosis", name=EMBED)
    results = [step["result"] for step in seen["service"]["steps"]]
    assert results == ["ok", "ok", "ok", "ok", "skipped", "ok"]
    assert seen["query"] is None, "no model was selected"


def _queried(browser: Any, name: str) -> dict[str, Any]:
    """The steps of a viewer's own diagnosis, by name, once it is done."""
    seen: dict[str, Any] = {}

    def done() -> bool:
        seen.update(browser.json("diagnosis", name=name))
        return seen["query"] is not None and seen["query"]["done"]

    wait_for(done)
    return {step["step"]: step for step in seen["query"]["steps"]}


def _public(browser: Any, name: str) -> None:
    """Waits until the endpoints of a service are known."""
    wait_for(
        lambda: (
            browser.get("service", name=name).status_code == 200
            and browser.json("service", name=name)["endpoints"]
        )
    )


@pytest.mark.exhaustive
def test_a_diagnosis_asks_the_viewers_model_with_the_viewers_rights(at: Scene) -> None:
    running = at.start()
    with at.quick(running), at.talker(STRANGER) as talk:
        stranger, operator = at.browser(running, STRANGER), at.browser(running, OPERATOR)
        _public(stranger, talk.service)
        offered = stranger.json("models", service=talk.service)
        assert (offered["likely"], [one["kind"] for one in offered["models"]]) == (talk.model, ["chat"])
        started = stranger.post("diagnosis", {"service": talk.service, "model": talk.model}).json()
        assert started["query"]["planned"] == [
            "Model",
            "Sign-in",
            "Gateway",
            "Query",
            "Streaming",
            "Cost",
        ]
        steps = _queried(stranger, talk.service)
        assert {step["result"] for step in steps.values()} == {"ok"}
        assert "went to an endpoint of this service" in steps["Gateway"]["seen"]
        assert operator.json("diagnosis", name=talk.service)["query"] is None, (
            "a query is seen by its viewer only"
        )
        operator.post("diagnosis", {"service": talk.service, "model": talk.model})
        steps = _queried(operator, talk.service)
        assert steps["Query"]["result"] == "failed", "this user has no credential, and gets nobody else's"
        assert "no credential" in steps["Query"]["seen"]
        assert steps["Streaming"]["seen"].startswith("Waits for the step 'Query'")


@pytest.mark.exhaustive
def test_a_diagnosis_says_that_a_model_asks_another_service(at: Scene) -> None:
    running = at.start()
    with at.quick(running), at.talker(STRANGER) as talk:
        browser = at.browser(running, STRANGER)
        _public(browser, CHAT)
        browser.post("diagnosis", {"service": CHAT, "model": talk.model})
        gateway = _queried(browser, CHAT)["Gateway"]
        assert gateway["result"] == "warning"
        assert "not an endpoint of this service" in gateway["seen"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("fault", "step", "earlier"),
    [
        ({"kind": "gateway_error"}, "Gateway", {"Model": "ok", "Sign-in": "ok"}),
        (
            {"kind": "respond", "status": 400, "json": {"error": {"message": "no such thing"}}},
            "Query",
            {"Model": "ok", "Sign-in": "ok", "Gateway": "ok"},
        ),
    ],
    ids=["gateway", "service"],
)
def test_the_step_of_a_diagnosis_that_failed_is_the_one_that_the_error_names(
    at: Scene, fault: dict[str, Any], step: str, earlier: dict[str, str]
) -> None:
    running = at.start()
    with at.quick(running), at.talker(STRANGER) as talk:
        browser = at.browser(running, STRANGER)
        _public(browser, talk.service)
        at.sf.faults.arm(where=talk.service.rpartition(".")[2].lower(), times=None, **fault)
        browser.post("diagnosis", {"service": talk.service, "model": talk.model})
        steps = _queried(browser, talk.service)
        assert steps[step]["result"] == "failed"
        assert {name: steps[name]["result"] for name in earlier} == earlier


@pytest.mark.sample(1)
@pytest.mark.parametrize("model", ["openai:gpt", 7, "custom:no:such"])
def test_no_model_that_llm_mesh_does_not_offer_is_queried(at: Scene, running: Any, model: Any) -> None:
    browser = at.browser(running, STRANGER)
    answer = browser.post("diagnosis", {"service": EMBED, "model": model})
    if answer.status_code == 200:
        steps = _queried(browser, EMBED)
        assert steps["Model"]["result"] == "failed"
        assert {steps[name]["result"] for name in ("Sign-in", "Query")} == {"skipped"}
    else:
        assert answer.status_code == 400


def _answered(browser: Any, started: Any) -> dict[str, Any]:
    """What came of a prompt, once it is done."""
    assert started.status_code == 200, started.text
    seen: dict[str, Any] = {}

    def done() -> bool:
        seen.update(browser.json("prompt", run=started.json()["run"]))
        return bool(seen["done"])

    wait_for(done)
    return seen


def test_a_model_is_asked_with_the_viewers_rights(
    at: Scene, running: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with at.talker(STRANGER) as talk:
        stranger, operator = at.browser(running, STRANGER), at.browser(running, OPERATOR)
        assert [one["id"] for one in stranger.json("models")["models"]] == [talk.model]
        asked = {"model": talk.model, "prompt": "Say nothing of zebras"}
        answer = _answered(stranger, stranger.post("prompt", asked))
        assert answer["text"]
        assert answer["completionTokens"] > 0
        assert answer["cost"] > 0
        assert any(span["name"] == "SPCS_REQUEST" for span in answer["trace"])
        refused = _answered(operator, operator.post("prompt", {**asked, "prompt": "zebras"}))
        assert "no credential" in refused["error"]["message"], "this user has no token of their own"
        assert refused["error"]["hint"]
        assert "zebras" not in caplog.text
        assert stranger.post("prompt", {**asked, "prompt": " "}).status_code == 400
        assert stranger.post("prompt", {**asked, "prompt": "x" * 9000}).status_code == 400


@pytest.mark.exhaustive
def test_a_slow_answer_is_seen_by_its_viewer_alone_and_ends_when_cancelled(at: Scene, running: Any) -> None:
    with at.talker(STRANGER, OPERATOR, tokens=10_000, token_seconds=0.05) as talk:
        stranger, operator = at.browser(running, STRANGER), at.browser(running, OPERATOR)

        def start() -> str:
            asked = {"model": talk.model, "prompt": "Count to ten thousand"}
            run: str = stranger.post("prompt", asked).json()["run"]
            return run

        def speaks(run: str) -> bool:
            return len(stranger.json("prompt", run=run)["text"].split()) > 2

        runs = [start(), start()]
        wait_for(lambda: all(map(speaks, runs)))
        assert stranger.json("prompt", run=runs[0])["done"] is False
        assert operator.get("prompt", run=runs[0]).status_code == 404
        assert operator.post("prompt/cancel", {"run": runs[0]}).status_code == 404
        assert at.browser(at.start(public=True), None).get("prompt", run=runs[0]).status_code == 401
        one_too_many = start()
        wait_for(lambda: stranger.json("prompt", run=one_too_many)["done"])
        assert "2 queries of yours" in stranger.json("prompt", run=one_too_many)["error"]["message"], (
            "the places are taken until a query ends"
        )
        for run in runs:
            assert stranger.post("prompt/cancel", {"run": run}).status_code == 200
        assert stranger.get("prompt", run=runs[0]).status_code == 404
        last: list[str] = []

        def has_a_place_again() -> bool:
            if not last or stranger.json("prompt", run=last[-1])["done"]:
                last.append(start())
            return speaks(last[-1])

        wait_for(has_a_place_again)
        stranger.post("prompt/cancel", {"run": last[-1]})


@pytest.mark.exhaustive
def test_without_the_right_to_act_as_the_viewer_no_model_is_asked(at: Scene) -> None:
    at.dss.put_in_groups("alone", "guests")
    at.dss.give_rights("alone", PROJECT, "READ_CONF")
    running = at.start()
    refused = at.browser(running, "alone").get("models")
    assert refused.status_code == 422
    assert "Impersonation in webapps" in refused.json()["error"]["hint"]


# -- how much Snowflake is asked ---------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_fifty_viewers_cost_no_more_statements_than_one(at: Scene) -> None:
    """Statements of a look at the account, once everything is known: the same, whoever looks at the page."""
    running = at.start()
    with at.quick(running, look_seconds=0.05) as quick:

        def statements_of_looks(viewers: int, looks: int = 8) -> float:
            browsers = [at.browser(running, STRANGER) for _ in range(viewers)]
            at.known(browsers[0])
            wait_for(lambda: quick.asked[-4:] == quick.asked[-4:-2] * 2)  # nothing more is to be found out
            begin = len(quick.asked)
            done = threading.Event()

            def look(browser: Any) -> None:
                while not done.wait(0.1):  # together, several times for each look at the account
                    browser.json("overview")

            threads = [threading.Thread(target=look, args=(browser,)) for browser in browsers[:8]]
            for thread in threads:
                thread.start()
            for browser in browsers:
                browser.json("overview")
                browser.json("cost")
            wait_for(lambda: _looks(quick.asked[begin:]) >= looks, 60)
            asked = list(quick.asked[begin:])
            done.set()
            for thread in threads:
                thread.join()
            return len(asked) / _looks(asked)

        def fewest(viewers: int) -> int:
            """A look that takes long has statements more, of what is looked at from time to time."""
            found = round(statements_of_looks(viewers))
            for _ in range(2):
                if found > 2:
                    found = min(found, round(statements_of_looks(viewers)))
            return found

        assert fewest(1) == fewest(50) == 2


def _looks(asked: list[str]) -> int:
    return sum(statement.startswith("SHOW SERVICES EXCLUDE") for statement in asked)
