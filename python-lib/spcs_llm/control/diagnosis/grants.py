"""The statements that give a role what it needs, with the real names instead of `<service>` and `<role>`."""

from __future__ import annotations

from spcs_llm.control.diagnosis.subject import Facts
from spcs_llm.control.identifiers import QualifiedName, grantee, quoted
from spcs_llm.snowflake.ingress import GRANT_GATEWAY

_GRANT = "GRANT SERVICE ROLE <service>!ALL_ENDPOINTS_USAGE TO ROLE <role>"  # as `snowflake.ingress` has it


def with_names(hint: str, facts: Facts, user: str | None = None) -> str:
    """A hint in which names that are known replace those in angle brackets.

    Args:
        hint: The hint, which may name `<service>`, `<gateway>`, `<role>` and `<user>`.
        facts: What is known of the service and its role.
        user: The user's name as SHOW prints it, if it is known.

    Returns:
        The hint. Before the grant of the service role stand those of the database and the schema.
    """
    role = grantee(facts.role)
    if facts.service is not None:
        hint = hint.replace(_GRANT, "; ".join(grants(facts.service, role)))
        hint = hint.replace("<service>", facts.service.sql).replace(f" {GRANT_GATEWAY}", "")
    if facts.gateway is not None:
        hint = hint.replace("<gateway>", facts.gateway.sql)
    hint = hint.replace("<role>", role)
    return hint.replace("<user>", quoted(user)) if user else hint


def grants(service: QualifiedName, role: str) -> list[str]:
    """What a role needs to call a service's endpoints: Snowflake documentation, "Working with services".

    Args:
        service: The service.
        role: The role, as SQL takes it.

    Returns:
        The statements.
    """
    database = quoted(service.database)
    return [
        f"GRANT USAGE ON DATABASE {database} TO ROLE {role}",
        f"GRANT USAGE ON SCHEMA {database}.{quoted(service.schema)} TO ROLE {role}",
        f"GRANT SERVICE ROLE {service.sql}!ALL_ENDPOINTS_USAGE TO ROLE {role}",
    ]
