"""A user's RSA private key, and the assertions signed with it.

Claims: Snowflake documentation, "Key-pair authentication" and "Tutorial: access a public endpoint". PyJWT
and cryptography are imported when a key is read: OAuth and programmatic access tokens do without them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from spcs_llm.errors import SettingsError

_SECONDS = 60  # an assertion is used at once
_ARMOUR = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_SMALLEST_BITS = 2048


class KeyPair:
    """Signs as one user of one account."""

    def __init__(self, account: str, user: str, private_key: str, passphrase: str | None = None) -> None:
        """account: its identifier, as in its URL. private_key: PEM, or the base64 of PKCS#8. Raises SettingsError."""
        self._subject = f"{_account_of_claims(account)}.{user.upper()}"
        self._key = _load(private_key, passphrase)
        self._issuer = f"{self._subject}.SHA256:{_fingerprint(self._key)}"

    def assertion(self, now: float) -> str:
        """A JWT that lasts a minute from `now`, seconds since the epoch."""
        jwt = _import("jwt")
        claims = {"iss": self._issuer, "sub": self._subject, "iat": int(now), "exp": int(now) + _SECONDS}
        return str(jwt.encode(claims, self._key, algorithm="RS256"))


def _account_of_claims(identifier: str) -> str:
    """Without region and cloud, in capitals (Snowflake documentation, "Key-pair authentication")."""
    head = identifier.split("-")[0] if ".global" in identifier else identifier.split(".")[0]
    return head.upper()


def _import(name: str) -> Any:
    try:
        return __import__(name, fromlist=["_"])
    except ImportError:
        raise SettingsError(
            "Signing in by key pair needs the packages PyJWT and cryptography, which are not installed:"
            " build the plugin's code environment in DSS and select it."
        ) from None


def _load(text: str, passphrase: str | None) -> Any:
    serialization = _import("cryptography.hazmat.primitives.serialization")
    rsa = _import("cryptography.hazmat.primitives.asymmetric.rsa")
    kind, der = _unwrap(text)
    if "PUBLIC" in kind or "CERTIFICATE" in kind:
        raise _bad_key(f"is a {kind.lower()}: paste the private half")
    encrypted = "ENCRYPTED" in kind
    if encrypted and not passphrase:
        raise _bad_key("is encrypted: fill in 'Private key passphrase'")
    try:
        key = _read(serialization, kind, der, passphrase)
    except TypeError:
        if passphrase:  # it is not encrypted: the passphrase is of no use, and does no harm
            return _checked(rsa, _read(serialization, kind, der, None))
        raise _bad_key("is encrypted: fill in 'Private key passphrase'") from None
    except ValueError:
        if encrypted or (passphrase and not kind):
            raise SettingsError(
                "'Private key passphrase' of the key pair preset does not open its private key."
            ) from None
        raise _bad_key(
            "is damaged, or no private key: paste all of it, BEGIN and END lines included"
        ) from None
    except Exception as error:  # noqa: BLE001 - cryptography's own kinds, such as UnsupportedAlgorithm
        raise _bad_key(f"cannot be read ({type(error).__name__}): convert it to PKCS#8") from None
    return _checked(rsa, key)


def _read(serialization: Any, kind: str, der: bytes, passphrase: str | None) -> Any:
    secret = passphrase.encode() if passphrase else None
    if kind in ("OPENSSH PRIVATE KEY",):
        raise _bad_key("is in OpenSSH's format: convert it with openssl pkcs8 -topk8")
    return serialization.load_der_private_key(der, password=secret)


def _checked(rsa: Any, key: Any) -> Any:
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _bad_key("is not an RSA key: Snowflake takes RSA keys of 2048 bits or more")
    if key.key_size < _SMALLEST_BITS:
        raise _bad_key(f"has {key.key_size} bits: Snowflake takes RSA keys of 2048 bits or more")
    return key


def _unwrap(text: str) -> tuple[str, bytes]:
    """The kind of key that the armour names (empty without one) and its DER bytes, however the line ends were lost."""
    text = text.replace("\\r", "").replace("\\n", "\n").strip().strip("\"'").strip()
    armour = _ARMOUR.search(text)
    kind, body = (armour.group(1), armour.group(2)) if armour else ("", text)
    if "Proc-Type" in body or "DEK-Info" in body:
        raise _bad_key("is encrypted in an old format: convert it with openssl pkcs8 -topk8")
    if not armour and "-----" in text:
        raise _bad_key("lacks its BEGIN or END line: paste all of it")
    try:
        return kind, base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _bad_key("is no key: paste the PEM file's text, BEGIN and END lines included") from None


def _fingerprint(key: Any) -> str:
    serialization = _import("cryptography.hazmat.primitives.serialization")
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


def _bad_key(problem: str) -> SettingsError:
    return SettingsError(f"'Private key' of the key pair preset {problem}.")
