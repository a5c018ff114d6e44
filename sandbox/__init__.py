"""What stands in for Dataiku DSS and for Snowflake, so that everything runs on one machine."""
