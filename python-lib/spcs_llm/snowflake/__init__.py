"""Signing in to Snowflake, and what its gateway says of a request."""
