"""What the model instances of a process share: the only global state there is.

DSS makes an instance for each model and user, and calls it from many threads. Each kind of shared object is found by
the group of settings that makes it what it is, whole: a new setting in a group is part of its key.

    object                          one for each
    the endpoint's state            URL
    the client of an account        URL
    the credential and its tokens   CredentialSettings
    the client of the endpoint      credential and EndpointSettings
    the service protocol            client of the endpoint and ProtocolSettings
"""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from spcs_llm.batching import Batcher
from spcs_llm.cost import BusyMeter
from spcs_llm.errors import SettingsError, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.retry import RetryBudget, RetryPolicy
from spcs_llm.http.token_source import NoToken, TokenSource
from spcs_llm.http.transport import Transport
from spcs_llm.protocol_choices import AUTOMATIC
from spcs_llm.protocols.base import ServiceProtocol
from spcs_llm.protocols.missing_paths import NO_SUCH_PATH, names_its_reason
from spcs_llm.protocols.registry import protocol_for
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import (
    CredentialSettings,
    EndpointSettings,
    KeyPairSignIn,
    NoSignIn,
    OAuthSignIn,
    ProtocolSettings,
    Settings,
    TokenSignIn,
)
from spcs_llm.sharing.shared_objects import SharedObjects
from spcs_llm.snowflake.account import Account, authorization
from spcs_llm.snowflake.ingress import IngressErrors
from spcs_llm.snowflake.key_pair import KeyPair
from spcs_llm.snowflake.login_errors import SignInKind
from spcs_llm.snowflake.sign_in import FixedToken, KeyPairLogin, OAuthLogin, WithServiceKey
from spcs_llm.snowflake.token_cache import TokenCache
from spcs_llm.urls import BaseUrl

_MAX_KEPT = 256
_HAS_PATH = (
    "'LLM endpoint URL' has a path, which is put before that of each request: remove it unless the service is"
    " there."
)
_numbers = itertools.count(1)

ReadToken = Callable[[Any], str]


class EndpointState:
    """What is one per endpoint, whoever calls it.

    While anybody uses it there is no other: two limits would be none.

    Attributes:
        transport: The connections to the host.
        limiter: Limits the requests in flight.
        meter: Measures the time in which the service is busy.
        budget: Limits the retries of an outage.

    Args:
        url: The endpoint's URL.
        transport: Makes the connections.
    """

    def __init__(self, url: BaseUrl, transport: type[Transport] = Transport) -> None:
        self.transport = transport(url, 1)
        self.limiter = Limiter()
        self.meter = BusyMeter()
        self.budget = RetryBudget()
        self._is_set = False
        weakref.finalize(self, self.transport.close).atexit = False

    def allow(self, parallelism: int, *, is_set: bool) -> None:
        """Sets how many requests may be in flight from now on.

        The model configured last decides for all of the endpoint.

        Args:
            parallelism: The number of requests.
            is_set: Whether a person set the number. One that only suits the protocol takes no such number's place.
        """
        if (is_set, parallelism) == (self._is_set, self.limiter.limit):
            return
        if is_set or not self._is_set:
            self._is_set = is_set
            self.limiter.resize(parallelism)
            self.transport.grow(parallelism)


class Credential:
    """A user's way into an account, and the tokens that came of it.

    Attributes:
        kind: How the user signs in.
        id: Stands for the credential in a process, and says nothing about it.

    Args:
        kind: How the user signs in.
        tokens_at: Makes the token source for a host.
        one_for_all: Whether its tokens are good for every host.
    """

    def __init__(
        self, kind: SignInKind, tokens_at: Callable[[str], TokenSource], *, one_for_all: bool
    ) -> None:
        self.kind = kind
        self.id = f"credential-{next(_numbers)}"
        self._tokens_at = tokens_at
        self._one_for_all = one_for_all
        self._tokens: SharedObjects[str, TokenSource] = SharedObjects(_MAX_KEPT)

    def tokens_for(self, host: str) -> TokenSource:
        """The token source for a host.

        Args:
            host: The endpoint's host, with its port if it has one.

        Returns:
            The token source, which all that use the credential share.
        """
        return self._tokens.get("" if self._one_for_all else host, lambda: self._tokens_at(host))


class EndpointClient:
    """One credential's client of one endpoint, and its batcher.

    Attributes:
        state: What all clients of the endpoint share.
        credential: Whose requests these are.
        url: The endpoint's URL.
        endpoint: Sends the requests.
        batcher: Joins the rows of several queries into one request.

    Args:
        state: What all clients of the endpoint share.
        credential: Whose requests these are.
        settings: The endpoint's.
    """

    def __init__(self, state: EndpointState, credential: Credential, settings: EndpointSettings) -> None:
        self.state = state
        self.credential = credential
        self.url = settings.url
        tokens = credential.tokens_for(settings.url.netloc)
        if settings.service_api_key is not None:
            tokens = WithServiceKey(tokens, settings.service_api_key)
        self.endpoint = Endpoint(
            state.transport,
            tokens,
            IngressErrors(credential.kind, service_key=settings.service_api_key is not None),
            limiter=state.limiter,
            meter=state.meter,
            budget=state.budget,
            retry=RetryPolicy(cold_start=settings.cold_start_wait),
            idle_seconds=settings.request_timeout,
        )
        self.batcher = Batcher(state.limiter)


