"""Joins the backend to the `dataiku` package, which `backend.py` hands in: no library module imports it."""

from __future__ import annotations

from typing import Any

from spcs_llm.errors import SettingsError
from spcs_llm.monitor.as_viewer import Mesh
from spcs_llm.monitor.monitor import Monitor, Surroundings
from spcs_llm.monitor.webapp import register


def serve(app: Any, dataiku: Any, config: Any) -> Monitor:
    """Makes the webapp's backend of the application that DSS provides.

    Args:
        app: The application of Flask that DSS puts into `backend.py`.
        dataiku: The package `dataiku`.
        config: The webapp's settings.

    Returns:
        What the routes share.

    Raises:
        SettingsError: If the application is not Flask's. From DSS 14.2 on, the settings of a webapp can choose.
    """
    if not hasattr(app, "register_blueprint"):
        raise SettingsError(
            "The backend of this webapp needs Flask, and its settings select another framework.",
            "Select Flask as the framework of the backend in the webapp's settings, and start the backend again.",
        )

    def identify(headers: Any) -> Any:
        return dataiku.api_client().get_auth_info_from_browser_headers(headers)

    mesh = Mesh(
        lambda: dataiku.WebappImpersonationContext(),  # versions without it fail when it is needed
        lambda: dataiku.api_client(),
        lambda: dataiku.default_project_key(),
    )
    return register(
        app, Surroundings(config, lambda name: dataiku.SQLExecutor2(connection=name), identify, mesh)
    )
