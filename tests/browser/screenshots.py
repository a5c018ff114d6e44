"""Writes docs/images: what the webapp looks like, taken in a real Chromium from the sandbox.

.venvs/browser/bin/python -m tests.browser.screenshots
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from sandbox.furniture import furnish
from sandbox.instance import Instance
from sandbox.loopback import bypass_proxies
from sandbox.snowflake import USER
from sandbox.snowflake.catalog import CPU_POOL
from tests.browser.test_webapp_page import FLAGS

FOLDER = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 150_000
CHAT = "DATAIKU_SPCS.PUBLIC.CHAT"


def main() -> int:
    bypass_proxies()
    FOLDER.mkdir(exist_ok=True)
    with Instance() as instance:
        sf = instance.snowflake
        durations = sf.catalog.durations
        durations.container_start = durations.model_loading = durations.node_start = 0.0
        chat = sf.create_service("chat", protocol="OPENAI", tokens=40, token_seconds=0.02)
        instance.add_model("chat", "CHAT", chat, serviceProtocol="OPENAI")
        sf.create_service("minilm", protocol="MODEL_SERVING", kind="embedding", placed={"pool": CPU_POOL})
        furnish(instance)
        sf.clock.advance(600)
        webapp = instance.start_webapp()
        with sync_playwright() as driver:
            path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
            browser = driver.chromium.launch(executable_path=path, args=FLAGS)
            for scheme in ("light", "dark"):
                _take(browser, instance.dss.webapp_url(webapp, USER), scheme)
            browser.close()
    large = [path.name for path in FOLDER.glob("webapp-*.png") if path.stat().st_size > MOST_BYTES]
    if large:
        print(f"More than {MOST_BYTES} bytes: {', '.join(large)}")
    return bool(large)


def _take(browser: Any, url: str, scheme: str) -> None:
    size = {"width": 1180, "height": 700}
    context = browser.new_context(
        color_scheme=scheme, viewport=size, locale="en-GB", timezone_id="Europe/Paris"
    )
    page = context.new_page()
    page.goto(url)
    page.get_by_text("MINILM_MODEL").wait_for()
    page.get_by_text("Raise the memory").wait_for()
    page.screenshot(path=FOLDER / f"webapp-services-{scheme}.png")
    page.evaluate("location.hash = '#/cost'")
    page.get_by_role("button", name="By service").wait_for()
    page.get_by_text("a month, if it goes on like this").wait_for()
    page.screenshot(path=FOLDER / f"webapp-cost-{scheme}.png")
    page.evaluate(f"location.hash = '#/service/{CHAT}'")
    page.get_by_text("Log of container").wait_for()
    page.get_by_label("Query by the model").wait_for()
    page.get_by_role("button", name="Diagnose").click()
    page.get_by_text("A request without a token").wait_for()
    page.get_by_text("1,000 queries like this one").wait_for()
    page.set_viewport_size({"width": 1180, "height": 640})
    page.get_by_role("heading", name="Diagnose").evaluate("heading => heading.parentNode.scrollIntoView()")
    page.screenshot(path=FOLDER / f"webapp-service-{scheme}.png")
    context.close()


if __name__ == "__main__":
    sys.exit(main())
