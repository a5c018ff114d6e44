"""Where a kernel finds its DSS: in its environment, with a ticket that carries the rights of one user."""

from __future__ import annotations

import os
import threading
from typing import Any

# The ticket of the viewer for whom a webapp's backend works at the moment, by thread.
impersonated = threading.local()


def api_client() -> Any:
    """The real client of the public API, as the user whom the kernel works for."""
    import dataikuapi

    ticket = getattr(impersonated, "ticket", None) or _environment("DKU_API_TICKET")
    return dataikuapi.DSSClient(backend_url(), internal_ticket=ticket)


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
