"""Why no token was granted, as errors with a hint.

Codes: snowflake-connector-python 4.8.1, `network.py`, and 5.2.0, `sf_core/src/rest/snowflake`; Snowflake documentation,
"Key-pair authentication: troubleshooting", for 3943xx, "Snowflake REST APIs: common setup", for 390202, and "Power BI
SSO: error messages", for External OAuth; 390198 as users report it.
"""

from __future__ import annotations

import enum
import re
from typing import Any

from spcs_llm.errors import LoginError, QueryTimeout, SessionExpired
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.foreign_text import error_code, plain


class SignInKind(enum.Enum):
    """How users sign in, which decides what a hint can ask them to correct."""

    OAUTH = "OAUTH"
    KEY_PAIR = "KEY_PAIR"
    TOKEN = "PROGRAMMATIC_ACCESS_TOKEN"
    NONE = "NONE"
    UNKNOWN = ""


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

NETWORK_POLICY = frozenset(("390420", "390422", "390432"))

CHECK_URL = "Check 'Snowflake account URL': https://<organization>-<account>.snowflakecomputing.com."
OTHERS_ANSWER = "If the URL is correct, a proxy or firewall may be answering instead of Snowflake."
SIGN_IN_AGAIN = (
    "Sign in again in DSS, under Profile > Credentials; from DSS 14.5 on DSS refreshes the token itself."
)
_CHECK_KEY = "Check 'User' and 'Private key' of the preset"
_CHECK_CLOCK = "Check the clock of this DSS node: it must be right to within a minute."
_CHECK_ROLE = (
    "Ask a DSS administrator to correct 'Role' of the preset, as SHOW ROLES lists it, or a Snowflake"
    " administrator to run GRANT ROLE <role> TO USER <user>."
)
_CHECK_SCOPE = (
    "Ask a Snowflake administrator to add the role to ALLOWED_ROLES_LIST of the security integration, and a DSS"
    " administrator to add it to 'Scope' of the preset. If the scope is session:role-any, the security integration must"
    " have EXTERNAL_OAUTH_ANY_ROLE_MODE = ENABLE."
)
_CHECK_ROLE_OF_SCOPE = (
    "Ask a DSS administrator to correct the role in 'Scope' of the preset, as SHOW ROLES lists it, or a Snowflake"
    " administrator to run GRANT ROLE <role> TO USER <user>, and to compare the role with ALLOWED_ROLES_LIST and"
    " BLOCKED_ROLES_LIST of the security integration."
)
_CHECK_EXTERNAL_OAUTH = (
    f"{SIGN_IN_AGAIN} With External OAuth, ask a Snowflake administrator to compare EXTERNAL_OAUTH_ISSUER,"
    " EXTERNAL_OAUTH_JWS_KEYS_URL and EXTERNAL_OAUTH_AUDIENCE_LIST of the security integration with the identity"
    " provider."
)
_ENABLE_INTEGRATION = (
    "Ask a Snowflake administrator to run ALTER SECURITY INTEGRATION <name> SET ENABLED = TRUE, or to create the"
    " integration again."
)
_DEFAULT_ROLE = (
    "Ask a Snowflake administrator to run ALTER USER <user> SET DEFAULT_ROLE = <role> and GRANT ROLE <role> TO USER"
    " <user>."
)
_CHECK_RESTRICTION = (
    "Ask a Snowflake administrator to grant the user the role to which the programmatic access token is"
    " restricted."
)
_NEW_TOKEN = "Create a new programmatic access token, and enter it under Profile > Credentials."
_NO_KEY_OF_USER = (
    f"{_CHECK_KEY}: DESCRIBE USER <user> must show its RSA_PUBLIC_KEY. If it does,"
    " fill in 'Account identifier' of the preset."
)
_ALLOW_ADDRESS = (
    "Ask a Snowflake administrator to add the address of this DSS server to the network policy of the user or"
    " of the security integration."
)
_NO_POLICY = "390432"
ASSIGN_POLICY = (
    "Ask a Snowflake administrator to run ALTER USER <user> SET NETWORK_POLICY = <policy>, with a policy that allows"
    " the address of this DSS server: a programmatic access token needs one."
)
_ENABLE_USER = "Ask a Snowflake administrator to enable the user: ALTER USER <user> SET DISABLED = FALSE."
_UNLOCK_USER = (
    "Wait for 15 minutes, or ask a Snowflake administrator to unlock the user: ALTER USER <user> SET"
    " MINS_TO_UNLOCK = 0."
)
_NO_USER_OF_TOKEN = (
    "Snowflake may have no user of the name in the access token: ask a Snowflake administrator to compare the user's"
    " LOGIN_NAME or EMAIL with the name that the security integration reads from the token"
    " (EXTERNAL_OAUTH_TOKEN_USER_MAPPING_CLAIM)."
)
_CHECK_ENDPOINT = (
    "The service was dropped or created again: ask a DSS administrator to enter the new ingress_url from SHOW"
    " ENDPOINTS IN SERVICE as 'LLM endpoint URL'."
)
_NOT_ALLOWED_BY_POLICY = "390202"
_ALLOW_METHOD = (
    "Ask a Snowflake administrator to add %s to AUTHENTICATION_METHODS of the authentication policy that applies to the"
    " user."
)
_METHODS = {
    SignInKind.OAUTH: "OAUTH",
    SignInKind.KEY_PAIR: "KEYPAIR",
    SignInKind.TOKEN: "PROGRAMMATIC_ACCESS_TOKEN",
}
_PAY = "Ask a Snowflake administrator to enter billing information for the account."
_ENROLL = "The user must enroll in multi-factor authentication: sign in to Snowsight once."
_ROLE_CODES = ("390186", "390189")
_NOT_IN_TOKEN = "390317"  # a role that the token does not list
_ROLE_HINTS = {
    SignInKind.OAUTH: _CHECK_ROLE_OF_SCOPE,
    SignInKind.TOKEN: _CHECK_RESTRICTION,
    SignInKind.KEY_PAIR: _CHECK_ROLE,
    SignInKind.UNKNOWN: _CHECK_ROLE,
}
_WITHOUT_SCOPE = (SignInKind.KEY_PAIR, SignInKind.TOKEN)
_TOKEN_ENDED = ("390101", "390110", "390195", "390303", "390318")
_HINTS = {
    "390100": "Check the user and credential of the preset.",
    "390144": f"{_NO_KEY_OF_USER} {_CHECK_CLOCK}",
    "390198": _CHECK_CLOCK,
    _NOT_IN_TOKEN: _CHECK_SCOPE,
    "394300": _NO_KEY_OF_USER,
    "394301": _CHECK_CLOCK,
    "394302": _CHECK_CLOCK,
    "394303": _CHECK_CLOCK,
    "394304": "The private key is not the pair of the user's RSA_PUBLIC_KEY or RSA_PUBLIC_KEY_2 (DESCRIBE USER shows"
    " RSA_PUBLIC_KEY_FP and RSA_PUBLIC_KEY_2_FP), or 'Account identifier' of the preset must be filled in.",
    "394305": "Use an RSA key, or one of the curves P-256, P-384 or P-521.",
    "394306": f"{_CHECK_KEY}.",
    "394400": f"{_NEW_TOKEN} If 'Role' is filled in, it must be the role that the token is restricted to.",
    "394401": _NEW_TOKEN,
}
_USE_ANOTHER_WAY = (
    "The user must sign in interactively first, or use a key pair or programmatic access token."
)
_SEE_HISTORY = "Ask a Snowflake administrator to look the attempt up in LOGIN_HISTORY."
# What a refusal says beside a code that other reasons have, too.
_WORDS = (
    (re.compile(r"network policy is required", re.I), ASSIGN_POLICY),
    (re.compile(r"network policy|\bip\b[^\n]{0,200}\bnot allowed", re.I), _ALLOW_ADDRESS),
    (re.compile(r"\buser (?:access |account )?(?:is |has been )?disabled\b", re.I), _ENABLE_USER),
    (re.compile(r"\btemporarily locked\b", re.I), _UNLOCK_USER),
    (re.compile(r"\bAuthz Server Integration is not enabled\b", re.I), _ENABLE_INTEGRATION),
    (re.compile(r"\bno default role has been assigned\b|\bconfigured default role\b", re.I), _DEFAULT_ROLE),
    (re.compile(r"\bfree trial has ended\b|\baccount is suspended\b", re.I), _PAY),
    (re.compile(r"\bmulti-?factor authentication is required\b", re.I), _ENROLL),
)
_ABOUT_AUTHENTICATION_POLICY = re.compile(r"\bauthentication policy\b", re.I)
_CODE = re.compile(r"\b39\d{4}\b")
_MAX_TEXT = 300
NO_SUCH_ENDPOINT = "could not find the service"


