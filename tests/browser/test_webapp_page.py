"""The page of the webapp in a real browser, served as the sandbox's DSS serves it.

They need Playwright, in an environment of their own, and a Chromium: `make test-browser`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is in requirements/browser.txt only"
)
axe = pytest.importorskip("axe_playwright_python", reason="axe is in requirements/browser.txt only")

from tests.integration.webapp_scene import (  # noqa: E402
    CHAT,
    EMBED,
    OPERATOR,
    STRANGER,
    Quick,
    Scene,
    scene,
    wait_for_what_was_begun,
)
from tests.waiting import wait_for  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = (Path(axe.__file__).parent / "axe.min.js").read_text()
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def at() -> Iterator[Scene]:
    with scene() as made:
        with made.sf.world.lock:
            catalog = made.sf.world.catalog
            services = {key[2]: service for key, service in catalog.services.items()}
            catalog.usage.seed(20, services["CHAT"].pool)
            catalog.usage.seed(20, services["EMBED"].pool, services=[services["EMBED"]])
            services["CHAT"].extra_log = (HOSTILE, "password=hunter2-hunter2")
            services["CHAT"].metrics = tuple(
                (60.0 * n, "container.gpu.utilization", 0.5 + n % 3 / 10, "ratio") for n in range(30)
            )
        yield made


@pytest.fixture(scope="module")
def backend(at: Scene) -> Iterator[tuple[Any, Quick]]:
    started = at.start()
    with at.quick(started, look_seconds=0.5) as quick:
        yield started, quick


@pytest.fixture(scope="module")
def running(backend: tuple[Any, Quick]) -> Any:
    return backend[0]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Tab:
    """A page of one user. What goes wrong in it is collected, and must be nothing in the end."""

    def __init__(self, chromium: Any, at: Scene, running: Any, user: str | None, **context: Any) -> None:
        self.context = chromium.new_context(**{"locale": "en-GB", "timezone_id": "Europe/Paris", **context})
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(at.dss.webapp_url(running, user))

    def _heard(self, message: Any) -> None:
        if message.type == "error" and "the server responded with a status" not in message.text:
            self.troubles.append(message.text)

    def open(self, hash: str) -> None:
        self.page.evaluate("hash => { location.hash = hash }", hash)

    def findings(self) -> list[str]:
        """What axe finds, against WCAG 2.2 A and AA and its own best practices for pages."""
        self.page.evaluate(AXE)  # by the protocol of the debugger, which no policy of the page stops
        result = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{found['id']}: {node['target']} {node['failureSummary']}"
            for found in result["violations"]
            for node in found["nodes"]
        ]

    def close(self) -> None:
        # A handler that is still at work would fail when its page is gone, and fail the next test with it.
        self.page.unroute_all(behavior="ignoreErrors")
        self.context.close()
        assert self.troubles == []


@pytest.fixture
def tab(chromium: Any, at: Scene, running: Any) -> Iterator[Any]:
    tabs: list[Tab] = []
    browser = at.browser(running, OPERATOR)
    wait_for(lambda: [row["kind"] for row in at.known(browser, services=2)["rows"]] == ["running"] * 2)

    def opened(user: str | None = STRANGER, of: Any = running, **context: Any) -> Tab:
        tabs.append(Tab(chromium, at, of, user, **context))
        return tabs[-1]

    yield opened
    for one in tabs:
        one.close()
    with at.sf.world.lock:
        now = at.sf.world.catalog.settle()
        for service in at.sf.world.catalog.services.values():
            service.fall_into(None)
            service.resume(now)
    wait_for_what_was_begun()


@pytest.mark.exhaustive
def test_a_stranger_sees_services_and_no_button_to_change_them(tab: Any) -> None:
    page = tab().page
    page.get_by_role("link", name="CHAT").wait_for()
    assert page.get_by_role("button", name=f"Suspend {CHAT}").count() == 0
    page.get_by_role("link", name="EMBED").wait_for()
    rows = page.get_by_role("row")
    rows.nth(3).wait_for(state="detached")  # a header and two services, neither with a trouble
    page.locator("#spcs-sums").get_by_text("USD 1.89").wait_for()
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.exhaustive
def test_every_view_and_theme_is_accessible_to_axe(tab: Any, at: Scene) -> None:
    for scheme in ("light", "dark"):
        one = tab(OPERATOR, color_scheme=scheme)
        page = one.page
        page.get_by_role("link", name="CHAT").wait_for()
        assert one.findings() == []
        page.get_by_role("button", name=f"Suspend {CHAT}").click()
        page.get_by_role("button", name="and save").wait_for()
        assert one.findings() == []
        page.keyboard.press("Escape")
        one.open(f"#/service/{CHAT}")
        page.get_by_text("Log of container").wait_for()
        page.get_by_role("button", name="Diagnose").click()
        page.get_by_text("A request without a token is refused").wait_for()
        assert one.findings() == []
        one.open("#/cost")
        page.get_by_text("Figures").click()
        assert one.findings() == []
        one.open("#/try")
        page.get_by_text("You may not use any custom chat model.").wait_for()
        assert one.findings() == []


@pytest.mark.exhaustive
def test_markup_of_a_log_is_text_and_credentials_are_masked(tab: Any) -> None:
    one = tab()
    one.open(f"#/service/{CHAT}")
    log = one.page.get_by_role("region", name="Log of container main")
    log.wait_for()
    assert HOSTILE in log.inner_text()
    assert "hunter2" not in one.page.content()
    assert one.page.evaluate("window.hacked") is None
    assert log.locator("img, script").count() == 0


@pytest.mark.exhaustive
def test_nothing_is_fetched_from_anywhere_else_and_the_page_forbids_it(tab: Any, at: Scene) -> None:
    one = tab()
    one.page.get_by_role("link", name="CHAT").wait_for()
    assert [url for url in one.asked if not url.startswith(at.url)] == []
    policy = one.page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert "default-src 'none'" in policy
    other = at.chat.url
    outcome = one.page.evaluate("url => fetch(url).then(() => 'fetched', () => 'stopped')", other)
    assert outcome == "stopped"
    one.troubles.clear()  # the browser tells of what it stopped


@pytest.mark.exhaustive
def test_an_operator_suspends_and_resumes_and_is_told_the_saving(tab: Any, at: Scene) -> None:
    page = tab(OPERATOR).page
    page.get_by_role("button", name=f"Suspend {CHAT}").click()
    confirm = page.get_by_role("button", name="Suspend, and save USD 1.71 per hour")
    confirm.wait_for()
    assert at.status("CHAT") == "RUNNING"
    confirm.click()
    page.get_by_role("button", name=f"Resume {CHAT}").wait_for()
    assert at.status("CHAT") == "SUSPENDED"
    page.get_by_role("button", name=f"Resume {CHAT}").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    page.get_by_role("button", name=f"Suspend {CHAT}").wait_for()
    assert at.status("CHAT") == "RUNNING"


@pytest.mark.exhaustive
def test_what_one_viewer_changes_another_sees(tab: Any, at: Scene) -> None:
    operator, stranger = tab(OPERATOR).page, tab(STRANGER)
    stranger.open(f"#/service/{CHAT}")
    stranger.page.locator(".bar .state.running").wait_for()
    operator.get_by_role("button", name=f"Suspend {CHAT}").click()
    operator.get_by_role("button", name="and save").click()
    stranger.page.locator(".bar .state.suspended").wait_for()
    assert "SUSPENDED" in stranger.page.locator("#spcs-live").inner_text(), "a screen reader says it"
    assert stranger.page.get_by_role("button", name="Resume").count() == 0


def _break_embed(at: Scene, page: Any) -> None:
    """Its container runs out of memory, and the page says so."""
    with at.sf.world.lock:
        at.sf.world.catalog.service_named("EMBED").fall_into("out_of_memory")
    page.locator("#spcs-service").get_by_text("Raise the memory").first.wait_for()


@pytest.mark.exhaustive
def test_a_service_that_breaks_while_one_looks_is_shown_with_what_to_do(tab: Any, at: Scene) -> None:
    one = tab()
    one.open(f"#/service/{EMBED}")
    page = one.page
    page.get_by_text("Log of container model-inference").wait_for()
    _break_embed(at, page)
    page.locator(".state.failed").first.wait_for()
    assert "is" in page.locator("#spcs-live").inner_text()


@pytest.mark.exhaustive
def test_a_service_that_is_dropped_while_one_looks_is_named(tab: Any, at: Scene) -> None:
    with at.sf.world.lock:
        service = at.sf.world.catalog.add_service("SHORT_LIVED")
    one = tab()
    one.page.get_by_role("link", name="SHORT_LIVED").click()
    one.page.get_by_role("heading", name="Compute pool").wait_for()
    with at.sf.world.lock:
        at.sf.world.catalog.drop_service(service)
    one.page.get_by_text("It may have been dropped").wait_for()


@pytest.mark.exhaustive
def test_an_address_that_names_no_service_leads_back_to_the_list(tab: Any) -> None:
    one = tab()
    one.open("#/service/%3Cb%3Enothing")
    one.page.get_by_text("Open the service from the list of all services").wait_for()
    one.page.get_by_role("link", name="All services").click()
    one.page.get_by_role("link", name="CHAT").wait_for()


def test_the_keyboard_is_enough(tab: Any, at: Scene) -> None:
    """Nothing but keys, from the address bar to a service that is suspended, and back to where one was."""
    page = tab(OPERATOR).page
    page.get_by_role("link", name="CHAT").wait_for()

    def until(name: str, key: str = "Tab") -> None:
        for _ in range(40):
            page.keyboard.press(key)
            told = page.evaluate(
                "() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent }"
            )
            if told.startswith(name):
                return
        raise AssertionError(f"{name} cannot be reached with {key}")

    until("Skip to the content")
    page.keyboard.press("Enter")
    until("CHAT")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=CHAT).wait_for()
    until("Suspend")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="and save").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Cancel", "the safe choice comes first"
    until("Suspend, and save")
    page.keyboard.press("Enter")
    wait_for(lambda: at.status("CHAT") == "SUSPENDED")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_role("button", name="Resume").wait_for()
    until("Cost", "Shift+Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="By service").wait_for()
    until("By service")
    page.keyboard.press("Space")
    page.get_by_text("What Snowflake attributes").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "By service", "the focus stays where it was"


def _held(page: Any, pattern: str) -> list[Any]:
    """Requests that the backend is slow to answer: each is continued by the test."""
    routes: list[Any] = []
    page.route(pattern, lambda route: routes.append(route))
    return routes


def _held_at_least(page: Any, routes: list[Any], count: int) -> None:
    for _ in range(300):
        if len(routes) >= count:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{len(routes)} requests, not {count}")


@pytest.mark.exhaustive
def test_news_between_press_and_release_does_not_lose_the_click(tab: Any) -> None:
    """A button that is drawn anew in between is not the one that was pressed."""
    page = tab(OPERATOR).page
    button = page.get_by_role("button", name=f"Suspend {CHAT}")
    button.wait_for()
    held = _held(page, "**/api/overview?*")
    _held_at_least(page, held, 1)
    news = held[0].fetch().json()
    news["notes"] = ["What was not known at the press."]
    button.hover()
    page.mouse.down()
    with page.expect_response("**/api/overview?*"):
        held[0].fulfill(json=news)
    page.wait_for_timeout(300)
    page.mouse.up()
    page.get_by_role("dialog").get_by_text("Suspend").first.wait_for()
    page.get_by_text("What was not known at the press.").wait_for()


@pytest.mark.exhaustive
def test_a_late_preview_does_not_replace_that_of_another_service(tab: Any, at: Scene) -> None:
    """Whoever is about to confirm would suspend what the dialog showed a moment before."""
    page = tab(OPERATOR).page
    page.get_by_role("button", name=f"Suspend {CHAT}").wait_for()
    held = _held(page, "**/api/operation/preview")
    for count, service in ((1, CHAT), (2, EMBED)):
        page.get_by_role("button", name=f"Suspend {service}").click()
        _held_at_least(page, held, count)
        if service == CHAT:
            page.keyboard.press("Escape")
    held[1].continue_()
    page.get_by_role("button", name="Suspend, and save").or_(page.get_by_text("nothing by itself")).wait_for()
    with page.expect_response("**/api/operation/preview"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.get_by_role("dialog").get_by_role("heading").inner_text() == f"Suspend {EMBED}?"


@pytest.mark.exhaustive
def test_cost_that_comes_late_is_not_shown_where_it_was_grouped_otherwise_since(tab: Any) -> None:
    one = tab()
    held = _held(one.page, "**/api/cost?*")
    one.open("#/cost")
    _held_at_least(one.page, held, 1)
    held[0].continue_()
    one.page.get_by_role("button", name="By service").click()
    _held_at_least(one.page, held, 2)
    one.page.get_by_role("button", name="By service").click()
    _held_at_least(one.page, held, 3)
    one.page.get_by_role("button", name="By compute pool").click()
    _held_at_least(one.page, held, 4)
    pool = one.page.get_by_role("button", name="By compute pool")
    for late in (3, 1, 2):
        with one.page.expect_response("**/api/cost?*"):
            held[late].continue_()
        one.page.wait_for_timeout(200)
        assert pool.get_attribute("aria-pressed") == "true"


@pytest.mark.exhaustive
def test_a_request_that_fails_late_hides_no_answer_to_a_later_one(tab: Any) -> None:
    one = tab()
    page = one.page
    page.get_by_role("link", name="CHAT").wait_for()
    held = _held(page, "**/api/overview?*")
    for count in (1, 2):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        _held_at_least(page, held, count)
    with page.expect_response("**/api/overview?*"):
        held[1].continue_()
    with page.expect_response("**/api/overview?*"):
        held[0].fulfill(status=502, content_type="text/html", body="<h1>Bad Gateway</h1>")
    page.wait_for_timeout(300)
    assert page.get_by_role("alert").count() == 0


@pytest.mark.exhaustive
def test_a_diagnosis_that_cannot_begin_says_so_whatever_comes_late(tab: Any) -> None:
    one = tab()
    one.open(f"#/service/{CHAT}")
    page = one.page
    page.get_by_text("Log of container main").wait_for()
    held = _held(page, "**/api/diagnosis?*")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    _held_at_least(page, held, 1)
    refusal = {"error": {"message": "Ten diagnoses are under way.", "hint": "Wait for one of them."}}
    page.route("**/api/diagnosis", lambda route: route.fulfill(status=429, json=refusal))
    page.get_by_role("button", name="Diagnose").click()
    refused = page.get_by_role("alert").get_by_text("Ten diagnoses are under way.")
    refused.wait_for()
    with page.expect_response("**/api/diagnosis?*"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert refused.is_visible()


@pytest.mark.exhaustive
def test_cost_is_downloaded_as_csv(tab: Any) -> None:
    one = tab()
    one.open("#/cost")
    link = one.page.get_by_role("link", name="Download as CSV")
    link.wait_for()
    with one.page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "model-services-cost.csv"
    saved = Path(download.value.path()).read_bytes()
    assert saved.startswith(b"\xef\xbb\xbfday_utc,kind,name,credits,cost,currency"), (
        "Excel looks for the mark"
    )


def _ask(page: Any, prompt: str) -> None:
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Ask").click()


@contextlib.contextmanager
def _answering(tab: Any, at: Scene) -> Iterator[Tab]:
    """A tab in which a model is answering, a word every twentieth of a second."""
    with at.talker(STRANGER, tokens=10_000, token_seconds=0.05):
        one = tab()
        one.open("#/try")
        _ask(one.page, "Count")
        one.page.get_by_text("answer word0 word1 word2").wait_for()
        yield one


@pytest.mark.exhaustive
def test_a_model_answers_with_its_tokens_and_its_trace(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER):
        for scheme in ("light", "dark"):
            one = tab(color_scheme=scheme)
            one.open("#/try")
            page = one.page
            _ask(page, "Say something")
            page.get_by_role("heading", name="What it took").wait_for()
            assert page.get_by_role("region", name="Trace").get_by_text("SPCS_REQUEST").count() >= 1
            assert "USD" in page.locator("#spcs-answer").inner_text()
            assert one.findings() == []


@pytest.mark.exhaustive
def test_a_slow_answer_is_seen_as_it_comes_and_can_be_cancelled(tab: Any, at: Scene) -> None:
    with _answering(tab, at) as one:
        page = one.page
        page.get_by_text("so far").first.wait_for()
        assert page.get_by_role("button", name="Ask").is_disabled()
        assert one.findings() == []
        cancel = page.get_by_role("button", name="Cancel")
        cancel.focus()
        page.keyboard.press("Enter")
        page.get_by_text("What the model still answers is not read").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Ask", "the focus stays with the form"
        assert cancel.is_disabled()


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", ["another page", "closed"])
def test_a_viewer_who_leaves_cancels_the_prompt(
    tab: Any, at: Scene, backend: tuple[Any, Quick], how: str
) -> None:
    prompts = backend[1].monitor.prompts
    with _answering(tab, at) as one:
        (kept,) = (other for other in prompts._tries.values() if other.ended is None)
        if how == "closed":
            one.page.goto("about:blank")
        else:
            one.open("#/services")
        wait_for(lambda: kept.ended is not None)
        assert kept.is_cancelled


@pytest.mark.exhaustive
def test_a_diagnosis_shows_every_step_of_a_query_with_the_viewers_rights(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER) as talk:
        one = tab()
        one.open(f"#/service/{talk.service}")
        page = one.page
        choice = page.get_by_label("Query by the model")
        choice.wait_for()
        assert "talk" in choice.locator("option:checked").inner_text(), "it is named as the service"
        page.get_by_role("button", name="Diagnose").click()
        page.get_by_text("1,000 queries like this one").wait_for()
        page.get_by_text("A request without a token is refused").wait_for()
        assert page.locator("ol.steps li").count() == 12
        page.get_by_text("went to an endpoint of this service").wait_for()
        assert one.findings() == []
        page.get_by_label("Query by the model").select_option("")
        page.get_by_role("button", name="Diagnose").click()
        page.get_by_text("1,000 queries like this one").wait_for(state="detached")
        assert page.locator("ol.steps li").count() == 6


@pytest.mark.exhaustive
def test_a_viewer_without_a_credential_sees_which_step_fails(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER) as talk:
        one = tab(OPERATOR)
        one.open(f"#/service/{talk.service}")
        page = one.page
        page.get_by_label("Query by the model").wait_for()
        page.get_by_role("button", name="Diagnose").click()
        page.get_by_text("no credential").wait_for()
        failed = page.locator("ol.steps li:has(.state.failed)")
        assert failed.count() == 1
        assert "Query" in failed.inner_text()
        assert "What to do" in failed.inner_text()


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", [320, 800])
def test_no_view_is_wider_than_the_window(tab: Any, at: Scene, width: int) -> None:
    long = "A" * 120
    with at.sf.world.lock:
        service = at.sf.world.catalog.add_service(long)
    try:
        one = tab(OPERATOR, viewport={"width": width, "height": 800})
        page = one.page

        def fits() -> None:
            assert page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            )

        page.get_by_role("link", name=long).wait_for()
        fits()
        for name, shown in ((long, "Compute pool"), (CHAT, "Log of container main")):
            one.open(f"#/service/DATAIKU_SPCS.PUBLIC.{name.rpartition('.')[2]}")
            page.get_by_role("heading", name=shown).wait_for()
            fits()
        one.open("#/cost")
        page.get_by_text("Figures").click()
        fits()
        one.open("#/try")
        page.get_by_text("You may not use any custom chat model.").wait_for()
        fits()
    finally:
        with at.sf.world.lock:
            at.sf.world.catalog.drop_service(service)


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", [320, 1280])
def test_a_dialog_is_within_the_window_and_cuts_no_name(tab: Any, width: int) -> None:
    """On a telephone, it was wider than the window, and the name of the compute pool was cut at its edge."""
    page = tab(OPERATOR, viewport={"width": width, "height": 800}).page

    def with_long_names(route: Any) -> None:
        answer = route.fetch().json()
        answer["effects"][0]["text"] = f"Compute pool {'P' * 200} stays up."
        answer["identity"] = f"user {'U' * 200}"
        route.fulfill(json=answer)

    page.route("**/api/operation/preview", with_long_names)
    page.get_by_role("button", name=f"Suspend {CHAT}").click()
    page.get_by_text("Rights used").first.wait_for()
    page.get_by_role("dialog").get_by_text("stays up").wait_for()
    left, right, spare = page.evaluate(
        "() => { const e = document.querySelector('.spcs dialog'), box = e.getBoundingClientRect();"
        " return [box.left, innerWidth - box.right, e.clientWidth - e.scrollWidth] }"
    )
    assert min(left, right) >= 8
    assert spare >= 0


@pytest.mark.exhaustive
def test_no_sentence_is_wider_than_the_window(tab: Any) -> None:
    page = tab(viewport={"width": 320, "height": 800}).page

    def with_long_names(route: Any) -> None:
        answer = route.fetch().json()
        answer["identity"] = f"user {'U' * 200}"
        route.fulfill(json=answer)

    page.route("**/api/overview?*", with_long_names)
    page.get_by_text("U" * 200).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.exhaustive
def test_figures_that_were_opened_stay_open_while_the_page_is_renewed(tab: Any, at: Scene) -> None:
    one = tab()
    one.open(f"#/service/{EMBED}")
    page = one.page
    page.get_by_text("Figures").click()
    _break_embed(at, page)
    assert page.locator("details[open]").count() == 1


@pytest.mark.exhaustive
def test_someone_whom_dss_does_not_know_may_look_at_a_public_page_and_do_nothing(tab: Any, at: Scene) -> None:
    one = tab(None, of=at.start(public=True))
    one.page.get_by_role("link", name="CHAT").click()
    one.page.get_by_text("Sign in to DSS to see logs").wait_for()
    assert one.page.get_by_role("button").count() == 0
    one.open("#/try")
    one.page.get_by_text("DSS does not know who you are").wait_for()


@pytest.mark.exhaustive
def test_while_snowflake_is_away_the_page_says_so_and_keeps_its_data(tab: Any, at: Scene) -> None:
    page = tab().page
    page.get_by_role("link", name="CHAT").wait_for()
    at.sf.statement_faults.arm("error", "^SHOW SERVICES", times=None, code="000603", message="Gone fishing")
    try:
        page.get_by_role("alert").get_by_text("Gone fishing").wait_for()
        assert "Old data" in page.locator("#spcs-age").inner_text()
        assert page.get_by_role("link", name="CHAT").is_visible()
    finally:
        at.sf.statement_faults.clear()
    page.get_by_role("alert").wait_for(state="hidden")


@pytest.mark.exhaustive
def test_numbers_and_times_are_written_as_the_viewer_writes_them(tab: Any) -> None:
    german = tab(locale="de-DE", timezone_id="Asia/Tokyo").page
    german.get_by_role("link", name="CHAT").wait_for()
    german.locator("#spcs-sums").get_by_text("1,89").wait_for()
    assert "second" in german.locator("#spcs-age").inner_text(), "the words are those of the page"


@pytest.mark.exhaustive
def test_someone_without_services_is_told_where_they_come_from(tab: Any, at: Scene) -> None:
    from sandbox.dss import SnowflakeConnection, SnowflakeLogin

    at.sf.world.add_user("NORA", "NOTHING", password="pw")
    login = SnowflakeLogin("NORA", password="pw")
    at.dss.create_sql_connection(
        "bare", SnowflakeConnection("bare", at.sf.account_url, {"*": login}, "NOTHING")
    )
    page = tab(of=at.start(snowflakeConnection="bare")).page
    page.get_by_role("heading", name="No service yet").wait_for()
    assert "role NOTHING" in page.locator("#spcs-rows").inner_text()


@pytest.mark.exhaustive
def test_a_thousand_services_are_searched_sorted_and_paged(tab: Any, at: Scene) -> None:
    with at.sf.world.lock:
        made = [
            at.sf.world.catalog.add_service(
                f"S{n:04}", pool="DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL", running=False
            )
            for n in range(998)
        ]
    try:
        page = tab().page
        page.get_by_text("1,000 services").wait_for()
        page.get_by_role("row").nth(25).wait_for()
        page.get_by_role("row").nth(26).wait_for(state="detached")
        page.get_by_text("Page 1 of 40").wait_for()
        page.get_by_role("button", name="Next").click()
        page.get_by_text("Page 2 of 40").wait_for()
        page.get_by_role("searchbox", name="Search").fill("s0777")
        page.get_by_text("1 of 1,000 services").wait_for()
        page.get_by_role("link", name="S0777").wait_for()
        page.get_by_role("searchbox", name="Search").fill("")
        page.get_by_role("button", name="Service", exact=True).click()
        page.get_by_role("columnheader", name="Service").and_(
            page.locator("[aria-sort=ascending]")
        ).wait_for()
        page.get_by_role("button", name="Running").click()
        page.get_by_text("2 of 1,000 services").wait_for()
    finally:
        with at.sf.world.lock:
            for service in made:
                at.sf.world.catalog.drop_service(service)


# -- what stands between the page and its backend ----------------------------------------------------------

SIGN_IN_PAGE = "<!DOCTYPE html><title>Sign in</title><form action=/login method=post><input name=user></form>"


def _answer_instead(page: Any, pattern: str, answer: dict[str, Any], times: int | None = None) -> list[str]:
    """What a proxy answers where the backend is not reached; all requests, or the first ones."""
    asked: list[str] = []

    def answered(route: Any) -> None:
        asked.append(route.request.url)
        if times is not None and len(asked) > times:
            route.continue_()
        else:
            route.fulfill(**answer)

    page.route(pattern, answered)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # the page asks at once
    return asked


@pytest.mark.exhaustive
def test_an_expired_session_is_told_as_one_and_the_page_goes_on_after_the_next_sign_in(tab: Any) -> None:
    """A proxy with single sign-on answers with its page, in place of JSON (oauth2-proxy#1522)."""
    page = tab().page
    page.get_by_role("link", name="CHAT").wait_for()
    html = {"status": 200, "content_type": "text/html; charset=utf-8", "body": SIGN_IN_PAGE}
    _answer_instead(page, "**/api/*", html)
    page.get_by_role("alert").get_by_text("Sign in to DSS").wait_for()
    assert "HTTP 200" not in page.get_by_role("alert").inner_text()
    assert page.get_by_role("link", name="CHAT").is_visible(), "what was seen stays"
    page.unroute("**/api/*")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("alert").wait_for(state="hidden")


@pytest.mark.exhaustive
def test_a_redirect_to_a_sign_in_elsewhere_is_not_told_as_a_lost_connection(tab: Any, at: Scene) -> None:
    """Scripts cannot follow it, and see a failure of the network (oauth2-proxy#2708, pomerium#2176)."""
    one = tab()
    one.page.get_by_role("link", name="CHAT").wait_for()
    elsewhere = {"status": 302, "headers": {"Location": f"{at.chat.url}/authorize"}}
    _answer_instead(one.page, "**/api/*", elsewhere)
    one.page.get_by_role("alert").get_by_text("Sign in to DSS").wait_for()
    assert "cannot be reached" not in one.page.get_by_role("alert").inner_text()
    one.troubles.clear()  # the browser tells of what it stopped


@pytest.mark.exhaustive
def test_an_expired_session_is_not_asked_about_again_and_again(tab: Any) -> None:
    """Each answer sets a cookie, in place of that of a sign-in under way or beside it (oauth2-proxy#817, #2383)."""
    one = tab()
    page = one.page
    page.clock.install()
    one.open("#/services")
    page.get_by_role("link", name="CHAT").wait_for()
    html = {"status": 200, "content_type": "text/html", "body": SIGN_IN_PAGE}
    asked = _answer_instead(page, "**/api/*", html)
    page.get_by_role("alert").get_by_text("Sign in to DSS").wait_for()
    for _ in range(40):
        page.clock.run_for(15_000)
        page.evaluate("0")
    assert len(asked) < 10, "in ten minutes"
    page.unroute("**/api/*")
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    page.get_by_role("alert").wait_for(state="hidden")


@pytest.mark.exhaustive
@pytest.mark.parametrize("body", ["null", "[]", '"gone"', "7", "{}", '{"error": "upstream"}'])
def test_json_that_is_not_the_backends_is_an_answer_of_dss_and_no_bug_of_the_page(
    tab: Any, body: str
) -> None:
    page = tab().page
    page.get_by_role("link", name="CHAT").wait_for()
    answer = {"status": 503, "content_type": "application/json", "body": body}
    _answer_instead(page, "**/api/*", answer)
    page.get_by_role("alert").get_by_text("HTTP 503").wait_for()


@pytest.mark.exhaustive
def test_a_404_of_a_proxy_is_not_a_service_that_does_not_exist(tab: Any) -> None:
    """Release notes of DSS 14.1.2: backends on Kubernetes were answered for with 404 and 502."""
    one = tab()
    one.open(f"#/service/{CHAT}")
    page = one.page
    page.get_by_role("heading", name="Compute pool").wait_for()
    missing = {"status": 404, "content_type": "text/html", "body": "<h1>Not found</h1>"}
    _answer_instead(page, "**/api/service?*", missing)
    page.get_by_role("alert").get_by_text("HTTP 404").wait_for()
    assert page.get_by_role("heading", name="Compute pool").is_visible()


@pytest.mark.exhaustive
def test_a_proxy_that_puts_its_page_in_place_of_gateway_errors_hides_no_reason(tab: Any, at: Scene) -> None:
    """kubernetes/ingress-nginx#1488, kubernetes/kubernetes#103817."""
    page = tab(OPERATOR).page
    page.get_by_role("button", name=f"Suspend {CHAT}").wait_for()

    def intercepted(route: Any) -> None:
        answer = route.fetch()
        if answer.status in (502, 503, 504):
            route.fulfill(status=answer.status, content_type="text/html", body="<h1>nginx</h1>")
        else:
            route.fulfill(response=answer)

    page.route("**/api/*", intercepted)
    at.sf.statement_faults.arm(
        "error", "^ALTER SERVICE", code="003001", state="42501", message="Insufficient privileges"
    )
    page.get_by_role("button", name=f"Suspend {CHAT}").click()
    page.get_by_role("button", name="Suspend, and save").click()
    page.get_by_role("dialog").get_by_text("GRANT OPERATE").wait_for()


@pytest.mark.exhaustive
def test_models_that_could_not_be_asked_for_are_asked_for_again(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER) as talk:
        one = tab()
        gone = {"status": 502, "content_type": "text/html", "body": "<h1>Bad Gateway</h1>"}
        asked = _answer_instead(one.page, "**/api/models*", gone, times=1)
        one.open(f"#/service/{talk.service}")
        one.page.get_by_label("Query by the model").wait_for()
        assert len(asked) == 2


@pytest.mark.exhaustive
def test_a_404_of_a_proxy_does_not_end_a_prompt_that_is_answered(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER):
        one = tab()
        one.open("#/try")
        page = one.page
        page.get_by_label("Prompt").wait_for()
        missing = {"status": 404, "content_type": "text/html", "body": "default backend - 404"}
        asked = _answer_instead(page, "**/api/prompt?*", missing, times=1)
        _ask(page, "Say something")
        page.get_by_role("heading", name="What it took").wait_for()
        assert len(asked) > 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("lost", ["timed out at a proxy", "connection lost"])
def test_a_change_whose_answer_is_lost_is_not_told_as_one_that_failed(tab: Any, at: Scene, lost: str) -> None:
    one = tab(OPERATOR)
    page = one.page
    page.get_by_role("button", name=f"Suspend {CHAT}").click()
    confirm = page.get_by_role("button", name="Suspend, and save")
    confirm.wait_for()

    def carried_out_and_lost(route: Any) -> None:
        route.fetch()
        if lost == "connection lost":
            route.abort("connectionreset")
        else:
            route.fulfill(status=504, content_type="text/html", body="<h1>504 Gateway Time-out</h1>")

    page.route("**/api/operation", carried_out_and_lost)
    confirm.click()
    page.get_by_role("dialog").get_by_text("may have been").wait_for()
    assert at.status("CHAT") == "SUSPENDED"
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name=f"Resume {CHAT}").wait_for()
    one.troubles.clear()  # the browser tells of the connection


