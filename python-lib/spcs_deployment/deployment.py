"""The notebook's steps, in order. Each can be run again: what exists is found and used."""

from __future__ import annotations

from typing import Any

from spcs_deployment import connection_form, pools, registry, service
from spcs_deployment.catalogue import CHAT, CatalogueModel
from spcs_deployment.interface import Interface, interface_of
from spcs_deployment.plan import Plan
from spcs_deployment.pools import Pool
from spcs_deployment.problems import DeploymentError
from spcs_deployment.session import account_url, assume_role, region
from spcs_deployment.sql import Session
from spcs_deployment.waiting import Report, wait_until_ready
from spcs_llm.control import families


class Deployment:
    """One plan in one session. The steps report in sentences and raise DeploymentError."""

    def __init__(
        self,
        plan: Plan,
        session: Session,
        *,
        role: str | None = None,
        endpoint: str | None = None,
        report: Report = print,
    ) -> None:
        self.plan = plan
        self.session = session
        self.endpoint = endpoint
        self.report = report
        self.role = assume_role(session, role)
        self.prices = families.price_list()
        self._region = ""
        self._registry: Any = None
        self._pools: dict[str, Pool] = {}
        self._versions: dict[str, Any] = {}
        self._jobs: dict[str, Any] = {}
        self._hosts: dict[str, str] = {}

    def check(self) -> None:
        """Find the pools, and say what runs where and what it will cost."""
        registry.check_library()
        self._region = region(self.session)
        self._pools = {name: self._pool(name) for name in self.plan.pools}
        self.report(f"Role {self.role} deploys to {self.plan.database}.{self.plan.schema}.")
        for model in self.plan.models:
            pool = self._pools[self.plan.pool(model)]
            if model.purpose == CHAT:
                pools.needs_gpu(pool)
            self.report(f"{model.key}: {model.repository}, {model.licence}; {model.why}.")
        for pool in self._pools.values():
            self.report(f"Pool {pool.name} while in use: {self._cost(pool)}.")
            chats = [m for m in self.plan.models if m.purpose == CHAT and self.plan.pool(m) == pool.name]
            for doubt in pools.doubts(pool, chats):
                self.report(doubt)
            if pool.max_nodes < self.plan.max_nodes:
                self.report(
                    f"Pool {pool.name} has at most {pool.max_nodes} nodes, fewer than MAX_NODES. Ask a Snowflake "
                    "administrator to raise it (resource/sql/operate.sql)."
                )
            if not pool.auto_suspend_seconds:
                self.report(
                    f"Pool {pool.name} never suspends itself. Ask a Snowflake administrator to set "
                    "AUTO_SUSPEND_SECS on it."
                )
        self.report(self._idling())
        self.report(
            f"Based on prices of {self.prices.effective} and USD {self.plan.credit_cost:g} per credit; "
            "check your contract."
        )

    def log_models(self) -> None:
        self._registry = registry.open_registry(self.session, self.plan)
        for model in self.plan.models:
            version = registry.model_version(self._registry, model, self.plan)
            if version is None:
                where = self.plan.logging_pool or "this machine"
                self.report(
                    f"{model.key}: logging {model.repository} on {where}; this takes minutes to an hour, "
                    "depending on its size."
                )
                version = registry.log_model(self._registry, model, self.plan)
            else:
                self.report(f"{model.key}: version {self.plan.version} is logged already.")
            self._versions[model.key] = version

    def create_services(self) -> None:
        for model in self.plan.models:
            name = self.plan.service(model)
            interface = self.interface(model)
            found = service.named_service(self.session, name)
            self._jobs[name] = None
            if found is None:
                engine = (
                    "vLLM" if interface.kind == "chat" else "an image that Snowflake builds for the model"
                )
                self.report(f"{name}: being created, served by {engine}.")
                pool = self._pool(self.plan.pool(model))
                self._jobs[name] = registry.create_service(
                    self._version(model), model, interface, self.plan, pool
                )
            elif found.is_suspended:
                self.report(f"{name}: was suspended, resuming it.")
                service.resume(self.session, name)
            else:
                self.report(f"{name}: exists already ({found.status}).")

    def wait(self, minutes: float = 45.0, **how: Any) -> None:
        """Wait for every service; `how` goes to `wait_until_ready`."""
        names = {
            self.plan.service(model): self._jobs.get(self.plan.service(model)) for model in self.plan.models
        }
        how.setdefault("resume_suspended", self.plan.min_instances == 0)
        try:
            self._hosts = wait_until_ready(
                self.session, names, endpoint=self.endpoint, minutes=minutes, report=self.report, **how
            )
        except DeploymentError:
            self._report_trouble_of_pools()
            raise

    def grant(self) -> None:
        notes: list[str] = []
        for model in self.plan.models:
            notes += service.grant(self.session, self.plan.service(model), self.plan.caller_role)
        self.report(f"Role {self.plan.caller_role} may call the services.")
        for note in dict.fromkeys(notes):
            self.report(f"{self.role} could not grant {note}")

    def show_form(self) -> None:
        account = account_url(self.session)
        for model in self.plan.models:
            host = self._hosts.get(self.plan.service(model))
            if host is None:
                raise DeploymentError(
                    f"{self.plan.service(model)} is not ready.",
                    "Run the cell that waits for the services first.",
                )
            filled = connection_form.fields(
                model, self.interface(model), host, account, self._pool(self.plan.pool(model)), self.plan
            )
            self.report(connection_form.table(model, filled) + "\n")

    def suspend(self, confirm: bool = False) -> None:
        """Stop billing. The next query from DSS resumes the service and waits for it."""
        self._operate("suspended", service.suspend, confirm)
        self._report_end_of_billing()

    def resume(self, confirm: bool = False) -> None:
        self._operate("resumed", service.resume, confirm)
        for name in self.plan.pools:
            self.report(f"Pool {name}: {self._cost(self._pool(name))}, from then on.")

    def drop(self, confirm: bool = False, models: bool = False) -> None:
        """Drop the services, and with `models` the logged models. A service created again has a new host name."""
        self._operate("dropped", service.drop, confirm)
        for model in self.plan.models if models else ():
            self.report(
                f"{'Deleting' if confirm else 'Would delete'} model {model.key} with all its versions."
            )
            if confirm:
                registry.delete_model(
                    self._registry or registry.open_registry(self.session, self.plan), model
                )
        self._report_end_of_billing()

    def interface(self, model: CatalogueModel) -> Interface:
        version = self._version(model)
        return interface_of(version.show_functions(), f"{model.key} version {self.plan.version}")

    def _operate(self, done: str, act: Any, confirm: bool) -> None:
        for model in self.plan.models:
            name = self.plan.service(model)
            if service.named_service(self.session, name) is None:
                self.report(f"{name}: does not exist.")
                continue
            if confirm:
                act(self.session, name)
            self.report(f"{name}: {done}." if confirm else f"{name}: would be {done}; nothing has been done.")

    def _report_end_of_billing(self) -> None:
        """Nodes are billed without a service as well, until their pool is suspended."""
        for name in self.plan.pools:
            try:
                pool = self._pool(name)
            except DeploymentError:  # it may have been dropped before
                continue
            end = f"until it has been idle for {pool.auto_suspend_seconds} s, then nothing."
            if not pool.auto_suspend_seconds:
                end = (
                    "also without a service, as it never suspends itself. Ask a Snowflake administrator: ALTER COMPUTE "
                    f"POOL {name} SUSPEND, or ALTER COMPUTE POOL {name} SET AUTO_SUSPEND_SECS = 300."
                )
            self.report(f"Pool {name}: {self._cost(pool)}, {end}")

    def _version(self, model: CatalogueModel) -> Any:
        if model.key not in self._versions:
            raise DeploymentError(
                f"{model.key} is not logged yet.", "Run the cell that logs the models first."
            )
        return self._versions[model.key]

    def _pool(self, name: str) -> Pool:
        if name not in self._pools:
            self._pools[name] = pools.pool(self.session, name, self.prices, self._region)
        return self._pools[name]

    def _idling(self) -> str:
        if self.plan.min_instances == 0:
            return (
                "MIN_INSTANCES is 0: Snowflake suspends a service after 30 minutes without requests; the next "
                "request resumes it and waits."
            )
        return (
            f"MIN_INSTANCES is {self.plan.min_instances}: the services are always ready, and billed day and night "
            "until you suspend them."
        )

    def _report_trouble_of_pools(self) -> None:
        """Say why a pool does not start, if Snowflake says so; never hides the error that led here."""
        for name in self.plan.pools:
            try:
                trouble = pools.trouble(self.session, name)
            except DeploymentError:
                continue
            if trouble:
                self.report(f"Pool {name} reports {trouble}")

    def _cost(self, pool: Pool) -> str:
        return families.running_cost(pool.family, self.plan.max_nodes, self.plan.credit_cost)
