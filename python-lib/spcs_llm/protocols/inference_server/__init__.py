"""Rows with an index, as Snowflake's own inference servers take them."""