@pytest.mark.exhaustive
def test_a_viewer_whom_dss_did_not_know_at_first_is_known_later(tab: Any, at: Scene) -> None:
    """DSS is restarted while the page is opened, and cannot say yet whose browser it is."""
    one = tab(OPERATOR)
    nobody = {"user": None, "operator": False, "csrf": None, "problem": None}
    _answer_instead(one.page, "**/api/me", {"json": nobody}, times=1)
    one.page.reload()
    one.page.get_by_role("button", name=f"Suspend {CHAT}").wait_for()


@pytest.mark.exhaustive
def test_a_file_of_costs_is_never_a_page_to_sign_in(tab: Any) -> None:
    one = tab()
    one.open("#/cost")
    link = one.page.get_by_text("Download as CSV")
    link.wait_for()
    files: list[Any] = []
    one.page.on("download", lambda download: files.append(download))
    html = {"status": 200, "content_type": "text/html", "body": SIGN_IN_PAGE}
    _answer_instead(one.page, "**/api/cost.csv", html)
    link.click()
    told = one.page.get_by_role("alert").get_by_text("Sign in to DSS")
    told.wait_for()
    assert files == []
    with one.page.expect_response("**/api/cost?*") as answer:
        one.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    answer.value.finished()
    one.page.evaluate("new Promise(requestAnimationFrame)")
    assert told.is_visible(), "an answer about cost says nothing of the file"
    one.page.unroute("**/api/cost.csv")
    with one.page.expect_download():
        link.click()
    told.wait_for(state="hidden")


