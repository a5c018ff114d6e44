"""Acting as the viewer of a webapp, within a request to its backend.

Source: DSS developer guide, "Impersonation in webapps". How the real one asks the backend is not public.
"""

from __future__ import annotations

from typing import Any

from dataiku.core.base import api_client, impersonated


class WebappImpersonationContext:
    """Within it, `api_client()` has the rights of the user whose browser sent the request at hand."""

    def __enter__(self) -> WebappImpersonationContext:
        import flask

        headers: Any = dict(flask.request.headers)
        answer = api_client()._perform_json("POST", "/kernels/impersonate", body={"headers": headers})
        impersonated.ticket = answer["ticket"]
        return self

    def __exit__(self, *error: object) -> None:
        impersonated.ticket = None
