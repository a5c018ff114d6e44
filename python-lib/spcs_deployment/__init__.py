"""Deploys models of Hugging Face as services that this plugin calls; used by the notebook of the repository.

Import it in DSS after `dataiku.use_plugin_libs("snowpark-container-services-llm")`. It needs
snowflake-ml-python 1.45 or later, imported only where it is used.
"""

from __future__ import annotations

from spcs_deployment.catalogue import CATALOGUE, CatalogueModel
from spcs_deployment.deployment import Deployment
from spcs_deployment.plan import Plan, plan
from spcs_deployment.problems import DeploymentError
from spcs_deployment.session import open_session

__all__ = ["CATALOGUE", "CatalogueModel", "Deployment", "DeploymentError", "Plan", "open_session", "plan"]
