"""Steps of signing in, each stage by itself: what DSS has, what Snowflake grants for it, and the session."""

from __future__ import annotations

import math
import time

from spcs_llm.connections import key_pair_of, token_reader
from spcs_llm.control.diagnosis.finding import Outcome, ok, quoted, skipped, warning
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.errors import SpcsError
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import KeyPairSignIn, OAuthSignIn, TokenSignIn
from spcs_llm.snowflake.account import Account, Session
from spcs_llm.snowflake.sign_in import OAuthLogin
from spcs_llm.urls import BaseUrl

_NOT_FOR_CALLERS = "PUBLIC"
_SET_SCOPE = (
    "Ask a DSS administrator to set 'Scope' of the preset to: refresh_token session:role:<the role that may call the"
    " service>."
)
_FRESH_TOKENS = (
    "A session that cannot be renewed ends with its token; then DSS must have a fresh access token. DSS 14.5 and"
    " later refreshes it; before that, use a key pair for long jobs."
)
_SLOW_LOGIN = "Try again. If it happens again, see status.snowflake.com."


class SignInSteps:
    """The stages, which hand on what they got.

    Args:
        subject: The model under diagnosis.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._credential = ""
        self._session: Session | None = None
        self._account: Account | None = None

    def credential(self, context: QueryContext) -> Outcome:
        """Whether there is something to sign in with."""
        sign_in = self._subject.settings.credential.sign_in
        if isinstance(sign_in, KeyPairSignIn):
            assertion = key_pair_of(sign_in, self._url).assertion(time.time())
            self._credential = assertion
            return ok(f"The private key of user {quoted(sign_in.user)} can be used, and signs a JWT.")
        if isinstance(sign_in, TokenSignIn):
            return ok(f"DSS gives a programmatic access token of {len(sign_in.token)} characters.")
        if not isinstance(sign_in, OAuthSignIn):
            return ok("The settings have no sign-in.")
        login = OAuthLogin(
            self._login_api, token_reader(sign_in, self._subject.refresh), signed_in=lambda token: None
        )
        self._credential = login.credential()
        if sign_in.credentials is None:
            return ok(
                "DSS gives an access token, and nothing to refresh it by: DSS before 14.5 refreshes it only when a"
                " process starts."
            )
        return ok("DSS gives an access token, which it refreshes itself (`__credentials` came with it).")

    def login(self, context: QueryContext) -> Outcome:
        """Whether Snowflake grants a token for it."""
        sign_in = self._subject.settings.credential.sign_in
        facts = self._subject.facts
        if isinstance(sign_in, KeyPairSignIn):
            host = self._subject.settings.endpoint.url.netloc
            granted = self._login_api.endpoint_token(
                self._credential, host, sign_in.role, context, time.time()
            )
            facts.session_seconds, facts.role = granted.seconds, sign_in.role
            return _as_quick(
                context, f"Snowflake grants a token for this endpoint, for {granted.seconds:.0f} s."
            )
        if not isinstance(sign_in, OAuthSignIn):
            return skipped("A programmatic access token is used as it is, without a sign-in.")
        session = self._login_api.login(self._credential, context)
        self._session, facts.session_seconds, facts.role = session, session.seconds, session.role
        return _as_quick(
            context, f"Snowflake accepts the access token; the session lasts {session.seconds:.0f} s."
        )

    def session(self, context: QueryContext) -> Outcome:
        """Whether the session can be renewed, and which role it has."""
        session = self._session
        if session is None:
            return self._role_of_token()
        seen = (
            f"The session's role is {quoted(session.role)}"
            if session.role
            else "Snowflake does not name a role"
        )
        if session.master_token is None:
            return warning(f"{seen}. The session has no master token to renew it by.", _FRESH_TOKENS)
        try:
            renewed = self._login_api.renew(session.token, session.master_token, context)
        except SpcsError as error:
            self._subject.facts.renewed = False
            return warning(f"{seen}. It cannot be renewed: {error.message}", _FRESH_TOKENS, error)
        self._subject.facts.renewed = True
        seen += f", and it can be renewed{_for(session.master_seconds)}; the renewed one lasts {renewed.seconds:.0f} s."
        if (session.role or "").upper() == _NOT_FOR_CALLERS:
            return warning(seen, _SET_SCOPE)
        return _as_quick(context, seen)

    def _role_of_token(self) -> Outcome:
        sign_in = self._subject.settings.credential.sign_in
        if isinstance(sign_in, KeyPairSignIn):
            if sign_in.role:
                return ok(f"The role is {quoted(sign_in.role)}, which the preset names.")
            return ok("The preset does not name a role: Snowflake uses the user's default role.")
        return skipped("The role is the one to which the programmatic access token is restricted.")

    @property
    def _url(self) -> BaseUrl:
        url = self._subject.settings.credential.account
        assert url is not None  # noqa: S101 - only a programmatic access token does without
        return url

    @property
    def _login_api(self) -> Account:
        if self._account is None:
            self._account = Account.at(self._url, self._subject.transport_class)
        return self._account


def _for(seconds: float) -> str:
    return "" if math.isinf(seconds) else f" for {seconds / 3600:.1f} h"


def _as_quick(context: QueryContext, seen: str) -> Outcome:
    """A sign-in that worked; with a warning if it took more than one attempt."""
    failed = [step.attributes["error"] for step in context.steps if "error" in step.attributes]
    if failed:
        return warning(f"{seen} It took {len(failed) + 1} attempts ({', '.join(failed)}).", _SLOW_LOGIN)
    return ok(seen)
