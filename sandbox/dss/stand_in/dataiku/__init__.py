"""The part of DSS's `dataiku` package that this kind of plugin imports, and nothing else.

Custom LLMs, macros, recipes, the Python of forms, and webapps import it.

What an older DSS lacks is taken away when the host puts the package in place: see `sandbox.dss.package`.
"""

from dataiku.core.base import api_client, default_project_key
from dataiku.core.dataset import Dataset
from dataiku.core.sql import SQLExecutor2
from dataiku.core.webapp import WebappImpersonationContext

__all__ = ["Dataset", "SQLExecutor2", "WebappImpersonationContext", "api_client", "default_project_key"]