def login_error(
    code: object,
    message: object,
    *,
    status: int | None = None,
    sign_in: SignInKind = SignInKind.UNKNOWN,
) -> LoginError:
    """The error of a refusal. `message` is Snowflake's own; SessionExpired where a session is what has expired."""
    text = plain(message or "", _MAX_TEXT).rstrip(". ")
    known = error_code(code) or ""
    if not known and (found := _CODE.search(text)):
        known = found[0]
    told = f" (code {known})" if known and known not in text else ""
    details: dict[str, Any] = {"code": known or None, "status": status}
    if NO_SUCH_ENDPOINT in text.lower():
        what = f"Snowflake knows no service at the endpoint that a token is asked for: {text}{told}."
        return LoginError(what, _CHECK_ENDPOINT, **details)
    kind = SessionExpired if known in _SESSION_OVER else LoginError
    what = f"Snowflake refuses the sign-in: {text or 'no reason given'}{told}."
    return kind(what, hint_for_refusal(known, text, sign_in) or _SEE_HISTORY, **details)


def hint_for_refusal(code: str, text: str, sign_in: SignInKind = SignInKind.UNKNOWN) -> str:
    """What to do about a refusal of Snowflake's, by its words and its code; "" where both say too little."""
    by_words = next((hint for words, hint in _WORDS if words.search(text)), "")
    if _ABOUT_AUTHENTICATION_POLICY.search(text):
        code = _NOT_ALLOWED_BY_POLICY
    return by_words or hint_for_code(code, sign_in)


