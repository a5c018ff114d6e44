"""A Snowflake account small enough to read: what the notebook's session and registry meet in the tests.

It answers the statements it knows and fails on any other; calls of the registry are bound to the recorded
signatures of the real library, or go through autospecs of it (`real=True`, with the library installed).
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tests.integration.registry_recording import bind, recorded

ROOT = Path(__file__).parents[2]
PROVISIONING = "Endpoints provisioning in progress... check back in a few minutes"
SIGNATURES = recorded()["signatures"]
WITHOUT_CHAT_TEMPLATE = ("microsoft/phi-2",)


class SnowparkSQLException(Exception):
    """Stands for the class of that name; its text is the server's."""


@dataclass
class Service:
    """status and containers as SHOW prints them; `steps`: what happens, poll by poll, until it is ready."""

    name: str
    steps: list[str] = field(default_factory=lambda: ["PENDING", "PROVISIONING", "READY"])
    status: str = "RUNNING"
    message: str = "Pulling image"
    restart_count: int = 0
    endpoints: dict[str, bool] = field(default_factory=lambda: {"inference": True})

    @property
    def step(self) -> str:
        return self.steps[0]

    def advance(self) -> None:
        if len(self.steps) > 1:
            self.steps.pop(0)


@dataclass
class Job:
    """The AsyncJob of a deployment: not done while the image is built."""

    polls: int = 1
    failure: str | None = None

    def is_done(self) -> bool:
        self.polls -= 1
        return self.polls < 0

    def result(self) -> str:
        if self.failure:
            raise SnowparkSQLException(self.failure)
        return "done"


