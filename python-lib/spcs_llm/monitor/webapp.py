"""The webapp's backend: a Blueprint of Flask for the `app` that DSS puts into `backend.py`.

Reads are answered from what a background thread knows, without a statement. What changes something needs a member of
the operator groups, by DSS's own identity of the browser, and a token that another site cannot read.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

from flask import Blueprint, Response, jsonify, request

from spcs_llm.control.executor_session import ExecutorSession
from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import NotAName, QualifiedName, qualified
from spcs_llm.control.operated import Verb
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import QueryError, ServiceBusy, SettingsError, SpcsError
from spcs_llm.monitor.account import Account
from spcs_llm.monitor.background import Background, State
from spcs_llm.monitor.cost import Cost, cost_work
from spcs_llm.monitor.cost_page import POOL, SERVICE, cost_csv, cost_page
from spcs_llm.monitor.diagnoses import Diagnoses
from spcs_llm.monitor.lookout import Lookout
from spcs_llm.monitor.operations import Operations
from spcs_llm.monitor.overview import KINDS, SORTS, Price, Selection, rows_of, selected, sums_of
from spcs_llm.monitor.prompts import Prompts
from spcs_llm.monitor.service_page import service_page
from spcs_llm.monitor.settings import MonitorSettings, read_monitor
from spcs_llm.monitor.viewers import Identify, Viewer, Viewers
from spcs_llm.monitor.watches import Watches
from spcs_llm.settings import FIELDS

logger = logging.getLogger(__name__)

LOOK_SECONDS, COST_SECONDS, COST_RETRY_SECONDS = 20.0, 3600.0, 300.0
CSRF_HEADER = "X-CSRF-Token"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_ASSUMED = "an assumption: enter 'Cost of a credit' in the webapp's settings"


@dataclass(frozen=True)
class Surroundings:
    """What DSS provides.

    Attributes:
        config: The webapp's settings, as DSS hands them over.
        executor: Makes a `dataiku.SQLExecutor2` for a connection.
        identify: Asks DSS whose browser sent these headers.
        prompts: Asks models as the viewer.
        clock: Seconds that never go back.
        now: The time, with its zone.
        look_seconds: Seconds between two looks at the account.
    """

    config: Any
    executor: Callable[[str], Any]
    identify: Identify
    prompts: Prompts
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
        self.viewers = Viewers(surroundings.identify, surroundings.clock)
        self.prompts = surroundings.prompts
        self.problem: SettingsError | None = None
        try:
            self.settings = read_monitor(surroundings.config)
        except SettingsError as error:
            self.problem = error
            self.settings = MonitorSettings("", None, None, (), 30, None)
        prices, clock = price_list(), surroundings.clock
        self.watches = Watches(clock)
        self.operations = Operations(self.open_session, prices, clock)
        self.diagnoses = Diagnoses(self.open_session, clock)
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
        name = self.settings.connection
        try:
            executor = self._surroundings.executor(name)
        except Exception as error:  # noqa: BLE001 - DSS's own code
            raise SettingsError(
                f"'Snowflake connection' cannot be used ({type(error).__name__}).",
                "Ask a DSS administrator to let the webapp's run-as user use the connection freely.",
            ) from None
        return ExecutorSession(executor, role=self.settings.role, warehouse=self.settings.warehouse)

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
            kept = self._rows = (key, rows_of(state.value, cost.value, self.price(cost.value)))
        return kept[1]

    # -- who may what --------------------------------------------------------------------------------------

    def known_viewer(self) -> Viewer:
        """Who sends this request; refused if DSS does not know."""
        viewer = self.viewers.viewer(_headers())
        if viewer.user is None:
            raise _unknown()
        return viewer

    def writer(self) -> Viewer:
        """Who sends this request; refused if DSS does not know, or if another site's page sends it."""
        viewer = self.viewers.viewer(_headers(), fresh=True)
        if viewer.user is None:
            raise _unknown()
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise SpcsError("This request comes from another site.", status=403, place="webapp")
        if not request.is_json or not self.viewers.is_csrf_token(viewer, request.headers.get(CSRF_HEADER)):
            raise SpcsError(
                "This request does not come from the page.", "Reload the page.", status=403, place="webapp"
            )
        return viewer

    def operator(self) -> Viewer:
        """Who sends this request; refused unless a member of the operator groups."""
        viewer = self.writer()
        if not viewer.is_operator(self.settings.operator_groups):
            raise SpcsError(
                "Your groups may look at services, and not suspend or resume them.",
                "Ask the owner of this webapp to add one of your groups to 'Operator groups' in its settings.",
                status=403,
                place="webapp",
            )
        return viewer

    def service(self, text: object) -> tuple[State[Account], QualifiedName]:
        """What is known, and the service that a request names, which is one of those known."""
        state = self.account.ask()
        if state.value is None:
            problem = state.problem
            if problem is not None:
                raise SpcsError(problem.message, problem.hint, status=503, place="webapp")
            raise SpcsError(
                "The account is being looked at for the first time.",
                "Try again in a moment.",
                status=503,
                place="webapp",
            )
        try:
            name = qualified(text if isinstance(text, str) else "")
        except NotAName:
            raise SpcsError("This is not the full name of a service.", status=400, place="webapp") from None
        if name not in state.value.services:
            raise SpcsError(
                f"The service {name.sql} does not exist, or no longer exists.",
                "It may have been dropped, or the role may have lost its privileges on it.",
                status=404,
                place="webapp",
            )
        return state, name