@dataclass(frozen=True)
class Connection:
    """What a model asks its service by. As long as the model lives, so does all that is in it.

    Attributes:
        client: The credential's client of the endpoint.
        protocol: The protocol that the settings name.
        protocol_name: Its name, in `protocol_choices.PROTOCOLS`.
        max_parallelism: Requests in flight, as a person set them; None leaves it to the protocol.
        automatic: Makes the protocol *Automatic* for the same endpoint.
    """

    client: EndpointClient = field(repr=False)
    protocol: ServiceProtocol
    protocol_name: str
    max_parallelism: int | None
    automatic: Callable[[], ServiceProtocol] = field(repr=False, compare=False)

    @property
    def parallelism(self) -> int:
        """Requests in flight that this model asks for: as set, or what suits its protocol."""
        return self.max_parallelism or self.protocol.known.capabilities.parallelism

    def resolved(self, context: QueryContext) -> ServiceProtocol:
        """What is spoken to the service, which *Automatic* asks it with the first query.

        Args:
            context: The query that needs to know.

        Returns:
            The protocol.

        Raises:
            SpcsError: If the service cannot be asked, or does not show what it speaks.
        """
        protocol = self.protocol.resolved(context)
        if self.max_parallelism is None and protocol is not self.protocol:
            self.client.state.allow(protocol.capabilities.parallelism, is_set=False)
        return protocol

    def explained(self, error: SpcsError, kind: str, context: QueryContext) -> SpcsError:
        """Looks for what is behind an error: the service may speak or be something else than is asked of it.

        Args:
            error: The error of a query.
            kind: The kind of the query, as in `ServiceProtocol.paths`.
            context: The query.

        Returns:
            A better error, or `error` itself if there is none.
        """
        if error.status not in NO_SUCH_PATH or names_its_reason(error):
            return error
        explained = self.automatic().explained(error, kind, self.protocol_name, context)
        if explained is error:
            name_path(error, self.client.url)
        return explained

    @property
    def batcher(self) -> Batcher:
        return self.client.batcher

    @property
    def credential_id(self) -> str:
        return self.client.credential.id


def name_path(error: SpcsError, url: BaseUrl) -> None:
    """Puts in the hint of an error about a missing path that the endpoint's URL has one, which may be why.

    Args:
        error: The error, whose hint is changed in place, once.
        url: The endpoint's URL.
    """
    if url.path and _HAS_PATH not in error.hint:
        error.hint = f"{_HAS_PATH} {error.hint}".rstrip()


@dataclass(frozen=True)
class _ClientKey:
    credential: Credential
    settings: EndpointSettings


@dataclass(frozen=True)
class _ProtocolKey:
    client: EndpointClient
    settings: ProtocolSettings


