"""Reads and validates a plugin's descriptors: plugin.json, llm.json, parameter-set.json, desc.json.

DSS tolerates comments in them and unknown keys. What DSS could not use is refused; what it would ignore
or what only looks wrong is a warning. Source: DSS documentation, plugins, reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARAMETER_TYPES = frozenset(
    {
        "STRING", "STRINGS", "TEXTAREA", "PASSWORD", "INT", "INTS", "DOUBLE", "DOUBLES", "BOOLEAN",
        "DATE", "SELECT", "MULTISELECT", "MAP", "KEY_VALUE_LIST", "OBJECT_LIST", "ARRAY",
        "SEPARATOR", "PRESET", "PRESETS", "CONNECTION", "CONNECTIONS", "LLM", "CREDENTIAL_REQUEST",
    }
)  # fmt: skip
CREDENTIAL_TYPES = frozenset({"SINGLE_FIELD", "BASIC", "OAUTH2"})
INTERPRETERS = frozenset(f"PYTHON3{minor}" for minor in range(6, 15))
_COMPONENT_KEYS = frozenset({"meta", "params", "paramsPythonSetup", "paramsModule", "paramsTemplate"})
_DEFAULT_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("STRING", "TEXTAREA", "PASSWORD", "SELECT", "DATE"), (str,)),
    **dict.fromkeys(("INT", "DOUBLE"), (int, float)),
    "BOOLEAN": (bool,),
    **dict.fromkeys(("STRINGS", "MULTISELECT", "INTS", "DOUBLES", "ARRAY", "KEY_VALUE_LIST"), (list,)),
    "OBJECT_LIST": (list,),
    "MAP": (dict,),
}
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


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


@dataclass(frozen=True)
class ParameterSet:
    id: str
    label: str
    params: tuple[Parameter, ...]


@dataclass(frozen=True)
class Component:
    id: str
    label: str
    folder: Path
    params: tuple[Parameter, ...]


@dataclass(frozen=True)
class CodeEnv:
    interpreters: tuple[str, ...]
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class PluginDescriptor:
    folder: Path
    id: str
    version: str
    params: tuple[Parameter, ...]
    parameter_sets: Mapping[str, ParameterSet]
    components: Mapping[str, Component]
    code_env: CodeEnv | None
    warnings: tuple[str, ...]


def read_json(path: Path) -> dict[str, Any]:
    """A descriptor with `//` and `/* */` comments; raises DescriptorError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DescriptorError(f"{path} cannot be read: {error.strerror}") from error
    bare = _STRING_OR_COMMENT.sub(lambda m: m[0] if m[0].startswith('"') else " ", text)
    try:
        value = json.loads(bare)
    except ValueError as error:
        raise DescriptorError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DescriptorError(f"{path} is not a JSON object")
    return value


def read_plugin(folder: Path) -> PluginDescriptor:
    """Everything the descriptors of a plugin say; raises DescriptorError."""
    return _Reader(folder).read()


