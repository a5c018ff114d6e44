"""A method of a model as a URL path, of which Snowflake's services have two spellings."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from spcs_llm.errors import BadRequest, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest, max_body_of_vectors
from spcs_llm.protocols.missing_paths import names_its_reason
from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.learned import Learned


def paths_of(name: str) -> list[str]:
    """The paths that a method of this name may have, the likelier one first. They begin with a slash."""
    name = name.strip().strip("/")
    spellings = [name.replace("_", "-"), name.replace("-", "_")]
    if name.startswith("__"):
        spellings.reverse()
    return list(dict.fromkeys(f"/{quote(spelling, safe='/')}" for spelling in spellings))


class Method:
    """Sends to a method's path; where that is not there, once to its other spelling. Thread-safe.

    Snowflake documents that underscores become dashes (`/encode-query`); the tests of snowflake-ml-python 2.6.0 call
    `/__call__`, and those of adapters `/--call--`.

    Args:
        endpoint: The service.
        name: The method's name in the model's signature, with or without slashes around it.
    """

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self._endpoint = endpoint
        self._paths = Learned(paths_of(name))

    def send(self, payload: Any, rows: int, context: QueryContext) -> Any:
        """Sends a request to the method.

        Args:
            payload: The JSON of the request.
            rows: The number of rows in it, which sets the request's weight and the largest answer that is read.
            context: The query that it is for.

        Returns:
            The JSON of the answer.

        Raises:
            SpcsError: If the request fails; if the service has neither path, the hint names both.
        """
        paths = self._paths.value
        for path in paths:
            try:
                body = self._endpoint.send(
                    HttpRequest(path, payload, weight=rows, max_body=max_body_of_vectors(rows)), context
                )
            except SpcsError as error:
                if error.status != 404 or names_its_reason(error):
                    if isinstance(error, BadRequest) or error.status == 404:
                        self._paths.learn([path])
                    raise
                missing = error
                continue
            self._paths.learn([path])
            return body
        tried = f"the path {paths[0]} was" if len(paths) == 1 else f"the paths {' and '.join(paths)} were"
        missing.hint = f"Check 'Method name': {tried} tried. {missing.hint}"
        raise missing
