"""A stand-in for Dataiku DSS that loads any Python custom LLM plugin and serves it to `dataikuapi`."""

from sandbox.dss.checks import ContractError
from sandbox.dss.config import ConfigError
from sandbox.dss.credentials import MissingCredentialError, OAuthToken, Preset
from sandbox.dss.descriptors import DescriptorError
from sandbox.dss.dss import Dss
from sandbox.dss.plugin import Capability, InstalledPlugin, PluginError

__all__ = [
    "Capability",
    "ConfigError",
    "ContractError",
    "DescriptorError",
    "Dss",
    "InstalledPlugin",
    "MissingCredentialError",
    "OAuthToken",
    "PluginError",
    "Preset",
]
