"""Webapps of plugins: a backend in a process each, and who is at the browsers that look at them.

Source: DSS documentation, webapps, security; developer guide, "Authenticate calls from a webapp"; the plugins of
Dataiku that have a webapp. A backend runs with the rights of its run-as user. What DSS calls the cookie of a browser's
session is not public, and not needed here.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from sandbox.dss.checks import ContractError
from sandbox.dss.config import ConfigError
from sandbox.dss.kernel_process import (
    KernelBrokeContractError,
    KernelEndedError,
    KernelFailedError,
    KernelProcess,
    Surroundings,
)
from sandbox.dss.rights import NotAllowedError
from sandbox.dss.webapp_descriptor import Webapp

log = logging.getLogger(__name__)

COOKIE = "sandbox_dss_session"


class UnknownWebappError(Exception):
    """There is no such webapp in this project."""


class UnknownBrowserError(Exception):
    """These headers belong to no session of a browser."""


@dataclass
class RunningWebapp:
    """A webapp of a project. `impersonates` are groups whose users it may act as.

    `port` is that of its backend, once that serves.
    """

    id: str
    project_key: str
    name: str
    webapp: Webapp
    run_as: str
    public: bool
    impersonates: frozenset[str]
    folder: Path
    surroundings: Surroundings
    ready: threading.Event = field(default_factory=threading.Event)
    port: int | None = None
    failure: str | None = None

    @property
    def log(self) -> str:
        """All that the backend logged and printed."""
        path = self.folder / "kernel.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def hear(self, message: Mapping[str, Any]) -> None:
        if "port" in message:
            self.port = message["port"]
            self.ready.set()


class Browsers:
    """Sessions of browsers, and the groups of users."""

    def __init__(self) -> None:
        self._users: dict[str, str] = {}
        self._groups: dict[str, set[str]] = {}

    def put_in_groups(self, user: str, groups: Iterable[str]) -> None:
        self._groups.setdefault(user, set()).update(groups)

    def groups_of(self, user: str) -> set[str]:
        return set(self._groups.get(user, ()))

    def sign_in(self, user: str) -> str:
        """The cookie's value for a browser in which this user has signed in."""
        session = secrets.token_urlsafe(24)
        self._users[session] = user
        return session

    def user_of_session(self, session: str) -> str | None:
        return self._users.get(session)

    def user_of(self, headers: Mapping[str, str]) -> str:
        """Raises UnknownBrowserError. Nothing but the cookie says who somebody is."""
        written = next((value for name, value in headers.items() if name.lower() == "cookie"), "")
        try:
            cookie = SimpleCookie(written).get(COOKIE)
        except CookieError:
            cookie = None
        user = self._users.get(cookie.value) if cookie is not None else None
        if user is None:
            raise UnknownBrowserError("The browser is not signed in")
        return user


class Webapps:
    """The webapps of all projects.

    `surround(plugin_id, folder, user, project)` is what a kernel finds around it, and `part` takes its ticket back.
    Breaches of the contract go to `violations`.
    """

    def __init__(
        self,
        data_folder: Path,
        surround: Callable[[str, Path, str, str], Surroundings],
        part: Callable[[Surroundings], None],
        violations: list[ContractError],
    ) -> None:
        self._data_folder = data_folder
        self._surround = surround
        self._part = part
        self._violations = violations
        self._running: dict[tuple[str, str], RunningWebapp] = {}
        self._processes: list[KernelProcess] = []
        self._threads: list[threading.Thread] = []

    def start(
        self,
        plugin_id: str,
        webapp: Webapp,
        project_key: str,
        config: Mapping[str, Any],
        run_as: str,
        *,
        public: bool,
        impersonates: Iterable[str],
        seconds: float = 60.0,
    ) -> RunningWebapp:
        """Starts a backend and waits until it serves. Raises ConfigError and RuntimeError."""
        unknown = config.keys() - {param.name for param in webapp.params}
        if unknown:
            raise ConfigError(f"{webapp.id} has no parameters {sorted(unknown)}")
        set_ones = {name: value for name, value in config.items() if value is not None}
        id = secrets.token_hex(4)
        folder = self._data_folder / "tmp" / "webapps" / id
        folder.mkdir(parents=True)
        plain = self._surround(plugin_id, folder, run_as, project_key)
        surroundings = Surroundings(
            plain.python_lib,
            plain.folder,
            plain.data_folder,
            plain.ticket,
            plain.backend,
            plain.project_key,
            {"DKU_CUSTOM_WEBAPP_CONFIG": json.dumps(set_ones)},
        )
        running = RunningWebapp(
            id,
            project_key,
            webapp.label,
            webapp,
            run_as,
            public,
            frozenset(impersonates),
            folder,
            surroundings,
        )
        order = {
            "kind": "webapp",
            "file": str(webapp.folder / "backend.py"),
            "confined_to": None,
            "data_folder": str(self._data_folder),
            "has_fresh_oauth_credentials": True,
        }
        process = KernelProcess(order, surroundings, running.hear)
        thread = threading.Thread(
            target=self._follow, args=(running, process), name=f"dss-webapp-{id}", daemon=True
        )
        self._running[project_key, id] = running
        self._processes.append(process)
        self._threads.append(thread)
        thread.start()
        running.ready.wait(seconds)
        if running.port is None:
            raise RuntimeError(f"the backend does not start: {running.failure or 'it is silent'}")
        return running

    def webapp(self, project_key: str, id: str) -> RunningWebapp:
        """Raises UnknownWebappError."""
        try:
            return self._running[project_key, id]
        except KeyError:
            raise UnknownWebappError(f"Webapp not found: {project_key}.{id}") from None

    def may_act_as(self, ticket: str, groups: set[str]) -> None:
        """Raises NotAllowedError unless the backend with this ticket may act as users of these groups."""
        caller = next((w for w in self._running.values() if w.surroundings.ticket == ticket), None)
        if caller is None or caller.impersonates.isdisjoint(groups):
            raise NotAllowedError("The run-as user of the webapp may not impersonate this user")

    def close(self) -> None:
        for process in self._processes:
            process.end()
        for thread in self._threads:
            thread.join(10)

    def _follow(self, running: RunningWebapp, process: KernelProcess) -> None:
        try:
            process.result()
        except KernelFailedError as error:
            running.failure = str(error)
            log.error("the backend of webapp %s: %s", running.name, error)
        except KernelEndedError as error:
            running.failure = str(error)
        except KernelBrokeContractError as error:
            running.failure = str(error)
            self._violations.append(ContractError(error.rule, str(error)))
        finally:
            running.port = None
            self._part(running.surroundings)
            running.ready.set()
