"""Tokens by OAuth forms: the key-pair exchange for one endpoint, and Snowflake OAuth's own grants."""

from __future__ import annotations

import base64
import binascii
import secrets
from urllib.parse import parse_qs

import jwt

from sandbox.snowflake.jwt_assertion import user_of
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.world import Token, World

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def endpoint_token(world: World, body: bytes, content_type: str) -> Token:
    """`POST /oauth/token`: a signed assertion for a token bound to one endpoint host and one role."""
    form = _form(body)
    if "application/x-www-form-urlencoded" not in content_type or form.get("grant_type") != JWT_BEARER:
        raise Refusal("390400", "Unsupported grant type.")
    user = user_of(world, form.get("assertion", ""))
    if user.login_refusal:
        raise Refusal(user.login_refusal)
    role, host = _role_and_host(form.get("scope", ""))
    if host not in {endpoint.host for endpoint in world.services.values()}:
        raise Refusal("390400", f"Could not find the service associated with endpoint {host or '(none)'}.")
    if role is not None and role not in user.roles:
        raise Refusal("390186", f"Role {role} is not granted to this user.")
    role = role or user.default_role
    life = world.lifetimes.endpoint_token
    text = _as_jwt(world, user.name, role, host, life) if world.endpoint_token_is_jwt else None
    return world.issue("key_pair", user.name, role, life, host=host, text=text)


def _role_and_host(scope: str) -> tuple[str | None, str]:
    parts = scope.split()
    roles = [p.removeprefix("session:role:") for p in parts if p.startswith("session:role:")]
    hosts = [p for p in parts if not p.startswith("session:role:")]
    return (roles[0] if roles else None), (hosts[0] if len(hosts) == 1 else "")


def _as_jwt(world: World, user: str, role: str, host: str, life: float) -> str:
    claims = {"sub": user, "scp": f"session:role:{role}", "aud": host, "exp": int(world.clock() + life)}
    return jwt.encode({**claims, "jti": secrets.token_hex(8)}, secrets.token_bytes(32), algorithm="HS256")


def client_of(world: World, authorization: str) -> str | None:
    """The OAuth client that HTTP Basic names, or None when it is not one of ours."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    known = scheme.lower() == "basic" and name in world.oauth_clients and world.oauth_clients[name] == secret
    return name if known else None


def grant_tokens(world: World, body: bytes) -> dict[str, object]:
    """`POST /oauth/token-request` with a refresh token; codes of the OAuth standard."""
    form = _form(body)
    if form.get("grant_type") != "refresh_token":
        raise Refusal("unsupported_grant_type", "Only the refresh_token grant is served here.")
    refresh = world.tokens.get(form.get("refresh_token", ""))
    if refresh is None or refresh.kind != "oauth_refresh" or not world.alive(refresh):
        raise Refusal("invalid_grant", "The refresh token is invalid or has expired.")
    access = world.issue_oauth(refresh.user, refresh.role)
    return {
        "access_token": access.text,
        "token_type": "Bearer",
        "expires_in": int(world.lifetimes.oauth_access),
        "username": refresh.user,
        "scope": f"refresh_token session:role:{refresh.role}",
    }


def _form(body: bytes) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
    except ValueError:
        return {}
