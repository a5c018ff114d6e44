"""Services: their instances and containers, suspended and resumed on the account's clock.

States, columns and messages: Snowflake docs, DESCRIBE SERVICE, working with services, monitoring services.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.snowflake.catalog.agenda import Agenda
from sandbox.snowflake.catalog.conditions import (
    CONDITIONS,
    NODES_PROVISIONED,
    READINESS,
    UNSCHEDULABLE,
    WAITING,
    Condition,
)  # fmt: skip
from sandbox.snowflake.catalog.durations import Durations
from sandbox.snowflake.catalog.grants import Securable
from sandbox.snowflake.catalog.identifiers import qualified
from sandbox.snowflake.catalog.pools import ComputePool, Node
from sandbox.snowflake.endpoint import Endpoint

PROVISIONING = "Endpoints provisioning in progress... check back in a few minutes"
# Container names of model serving: snowflake-ml-python 2.6.0, service operations.
MODEL_SERVING_CONTAINERS = ("model-inference", "proxy", "snowflake-ingress")
# Snowflake docs, real-time inference: a service with MIN_INSTANCES = 0 is suspended after 30 minutes without calls.
QUIET_SECONDS = 1800.0
_SERVICE_IDS = itertools.count(2001)


@dataclass
class ServiceEndpoint:
    """An endpoint of a service. ingress: what answers on its public host; host: what SHOW prints without one."""

    name: str
    port: int
    protocol: str = "HTTP"
    public: bool = True
    ingress: Endpoint | None = None
    host: str = ""
    provisioned_at: float = 0.0
    privatelink_host: str | None = None

    def ingress_url(self, now: float) -> str:
        """The host; a sentence while it is provisioned; nothing for an endpoint that is not public."""
        if not self.public:
            return ""
        provisioning = self.ingress is not None and self.ingress.provisioning
        if provisioning or now < self.provisioned_at:
            return PROVISIONING
        return self.ingress.host if self.ingress is not None else self.host


@dataclass(eq=False)
class Instance:
    """One instance: where it is, since when, and the state of its main container."""

    number: int
    created_on: float
    placed: Callable[[float], None]
    node: Node | None = None
    started_on: float | None = None
    ready: bool = False


@dataclass(frozen=True)
class ContainerState:
    """A row of SHOW SERVICE CONTAINERS, without what the service says."""

    name: str
    status: str
    message: str
    image: str
    restart_count: int = 0
    last_exit_code: int | None = None


@dataclass(eq=False)
class Service:
    """A service or a job. workload: as in OF TYPE; images: of its containers, by container name.

    metrics: seconds ago, name, value and unit of what it used; extra_log: lines of its log besides the usual ones.
    """

    database: str
    schema: str
    name: str
    owner: str
    pool: ComputePool
    agenda: Agenda
    durations: Durations
    created_on: float
    endpoints: list[ServiceEndpoint] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=lambda: {"main": "/repo/image:latest"})
    min_instances: int = 1
    max_instances: int = 1
    min_ready_instances: int = 1
    auto_resume: bool = True
    auto_suspend_secs: int = 0
    comment: str | None = None
    query_warehouse: str | None = None
    external_access_integrations: tuple[str, ...] = ()
    workload: str = "USER"
    is_job: bool = False
    is_async_job: bool = False
    is_upgrading: bool = False
    managing_object: tuple[str, str] | None = None
    status: str = "PENDING"
    updated_on: float = 0.0
    resumed_on: float | None = None
    suspended_on: float | None = None
    condition: Condition | None = None
    instances: list[Instance] = field(default_factory=list)
    previous_log: tuple[str, ...] = ()
    when_ready: Callable[[float], None] = lambda now: None
    metrics: tuple[tuple[float, str, float, str], ...] = ()
    extra_log: tuple[str, ...] = ()
    number: int = field(default_factory=lambda: next(_SERVICE_IDS))

    def __post_init__(self) -> None:
        self.updated_on = self.updated_on or self.created_on
        self._generation = 0
        self._last_call = self.created_on

    # -- names and texts -------------------------------------------------------------------------------

    @property
    def securable(self) -> Securable:
        return Securable("SERVICE", self.full_name)

    @property
    def full_name(self) -> str:
        return qualified(self.database, self.schema, self.name)

    @property
    def dns_name(self) -> str:
        label = self.name.lower().replace("_", "-")
        return f"{label}.{hashlib.sha256(self.schema.encode()).hexdigest()[:4]}.svc.spcs.internal"

    @property
    def spec(self) -> str:
        """The expanded specification: images with their digests (Snowflake docs, DESCRIBE SERVICE)."""
        lines = ["---", "spec:", "  containers:"]
        for name, image in self.images.items():
            path = image.partition(":")[0]
            lines += [f'  - name: "{name}"', f'    image: "{path}@{digest_of(image)}"']
        lines += ["  endpoints:"] if self.endpoints else []
        for endpoint in self.endpoints:
            lines += [
                f'  - name: "{endpoint.name}"',
                f"    port: {endpoint.port}",
                f"    public: {str(endpoint.public).lower()}",
            ]
        return "\n".join(lines) + "\n"

    @property
    def spec_digest(self) -> str:
        return hashlib.sha256(self.spec.encode()).hexdigest()

    # -- what listings print ---------------------------------------------------------------------------

    def shown_status(self, now: float) -> str:
        """The status; one that a test set on the ingress comes first."""
        forced = self._forced(now)
        if forced == "suspended":
            return "SUSPENDED"
        if forced == "no_hosts":
            return "PENDING"
        if forced in ("connect_error", "loading"):
            return "RUNNING"
        if self.condition is not None and self.status in ("PENDING", "RUNNING"):
            return self.condition.service_status
        return self.status

    def runs(self, now: float) -> bool:
        """Whether there are instances to list."""
        return self.shown_status(now) not in ("SUSPENDED", "DELETED") and bool(self.instances)

    def current_instances(self, now: float) -> int:
        return len(self.instances) if self.runs(now) else 0

    def target_instances(self, now: float) -> int:
        gone = self.shown_status(now) in ("SUSPENDED", "SUSPENDING", "DONE", "DELETED")
        return 0 if gone else max(1, self.min_instances)

    def instance_status(self, instance: Instance, now: float) -> str:
        if self.is_job and self.status == "DONE":
            return "SUCCEEDED"
        if self.status == "SUSPENDING":
            return "TERMINATING"
        state = self.containers(instance, now)[0]
        return {"READY": "READY", "FAILED": "FAILED", "DONE": "SUCCEEDED"}.get(state.status, "PENDING")

    def containers(self, instance: Instance, now: float) -> list[ContainerState]:
        """The main container first; only it can have a problem."""
        main, *others = self.images
        started = instance.started_on is not None
        state = "READY" if started else "PENDING"
        rest = [ContainerState(n, state, "Running" if started else WAITING, self.images[n]) for n in others]
        return [self._main_container(main, instance, now), *rest]

    def _main_container(self, name: str, instance: Instance, now: float) -> ContainerState:
        image = self.images[name]
        if self.is_job and self.status == "DONE":
            return ContainerState(name, "DONE", "Completed successfully", image, 0, 0)
        if self.status == "SUSPENDING":
            return ContainerState(name, "TERMINATING", "", image)
        forced = self._forced(now)
        if forced in ("connect_error", "loading"):
            return ContainerState(name, "PENDING", READINESS, image)
        if forced == "no_hosts":
            return ContainerState(name, "PENDING", WAITING, image)
        ended = self.is_job and self.status == "FAILED"
        if self.condition is not None and (ended or instance.node is not None or not self.condition.placed):
            found = self.condition
            return ContainerState(
                name, found.status, found.message, image, found.restart_count, found.last_exit_code
            )
        if instance.node is None:
            full = self.pool.problem(now)[0] == "392508"
            return ContainerState(name, "PENDING", UNSCHEDULABLE if full else NODES_PROVISIONED, image)
        if instance.started_on is None:
            return ContainerState(name, "PENDING", WAITING, image)
        if not instance.ready:
            return ContainerState(name, "PENDING", READINESS, image)
        return ContainerState(name, "READY", "Running", image)

    def log(self, now: float, *, previous: bool = False) -> list[str]:
        """What the main container wrote: its start, its trouble, and a line for each call that reached it."""
        if previous:
            return list(self.previous_log or (self.condition.log if self.condition else ()))
        lines = ["INFO: Started server process [1]"]
        if self.condition is not None:
            return [*lines, *self.condition.log]
        lines += ["INFO: Application startup complete.", *self.extra_log]
        for endpoint in self.endpoints:
            if endpoint.ingress is not None:
                lines += [f'INFO: "{call.method} {call.path} HTTP/1.1"' for call in endpoint.ingress.received]
        return lines

    # -- what happens ----------------------------------------------------------------------------------

    def start_at_once(self, now: float) -> None:
        """Running and ready now, on a node that is there: how a test or a demo begins."""
        self._generation += 1
        self.instances = [self._instance(number, now) for number in range(max(1, self.min_instances))]
        for instance in self.instances:
            self.pool.make_room(instance, now)
            instance.started_on, instance.ready = now, True
        self.status = "RUNNING"
        self._called(now)

    def resume(self, now: float) -> None:
        """PENDING until a node is there and the containers have started; ready when the model is loaded."""
        self._unforce(now)
        if self.status in ("PENDING", "RUNNING"):
            return
        self._generation += 1
        self.empty(now)  # of instances that were still ending
        self.status = "PENDING"
        self.resumed_on = self.updated_on = now
        self.instances = [self._instance(number, now) for number in range(max(1, self.min_instances))]
        for instance in self.instances:
            self.pool.join(instance, now)

    def suspend(self, now: float) -> None:
        """SUSPENDING until the containers are gone."""
        self._unforce(now)
        if self.status in ("SUSPENDED", "SUSPENDING"):
            return
        self._generation += 1
        generation = self._generation
        self.status = "SUSPENDING"
        self.updated_on = now

        def gone(when: float) -> None:
            if generation == self._generation:
                self.status = "SUSPENDED"
                self.suspended_on = when
                self.empty(when)

        self.agenda.at(now + self.durations.suspending, gone)

    def end_job(self, now: float, status: str, condition: str | None = None) -> None:
        """The job has ended. Its instances stay in the listings, and give their nodes back."""
        self.fall_into(condition)
        self.status = status
        self.updated_on = now
        for instance in self.instances:
            self.pool.leave(instance, now)

    def empty(self, now: float) -> None:
        """Take every instance off its node."""
        leaving, self.instances = self.instances, []
        for instance in leaving:
            self.pool.leave(instance, now)

    def restart(self, now: float) -> None:
        """Begin as after a resume, for new nodes are needed."""
        self.status = "SUSPENDED"
        self.empty(now)
        self.resume(now)

    def fall_into(self, name: str | None) -> None:
        """Arm a condition of `conditions.CONDITIONS`, or None to recover."""
        self.condition = CONDITIONS[name] if name is not None else None
        if self.condition is not None and self.condition.restart_count:
            self.previous_log = self.condition.log

    def scale(self, now: float) -> None:
        """As many instances as MIN_INSTANCES says, if the service is not suspended."""
        if self.status not in ("PENDING", "RUNNING"):
            return
        while len(self.instances) > max(1, self.min_instances):
            self.pool.leave(self.instances.pop(), now)
        for number in range(len(self.instances), self.min_instances):
            instance = self._instance(number, now)
            self.instances.append(instance)
            self.pool.join(instance, now)

    def _instance(self, number: int, now: float) -> Instance:
        generation = self._generation

        def placed(when: float) -> None:
            self.agenda.at(when + self.durations.container_start, start)

        def start(when: float) -> None:
            if generation != self._generation or instance.node is None:
                return
            instance.started_on = when
            self.status = "RUNNING"
            self.agenda.at(when + self.durations.model_loading, ready)

        def ready(when: float) -> None:
            if generation == self._generation:
                instance.ready = True
                self._called(when)
                self.when_ready(when)

        instance = Instance(number, now, placed)
        return instance

    def _called(self, now: float) -> None:
        """A registry service whose MIN_INSTANCES is 0 is suspended when nobody has called for half an hour."""
        self._last_call = now
        if self.workload == "MODEL_SERVING" and self.min_instances == 0:
            self.agenda.at(now + QUIET_SECONDS, self._suspend_if_quiet)

    def _suspend_if_quiet(self, when: float) -> None:
        if self.status == "RUNNING" and when >= self._last_call + QUIET_SECONDS:
            self.suspend(when)

    # -- the ingress -----------------------------------------------------------------------------------

    def ingress_state(self, now: float) -> str:
        """What a call through the ingress meets; a call to a suspended service resumes it if AUTO_RESUME is true."""
        if self.status == "SUSPENDED" and self.auto_resume:
            self.resume(now)
            return "resumed"
        if self.condition is not None and self.status in ("PENDING", "RUNNING"):
            return self.condition.ingress
        if self.status != "RUNNING":
            return "no_hosts"
        if any(instance.ready for instance in self.instances):
            self._called(now)
            return "running"
        return "loading" if self.workload == "MODEL_SERVING" else "connect_error"

    def _forced(self, now: float) -> str:
        """A state that a test set on an endpoint's ingress; "running" if none is."""
        states = (e.ingress.forced_state(lambda: now) for e in self.endpoints if e.ingress is not None)
        return next((state for state in states if state != "running"), "running")

    def _unforce(self, now: float) -> None:
        """Turn a state that a test set on the ingress into the service's own."""
        for endpoint in self.endpoints:
            if endpoint.ingress is not None and endpoint.ingress.state != "running":
                if endpoint.ingress.state == "suspended":
                    self._generation += 1
                    self.status, self.suspended_on = "SUSPENDED", now
                    self.empty(now)
                endpoint.ingress.set_state("running")


def digest_of(image: str) -> str:
    return "sha256:" + hashlib.sha256(image.encode()).hexdigest()