def _at_backend(backend: Any, url: str) -> str:
    """The same address of another backend."""
    here = url.split("/web-apps-backends/")[1].split("/")[1]
    return url.replace(here, str(backend.id))


@pytest.mark.exhaustive
def test_a_backend_of_several_processes_is_told_as_one(tab: Any, at: Scene) -> None:
    """A backend on Kubernetes can have several pods (release notes of DSS 14.0.0, horizontal pod autoscaling)."""
    other = at.start()
    one = tab()
    one.page.get_by_role("link", name="CHAT").wait_for()
    turns: list[str] = []

    def balanced(route: Any) -> None:
        turns.append(route.request.url)
        url = _at_backend(other, route.request.url) if len(turns) % 2 else route.request.url
        route.fulfill(response=route.fetch(url=url))

    one.page.route("**/api/*", balanced)
    for _ in range(8):
        for hash in ("#/cost", "#/services"):
            with one.page.expect_response("**/api/*"):
                one.open(hash)
    one.page.get_by_role("alert").get_by_text("more than one process").wait_for()


@pytest.mark.exhaustive
def test_a_backend_that_was_restarted_is_not_told_as_several(tab: Any, at: Scene) -> None:
    other = at.start()
    one = tab()
    one.page.get_by_role("link", name="CHAT").wait_for()
    asked: list[str] = []

    def restarted(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(response=route.fetch(url=_at_backend(other, route.request.url)))

    one.page.route("**/api/*", restarted)
    for _ in range(3):
        one.open("#/cost")
        one.page.get_by_text("Figures").wait_for()
        one.open("#/services")
        one.page.get_by_role("link", name="CHAT").wait_for()
    assert len(asked) > 4
    assert one.page.get_by_text("more than one process").count() == 0


@pytest.mark.exhaustive
def test_a_request_that_is_never_answered_is_given_up(tab: Any) -> None:
    """After a laptop slept, a connection may be open at one end only."""
    one = tab()
    one.page.get_by_role("link", name="CHAT").wait_for()
    one.page.clock.install()
    held = _held(one.page, "**/api/overview?*")
    one.open("#/services")
    _held_at_least(one.page, held, 1)
    one.page.clock.fast_forward(61_000)
    one.page.get_by_role("alert").get_by_text("does not answer").wait_for()


@pytest.mark.exhaustive
def test_data_from_before_a_sleep_of_the_computer_is_told_as_old(tab: Any) -> None:
    """The clock that never goes back stands still in the meantime, but for browsers on Windows (mdn/content#4713)."""
    one = tab()
    one.page.get_by_role("link", name="CHAT").wait_for()
    one.page.evaluate("const now = Date.now.bind(Date); Date.now = () => now() + 8 * 3600e3")
    _answer_instead(one.page, "**/api/*", {"status": 502, "body": ""})
    one.page.get_by_role("alert").get_by_text("HTTP 502").wait_for()
    assert "seen 8 hours ago" in one.page.locator("#spcs-age").inner_text()


@pytest.mark.exhaustive
def test_a_base_address_of_the_page_around_it_leads_nowhere_else(tab: Any) -> None:
    """Dataiku's own `webaiku` writes one into the pages that it serves (dataiku/solutions-contrib)."""
    one = tab()
    folder = one.page.url.partition("#")[0]

    def with_a_base(route: Any) -> None:
        body = route.fetch().text().replace("<head>", "<head><base href='/web-apps-backends/'>")
        for file in ("style.css", "dataiku.js", "app.js"):
            body = body.replace(f'"{file}"', f'"{folder}{file}"')
        route.fulfill(status=200, content_type="text/html", body=body)

    one.page.route(folder, with_a_base)
    one.page.reload()
    one.page.get_by_role("link", name="CHAT").click()
    one.page.get_by_role("heading", name="Compute pool").wait_for()
    one.page.get_by_role("link", name="Cost").click()
    one.page.get_by_role("heading", name="Cost").wait_for()


@pytest.mark.exhaustive
def test_the_page_needs_no_storage_and_no_clipboard_of_the_browser(tab: Any) -> None:
    """As where cookies of third parties are blocked, or the page is within another one or is not encrypted."""
    one = tab()
    one.page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage', 'indexedDB'])"
        " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
        " Object.defineProperty(navigator, 'clipboard', { value: undefined });"
    )
    one.page.reload()
    one.open(f"#/service/{CHAT}")
    one.page.get_by_role("button", name="Copy LLM endpoint URL").click()
    one.page.get_by_text("Copied").first.wait_for()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["A%2FB", '?B&C="D"#/', "Ä 漢 🙂"])
