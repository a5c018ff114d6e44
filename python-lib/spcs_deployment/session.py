"""A Snowpark session outside DSS, and the deployer's role in either."""

from __future__ import annotations

from typing import Any

from spcs_deployment.problems import DeploymentError, explained
from spcs_deployment.sql import Session, bare, identifier, rows, run


def open_session(connection_name: str | None = None) -> Any:
    """Opens a Snowpark session from `connections.toml`.

    Args:
        connection_name: The connection in that file; its default connection when None.

    Returns:
        The session.

    Raises:
        DeploymentError: If the Snowpark library or the connection is missing.
    """
    try:
        from snowflake.snowpark import Session as Snowpark
    except ImportError as error:
        raise DeploymentError(
            "The package snowflake-snowpark-python is not installed.",
            "Install snowflake-ml-python, which includes it, in the environment of this notebook.",
        ) from error
    builder = Snowpark.builder
    if connection_name:
        builder = builder.config("connection_name", connection_name)
    with explained("opening a session from connections.toml"):
        return builder.create()


def assume_role(session: Session, role: str | None) -> str:
    """Takes this role if another one is current, and returns the role that is current in the end."""
    current = str(rows(session, "SELECT CURRENT_ROLE() AS ROLE", "reading the session's role")[0]["role"])
    if role is None:
        return current
    wanted = identifier(role, "DEPLOYER_ROLE")
    if bare(wanted) == current:
        return current
    run(session, f"USE ROLE {wanted}", f"taking role {wanted}")
    return bare(wanted)


def region(session: Session) -> str:
    """The account's region, for example AWS_US_WEST_2."""
    return str(
        rows(session, "SELECT CURRENT_REGION() AS REGION", "reading the account's region")[0]["region"]
    )


def account_url(session: Session) -> str:
    """The account's URL for the form. Underscores become dashes, as in the names of the host's certificate."""
    statement = "SELECT CURRENT_ORGANIZATION_NAME() AS ORGANIZATION, CURRENT_ACCOUNT_NAME() AS ACCOUNT"
    row = rows(session, statement, "reading the account's name")[0]
    host = f"{row['organization']}-{row['account']}".lower().replace("_", "-")
    return f"https://{host}.snowflakecomputing.com"
