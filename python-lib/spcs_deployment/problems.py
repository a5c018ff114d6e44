"""Snowflake's refusals, in sentences that say what to do and who can do it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from spcs_llm.control import start_failures
from spcs_llm.errors import SpcsError, SqlError


class DeploymentError(SpcsError):
    """A step of the deployment cannot go on; correct it and run the notebook again from the top."""

    place = "deployment"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback: the sentence is for the reader of the notebook."""
        return [str(self)]


# Texts of the server's errors 002003, 003001 and 003013, as the connector passes them on.
_MISSING = re.compile(
    r"(?P<kind>[\w ]{1,60}?) '(?P<name>[^']{1,300})' does not exist or not authorized", re.IGNORECASE
)
_PRIVILEGE = re.compile(
    r"Insufficient privileges to operate on (?P<kind>[\w ]+?) '(?P<name>[^']+)'", re.IGNORECASE
)
_ROLE = re.compile(r"Requested role '(?P<name>[^']+)' is not assigned", re.IGNORECASE)

_PRIVILEGES_ON = {
    "ACCOUNT": "BIND SERVICE ENDPOINT on the account",
    "COMPUTE POOL": "USAGE and MONITOR on the compute pool",
    "DATABASE": "USAGE on the database",
    "IMAGE REPOSITORY": "READ, WRITE, SERVICE READ and SERVICE WRITE on the image repository",
    "SCHEMA": "USAGE, CREATE MODEL, CREATE SERVICE and CREATE STAGE on the schema",
    "INTEGRATION": "USAGE on the external access integration",
    "SECRET": "USAGE and READ on the secret",
    "SERVICE": "OWNERSHIP of the service",
    "ROLE": "USAGE of the role",
    "WAREHOUSE": "USAGE on the warehouse",
}
_DEFINED_IN = {
    "COMPUTE POOL": "resource/sql/setup.sql creates it",
    "DATABASE": "resource/sql/setup.sql creates it",
    "SCHEMA": "resource/sql/setup.sql creates it",
    "ROLE": "resource/sql/setup.sql creates it",
    "WAREHOUSE": "resource/sql/setup.sql creates it",
    "IMAGE REPOSITORY": "resource/sql/create_image_repository.sql creates one",
    "INTEGRATION": "a Snowflake administrator creates it (setup.sql has one for Hugging Face)",
    "SECRET": "create it with TYPE = GENERIC_STRING in the schema",
}

_SIGN_IN = "in the DSS connection that the notebook uses"
# What the server or the sign-in says -> the message, the hint. The first that matches counts.
_KNOWN: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), message, hint)
    for pattern, message, hint in (
        (
            r"USE ROLE not allowed",
            "the sign-in of this session is limited to one role, which is not DEPLOYER_ROLE",
            f"Ask the DSS administrator to enter the scope 'refresh_token session:role:<DEPLOYER_ROLE>' {_SIGN_IN}, "
            "and sign in again under Profile > Credentials. With DEPLOYER_ROLE = None the notebook keeps the role of "
            "the session.",
        ),
        (
            r"\b000606\b|No active warehouse",
            "the session has no warehouse",
            f"Enter a warehouse that the role may use {_SIGN_IN}, or in connections.toml "
            "(setup.sql creates DATAIKU_SPCS_WAREHOUSE).",
        ),
        (
            r"\b390307\b",
            "the redirect URL of DSS is not that of the OAuth integration",
            "Ask a Snowflake administrator: ALTER SECURITY INTEGRATION DATAIKU_SPCS_DEPLOYER_OAUTH SET "
            "OAUTH_REDIRECT_URI = 'https://<host of DSS>/dip/api/oauth2-callback'.",
        ),
        (
            r"\b390308\b",
            "the role in the scope is not granted to you, or the OAuth integration does not allow it",
            "Ask a Snowflake administrator to grant you the deployer's role (GRANT ROLE … TO USER …), and check the "
            f"scope {_SIGN_IN}.",
        ),
        (
            r"\b390302\b",
            "you did not give your consent to the sign-in",
            "Sign in again under Profile > Credentials, and allow it.",
        ),
        (
            r"\b390306\b|invalid_client",
            "Snowflake does not know the client, its secret is wrong, or the network policy blocks DSS",
            f"Compare client id and secret {_SIGN_IN} with SYSTEM$SHOW_OAUTH_CLIENT_SECRETS"
            "('DATAIKU_SPCS_DEPLOYER_OAUTH'). If they are right, ask a Snowflake administrator to add the address of "
            "DSS to the network rule DATAIKU_SPCS.NETWORK.DSS.",
        ),
        (
            r"\b390303\b|\b390318\b|OAuth access token (?:invalid|expired)",
            "the access token of the session is invalid or has expired",
            "Sign in again under Profile > Credentials, and restart the kernel of the notebook.",
        ),
        (
            r"\b392507\b|CAPACITY_ERROR",
            "the region has no node of this instance family to spare at the moment",
            "Try again later, or ask a Snowflake administrator for a pool of another family "
            "(BACKUP_INSTANCE_FAMILIES of CREATE COMPUTE POOL).",
        ),
        (
            r"\b392508\b|maximum node limit",
            "all nodes of the compute pool are in use",
            "Suspend another service on the pool, or ask a Snowflake administrator to raise its MAX_NODES "
            "(resource/sql/operate.sql).",
        ),
        (
            r"exceeds compute pool instance capacity",
            "the service is larger than a node of its compute pool",
            "Enter a compute pool of a larger INSTANCE_FAMILY in the parameter cell.",
        ),
        (
            r"\btrial accounts?\b",
            "Snowpark Container Services are not available in trial accounts",
            "Use a paid Snowflake account.",
        ),
    )
)

