"""Snowflake's refusals, in sentences that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from spcs_llm.errors import SpcsError


class DeploymentError(SpcsError):
    """A step of the deployment cannot go on; correct it and run the notebook again from the top."""

    place = "deployment"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the sentence is for the reader of the notebook."""
        return [str(self)]


# Texts of the server's errors 002003, 003001 and 390xxx, as the connector hands them over.
_MISSING = re.compile(r"(?P<kind>[\w ]+?) '(?P<name>[^']+)' does not exist or not authorized", re.IGNORECASE)
_PRIVILEGE = re.compile(
    r"Insufficient privileges to operate on (?P<kind>[\w ]+?) '(?P<name>[^']+)'", re.IGNORECASE
)
_ROLE = re.compile(r"Requested role '(?P<name>[^']+)' is not assigned", re.IGNORECASE)

_PRIVILEGES_ON = {
    "ACCOUNT": "BIND SERVICE ENDPOINT on the account",
    "COMPUTE POOL": "USAGE and MONITOR on the compute pool",
    "DATABASE": "USAGE on the database",
    "SCHEMA": "USAGE, CREATE MODEL and CREATE SERVICE on the schema",
    "INTEGRATION": "USAGE on the external access integration",
    "SECRET": "USAGE and READ on the secret",
    "SERVICE": "OWNERSHIP of the service",
    "ROLE": "USAGE of the role",
}
_DEFINED_IN = {
    "COMPUTE POOL": "resource/sql/setup.sql creates it",
    "DATABASE": "resource/sql/setup.sql creates it",
    "SCHEMA": "resource/sql/setup.sql creates it",
    "ROLE": "resource/sql/setup.sql creates it",
    "INTEGRATION": "an administrator creates it (setup.sql has one for Hugging Face)",
    "SECRET": "create it with TYPE = GENERIC_STRING in the schema",
}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the errors of a Snowflake call made inside into DeploymentError. `doing`: "creating service X"."""
    try:
        yield
    except DeploymentError:
        raise
    except Exception as error:  # snowpark, snowflake-ml and the connector share no base class
        raise explanation(doing, error) from error


def explanation(doing: str, error: BaseException) -> DeploymentError:
    text = str(error)
    refused = _PRIVILEGE.search(text)
    if refused:
        kind, name = _named(refused)
        needed = _PRIVILEGES_ON.get(kind, f"a privilege on the {kind.lower()}")
        return DeploymentError(
            f"While {doing}: the session's role lacks a privilege on {kind.lower()} {name}.",
            f"It needs {needed}: let an administrator run resource/sql/setup.sql, then run this again.",
        )
    absent = _MISSING.search(text)
    if absent:
        kind, name = _named(absent)
        hint = _DEFINED_IN.get(kind, "check its name in the parameter cell")
        return DeploymentError(
            f"While {doing}: {kind.lower()} {name} does not exist, or the session's role may not see it.",
            f"Check the parameter cell; {hint}; the role needs {_PRIVILEGES_ON.get(kind, 'a grant on it')}.",
        )
    role = _ROLE.search(text)
    if role:
        return DeploymentError(
            f"While {doing}: role {role.group('name')} is not granted to the session's user, "
            "or the sign-in is bound to another role.",
            "Grant it to the user, and name it in the scope of the OAuth sign-in (session:role:<ROLE>).",
        )
    return DeploymentError(f"While {doing}: {type(error).__name__}: {_first_line(text)}")


def _named(match: re.Match[str]) -> tuple[str, str]:
    words = match.group("kind").upper().split()
    for kind in _PRIVILEGES_ON:
        if words[-len(kind.split()) :] == kind.split():
            return kind, match.group("name")
    return words[-1], match.group("name")


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else "no text"
