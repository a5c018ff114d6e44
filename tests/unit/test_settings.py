"""The form's values become settings, or complaints that name the field and the mend."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.connections import Connections
from spcs_llm.control.macro_form import read_discover
from spcs_llm.errors import SettingsError
from spcs_llm.settings import (
    LABELS,
    KeyPairSignIn,
    OAuthSignIn,
    TokenSignIn,
    _tell_destination,
    read_settings,
)

EARLIER = {
    "oauth": {"snowflake_oauth": "the-access-token"},
    "modelHandlingMode": "TEXT_GENERATION_ZEPHYR",
    "llmEndpointUrl": "https://abc-myorg-myacct.snowflakecomputing.app",
    "snowflakeAccountUrl": "https://myorg-myacct.snowflakecomputing.com",
}


def settings(**changes: Any) -> Any:
    return read_settings({**EARLIER, **changes})


def complaint(**changes: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        settings(**changes)
    return str(raised.value)


def test_a_config_of_the_earlier_plugin_is_enough() -> None:
    earlier = {**EARLIER, "maxParallelism": 4.0, "spcsCreditsPerHourCost": 0.57, "snowflakeCreditCost": 2.5}
    made = read_settings(earlier)
    assert made.credential.sign_in == OAuthSignIn("the-access-token")
    assert (made.protocol.name, made.protocol.handling_mode) == ("PREDICT", "TEXT_GENERATION_ZEPHYR")
    assert (made.max_parallelism, made.max_batch_size) == (4, None)
    assert (made.rate.credits_per_hour, made.rate.credit_price, made.rate.nodes) == (0.57, 2.5, 1)
    assert (made.endpoint.request_timeout, made.query_timeout, made.endpoint.cold_start_wait) == (
        90,
        600,
        300,
    )


@pytest.mark.parametrize(
    "key", ["\u043a\u043b\u044e\u0447-hidden", "a\nb-hidden", "a\0b-hidden", "\u201cab-hidden\u201d"]
)
def test_a_key_that_no_header_can_hold_is_told_by_its_field(key: str) -> None:
    """It was told as an endpoint that cannot be reached, with advice about firewalls."""
    with pytest.raises(
        SettingsError, match="'Service API key' has characters that cannot be sent"
    ) as refused:
        read_settings({**EARLIER, "serviceApiKey": key})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("Bearer hidden", "begins with Bearer"),
        ('"bearer\thidden"', "begins with Bearer"),
        ("Authorization: Bearer hidden", "begins with Bearer"),
        ('""', "contains only quotation marks"),
    ],
)
def test_a_key_with_its_header_is_told_by_its_field(key: str, why: str) -> None:
    told = complaint(serviceApiKey=key)
    assert f"'Service API key' {why}" in told
    assert "hidden" not in told


@pytest.mark.parametrize("key", ["bearer-of-news", "Bearer"])
def test_a_key_may_have_any_letters(key: str) -> None:
    assert settings(serviceApiKey=key).endpoint.service_api_key == key


@pytest.mark.parametrize(
    "copied", ["sk-abc", " sk-abc\n", "\u200bsk-abc\ufeff", "sk-\u2060abc", '"sk-abc"', " 'sk-abc' "]
)
def test_a_key_is_read_without_what_nobody_sees(copied: str) -> None:
    assert read_settings({**EARLIER, "serviceApiKey": copied}).endpoint.service_api_key == "sk-abc"


@pytest.mark.parametrize("token", ["a\0b", "a\x7fb", "a\x1bb", "a b", "\u201ca\u201d"])
def test_a_token_that_no_header_can_hold_is_told_by_its_field(token: str) -> None:
    mode = "PROGRAMMATIC_ACCESS_TOKEN"
    assert "'Programmatic access token' is not a token" in complaint(
        authenticationMode=mode, programmaticAccessToken={"token": token}
    )
    made = settings(authenticationMode=mode, programmaticAccessToken={"token": "\ufeffabc-def\u200b"})
    assert made.credential.sign_in == TokenSignIn("abc-def")


REQUIRED = ("oauth", "llmEndpointUrl", "snowflakeAccountUrl")
OPTIONAL = [name for name in LABELS if name not in REQUIRED]


@pytest.mark.parametrize("nothing", [None, "", "  "])
@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_field_may_be_empty(name: str, nothing: Any) -> None:
    without = {key: value for key, value in EARLIER.items() if key != name}
    assert read_settings({**without, name: nothing}) == read_settings(without)


@pytest.mark.parametrize("value", [4, 4.0, "4", " 4 ", "4.0"])
def test_a_whole_number_may_come_as_a_float_or_as_text(value: Any) -> None:
    assert settings(maxParallelism=value, nodeCount=value).max_parallelism == 4


@pytest.mark.parametrize("value", [0, -1, 4.5, "four", True, [4], {}, float("nan"), float("inf"), 1e9])
def test_a_limit_that_makes_no_sense_is_refused_by_its_label(value: Any) -> None:
    assert (
        complaint(maxParallelism=value)
        == "[settings] 'Max parallelism' must be a whole number from 1 to 1024."
    )


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("maxBatchSize", "Max batch size"),
        ("requestTimeoutSeconds", "Request timeout"),
        ("queryTimeoutSeconds", "Query timeout"),
        ("coldStartWaitSeconds", "Cold start wait"),
        ("spcsCreditsPerHourCost", "Credits per hour"),
        ("snowflakeCreditCost", "Cost of a credit"),
        ("nodeCount", "Number of nodes"),
    ],
)
def test_a_negative_number_is_refused_by_its_label(name: str, label: str) -> None:
    assert f"'{label}' must be a" in complaint(**{name: -1})


@pytest.mark.parametrize(
    ("name", "complaint_about_it"),
    [
        ("requestTimeoutSeconds", "'Request timeout' must be a number from 1 to 86,400 seconds."),
        ("queryTimeoutSeconds", "'Query timeout' must be a number from 1 to 86,400 seconds."),
        ("coldStartWaitSeconds", "'Cold start wait' must be a number from 0 to 86,400 seconds."),
        ("spcsCreditsPerHourCost", "'Credits per hour' must be a number from 0 to 10,000."),
        ("snowflakeCreditCost", "'Cost of a credit' must be a number from 0 to 10,000 USD."),
        ("nodeCount", "'Number of nodes' must be a whole number from 1 to 10000."),
        ("maxBatchSize", "'Max batch size' must be a whole number from 1 to 10000."),
    ],
)
@pytest.mark.parametrize("value", [1e10, "1e10", 10**400])
def test_a_number_beyond_all_measure_is_refused_with_the_bounds(
    name: str, complaint_about_it: str, value: Any
) -> None:
    assert complaint(**{name: value}) == f"[settings] {complaint_about_it}"


@pytest.mark.parametrize(
    ("protocol", "suits"), [(None, 1), ("PREDICT", 1), ("MODEL_SERVING", 1), ("OPENAI", 8)]
)
def test_an_empty_max_parallelism_means_what_suits_the_protocol(protocol: str | None, suits: int) -> None:
    connection = Connections().connect(settings(serviceProtocol=protocol))
    assert connection.parallelism == connection.client.state.limiter.limit == suits
    set_by_a_person = Connections().connect(settings(serviceProtocol=protocol, maxParallelism=3))
    assert set_by_a_person.client.state.limiter.limit == 3


def test_a_parallelism_that_a_person_set_stays_when_another_model_leaves_it_empty() -> None:
    connections = Connections()
    one = connections.connect(settings(serviceProtocol="OPENAI", maxParallelism=3))
    other = connections.connect(settings(serviceProtocol="OPENAI"))
    assert one.client.state is other.client.state
    assert one.client.state.limiter.limit == 3
    connections.connect(settings(serviceProtocol="OPENAI", maxParallelism=5))
    assert one.client.state.limiter.limit == 5


def test_nothing_costs_nothing() -> None:
    assert settings(spcsCreditsPerHourCost=0).rate.cost(3600) == 0


def test_all_complaints_are_made_at_once() -> None:
    text = complaint(oauth=None, llmEndpointUrl="", snowflakeAccountUrl=None, maxParallelism=0)
    assert text == (
        "[settings] 'LLM endpoint URL' is empty: copy ingress_url from SHOW ENDPOINTS IN SERVICE."
        " 'Snowflake account URL' is empty: give https://<org>-<account>.snowflakecomputing.com."
        " 'OAuth credentials' is empty: select a preset."
        " 'Max parallelism' must be a whole number from 1 to 1024."
    )


@pytest.mark.parametrize("config", [None, [], "text", {}])
def test_a_config_that_is_none_is_complained_of_not_crashed_on(config: Any) -> None:
    with pytest.raises(SettingsError, match="'LLM endpoint URL' is empty"):
        read_settings(config)


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ({}, "is empty: select a preset"),
        ({"mode": "NONE"}, "is empty: select a preset"),
        ({"mode": "INLINE", "inlinedConfig": {}}, "is defined inline: select a preset"),
        ({"mode": "PRESET", "name": "main"}, "names a preset that DSS did not resolve"),
        ("main", "names a preset that DSS did not resolve"),
        ({"snowflake_oauth": {"usePkce": True}}, "do not define it inline"),
        (
            {"snowflake_oauth": None},
            "sign in to the preset's Snowflake login in DSS, under Profile > Credentials",
        ),
        (
            {"snowflake_oauth": " "},
            "sign in to the preset's Snowflake login in DSS, under Profile > Credentials",
        ),
        (
            {"snowflake_oauth": 3},
            "sign in to the preset's Snowflake login in DSS, under Profile > Credentials",
        ),
    ],
)
def test_what_is_no_oauth_token_is_told_apart(preset: Any, words: str) -> None:
    assert words in complaint(oauth=preset)


def test_the_credentials_that_dss_refreshes_come_along() -> None:
    handle = {"opaque": True}
    made = settings(oauth={"snowflake_oauth": "t", "__credentials": {"snowflake_oauth": handle}})
    assert made.credential.sign_in.credentials is handle
    alone = settings(oauth={"snowflake_oauth": None, "__credentials": {"snowflake_oauth": handle}})
    assert alone.credential.sign_in == OAuthSignIn("", handle)


def test_an_endpoint_of_another_account_is_refused() -> None:
    assert "belongs to another Snowflake account" in complaint(
        llmEndpointUrl="https://abc-otherorg-otheracct.snowflakecomputing.app"
    )


def test_the_name_of_a_connection_is_told_from_an_accounts() -> None:
    said = complaint(
        llmEndpointUrl="https://abc-myorg-myacct.snowflakecomputing.app",
        snowflakeAccountUrl="https://myorg-myconnection.snowflakecomputing.com",
    )
    assert "Client Redirect" in said and "present name" in said


def test_a_method_that_was_pasted_with_the_url_is_asked_for_once() -> None:
    pasted = f"{EARLIER['llmEndpointUrl']}/embed-text"
    made = settings(llmEndpointUrl=pasted, serviceProtocol="MODEL_SERVING", methodName="embed_text")
    assert made.endpoint.url.path == ""
    assert settings(llmEndpointUrl=pasted).endpoint.url.path == "/embed-text"


def test_a_provisioning_notice_pasted_as_url_is_explained() -> None:
    notice = "Endpoints provisioning in progress... check back in a few minutes"
    assert "still being provisioned" in complaint(llmEndpointUrl=notice)


def test_choices_are_listed_when_none_is_made() -> None:
    assert complaint(serviceProtocol="GRPC") == (
        "[settings] 'Service protocol' must be one of AUTOMATIC, PREDICT, MODEL_SERVING, OPENAI."
    )


def test_a_wrong_choice_is_told_once_and_no_preset_is_missed_for_it() -> None:
    assert complaint(authenticationMode="OAUTH2", oauth=None) == (
        "[settings] 'Sign-in' must be one of OAUTH, KEY_PAIR, PROGRAMMATIC_ACCESS_TOKEN."
    )


@pytest.mark.parametrize(
    ("wrong", "why"), [("*.a.example", "is not a URL"), ("${hosts}", "contains a DSS variable")]
)
def test_a_wrong_host_in_a_list_is_quoted(wrong: str, why: str) -> None:
    told = complaint(allowedHosts=f"b.example, {wrong}")
    assert f"'Hosts outside Snowflake' must be host names separated by commas, and '{wrong}' {why}" in told


def test_a_template_that_is_no_text_is_not_called_empty() -> None:
    told = complaint(modelHandlingMode="TEXT_GENERATION_CUSTOM", chatTemplate=["x"])
    assert told == "[settings] 'Chat template' must be text."


def test_a_custom_template_must_be_there() -> None:
    assert "'Chat template' is empty" in complaint(modelHandlingMode="TEXT_GENERATION_CUSTOM")


def test_a_key_pair_needs_a_user_and_a_key() -> None:
    text = complaint(authenticationMode="KEY_PAIR", keyPair={"user": "", "privateKey": None})
    assert "does not name a user" in text
    assert "does not contain a private key" in text
    made = settings(authenticationMode="KEY_PAIR", keyPair={"user": " SVC ", "privateKey": "PEM", "role": ""})
    assert made.credential.sign_in == KeyPairSignIn("SVC", "PEM")


@pytest.mark.parametrize(
    ("pasted", "role"),
    [
        ("MY_ROLE", "MY_ROLE"),
        ("MyRole", "MyRole"),
        (" my-role ", "my-role"),
        ('"my role"', "my role"),
        ('"a ""b"" c"', 'a "b" c'),
        ('""', '""'),
        ("", None),
    ],
)
def test_the_role_of_a_key_pair_is_spelled_as_show_roles_lists_it(pasted: str, role: str | None) -> None:
    """Queries and macros: a name of SQL would be another role for the one than for the other."""
    preset = {"user": "SVC", "privateKey": "PEM", "role": pasted}
    form = {
        "authenticationMode": "KEY_PAIR",
        "keyPair": preset,
        "snowflakeAccountUrl": EARLIER["snowflakeAccountUrl"],
    }
    signed_in = settings(**form).credential.sign_in
    assert isinstance(signed_in, KeyPairSignIn)
    assert signed_in.role == role
    assert read_discover(form).sign_in.role == role


def test_a_token_alone_needs_no_account_url() -> None:
    made = settings(
        authenticationMode="PROGRAMMATIC_ACCESS_TOKEN",
        programmaticAccessToken={"token": ' "abc.def" '},
        snowflakeAccountUrl=None,
        oauth=None,
    )
    assert made.credential.sign_in == TokenSignIn("abc.def")
    assert made.credential.account is None


@pytest.mark.parametrize(
    ("token", "words"),
    [("", "does not contain a token"), (None, "does not contain a token"), ("a b", "is not a token")],
)
def test_what_is_no_programmatic_access_token_is_said(token: Any, words: str) -> None:
    text = complaint(authenticationMode="PROGRAMMATIC_ACCESS_TOKEN", programmaticAccessToken={"token": token})
    assert words in text


@pytest.mark.parametrize(
    ("label", "changes"),
    [
        ("Service API key", {"serviceApiKey": "e:AES:X2:canary"}),
        ("OAuth credentials", {"oauth": {"snowflake_oauth": "e:AES:canary"}}),
        (
            "Programmatic access token",
            {
                "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
                "programmaticAccessToken": {"token": "e:AES:canary"},
            },
        ),
        (
            "Key pair credentials",
            {
                "authenticationMode": "KEY_PAIR",
                "keyPair": {"user": "U", "privateKey": "PEM", "privateKeyPassphrase": "e:AES:canary"},
            },
        ),
    ],
)
def test_a_password_that_dss_did_not_decrypt_is_sent_nowhere(label: str, changes: Any) -> None:
    """What DSS stores begins with `e:AES:`; it arrives after a copy from another instance, and in some components."""
    text = complaint(**changes)
    assert f"'{label}' contains a password or token that DSS did not decrypt" in text
    assert "canary" not in text


def test_no_secret_shows_in_the_repr() -> None:
    made = settings(
        serviceApiKey="canary-key", chatTemplate="canary-template", oauth={"snowflake_oauth": "canary"}
    )
    assert "canary" not in repr(made)


def test_unknown_fields_are_ignored() -> None:
    assert settings(ofALaterVersion=1) == settings()


# -- where credentials may go --------------------------------------------------------------------------------

ELSEWHERE = {
    "llmEndpointUrl": (
        "https://gateway.example.com/models",
        "https://10.0.0.5:8443",
        "https://x.snowflake.app.evil.com",
    ),
    "snowflakeAccountUrl": ("https://accounts.example.com", "https://169.254.169.254"),
}


@pytest.mark.parametrize(("name", "url"), [(name, url) for name, urls in ELSEWHERE.items() for url in urls])
def test_a_host_outside_snowflake_is_refused_with_the_setting_that_allows_it(name: str, url: str) -> None:
    text = complaint(**{name: url})
    assert f"'{LABELS[name]}' names a host that is not Snowflake's" in text
    assert "'Hosts outside Snowflake'" in text
    assert url.split("//")[1].split("/")[0] not in text


@pytest.mark.parametrize("allowed", ["gateway.example.com", "other.example; https://GATEWAY.example.com/"])
def test_a_host_that_is_allowed_is_used_and_named_in_the_log(
    allowed: str, caplog: pytest.LogCaptureFixture
) -> None:
    _tell_destination.cache_clear()
    with caplog.at_level("WARNING"):
        made = [
            settings(llmEndpointUrl="https://gateway.example.com/models", allowedHosts=allowed)
            for _ in range(3)
        ]
    assert {made_.endpoint.url.host for made_ in made} == {"gateway.example.com"}
    assert [record.getMessage() for record in caplog.records] == [
        "Users' tokens are sent to gateway.example.com, which 'LLM endpoint URL' names and 'Hosts outside Snowflake'"
        " allows: it is not a host of Snowflake."
    ]


def test_hosts_that_are_allowed_do_not_allow_what_is_below_or_beside_them() -> None:
    for url in ("https://a.gateway.example.com", "https://gateway.example.com.evil.com", "https://evil.com"):
        assert "not Snowflake's" in complaint(llmEndpointUrl=url, allowedHosts="gateway.example.com")


def test_another_accounts_endpoint_is_refused_on_each_domain_of_ingresses() -> None:
    for domain in ("snowflakecomputing.app", "snowflake.app"):
        text = complaint(llmEndpointUrl=f"https://abc-otherorg-otheracct.{domain}")
        assert "belongs to another Snowflake account" in text


def test_a_variable_of_dss_in_a_url_is_told_as_that() -> None:
    assert "'LLM endpoint URL' contains a DSS variable" in complaint(llmEndpointUrl="${spcs_endpoint}")


@pytest.mark.parametrize(
    ("mode", "name", "why"),
    [
        ("KEY_PAIR", "keyPair", "in which an administrator fills in the user and the private key"),
        ("OAUTH", "oauth", "which users can sign in to"),
        ("PROGRAMMATIC_ACCESS_TOKEN", "programmaticAccessToken", "for which each user can enter a token"),
    ],
)
def test_an_inline_preset_is_refused_for_a_reason_that_fits_it(mode: str, name: str, why: str) -> None:
    text = complaint(authenticationMode=mode, **{name: {"mode": "INLINE", "inlinedConfig": {}}})
    assert f"'{LABELS[name]}' is defined inline: select a preset, {why}" in text
