"""A macro's descriptor, `python-runnables/<id>/runnable.json`: what DSS would refuse, ignore or misread.

Source: DSS documentation, plugins, macros; the descriptors of Dataiku's own plugins.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.dss.parameters import (
    PARAMETER_TYPES,
    PROJECT_TYPES,
    DescriptorError,
    Parameter,
    read_parameters,
)

RESULT_TYPES = frozenset(
    {"NONE", "HTML", "RESULT_TABLE", "URL", "JSON_OBJECT", "FILE", "FOLDER_FILE"}
)  # fmt: skip
PROJECT_PERMISSIONS = frozenset({"ADMIN", "READ_CONF", "WRITE_CONF"})
ROLES = frozenset(
    {
        "DATASET", "DATASETS", "API_SERVICE", "API_SERVICE_VERSION", "BUNDLE", "VISUAL_ANALYSIS", "SAVED_MODEL",
        "MANAGED_FOLDER", "PROJECT_MACROS", "PROJECT_CREATOR", "CLUSTER",
    }
)  # fmt: skip
_KEYS = frozenset(
    {
        "meta", "impersonate", "permissions", "requiresGlobalAdmin", "params", "adminParams", "resultType",
        "resultLabel", "extension", "mimeType", "macroRoles", "paramsPythonSetup", "longDescription",
        "paramsTemplate", "paramsModule",
    }
)  # fmt: skip
_TYPES = PARAMETER_TYPES | PROJECT_TYPES


@dataclass(frozen=True)
class Macro:
    """What runs a macro, and who may run it."""

    id: str
    folder: Path
    raw: Mapping[str, Any]
    params: tuple[Parameter, ...]
    admin_params: tuple[Parameter, ...]
    result_type: str
    permissions: frozenset[str]
    requires_global_admin: bool
    impersonate: bool
    form: Path | None
    warnings: tuple[str, ...]

    @property
    def all_params(self) -> tuple[Parameter, ...]:
        return self.params + self.admin_params


def read_macro(raw: Mapping[str, Any], folder: Path, resource: Path, where: str) -> Macro:
    """Raises DescriptorError."""
    code = folder / "runnable.py"
    if not code.is_file():
        raise DescriptorError(f"{where}: runnable.py is missing")
    result_type = raw.get("resultType")
    if result_type not in RESULT_TYPES:
        raise DescriptorError(f"{where}: resultType is {result_type!r}, not one of {sorted(RESULT_TYPES)}")
    permissions = raw.get("permissions", [])
    if not isinstance(permissions, list) or not set(permissions) <= PROJECT_PERMISSIONS:
        raise DescriptorError(
            f"{where}: permissions are {permissions!r}, not of {sorted(PROJECT_PERMISSIONS)}"
        )
    for flag in ("impersonate", "requiresGlobalAdmin"):
        if not isinstance(raw.get(flag, False), bool):
            raise DescriptorError(f"{where}: {flag} is {raw[flag]!r}, not true or false")
    form = form_of(raw.get("paramsPythonSetup"), resource, where)
    params = _params(raw, "params", where, form)
    admin_params = _params(raw, "adminParams", where, form)
    for name in {param.name for param in params} & {param.name for param in admin_params}:
        raise DescriptorError(f"{where}: {name} is in params and in adminParams, which arrive in one config")
    _check_roles(raw.get("macroRoles"), where)
    return Macro(
        folder.name, folder, raw, params, admin_params, result_type, frozenset(permissions),
        raw.get("requiresGlobalAdmin", False), raw.get("impersonate", False), form,
        tuple(_warnings(raw, folder, where)),
    )  # fmt: skip


def _params(raw: Mapping[str, Any], key: str, where: str, form: Path | None) -> tuple[Parameter, ...]:
    return read_parameters(raw.get(key) or [], where, types=_TYPES, has_setup=form is not None)


def form_of(setup: Any, resource: Path, where: str) -> Path | None:
    """The Python of a form, with its `do`. Raises DescriptorError."""
    if not setup:
        return None
    path = resource / str(setup)
    if not path.is_file():
        raise DescriptorError(f"{where}: paramsPythonSetup names resource/{setup}, which does not exist")
    do = _functions(path).get("do")
    if do is None or len(do.args.args) != 4:
        raise DescriptorError(
            f"{where}: resource/{setup} has no function do(payload, config, plugin_config, inputs)"
        )
    return path


def _functions(path: Path) -> dict[str, ast.FunctionDef]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise DescriptorError(f"{path}: line {error.lineno} is not Python") from error
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _check_roles(roles: Any, where: str) -> None:
    if roles is None:
        return
    if not isinstance(roles, list) or not all(isinstance(role, dict) for role in roles):
        raise DescriptorError(f"{where}: macroRoles is not a list of objects")
    for role in roles:
        if role.get("type") not in ROLES:
            raise DescriptorError(f"{where}: macroRoles has the unknown type {role.get('type')!r}")
        takes_target = role["type"] not in ("PROJECT_MACROS", "PROJECT_CREATOR")
        if takes_target and not role.get("targetParamsKey") and not role.get("targetParamsKeys"):
            raise DescriptorError(f"{where}: the role {role['type']} has no targetParamsKey")


def _warnings(raw: Mapping[str, Any], folder: Path, where: str) -> list[str]:
    odd = [f"{where}/runnable.json: DSS knows no key {key!r}" for key in sorted(raw.keys() - _KEYS)]
    if "macroRoles" in (raw.get("meta") or {}):
        odd.append(f"{where}: macroRoles inside meta does nothing")
    if "impersonate" not in raw:
        odd.append(f"{where}: impersonate is missing, so whose UNIX user runs it is left to DSS")
    if raw["resultType"] == "FILE" and not (raw.get("extension") and raw.get("mimeType")):
        odd.append(f"{where}: a FILE without extension and mimeType")
    neighbours = sorted(path.name for path in folder.glob("*.py") if path.name != "runnable.py")
    odd += [
        f"{where}: {name} is not there when the macro runs: DSS copies runnable.py only"
        for name in neighbours
    ]
    return odd