def _unknown() -> SpcsError:
    return SpcsError(
        "DSS does not know who you are.",
        "Sign in to DSS, and open this page again.",
        status=401,
        place="webapp",
    )


def _headers() -> Mapping[str, str]:
    return dict(request.headers)


def _body() -> Mapping[str, Any]:
    body = request.get_json(silent=True)
    return body if isinstance(body, Mapping) else {}


def _told(state: State[Any]) -> dict[str, Any]:
    """How old data is, and why it is not newer: in every answer."""
    problem = state.problem
    return {
        "age": state.age,
        "version": state.version,
        "problem": None if problem is None else {"message": problem.message, "hint": problem.hint},
    }


def _whole(name: str, default: int) -> int:
    try:
        return int(request.args.get(name, default))
    except ValueError:
        return default


def routes(monitor: Monitor) -> Blueprint:
    """The routes, below `/api`.

    Args:
        monitor: What they share.

    Returns:
        A Blueprint.
    """
    api = Blueprint("spcs_llm_services", __name__, url_prefix="/api")

    @api.after_request
    def _guard(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @api.errorhandler(SpcsError)
    def _failed(error: SpcsError) -> tuple[Response, int]:
        status = 400 if isinstance(error, (QueryError, SettingsError)) else 502
        if isinstance(error, ServiceBusy):
            status = 429
        if error.place == "webapp" and error.status is not None:
            status = error.status
        return _error(status, error.message, error.hint)

    @api.errorhandler(Exception)
    def _unexpected(error: Exception) -> tuple[Response, int]:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
        logger.error("A request to the webapp failed unexpectedly: %s.", place)
        return _error(
            500, f"The webapp failed unexpectedly ({place}).", "Please report this to the plugin's authors."
        )

    @api.route("/me", methods=["GET"])
    def _me() -> Response:
        viewer, settings = monitor.viewers.viewer(_headers()), monitor.settings
        monitor.account.ask()
        return jsonify(
            user=viewer.user,
            operator=viewer.is_operator(settings.operator_groups),
            csrf=monitor.viewers.csrf_token(viewer) if viewer.user is not None else None,
            connection=settings.connection,
            days=settings.days,
            problem=None
            if monitor.problem is None
            else {"message": monitor.problem.message, "hint": monitor.problem.hint},
        )

    @api.route("/overview", methods=["GET"])
    def _overview() -> Response:
        state = monitor.account.ask()
        if state.value is None:
            return jsonify(**_told(state), known=False)
        kind, sort = request.args.get("kind", ""), request.args.get("sort", "")
        wanted = Selection(
            request.args.get("search", "")[:200],
            kind if kind in KINDS else "",
            sort if sort in SORTS else "state",
            request.args.get("order") == "desc",
            _whole("page", 1),
            _whole("size", 25),
        )
        rows = monitor.rows(state)
        return jsonify(
            **_told(state),
            known=True,
            sums=sums_of(state.value, rows, monitor.price(monitor.cost.ask().value)),
            **selected(rows, wanted),
            identity=str(state.value.identity),
            notes=list(state.value.notes),
        )

    @api.route("/service", methods=["GET"])
    def _service() -> Response:
        viewer = monitor.viewers.viewer(_headers())
        state, name = monitor.service(request.args.get("name"))
        assert state.value is not None  # noqa: S101 - `service` refuses otherwise
        if viewer.user is not None and monitor.watches.add(name):
            monitor.account.ask(soon=True)
        row = next(row for row in monitor.rows(state) if row["id"] == name.sql)
        cost = monitor.cost.ask()
        page = service_page(state.value, name, row, cost.value, monitor.price(cost.value))
        if viewer.user is None:
            page.update(logs=None, events=None, metrics=None, missing={}, form=[])
            page["notes"].append("Sign in to DSS to see logs, events and metrics.")
        return jsonify(**_told(state), **page)

    @api.route("/cost", methods=["GET"])
    def _cost() -> Response:
        state = monitor.cost.ask()
        if state.value is None:
            return jsonify(**_told(state), known=False)
        by = request.args.get("by")
        return jsonify(
            **_told(state), known=True, **cost_page(state.value, SERVICE if by == SERVICE else POOL)
        )

    @api.route("/cost.csv", methods=["GET"])
    def _cost_csv() -> Response:
        state = monitor.cost.ask()
        if state.value is None:
            raise SpcsError(
                "The cost is not known yet.", "Try again in a moment.", status=503, place="webapp"
            )
        response = Response(cost_csv(state.value), mimetype="text/csv")
        response.headers["Content-Disposition"] = 'attachment; filename="model-services-cost.csv"'
        return response

    @api.route("/diagnosis", methods=["GET"])
    def _diagnosis() -> Response:
        monitor.known_viewer()
        _, name = monitor.service(request.args.get("name"))
        return jsonify(**monitor.diagnoses.shown(name))

    @api.route("/diagnosis", methods=["POST"])
    def _start_diagnosis() -> Response:
        monitor.writer()
        state, name = monitor.service(_body().get("service"))
        assert state.value is not None  # noqa: S101 - `service` refuses otherwise
        endpoints = state.value.services[name].endpoints or ()
        hosts = [e.host or e.private_host or "" for e in endpoints if e.is_public]
        return jsonify(**monitor.diagnoses.start(name, filter(None, hosts)))

    @api.route("/operation/preview", methods=["POST"])
    def _preview() -> Response:
        viewer = monitor.operator()
        _, name = monitor.service(_body().get("service"))
        price = monitor.price(monitor.cost.ask().value)
        assert viewer.user is not None  # noqa: S101 - `operator` refuses otherwise
        return jsonify(**monitor.operations.preview(viewer.user, _verb(_body().get("verb")), name, price))

    @api.route("/operation", methods=["POST"])
    def _operation() -> Response:
        viewer = monitor.operator()
        assert viewer.user is not None  # noqa: S101 - `operator` refuses otherwise
        done = monitor.operations.confirm(viewer.user, _body().get("confirmation"))
        monitor.account.ask(soon=True)
        return jsonify(**done)

    @api.route("/models", methods=["GET"])
    def _models() -> Response:
        monitor.known_viewer()
        return jsonify(models=monitor.prompts.models())

    @api.route("/prompt", methods=["POST"])
    def _prompt() -> Response:
        monitor.writer()
        body = _body()
        return jsonify(**monitor.prompts.ask(body.get("model"), body.get("prompt")))

    return api


def _verb(text: object) -> Verb:
    if text not in ("suspend", "resume"):
        raise SpcsError("A service can be suspended or resumed.", status=400, place="webapp")
    return Verb.SUSPEND if text == "suspend" else Verb.RESUME


def _error(status: int, message: str, hint: str = "") -> tuple[Response, int]:
    return jsonify(error={"message": message, "hint": hint}), status


def register(app: Any, surroundings: Surroundings) -> Monitor:
    """Adds the routes to DSS's own application.

    Args:
        app: The application of Flask that DSS provides.
        surroundings: What DSS provides.

    Returns:
        What the routes share.
    """
    monitor = Monitor(surroundings)
    app.register_blueprint(routes(monitor))
    return monitor
