"""Asks a service which paths it has, without running its model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spcs_llm.errors import (
    BadRequest,
    ModelError,
    NotFound,
    RequestTooLarge,
    ServiceError,
    SpcsError,
)
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.json_body import parse_json
from spcs_llm.http.request import HttpRequest
from spcs_llm.protocols.missing_paths import NO_SUCH_PATH
from spcs_llm.query_context import QueryContext, Step

_STEP = "SPCS_PROBE"
_NOTHING: dict[
    str, Any
] = {}  # no server has a default for everything: it is refused, or answered with nothing


class Probe:
    """One look at a service. Each path is asked for once, and not at all if the query was told that it is missing.

    Args:
        endpoint: The service.
        context: The query that the look is for.
    """

    def __init__(self, endpoint: Endpoint, context: QueryContext) -> None:
        self._endpoint = endpoint
        self._context = context
        self._known: dict[tuple[str, str], tuple[bool, Any]] = {}
        for path in _missing_paths(context.steps):
            self._known["POST", path] = self._known["GET", path] = (False, None)

    def takes(self, path: str) -> bool:
        """Whether the service takes POST requests at a path: it refuses an empty one otherwise than as unknown.

        Args:
            path: The path, from its slash on.

        Returns:
            True if it does, or answers the empty request.

        Raises:
            SpcsError: If the answer says nothing about the path: it is of the sign-in, the ingress or the network, or
                the service is down or wants its own key.
        """
        return self._asked("POST", path)[0]

    def found_at(self, path: str) -> Any:
        """Asks for what the service gives at a path by GET.

        Args:
            path: The path, from its slash on.

        Returns:
            The JSON; None if there is no such path, or no JSON at it.

        Raises:
            SpcsError: If the answer says nothing about the path, as with `takes`.
        """
        return self._asked("GET", path)[1]

    def _asked(self, method: str, path: str) -> tuple[bool, Any]:
        key = (method, path)
        if key not in self._known:
            self._known[key] = self._ask(method, path)
        return self._known[key]

    def _ask(self, method: str, path: str) -> tuple[bool, Any]:
        payload = _NOTHING if method == "POST" else None
        request = HttpRequest(path, payload, method=method, step=_STEP, is_probe=True)
        try:
            body = self._endpoint.send_for_body(request, self._context)
        except ModelError:
            return False, None  # a web page, which is no answer of a model's service
        except SpcsError as error:
            if isinstance(error, NotFound) or error.status in NO_SUCH_PATH:
                return False, None
            if isinstance(error, (BadRequest, RequestTooLarge)) or _fails_by_itself(error):
                return True, None
            raise
        try:
            return True, parse_json(body)
        except ModelError:
            return True, None


def _missing_paths(steps: Iterable[Step]) -> set[str]:
    """The paths that a query's own requests did not find.

    Probes do not count: unlike a query's request, they do not replace a refused token, which the gateway may hide
    behind a 404.

    Args:
        steps: What was done for the query.

    Returns:
        The paths below the endpoint's URL.
    """
    statuses = {
        step.attributes.get("path"): step.attributes.get("status") for step in steps if step.name != _STEP
    }
    return {path for path, status in statuses.items() if isinstance(path, str) and status in NO_SUCH_PATH}


def _fails_by_itself(error: SpcsError) -> bool:
    """Whether the container failed at an empty request, as some do with what they do not expect."""
    return type(error) is ServiceError and error.status == 500
