"""What the pages of all viewers share: what is known of the account, and what viewers have started."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable

from spcs_llm.control.executor_session import open_executor_session
from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import NotAName, QualifiedName, qualified
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import QueryError, SettingsError, SpcsError
from spcs_llm.monitor import account_steps, mesh_steps
from spcs_llm.monitor.account import Account
from spcs_llm.monitor.as_viewer import AsViewer, Carry, Mesh
from spcs_llm.monitor.background import Background, State
from spcs_llm.monitor.cost import Cost, cost_work
from spcs_llm.monitor.diagnoses import Diagnoses
from spcs_llm.monitor.lookout import Lookout
from spcs_llm.monitor.mesh_models import custom_id
from spcs_llm.monitor.operations import Operations
from spcs_llm.monitor.overview import Price, rows_of
from spcs_llm.monitor.prompts import Prompts
from spcs_llm.monitor.settings import MonitorSettings, read_monitor
from spcs_llm.monitor.viewers import Identify
from spcs_llm.monitor.watches import Watches
from spcs_llm.settings import FIELDS

LOOK_SECONDS, COST_SECONDS, COST_RETRY_SECONDS = 20.0, 3600.0, 300.0
NOT_YET = 409  # HTTP: what is asked for is not known yet
_RUN_AS_USER = "the webapp's run-as user"
_ASSUMED = "an assumption: enter 'Cost of a credit' in the webapp's settings"


@dataclass(frozen=True)
class Surroundings:
    """What DSS provides.

    Attributes:
        config: The webapp's settings, as DSS hands them over.
        executor: Makes a `dataiku.SQLExecutor2` for a connection.
        identify: Asks DSS whose browser sent these headers.
        mesh: What is needed of DSS to ask models as the viewer.
        clock: Seconds that never go back.
        now: The time, with its zone.
        look_seconds: Seconds between two looks at the account.
    """

    config: Any
    executor: Callable[[str], Any]
    identify: Identify
    mesh: Mesh
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(timezone.utc))
    look_seconds: float = LOOK_SECONDS


class Monitor:
    """What the routes share.

    Args:
        surroundings: What DSS provides.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self.as_viewer = AsViewer(surroundings.mesh)
        self.prompts = Prompts(self.as_viewer, surroundings.clock)
        self.problem: SettingsError | None = None
        try:
            self.settings = read_monitor(surroundings.config)
        except SettingsError as error:
            self.problem = error
            self.settings = MonitorSettings("", None, None, (), 30, None)
        prices, clock = price_list(), surroundings.clock
        self.watches = Watches(clock)
        self.operations = Operations(self.open_session, prices, clock)
        self.diagnoses = Diagnoses(clock)
        lookout = Lookout(self.open_session, prices, self.watches.open, clock)
        self.account = Background[Account](
            "spcs-llm-services",
            lookout.look,
            surroundings.look_seconds,
            surroundings.look_seconds,
            clock=clock,
        )
        work = cost_work(
            self.open_session, prices, self.settings.days, self.settings.credit_price, surroundings.now
        )
        self.cost = Background[Cost](
            "spcs-llm-cost", work, COST_SECONDS, COST_RETRY_SECONDS, idle=COST_SECONDS, clock=clock
        )
        self._rows: tuple[tuple[int, int], list[dict[str, Any]]] | None = None

    def open_session(self) -> SqlSession:
        """A session of the Snowflake connection, with the rights of the webapp's run-as user."""
        if self.problem is not None:
            raise self.problem
        return open_executor_session(
            self._surroundings.executor,
            self.settings.connection,
            role=self.settings.role,
            warehouse=self.settings.warehouse,
            whose=_RUN_AS_USER,
        )

    def price(self, cost: Cost | None) -> Price:
        """What a credit costs: as entered, or in the contract, or else an assumption."""
        if cost is not None:
            found = cost.report.price
            return Price(found.amount, found.currency, found.source)
        if self.settings.credit_price is not None:
            return Price(self.settings.credit_price, "USD", "as entered")
        return Price(FIELDS.credit_price.absent, "USD", _ASSUMED)

    def rows(self, state: State[Account]) -> list[dict[str, Any]]:
        """The rows of the overview, made once for all viewers."""
        cost = self.cost.ask()
        key = (state.version, cost.version)
        kept = self._rows
        if kept is None or kept[0] != key:
            assert state.value is not None  # noqa: S101 - asked by callers
            kept = self._rows = (key, rows_of(state.value, self.price(cost.value)))
        return kept[1]

    # -- services and their diagnoses ------------------------------------------------------------------------

    def service(self, text: object) -> tuple[State[Account], QualifiedName]:
        """What is known, and the service that a request names, which is one of those known."""
        state = self.account.ask()
        if state.value is None:
            problem = state.problem
            if problem is not None:
                raise SpcsError(problem.message, problem.hint, status=NOT_YET, place="webapp")
            raise SpcsError(
                "The account is being looked at for the first time.",
                "Try again in a moment.",
                status=NOT_YET,
                place="webapp",
            )
        try:
            name = qualified(text if isinstance(text, str) else "")
        except NotAName:
            raise SpcsError(
                "This is not the full name of a service.",
                "Open the service from the list of all services.",
                status=400,
                place="webapp",
            ) from None
        if name not in state.value.services:
            raise SpcsError(
                f"The service {name.sql} does not exist, or no longer exists.",
                "It may have been dropped, or the role may have lost its privileges on it.",
                status=404,
                place="webapp",
            )
        return state, name

    def diagnose(self, name: QualifiedName, user: str, model: object, carry: Carry) -> None:
        """Starts a diagnosis of a service, and of a model of the viewer's for it.

        Args:
            name: The service, which is one of those known.
            user: The viewer.
            model: The id of a model in LLM Mesh; None for no query.
            carry: Makes a function for another thread, which has the context of the viewer's request there.

        Raises:
            QueryError: If this is not the id of a model.
            ServiceBusy: If too many are under way.
        """
        id = custom_id(model)
        if model is not None and id is None:
            raise QueryError("This is not a custom model of LLM Mesh.", "Select a model.")
        hosts = self._hosts(name)
        self.diagnoses.start(
            name,
            None,
            lambda: account_steps.account_steps(self.open_session, name, next(iter(hosts), None)),
            account_steps.SECONDS,
        )
        if id is None:
            self.diagnoses.forget(name, user)
            return
        query = mesh_steps.MeshSteps(self.as_viewer, user, id, hosts, carry)
        self.diagnoses.start(name, user, query.steps, mesh_steps.SECONDS, query.seconds)

    def diagnosis(self, name: QualifiedName, user: str) -> dict[str, Any]:
        """What the diagnosis of a service has found so far, and that of this viewer's model for it."""
        return {"service": self.diagnoses.shown(name, None), "query": self.diagnoses.shown(name, user)}

    def _hosts(self, name: QualifiedName) -> list[str]:
        """The host names of a service's public endpoints."""
        account = self.account.ask().value
        found = account.services.get(name) if account is not None else None
        endpoints = (found.endpoints or ()) if found is not None else ()
        return [host for e in endpoints if e.is_public for host in (e.host, e.private_host) if host]
