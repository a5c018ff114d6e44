"""The part of DSS's `dataiku` package that a custom LLM, a macro or the Python of a form imports, and nothing else.

What an older DSS lacks is taken away when the host puts the package in place: see `sandbox.dss.package`.
"""

from dataiku.core.base import api_client, default_project_key
from dataiku.core.sql import SQLExecutor2

__all__ = ["SQLExecutor2", "api_client", "default_project_key"]
