"""The Python of a form: what it offers for a parameter, with the form as it is filled in now.

Source: DSS documentation, plugins, parameters; `dataiku/dss-plugin-googlesheets` 1.3.1 for `rootModel`.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.dss.checks import ContractError, require
from sandbox.dss.config import ConfigError
from sandbox.dss.kernel_host import KernelHost
from sandbox.dss.kernel_process import (
    KernelBrokeContractError,
    KernelEndedError,
    KernelFailedError,
    KernelProcess,
    Surroundings,
)

# A form that waits longer is a form that hangs.
PATIENCE = 5.0
SHAPES = ("bare", "wrapped", "rootModel only")


class Forms:
    """Asks the plugins' own Python. Breaches of the contract go to `violations`."""

    def __init__(self, host: KernelHost, violations: list[ContractError]) -> None:
        self._host = host
        self._violations = violations

    def defaults(self, plugin_id: str, macro: str) -> dict[str, Any]:
        """What the form of a macro is filled with when it opens."""
        params = self._host.macro(plugin_id, macro).params
        return {param.name: param.default for param in params if param.has_default}

    def choices(
        self,
        plugin_id: str,
        macro: str,
        param: str,
        typed: Mapping[str, Any],
        saved: Mapping[str, Any],
        *,
        user: str,
        project_key: str,
        shape: str,
        inputs: Sequence[Mapping[str, str]] = (),
    ) -> list[dict[str, Any]]:
        """Calls `do` in a process. `typed` is the form as it is now, `saved` what was saved, presets as references.

        `shape` is one of `SHAPES`, in which the saved values arrive, presets resolved. `inputs` are those of a recipe.
        Raises ContractError.
        """
        found = self._host.component(plugin_id, macro)
        wanted = {param.name: param for param in found.all_params if param.raw.get("getChoicesFromPython")}
        if param not in wanted or found.form is None:
            raise ConfigError(f"{macro} has no parameter {param!r} whose choices Python gives")
        config, plugin_config = self._host.configs(plugin_id, found, saved, user)
        shaped: dict[str, Any] = {"bare": config, "wrapped": {"config": config}, "rootModel only": {}}[shape]
        order: dict[str, Any] = {
            "kind": "form",
            "file": str(found.form),
            "payload": {
                "parameterName": param,
                "parameterType": wanted[param].type,
                "customChoices": True,
                "rootModel": dict(typed),
            },
            "config": shaped,
            "plugin_config": plugin_config,
            "inputs": [dict(one) for one in inputs],
            "confined_to": None,
            "data_folder": str(self._host.data_folder),
            "has_fresh_oauth_credentials": self._host.has_fresh_oauth_credentials,
        }
        try:
            with tempfile.TemporaryDirectory(dir=self._host.data_folder) as folder:
                surroundings = self._host.surround(plugin_id, Path(folder), user, project_key)
                try:
                    return _checked(_answer(order, surroundings, param), param)
                finally:
                    self._host.part(surroundings)
        except ContractError as error:
            self._violations.append(error)
            raise


def _answer(order: Mapping[str, Any], surroundings: Surroundings, param: str) -> Any:
    process = KernelProcess(order, surroundings)
    overdue = threading.Timer(PATIENCE, process.end)
    overdue.start()
    try:
        return process.result()["form"]
    except KernelFailedError as error:
        raise ContractError("form-never-raises", str(error)) from None
    except KernelBrokeContractError as error:
        raise ContractError(error.rule, str(error)) from None
    except KernelEndedError:
        raise ContractError("form-answers-in-time", f"no choices for {param} in {PATIENCE:g} s") from None
    finally:
        overdue.cancel()
        overdue.join()


def _checked(answer: Any, param: str) -> list[dict[str, Any]]:
    good = isinstance(answer, dict) and isinstance(answer.get("choices"), list)
    require(good, "form-gives-choices", f"do() gave {type(answer).__name__}, not {{'choices': [...]}}")
    for choice in answer["choices"]:
        good = isinstance(choice, dict) and isinstance(choice.get("label", choice.get("value")), str)
        require(good, "choice-has-a-label", f"{param} is offered {choice!r}")
        value = choice.get("value")
        require(value is None or isinstance(value, str), "choice-value-is-text", f"{param}: {value!r}")
    choices: list[dict[str, Any]] = answer["choices"]
    return choices
