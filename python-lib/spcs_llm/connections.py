"""What the model instances of a process share: the only global state there is.

DSS makes an instance for each model and user, and calls it from many threads. An endpoint's connection pool, its
limit and its clock of cost are one however many instances use it; so is the session of one credential.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import astuple, dataclass
from typing import Any, Callable, TypeVar

from spcs_llm.batching import Batcher
from spcs_llm.cost import BusyMeter
from spcs_llm.errors import SettingsError
from spcs_llm.http.endpoint import Endpoint, TokenSource
from spcs_llm.http.limits import Limiter
from spcs_llm.http.retry import RetryBudget, RetryPolicy
from spcs_llm.http.transport import Transport
from spcs_llm.settings import KeyPairSignIn, OAuthSignIn, Settings
from spcs_llm.snowflake.account import Account
from spcs_llm.snowflake.ingress import error_from_response
from spcs_llm.snowflake.key_pair import KeyPair
from spcs_llm.snowflake.sign_in import FixedToken, KeyPairLogin, OAuthLogin, WithServiceKey
from spcs_llm.snowflake.token_cache import TokenCache
from spcs_llm.urls import BaseUrl

T = TypeVar("T")
_MAX_KEPT = 256


@dataclass(frozen=True)
class Connection:
    """One credential's way to one endpoint. credential_id: stands for the credential, and does not tell it."""

    endpoint: Endpoint
    batcher: Batcher
    credential_id: str


class _EndpointState:
    """What is one per endpoint, whoever calls it."""

    def __init__(self, url: BaseUrl, parallelism: int) -> None:
        self.transport = Transport(url, parallelism)
        self.limiter = Limiter(parallelism)
        self.meter = BusyMeter()
        self.budget = RetryBudget()


class Connections:
    """Hands out connections that share what can be shared. Thread-safe.

    Of what belongs to a credential, what was used last is kept: users come and go, and with them their tokens.
    """

    def __init__(self, kept: int = _MAX_KEPT) -> None:
        self._kept = kept
        self._lock = threading.RLock()
        self._hosts: dict[str, _EndpointState] = {}
        self._parts: OrderedDict[Hashable, Any] = OrderedDict()

    def connect(self, settings: Settings, refresh: Callable[[Any], str] | None = None) -> Connection:
        """The connection for these settings; the latest `max_parallelism` of an endpoint is in force.

        refresh: reads a current access token off the credentials that DSS gives. Raises SettingsError.
        """
        with self._lock:
            host = self._host(settings)
            host.limiter.resize(settings.max_parallelism)
            host.transport.grow(settings.max_parallelism)
            credential_id = _credential_id(settings)
            key = (credential_id, settings.endpoint)
            tokens = self._shared(("tokens", key), lambda: self._tokens(settings, refresh, credential_id))
            endpoint = self._shared(("endpoint", key), lambda: _endpoint(settings, host, tokens))
            batcher = self._shared(("batcher", key), lambda: Batcher(host.limiter))
            return Connection(endpoint, batcher, credential_id)

    def _host(self, settings: Settings) -> _EndpointState:
        """Never given up: a second limit for an endpoint would be none."""
        url = str(settings.endpoint.url)
        if url not in self._hosts:
            self._hosts[url] = _EndpointState(settings.endpoint.url, settings.max_parallelism)
        return self._hosts[url]

    def _tokens(
        self, settings: Settings, refresh: Callable[[Any], str] | None, credential_id: str
    ) -> TokenSource:
        tokens = self._snowflake_tokens(settings, refresh, credential_id)
        if settings.endpoint.service_api_key is None:
            return tokens
        return WithServiceKey(tokens, settings.endpoint.service_api_key)

    def _snowflake_tokens(
        self, settings: Settings, refresh: Callable[[Any], str] | None, credential_id: str
    ) -> TokenSource:
        sign_in, account_url = settings.sign_in, settings.account
        if not isinstance(sign_in, (OAuthSignIn, KeyPairSignIn)):
            return FixedToken(sign_in.token)
        if account_url is None:
            raise SettingsError("'Snowflake account URL' is empty.")
        account = self._shared(("account", str(account_url)), lambda: Account.at(account_url))
        if isinstance(sign_in, OAuthSignIn):
            # A session is good for every endpoint of the account.
            session: TokenSource = self._shared(
                ("session", credential_id), lambda: TokenCache(OAuthLogin(account, _reader(sign_in, refresh)))
            )
            return session
        key_pair = KeyPair(
            sign_in.account_identifier or account_url.host.split(".snowflakecomputing.")[0],
            sign_in.user,
            sign_in.private_key,
            sign_in.passphrase,
        )
        return TokenCache(KeyPairLogin(account, key_pair, settings.endpoint.url.netloc, sign_in.role))

    def _shared(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._parts:
            self._parts[key] = make()
            while len(self._parts) > self._kept:
                self._parts.popitem(last=False)
        self._parts.move_to_end(key)
        return self._parts[key]


def _endpoint(settings: Settings, host: _EndpointState, tokens: TokenSource) -> Endpoint:
    return Endpoint(
        host.transport,
        tokens,
        error_from_response,
        limiter=host.limiter,
        meter=host.meter,
        budget=host.budget,
        retry=RetryPolicy(cold_start=settings.endpoint.cold_start_wait),
        idle_seconds=settings.endpoint.request_timeout,
    )


def _credential_id(settings: Settings) -> str:
    """The same for the same credential at the same account."""
    sign_in = settings.sign_in
    if isinstance(sign_in, OAuthSignIn):
        identity: tuple[Any, ...] = (sign_in.access_token or repr(sign_in.credentials),)
    else:
        identity = astuple(sign_in)
    text = repr((type(sign_in).__name__, str(settings.account), *identity))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _reader(sign_in: OAuthSignIn, refresh: Callable[[Any], str] | None) -> Callable[[], str]:
    if refresh is None or sign_in.credentials is None:
        return lambda: sign_in.access_token

    def read() -> str:
        try:
            return refresh(sign_in.credentials)
        except ImportError:  # a DSS that hands over credentials, and has nothing to refresh them by
            return sign_in.access_token

    return read


CONNECTIONS = Connections()
