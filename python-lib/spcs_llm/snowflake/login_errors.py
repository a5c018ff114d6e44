"""Why no token was granted, as errors with a hint.

Codes: snowflake-connector-python 4.8.1, `network.py`, and 5.2.0, `sf_core/src/rest/snowflake`; Snowflake documentation,
"Key-pair authentication: troubleshooting", for 3943xx.
"""

from __future__ import annotations

import re

from spcs_llm.errors import LoginError, QueryTimeout, SessionExpired
from spcs_llm.query_context import QueryContext

# The session or its master token is over: a login helps.
_SESSION_OVER = frozenset(
    (
        "390101",
        "390103",
        "390104",
        "390110",
        "390111",
        "390112",
        "390113",
        "390114",
        "390115",
        "390195",
        "390400",
    )
)
# What was logged in with is over, or not what Snowflake wants: DSS may have a newer one by now.
CREDENTIAL_OVER = frozenset(("390101", "390110", "390195", "390303", "390318"))
_EXTERNAL = frozenset(("390120", "390122", "390123", "390126", "390127", "390129", "390132"))

CHECK_URL = "Check 'Snowflake account URL': https://<organization>-<account>.snowflakecomputing.com."
SIGN_IN_AGAIN = (
    "Sign in again in DSS, under Profile > Credentials; from DSS 14.5 on DSS refreshes the token itself."
)
_CHECK_KEY = "Check 'User' and 'Private key' of the preset"
_CHECK_CLOCK = "Check the clock of this DSS node: it must be right to within a minute."
_CHECK_ROLE = (
    "Correct 'Role' of the preset, in the case that SHOW ROLES shows, or GRANT ROLE <role> TO USER <user>."
)
_CHECK_SCOPE = "Add the role to ALLOWED_ROLES_LIST of the security integration, and to 'Scope' of the preset."
_NO_KEY_OF_USER = (
    f"{_CHECK_KEY}: DESCRIBE USER <user> must show its RSA_PUBLIC_KEY. If it does,"
    " fill in 'Account identifier' of the preset."
)
_HINTS = {
    "390100": "Check the user and credential of the preset.",
    "390101": SIGN_IN_AGAIN,
    "390110": SIGN_IN_AGAIN,
    "390144": f"{_NO_KEY_OF_USER} {_CHECK_CLOCK}",
    "390186": _CHECK_ROLE,
    "390189": _CHECK_ROLE,
    "390195": SIGN_IN_AGAIN,
    "390303": SIGN_IN_AGAIN,
    "390317": _CHECK_SCOPE,
    "390318": SIGN_IN_AGAIN,
    "394300": _NO_KEY_OF_USER,
    "394301": _CHECK_CLOCK,
    "394302": _CHECK_CLOCK,
    "394303": _CHECK_CLOCK,
    "394304": "The private key is not the pair of the user's RSA_PUBLIC_KEY (DESCRIBE USER shows RSA_PUBLIC_KEY_FP),"
    " or 'Account identifier' of the preset must be filled in.",
    "394305": "Use an RSA key.",
    "394306": f"{_CHECK_KEY}.",
    "394400": "Create a new programmatic access token, and enter it under Profile > Credentials.",
}
_USE_ANOTHER_WAY = (
    "The user must sign in interactively first, or use a key pair or programmatic access token."
)
_SEE_HISTORY = "An administrator finds the attempt in LOGIN_HISTORY of Snowflake."
_CODE = re.compile(r"\b39\d{4}\b")
_MAX_TEXT = 300


def login_error(code: object, message: object, *, status: int | None = None) -> LoginError:
    """The error of a refusal. `message` is Snowflake's own; SessionExpired where a session is what is over."""
    text = " ".join(str(message or "").split())[:_MAX_TEXT].rstrip(". ")
    known = str(code or "").strip()
    if not known and (found := _CODE.search(text)):
        known = found[0]
    told = f" (code {known})" if known and known not in text else ""
    kind = SessionExpired if known in _SESSION_OVER else LoginError
    return kind(
        f"Snowflake refuses the sign-in: {text or 'no reason given'}{told}.",
        _mend(known, text.lower()),
        code=known or None,
        status=status,
    )


def _mend(code: str, text: str) -> str:
    if code in _EXTERNAL:
        return _USE_ANOTHER_WAY
    if "network policy" in text or re.search(r"\bip\b.*\bnot allowed", text):
        return "Add the address of this DSS server to the network policy of the user or the security integration."
    if "could not find the service" in text:
        return "The service was dropped or created again: correct 'LLM endpoint URL' by SHOW ENDPOINTS IN SERVICE."
    return _HINTS.get(code, _SEE_HISTORY)


def no_account(what: str, status: int | None = None) -> LoginError:
    """The error of an address that `what` (answers with ...) no Snowflake account does."""
    return LoginError(
        f"The address does not answer as a Snowflake account: it {what}.", CHECK_URL, status=status
    )


def login_timeout(context: QueryContext, doing: str) -> QueryTimeout:
    """The error of a call whose time is up before there was a token."""
    error = context.timeout(doing)
    if context.last_error is None:
        error.place = LoginError.place
        error.hint = "Try again; if it comes back, check that this DSS node reaches 'Snowflake account URL'."
    return error
