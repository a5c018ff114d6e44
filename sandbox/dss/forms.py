"""The Python of a form: what it offers for a parameter, with the form as it is filled in now.

Source: DSS documentation, plugins, parameters; `dataiku/dss-plugin-googlesheets` 1.3.1 for `rootModel`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.dss.checks import ContractError, require
from sandbox.dss.kernel_process import (
    KernelBrokeContractError,
    KernelEndedError,
    KernelFailedError,
    KernelProcess,
    Surroundings,
)
from sandbox.dss.parameters import Parameter

# A form that waits longer is a form that hangs.
PATIENCE = 5.0
SHAPES = ("bare", "wrapped", "rootModel only")


def choices_of(
    form: Path,
    param: Parameter,
    typed: Mapping[str, Any],
    config: Mapping[str, Any],
    plugin_config: Mapping[str, Any],
    surroundings: Surroundings,
    *,
    shape: str = "bare",
    has_fresh_oauth_credentials: bool = True,
) -> list[dict[str, Any]]:
    """Calls `do` in a process. `typed` is the form as it is now, `config` what is saved, presets resolved.

    `shape` is one of those in which the saved values arrive. Raises ContractError.
    """
    require(param.raw.get("getChoicesFromPython"), "form-asks-python", f"{param.name} has fixed choices")
    saved: dict[str, Any] = {"bare": dict(config), "wrapped": {"config": dict(config)}, "rootModel only": {}}[
        shape
    ]
    order: dict[str, Any] = {
        "kind": "form",
        "file": str(form),
        "payload": {
            "parameterName": param.name,
            "parameterType": param.type,
            "customChoices": True,
            "rootModel": dict(typed),
        },
        "config": saved,
        "plugin_config": dict(plugin_config),
        "inputs": [],
        "confined_to": None,
        "data_folder": str(surroundings.data_folder),
        "has_fresh_oauth_credentials": has_fresh_oauth_credentials,
    }
    process = KernelProcess(order, surroundings)
    overdue = threading.Timer(PATIENCE, process.end)
    overdue.start()
    try:
        answer = process.result()["form"]
    except KernelFailedError as error:
        raise ContractError("form-never-raises", str(error)) from None
    except KernelBrokeContractError as error:
        raise ContractError(error.rule, str(error)) from None
    except KernelEndedError:
        raise ContractError(
            "form-answers-in-time", f"no choices for {param.name} in {PATIENCE:g} s"
        ) from None
    finally:
        overdue.cancel()
        overdue.join()
    return _checked(answer, param)


def _checked(answer: Any, param: Parameter) -> list[dict[str, Any]]:
    good = isinstance(answer, dict) and isinstance(answer.get("choices"), list)
    require(good, "form-gives-choices", f"do() gave {type(answer).__name__}, not {{'choices': [...]}}")
    for choice in answer["choices"]:
        good = isinstance(choice, dict) and isinstance(choice.get("label", choice.get("value")), str)
        require(good, "choice-has-a-label", f"{param.name} is offered {choice!r}")
        value = choice.get("value")
        require(value is None or isinstance(value, str), "choice-value-is-text", f"{param.name}: {value!r}")
    choices: list[dict[str, Any]] = answer["choices"]
    return choices
