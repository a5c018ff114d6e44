"""Snowflake's codes of refused logins as errors with a mend.

Codes: snowflake-connector-python 4.8.1, `network.py`, and 5.2.0, `sf_core/src/rest/snowflake`; Snowflake documentation,
"Key-pair authentication: troubleshooting", for 3943xx.
"""

from __future__ import annotations

import re

from spcs_llm.errors import LoginError, SessionExpired

# The session or master token is over: a fresh login helps.
SESSION_OVER = frozenset(
    (
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
        "390101",
    )
)
ACCESS_TOKEN_REFUSED = frozenset(("390303", "390318"))

_SIGN_IN_AGAIN = (
    "Sign in again in DSS, under Profile > Credentials; from DSS 14.5 on DSS refreshes the token itself."
)
_CHECK_KEY = "Check 'Private key' and 'User' of the preset."
_MENDS = {
    "390100": "Check the user and credential of the preset.",
    "390144": f"{_CHECK_KEY} Fill in 'Account identifier', and check this server's clock.",
    "390186": "GRANT ROLE <role> TO USER <user>, or correct 'Role' of the preset, in the case that SHOW ROLES shows.",
    "390189": "Correct 'Role' of the preset, in the case that SHOW ROLES shows, or grant it to the user.",
    "390303": _SIGN_IN_AGAIN,
    "390317": "Add the role to ALLOWED_ROLES_LIST of the security integration, and to 'Scope' of the preset.",
    "390318": _SIGN_IN_AGAIN,
    "394300": f"{_CHECK_KEY} The user needs an RSA_PUBLIC_KEY: DESCRIBE USER.",
    "394301": "Check this server's clock.",
    "394302": "Check this server's clock.",
    "394303": "Check this server's clock.",
    "394304": "The private key is not the pair of the user's RSA_PUBLIC_KEY (DESCRIBE USER shows RSA_PUBLIC_KEY_FP),"
    " or 'Account identifier' of the preset must be filled in.",
    "394305": "Use an RSA key.",
    "394306": _CHECK_KEY,
    "394400": "Create a new programmatic access token, and enter it under Profile > Credentials.",
}
_EXTERNAL = frozenset(("390120", "390122", "390123", "390126", "390127", "390129", "390132"))
_OTHER = "An administrator finds the attempt in LOGIN_HISTORY of Snowflake."
_CODE = re.compile(r"\b(39\d{4})\b")


def login_error(code: object, message: object, *, status: int | None = None) -> LoginError:
    """The error of a refusal. `message` is Snowflake's own; SessionExpired where a new login helps."""
    known = str(code or "").strip()
    text = " ".join(str(message or "").split())[:300].rstrip(". ")
    if not known:
        found = _CODE.search(text)
        known = found.group(1) if found else ""
    what = f"Snowflake refuses the sign-in: {text or 'no reason given'}{f' (code {known})' if known else ''}."
    return _kind(known)(what, _mend(known, text), code=known or None, status=status)


def _kind(code: str) -> type[LoginError]:
    return SessionExpired if code in SESSION_OVER else LoginError


def _mend(code: str, text: str) -> str:
    if code in _EXTERNAL:
        return "The user must sign in interactively first, or use a key pair or programmatic access token."
    if "network policy" in text.lower() or "ip " in text.lower():
        return "Add the address of this DSS server to the network policy of the user or the security integration."
    if "could not find the service" in text.lower():
        return "The service was dropped or created again: correct 'LLM endpoint URL' by SHOW ENDPOINTS IN SERVICE."
    return _MENDS.get(code, _OTHER)
