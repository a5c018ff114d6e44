"""What a Snowflake account knows: users, roles, tokens, sessions and service endpoints.

The account's and the ingresses' servers share one `World`; tests read and change it from their own
thread, hence the lock.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any, Union

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from sandbox.snowflake.catalog import Catalog, Durations, Identity
from sandbox.snowflake.clock import Clock
from sandbox.snowflake.counters import Counters
from sandbox.snowflake.endpoint import Endpoint
from sandbox.snowflake.refusals import Refusal

DAY = 86_400.0
UserKey = Union[RSAPublicKey, EllipticCurvePublicKey]


@dataclass
class Lifetimes:
    """Validity in seconds of what is issued from now on."""

    session: float = 3600
    master: float = 14_400
    oauth_access: float = 600
    oauth_refresh: float = 90 * DAY
    endpoint_token: float = 600
    pat: float = 15 * DAY
    id_token: float = 4 * 3600
    jwt_max: float = 3600


@dataclass
class User:
    """A user; `login_refusal` is a code with which every login is turned away (MFA, lock-out...)."""

    name: str
    roles: set[str]
    default_role: str = "PUBLIC"
    password: str | None = None
    public_keys: dict[str, UserKey] = field(default_factory=dict)
    login_refusal: str | None = None
    default_warehouse: str | None = None
    default_database: str | None = None
    default_schema: str | None = None


@dataclass
class Session:
    id: int
    user: str
    role: str
    app_id: str = ""
    parameters: dict[str, object] = field(default_factory=dict)
    closed: bool = False
    warehouse: str | None = None
    database: str | None = None
    schema: str | None = None
    query_ids: list[str] = field(default_factory=list)

    @property
    def answers_in_arrow(self) -> bool:
        """Connector-made sessions get ARROW results, which the ingress cannot read.

        Source: snowflake-ml-python, `feature_store/online_service_http_client.py`.
        """
        driver = self.app_id.lower().startswith(("pythonconnector", "pythonsnowpark"))
        wanted = str(self.parameters.get("PYTHON_CONNECTOR_QUERY_RESULT_FORMAT", "")).lower()
        return driver and wanted != "json"


@dataclass
class Token:
    """A proof handed out; `kind`: session, master, oauth, oauth_refresh, id, pat or key_pair."""

    text: str
    kind: str
    user: str
    role: str | None
    expires_at: float
    session: Session | None = None
    host: str | None = None
    replaced: bool = False
    revoked: bool = False
    network_allowed: bool = True


class World:
    def __init__(self, account: str = "MYORG-MYACCT", clock: Clock | None = None) -> None:
        self.account = account.upper()
        self.clock = clock or Clock()
        self.lifetimes = Lifetimes()
        self.users: dict[str, User] = {}
        self.oauth_clients: dict[str, str] = {"dss": "dss-secret"}
        self.endpoint_token_is_jwt = True
        self.services: dict[str, Endpoint] = {}
        self.counters = Counters()
        self.lock = threading.RLock()
        organization, _, name = self.account.partition("-")
        self.durations = Durations()
        self.statements_at_once: int | None = None
        self.partition_rows = 2000
        # `tables.Tables`, from the first statement on that needs them: `tables.opening` makes them.
        self.tables: Any = None
        self.catalog = Catalog(self.clock, Identity(organization, name), self.durations)
        self.tokens: dict[str, Token] = {}
        self._session_ids = itertools.count(1_000_001)

    # -- users and what they are given -------------------------------------------------------------

    def add_user(
        self, name: str, *roles: str, default_role: str | None = None, password: str | None = None
    ) -> User:
        held = {*roles, "PUBLIC"}
        user = User(name.upper(), held, default_role or (roles[0] if roles else "PUBLIC"), password)
        with self.lock:
            self.users[user.name] = user
            for role in held:
                self.catalog.grants.add_role(role)
        return user

    def register_public_key(self, user: str, pem: str | bytes) -> str:
        """ALTER USER ... SET RSA_PUBLIC_KEY; returns the fingerprint, `SHA256:<base64>`."""
        key = load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
        if not isinstance(key, (RSAPublicKey, EllipticCurvePublicKey)):
            raise ValueError("only keys of RSA and of elliptic curves are registered here")
        fingerprint = fingerprint_of(key)
        with self.lock:
            self.users[user.upper()].public_keys[fingerprint] = key
        return fingerprint

    def issue(
        self,
        kind: str,
        user: str,
        role: str | None,
        seconds: float,
        *,
        session: Session | None = None,
        host: str | None = None,
        text: str | None = None,
    ) -> Token:
        text = text or f"{kind}-{secrets.token_urlsafe(48)}"
        token = Token(text, kind, user.upper(), role, self.clock() + seconds, session, host)
        with self.lock:
            self.tokens[text] = token
        return token

    def issue_oauth(self, user: str, role: str | None = None) -> Token:
        holder = self.user(user)
        return self.issue("oauth", user, role or holder.default_role, self.lifetimes.oauth_access)

    def issue_pat(
        self,
        user: str,
        role: str | None = None,
        *,
        seconds: float | None = None,
        network_allowed: bool = True,
    ) -> Token:
        life = self.lifetimes.pat if seconds is None else seconds
        token = self.issue("pat", user, role or self.user(user).default_role, life)
        token.network_allowed = network_allowed
        return token

    # -- sessions ----------------------------------------------------------------------------------

    def open_session(
        self, user: User, role: str, app_id: str = "", parameters: dict[str, object] | None = None
    ) -> tuple[Session, Token, Token]:
        session = Session(next(self._session_ids), user.name, role, app_id, parameters or {})
        return (session, *self.session_tokens(session))

    def session_tokens(self, session: Session) -> tuple[Token, Token]:
        return self.session_token(session), self._session_part("master", session, self.lifetimes.master)

    def session_token(self, session: Session) -> Token:
        return self._session_part("session", session, self.lifetimes.session)

    def _session_part(self, kind: str, session: Session, seconds: float) -> Token:
        mark = {"session": "ETMsDgAAA", "master": "ETMsDgBBB"}[kind]
        text = f"ver:1-hint:{session.id}-{mark}{secrets.token_urlsafe(60)}"
        return self.issue(kind, session.user, session.role, seconds, session=session, text=text)

    def renew(self, master_text: str | None, old_session_text: object) -> tuple[Session, Token, Token]:
        """Swap a master token for a new pair; the pair it came from is dead afterwards."""
        with self.lock:
            master = self.live_master(master_text)
            old = self.tokens.get(str(old_session_text))
            if old is None or old.kind != "session" or old.session is not master.session:
                raise Refusal("390400", "The old session token does not belong to the master token.")
            assert master.session is not None
            pair = self.session_tokens(master.session)
            master.replaced = old.replaced = True
            return (master.session, *pair)

    def live_master(self, text: str | None) -> Token:
        if not text or text == "None":
            raise Refusal("390113")
        token = self.tokens.get(text)
        if token is None:
            raise Refusal("390113")
        if token.kind != "master" or token.replaced:
            raise Refusal("390115")
        if token.session is None or token.session.closed:
            raise Refusal("390111")
        if self.expired(token):
            raise Refusal("390114")
        return token

    def live_session(self, text: str | None) -> Token:
        """The session token of a call on the account itself (query, heartbeat, logout)."""
        if text is None:
            raise Refusal("390101")
        if text in ("", "None"):
            raise Refusal("390103")
        token = self.tokens.get(text)
        if token is None or token.kind != "session" or token.session is None:
            raise Refusal("390104")
        if token.session.closed:
            raise Refusal("390111")
        if token.replaced or self.expired(token):
            raise Refusal("390112")
        return token

    # -- look-ups ----------------------------------------------------------------------------------

    def expired(self, token: Token) -> bool:
        return self.clock() >= token.expires_at

    def alive(self, token: Token) -> bool:
        closed = token.session is not None and token.session.closed
        return not (token.revoked or token.replaced or closed or self.expired(token))

    def user(self, name: str) -> User:
        return self.users[name.upper()]

    def revoke(self, text: str) -> None:
        with self.lock:
            self.tokens[text].revoked = True

    def expire(self, text: str) -> None:
        with self.lock:
            self.tokens[text].expires_at = self.clock()

    def expire_all(self, kind: str) -> None:
        with self.lock:
            for token in self.tokens.values():
                if token.kind == kind:
                    token.expires_at = min(token.expires_at, self.clock())


def fingerprint_of(key: UserKey) -> str:
    """`SHA256:` and the base64 of the SHA-256 over the key's DER SubjectPublicKeyInfo."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()
