"""Private keys as people paste them, and the assertions signed with them."""

from __future__ import annotations

import base64
import hashlib
import sys
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from spcs_llm.errors import SettingsError
from spcs_llm.snowflake.key_pair import KeyPair

PASSPHRASE = "correct horse"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FINGERPRINT = base64.b64encode(
    hashlib.sha256(
        KEY.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).digest()
).decode()


def pem(key: Any = KEY, form: str = "PKCS8", passphrase: str | None = None) -> str:
    encryption: Any = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return str(
        key.private_bytes(
            serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption
        ).decode()
    )


def public_pem(form: str = "SubjectPublicKeyInfo") -> str:
    return (
        KEY.public_key()
        .public_bytes(serialization.Encoding.PEM, getattr(serialization.PublicFormat, form))
        .decode()
    )


def bare(text: str) -> str:
    """The base64 between the BEGIN and END lines, in one line."""
    return "".join(text.strip().splitlines()[1:-1])


def claims_of(pair: KeyPair, now: float = 1_700_000_000.5) -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_iat": False}
    return jwt.decode(pair.assertion(now), KEY.public_key(), algorithms=["RS256"], options=options)


# Base64 of a whole file, and in the alphabet of URLs: climatepolicyradar/knowledge-graph#1173,
# michelin/snowflake-grafana-datasource#183.
WRITTEN = {
    "as openssl writes it": pem(),
    "PKCS#1": pem(form="TraditionalOpenSSL"),
    "with Windows line ends": pem().replace("\n", "\r\n"),
    "with escaped line ends": pem().replace("\n", "\\n"),
    "with escaped Windows line ends": pem().replace("\n", "\\r\\n"),
    "with spaces for line ends": pem().replace("\n", " "),
    "without line ends": pem().replace("\n", ""),
    "indented": pem().replace("\n", "\n    "),
    "in quotes": f'"{pem()}"',
    "bare base64": bare(pem()),
    "bare base64 in lines": "\n".join(pem().strip().splitlines()[1:-1]),
    "bare base64 of PKCS#1": bare(pem(form="TraditionalOpenSSL")),
    "below its public key": public_pem() + pem(),
    "the whole file in base64": base64.b64encode(pem().encode()).decode(),
    "the whole file in base64, in lines": base64.encodebytes(pem().encode()).decode(),
    "base64 in the alphabet of URLs": bare(pem()).replace("+", "-").replace("/", "_"),
    "base64 without padding": bare(pem()).rstrip("="),
    "below a bag's attributes": "Bag Attributes\n    friendlyName: dss\n" + pem(),
}


@pytest.mark.sample(9)
@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_key_is_read_however_it_was_pasted(text: str) -> None:
    assert claims_of(KeyPair("MYORG-MYACCT", "alice", text))["iss"].endswith(FINGERPRINT)


@pytest.mark.parametrize(
    "break_lines",
    [str, lambda text: text.replace("\n", " "), bare, lambda text: base64.b64encode(text.encode()).decode()],
)
def test_an_encrypted_key_is_opened_by_its_passphrase(break_lines: Any) -> None:
    text = break_lines(pem(passphrase=PASSPHRASE))
    assert claims_of(KeyPair("MYORG-MYACCT", "alice", text, PASSPHRASE))


def test_a_passphrase_that_is_not_needed_does_no_harm() -> None:
    assert claims_of(KeyPair("MYORG-MYACCT", "alice", pem(), "left over"))


def test_an_assertion_says_who_signed_it_and_lasts_minutes() -> None:
    claims = claims_of(KeyPair("myorg-myacct", " alice ", pem()))
    assert claims["sub"] == "MYORG-MYACCT.ALICE"
    assert claims["iss"] == f"MYORG-MYACCT.ALICE.SHA256:{FINGERPRINT}"
    assert claims["iat"] == 1_700_000_000
    assert 60 <= claims["exp"] - claims["iat"] <= 300


# snowflakedb/snowflake-connector-python#2743: Snowflake takes these curves as well.
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("algorithm", CURVES)
def test_an_elliptic_curve_signs_by_its_own_algorithm(algorithm: str, form: str) -> None:
    key = ec.generate_private_key(CURVES[algorithm])
    parameters = (
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"  # of openssl ecparam
    )
    assertion = KeyPair("MYORG-MYACCT", "alice", parameters + pem(key, form)).assertion(1_700_000_000)
    assert jwt.get_unverified_header(assertion)["alg"] == algorithm
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(assertion, key.public_key(), algorithms=[algorithm], options=options)
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    fingerprint = base64.b64encode(hashlib.sha256(public).digest()).decode()
    assert claims["iss"] == f"MYORG-MYACCT.ALICE.SHA256:{fingerprint}"


def test_a_user_may_be_written_in_the_quotes_of_sql() -> None:
    assert claims_of(KeyPair("MYORG-MYACCT", '"alice@example.com"', pem()))["sub"] == (
        "MYORG-MYACCT.ALICE@EXAMPLE.COM"
    )


