"""From what the forms store to what `set_config` gets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.dss.credentials import CredentialStore, Preset
from sandbox.dss.descriptors import PluginDescriptor
from sandbox.dss.parameters import Parameter
from sandbox.dss.release import Release

Presets = Mapping[Preset, Mapping[str, Any]]


class ConfigError(Exception):
    """A stored configuration that no form could have produced."""


def preset_reference(value: Any) -> dict[str, Any]:
    """DSS stores a preset by reference, an inline one whole; a plain name is taken for a reference."""
    if isinstance(value, str):
        return {"mode": "PRESET", "name": value}
    if isinstance(value, Mapping) and value.get("mode") in ("PRESET", "INLINE", "NONE"):
        return dict(value)
    raise ConfigError(f"{value!r} is no reference to a preset")


@dataclass(frozen=True)
class Resolver:
    """Resolves one plugin's configurations for one user."""

    plugin: PluginDescriptor
    presets: Presets
    credentials: CredentialStore
    release: Release
    int_as_float: bool

    def resolve(
        self, params: Iterable[Parameter], stored: Mapping[str, Any], user: str, *, fill: bool = True
    ) -> dict[str, Any]:
        """Defaults filled if `fill`, presets flat, a fresh copy. Raises ConfigError, MissingCredentialError."""
        params = list(params)
        config: dict[str, Any] = json.loads(json.dumps({**(_defaults(params) if fill else {}), **stored}))
        for param in params:
            value = config.get(param.name)
            if value is None:
                continue
            if param.type == "PRESET":
                config[param.name] = self._preset(param, value, user)
            elif param.type == "PRESETS":
                config[param.name] = [self._preset(param, entry, user) for entry in value]
            elif param.type == "INT" and self.int_as_float:
                config[param.name] = _as_float(value)
            elif param.type == "INTS" and self.int_as_float:
                config[param.name] = [_as_float(entry) for entry in value]
        return config

    def _preset(self, param: Parameter, value: Any, user: str) -> dict[str, Any]:
        reference = preset_reference(value)
        parameter_set = self.plugin.parameter_sets[param.raw["parameterSetId"]]
        if reference["mode"] == "NONE":
            return {}
        if reference["mode"] == "INLINE":
            return self.resolve(parameter_set.params, reference.get("inlinedConfig") or {}, user)
        preset = Preset(self.plugin.id, parameter_set.id, reference["name"])
        if preset not in self.presets:
            raise ConfigError(f"{param.name}: {parameter_set.id} has no preset {preset.name!r}")
        config = self.resolve(parameter_set.params, self.presets[preset], user)
        requests = [field for field in parameter_set.params if field.type == "CREDENTIAL_REQUEST"]
        fresh = {}
        for field in requests:
            if field.credential_type != "OAUTH2":
                kind = field.credential_type
                config[field.name] = self.credentials.plain(user, preset, field.name, kind)
                continue
            sign_in = self.credentials.sign_in(user, preset, field.name)
            config[field.name] = sign_in.current().access_token
            fresh[field.name] = {"handle": sign_in.handle}
        if fresh and self.release.has_fresh_oauth_credentials:
            config["__credentials"] = fresh
        return config


def _defaults(params: Iterable[Parameter]) -> dict[str, Any]:
    return {param.name: param.default for param in params if param.has_default}


def _as_float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
