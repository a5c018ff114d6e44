"""Who may open a session: one function per AUTHENTICATOR of a login request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.snowflake.jwt_assertion import user_of
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.world import Token, User, World

Found = tuple[User, "str | None"]


def authenticate(world: World, data: Mapping[str, Any], query: Mapping[str, str]) -> tuple[User, str]:
    """The user and the role a session is opened for; raises `Refusal`."""
    method = str(data.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
    way = WAYS.get(method)
    if way is None:
        raise Refusal("390100", f"Authenticator {method} is not supported for this account.")
    user, granted_role = way(world, data)
    if user.login_refusal:
        raise Refusal(user.login_refusal)
    named = str(data.get("LOGIN_NAME") or "")
    if named and named.upper() != user.name and method != "SNOWFLAKE":
        raise Refusal("390100", "The user you were trying to authenticate as differs from the token's user.")
    return user, _role(user, granted_role, query.get("roleName") or None)


def _role(user: User, granted: str | None, asked: str | None) -> str:
    if asked is None:
        return granted or user.default_role
    role = asked.strip('"') if asked.startswith('"') else asked.upper()
    if granted is not None and role != granted:
        raise Refusal("390317")
    if role not in user.roles:
        raise Refusal(
            "390189", f"Role '{role}' specified in the connect string does not exist or not authorized."
        )
    return role


def _oauth(world: World, data: Mapping[str, Any]) -> Found:
    token = _token(world, data, "oauth", unknown="390303", expired="390318")
    return world.users[token.user], token.role


def _id_token(world: World, data: Mapping[str, Any]) -> Found:
    token = _token(world, data, "id", unknown="390195", expired="390110")
    return world.users[token.user], token.role


def _pat(world: World, data: Mapping[str, Any]) -> Found:
    # Connectors send a PAT as TOKEN; some send it as PASSWORD.
    text = data.get("TOKEN") or data.get("PASSWORD")
    token = _token(world, {"TOKEN": text}, "pat", unknown="394400", expired="394400")
    if not token.network_allowed:
        raise Refusal("394400", "Programmatic access token: network policy is required.")
    return world.users[token.user], token.role


def _jwt(world: World, data: Mapping[str, Any]) -> Found:
    return user_of(world, str(data.get("TOKEN") or ""), unknown="390144"), None


def _password(world: World, data: Mapping[str, Any]) -> Found:
    """A programmatic access token may stand instead of the password (Snowflake docs, programmatic access tokens)."""
    token = world.tokens.get(str(data.get("PASSWORD") or ""))
    if token is not None and token.kind == "pat":
        if token.user != str(data.get("LOGIN_NAME") or "").upper():
            raise Refusal("390100")
        return _pat(world, {"TOKEN": token.text})
    user = world.users.get(str(data.get("LOGIN_NAME") or "").upper())
    if user is None or user.password is None or user.password != data.get("PASSWORD"):
        raise Refusal("390100")
    return user, None


def _token(world: World, data: Mapping[str, Any], kind: str, *, unknown: str, expired: str) -> Token:
    token = world.tokens.get(str(data.get("TOKEN") or ""))
    if token is None or token.kind != kind or token.revoked:
        raise Refusal(unknown)
    if world.expired(token):
        raise Refusal(expired)
    return token


WAYS: dict[str, Callable[[World, Mapping[str, Any]], Found]] = {
    "OAUTH": _oauth,
    "SNOWFLAKE_JWT": _jwt,
    "PROGRAMMATIC_ACCESS_TOKEN": _pat,
    "ID_TOKEN": _id_token,
    "SNOWFLAKE": _password,
    "USERNAME_PASSWORD_MFA": _password,
}
