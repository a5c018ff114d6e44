"""Macros: who may run them, with what, in a process each; and what became of the runs.

Source: dataiku-api-client 13.0 to 15.2, `dataikuapi/dss/macro.py`; DSS documentation, plugins, macros.
"""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.dss.checks import ContractError
from sandbox.dss.kernel_host import KernelHost
from sandbox.dss.kernel_process import (
    KernelBrokeContractError,
    KernelEndedError,
    KernelFailedError,
    KernelProcess,
    Surroundings,
)
from sandbox.dss.macro_descriptor import Macro
from sandbox.dss.macro_results import MacroResult, result_of
from sandbox.dss.rights import NotAllowedError, Rights

log = logging.getLogger(__name__)


class UnknownRunError(Exception):
    """There is no such macro, or no such run: fetching the result ends one."""


class MacroFailedError(Exception):
    """What the macro raised; or that it was aborted, broke the contract, or is still running."""


@dataclass(frozen=True)
class InstalledMacro:
    """A macro, and the plugin that brings it. `runnable_type` is its name in scenarios and in the API."""

    plugin_id: str
    macro: Macro

    @property
    def runnable_type(self) -> str:
        return f"pyrunnable_{self.plugin_id}_{self.macro.id}"

    def definition(self, *, for_admin: bool) -> dict[str, Any]:
        """The descriptor as the API shows it: without `adminParams` to those who are not administrators."""
        shown = {**self.macro.raw, "runnableType": self.runnable_type, "ownerPluginId": self.plugin_id}
        return {**shown, "adminParams": self.macro.raw.get("adminParams", []) if for_admin else []}


@dataclass
class MacroRun:
    """One run. `done` is set at its end; then there is either a `result` or a `failure`.

    `progress` is what the macro last said, of `target`, which is `(number, unit)` or None.
    """

    id: str
    macro: InstalledMacro
    user: str
    folder: Path
    done: threading.Event = field(default_factory=threading.Event)
    target: tuple[float, str] | None = None
    progress: float | None = None
    result: MacroResult | None = None
    failure: str | None = None
    aborted: bool = False

    @property
    def log(self) -> str:
        """All that the macro logged and printed; it stays readable after the end."""
        path = self.folder / "kernel.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def hear(self, message: Mapping[str, Any]) -> None:
        if "target" in message:
            number, unit = message["target"]
            self.target = (number, unit)
        elif "progress" in message:
            self.progress = message["progress"]


class Macros:
    """The runs of all macros. Breaches of the contract go to `violations`."""

    def __init__(self, rights: Rights, host: KernelHost, violations: list[ContractError]) -> None:
        self._rights = rights
        self._host = host
        self._violations = violations
        self._macros: dict[str, InstalledMacro] = {}
        self._runs: dict[str, MacroRun] = {}
        self._processes: dict[str, KernelProcess] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def install(self, plugin_id: str, macros: Mapping[str, Macro]) -> None:
        for macro in macros.values():
            installed = InstalledMacro(plugin_id, macro)
            self._macros[installed.runnable_type] = installed

    def definitions(self, user: str) -> list[dict[str, Any]]:
        for_admin = self._rights.is_admin(user)
        return [macro.definition(for_admin=for_admin) for macro in self._macros.values()]

    def definition(self, runnable_type: str, user: str) -> dict[str, Any]:
        return self.macro(runnable_type).definition(for_admin=self._rights.is_admin(user))

    def macro(self, runnable_type: str) -> InstalledMacro:
        try:
            return self._macros[runnable_type]
        except KeyError:
            raise UnknownRunError(f"Macro not found: {runnable_type}") from None

    def start(
        self,
        runnable_type: str,
        project_key: str,
        user: str,
        params: Mapping[str, Any],
        admin_params: Mapping[str, Any],
    ) -> MacroRun:
        """Values that are left out stay out: it is the form that fills in defaults, not the API.

        Raises UnknownRunError, NotAllowedError, ConfigError, MissingCredentialError.
        """
        installed = self.macro(runnable_type)
        macro = installed.macro
        if macro.requires_global_admin and not self._rights.is_admin(user):
            raise NotAllowedError(f"User {user} is not an administrator, as {macro.id} requires")
        self._rights.require(user, project_key, macro.permissions)
        admins = admin_params if self._rights.is_admin(user) else {}
        config, plugin_config = self._host.configs(installed.plugin_id, macro, {**params, **admins}, user)
        run_id = uuid.uuid4().hex[:8]
        folder = self._host.data_folder / "tmp" / "macros" / run_id
        folder.mkdir(parents=True)
        run = MacroRun(run_id, installed, user, folder)
        # DSS copies this one file: what is beside it is not there.
        code = Path(shutil.copy(macro.folder / "runnable.py", folder))
        order = {
            "kind": "macro",
            "file": str(code),
            "project_key": project_key,
            "config": config,
            "plugin_config": plugin_config,
            "confined_to": str(folder) if macro.impersonate else None,
            "data_folder": str(self._host.data_folder),
            "has_fresh_oauth_credentials": self._host.has_fresh_oauth_credentials,
        }
        surroundings = self._host.surround(installed.plugin_id, folder, user, project_key)
        process = KernelProcess(order, surroundings, run.hear)
        thread = threading.Thread(
            target=self._follow, args=(run, process, surroundings), name=f"dss-macro-{run_id}", daemon=True
        )
        with self._lock:
            self._runs[run_id] = run
            self._processes[run_id] = process
            self._threads[run_id] = thread
        thread.start()
        return run

    def run(self, run_id: str) -> MacroRun:
        try:
            return self._runs[run_id]
        except KeyError:
            raise UnknownRunError(f"Macro run not found: {run_id}") from None

    def result(self, run_id: str) -> MacroResult:
        """Ends the run: it cannot be asked for again. Raises MacroFailedError, UnknownRunError."""
        run = self.run(run_id)
        if not run.done.is_set():
            raise MacroFailedError("Macro is still running")
        with self._lock:
            self._runs.pop(run_id, None)
        if run.result is None:
            raise MacroFailedError(run.failure or "Macro has no result")
        return run.result

    def abort(self, run_id: str) -> None:
        """Kills the process. There is no hook for the macro."""
        run = self.run(run_id)
        if process := self._processes.get(run_id):
            run.aborted = True
            process.end()

    def close(self) -> None:
        threads = list(self._threads.values())
        for run_id in list(self._processes):
            self.abort(run_id)
        for thread in threads:
            thread.join(10)

    def _follow(self, run: MacroRun, process: KernelProcess, surroundings: Surroundings) -> None:
        try:
            run.result = result_of(run.macro.macro, process.result())
        except KernelFailedError as error:
            run.failure = str(error)
        except KernelEndedError as error:
            run.failure = "Aborted" if run.aborted else str(error)
        except (KernelBrokeContractError, ContractError) as error:
            broken = (
                ContractError(error.rule, str(error))
                if isinstance(error, KernelBrokeContractError)
                else error
            )
            log.error("macro %s breaks the contract: %s", run.macro.runnable_type, broken)
            self._violations.append(broken)
            run.failure = str(broken)
        finally:
            self._host.part(surroundings)
            with self._lock:
                del self._processes[run.id], self._threads[run.id]
            run.done.set()
