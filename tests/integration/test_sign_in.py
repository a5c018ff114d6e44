"""The three ways to sign in, through DSS and Snowflake's login, and what is said when one does not work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sandbox.instance import Instance
from sandbox.services.scripted import answer_to
from sandbox.snowflake import ROLE, USER

ACCOUNT = "MYORG-MYACCT"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def pem(key: Any = KEY, passphrase: str = "") -> str:
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection).decode())


def ask(llm: Any, text: str = "Hello") -> Any:
    return llm.new_completion().with_message(text).execute()


def with_key_pair(instance: Instance, **preset: Any) -> Any:
    instance.snowflake.register_public_key(USER, PUBLIC)
    config = {"user": USER, "role": ROLE, "privateKey": pem(), "accountIdentifier": ACCOUNT, **preset}
    instance.dss.create_preset(instance.plugin_id, "key-pair-credentials", "keys", config)
    return instance.add_model(
        "chat",
        "CHAT",
        instance.snowflake.create_service("chat", accepts={"key_pair"}),
        authenticationMode="KEY_PAIR",
        keyPair="keys",
        oauth=None,
    )


def with_access_token(instance: Instance, token: str) -> Any:
    preset = instance.dss.create_preset(instance.plugin_id, "programmatic-access-token", "tokens")
    instance.dss.set_user_credential(USER, preset, "token", token)
    return instance.add_model(
        "chat",
        "CHAT",
        instance.snowflake.create_service("chat", accepts={"pat"}),
        authenticationMode="PROGRAMMATIC_ACCESS_TOKEN",
        programmaticAccessToken="tokens",
        oauth=None,
        snowflakeAccountUrl=None,
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.replace("\n", " "),
        lambda text: "".join(text.splitlines()[1:-1]),
        lambda text: f'"{text}"',
        lambda text: text.replace("\n", "\r\n"),
    ],
    ids=["as it is", "escaped line ends", "lost line ends", "bare base64", "quoted", "Windows line ends"],
)
def test_a_key_signs_in_however_it_was_pasted(instance: Instance, written: Callable[[str], str]) -> None:
    response = ask(with_key_pair(instance, privateKey=written(pem())))
    assert response._raw.get("errorMessage") is None
    assert response.text == answer_to("Hello")


def test_an_encrypted_key_signs_in_with_its_passphrase(instance: Instance) -> None:
    llm = with_key_pair(
        instance, privateKey=pem(passphrase="open sesame"), privateKeyPassphrase="open sesame"
    )
    assert ask(llm).text == answer_to("Hello")


def test_a_key_of_an_elliptic_curve_signs_in(instance: Instance) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    instance.snowflake.register_public_key(USER, public.decode())
    assert ask(with_key_pair(instance, privateKey=pem(key))).text == answer_to("Hello")


def test_a_key_pairs_token_that_has_ended_is_made_anew(instance: Instance) -> None:
    llm = with_key_pair(instance)
    for _ in range(3):
        assert ask(llm).text == answer_to("Hello")
        instance.snowflake.world.expire_all("key_pair")
    assert instance.snowflake.counters["account"]["endpoint_token"] == 3


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ({"privateKey": "no key"}, "'Private key'"),
        ({"privateKey": PUBLIC}, "private"),
        ({"privateKey": pem()[:200]}, "'Private key'"),
        (
            {"privateKey": pem(passphrase="right"), "privateKeyPassphrase": "wrong"},
            "'Private key passphrase'",
        ),
        ({"privateKey": pem(passphrase="right")}, "'Private key passphrase'"),
        ({"privateKey": pem(ec.generate_private_key(ec.SECP256R1()))}, "RSA"),
        ({"user": "BOB"}, "RSA_PUBLIC_KEY"),
        ({"role": "NOT_HIS"}, "role"),
        ({"accountIdentifier": "OTHERORG-OTHERACCT"}, "394304"),
    ],
    ids=[
        "no key",
        "public",
        "cut",
        "wrong passphrase",
        "no passphrase",
        "another curve",
        "user",
        "role",
        "account",
    ],
)
def test_a_key_pair_that_does_not_work_is_told_with_its_mend(
    instance: Instance, preset: dict[str, str], words: str
) -> None:
    error = ask(with_key_pair(instance, **preset))._raw["errorMessage"]
    assert error.startswith(("[settings]", "[login]"))
    assert words.lower() in error.lower()
    assert "BEGIN" not in error.replace("BEGIN and END", "").replace("BEGIN or END", "")


@pytest.mark.sample(1)
@pytest.mark.parametrize("written", ["{}", ' "{}" ', "'{}'\n"])
def test_a_programmatic_access_token_signs_in_even_with_its_quotes(instance: Instance, written: str) -> None:
    llm = with_access_token(instance, written.format(instance.snowflake.create_pat(USER, ROLE)))
    assert ask(llm).text == answer_to("Hello")
    assert instance.snowflake.counters["account"].get("login", 0) == 0


def test_a_refused_access_token_is_told_once_and_not_tried_again(instance: Instance) -> None:
    token = instance.snowflake.create_pat(USER, ROLE)
    instance.snowflake.world.revoke(token)
    error = ask(with_access_token(instance, token))._raw["errorMessage"]
    assert error.startswith("[ingress]")
    assert instance.snowflake.counters["chat"]["requests"] == 1


def test_a_network_policy_is_named(instance: Instance) -> None:
    token = instance.snowflake.create_pat(USER, ROLE, network_allowed=False)
    assert "network policy" in ask(with_access_token(instance, token))._raw["errorMessage"].lower()


def test_a_role_without_the_service_role_is_told_what_to_grant(instance: Instance) -> None:
    service = instance.snowflake.create_service("chat", roles=("ANOTHER_ROLE",))
    error = ask(instance.add_model("chat", "CHAT", service))._raw["errorMessage"]
    assert error.startswith("[ingress]")
    assert "GRANT SERVICE ROLE" in error


def test_users_sessions_never_mix(instance: Instance) -> None:
    """Each user's queries carry that user's session, whoever else asks at the same time."""
    snowflake = instance.snowflake
    snowflake.world.add_user("BOB", ROLE)
    service = snowflake.create_service("chat")
    llm = instance.add_model("chat", "CHAT", service, serviceProtocol="PREDICT")
    preset = instance.dss.create_preset(instance.plugin_id, "oauth-credentials", "bobs", {})
    del preset  # ALICE's preset is the connection's: BOB signs in to the same one
    login = next(iter(instance.dss._presets))
    instance.dss.set_user_credential(
        "BOB", login, "snowflake_oauth", lambda: snowflake.issue_oauth_token("BOB")
    )
    model = instance.dss.model(llm.llm_id)
    assert model is not None

    def as_user(name: str) -> str:
        query = {"messages": [{"role": "user", "content": name}]}
        (row,) = instance.dss.mesh.complete(model, name, [query], {})
        return str(row["text"])

    with ThreadPoolExecutor(8) as pool:
        names = [USER, "BOB"] * 20
        assert list(pool.map(as_user, names)) == [answer_to(name) for name in names]
    users = [request.headers.get("sf-context-current-user", "") for request in service.received]
    assert sorted(users) == [USER] * 20 + ["BOB"] * 20
    assert snowflake.counters["account"]["login"] == 2


def test_queries_at_once_make_one_login(instance: Instance) -> None:
    service = instance.snowflake.create_service("embed", kind="embedding")
    llm = instance.add_model("embed", "EMBEDDING", service, maxParallelism=16)
    instance.snowflake.faults.arm("delay", "account", on="login", seconds=0.2)
    query = llm.new_embeddings()
    for number in range(200):
        query.add_text(f"text {number}")
    assert len(query.execute().get_embeddings()) == 200
    assert instance.snowflake.counters["account"]["login"] == 1


def test_a_failing_login_is_not_hammered(instance: Instance) -> None:
    service = instance.snowflake.create_service("embed", kind="embedding")
    llm = instance.add_model("embed", "EMBEDDING", service, maxParallelism=8)
    instance.snowflake.faults.arm(
        "refuse", "account", code="390100", message="Incorrect username.", times=None
    )
    query = llm.new_embeddings()
    for number in range(100):
        query.add_text(f"text {number}")
    rows = query.execute()._raw["responses"]
    assert all("[login]" in row["errorMessage"] for row in rows)
    assert instance.snowflake.counters["account"]["requests"] <= 2