def test_a_service_of_any_name_is_opened_and_suspended(tab: Any, at: Scene, name: str) -> None:
    with at.sf.world.lock:
        service = at.sf.world.catalog.add_service(name)
    try:
        page = tab(OPERATOR).page
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("heading", name="Compute pool").wait_for()
        page.get_by_role("button", name="Suspend").click()
        page.get_by_role("dialog").get_by_role("button", name="Suspend").click()
        page.get_by_role("button", name="Resume").wait_for()
    finally:
        with at.sf.world.lock:
            at.sf.world.catalog.drop_service(service)


@pytest.mark.exhaustive
def test_one_service_is_one(tab: Any) -> None:
    one = tab()

    def only_one(route: Any) -> None:
        answer = route.fetch().json()
        answer["found"] = answer["sums"]["services"] = answer["sums"]["nodes"] = 1
        route.fulfill(json=answer)

    one.page.route("**/api/overview?*", only_one)
    one.page.reload()
    one.page.get_by_text("1 service", exact=True).wait_for()
    assert "node, " in one.page.locator("#spcs-sums").inner_text()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("zone", "locale"), [("Pacific/Kiritimati", "ar-EG"), ("Pacific/Pago_Pago", "fa-IR")]
)
def test_days_and_figures_are_right_in_any_zone_and_script(tab: Any, zone: str, locale: str) -> None:
    one = tab(locale=locale, timezone_id=zone)
    one.open("#/cost")
    one.page.get_by_text("Figures").wait_for()
    assert "NaN" not in one.page.locator("main").inner_text()