@pytest.mark.parametrize(
    ("identifier", "account"),
    [
        (
            "MYORG.MY_ACCT",
            "MYORG-MY_ACCT",
        ),  # as SQL writes it (Snowflake documentation, "Account identifiers")
        ("xy12345.cn-northwest-1.aws", "XY12345"),
        ("xy12345.west-europe.azure", "XY12345"),
        ("xy12345.us-east-1.privatelink", "XY12345"),
        ("xy12345.us-gov-west-1.fhplus.aws", "XY12345"),
        ("xy12345.us-east-1.snowflakecomputing.com", "XY12345"),
        ("myorg-my_acct", "MYORG-MY_ACCT"),
        ("xy12345", "XY12345"),
        ("xy12345.us-east-1.aws", "XY12345"),
        ("myorg-myacct.privatelink", "MYORG-MYACCT"),
        ("abc-global.global", "ABC"),
        ("https://myorg-myacct.snowflakecomputing.com", "MYORG-MYACCT"),
    ],
)
def test_the_account_of_the_claims_is_without_region_in_capitals(identifier: str, account: str) -> None:
    assert claims_of(KeyPair(identifier, "u", pem()))["sub"] == f"{account}.U"


@pytest.mark.parametrize(
    "identifier",
    ["https://app.snowflake.com/myorg/myacct/#/homepage", "app.snowflake.com/us-east-1/xy12345", "my org"],
)
def test_an_address_that_names_no_account_in_its_host_is_refused(identifier: str) -> None:
    with pytest.raises(SettingsError, match="'Account identifier' of the preset") as refused:
        KeyPair(identifier, "u", pem())
    assert "<organization>-<account>" in str(refused.value)


def test_an_account_may_be_written_in_quotes() -> None:
    assert claims_of(KeyPair('"MYORG-MYACCT"', "u", pem()))["sub"] == "MYORG-MYACCT.U"


SSH = ed25519.Ed25519PrivateKey.generate()
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
OLD_FORMAT = pem().replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1)
NO_KEYS = {
    "nothing": ("", None, "'Private key' of the preset is empty"),
    "blanks": (" \n ", None, "'Private key' of the preset is empty"),
    "prose": ("the key is in the safe", None, "'Private key' of the preset is not a key"),
    "a path": ("/home/alice/rsa_key.p8", None, "'Private key' of the preset is"),
    "half of it": (pem()[:800], None, "lacks its BEGIN or END line"),
    "a damaged one": (pem().replace("M", "N", 3), None, "'Private key' of the preset is"),
    "a public key": (public_pem(), None, "is a public key: paste the private key"),
    "a public key of PKCS#1": (public_pem("PKCS1"), None, "is a rsa public key: paste the private key"),
    "a public key without its lines": (bare(public_pem()), None, "is a public key: paste the private key"),
    "a certificate": (CERTIFICATE, None, "is a certificate: paste the private key"),
    "no passphrase": (pem(passphrase="x"), None, "'Private key passphrase' of the preset is empty"),
    "no passphrase, bare": (bare(pem(passphrase="x")), None, "'Private key passphrase' of the preset is empty"),
    "a wrong passphrase": (pem(passphrase="x"), "y", "'Private key passphrase' of the preset does not open"),
    "a wrong passphrase, bare": (bare(pem(passphrase="x")), "y", "'Private key passphrase' of the preset does not"),
    "a public key in base64 as a whole": (base64.b64encode(public_pem().encode()).decode(), None, "is a public key"),
    "an encrypted one in base64 as a whole": (
        base64.b64encode(pem(passphrase="x").encode()).decode(),
        None,
        "'Private key passphrase' of the preset is empty",
    ),
    "an old encryption": (OLD_FORMAT, "x", "old format: convert it: openssl pkcs8"),
    "OpenSSH's format": (pem(form="OpenSSH"), None, "OpenSSH's format: convert it: openssl pkcs8"),
    "another elliptic curve": (pem(ec.generate_private_key(ec.SECP256K1())), None, "P-256, P-384 and P-521"),
    "Ed25519": (pem(SSH), None, "RSA keys of 2048 bits or more"),
    "a small one": (pem(rsa.generate_private_key(65537, 1024)), None, "has 1024 bits"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "passphrase", "said"), NO_KEYS.values(), ids=NO_KEYS)
def test_what_is_no_usable_key_is_told_in_one_sentence_that_names_the_field(
    text: str, passphrase: str | None, said: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        KeyPair("MYORG-MYACCT", "alice", text, passphrase)
    assert said in raised.value.message
    assert raised.value.message.count(".") == raised.value.message.endswith(".")
    for line in text.splitlines():
        assert len(line) < 40 or line not in repr(raised.value)


@pytest.mark.parametrize("package", ["cryptography", "jwt"])
def test_missing_packages_are_told_with_how_to_install_them(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pem()
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            monkeypatch.setitem(sys.modules, name, None)  # importing it fails from now on
    with pytest.raises(SettingsError, match="PyJWT and cryptography") as raised:
        KeyPair("MYORG-MYACCT", "alice", text).assertion(0)
    assert "code environment" in raised.value.hint


def test_nothing_of_the_key_is_shown() -> None:
    pair = KeyPair("MYORG-MYACCT", "alice", pem(passphrase=PASSPHRASE), PASSPHRASE)
    shown = repr(pair) + repr(vars(pair))
    assert bare(pem())[:40] not in shown
    assert PASSPHRASE not in shown
