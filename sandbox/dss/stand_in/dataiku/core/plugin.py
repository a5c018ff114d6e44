"""The reader of OAuth2 credentials that stay fresh (DSS 14.5 and above).

Source: DSS reference manual, plugins, parameters; `dataiku/dss-plugin-api-connect` 1.4.0 uses it so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataiku.core.base import api_client


def _ask_backend(handle: str) -> Mapping[str, Any]:
    client = api_client()
    with client._session:
        answer: Mapping[str, Any] = client._perform_json(
            "POST", "/kernels/oauth-credentials", body={"handle": handle}
        )
    return answer


class OAuthCredentials:
    """Reads one entry of `__credentials`. Both properties ask DSS, which refreshes what has expired."""

    # A call of the kernel to the backend. Where the two are one process, the host puts its own in place.
    _fetch: Callable[[str], Mapping[str, Any]] = staticmethod(_ask_backend)

    def __init__(self, credentials: Mapping[str, Any]) -> None:
        self._handle = credentials["handle"]

    @property
    def access_token(self) -> str:
        token: str = self._fetch(self._handle)["accessToken"]
        return token

    @property
    def id_token(self) -> str | None:
        token: str | None = self._fetch(self._handle)["idToken"]
        return token
