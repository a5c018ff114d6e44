"""The parameters of a form: what DSS refuses in their descriptions, and what it merely ignores.

Source: DSS documentation, plugins, parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PARAMETER_TYPES = frozenset(
    {
        "STRING", "STRINGS", "TEXTAREA", "PASSWORD", "INT", "INTS", "DOUBLE", "DOUBLES", "BOOLEAN",
        "DATE", "SELECT", "MULTISELECT", "MAP", "KEY_VALUE_LIST", "OBJECT_LIST", "ARRAY",
        "SEPARATOR", "PRESET", "PRESETS", "CONNECTION", "CONNECTIONS", "LLM", "CREDENTIAL_REQUEST",
    }
)  # fmt: skip
CREDENTIAL_TYPES = frozenset({"SINGLE_FIELD", "BASIC", "OAUTH2"})
# Objects of a project: the forms that are opened in one offer them.
PROJECT_TYPES = frozenset(
    {
        "API_SERVICE", "CLUSTER", "CODE_ENV", "DATASET", "DATASETS", "FOLDER", "KNOWLEDGE_BANK",
        "MANAGED_FOLDER", "PROJECT", "SAVED_MODEL", "SCENARIO",
    }
)  # fmt: skip
# Columns of a dataset that plays a role in a recipe.
RECIPE_TYPES = frozenset({"COLUMN", "COLUMNS"})
_DEFAULT_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("STRING", "TEXTAREA", "PASSWORD", "SELECT", "DATE"), (str,)),
    **dict.fromkeys(("INT", "DOUBLE"), (int, float)),
    "BOOLEAN": (bool,),
    **dict.fromkeys(("STRINGS", "MULTISELECT", "INTS", "DOUBLES", "ARRAY", "KEY_VALUE_LIST"), (list,)),
    "OBJECT_LIST": (list,),
    "MAP": (dict,),
}


class DescriptorError(Exception):
    """A descriptor DSS could not use; the text names file and field."""


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    raw: Mapping[str, Any]

    @property
    def has_default(self) -> bool:
        return self.raw.get("defaultValue") is not None

    @property
    def default(self) -> Any:
        return self.raw["defaultValue"]

    @property
    def credential_type(self) -> str:
        kind: str = self.raw["credentialRequestSettings"]["type"]
        return kind


def read_parameters(
    entries: Iterable[Mapping[str, Any]],
    where: str,
    *,
    types: frozenset[str] = PARAMETER_TYPES,
    credentials_allowed: bool = False,
    has_setup: bool = False,
) -> tuple[Parameter, ...]:
    """The parameters of one form, in order; raises DescriptorError."""
    params: list[Parameter] = []
    for entry in entries:
        param = _parameter(entry, where, types)
        if param.type == "CREDENTIAL_REQUEST" and not credentials_allowed:
            raise DescriptorError(f"{where}: {param.name}: CREDENTIAL_REQUEST outside a parameter set")
        if entry.get("getChoicesFromPython") and not has_setup:
            raise DescriptorError(f"{where}: {param.name}: getChoicesFromPython without paramsPythonSetup")
        if any(param.name == other.name for other in params):
            raise DescriptorError(f"{where}: {param.name} is there twice")
        params.append(param)
    return tuple(params)


def odd_parameters(params: Iterable[Parameter], where: str) -> list[str]:
    """What DSS would put up with, but is probably a mistake."""
    params = list(params)
    names = {param.name for param in params}
    odd = []
    for param in params:
        if oddity := _odd_default(param):
            odd.append(f"{where}: {param.name}: defaultValue {param.default!r} {oddity}")
        condition = param.raw.get("visibilityCondition")
        mentioned = re.findall(r"\bmodel\.(\w+)", condition) if isinstance(condition, str) else []
        for name in mentioned:
            if name not in names:
                odd.append(f"{where}: {param.name} is shown depending on unknown {name}")
        if "required" in param.raw:
            odd.append(f"{where}: {param.name}: DSS knows no flag 'required'; it is called 'mandatory'")
        odd += _odd_triggers(param, names, where)
    return odd


def _odd_triggers(param: Parameter, names: set[str], where: str) -> list[str]:
    """Choices that a form asks Python for are asked again at each change of any field, unless it is told which."""
    if not param.raw.get("getChoicesFromPython"):
        return []
    triggers = param.raw.get("triggerParameters")
    if triggers is None and not param.raw.get("disableAutoReload"):
        return [f"{where}: {param.name}: its choices are asked for at each change of any field"]
    unknown = [name for name in triggers or [] if name not in names]
    return [f"{where}: {param.name}: triggerParameters names unknown {name}" for name in unknown]


def _parameter(entry: Mapping[str, Any], where: str, types: frozenset[str]) -> Parameter:
    name, kind = entry.get("name"), entry.get("type")
    if not isinstance(name, str) or not name:
        raise DescriptorError(f"{where}: a parameter has no name")
    if name.startswith("_"):
        raise DescriptorError(f"{where}: {name}: names that start with _ are reserved for DSS")
    if kind not in types:
        raise DescriptorError(f"{where}: {name} has the unknown type {kind!r}")
    param = Parameter(name, kind, entry)
    if kind in ("SELECT", "MULTISELECT"):
        _check_choices(param, where)
    if kind == "CREDENTIAL_REQUEST":
        asked = (entry.get("credentialRequestSettings") or {}).get("type")
        if asked not in CREDENTIAL_TYPES:
            raise DescriptorError(f"{where}: {name}: credentialRequestSettings.type is {asked!r}")
    return param


def _check_choices(param: Parameter, where: str) -> None:
    choices = param.raw.get("selectChoices")
    if choices is None and not param.raw.get("getChoicesFromPython"):
        raise DescriptorError(f"{where}: {param.name} has no selectChoices")
    if not all(
        isinstance(choice, dict) and "value" in choice and "label" in choice for choice in choices or []
    ):
        raise DescriptorError(f"{where}: {param.name}: each of selectChoices needs value and label")


def _odd_default(param: Parameter) -> str | None:
    """What is wrong with a defaultValue; the form shows it all the same."""
    expected = _DEFAULT_TYPES.get(param.type)
    if not param.has_default or expected is None:
        return None
    value: Any = param.default
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        return f"is no {param.type}"
    low = param.raw.get("minI", param.raw.get("minD", float("-inf")))
    high = param.raw.get("maxI", param.raw.get("maxD", float("inf")))
    if param.type in ("INT", "DOUBLE") and not low <= value <= high:
        return "is out of its own bounds"
    choices = param.raw.get("selectChoices")
    if choices and param.type in ("SELECT", "MULTISELECT"):
        values = {choice["value"] for choice in choices}
        if any(one not in values for one in (value if isinstance(value, list) else [value])):
            return "is none of its choices"
    return None