# -- reading, writing and printing -------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_text_that_is_selected_and_choices_that_are_open_stay_while_the_page_is_renewed(
    tab: Any, at: Scene
) -> None:
    with at.talker(STRANGER):
        one = tab()
        one.open(f"#/service/{CHAT}")
        page = one.page
        page.get_by_label("Query by the model").wait_for()
        page.get_by_role("region", name="Log of container main").wait_for()
        page.evaluate(
            "window.choice = document.querySelector('[data-key=model]');"
            "getSelection().selectAllChildren(document.querySelector('pre'))"
        )
        selected = page.evaluate("getSelection().toString()")
        with at.sf.world.lock:
            service = at.sf.world.catalog.service_named("CHAT")
            before, service.extra_log = service.extra_log, (*service.extra_log, "a new line of the log")
        try:
            with page.expect_response(lambda response: "a new line" in response.text()) as answer:
                pass
            answer.value.finished()
            page.evaluate("new Promise(requestAnimationFrame)")
            assert page.evaluate("window.choice.isConnected"), "an open list of choices would be closed"
            assert page.evaluate("getSelection().toString()") == selected
            page.evaluate("getSelection().removeAllRanges()")
            page.get_by_text("a new line of the log").wait_for()
            assert page.evaluate("window.choice.isConnected")
        finally:
            with at.sf.world.lock:
                service.extra_log = before