class Account:
    """Objects and privileges of one account, and what was asked of it."""

    def __init__(self) -> None:
        self.role = "DATAIKU_SPCS_DEPLOYER_ROLE"
        self.roles = {self.role, "DATAIKU_SPCS_ROLE"}
        self.granted_roles = {self.role}
        self.pools = {
            "DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL": "GPU_NV_S",
            "DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL": "CPU_X64_XS",
        }
        self.region = "AWS_US_WEST_2"
        self.troubles: dict[str, tuple[str, str]] = {}  # pool -> error_code and status_message
        self.refusals: dict[str, str] = {}  # a statement's or call's beginning -> the server's text
        self.models: dict[str, dict[str, str]] = {}  # model -> version -> sort of signature
        self.services: dict[str, Service] = {}
        self.pending: dict[str, tuple[Job, Service]] = {}
        self.grants: set[tuple[str, str]] = set()
        self.statements: list[str] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.slept = 0.0
        self.next_service: Callable[[str], Service] = Service
        self.next_job: Callable[[], Job] = Job

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    # what the registry does

    def log_model(self, model: Any, model_name: str, version_name: str, **more: Any) -> None:
        self._note("log_model", model_name=model_name, version_name=version_name, **more)
        wrapper = type(model).__name__
        if wrapper == "SentenceTransformer":
            sort = "embedding"
        else:
            sort = "text" if model.model in WITHOUT_CHAT_TEMPLATE else "chat"
        if version_name in self.models.get(model_name, {}):
            raise ValueError(f"Model {model_name} version {version_name} already existed.")
        self.models.setdefault(model_name, {})[version_name] = sort

    def create_service(self, sort: str, **arguments: Any) -> Job:
        self._note("create_service", **arguments)
        name, pool = arguments["service_name"], arguments["service_compute_pool"]
        if name in self.services:
            raise SnowparkSQLException(f"002002 (42710): Object '{name}' already exists.")
        if pool not in self.pools:
            raise SnowparkSQLException(
                f"002003 (02000): Compute Pool '{pool}' does not exist or not authorized."
            )
        engine = (arguments.get("inference_engine_options") or {}).get("engine")
        if engine == "vllm" and sort != "chat":
            raise ValueError(
                "Inference engine requires the model to be logged with one of the OpenAI signatures"
            )
        if arguments.get("gpu_requests") and not self.pools[pool].startswith("GPU"):
            raise SnowparkSQLException("395000: the pool has no GPU")
        job, service = self.next_job(), self.next_service(name)
        service.endpoints = {"inference": bool(arguments.get("ingress_enabled"))}
        self.pending[name] = (job, service)
        return job

    def _note(self, call: str, **arguments: Any) -> None:
        self.calls.append((call, arguments))
        self._refuse(call)

    def _refuse(self, text: str) -> None:
        for beginning, refusal in self.refusals.items():
            if text.startswith(beginning):
                raise SnowparkSQLException(refusal)

    # what SQL does

    def run(self, statement: str) -> list[dict[str, Any]]:
        self.statements.append(statement)
        self._refuse(statement)
        for pattern, answer in self._known():
            match = re.fullmatch(pattern, statement)
            if match:
                return answer(*match.groups())
        raise AssertionError(f"the stand-in does not know {statement!r}")

    def _known(self) -> list[tuple[str, Callable[..., list[dict[str, Any]]]]]:
        name = r"([\w.]+)"
        return [
            (r"SELECT CURRENT_ROLE\(\) AS ROLE", lambda: [{"ROLE": self.role}]),
            (
                r"SELECT CURRENT_ORGANIZATION_NAME\(\) AS ORGANIZATION, CURRENT_ACCOUNT_NAME\(\) AS ACCOUNT",
                lambda: [{"ORGANIZATION": "ACME", "ACCOUNT": "DATA_SCIENCE"}],
            ),
            (r"SELECT CURRENT_REGION\(\) AS REGION", lambda: [{"REGION": self.region}]),
            (rf"USE ROLE {name}", self._use_role),
            (rf"DESCRIBE COMPUTE POOL {name}", self._describe_pool),
            (r"SHOW COMPUTE POOLS LIKE '([^']+)'", self._show_pools),
            (rf"SHOW SERVICES LIKE '([^']+)' IN SCHEMA {name}", self._show_services),
            (rf"SHOW SERVICE CONTAINERS IN SERVICE {name}", self._show_containers),
            (rf"SHOW ENDPOINTS IN SERVICE {name}", self._show_endpoints),
            (rf"GRANT (USAGE ON DATABASE|USAGE ON SCHEMA) {name} TO ROLE {name}", self._grant),
            (rf"GRANT (SERVICE ROLE) ([\w.]+![A-Z_]+) TO ROLE {name}", self._grant),
            (rf"ALTER SERVICE {name} (SUSPEND|RESUME)", self._alter),
            (rf"DROP SERVICE IF EXISTS {name}", self._drop),
        ]

    def _use_role(self, role: str) -> list[dict[str, Any]]:
        if role not in self.granted_roles:
            raise SnowparkSQLException(
                f"003013 (42501): Requested role '{role}' is not assigned to the executing user."
            )
        self.role = role
        return [{"status": "Statement executed successfully."}]

    def _show_pools(self, like: str) -> list[dict[str, Any]]:
        return [
            {
                "name": pool,
                "state": "SUSPENDED",
                "min_nodes": 1,
                "max_nodes": 1,
                "instance_family": family,
                "auto_suspend_secs": 300,
                "auto_resume": "true",
            }
            for pool, family in self.pools.items()
            if _like(like, pool)
        ]

    def _describe_pool(self, pool: str) -> list[dict[str, Any]]:
        code, message = self.troubles.get(pool, ("", ""))
        return [{"name": pool, "error_code": code, "status_message": message}]

    def _show_services(self, like: str, schema: str) -> list[dict[str, Any]]:
        for name, (job, service) in list(self.pending.items()):
            if job.polls <= 0 and not job.failure:
                self.services[name] = service
                del self.pending[name]
        return [
            {"name": name.split(".")[-1], "status": service.status}
            for name, service in self.services.items()
            if name.startswith(f"{schema}.") and _like(like, name.split(".")[-1])
        ]

    def _show_containers(self, name: str) -> list[dict[str, Any]]:
        service = self.services[name]
        if service.status == "SUSPENDED":  # one row, the columns of instance and container NULL
            return [{"container_name": None, "status": None, "message": None, "restart_count": None}]
        ready = service.step in ("READY", "PROVISIONING")
        row = {
            "container_name": "model-inference",
            "status": "READY" if ready else service.step,
            "message": "Running" if ready else service.message,
            "restart_count": service.restart_count,
        }
        if service.step == "PENDING":
            service.advance()
        return [row]

    def _show_endpoints(self, name: str) -> list[dict[str, Any]]:
        service = self.services[name]
        host = f"{name.split('.')[-1].lower().replace('_', '')}-acme-data-science.snowflakecomputing.app"
        rows = [
            {
                "name": endpoint,
                "port": 5000,
                "protocol": "HTTP",
                "is_public": "true" if public else "false",
                "ingress_url": (PROVISIONING if service.step == "PROVISIONING" else host) if public else None,
            }
            for endpoint, public in service.endpoints.items()
        ]
        if service.step == "PROVISIONING":
            service.advance()
        return rows

    def _grant(self, privilege: str, thing: str, role: str) -> list[dict[str, Any]]:
        if role not in self.roles:
            raise SnowparkSQLException(f"002003 (02000): Role '{role}' does not exist or not authorized.")
        self.grants.add((f"{privilege} {thing}", role))
        return [{"status": "Statement executed successfully."}]

    def _alter(self, name: str, verb: str) -> list[dict[str, Any]]:
        self.services[name].status = "SUSPENDED" if verb == "SUSPEND" else "RUNNING"
        return [{"status": "Statement executed successfully."}]

    def _drop(self, name: str) -> list[dict[str, Any]]:
        self.services.pop(name, None)
        return [{"status": f"{name} successfully dropped."}]


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace("%", ".*").replace("_", "."), text) is not None


