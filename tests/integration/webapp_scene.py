"""The webapp as DSS runs it: an account with services, a DSS, an operator and a stranger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from sandbox.dss import Dss, SnowflakeConnection, SnowflakeLogin
from sandbox.dss.webapps import COOKIE, RunningWebapp
from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CALLER, CPU_POOL, WAREHOUSE
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
PLUGIN, WEBAPP, PROJECT = "snowpark-container-services-llm", "spcs-llm-services", "OPS"
OPERATOR, STRANGER = "olga", "stan"
CHAT, EMBED = "DATAIKU_SPCS.PUBLIC.CHAT", "DATAIKU_SPCS.PUBLIC.EMBED"


class Browser:
    """What a page asks its backend, with the cookie of a user."""

    def __init__(self, url: str, session: str | None) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        if session is not None:
            self.http.cookies.set(COOKIE, session)
        self._url = url
        self.csrf = ""

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.http.get(f"{self._url}/api/{path}", params=params, timeout=30)

    def json(self, path: str, **params: Any) -> Any:
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> requests.Response:
        if not self.csrf:
            self.csrf = self.json("me")["csrf"] or ""
        told = {"X-CSRF-Token": self.csrf} if headers is None else headers
        return self.http.post(f"{self._url}/api/{path}", json=body, headers=told, timeout=30)


class Scene:
    """A DSS with this plugin and an account with two services. `start` makes a webapp of it."""

    def __init__(self, sf: Snowflake, dss: Dss, url: str) -> None:
        self.sf, self.dss, self.url = sf, dss, url
        durations = sf.world.catalog.durations
        durations.suspending = durations.container_start = durations.model_loading = durations.node_start = (
            0.0
        )
        self.chat = sf.create_service("chat")
        self.embed = sf.create_service(
            "embed", protocol="MODEL_SERVING", kind="embedding", placed={"pool": CPU_POOL}
        )
        sf.clock.advance(600)  # endpoints are provisioned by now
        login = SnowflakeLogin(USER, access_token=sf.issue_oauth_token())
        connection = SnowflakeConnection("account", sf.account_url, {"*": login}, CALLER, WAREHOUSE)
        dss.create_sql_connection("account", connection)
        dss.put_in_groups(OPERATOR, "ops", "readers")
        dss.put_in_groups(STRANGER, "readers")
        for user in (OPERATOR, STRANGER):
            dss.give_rights(user, PROJECT, "READ_CONF")

    def start(self, *, public: bool = False, **config: Any) -> RunningWebapp:
        values = {"snowflakeConnection": "account", "operatorGroups": ["ops"], **config}
        return self.dss.start_webapp(PLUGIN, WEBAPP, PROJECT, values, public=public, impersonates=["readers"])

    def browser(self, running: RunningWebapp, user: str | None) -> Browser:
        url = f"{self.url}/web-apps-backends/{running.project_key}/{running.id}"
        return Browser(url, self.dss.browsers.sign_in(user) if user else None)

    def status(self, name: str) -> str:
        with self.sf.world.lock:
            catalog = self.sf.world.catalog
            now = catalog.settle()
            return next(s for key, s in catalog.services.items() if key[2] == name).shown_status(now)

    def known(self, browser: Browser, services: int | None = None) -> Any:
        """The overview, as soon as there is one with containers and endpoints."""

        seen: dict[str, Any] = {}

        def ready() -> bool:
            seen.update(browser.json("overview", size=100))
            rows = seen.get("rows") or []
            complete = seen["known"] and all(r["kind"] == "suspended" or r["ready"] is not None for r in rows)
            return complete and (services is None or seen["found"] == services)

        wait_for(ready)
        return seen


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as undo:
        sf, dss = undo.enter_context(Snowflake()), undo.enter_context(Dss())
        dss.install_plugin(str(ROOT))
        yield Scene(sf, dss, undo.enter_context(dss.serve()))
        assert not dss.violations
