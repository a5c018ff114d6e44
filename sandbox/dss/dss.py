"""A Dataiku DSS instance, as far as custom LLM plugins, their macros and their callers can see."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox.dss.checks import ContractError
from sandbox.dss.config import ConfigError, Resolver, preset_reference
from sandbox.dss.credentials import CredentialSource, CredentialStore, Preset
from sandbox.dss.descriptors import ParameterSet
from sandbox.dss.forms import Forms
from sandbox.dss.front import front
from sandbox.dss.kernel import Kernel
from sandbox.dss.kernel_host import KernelHost
from sandbox.dss.knowledge_bank import Document, KnowledgeBank
from sandbox.dss.macros import MacroRun, Macros
from sandbox.dss.mesh import Mesh, Model, Retries
from sandbox.dss.package import DataikuPackage
from sandbox.dss.parameters import Parameter
from sandbox.dss.plugin import Capability, InstalledPlugin, PluginError, install
from sandbox.dss.recipes import RecipeRun, Recipes, SqlDataset
from sandbox.dss.release import Release
from sandbox.dss.rights import Rights
from sandbox.dss.sql_queries import Connection, SqlQueries
from sandbox.dss.webapps import Browsers, RunningWebapp, Webapps
from sandbox.services.local import LocalService

ADMIN = "admin"


class Dss:
    """One instance of DSS; the only one in its interpreter until `close`, or the end of its `with`.

    `version` imitates that release, 14.1 or later. `int_as_float` delivers INT parameters as floats, as
    DSS may. `embedding_rows` above 1 hands embedding queries over in batches. `clock` (seconds) ages
    OAuth tokens and `sleep` waits between retries.
    """

    def __init__(
        self,
        version: str = "15.0",
        *,
        int_as_float: bool = True,
        embedding_rows: int = 1,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.release = Release.parse(version)
        self._int_as_float = int_as_float
        self.credentials = CredentialStore(clock)
        self._package = DataikuPackage(self.release, self.credentials.fetch)
        self._plugins: dict[str, InstalledPlugin] = {}
        self._plugin_configs: dict[str, Mapping[str, Any]] = {}
        self._presets: dict[Preset, Mapping[str, Any]] = {}
        self._models: dict[str, Model] = {}
        self._knowledge_banks: dict[tuple[str, str], KnowledgeBank] = {}
        self._users: dict[str, str] = {}
        self._data = tempfile.TemporaryDirectory(prefix="dss-data-")
        self.rights = Rights([ADMIN])
        self.sql = SqlQueries()
        self.mesh = Mesh(
            self.release,
            self._new_kernel,
            self._package.retryable,
            embedding_rows=embedding_rows,
            sleep=sleep,
        )
        self._host = KernelHost(
            self.data_folder,
            self._users,
            self.plugin,
            self._resolver,
            lambda plugin_id: self._plugin_configs[plugin_id],
            has_fresh_oauth_credentials=self.release.has_fresh_oauth_credentials,
        )
        self.macros = Macros(self.rights, self._host, self.mesh.violations)
        self._forms = Forms(self._host, self.mesh.violations)
        self.browsers = Browsers()
        self.webapps = Webapps(self.data_folder, self._host.surround, self._host.part, self.mesh.violations)
        self.recipes = Recipes(self.sql, self.data_folder, self._host.part)

    @property
    def data_folder(self) -> Path:
        """DSS's own, `DIP_HOME` for kernels; gone after `close`."""
        return Path(self._data.name)

    def __enter__(self) -> Dss:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the kernels, unloads the plugins; `sys.path` and `sys.modules` are as before."""
        self.webapps.close()
        self.macros.close()
        self.recipes.close()
        self.sql.close()
        self.mesh.close()
        for plugin in reversed(self._plugins.values()):
            plugin.unload()
        self._package.close()
        self._data.cleanup()

    # -- what an administrator does

    def install_plugin(
        self, source: str | Path, plugin_config: Mapping[str, Any] | None = None
    ) -> InstalledPlugin:
        """From a folder (used in place) or a zip. `plugin_config` holds plugin.json's own `params`.

        Raises DescriptorError and PluginError. See `warnings` of what is returned.
        """
        plugin = install(Path(source), self._package)
        for other in self._plugins.values():
            shared = plugin.top_level_modules & other.top_level_modules
            if shared or plugin.id == other.id:
                plugin.unload()
                raise PluginError(f"{plugin.id} and {other.id} share modules in python-lib: {sorted(shared)}")
        self._plugins[plugin.id] = plugin
        self._plugin_configs[plugin.id] = dict(plugin_config or {})
        self.macros.install(plugin.id, plugin.descriptor.macros)
        return plugin

    def create_preset(
        self, plugin_id: str, parameter_set: str, name: str, config: Mapping[str, Any] | None = None
    ) -> Preset:
        """A preset of a parameter set; its CREDENTIAL_REQUEST fields come from `set_user_credential`."""
        _known_names(self._parameter_set(plugin_id, parameter_set).params, config or {}, parameter_set)
        preset = Preset(plugin_id, parameter_set, name)
        self._presets[preset] = dict(config or {})
        return preset

    def create_connection(
        self,
        name: str,
        plugin_id: str,
        models: Sequence[Mapping[str, Any]],
        *,
        max_retries: int = 3,
        retry_delay: float = 0.1,
        unknown_params: bool = False,
    ) -> list[str]:
        """A custom LLM connection; returns the LLM ids, `custom:<name>:<model id>`.

        A model is `{"id", "capability", "component", "params"}`: `capability` a `Capability` or its name
        (CHAT, CHAT_MULTIMODAL, TEXT_COMPLETION, EMBEDDING, RERANKING), `component` may be left out when
        the plugin has one, a PRESET in `params` is the name of a preset or a stored reference. Retries
        concern `RetryableException` only. Parameters that the form does not have are refused unless
        `unknown_params`, which stands for a connection made by another version of the plugin.
        """
        plugin = self.plugin(plugin_id)
        retries = Retries(max_retries, retry_delay)
        made = [self._model(name, plugin, model, retries, unknown_params) for model in models]
        self._models.update({model.llm_id: model for model in made})
        return [model.llm_id for model in made]

    def delete_connection(self, name: str) -> None:
        """Deletes a custom LLM connection. The processes of its models end."""
        self._models = {id: model for id, model in self._models.items() if model.connection != name}
        self.restart_kernels()

    def create_sql_connection(self, name: str, connection: Connection) -> None:
        """A SQL connection, such as a `SnowflakeConnection`, for macros and for `client.sql_query`."""
        self.sql.add(name, connection)

    def create_dataset(
        self, project_key: str, name: str, connection: str, table: str, **how: Any
    ) -> SqlDataset:
        """A dataset that is a table of a SQL connection; `how` as in `SqlDataset`."""
        dataset = SqlDataset(f"{project_key}.{name}", connection, table, **how)
        self.recipes.add(dataset)
        return dataset

    def give_rights(self, user: str, project_key: str, *permissions: str) -> None:
        """ADMIN, WRITE_CONF or READ_CONF of a project. The user `admin` has all rights, others none by themselves."""
        self.rights.give(user, project_key, permissions)

    def put_in_groups(self, user: str, *groups: str) -> None:
        self.browsers.put_in_groups(user, groups)

    def start_webapp(
        self,
        plugin_id: str,
        webapp: str,
        project_key: str,
        config: Mapping[str, Any] | None = None,
        *,
        run_as: str = ADMIN,
        public: bool = False,
        impersonates: Sequence[str] = (),
    ) -> RunningWebapp:
        """A visual webapp of a project, with its backend running. Only while `serve` runs.

        `impersonates` are the groups whose users the run-as user may act as in webapps.
        """
        webapps = self.plugin(plugin_id).descriptor.webapps
        if webapp not in webapps:
            raise ConfigError(f"{plugin_id} has no webapp {webapp!r}")
        return self.webapps.start(
            plugin_id,
            webapps[webapp],
            project_key,
            config or {},
            run_as,
            public=public,
            impersonates=impersonates,
        )

    def webapp_url(self, running: RunningWebapp, user: str | None = None) -> str:
        """The address of the page; for a user, one that signs a browser in on its way."""
        if self._host.url is None:
            raise RuntimeError("this DSS is not served")
        page = f"/webapps/{running.project_key}/{running.id}/"
        return (
            f"{self._host.url}/sign-in/{self.browsers.sign_in(user)}?to={page}"
            if user
            else self._host.url + page
        )

    def create_api_key(self, user: str = ADMIN) -> str:
        """A key that makes calls as this user. Works as API key, API ticket and bearer token."""
        key = f"dkuaps-{secrets.token_hex(16)}"
        self._users[key] = user
        return key

    # -- what a user does

    def set_user_credential(self, user: str, preset: Preset, param: str, value: CredentialSource) -> None:
        """What the user enters, or signs in to, under Profile > Credentials.

        SINGLE_FIELD: text. BASIC: `{"user", "password"}`. OAUTH2: the access token as text or an
        `OAuthToken`. A callable is asked at each need: when an `OAuthToken` it gave has expired, each
        time the credential is read when it gives text. Kernels see a new value of SINGLE_FIELD and
        BASIC only after `restart_kernels`.
        """
        fields = {
            field.name: field for field in self._parameter_set(preset.plugin_id, preset.parameter_set).params
        }
        if param not in fields or fields[param].type != "CREDENTIAL_REQUEST":
            raise ConfigError(f"{preset.parameter_set} asks for no credential {param!r}")
        self.credentials.put(user, preset, param, fields[param].credential_type, value)

    def create_knowledge_bank(
        self, project_key: str, id: str, llm_id: str, documents: Sequence[Document], user: str = ADMIN
    ) -> KnowledgeBank:
        """Embeds the documents (text, or `{"text", "metadata"}`) as `user`. Raises RuntimeError."""
        bank = KnowledgeBank.build(
            project_key, id, llm_id, documents, lambda texts: self.embed(llm_id, texts, user)
        )
        self._knowledge_banks[project_key, id] = bank
        return bank

    def form_defaults(self, plugin_id: str, macro: str) -> dict[str, Any]:
        """What the form of a macro is filled with when it opens. The API fills in nothing."""
        return self._forms.defaults(plugin_id, macro)

    def form_choices(
        self,
        plugin_id: str,
        macro: str,
        param: str,
        typed: Mapping[str, Any] | None = None,
        saved: Mapping[str, Any] | None = None,
        *,
        user: str = ADMIN,
        project_key: str = "TEST",
        shape: str = "bare",
        inputs: Sequence[Mapping[str, str]] = (),
    ) -> list[dict[str, Any]]:
        """What the form offers for a parameter with dynamic choices, by calling the plugin's `do`.

        `typed` is the form as it is filled in now, presets as references; `saved` the values saved before,
        which arrive with presets resolved, in a `shape`: "bare", "wrapped" in `{"config": ...}`, or not at all,
        "rootModel only". `inputs` are those of a recipe: role, type, fullName. Raises ContractError where `do` raises,
        takes too long or does not return choices.
        """
        return self._forms.choices(
            plugin_id,
            macro,
            param,
            typed or {},
            saved or {},
            user=user,
            project_key=project_key,
            shape=shape,
            inputs=inputs,
        )

    def macro_run(self, run_id: str) -> MacroRun:
        """A run whose result nobody has fetched yet: its log and its progress, which the API does not show."""
        return self.macros.run(run_id)

    def start_recipe(
        self,
        plugin_id: str,
        recipe: str,
        roles: Mapping[str, Sequence[str]],
        params: Mapping[str, Any],
        *,
        user: str = ADMIN,
        project_key: str = "TEST",
    ) -> RecipeRun:
        """Runs a recipe of a plugin on datasets of the project, by role. Values that are left out stay out."""
        found = self._host.recipe(plugin_id, recipe)
        _known_names(found.params, params, recipe)
        config, plugin_config = self._host.configs(plugin_id, found, params, user)
        named = {role: [f"{project_key}.{name}" for name in names] for role, names in roles.items()}
        return self.recipes.start(
            found,
            named,
            config,
            plugin_config,
            lambda folder: self._host.surround(plugin_id, folder, user, project_key),
        )

    # -- what the public API needs

    def user_of(self, key: str) -> str | None:
        return self._users.get(key)

    def models(self) -> list[Model]:
        return list(self._models.values())

    def model(self, llm_id: str) -> Model | None:
        return self._models.get(llm_id)

    def knowledge_bank(self, project_key: str, id: str) -> KnowledgeBank | None:
        return self._knowledge_banks.get((project_key, id))

    def embed(self, llm_id: str, texts: Sequence[str], user: str) -> list[list[float]]:
        """Raises RuntimeError with the first failure."""
        rows = self.mesh.embed(self._models[llm_id], user, [{"text": text} for text in texts], {})
        for row in rows:
            if "embedding" not in row:
                raise RuntimeError(row["errorMessage"])
        return [row["embedding"] for row in rows]

    # -- running it

    @contextmanager
    def serve(self, grace: float = 10.0) -> Iterator[str]:
        """The public API on a free loopback port; gives the URL for `dataikuapi.DSSClient`.

        Calls under way at the end have `grace` seconds to be answered.
        """
        with front(self) as app:
            service = LocalService(app, "sandbox-dss")
            self._host.url = service.url
            try:
                yield service.url
            finally:
                self._host.url = None
                service.stop(grace)

    def restart_kernels(self) -> None:
        """Drops all configured instances, as DSS does with idle kernels."""
        self.mesh.close()

    @property
    def violations(self) -> tuple[ContractError, ...]:
        """Every breach of the custom LLM contract so far."""
        return tuple(self.mesh.violations)

    # -- inside

    def _resolver(self, plugin: InstalledPlugin) -> Resolver:
        return Resolver(plugin.descriptor, self._presets, self.credentials, self.release, self._int_as_float)

    def _new_kernel(self, model: Model, user: str) -> Kernel:
        plugin = self._plugins[model.plugin_id]
        resolver = self._resolver(plugin)
        component = plugin.descriptor.components[model.component_id]
        config = resolver.resolve(component.params, model.config, user)
        plugin_config = resolver.resolve(plugin.descriptor.params, self._plugin_configs[plugin.id], user)
        cls = plugin.class_for(model.component_id, model.capability)
        instance = cls()
        instance.set_config(config, plugin_config)
        return Kernel(instance, plugin.base_of(model.capability))

    def _model(
        self,
        connection: str,
        plugin: InstalledPlugin,
        raw: Mapping[str, Any],
        retries: Retries,
        unknown: bool,
    ) -> Model:
        components = plugin.descriptor.components
        component_id = raw.get("component") or (next(iter(components)) if len(components) == 1 else None)
        if component_id is None:
            raise ConfigError(f"{plugin.id} has several components: say which, {sorted(components)}")
        capability = raw["capability"]
        capability = capability if isinstance(capability, Capability) else Capability[capability]
        plugin.class_for(component_id, capability)
        config = dict(raw.get("params") or {})
        params = components[component_id].params
        if not unknown:
            _known_names(params, config, component_id)
        for param in params:
            if param.type == "PRESET" and config.get(param.name) is not None:
                config[param.name] = preset_reference(config[param.name])
        return Model(connection, raw["id"], capability, plugin.id, component_id, config, retries)

    def plugin(self, plugin_id: str) -> InstalledPlugin:
        """Raises PluginError where it is not installed."""
        if plugin_id not in self._plugins:
            raise PluginError(f"no plugin {plugin_id!r} is installed")
        return self._plugins[plugin_id]

    def _parameter_set(self, plugin_id: str, name: str) -> ParameterSet:
        parameter_sets = self.plugin(plugin_id).descriptor.parameter_sets
        if name not in parameter_sets:
            raise ConfigError(f"{plugin_id} has no parameter set {name!r}")
        return parameter_sets[name]


def _known_names(params: Sequence[Parameter], config: Mapping[str, Any], where: str) -> None:
    unknown = config.keys() - {param.name for param in params}
    if unknown:
        raise ConfigError(f"{where} has no parameters {sorted(unknown)}")