# Instead of the hints for a container: the notebook has parameters for these.
_WITH_PARAMETERS = {
    start_failures.GATED: "Check its name. Accept the licence on its Hugging Face page, with the account whose token"
    " is in the secret, and enter the name of the secret in HUGGING_FACE_SECRET (docs/deployment.md).",
    start_failures.NOT_ON_THE_HUB: "Check its name and its revision. For a private model, enter the name of a secret"
    " with a token in HUGGING_FACE_SECRET (docs/deployment.md).",
    start_failures.WRONG_TOKEN: "Create a new token on Hugging Face, and store it in the secret that"
    " HUGGING_FACE_SECRET names: ALTER SECRET … SET SECRET_STRING = '<token>'.",
    start_failures.LIMITED: "Store a Hugging Face token in a secret (docs/deployment.md) and enter its name in"
    " HUGGING_FACE_SECRET.",
    start_failures.FULL: "Enter a compute pool in LOGGING_POOL whose nodes have more storage (SHOW COMPUTE POOL"
    " INSTANCE FAMILIES: storage_gib), or set LOGGING_POOL = None: the weights then pass through this machine.",
    start_failures.UNREACHABLE: "Ask a Snowflake administrator to allow egress for model logging, or set LOGGING_POOL ="
    " None: the weights then pass through this machine.",
}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turns the errors of a Snowflake call inside the block into DeploymentError.

    Args:
        doing: What the call does, such as "creating service X".

    Yields:
        Nothing.

    Raises:
        DeploymentError: Instead of the call's own error.
    """
    try:
        yield
    except DeploymentError:
        raise
    except SqlError as error:
        raise explanation(doing, error.__cause__ or error) from error
    except Exception as error:  # snowpark, snowflake-ml and the connector share no base class
        raise explanation(doing, error) from error


def explanation(doing: str, error: BaseException) -> DeploymentError:
    """The error of a call, with what the reader can do about it."""
    text = str(error)
    refused = _PRIVILEGE.search(text)
    if refused:
        kind, name = _named(refused)
        needed = _PRIVILEGES_ON.get(kind, f"a privilege on the {kind.lower()}")
        hint = f"It needs {needed}. Ask a Snowflake administrator to run resource/sql/setup.sql, then run this again."
        return DeploymentError(
            f"While {doing}: the session's role lacks a privilege on {kind.lower()} {name}.",
            _hint_for_system_pool(kind, name) or hint,
        )
    absent = _MISSING.search(text)
    if absent:
        kind, name = _named(absent)
        defined = _DEFINED_IN.get(kind, "check its name in the parameter cell")
        hint = f"Check the parameter cell; {defined}; the role needs {_PRIVILEGES_ON.get(kind, 'a grant on it')}."
        return DeploymentError(
            f"While {doing}: {kind.lower()} {name} does not exist, or the session's role may not see it.",
            _hint_for_system_pool(kind, name) or hint,
        )
    role = _ROLE.search(text)
    if role:
        return DeploymentError(
            f"While {doing}: role {role.group('name')} is not granted to the user of this session.",
            f"Ask a Snowflake administrator: GRANT ROLE {role.group('name')} TO USER <your user>. If you sign in "
            "with OAuth, the role must also be the one in its scope (session:role:<ROLE>).",
        )
    for pattern, message, hint in _KNOWN:
        if pattern.search(text):
            return DeploymentError(f"While {doing}: {message}.", hint)
    failure = start_failures.start_failure(text)
    if failure is not None:
        hint = _WITH_PARAMETERS.get(failure.kind, failure.hint)
        return DeploymentError(f"While {doing}: {failure.reason}.", hint)
    return DeploymentError(f"While {doing}: {type(error).__name__}: {_first_line(text)}")


def _hint_for_system_pool(kind: str, name: str) -> str:
    """Snowflake makes the system's pools, and every role may use them until somebody revokes that from PUBLIC."""
    if kind != "COMPUTE POOL" or not name.upper().startswith("SYSTEM_COMPUTE_POOL_"):
        return ""
    return (
        f"Ask a Snowflake administrator: GRANT USAGE ON COMPUTE POOL {name} TO ROLE <role of the deployer>. Or enter"
        " another pool of CPU nodes in LOGGING_POOL and IMAGE_BUILD_POOL."
    )


def _named(match: re.Match[str]) -> tuple[str, str]:
    words = match.group("kind").upper().split()
    for kind in _PRIVILEGES_ON:
        if words[-len(kind.split()) :] == kind.split():
            return kind, match.group("name")
    return words[-1], match.group("name")


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else "no text"
