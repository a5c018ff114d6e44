"""Loads a plugin into this interpreter as DSS loads it into a kernel, and takes it out again."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
import zipfile
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from sandbox.dss.descriptors import PluginDescriptor, read_plugin
from sandbox.dss.package import DataikuPackage
from sandbox.dss.parameters import DescriptorError


class PluginError(Exception):
    """The plugin cannot be installed, or does not offer what is asked of it."""


class Capability(Enum):
    """What the administrator chooses per model in the connection; the values are the form's labels."""

    CHAT = "Chat completion"
    CHAT_MULTIMODAL = "Chat completion (multimodal)"
    TEXT_COMPLETION = "Text completion"
    EMBEDDING = "Text embedding"
    RERANKING = "Reranking"

    @property
    def family(self) -> Capability:
        """The one whose base class serves it."""
        return Capability.CHAT if self in _COMPLETION else self


_COMPLETION = frozenset({Capability.CHAT, Capability.CHAT_MULTIMODAL, Capability.TEXT_COMPLETION})


class InstalledPlugin:
    """A plugin whose `python-lib` is on `sys.path` and whose components are imported."""

    def __init__(self, descriptor: PluginDescriptor, package: DataikuPackage, extracted: Any = None) -> None:
        self.descriptor = descriptor
        self._extracted = extracted
        self._bases: dict[Capability, type | None] = {
            Capability.CHAT: package.llm_base,
            Capability.EMBEDDING: package.embedding_base,
            Capability.RERANKING: package.reranking_base,
        }
        self._lib = descriptor.folder / "python-lib"
        self._folders = tuple(
            f"{folder}{os.sep}" for folder in (self._lib, descriptor.folder / "python-llms")
        )
        self.top_level_modules = _top_level_modules(self._lib)
        self._set_aside = _take_modules_named(self.top_level_modules)
        self._classes: dict[tuple[str, Capability], type] = {}
        self._newer = package.newer
        self._too_new: dict[str, str] = {}
        if self._lib.is_dir():
            sys.path.insert(0, str(self._lib))
        try:
            for component in descriptor.components.values():
                self._import(component.id, component.folder / "llm.py")
            if descriptor.components and not self._classes:
                raise PluginError("; ".join(self._too_new.values()))
        except BaseException:
            self.unload()
            raise

    @property
    def id(self) -> str:
        return self.descriptor.id

    @property
    def warnings(self) -> tuple[str, ...]:
        """What DSS accepts, but the plugin's author should correct."""
        warnings = list(self.descriptor.warnings)
        code_env = self.descriptor.code_env
        running = f"PYTHON3{sys.version_info.minor}"
        if code_env and running not in code_env.interpreters:
            warnings.append(f"code-env: this is {running}, the plugin accepts {code_env.interpreters}")
        return (*warnings, *self._too_new.values())

    def offers(self, component_id: str) -> frozenset[Capability]:
        """The families of capabilities the component has a class for."""
        return frozenset(family for name, family in self._classes if name == component_id)

    def class_for(self, component_id: str, capability: Capability) -> type:
        if component_id not in self.descriptor.components:
            raise PluginError(f"plugin {self.id} has no component {component_id!r}")
        if component_id in self._too_new:
            raise PluginError(self._too_new[component_id])
        if self._bases[capability.family] is None:
            raise PluginError(f"this DSS version has no models for {capability.value}")
        try:
            return self._classes[component_id, capability.family]
        except KeyError:
            raise PluginError(f"{self.id}/{component_id} has no class for {capability.value}") from None

    def base_of(self, capability: Capability) -> type:
        base = self._bases[capability.family]
        assert base is not None
        return base

    def unload(self) -> None:
        """Leaves `sys.path` and `sys.modules` as they were."""
        if str(self._lib) in sys.path:
            sys.path.remove(str(self._lib))
        sys.path_importer_cache.pop(str(self._lib), None)
        for name in [name for name, module in sys.modules.items() if self._owns(module)]:
            del sys.modules[name]
        _take_modules_named(self.top_level_modules)
        sys.modules.update(self._set_aside)
        if self._extracted is not None:
            self._extracted.cleanup()

    def _import(self, component_id: str, path: Path) -> None:
        # DSS leaves a type out of the connection form when its module fails. Here that is an error, unless the
        # component is only too new: then it is left out here too, and named in `warnings`.
        name = f"dku_plugin.{self.id}.{component_id}.llm".replace("-", "_")
        importlib.invalidate_caches()
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            if wanted := self._newer_name_in(error):
                self._too_new[component_id] = f"{component_id} is for a newer DSS: it imports {wanted}"
                return
            raise PluginError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
        found = {family: cls for family, base in self._bases.items() if (cls := _class_in(module, base))}
        if not found:
            raise PluginError(f"{path} has no class derived from a base class of dataiku.llm.python")
        self._classes.update({(component_id, family): cls for family, cls in found.items()})

    def _newer_name_in(self, error: Exception) -> str | None:
        """The name of DSS's that the module imports, and that this version does not have."""
        if not isinstance(error, ImportError) or not str(error.name).startswith("dataiku."):
            return None
        return next((name for name in sorted(self._newer) if f"'{name}'" in str(error)), None)

    def _owns(self, module: Any) -> bool:
        """Not all that is below the plugin's folder is the plugin's: a virtual environment may be."""
        # As texts: there are thousands of modules, and a DSS for each of many tests.
        return str(getattr(module, "__file__", "")).startswith(self._folders)


def install(source: Path, package: DataikuPackage) -> InstalledPlugin:
    """From a folder, used where it is, or a zip whose root holds plugin.json.

    Raises DescriptorError and PluginError.
    """
    if source.is_dir():
        return InstalledPlugin(read_plugin(source.resolve()), package)
    if not zipfile.is_zipfile(source):
        raise PluginError(f"{source} is neither a folder nor a zip file")
    with zipfile.ZipFile(source) as archive:
        if "plugin.json" not in archive.namelist():
            raise DescriptorError(f"{source}: the root of the zip does not hold plugin.json")
        extracted = tempfile.TemporaryDirectory(prefix="dss-plugin-")
        try:
            archive.extractall(extracted.name)
            return InstalledPlugin(read_plugin(Path(extracted.name).resolve()), package, extracted)
        except BaseException:
            extracted.cleanup()
            raise


def _class_in(module: ModuleType, base: type | None) -> type | None:
    """The one class of the module for a base class, those defined in it before those imported."""
    if base is None:
        return None
    classes = {
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base
    }
    own = {cls for cls in classes if cls.__module__ == module.__name__}
    candidates = own or classes
    if len(candidates) > 1:
        names = ", ".join(sorted(cls.__name__ for cls in candidates))
        raise PluginError(f"{module.__file__} has several classes derived from {base.__name__}: {names}")
    return next(iter(candidates), None)


def _top_level_modules(lib: Path) -> frozenset[str]:
    if not lib.is_dir():
        return frozenset()
    files = {path.stem for path in lib.glob("*.py")}
    folders = {path.name for path in lib.iterdir() if path.is_dir() and path.name.isidentifier()}
    return frozenset((files | folders) - getattr(sys, "stdlib_module_names", frozenset()) - {"__pycache__"})


def _take_modules_named(top_level: frozenset[str]) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in top_level]
    return {name: sys.modules.pop(name) for name in names}