@pytest.mark.exhaustive
def test_a_prompt_that_is_cancelled_while_it_is_sent_is_cancelled(
    tab: Any, at: Scene, backend: tuple[Any, Quick]
) -> None:
    prompts = backend[1].monitor.prompts
    with at.talker(STRANGER, tokens=10_000, token_seconds=0.05):
        one = tab()
        one.open("#/try")
        page = one.page
        page.get_by_label("Prompt").wait_for()
        held = _held(page, "**/api/prompt")
        _ask(page, "Count")
        _held_at_least(page, held, 1)
        page.get_by_role("button", name="Cancel").click()
        with page.expect_response("**/api/prompt/cancel") as cancelled:
            held[0].continue_()
        assert cancelled.value.ok
        assert page.get_by_text("What the model still answers is not read").is_visible()
        assert [other for other in prompts._tries.values() if other.ended is None] == []


@pytest.mark.exhaustive
def test_the_page_to_try_a_model_goes_on_after_the_next_sign_in(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER):
        one = tab()
        page = one.page
        page.get_by_role("link", name="CHAT").wait_for()
        html = {"status": 200, "content_type": "text/html", "body": SIGN_IN_PAGE}
        _answer_instead(page, "**/api/*", html)
        one.open("#/try")
        page.get_by_role("alert").get_by_text("Sign in to DSS").wait_for()
        page.unroute("**/api/*")
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        page.get_by_label("Prompt").wait_for()
        page.get_by_role("alert").wait_for(state="hidden")


