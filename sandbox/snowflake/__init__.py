"""A stand-in for a Snowflake account and the ingress of its Snowpark Container Services."""

from sandbox.snowflake.clock import Clock
from sandbox.snowflake.snowflake import ROLE, USER, PublicEndpoint, Snowflake

__all__ = ["ROLE", "USER", "Clock", "PublicEndpoint", "Snowflake"]
