"""A recipe's descriptor, `custom-recipes/<id>/recipe.json`: what DSS would refuse, ignore or misread.

Source: DSS documentation, plugins, recipes; the descriptors of Dataiku's own plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.dss.macro_descriptor import form_of
from sandbox.dss.parameters import (
    PARAMETER_TYPES,
    PROJECT_TYPES,
    RECIPE_TYPES,
    DescriptorError,
    Parameter,
    odd_parameters,
    read_parameters,
)

_KEYS = frozenset(
    {
        "meta", "kind", "inputRoles", "outputRoles", "params", "selectableFromDataset", "selectableFromFolder",
        "selectableFromSavedModel", "selectableFromMLModel", "resourceKeys", "paramsPythonSetup", "paramsTemplate",
        "paramsModule",
    }
)  # fmt: skip
_ROLE_KEYS = frozenset(
    {
        "name", "label", "description", "arity", "required", "acceptsDataset", "acceptsManagedFolder",
        "acceptsSavedModel", "acceptsMLModel", "mustBeSQL", "mustBeStrictlyType",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Role:
    name: str
    required: bool
    strict_type: str | None


@dataclass(frozen=True)
class Recipe:
    id: str
    folder: Path
    raw: Mapping[str, Any]
    params: tuple[Parameter, ...]
    inputs: tuple[Role, ...]
    outputs: tuple[Role, ...]
    form: Path | None
    warnings: tuple[str, ...]

    @property
    def all_params(self) -> tuple[Parameter, ...]:
        return self.params


def read_recipe(raw: Mapping[str, Any], folder: Path, resource: Path, where: str) -> Recipe:
    """Raises DescriptorError."""
    if raw.get("kind") != "PYTHON":
        raise DescriptorError(f"{where}: kind is {raw.get('kind')!r}, not PYTHON")
    if not (folder / "recipe.py").is_file():
        raise DescriptorError(f"{where}: recipe.py is missing")
    inputs, outputs = (_roles(raw, key, where) for key in ("inputRoles", "outputRoles"))
    names = {role.name for role in inputs}
    selected = raw.get("selectableFromDataset")
    if selected is not None and selected not in names:
        raise DescriptorError(f"{where}: selectableFromDataset names the unknown role {selected!r}")
    form = form_of(raw.get("paramsPythonSetup"), resource, where)
    params = read_parameters(
        raw.get("params") or [],
        where,
        types=PARAMETER_TYPES | PROJECT_TYPES | RECIPE_TYPES,
        has_setup=form is not None,
    )
    for param in params:
        if param.type in RECIPE_TYPES and param.raw.get("columnRole") not in names:
            raise DescriptorError(f"{where}: {param.name}: columnRole is {param.raw.get('columnRole')!r}")
    odd = [f"{where}/recipe.json: DSS knows no key {key!r}" for key in sorted(raw.keys() - _KEYS)]
    return Recipe(
        folder.name, folder, raw, params, inputs, outputs, form, (*odd, *odd_parameters(params, where))
    )


def _roles(raw: Mapping[str, Any], key: str, where: str) -> tuple[Role, ...]:
    roles = []
    for role in raw.get(key) or []:
        if not isinstance(role, dict) or not role.get("name") or role.get("arity") not in ("UNARY", "NARY"):
            raise DescriptorError(f"{where}: {key}: each role needs a name and an arity")
        if unknown := role.keys() - _ROLE_KEYS:
            raise DescriptorError(f"{where}: {key}: DSS knows no key {sorted(unknown)[0]!r}")
        roles.append(Role(role["name"], bool(role.get("required")), role.get("mustBeStrictlyType")))
    return tuple(roles)
