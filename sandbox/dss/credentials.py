"""Presets, and the credentials each user of DSS has entered for them under Profile > Credentials."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union


class MissingCredentialError(Exception):
    """The user has not signed in to the preset."""


@dataclass(frozen=True)
class OAuthToken:
    """What an identity provider gave. `expires_at` in seconds on the clock of the Dss, None for never."""

    access_token: str = field(repr=False)
    expires_at: float | None = None
    id_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Preset:
    """The name of a preset: unique within its parameter set."""

    plugin_id: str
    parameter_set: str
    name: str


# A value, or what gives one each time it is asked. BASIC is {"user": ..., "password": ...}.
Credential = Union[str, OAuthToken, Mapping[str, str]]
CredentialSource = Union[Credential, Callable[[], Credential]]


class OAuthSignIn:
    """One user's sign-in to one field of one preset, kept fresh as DSS keeps it.

    A callable stands for the refresh: it is called when the token has expired, and every time when it
    gives plain text, whose life is unknown.
    """

    def __init__(self, source: CredentialSource, clock: Callable[[], float]) -> None:
        self.handle = uuid.uuid4().hex
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._token: OAuthToken | None = None

    def current(self) -> OAuthToken:
        """A token that is valid now. Raises MissingCredentialError when it has expired permanently."""
        with self._lock:
            if self._token is None or self._expired(self._token):
                token = self._ask()
                if self._expired(token):
                    raise MissingCredentialError(
                        "the sign-in has expired: sign in again, Profile > Credentials"
                    )
                if not isinstance(token, OAuthToken):
                    return OAuthToken(token)
                self._token = token
            return self._token

    def _ask(self) -> Any:
        return self._source() if callable(self._source) else self._source

    def _expired(self, token: Any) -> bool:
        end = getattr(token, "expires_at", None)
        return end is not None and end <= self._clock()


class CredentialStore:
    """Credentials per (user, preset, field)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._plain: dict[tuple[str, Preset, str], CredentialSource] = {}
        self._sign_ins: dict[tuple[str, Preset, str], OAuthSignIn] = {}
        self._by_handle: dict[str, OAuthSignIn] = {}

    def put(self, user: str, preset: Preset, field_name: str, kind: str, source: CredentialSource) -> None:
        key = (user, preset, field_name)
        if kind == "OAUTH2":
            sign_in = OAuthSignIn(source, self._clock)
            if key in self._sign_ins:
                # A kernel that holds the older handle finds the newer sign-in, as it does in DSS.
                sign_in.handle = self._sign_ins[key].handle
            self._sign_ins[key] = self._by_handle[sign_in.handle] = sign_in
        else:
            self._plain[key] = source

    def plain(self, user: str, preset: Preset, field_name: str, kind: str) -> Any:
        """The text of SINGLE_FIELD, the user and password of BASIC."""
        try:
            source = self._plain[user, preset, field_name]
        except KeyError:
            raise _missing(user, preset, field_name) from None
        value = source() if callable(source) else source
        if kind == "BASIC":
            assert isinstance(value, Mapping) and {"user", "password"} <= value.keys(), "BASIC is a pair"
            return {"user": value["user"], "password": value["password"]}
        assert isinstance(value, str), f"{kind} is text"
        return value

    def sign_in(self, user: str, preset: Preset, field_name: str) -> OAuthSignIn:
        try:
            return self._sign_ins[user, preset, field_name]
        except KeyError:
            raise _missing(user, preset, field_name) from None

    def fetch(self, handle: str) -> dict[str, Any]:
        """What `dataiku.core.plugin.OAuthCredentials` asks for."""
        token = self._by_handle[handle].current()
        return {"accessToken": token.access_token, "idToken": token.id_token}


def _missing(user: str, preset: Preset, field_name: str) -> MissingCredentialError:
    return MissingCredentialError(
        f"user {user} has no credential {field_name} for the preset {preset.name} of "
        f"{preset.parameter_set}: sign in under Profile > Credentials"
    )
