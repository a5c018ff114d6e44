"""Reads and validates a plugin's descriptors: plugin.json, llm.json, runnable.json, webapp.json,
parameter-set.json, desc.json.

DSS tolerates comments in them and unknown keys. What DSS could not use is refused; what it would ignore
or what only looks wrong is a warning. Source: DSS documentation, plugins, reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.dss.macro_descriptor import Macro, read_macro
from sandbox.dss.parameters import DescriptorError, Parameter, odd_parameters, read_parameters
from sandbox.dss.recipe_descriptor import Recipe, read_recipe
from sandbox.dss.webapp_descriptor import Webapp, read_webapp

INTERPRETERS = frozenset(f"PYTHON3{minor}" for minor in range(6, 15))
_COMPONENT_KEYS = frozenset({"meta", "params", "paramsPythonSetup", "paramsModule", "paramsTemplate"})
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


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
    macros: Mapping[str, Macro]
    webapps: Mapping[str, Webapp]
    recipes: Mapping[str, Recipe]
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
        macros = {
            path.parent.name: self._macro(path, parameter_sets)
            for path in sorted(self._folder.glob("python-runnables/*/runnable.json"))
        }
        webapps = {
            path.parent.name: self._webapp(path)
            for path in sorted(self._folder.glob("webapps/*/webapp.json"))
        }
        recipes = {
            path.parent.name: self._recipe(path, parameter_sets)
            for path in sorted(self._folder.glob("custom-recipes/*/recipe.json"))
        }
        if not components and not macros and not recipes:
            raise DescriptorError(
                "the plugin has no python-llms/<component>/llm.json, no macro and no recipe"
            )
        code_env = self._code_env()
        return PluginDescriptor(
            self._folder, plugin_id, version, params, parameter_sets, components, macros, webapps, recipes,
            code_env, tuple(self._warnings),
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
        _check_presets(params, parameter_sets, where)
        return Component(path.parent.name, self._label(raw, where), path.parent, params)

    def _macro(self, path: Path, parameter_sets: Mapping[str, ParameterSet]) -> Macro:
        where = f"python-runnables/{path.parent.name}"
        raw = read_json(path)
        self._label(raw, where)
        macro = read_macro(raw, path.parent, self._folder / "resource", where)
        _check_presets(macro.all_params, parameter_sets, where)
        self._warnings += [*odd_parameters(macro.all_params, where), *macro.warnings]
        return macro

    def _webapp(self, path: Path) -> Webapp:
        where = f"webapps/{path.parent.name}"
        raw = read_json(path)
        self._label(raw, where)
        webapp = read_webapp(raw, path.parent, where)
        self._warnings += [*odd_parameters(webapp.params, where), *webapp.warnings]
        return webapp

    def _recipe(self, path: Path, parameter_sets: Mapping[str, ParameterSet]) -> Recipe:
        where = f"custom-recipes/{path.parent.name}"
        raw = read_json(path)
        self._label(raw, where)
        recipe = read_recipe(raw, path.parent, self._folder / "resource", where)
        _check_presets(recipe.params, parameter_sets, where)
        self._warnings += recipe.warnings
        return recipe

    def _parameters(
        self,
        raw: Mapping[str, Any],
        where: str,
        *,
        credentials_allowed: bool = False,
        has_setup: bool = False,
    ) -> tuple[Parameter, ...]:
        params = read_parameters(
            raw.get("params") or [], where, credentials_allowed=credentials_allowed, has_setup=has_setup
        )
        self._warnings += odd_parameters(params, where)
        return params

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


def _check_presets(
    params: tuple[Parameter, ...], parameter_sets: Mapping[str, ParameterSet], where: str
) -> None:
    for param in params:
        known = param.raw.get("parameterSetId")
        if param.type in ("PRESET", "PRESETS") and known not in parameter_sets:
            raise DescriptorError(f"{where}: {param.name} names the parameter set {known!r}, not there")
