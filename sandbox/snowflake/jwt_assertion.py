"""Key-pair proof: a JWT that a user signed, checked claim by claim.

Claims: Snowflake docs, SPCS tutorial 8 and key-pair authentication. `iss` is
ACCOUNT.USER.SHA256:<fingerprint>, `sub` is ACCOUNT.USER, both upper-cased.
"""

from __future__ import annotations

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.world import User, World

CLOCK_SKEW_SECONDS = 60
_ALGORITHMS_OF_CURVES = ["ES256", "ES384", "ES512"]


def user_of(world: World, assertion: str, *, unknown: str = "394300") -> User:
    """The user who signed; raises `Refusal` with the code of the first check that fails."""
    claims = _unverified(assertion)
    account_and_user, _, fingerprint = str(claims.get("iss", "")).partition(".SHA256:")
    account, _, name = account_and_user.rpartition(".")
    if not fingerprint or claims.get("sub") != account_and_user:
        raise Refusal("394300")
    user = world.users.get(name)
    if user is None or not user.public_keys:
        raise Refusal(unknown)
    key = user.public_keys.get(f"SHA256:{fingerprint}")
    if account != world.account or key is None:
        raise Refusal("394304")
    try:
        algorithms = ["RS256"] if isinstance(key, RSAPublicKey) else _ALGORITHMS_OF_CURVES
        jwt.decode(assertion, key, algorithms, options={"verify_exp": False, "verify_iat": False})
    except jwt.InvalidTokenError as error:
        raise Refusal(unknown) from error
    _check_times(world, claims)
    return user


def _unverified(assertion: str) -> dict[str, object]:
    try:
        if jwt.get_unverified_header(assertion).get("alg") not in ("RS256", *_ALGORITHMS_OF_CURVES):
            raise Refusal("394305")
        unchecked = {"verify_signature": False, "verify_exp": False, "verify_iat": False, "verify_sub": False}
        return dict(jwt.decode(assertion, options=unchecked))  # type: ignore[arg-type]
    except jwt.InvalidTokenError as error:
        raise Refusal("394306") from error


def _check_times(world: World, claims: dict[str, object]) -> None:
    issued, expires, now = claims.get("iat"), claims.get("exp"), world.clock()
    if not isinstance(issued, (int, float)) or not isinstance(expires, (int, float)):
        raise Refusal("394303")
    if issued > now + CLOCK_SKEW_SECONDS:
        raise Refusal("394302")
    if expires - issued > world.lifetimes.jwt_max or expires <= issued:
        raise Refusal("394303")
    if now >= expires + 1:
        raise Refusal("394301")
