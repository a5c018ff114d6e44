"""What `set_config` gets: defaults, presets, and the credentials of the user who calls."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.dss import ConfigError, Dss, MissingCredentialError, OAuthToken, Preset
from tests.clock import Clock
from tests.contract.plugins.writing import COMPLETE, model_of


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["15.0"])
def dss(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Dss]:
    with Dss(request.param, clock=clock) as dss:
        dss.install_plugin(COMPLETE, plugin_config={})
        yield dss


@pytest.fixture
def login(dss: Dss) -> Preset:
    login = dss.create_preset("echo", "login", "main", {"secret": "s"})
    dss.set_user_credential("alice", login, "key", "alice's key")
    dss.set_user_credential("alice", login, "pair", {"user": "alice", "password": "pw"})
    dss.set_user_credential("alice", login, "oauth", "alice's token")
    return login


def ask(dss: Dss, text: str, params: Any = None, user: str = "alice") -> str:
    dss.create_connection("c", "echo", [{"id": "m", "capability": "CHAT", "params": params or {}}])
    return again(dss, text, user)


def again(dss: Dss, text: str, user: str = "alice") -> str:
    query = {"messages": [{"role": "user", "content": text}]}
    (row,) = dss.mesh.complete(model_of(dss, "custom:c:m"), user, [query], {})
    return row["text"] if row["ok"] else row["errorMessage"]


def config(dss: Dss, params: Any = None, user: str = "alice") -> dict[str, Any]:
    return json.loads(ask(dss, "config", params, user))[0]


def test_defaults_are_filled_and_other_parameters_are_absent(dss: Dss) -> None:
    assert config(dss) == {"parallel": 4.0, "mode": "plain", "price": 0.5}


def test_plugin_parameters_arrive_apart(dss: Dss) -> None:
    assert json.loads(ask(dss, "config"))[1] == {"company": "Acme"}


def test_null_and_empty_values_are_left_as_they_are(dss: Dss) -> None:
    assert config(dss, {"note": None, "mode": ""}) == {
        "parallel": 4.0,
        "mode": "",
        "price": 0.5,
        "note": None,
    }


def test_an_int_arrives_as_float(dss: Dss) -> None:
    parallel = config(dss, {"parallel": 2})["parallel"]
    assert (parallel, type(parallel)) == (2.0, float)


def test_an_int_arrives_as_int_when_asked() -> None:
    with Dss(int_as_float=False) as dss:
        dss.install_plugin(COMPLETE)
        assert type(config(dss, {"parallel": 2})["parallel"]) is int


def test_a_preset_arrives_flat_with_the_callers_credentials(dss: Dss, login: Preset) -> None:
    resolved = config(dss, {"login": "main"})["login"]
    handle = resolved.pop("__credentials")
    assert resolved == {
        "url": "https://example.com/*not a comment*/",
        "secret": "s",
        "retries": 2.0,
        "key": "alice's key",
        "pair": {"user": "alice", "password": "pw"},
        "oauth": "alice's token",
    }
    assert handle.keys() == {"oauth"}
    assert "alice's token" not in json.dumps(handle)


def test_each_user_gets_their_own_credentials(dss: Dss, login: Preset) -> None:
    dss.set_user_credential("bob", login, "key", "bob's key")
    dss.set_user_credential("bob", login, "pair", {"user": "bob", "password": "pw"})
    dss.set_user_credential("bob", login, "oauth", "bob's token")
    keys = [config(dss, {"login": "main"}, user)["login"]["key"] for user in ("alice", "bob", "alice")]
    assert keys == ["alice's key", "bob's key", "alice's key"]


def test_a_user_without_the_credential_is_told_where_to_enter_it(dss: Dss, login: Preset) -> None:
    answer = ask(dss, "hi", {"login": "main"}, user="carol")
    assert answer.startswith("user carol has no credential key for the preset main of login")


def test_a_reference_to_no_preset_is_an_error(dss: Dss, login: Preset) -> None:
    assert ask(dss, "hi", {"login": "other"}) == "login: login has no preset 'other'"


@pytest.mark.parametrize("value", [{"name": "main"}, 3, {"mode": "MAGIC"}])
def test_what_is_no_reference_is_refused_with_the_connection(dss: Dss, value: Any) -> None:
    with pytest.raises(ConfigError, match="no reference to a preset"):
        ask(dss, "hi", {"login": value})


def test_a_preset_chosen_as_none_is_empty(dss: Dss) -> None:
    assert config(dss, {"login": {"mode": "NONE"}})["login"] == {}


def test_an_inline_oauth_parameter_stays_the_dictionary_the_form_left(dss: Dss) -> None:
    inline = {"mode": "INLINE", "inlinedConfig": {"oauth": {"usePkce": True}, "retries": 1}}
    assert config(dss, {"login": inline})["login"] == {
        "url": "https://example.com/*not a comment*/",
        "oauth": {"usePkce": True},
        "retries": 1.0,
    }


def test_a_credential_is_refused_where_none_is_asked_for(dss: Dss, login: Preset) -> None:
    with pytest.raises(ConfigError, match="login asks for no credential 'secret'"):
        dss.set_user_credential("alice", login, "secret", "s")


def test_an_expired_token_is_refreshed_for_the_running_instance(
    dss: Dss, login: Preset, clock: Clock
) -> None:
    issued: list[OAuthToken] = []

    def sign_in() -> OAuthToken:
        issued.append(OAuthToken(f"token {len(issued) + 1}", clock() + 60, f"id {len(issued) + 1}"))
        return issued[-1]

    dss.set_user_credential("alice", login, "oauth", sign_in)
    assert ask(dss, "fresh", {"login": "main"}) == "token 1/id 1"
    clock.now += 59
    assert again(dss, "fresh") == "token 1/id 1"
    clock.now += 1
    assert again(dss, "fresh") == "token 2/id 2"
    assert json.loads(again(dss, "config"))[0]["login"]["oauth"] == "token 1"
    assert len(issued) == 2


def test_a_callable_that_gives_text_is_asked_at_each_reading(dss: Dss, login: Preset) -> None:
    numbers = itertools.count()
    dss.set_user_credential("alice", login, "oauth", lambda: f"token {next(numbers)}")
    assert ask(dss, "fresh", {"login": "main"}) == "token 1/None"  # 0 was resolved with the configuration
    assert again(dss, "fresh") == "token 3/None"  # 2 was asked for its ID token


def test_an_expired_token_without_refresh_asks_to_sign_in_again(
    dss: Dss, login: Preset, clock: Clock
) -> None:
    dss.set_user_credential("alice", login, "oauth", OAuthToken("old", clock() + 10))
    assert ask(dss, "fresh", {"login": "main"}) == "old/None"
    clock.now += 10
    assert "sign in again" in again(dss, "fresh")


def test_a_new_sign_in_reaches_the_running_instance(dss: Dss, login: Preset) -> None:
    assert ask(dss, "fresh", {"login": "main"}) == "alice's token/None"
    dss.set_user_credential("alice", login, "oauth", "newer")
    assert again(dss, "fresh") == "newer/None"


def test_other_credentials_reach_an_instance_when_kernels_restart(dss: Dss, login: Preset) -> None:
    assert config(dss, {"login": "main"})["login"]["key"] == "alice's key"
    dss.set_user_credential("alice", login, "key", "newer")
    assert json.loads(again(dss, "config"))[0]["login"]["key"] == "alice's key"
    dss.restart_kernels()
    assert json.loads(again(dss, "config"))[0]["login"]["key"] == "newer"


@pytest.mark.parametrize("dss", ["14.1"], indirect=True)
def test_before_14_5_there_is_only_the_token_text(dss: Dss, login: Preset) -> None:
    resolved = config(dss, {"login": "main"})["login"]
    assert resolved["oauth"] == "alice's token"
    assert "__credentials" not in resolved


def test_tokens_and_presets_do_not_print_their_secrets(dss: Dss, login: Preset) -> None:
    assert "alice" not in repr(OAuthToken("alice's token", id_token="alice"))
    assert "'s'" not in repr(login)


def test_the_error_of_a_missing_credential_is_its_own_type(dss: Dss, login: Preset) -> None:
    with pytest.raises(MissingCredentialError):
        dss.mesh.kernel(model_of(dss, connect(dss)), "carol")


def connect(dss: Dss) -> str:
    (llm_id,) = dss.create_connection(
        "d", "echo", [{"id": "m", "capability": "CHAT", "params": {"login": "main"}}]
    )
    return llm_id
