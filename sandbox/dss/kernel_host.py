"""Where the kernels of macros, recipes and forms are started: what they are told, and what they find around them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.dss.config import ConfigError, Resolver
from sandbox.dss.kernel_process import Surroundings
from sandbox.dss.macro_descriptor import Macro
from sandbox.dss.plugin import InstalledPlugin
from sandbox.dss.recipe_descriptor import Recipe


class KernelHost:
    """Knows the plugins, and gives tickets.

    `plugin_of` finds an installed plugin by its id, `resolver_of` makes its resolver and `settings_of` finds
    its own settings as stored. `tickets` says whom a ticket acts for. `url` is where DSS is served, None while it
    is not. `has_fresh_oauth_credentials` is what the release says.
    """

    def __init__(
        self,
        data_folder: Path,
        tickets: dict[str, str],
        plugin_of: Callable[[str], InstalledPlugin],
        resolver_of: Callable[[InstalledPlugin], Resolver],
        settings_of: Callable[[str], Mapping[str, Any]],
        *,
        has_fresh_oauth_credentials: bool,
    ) -> None:
        self.data_folder = data_folder
        self.url: str | None = None
        self.has_fresh_oauth_credentials = has_fresh_oauth_credentials
        self._tickets = tickets
        self._plugin_of = plugin_of
        self._resolver_of = resolver_of
        self._settings_of = settings_of

    def macro(self, plugin_id: str, name: str) -> Macro:
        macros = self._plugin_of(plugin_id).descriptor.macros
        if name not in macros:
            raise ConfigError(f"{plugin_id} has no macro {name!r}")
        return macros[name]

    def recipe(self, plugin_id: str, name: str) -> Recipe:
        recipes = self._plugin_of(plugin_id).descriptor.recipes
        if name not in recipes:
            raise ConfigError(f"{plugin_id} has no recipe {name!r}")
        return recipes[name]

    def component(self, plugin_id: str, name: str) -> Macro | Recipe:
        """A recipe or a macro, which have forms alike."""
        if name in self._plugin_of(plugin_id).descriptor.recipes:
            return self.recipe(plugin_id, name)
        return self.macro(plugin_id, name)

    def configs(
        self, plugin_id: str, macro: Macro | Recipe, given: Mapping[str, Any], user: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a macro or recipe gets of what a form or the API hands over, and the plugin's own settings.

        Raises ConfigError, MissingCredentialError.
        """
        for param in macro.all_params:
            value = given.get(param.name)
            if param.type == "PRESET" and not (value is None or isinstance(value, Mapping)):
                raise ConfigError(
                    f"{param.name}: a preset is {{'mode': 'PRESET', 'name': ...}}, not {value!r}"
                )
        plugin = self._plugin_of(plugin_id)
        resolver = self._resolver_of(plugin)
        config = resolver.resolve(macro.all_params, given, user, fill=False)
        return config, resolver.resolve(plugin.descriptor.params, self._settings_of(plugin_id), user)

    def surround(self, plugin_id: str, folder: Path, user: str, project_key: str) -> Surroundings:
        """What a kernel in this folder finds. Its ticket acts as the user until `part`."""
        ticket = secrets.token_hex(16)
        self._tickets[ticket] = user
        python_lib = self._plugin_of(plugin_id).descriptor.folder / "python-lib"
        return Surroundings(python_lib, folder, self.data_folder, ticket, self.url, project_key)

    def part(self, surroundings: Surroundings) -> None:
        """Takes the ticket back."""
        del self._tickets[surroundings.ticket]
