"""Jobs that run a model over the rows of a table inside Snowflake: no row passes through DSS."""
