"""Who calls the SQL API: a bearer token of one of the kinds that it takes.

Snowflake docs, SQL API, authenticating to the server. The header X-Snowflake-Authorization-Token-Type may be left out;
then the kind is recognised. Whether a session token of a login is taken is not documented; here it is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request

from sandbox.snowflake.jwt_assertion import user_of
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.world import Token, User, World

Caller = tuple[User, "str | None"]


def caller_of(world: World, request: Request) -> Caller:
    """The user, and the role that the token is bound to; raises `Refusal`."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Refusal("390101")
    token = text.strip()
    named = request.headers.get("x-snowflake-authorization-token-type", "").upper()
    way = WAYS.get(named or _recognised(world, token))
    if way is None:
        raise Refusal("390100", f"Authorization token type {named} is not supported for this account.")
    user, role = way(world, token)
    if user.login_refusal:
        raise Refusal(user.login_refusal)
    return user, role


def _recognised(world: World, token: str) -> str:
    known = world.tokens.get(token)
    if known is not None and known.kind == "pat":
        return "PROGRAMMATIC_ACCESS_TOKEN"
    return "KEYPAIR_JWT" if known is None and token.count(".") == 2 else "OAUTH"


def _oauth(world: World, text: str) -> Caller:
    return _holder(world, text, "oauth", unknown="390303", expired="390318")


def _pat(world: World, text: str) -> Caller:
    token = world.tokens.get(text)
    if token is not None and token.kind == "pat" and not token.network_allowed:
        raise Refusal("394400", "Programmatic access token: network policy is required.")
    return _holder(world, text, "pat", unknown="394400", expired="394400")


def _jwt(world: World, text: str) -> Caller:
    try:
        return user_of(world, text, unknown="390144"), None
    except Refusal as refusal:
        # One code for every reason, as the documentation of the SQL API has it.
        raise Refusal("390144") from refusal


def _holder(world: World, text: str, kind: str, *, unknown: str, expired: str) -> Caller:
    token: Token | None = world.tokens.get(text)
    if token is None or token.kind != kind or token.revoked:
        raise Refusal(unknown)
    if world.expired(token):
        raise Refusal(expired)
    return world.users[token.user], token.role


WAYS: dict[str, Callable[[World, str], Caller]] = {
    "OAUTH": _oauth,
    "KEYPAIR_JWT": _jwt,
    "PROGRAMMATIC_ACCESS_TOKEN": _pat,
}
