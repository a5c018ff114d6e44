"""A stand-in for Dataiku DSS that loads any Python custom LLM plugin, and serves it and its macros to `dataikuapi`."""

from sandbox.dss.checks import ContractError
from sandbox.dss.config import ConfigError
from sandbox.dss.credentials import MissingCredentialError, OAuthToken, Preset
from sandbox.dss.dss import Dss
from sandbox.dss.parameters import DescriptorError
from sandbox.dss.plugin import Capability, InstalledPlugin, PluginError
from sandbox.dss.sql_session import SnowflakeConnection, SnowflakeLogin, SqlError

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
    "SnowflakeConnection",
    "SnowflakeLogin",
    "SqlError",
]
