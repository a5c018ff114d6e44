"""Whether the ingress lets a caller in, and what it says when not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sandbox.snowflake import gateway
from sandbox.snowflake.endpoint import Endpoint
from sandbox.snowflake.reply import Reply
from sandbox.snowflake.world import Token, World

CREDENTIAL = re.compile(r'^Snowflake Token="(?P<token>[^"]+)"$')


class Denied(Exception):
    """The call goes no further; `reply` is what the caller gets."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def admit(world: World, endpoint: Endpoint, headers: Mapping[str, str], sign_in_url: str) -> str:
    """The user who calls; raises `Denied`."""
    token = _token(world, headers)
    if token is None or token.kind not in endpoint.accepts or not _usable(endpoint, token, headers):
        raise Denied(_unauthenticated(endpoint, sign_in_url))
    if not world.alive(token):
        raise Denied(_dead(endpoint, token, sign_in_url))
    if token.kind == "pat" and not token.network_allowed:
        raise Denied(_or_hidden(endpoint, gateway.network_policy()))
    if token.kind == "key_pair" and token.host != endpoint.host:
        raise Denied(_or_hidden(endpoint, gateway.stale_host(token.host or "")))
    if endpoint.roles is not None and token.role not in endpoint.roles:
        raise Denied(_or_hidden(endpoint, gateway.stale_host(endpoint.host)))
    if token.session is not None and token.session.answers_in_arrow:
        raise Denied(gateway.arrow())
    return token.user


def _token(world: World, headers: Mapping[str, str]) -> Token | None:
    for name in ("x-sf-spcs-authorization", "authorization"):
        found = CREDENTIAL.match(headers.get(name, ""))
        if found:
            return world.tokens.get(found["token"])
    return None


def _usable(endpoint: Endpoint, token: Token, headers: Mapping[str, str]) -> bool:
    if token.kind == "oauth":
        return headers.get("x-sf-spcs-authentication-method", "").upper() == "OAUTH"
    return True


def _dead(endpoint: Endpoint, token: Token, sign_in_url: str) -> Reply:
    if token.kind != "pat" or endpoint.unauthenticated == "404":
        return _unauthenticated(endpoint, sign_in_url)
    why = "is revoked" if token.revoked else "has expired"
    return gateway.gateway_json(401, "ERROR_INVALID_TOKEN", f"Programmatic access token {why}.")


def _unauthenticated(endpoint: Endpoint, sign_in_url: str) -> Reply:
    if endpoint.unauthenticated == "redirect":
        return gateway.sign_in_redirect(sign_in_url)
    if endpoint.unauthenticated == "404":
        return gateway.not_found()
    status = int(endpoint.unauthenticated)
    return gateway.gateway_json(status, "ERROR_INVALID_TOKEN", "The token is missing, invalid or expired.")


def _or_hidden(endpoint: Endpoint, reply: Reply) -> Reply:
    return gateway.not_found() if endpoint.unauthenticated == "404" else reply
