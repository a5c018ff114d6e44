"""A user's private key, and the assertions signed with it.

Claims and kinds of keys: Snowflake documentation, "Key-pair authentication" and "Tutorial: access a public endpoint";
the algorithm of each curve: snowflake-connector-python 4.8.1, `auth/keypair.py`. PyJWT
and cryptography are imported when a key is read: OAuth and programmatic access tokens do without them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import re
from typing import Any

from spcs_llm.errors import SettingsError
from spcs_llm.urls import hyphenated, is_snowsight

ASSERTION_SECONDS = 180  # so that it outlasts a retry or two
_SMALLEST_BITS = 2048
_ALGORITHM_OF_RSA = "RS256"
_ALGORITHMS_OF_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_TAKEN = f"Snowflake takes RSA keys of {_SMALLEST_BITS} bits or more, and keys of the curves P-256, P-384 and P-521"
_ARMOUR = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_ALPHABET_OF_URLS = str.maketrans("-_", "+/")
_CONVERT = "convert it: openssl pkcs8 -topk8 -in <file>"
_PASTE_ALL = "paste all of the PEM file, BEGIN and END lines included"


class KeyPair:
    """Signs as one user of one account.

    Args:
        account: The account's identifier, as in its URL.
        user: The user's name in Snowflake.
        private_key: PEM, or the base64 of it or of PKCS#8.
        passphrase: Of an encrypted key.

    Raises:
        SettingsError: If the key cannot be read or is too weak, or the identifier is not that of an account.
    """

    def __init__(self, account: str, user: str, private_key: str, passphrase: str | None = None) -> None:
        self._subject = f"{_account_of_claims(account)}.{_user_of_claims(user)}"
        self._key = _load(private_key, passphrase)
        self._algorithm = _algorithm_of(self._key)
        self._issuer = f"{self._subject}.SHA256:{_fingerprint(self._key)}"

    def assertion(self, now: float) -> str:
        """A JWT for use at once.

        Args:
            now: Seconds since the epoch.

        Returns:
            The signed JWT.

        Raises:
            SettingsError: If PyJWT is not installed.
        """
        issued = int(now)
        claims = {
            "iss": self._issuer,
            "sub": self._subject,
            "iat": issued,
            "exp": issued + ASSERTION_SECONDS,
        }
        return str(_imported("jwt").encode(claims, self._key, algorithm=self._algorithm))


def _account_of_claims(identifier: str) -> str:
    """Without region and cloud, in capitals (Snowflake documentation, "Key-pair authentication")."""
    text = identifier.strip().strip("\"'").strip()
    host = (text.partition("://")[2] or text).partition("/")[0]
    if not host or len(host.split()) > 1 or is_snowsight(host.lower()):
        raise SettingsError(
            "'Account identifier' of the preset does not identify an account: enter <organization>-<account>."
        )
    account = host.split("-", 1)[0] if ".global" in host else hyphenated(host).split(".", 1)[0]
    return account.upper()


def _user_of_claims(user: str) -> str:
    """A name of any case is one login name; SQL has some in double quotes."""
    return user.strip().strip('"').upper()


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SettingsError(
            "Signing in by key pair needs the packages PyJWT and cryptography, which are not installed.",
            "Build the plugin's code environment in DSS and select it, or: pip install 'PyJWT[crypto]'.",
        ) from None


def _load(text: str, passphrase: str | None) -> Any:
    serialization = _imported("cryptography.hazmat.primitives.serialization")
    kind, der = _unwrapped(text)
    _refuse_kind(kind)
    if "ENCRYPTED" in kind and not passphrase:
        raise _passphrase_missing()
    try:
        try:
            key = serialization.load_der_private_key(der, passphrase.encode() if passphrase else None)
        except TypeError:  # a passphrase, and it is not encrypted: no harm; or the other way round
            if not passphrase:
                raise _passphrase_missing() from None
            key = serialization.load_der_private_key(der, None)
    except ValueError:
        raise _unreadable(
            serialization, der, passphrase if kind in ("", "ENCRYPTED PRIVATE KEY") else None
        ) from None
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 - cryptography's own kinds, such as UnsupportedAlgorithm
        raise _bad_key(f"cannot be read ({type(error).__name__}): {_CONVERT}") from None
    return key


def _unwrapped(text: str) -> tuple[str, bytes]:
    """The kind of key that the armour names ("" without one) and its DER bytes, however the line ends were lost."""
    text = text.replace("\\r", "").replace("\\n", "\n").strip().strip("\"'").strip()
    if not text:
        raise _bad_key("is empty")
    blocks = list(_ARMOUR.finditer(text))
    if not blocks and "-----" in text:
        raise _bad_key(f"lacks its BEGIN or END line: {_PASTE_ALL}")
    block = next((block for block in blocks if "PRIVATE" in block[1]), blocks[0] if blocks else None)
    kind, body = (block[1], block[2]) if block else ("", text)
    if "Proc-Type" in body:
        raise _bad_key(f"is encrypted in OpenSSL's old format: {_CONVERT}")
    plain = "".join(body.split()).translate(_ALPHABET_OF_URLS).rstrip("=")
    try:
        der = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _bad_key(f"is not a key: {_PASTE_ALL}") from None
    if der.lstrip().startswith(b"-----BEGIN "):  # the whole PEM file was encoded once more
        return _unwrapped(der.decode("ascii", "replace"))
    return kind, der


def _refuse_kind(kind: str) -> None:
    if "PUBLIC" in kind or "CERTIFICATE" in kind:
        raise _bad_key(f"is a {kind.lower()}: paste the private key that belongs to it")
    if "OPENSSH" in kind:
        raise _bad_key(f"is in OpenSSH's format: {_CONVERT}")


def _unreadable(serialization: Any, der: bytes, passphrase: str | None) -> SettingsError:
    """Why no private key can be read from `der` with `passphrase`, if one was given."""
    try:
        serialization.load_der_public_key(der)
        return _bad_key("is a public key: paste the private key that belongs to it")
    except Exception:  # noqa: BLE001 - then it is none
        if passphrase:
            return SettingsError("'Private key passphrase' of the preset does not open its 'Private key'.")
        return _bad_key(f"is damaged, or no private key: {_PASTE_ALL}")


def _algorithm_of(key: Any) -> str:
    rsa = _imported("cryptography.hazmat.primitives.asymmetric.rsa")
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _SMALLEST_BITS:
            raise _bad_key(f"has {key.key_size} bits: {_TAKEN}")
        return _ALGORITHM_OF_RSA
    algorithm = _ALGORITHMS_OF_CURVES.get(getattr(getattr(key, "curve", None), "name", ""))
    if algorithm is None:
        raise _bad_key(f"is of another kind: {_TAKEN}")
    return algorithm


def _fingerprint(key: Any) -> str:
    serialization = _imported("cryptography.hazmat.primitives.serialization")
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


def _passphrase_missing() -> SettingsError:
    return SettingsError(
        "'Private key passphrase' of the preset is empty, and its 'Private key' is encrypted."
    )


def _bad_key(problem: str) -> SettingsError:
    return SettingsError(f"'Private key' of the preset {problem}.")