@pytest.mark.exhaustive
def test_models_that_come_late_do_not_replace_a_form_that_is_being_filled_in(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER):
        one = tab()
        page = one.page
        held = _held(page, "**/api/models")
        for count, hash in ((1, "#/try"), (1, "#/cost"), (2, "#/try")):
            one.open(hash)
            _held_at_least(page, held, count)
        held[1].continue_()
        page.get_by_label("Prompt").fill("A long question")
        with page.expect_response("**/api/models"):
            held[0].fulfill(status=502, content_type="text/html", body="<h1>Bad Gateway</h1>")
        page.evaluate("new Promise(requestAnimationFrame)")
        assert page.get_by_label("Prompt").input_value() == "A long question"


@pytest.mark.exhaustive
def test_a_prompt_that_was_written_is_there_after_a_look_at_another_page(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER):
        one = tab()
        one.open("#/try")
        one.page.get_by_label("Prompt").fill("A long question")
        one.open("#/services")
        one.page.get_by_role("link", name="CHAT").wait_for()
        one.open("#/try")
        assert one.page.get_by_label("Prompt").input_value() == "A long question"


@pytest.mark.exhaustive
def test_a_prompt_that_is_too_long_is_refused_and_not_cut(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER):
        one = tab()
        one.open("#/try")
        one.page.get_by_label("Prompt").focus()
        one.page.keyboard.insert_text("x" * 9000)
        one.page.get_by_role("button", name="Ask").click()
        one.page.get_by_text("more than 8,000 characters").wait_for()


@pytest.mark.exhaustive
def test_a_page_without_data_of_its_own_does_not_keep_the_problem_of_another(tab: Any, at: Scene) -> None:
    one = tab()
    page = one.page
    page.get_by_role("link", name="CHAT").wait_for()
    at.sf.statement_faults.arm("error", "^SHOW SERVICES", times=None, code="000603", message="Gone fishing")
    try:
        page.get_by_role("alert").get_by_text("Gone fishing").wait_for()
        one.open("#/try")
        page.get_by_role("heading", name="Try a model").wait_for()
        page.get_by_role("alert").wait_for(state="hidden")
    finally:
        at.sf.statement_faults.clear()


