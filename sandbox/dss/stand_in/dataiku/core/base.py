"""Where a kernel finds its DSS: in its environment, with a ticket that carries the rights of one user."""

from __future__ import annotations

import os
from typing import Any


def api_client() -> Any:
    """The real client of the public API, as the user whom the kernel works for."""
    import dataikuapi

    return dataikuapi.DSSClient(backend_url(), internal_ticket=_environment("DKU_API_TICKET"))


def default_project_key() -> str:
    """The project that the kernel was started in; there is none behind the forms of the administration pages."""
    return _environment("DKU_CURRENT_PROJECT_KEY")


def backend_url() -> str:
    protocol = os.environ.get("DKU_BACKEND_PROTOCOL", "http")
    return f"{protocol}://{_environment('DKU_BACKEND_HOST')}:{_environment('DKU_BACKEND_PORT')}"


def _environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise Exception(f"this process has no {name}: it is not a kernel of a running DSS") from None