def hint_for_code(code: str, sign_in: SignInKind = SignInKind.UNKNOWN) -> str:
    """What to do about a refusal with one of Snowflake's codes; "" where the code says too little."""
    if code in _EXTERNAL:
        return _USE_ANOTHER_WAY
    if code in NETWORK_POLICY:
        return ASSIGN_POLICY if code == _NO_POLICY else _ALLOW_ADDRESS
    if code == _NOT_ALLOWED_BY_POLICY:
        return _ALLOW_METHOD % _METHODS.get(sign_in, "this way of signing in")
    if code in _ROLE_CODES or (code == _NOT_IN_TOKEN and sign_in in _WITHOUT_SCOPE):
        return _ROLE_HINTS[sign_in]
    if code == "390303" and sign_in is SignInKind.OAUTH:
        return _CHECK_EXTERNAL_OAUTH
    if code in _TOKEN_ENDED:
        return _NEW_TOKEN if sign_in is SignInKind.TOKEN else SIGN_IN_AGAIN
    if code in ("390100", "390304") and sign_in is SignInKind.OAUTH:
        return _NO_USER_OF_TOKEN
    return _HINTS.get(code, "")


def names_network_policy(text: str) -> bool:
    """Whether Snowflake says that the address of whoever asks is why it refuses: in one of several sentences."""
    return hint_for_refusal("", text) in (ASSIGN_POLICY, _ALLOW_ADDRESS)


def no_account(what: str, status: int | None = None) -> LoginError:
    """The error of an address that `what` (answers with ...) no Snowflake account does."""
    return LoginError(
        f"The address does not answer as a Snowflake account: it {what}.",
        f"{CHECK_URL} {OTHERS_ANSWER}",
        status=status,
    )


def login_timeout(context: QueryContext, doing: str) -> QueryTimeout:
    """The error of a call whose time is up before there was a token."""
    error = context.timeout(doing)
    if context.last_error is None:
        error.place = LoginError.place
        error.hint = (
            "Try again. If it happens again, check that this DSS node reaches 'Snowflake account URL'."
        )
    return error
