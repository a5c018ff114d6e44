"""The codes with which an account refuses, as in the tables of Snowflake's drivers.

Codes: snowflake-connector-python 4.8.1 `network.py` and 5.2.0 (sf_core `rest/snowflake`); Snowflake
documentation for 3943xx. Codes are strings on the wire, inside HTTP 200.
"""

from __future__ import annotations

import uuid

MESSAGES = {
    "390100": "Incorrect username or password was specified.",
    "390101": "Authorization header not found in the request data.",
    "390103": "Session token was not found in the request data.",
    "390104": "Session token is not valid. The user must log in again.",
    "390110": "ID token has expired. The user must log in again.",
    "390111": "Session no longer exists. New login required to access the service.",
    "390112": "Your session has expired. Please login again.",
    "390113": "Master token was not found in the request data.",
    "390114": "Authentication token has expired. The user must authenticate again.",
    "390115": "Master token is not valid.",
    "390120": "Authentication by the external authenticator was denied.",
    "390122": "External authenticator: the request is pending.",
    "390123": "Duo Security authentication is denied.",
    "390126": "Duo Security: the user is locked out.",
    "390127": "Multi-factor authentication is required for this account. Log in to Snowsight to enrol.",
    "390129": "Duo Security: request timed out.",
    "390132": "Duo Security: passcode is not valid.",
    "390144": "JWT token is invalid.",
    "390186": "Role specified in the connect string is not granted to this user.",
    "390189": "Role specified in the connect string does not exist or not authorized.",
    "390195": "ID token is invalid. The user must log in again.",
    "390303": "Invalid OAuth access token.",
    "390317": "The role requested is not listed in the access token or was filtered.",
    "390318": "OAuth access token expired.",
    "390400": "Bad request.",
    "394300": "JWT token is invalid.",
    "394301": "JWT token has expired.",
    "394302": "JWT token is not yet valid: its issue time is in the future.",
    "394303": "JWT token has an invalid expiration: more than an hour after its issue time, or none.",
    "394304": "JWT token public key fingerprint does not match.",
    "394305": "JWT token uses an algorithm that is not supported.",
    "394306": "JWT token is malformed.",
    "394400": "Programmatic access token is invalid.",
}

# Login refusals carry the id of the attempt, which an administrator can look up.
TRACED = frozenset({"390144", "390303", "390318", *(c for c in MESSAGES if c.startswith("3943"))})


class Refusal(Exception):
    """The account says no: HTTP 200, `success: false`, and this code and message."""

    def __init__(self, code: str, message: str | None = None) -> None:
        self.code = code
        self.message = message or MESSAGES.get(code, "Request refused.")
        if message is None and code in TRACED:
            self.message = f"{self.message} [{uuid.uuid4()}]"
        super().__init__(f"{code}: {self.message}")
