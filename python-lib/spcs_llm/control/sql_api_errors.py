"""What the SQL API's refusals mean.

Statuses and codes: Snowflake documentation, "SQL API: handling responses" and "error codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spcs_llm.errors import AccessDenied, ServiceBusy, ServiceDown, SpcsError, SqlError, TokenRefused
from spcs_llm.http.asked_wait import parse_retry_after
from spcs_llm.server_text.foreign_text import error_code, plain
from spcs_llm.snowflake.login_errors import (
    CHECK_URL,
    SignInKind,
    hint_for_refusal,
    no_account,
)

_SIGN_IN_PLACE = "login"
_TOKEN_HINTS = {
    SignInKind.OAUTH: "Sign in again in DSS, under Profile > Credentials. The scope of the preset must name the role in"
    " 'Role', or leave 'Role' empty.",
    SignInKind.KEY_PAIR: "Check 'User' and 'Private key' of the preset: DESCRIBE USER <user> must show its"
    " RSA_PUBLIC_KEY. If it does, fill in 'Account identifier' of the preset.",
    SignInKind.TOKEN: "Create a new programmatic access token, and enter it under Profile > Credentials.",
    SignInKind.UNKNOWN: "Sign in again.",
}
_ABOUT_TOKENS = ("390", "394")  # how codes begin; those of the SQL API itself begin with 3919
_UNREADABLE = "390142"
_ALLOW_ADDRESS = (
    "If it is correct, ask a Snowflake administrator to add the address of this DSS server to the network policy of the"
    " user."
)


@dataclass(frozen=True)
class SqlApiErrors:
    """Makes errors of responses that do not report success.

    Attributes:
        sign_in: The kind of token, which decides what a hint can ask to correct.
    """

    sign_in: SignInKind

    def __call__(self, status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
        """The error behind a response that does not report success."""
        reply = _json(body)
        code, words = error_code(reply.get("code")) or "", plain(reply.get("message") or "").rstrip(". ")
        if status == 429 or (status >= 500 and status != 513):
            return _not_now(status, headers, words)
        if status == 401 or (status == 400 and code.startswith(_ABOUT_TOKENS) and code != _UNREADABLE):
            return self._token_refused(status, code, words)
        if status == 403:
            return self._denied(code, words)
        if status in (400, 404, 408, 422) and words:
            return _refusal(status, code, words, reply.get("sqlState"))
        if status == 408:
            return _refusal(status, "000630", "Statement reached its statement or warehouse timeout", "57014")
        return no_account(f"answers HTTP {status}", status)

    def _token_refused(self, status: int, code: str, words: str) -> TokenRefused:
        told = f" (code {code})" if code and code not in words else ""
        return TokenRefused(
            f"Snowflake does not accept the token: {words or 'no reason given'}{told}.",
            hint_for_refusal(code, words, self.sign_in) or _TOKEN_HINTS[self.sign_in],
            status=status,
            code=code or None,
            place=_SIGN_IN_PLACE,
        )

    def _denied(self, code: str, words: str) -> AccessDenied:
        return AccessDenied(
            f"Snowflake denies access to its SQL API: {words or 'no reason given'}.",
            hint_for_refusal(code, words, self.sign_in) if words or code else f"{CHECK_URL} {_ALLOW_ADDRESS}",
            status=403,
            code=code or None,
            place=_SIGN_IN_PLACE,
        )


def _not_now(status: int, headers: Mapping[str, str], words: str) -> SpcsError:
    kind = ServiceBusy if status == 429 else ServiceDown
    why = "has too many requests" if status == 429 else "does not answer"
    return kind(
        f"Snowflake's SQL API {why} (HTTP {status}){f': {words}' if words else ''}.",
        "Try again later; status.snowflake.com reports outages.",
        status=status,
        retry_after=parse_retry_after(headers.get("Retry-After")),
        place=SqlError.place,
    )


def _refusal(status: int, code: str, words: str, state: Any) -> SqlError:
    """An error of the statement, which whoever sent it completes: only there it is known which one it was."""
    error = SqlError(
        "Snowflake refuses the statement.",
        code=code.zfill(6) if code else None,
        sqlstate=state if isinstance(state, str) else None,
        status=status,
    )
    error.quote(words)
    return error


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return reply if isinstance(reply, dict) else {}
