"""The webapp's backend: a Blueprint of Flask for the `app` that DSS puts into `backend.py`.

Reads are answered from what a background thread knows, without a statement. What changes something needs a member of
the operator groups, by DSS's own identity of the browser, and a token that another site cannot read.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, copy_current_request_context, jsonify, request

from spcs_llm.control.operated import Verb
from spcs_llm.errors import QueryError, ServiceBusy, SettingsError, SpcsError, place_in_code
from spcs_llm.monitor.access import Access
from spcs_llm.monitor.background import State
from spcs_llm.monitor.cost_page import POOL, SERVICE, cost_csv, cost_page
from spcs_llm.monitor.mesh_models import likely, models_of
from spcs_llm.monitor.monitor import NOT_YET, Monitor, Surroundings
from spcs_llm.monitor.overview import KINDS, SORTS, Selection, selected, sums_of
from spcs_llm.monitor.service_page import service_page
from spcs_llm.monitor.viewers import Viewers
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_MOST_BYTES = 200_000  # of a request: a prompt of the most characters that are taken, each as an escape
# No status of a gateway: proxies put their own page in place of its body (kubernetes/ingress-nginx#1488).
BAD_REQUEST, CANNOT_BE_DONE = 400, 422
_ASKS_AGAIN = (
    "The webapp asks again by itself. If this lasts, run the statement in a worksheet of Snowflake, with the rights"
    " that the page names."
)


def _body() -> Mapping[str, Any]:
    length = request.content_length
    if length is None or length > _MOST_BYTES:
        raise QueryError("The request is too large.", "Enter a shorter text.")
    try:
        body = request.get_json(silent=True)
    except RecursionError:
        body = None
    return body if isinstance(body, Mapping) else {}


def _told(state: State[Any]) -> dict[str, Any]:
    """How old data is, and why it is not newer: in every answer."""
    problem = state.problem
    return {
        "age": state.age,
        "version": state.version,
        "problem": None
        if problem is None
        else {"message": problem.message, "hint": problem.hint or _ASKS_AGAIN},
    }


def _whole(name: str, default: int) -> int:
    try:
        return int(request.args.get(name, default))
    except ValueError:
        return default


def routes(monitor: Monitor, access: Access) -> Blueprint:
    """The routes, below `/api`.

    Args:
        monitor: What they share.
        access: Who sends a request.

    Returns:
        A Blueprint.
    """
    api = Blueprint("spcs_llm_services", __name__, url_prefix="/api")
    process = secrets.token_hex(4)  # by which the page sees that several answer it

    @api.after_request
    def _guard(response: Response) -> Response:
        response.headers.update(_HEADERS)
        response.headers["X-Backend-Process"] = process
        return response

    @api.errorhandler(SpcsError)
    def _failed(error: SpcsError) -> tuple[Response, int]:
        status = BAD_REQUEST if isinstance(error, (QueryError, SettingsError)) else CANNOT_BE_DONE
        if isinstance(error, ServiceBusy):
            status = 429
        if error.place == "webapp" and error.status is not None:
            status = error.status
        return _error(status, error.message, error.hint)

    @api.errorhandler(Exception)
    def _unexpected(error: Exception) -> tuple[Response, int]:
        place = place_in_code(error)
        logger.error("A request to the webapp failed unexpectedly: %s.", place)
        return _error(
            500, f"The webapp failed unexpectedly ({place}).", "Please report this to the plugin's authors."
        )

    @api.route("/me", methods=["GET"])
    def _me() -> Response:
        viewer, settings = access.viewer(), monitor.settings
        monitor.account.ask()
        return jsonify(
            user=viewer.user,
            operator=access.is_operator(viewer),
            csrf=access.csrf_token(viewer),
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
        viewer = access.viewer()
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
                "The cost is not known yet.", "Try again in a moment.", status=NOT_YET, place="webapp"
            )
        response = Response(cost_csv(state.value), mimetype="text/csv")
        response.headers["Content-Disposition"] = 'attachment; filename="model-services-cost.csv"'
        return response

    @api.route("/diagnosis", methods=["GET"])
    def _diagnosis() -> Response:
        user = access.known()
        _, name = monitor.service(request.args.get("name"))
        return jsonify(**monitor.diagnosis(name, user))

    @api.route("/diagnosis", methods=["POST"])
    def _start_diagnosis() -> Response:
        user, body = access.writer(), _body()
        _, name = monitor.service(body.get("service"))
        monitor.diagnose(name, user, body.get("model"), copy_current_request_context)
        return jsonify(**monitor.diagnosis(name, user))

    @api.route("/operation/preview", methods=["POST"])
    def _preview() -> Response:
        user = access.operator()
        _, name = monitor.service(_body().get("service"))
        price = monitor.price(monitor.cost.ask().value)
        return jsonify(**monitor.operations.preview(user, _verb(_body().get("verb")), name, price))

    @api.route("/operation", methods=["POST"])
    def _operation() -> Response:
        user = access.operator()
        done = monitor.operations.confirm(user, _body().get("confirmation"))
        monitor.account.ask(soon=True)
        return jsonify(**done)

    @api.route("/models", methods=["GET"])
    def _models() -> Response:
        models = monitor.as_viewer.call(access.known(), models_of)
        guess = None
        if "service" in request.args:
            state, name = monitor.service(request.args["service"])
            assert state.value is not None  # noqa: S101 - `service` refuses otherwise
            registered = state.value.models.get(name)
            guess = likely(models, name, registered.model if registered is not None else None)
        return jsonify(models=[model.as_data() for model in models], likely=guess)

    @api.route("/prompt", methods=["GET"])
    def _prompt() -> Response:
        return jsonify(**monitor.prompts.shown(access.known(), request.args.get("run")))

    @api.route("/prompt", methods=["POST"])
    def _start_prompt() -> Response:
        user, body = access.writer(), _body()
        started = monitor.prompts.start(
            user, body.get("model"), body.get("prompt"), copy_current_request_context
        )
        return jsonify(**started)

    @api.route("/prompt/cancel", methods=["POST"])
    def _cancel_prompt() -> Response:
        monitor.prompts.cancel(access.writer(), _body().get("run"))
        return jsonify()

    return api


def _verb(text: object) -> Verb:
    if text not in ("suspend", "resume"):
        raise SpcsError(
            "A service can be suspended or resumed.", "Reload the page.", status=400, place="webapp"
        )
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
    access = Access(Viewers(surroundings.identify, surroundings.clock), monitor.settings.operator_groups)
    app.register_blueprint(routes(monitor, access))
    return monitor
