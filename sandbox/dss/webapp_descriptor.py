"""A webapp's descriptor, `webapps/<id>/webapp.json`: what DSS would refuse, ignore or misread.

Source: DSS documentation, plugins, webapps; the descriptors of Dataiku's own plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.dss.parameters import PARAMETER_TYPES, DescriptorError, Parameter, read_parameters

FILES = ("app.js", "body.html", "style.css", "backend.py")
_BASE_TYPES = frozenset({"STANDARD", "DASH", "BOKEH", "SHINY", "STREAMLIT"})
_KEYS = frozenset(
    {
        "meta", "baseType", "hasBackend", "noJSSecurity", "standardWebAppLibraries", "params", "roles",
        "hideWebAppConfig", "enableJavascriptModules", "paramsPythonSetup", "virtualWebAppAffinity",
        "useContextualCodeEnv", "chart", "kind", "codeEnv",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Webapp:
    """A template of webapps that a plugin brings."""

    id: str
    label: str
    folder: Path
    params: tuple[Parameter, ...]
    warnings: tuple[str, ...]


def read_webapp(raw: Mapping[str, Any], folder: Path, where: str) -> Webapp:
    """Raises DescriptorError."""
    if raw.get("baseType") not in _BASE_TYPES:
        raise DescriptorError(
            f"{where}: baseType is {raw.get('baseType')!r}, not one of {sorted(_BASE_TYPES)}"
        )
    if raw["baseType"] != "STANDARD":
        raise DescriptorError(f"{where}: only STANDARD webapps are stood in for")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DescriptorError(f"{where}: {', '.join(missing)} is missing, which DSS does not get over")
    if str(raw.get("hasBackend")).lower() not in ("true", "false"):
        raise DescriptorError(f"{where}: hasBackend is {raw.get('hasBackend')!r}, not true or false")
    params = read_parameters(raw.get("params") or [], where, types=PARAMETER_TYPES)
    odd = [f"{where}/webapp.json: DSS knows no key {key!r}" for key in sorted(raw.keys() - _KEYS)]
    return Webapp(folder.name, str((raw.get("meta") or {}).get("label")), folder, params, tuple(odd))