class Connections:
    """Hands out connections that share what can be shared. Thread-safe.

    Args:
        kept: How many shared objects of each kind are kept whether they are used or not.
        transport: Makes the connections to endpoints and accounts: a class that also looks at what passes, or
            `Transport` itself.
    """

    def __init__(self, kept: int = _MAX_KEPT, transport: type[Transport] = Transport) -> None:
        self._transport = transport
        self._states: SharedObjects[BaseUrl, EndpointState] = SharedObjects(kept)
        self._accounts: SharedObjects[BaseUrl, Account] = SharedObjects(kept)
        self._credentials: SharedObjects[CredentialSettings, Credential] = SharedObjects(kept)
        self._clients: SharedObjects[_ClientKey, EndpointClient] = SharedObjects(kept)
        self._protocols: SharedObjects[_ProtocolKey, ServiceProtocol] = SharedObjects(kept)

    def connect(self, settings: Settings, refresh: ReadToken | None = None) -> Connection:
        """The connection for these settings. The latest `max_parallelism` of an endpoint is in force.

        Args:
            settings: A model's.
            refresh: Reads a current access token off what DSS gives under `__credentials` (DSS 14.5 and later).

        Returns:
            The connection. It shares with others what it has in common with them.

        Raises:
            SettingsError: If the private key or the chat template cannot be used.
            NetworkError: If the proxy or the CA bundle that the environment names cannot be used.
        """
        url = settings.endpoint.url
        state = self._states.get(url, lambda: EndpointState(url, self._transport))
        credential = self._credential(settings.credential, refresh)
        client = self._clients.get(
            _ClientKey(credential, settings.endpoint),
            lambda: EndpointClient(state, credential, settings.endpoint),
        )
        protocol = self._protocol(client, settings.protocol)
        automatic = replace(settings.protocol, name=AUTOMATIC)
        connection = Connection(
            client,
            protocol,
            settings.protocol.name,
            settings.max_parallelism,
            lambda: self._protocol(client, automatic),
        )
        client.state.allow(connection.parallelism, is_set=settings.max_parallelism is not None)
        return connection

    def _protocol(self, client: EndpointClient, settings: ProtocolSettings) -> ServiceProtocol:
        key = _ProtocolKey(client, settings)
        return self._protocols.get(key, lambda: protocol_for(settings, client.endpoint))

    def _credential(self, settings: CredentialSettings, refresh: ReadToken | None) -> Credential:
        settings = _with_token(settings, refresh)
        if isinstance(settings.sign_in, OAuthSignIn) and not settings.sign_in.access_token:
            # Whose it is nobody can tell before it gives a token: it is shared with none.
            return self._new_credential(settings, refresh)
        return self._credentials.get(settings, lambda: self._new_credential(settings, refresh))

    def _new_credential(self, settings: CredentialSettings, refresh: ReadToken | None) -> Credential:
        sign_in = settings.sign_in
        if isinstance(sign_in, TokenSignIn):
            fixed = FixedToken(authorization(sign_in.token))
            return Credential(SignInKind.TOKEN, lambda host: fixed, one_for_all=True)
        if isinstance(sign_in, NoSignIn):
            return Credential(SignInKind.NONE, lambda host: NoToken(), one_for_all=True)
        account_url = settings.account
        if account_url is None:
            raise SettingsError("'Snowflake account URL' is empty.")
        account = self._accounts.get(account_url, lambda: Account.at(account_url, self._transport))
        if isinstance(sign_in, KeyPairSignIn):
            return _key_pair_credential(sign_in, account, account_url)
        return self._oauth_credential(settings, sign_in, account, refresh)

    def _oauth_credential(
        self, settings: CredentialSettings, sign_in: OAuthSignIn, account: Account, refresh: ReadToken | None
    ) -> Credential:
        """A later access token that its session has signed in with stands for the same credential from then on."""

        def signed_in(access_token: str) -> None:
            known = credential_ref()
            if known is not None:
                self._credentials.put(replace(settings, sign_in=OAuthSignIn(access_token)), known)

        session = TokenCache(OAuthLogin(account, token_reader(sign_in, refresh), signed_in=signed_in))
        credential = Credential(SignInKind.OAUTH, lambda host: session, one_for_all=True)
        credential_ref = weakref.ref(credential)
        return credential


def _key_pair_credential(sign_in: KeyPairSignIn, account: Account, account_url: BaseUrl) -> Credential:
    key_pair = key_pair_of(sign_in, account_url)
    return Credential(
        SignInKind.KEY_PAIR,
        lambda host: TokenCache(KeyPairLogin(account, key_pair, host, sign_in.role)),
        one_for_all=False,
    )


def key_pair_of(sign_in: KeyPairSignIn, account_url: BaseUrl) -> KeyPair:
    """The key pair of a sign-in.

    Args:
        sign_in: The user and the private key.
        account_url: The account, which names the user's account if the sign-in does not.

    Returns:
        The key pair.

    Raises:
        SettingsError: If the private key cannot be used.
    """
    return KeyPair(
        sign_in.account_identifier or account_url.host.split(".snowflakecomputing.")[0],
        sign_in.user,
        sign_in.private_key,
        sign_in.passphrase,
    )


def _with_token(settings: CredentialSettings, refresh: ReadToken | None) -> CredentialSettings:
    """Reads the access token where DSS gives only what it is refreshed by.

    A credential is known by its token. What DSS refreshes it by is opaque, and may look the same for two users.

    Args:
        settings: A credential's.
        refresh: Reads a current access token off what DSS gives.

    Returns:
        The settings with the token, or as they are if it cannot be read.
    """
    sign_in = settings.sign_in
    if not isinstance(sign_in, OAuthSignIn) or sign_in.access_token:
        return settings
    try:
        token: Any = token_reader(sign_in, refresh)()
    except Exception:  # noqa: BLE001 - DSS's own code; each query tries again, and tells the reason
        return settings
    if not isinstance(token, str):
        return settings
    return replace(settings, sign_in=replace(sign_in, access_token=token.strip()))


def token_reader(sign_in: OAuthSignIn, refresh: ReadToken | None) -> Callable[[], str]:
    """What reads a user's current access token.

    Args:
        sign_in: The user's sign-in.
        refresh: Reads a current access token off what DSS gives (14.5 and later).

    Returns:
        A function that reads it.
    """
    if refresh is None or sign_in.credentials is None:
        return lambda: sign_in.access_token

    def read() -> str:
        try:
            return refresh(sign_in.credentials)
        except ImportError:  # a DSS that hands over credentials, and has nothing to refresh them by
            return sign_in.access_token

    return read


CONNECTIONS = Connections()