@pytest.mark.exhaustive
def test_a_refused_action_does_not_promise_to_go_on_by_itself(tab: Any) -> None:
    page = tab(OPERATOR).page
    page.get_by_role("button", name=f"Suspend {CHAT}").wait_for()
    html = {"status": 200, "content_type": "text/html", "body": SIGN_IN_PAGE}
    page.route("**/api/operation/preview", lambda route: route.fulfill(**html))
    page.get_by_role("button", name=f"Suspend {CHAT}").click()
    page.get_by_role("dialog").get_by_text("Sign in to DSS").wait_for()
    assert "by itself" not in page.get_by_role("dialog").inner_text()


@pytest.mark.exhaustive
def test_what_is_chosen_is_seen_in_forced_colours(tab: Any) -> None:
    """Windows' contrast themes replace backgrounds, border colours and shadows (W3C, CSS Color Adjustment 1)."""
    one = tab(forced_colors="active")
    page = one.page
    page.get_by_role("link", name="CHAT").wait_for()
    tile = page.get_by_role("button", name="Running")
    look = (
        "e => { const s = getComputedStyle(e);"
        " return [s.outlineStyle, s.borderTopColor, s.backgroundColor, s.color].join() }"
    )
    before = tile.evaluate(look)
    tile.click()
    page.locator("button.tile[aria-pressed=true]").wait_for()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    assert tile.evaluate(look) != before
    links = page.get_by_label("Pages", exact=True).get_by_role("link")
    assert links.nth(0).evaluate(look) != links.nth(1).evaluate(look)


@pytest.mark.exhaustive
def test_texts_are_written_in_the_direction_of_their_script(tab: Any, at: Scene) -> None:
    """Arabic and Hebrew begin at the right, whatever the page around them."""
    with at.talker(STRANGER):
        one = tab()
        one.open("#/try")
        page = one.page
        direction = "e => getComputedStyle(e).direction + ' ' + getComputedStyle(e).unicodeBidi"
        page.get_by_label("Prompt").fill("\u05e9\u05dc\u05d5\u05dd, CHAT!")
        assert page.get_by_label("Prompt").evaluate("e => e.matches(':dir(rtl)')")
        page.get_by_role("button", name="Ask").click()
        page.get_by_role("heading", name="What it took").wait_for()
        assert "plaintext" in page.locator("p.answer").evaluate(direction)


@pytest.mark.exhaustive
def test_what_is_printed_is_not_cut_at_the_edge_of_a_box(tab: Any) -> None:
    one = tab()
    one.open(f"#/service/{CHAT}")
    page = one.page
    page.get_by_text("Log of container main").wait_for()
    page.emulate_media(media="print")
    boxes = page.locator("pre, .scroll")
    assert boxes.count() > 1
    # All at one moment: what the page has renewed in between has no style.
    cut = "e => getComputedStyle(e).overflowX !== 'visible' || getComputedStyle(e).maxHeight !== 'none'"
    wait_for(lambda: boxes.evaluate_all(f"all => all.filter({cut}).length") == 0)
    assert not page.get_by_role("button", name="Diagnose").is_visible(), "paper has no buttons"
    one.open("#/services")
    page.get_by_role("link", name="CHAT").wait_for()
    for text in ("Compute pool", "Running"):
        assert page.get_by_role("button", name=text).is_visible(), (
            "what is pressed may be a heading or a figure, too"
        )


@pytest.mark.exhaustive
def test_a_frame_that_is_not_displayed_has_no_selection_and_is_renewed_all_the_same(
    tab: Any, at: Scene
) -> None:
    """Firefox has no selection object there (mozilla bug 827585), and DSS hides the frames of other tabs."""
    one = tab()
    one.page.evaluate("window.getSelection = () => null")
    one.open(f"#/service/{EMBED}")
    one.page.get_by_text("Log of container model-inference").wait_for()
    _break_embed(at, one.page)


@pytest.mark.exhaustive
def test_a_second_click_begins_no_second_diagnosis(tab: Any) -> None:
    one = tab()
    one.open(f"#/service/{CHAT}")
    page = one.page
    page.get_by_text("Log of container main").wait_for()
    begun = _held(page, "**/api/diagnosis")
    page.get_by_role("button", name="Diagnose").dblclick()
    _held_at_least(page, begun, 1)
    with page.expect_response("**/api/diagnosis?*"):  # what the page asks for once it has begun
        begun[0].continue_()
    assert len(begun) == 1


@pytest.mark.exhaustive
def test_a_dialog_is_closed_by_the_way_back(tab: Any) -> None:
    """What would be confirmed is then no longer what the page shows."""
    one = tab(OPERATOR)
    one.open(f"#/service/{CHAT}")
    one.page.get_by_role("button", name=f"Suspend {CHAT}").click()
    one.page.get_by_role("dialog").wait_for()
    one.page.go_back()
    one.page.get_by_role("link", name="CHAT").wait_for()
    one.page.get_by_role("dialog").wait_for(state="hidden")


@pytest.mark.exhaustive
def test_text_of_an_answer_can_be_selected_while_more_of_it_comes(tab: Any, at: Scene) -> None:
    with _answering(tab, at) as one:
        page = one.page
        page.evaluate("getSelection().selectAllChildren(document.querySelector('p.answer'))")
        selected = page.evaluate("getSelection().toString()")
        length = "document.querySelector('p.answer').textContent.length"
        page.wait_for_function(f"before => {length} > before", arg=page.evaluate(length))
        assert page.evaluate("getSelection().toString()").startswith(selected)
        assert page.evaluate(f"{length} === document.querySelector('p.answer').innerText.length")
        page.get_by_role("button", name="Cancel").click()


@pytest.mark.exhaustive
def test_models_that_fail_late_do_not_hide_those_that_came_since(tab: Any, at: Scene) -> None:
    with at.talker(STRANGER):
        one = tab()
        page = one.page
        held = _held(page, "**/api/models?*")
        for count, service in ((1, CHAT), (2, EMBED), (3, CHAT)):
            one.open(f"#/service/{service}")
            _held_at_least(page, held, count)
        held[2].continue_()
        page.get_by_label("Query by the model").wait_for()
        with page.expect_response("**/api/models?*"):
            held[0].fulfill(status=502, json={"error": {"message": "Too late.", "hint": ""}})
        with page.expect_response("**/api/diagnosis?*") as answer:  # the last of what the page asks
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        answer.value.finished()
        page.evaluate("new Promise(requestAnimationFrame)")
        assert page.get_by_label("Query by the model").is_visible()
        held[1].continue_()
