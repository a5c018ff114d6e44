"""The webapp as DSS runs it: an account with services, a DSS, an operator and a stranger."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from werkzeug.serving import make_server

from sandbox.dss import Dss, SnowflakeConnection, SnowflakeLogin
from sandbox.dss.webapps import COOKIE, RunningWebapp
from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CALLER, CPU_POOL, WAREHOUSE
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
logging.getLogger("werkzeug").setLevel(logging.ERROR)
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


@dataclass
class Quick:
    """A backend in this process: what its routes share, and the statements that it has sent."""

    monitor: Any
    asked: list[str]


@dataclass
class Talker:
    """A model of LLM Mesh by its id, and the full name of the service that it asks."""

    model: str
    service: str


class Scene:
    """A DSS with this plugin and an account with two services. `start` makes a webapp of it."""

    def __init__(self, sf: Snowflake, dss: Dss, url: str) -> None:
        self.sf, self.dss, self.url = sf, dss, url
        self._talkers, self._quick = 0, list[Quick]()
        durations = sf.world.catalog.durations
        durations.suspending = durations.container_start = durations.model_loading = durations.node_start = (
            0.0
        )
        self.chat = sf.create_service("chat")
        self.embed = sf.create_service(
            "embed", protocol="MODEL_SERVING", kind="embedding", placed={"pool": CPU_POOL}
        )
        sf.clock.advance(600)  # endpoints are provisioned by now
        login = SnowflakeLogin(USER, access_token=sf.issue_oauth_token)
        connection = SnowflakeConnection("account", sf.account_url, {"*": login}, CALLER, WAREHOUSE)
        dss.create_sql_connection("account", connection)
        dss.put_in_groups(OPERATOR, "ops", "readers")
        dss.put_in_groups(STRANGER, "readers")
        for user in (OPERATOR, STRANGER):
            dss.give_rights(user, PROJECT, "READ_CONF")

    def start(self, *, public: bool = False, **config: Any) -> RunningWebapp:
        values = {"snowflakeConnection": "account", "operatorGroups": ["ops"], **config}
        return self.dss.start_webapp(PLUGIN, WEBAPP, PROJECT, values, public=public, impersonates=["readers"])

    @contextlib.contextmanager
    def quick(
        self, running: RunningWebapp, look_seconds: float = 0.2, **surroundings: Any
    ) -> Iterator[Quick]:
        """The same webapp, with a backend in this process that looks at the account more often."""
        import dataiku  # the sandbox's
        import flask

        monitor = importlib.import_module("spcs_llm.monitor.webapp")
        as_viewer = importlib.import_module("spcs_llm.monitor.as_viewer")
        told = {k: v for k, v in running.surroundings.variables().items() if k.startswith("DKU_")}
        before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)
        asked: list[str] = []

        class Counting:
            def __init__(self, connection: str) -> None:
                self._executor = dataiku.SQLExecutor2(connection=connection)

            def query_to_iter(self, query: str, pre_queries: list[str] | None = None) -> Any:
                asked.append(query)
                return self._executor.query_to_iter(query, pre_queries=pre_queries)

        def identify(headers: Any) -> Any:
            return dataiku.api_client().get_auth_info_from_browser_headers(headers)

        config = json.loads(running.surroundings.more["DKU_CUSTOM_WEBAPP_CONFIG"])
        mesh = as_viewer.Mesh(
            dataiku.WebappImpersonationContext, dataiku.api_client, dataiku.default_project_key
        )
        around = importlib.import_module("spcs_llm.monitor.monitor").Surroundings(
            config, Counting, identify, mesh, look_seconds=look_seconds, **surroundings
        )
        app = flask.Flask("backend", static_folder=None)
        shared = monitor.register(app, around)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port, running.port = running.port, server.server_port
        quick = Quick(shared, asked)
        self._quick.append(quick)
        try:
            yield quick
        finally:
            self._quick.pop()
            running.port = port
            server.shutdown()
            thread.join(10)
            server.server_close()
            shared.account.close()
            shared.cost.close()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def browser(self, running: RunningWebapp, user: str | None) -> Browser:
        url = f"{self.url}/web-apps-backends/{running.project_key}/{running.id}"
        return Browser(url, self.dss.browsers.sign_in(user) if user else None)

    @contextlib.contextmanager
    def talker(self, *users: str, **options: Any) -> Iterator[Talker]:
        """A service, and a model of LLM Mesh with its name. Only these users have a credential.

        Each has another name, and another preset: a page may still show what it knows of the last one, and credentials
        stay.
        """
        self._talkers += 1
        name = f"talk{self._talkers}"
        service = self.sf.create_service(name, "scripted", "OPENAI", **options)
        preset = self.dss.create_preset(PLUGIN, "programmatic-access-token", name)
        for user in users:
            self.dss.set_user_credential(user, preset, "token", self.sf.create_pat())
        params = {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "programmaticAccessToken": name,
            "llmEndpointUrl": service.url,
            "serviceProtocol": "OPENAI",
        }
        (model,) = self.dss.create_connection(
            "snow", PLUGIN, models=[{"id": name, "capability": "CHAT", "params": params}]
        )
        try:
            yield Talker(model, f"DATAIKU_SPCS.PUBLIC.{name.upper()}")
        finally:
            # A query whose service is gone waits for it to start again, in one of its viewer's few places.
            for quick in self._quick:
                for one in list(quick.monitor.prompts._tries.values()):
                    one.is_cancelled = True
            wait_for_what_was_begun()
            self.dss.delete_connection("snow")
            self.drop(name.upper())

    def drop(self, name: str) -> None:
        with self.sf.world.lock:
            catalog = self.sf.world.catalog
            catalog.drop_service(catalog.service_named(name))

    def status(self, name: str) -> str:
        with self.sf.world.lock:
            catalog = self.sf.world.catalog
            now = catalog.settle()
            return catalog.service_named(name).shown_status(now)

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


def wait_for_what_was_begun() -> None:
    """Diagnoses and prompts outlive the test that began them, and another test's page would show them."""
    begun = [one for one in threading.enumerate() if one.name in ("diagnosis-of-service", "prompt-of-viewer")]
    wait_for(lambda: not any(thread.is_alive() for thread in begun), 60)


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    with contextlib.ExitStack() as undo:
        sf, dss = undo.enter_context(Snowflake()), undo.enter_context(Dss())
        dss.install_plugin(str(ROOT))
        yield Scene(sf, dss, undo.enter_context(dss.serve()))
        assert not dss.violations
