"""Opens the session that a macro's form asks for. What belongs to DSS is handed in by the macro's own file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.connections import ReadToken, key_pair_of, token_reader
from spcs_llm.control.executor_session import Executor, open_executor_session
from spcs_llm.control.macro_form import SignInSettings
from spcs_llm.control.session import SqlSession
from spcs_llm.control.sql_api import SqlApiSession
from spcs_llm.errors import SettingsError
from spcs_llm.http.token_source import TokenSource
from spcs_llm.settings import CredentialSettings, KeyPairSignIn, OAuthSignIn, TokenSignIn
from spcs_llm.snowflake.bearer import KeyPairBearer, OAuthBearer, bearer
from spcs_llm.snowflake.login_errors import SignInKind
from spcs_llm.snowflake.sign_in import FixedToken
from spcs_llm.snowflake.token_cache import TokenCache
from spcs_llm.urls import BaseUrl


@dataclass(frozen=True)
class Dss:
    """What DSS provides.

    Attributes:
        executor: Makes a `dataiku.SQLExecutor2` for a connection.
        access_token: Reads a current OAuth access token off what DSS gives under `__credentials` (14.5 and later).
    """

    executor: Callable[[str], Executor]
    access_token: ReadToken | None = None


def open_session(settings: SignInSettings, dss: Dss, seconds: float = 300.0, **how: Any) -> SqlSession:
    """Opens a session. No statement is sent yet.

    Args:
        settings: Whose rights to use.
        dss: What DSS provides.
        seconds: The most that a statement may take; a connection of DSS has its own limits.
        **how: As for `SqlApiSession`.

    Returns:
        The session.

    Raises:
        SettingsError: If the private key cannot be used, or DSS refuses the connection.
        NetworkError: If the proxy or the CA bundle of the environment cannot be used.
    """
    if settings.connection is not None:
        return open_executor_session(
            dss.executor, settings.connection, role=settings.role, warehouse=settings.warehouse
        )
    credential = settings.credential
    if credential is None or credential.account is None:
        raise _without_sign_in()
    tokens, kind = _tokens(credential, credential.account, dss.access_token)
    return SqlApiSession.at(
        credential.account,
        tokens,
        kind,
        role=settings.role,
        warehouse=settings.warehouse,
        seconds=seconds,
        **how,
    )


def _tokens(
    credential: CredentialSettings, account: BaseUrl, refresh: ReadToken | None
) -> tuple[TokenSource, SignInKind]:
    sign_in = credential.sign_in
    if isinstance(sign_in, TokenSignIn):
        return FixedToken(bearer(sign_in.token, "PROGRAMMATIC_ACCESS_TOKEN")), SignInKind.TOKEN
    if isinstance(sign_in, KeyPairSignIn):
        return TokenCache(KeyPairBearer(key_pair_of(sign_in, account))), SignInKind.KEY_PAIR
    if isinstance(sign_in, OAuthSignIn):
        return TokenCache(OAuthBearer(token_reader(sign_in, refresh))), SignInKind.OAUTH
    raise _without_sign_in()


def _without_sign_in() -> SettingsError:
    return SettingsError("'Snowflake connection' is empty, and so is the sign-in of the plugin.")
