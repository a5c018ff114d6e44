"""What each fault does to the one request that meets it; the README one folder up lists parameters."""

from sandbox.snowflake.fault_kinds import altered, answers, connection
from sandbox.snowflake.fault_kinds.call import KINDS, Call, Site

__all__ = ["KINDS", "Call", "Site", "altered", "answers", "connection"]