class _Reader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._warnings: list[str] = []

    def read(self) -> PluginDescriptor:
        raw = read_json(self._folder / "plugin.json")
        plugin_id, version = raw.get("id"), raw.get("version")
        if not isinstance(plugin_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", plugin_id):
            raise DescriptorError(f"plugin.json: id {plugin_id!r} is not made of letters, digits, _ and -")
        if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+\.\d+([-+].+)?", version):
            raise DescriptorError(f"plugin.json: version {version!r} is not of the form 1.2.3")
        self._label(raw, "plugin.json")
        params = self._parameters(raw, "plugin.json")
        parameter_sets = {
            path.parent.name: self._parameter_set(path)
            for path in sorted(self._folder.glob("parameter-sets/*/parameter-set.json"))
        }
        components = {
            path.parent.name: self._component(path, parameter_sets)
            for path in sorted(self._folder.glob("python-llms/*/llm.json"))
        }
        if not components:
            raise DescriptorError("the plugin has no python-llms/<component>/llm.json")
        code_env = self._code_env()
        return PluginDescriptor(
            self._folder, plugin_id, version, params, parameter_sets, components, code_env,
            tuple(self._warnings),
        )  # fmt: skip

    def _label(self, raw: Mapping[str, Any], where: str) -> str:
        label = (raw.get("meta") or {}).get("label")
        if not isinstance(label, str) or not label:
            raise DescriptorError(f"{where}: meta.label is missing")
        return label

    def _parameter_set(self, path: Path) -> ParameterSet:
        where = f"parameter-sets/{path.parent.name}"
        raw = read_json(path)
        params = self._parameters(raw, where, credentials_allowed=True)
        return ParameterSet(path.parent.name, self._label(raw, where), params)

    def _component(self, path: Path, parameter_sets: Mapping[str, ParameterSet]) -> Component:
        where = f"python-llms/{path.parent.name}"
        raw = read_json(path)
        if not (path.parent / "llm.py").is_file():
            raise DescriptorError(f"{where}: llm.py is missing")
        for key in sorted(raw.keys() - _COMPONENT_KEYS):
            self._warnings.append(f"{where}/llm.json: DSS knows no key {key!r}")
        setup = raw.get("paramsPythonSetup")
        if setup and not (self._folder / "resource" / setup).is_file():
            raise DescriptorError(f"{where}: paramsPythonSetup names resource/{setup}, which does not exist")
        params = self._parameters(raw, where, has_setup=bool(setup))
        for param in params:
            known = param.raw.get("parameterSetId")
            if param.type in ("PRESET", "PRESETS") and known not in parameter_sets:
                raise DescriptorError(f"{where}: {param.name} names the parameter set {known!r}, not there")
        return Component(path.parent.name, self._label(raw, where), path.parent, params)

    def _parameters(
        self,
        raw: Mapping[str, Any],
        where: str,
        *,
        credentials_allowed: bool = False,
        has_setup: bool = False,
    ) -> tuple[Parameter, ...]:
        params: list[Parameter] = []
        for entry in raw.get("params") or []:
            param = _parameter(entry, where)
            if param.type == "CREDENTIAL_REQUEST" and not credentials_allowed:
                raise DescriptorError(f"{where}: {param.name}: CREDENTIAL_REQUEST outside a parameter set")
            if entry.get("getChoicesFromPython") and not has_setup:
                raise DescriptorError(
                    f"{where}: {param.name}: getChoicesFromPython without paramsPythonSetup"
                )
            if any(param.name == other.name for other in params):
                raise DescriptorError(f"{where}: {param.name} is there twice")
            params.append(param)
        self._look_at(params, where)
        return tuple(params)

    def _look_at(self, params: Iterable[Parameter], where: str) -> None:
        names = {param.name for param in params}
        for param in params:
            if oddity := _odd_default(param):
                self._warnings.append(f"{where}: {param.name}: defaultValue {param.default!r} {oddity}")
            condition = param.raw.get("visibilityCondition")
            mentioned = re.findall(r"\bmodel\.(\w+)", condition) if isinstance(condition, str) else []
            for name in mentioned:
                if name not in names:
                    self._warnings.append(f"{where}: {param.name} is shown depending on unknown {name}")

    def _code_env(self) -> CodeEnv | None:
        folder = self._folder / "code-env" / "python"
        if not (folder / "desc.json").is_file():
            return None
        interpreters = read_json(folder / "desc.json").get("acceptedPythonInterpreters")
        if not isinstance(interpreters, list) or not interpreters:
            raise DescriptorError("code-env/python/desc.json: acceptedPythonInterpreters is missing")
        for name in interpreters:
            if name not in INTERPRETERS:
                raise DescriptorError(f"code-env/python/desc.json: DSS has no interpreter {name!r}")
        try:
            text = (folder / "spec" / "requirements.txt").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise DescriptorError("code-env/python/spec/requirements.txt is missing") from error
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        requirements = tuple(line for line in lines if line)
        for line in requirements:
            if not re.match(r"[A-Za-z0-9][\w.-]*(\[[\w,\s.-]+\])?\s*($|[<>=!~;@])", line):
                raise DescriptorError(f"code-env/python/spec/requirements.txt: {line!r} is no requirement")
        return CodeEnv(tuple(interpreters), requirements)


def _parameter(entry: Mapping[str, Any], where: str) -> Parameter:
    name, kind = entry.get("name"), entry.get("type")
    if not isinstance(name, str) or not name:
        raise DescriptorError(f"{where}: a parameter has no name")
    if name.startswith("_"):
        raise DescriptorError(f"{where}: {name}: names that start with _ are reserved for DSS")
    if kind not in PARAMETER_TYPES:
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