class Row(dict[str, Any]):
    def as_dict(self) -> dict[str, Any]:
        return dict(self)


@dataclass
class Query:
    account: Account
    statement: str

    def collect(self) -> list[Row]:
        return [Row(row) for row in self.account.run(self.statement)]


@dataclass
class Session:
    account: Account

    def sql(self, query: str) -> Query:
        return Query(self.account, query)


# The registry, its calls bound to the recorded signatures


class ModelSignature:
    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    def to_dict(self) -> dict[str, Any]:
        return self._columns


def functions(sort: str) -> list[dict[str, Any]]:
    """ModelVersion.show_functions() of a model of this sort."""
    methods = {"embedding": ("encode_query", "encode", "encode_document"), "neither": ("predict",)}
    return [
        {"name": method.upper(), "target_method": method, "signature": ModelSignature(SIGNATURES[sort])}
        for method in methods.get(sort, ("__call__",))
    ]


class ModelVersion:
    def __init__(self, account: Account, model_name: str, version_name: str) -> None:
        self._account = account
        self.model_name = model_name
        self.version_name = version_name

    @property
    def _sort(self) -> str:
        return self._account.models[self.model_name][self.version_name]

    def create_service(self, *args: Any, **kwargs: Any) -> Job:
        arguments = bind("ModelVersion.create_service", self, *args, **kwargs)
        del arguments["self"]
        return self._account.create_service(self._sort, **arguments)

    def show_functions(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        bind("ModelVersion.show_functions", self, *args, **kwargs)
        return functions(self._sort)


class Model:
    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self.name = name

    def versions(self, *args: Any, **kwargs: Any) -> list[ModelVersion]:
        bind("Model.versions", self, *args, **kwargs)
        return [
            ModelVersion(self._account, self.name, version) for version in self._account.models[self.name]
        ]


class Registry:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        arguments = bind("Registry.__init__", self, *args, **kwargs)
        self._account: Account = arguments["session"].account
        self._account._refuse("Registry")

    def models(self, *args: Any, **kwargs: Any) -> list[Model]:
        bind("Registry.models", self, *args, **kwargs)
        return [Model(self._account, name) for name in self._account.models]

    def log_model(self, *args: Any, **kwargs: Any) -> ModelVersion:
        arguments = bind("Registry.log_model", self, *args, **kwargs)
        del arguments["self"]
        self._account.log_model(**arguments)
        return ModelVersion(self._account, arguments["model_name"], arguments["version_name"])

    def delete_model(self, *args: Any, **kwargs: Any) -> None:
        arguments = bind("Registry.delete_model", self, *args, **kwargs)
        del self._account.models[arguments["model_name"]]


def _wrapper(name: str) -> type:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        arguments = bind(f"{name}.__init__", self, *args, **kwargs)
        del arguments["self"]
        self.__dict__.update(arguments)

    return type(name, (), {"__init__": __init__})


def recorded_modules() -> dict[str, types.ModuleType]:
    """Modules under the real library's names."""
    return {
        "snowflake.ml": _module("snowflake.ml", __path__=[]),
        "snowflake.ml.version": _module("snowflake.ml.version", VERSION="2.6.0"),
        "snowflake.ml.registry": _module("snowflake.ml.registry", Registry=Registry),
        "snowflake.ml.model": _module("snowflake.ml.model", __path__=[]),
        "snowflake.ml.model.models": _module("snowflake.ml.model.models", __path__=[]),
        "snowflake.ml.model.models.huggingface": _module(
            "snowflake.ml.model.models.huggingface",
            TransformersPipeline=_wrapper("TransformersPipeline"),
            SentenceTransformer=_wrapper("SentenceTransformer"),
        ),
    }


def autospecced_registry() -> Any:
    """An autospec of the real Registry whose models and versions, autospecs too, act on the account."""
    from snowflake.ml.model import Model as RealModel
    from snowflake.ml.model import ModelVersion as RealVersion
    from snowflake.ml.model.model_signature import ModelSignature as RealSignature
    from snowflake.ml.registry import Registry as RealRegistry

    def version(account: Account, model_name: str, version_name: str) -> Any:
        sort = account.models[model_name][version_name]
        spec = mock.create_autospec(
            RealVersion, instance=True, model_name=model_name, version_name=version_name
        )
        spec.create_service.side_effect = lambda **given: account.create_service(sort, **given)
        spec.show_functions.return_value = [
            {**function, "signature": RealSignature.from_dict(SIGNATURES[sort])}
            for function in functions(sort)
        ]
        return spec

    def model(account: Account, name: str) -> Any:
        spec = mock.create_autospec(RealModel, instance=True)
        spec.name = name
        spec.versions.side_effect = lambda: [version(account, name, one) for one in account.models[name]]
        return spec

    def open_registry(session: Session, **names: Any) -> Any:
        account = session.account
        spec = mock.create_autospec(RealRegistry, instance=True)

        def log_model(logged: Any, **given: Any) -> Any:
            account.log_model(logged, **given)
            return version(account, given["model_name"], given["version_name"])

        spec.log_model.side_effect = log_model
        spec.models.side_effect = lambda: [model(account, name) for name in account.models]
        spec.delete_model.side_effect = lambda model_name: account.models.pop(model_name)
        return spec

    return mock.create_autospec(RealRegistry, side_effect=open_registry)


def _module(name: str, **contents: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    return module


# What a notebook's kernel is given


def install(account: Account, *, in_dss: bool, real: bool = False) -> None:
    """Put the account behind the imports of the notebook; nothing else of the kernel is touched."""
    session = Session(account)
    if real:
        import snowflake.ml.registry

        snowflake.ml.registry.Registry = autospecced_registry()
    else:
        sys.modules.update(recorded_modules())
    builder = mock.Mock(spec=["config", "create"])
    builder.config.side_effect = lambda key, value: builder if key == "connection_name" else None
    builder.create.return_value = session
    if real:
        import snowflake.snowpark

        snowflake.snowpark.Session.builder = builder
    else:
        sys.modules["snowflake.snowpark"] = _module("snowflake.snowpark", Session=mock.Mock(builder=builder))
    if in_dss:
        _install_dss(session)
    sys.path.insert(0, str(ROOT / "python-lib"))
    from spcs_deployment import waiting

    sys.path.remove(str(ROOT / "python-lib"))
    waiting.wait_until_ready.__kwdefaults__.update(sleep=account.sleep, clock=lambda: account.slept)


def _install_dss(session: Session) -> None:
    def use_plugin_libs(plugin: str) -> None:
        if plugin != "snowpark-container-services-llm":
            raise ValueError(f"no plugin {plugin}")
        sys.path.insert(0, str(ROOT / "python-lib"))

    class DkuSnowpark:
        """`get_session` as Dataiku's developer guide shows it."""

        def get_session(self, connection_name: str, project_key: str | None = None) -> Session:
            return session

    sys.modules["dataiku"] = _module("dataiku", __path__=[], use_plugin_libs=use_plugin_libs)
    sys.modules["dataiku.snowpark"] = _module("dataiku.snowpark", DkuSnowpark=DkuSnowpark)
