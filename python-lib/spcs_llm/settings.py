"""A model's settings in the DSS connection, as the form leaves them: missing, null, empty, a number as text.

What is wrong is said in one sentence each that names the field as the form labels it, all of them at once.
Of presets, DSS hands over the values: a dict of the parameter set's fields, with a credential's value as text and,
from DSS 14.5 on, something to refresh it by under `__credentials` (Dataiku documentation, "Plugins: parameters").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Union

from spcs_llm.cost import Rate
from spcs_llm.errors import SettingsError
from spcs_llm.protocols.registry import OPENAI, PREDICT, PROTOCOLS
from spcs_llm.urls import BaseUrl, UrlError, names_another_account, parse_account_url, parse_endpoint_url

LABELS = {
    "authenticationMode": "Sign-in",
    "oauth": "OAuth credentials",
    "keyPair": "Key pair credentials",
    "programmaticAccessToken": "Programmatic access token",
    "snowflakeAccountUrl": "Snowflake account URL",
    "llmEndpointUrl": "LLM endpoint URL",
    "serviceProtocol": "Service protocol",
    "modelHandlingMode": "Model handling mode",
    "chatTemplate": "Chat template",
    "modelName": "Model name",
    "methodName": "Method name",
    "inputColumn": "Input column",
    "serviceApiKey": "Service API key",
    "dropRefusedSettings": "Leave out refused settings",
    "maxParallelism": "Max parallelism",
    "maxBatchSize": "Max batch size",
    "requestTimeoutSeconds": "Request timeout",
    "queryTimeoutSeconds": "Query timeout",
    "coldStartWaitSeconds": "Cold start wait",
    "spcsCreditsPerHourCost": "Credits per hour",
    "snowflakeCreditCost": "Cost of a credit",
    "nodeCount": "Number of nodes",
}

OAUTH, KEY_PAIR, PROGRAMMATIC_ACCESS_TOKEN = "OAUTH", "KEY_PAIR", "PROGRAMMATIC_ACCESS_TOKEN"
CUSTOM_TEMPLATE = "TEXT_GENERATION_CUSTOM"
HANDLING_MODES = (
    "TEXT_GENERATION_LLAMA_2",
    "TEXT_GENERATION_LLAMA_3",
    "TEXT_GENERATION_MISTRAL",
    "TEXT_GENERATION_ZEPHYR",
    "TEXT_GENERATION_FALCON",
    "TEXT_GENERATION_PHI_2",
    "TEXT_GENERATION_PHI_3",
    "TEXT_GENERATION_GEMMA",
    "TEXT_GENERATION_CHATML",
    "TEXT_GENERATION_OTHER",
    CUSTOM_TEMPLATE,
)
_MAX_PARALLEL = 1024  # the pool sets aside a place for each
_FILL_IN = {
    "llmEndpointUrl": "copy ingress_url from SHOW ENDPOINTS IN SERVICE",
    "snowflakeAccountUrl": "give https://<org>-<account>.snowflakecomputing.com",
}


@dataclass(frozen=True)
class OAuthSignIn:
    """access_token: as DSS resolved it. credentials: what DSS 14.5 and later refreshes it by.

    The credentials are opaque and say nothing certain about whose they are, so that only the token is compared.
    """

    access_token: str = field(repr=False)
    credentials: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class KeyPairSignIn:
    user: str
    private_key: str = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)
    role: str | None = None
    account_identifier: str | None = None


@dataclass(frozen=True)
class TokenSignIn:
    token: str = field(repr=False)


SignIn = Union[OAuthSignIn, KeyPairSignIn, TokenSignIn]


@dataclass(frozen=True)
class CredentialSettings:
    """Who signs in where. account: None where the credential says it all."""

    sign_in: SignIn
    account: BaseUrl | None


@dataclass(frozen=True)
class EndpointSettings:
    """How a service is reached: clients of equal ones, under one credential, are the same. Times are seconds."""

    url: BaseUrl
    service_api_key: str | None = field(default=None, repr=False)
    request_timeout: float = 90.0
    cold_start_wait: float = 300.0


@dataclass(frozen=True)
class ProtocolSettings:
    """What a service speaks: models of equal ones, at one endpoint, ask in the same way.

    Attributes:
        name: The protocol's, in `registry.PROTOCOLS`.
        chat_template: The text of a custom template.
    """

    name: str = PREDICT
    handling_mode: str = "TEXT_GENERATION_OTHER"
    chat_template: str | None = field(default=None, repr=False)
    model_name: str | None = None
    method_name: str | None = None
    input_column: str | None = None
    drop_refused_settings: bool = False


@dataclass(frozen=True)
class Settings:
    """What a model is and how to reach it. Its groups are what shared objects are found by (see `connections`).

    Attributes:
        max_batch_size: Rows a request; None leaves it to the kind of query.
        query_timeout: Seconds that a query may take in all.
    """

    credential: CredentialSettings
    endpoint: EndpointSettings
    protocol: ProtocolSettings = ProtocolSettings()
    max_parallelism: int = 1
    max_batch_size: int | None = None
    query_timeout: float = 600.0
    rate: Rate = field(default=Rate(1.0, 3.0))


def read_settings(config: Mapping[str, Any] | None) -> Settings:
    """The settings in a component's config. Raises SettingsError that holds every complaint."""
    form = _FormReader(config if isinstance(config, Mapping) else {})
    protocol = form.choice("serviceProtocol", PREDICT, tuple(PROTOCOLS))
    mode = form.choice("authenticationMode", OAUTH, (OAUTH, KEY_PAIR, PROGRAMMATIC_ACCESS_TOKEN))
    url = form.url("llmEndpointUrl", parse_endpoint_url)
    account = (
        None if mode == PROGRAMMATIC_ACCESS_TOKEN else form.url("snowflakeAccountUrl", parse_account_url)
    )
    if account and url and names_another_account(account, url):
        form.complain(
            "llmEndpointUrl",
            f"belongs to another Snowflake account than '{LABELS['snowflakeAccountUrl']}': the token of one account"
            " is not sent to another. Correct the one that is wrong",
        )
    sign_in = _SIGN_INS[mode](form)
    protocol_settings = _protocol_settings(form, protocol)
    max_parallelism = form.whole("maxParallelism", least=1, most=_MAX_PARALLEL)
    max_batch_size = form.whole("maxBatchSize", least=1)
    service_api_key = form.text("serviceApiKey")
    request_timeout = form.number("requestTimeoutSeconds", 90.0, least=1.0)
    query_timeout = form.number("queryTimeoutSeconds", 600.0, least=1.0)
    cold_start_wait = form.number("coldStartWaitSeconds", 300.0)
    rate = Rate(
        form.number("spcsCreditsPerHourCost", 1.0),
        form.number("snowflakeCreditCost", 3.0),
        form.whole("nodeCount", least=1) or 1,
    )
    if form.complaints or sign_in is None or url is None:
        raise SettingsError(" ".join(form.complaints))
    return Settings(
        CredentialSettings(sign_in, account),
        EndpointSettings(url, service_api_key, request_timeout, cold_start_wait),
        protocol_settings,
        max_parallelism or 1,
        max_batch_size,
        query_timeout,
        rate,
    )


def _protocol_settings(form: _FormReader, protocol: str) -> ProtocolSettings:
    settings = ProtocolSettings(
        protocol,
        form.choice("modelHandlingMode", "TEXT_GENERATION_OTHER", HANDLING_MODES),
        form.text("chatTemplate", strip=False),
        form.text("modelName"),
        form.text("methodName"),
        form.text("inputColumn"),
        form.flag("dropRefusedSettings"),
    )
    if settings.handling_mode == CUSTOM_TEMPLATE and protocol != OPENAI and settings.chat_template is None:
        form.complain(
            "chatTemplate", "is empty: paste the model's Jinja template, or choose another handling mode"
        )
    return settings


def _oauth(form: _FormReader) -> OAuthSignIn | None:
    preset = form.preset("oauth")
    if preset is None:
        return None
    token = preset.get("snowflake_oauth")
    credentials = preset.get("__credentials")
    credentials = credentials.get("snowflake_oauth") if isinstance(credentials, Mapping) else None
    if isinstance(token, str) and token.strip():
        return OAuthSignIn(token.strip(), credentials)
    if credentials is not None and not token:
        return OAuthSignIn("", credentials)
    if isinstance(token, Mapping):
        form.complain(
            "oauth", "holds settings in place of an access token: choose a preset, do not define it inline"
        )
    else:
        form.complain(
            "oauth",
            "holds no access token: sign in to the preset's Snowflake login in DSS, under Profile > Credentials",
        )
    return None


def _key_pair(form: _FormReader) -> KeyPairSignIn | None:
    preset = form.preset("keyPair")
    if preset is None:
        return None
    user, private_key = _stripped(preset.get("user")), _stripped(preset.get("privateKey"))
    if user is None:
        form.complain("keyPair", "names no user: fill in 'User' in the preset")
    if private_key is None:
        form.complain("keyPair", "holds no private key: paste it into 'Private key' of the preset")
    if user is None or private_key is None:
        return None
    passphrase = preset.get("privateKeyPassphrase")
    return KeyPairSignIn(
        user,
        private_key,
        passphrase if isinstance(passphrase, str) and passphrase else None,
        _stripped(preset.get("role")),
        _stripped(preset.get("accountIdentifier")),
    )


def _token(form: _FormReader) -> TokenSignIn | None:
    preset = form.preset("programmaticAccessToken")
    if preset is None:
        return None
    token = preset.get("token")
    token = token.strip().strip("\"'").strip() if isinstance(token, str) else ""
    if not token:
        form.complain(
            "programmaticAccessToken",
            "holds no token: enter yours for the preset under Profile > Credentials in DSS",
        )
        return None
    if any(character.isspace() for character in token) or not token.isascii():
        form.complain(
            "programmaticAccessToken", "is no token: paste the token's secret alone, as Snowflake showed it"
        )
        return None
    return TokenSignIn(token)


_SIGN_INS: dict[str, Callable[[_FormReader], SignIn | None]] = {
    OAUTH: _oauth,
    KEY_PAIR: _key_pair,
    PROGRAMMATIC_ACCESS_TOKEN: _token,
}


def _stripped(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None


class _FormReader:
    """The values of the form, and what is wrong with them. After a complaint a value is of no use."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.complaints: list[str] = []

    def complain(self, name: str, problem: str) -> None:
        self.complaints.append(f"'{LABELS[name]}' {problem}.")

    def text(self, name: str, *, strip: bool = True) -> str | None:
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.complain(name, "must be text")
            return None
        return (str(value).strip() if strip else str(value)) if str(value).strip() else None

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if isinstance(value, str) and value.strip().lower() in ("true", "false", ""):
            return value.strip().lower() == "true"
        if value is None or value in (0, 1):
            return bool(value)
        self.complain(name, "must be true or false")
        return False

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name)
        if value is None:
            return default
        if value.upper() not in choices:
            self.complain(name, f"must be one of {', '.join(choices)}")
            return default
        return value.upper()

    def url(self, name: str, parse: Callable[[str], BaseUrl]) -> BaseUrl | None:
        value = self.text(name)
        if value is None:
            self.complain(name, f"is empty: {_FILL_IN[name]}")
            return None
        try:
            return parse(value)
        except UrlError as error:
            self.complain(name, str(error))
            return None

    def number(self, name: str, default: float, *, least: float = 0.0) -> float:
        value = self._values.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return default
        number = _number(value)
        if number is None or number < least:
            self.complain(name, f"must be a number of at least {least:g}")
            return default
        return number

    def whole(self, name: str, *, least: int, most: float = math.inf) -> int | None:
        value = self._values.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        number = _number(value)
        if number is None or number != int(number) or not least <= number <= most:
            limits = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
            self.complain(name, f"must be a whole number {limits}")
            return None
        return int(number)

    def preset(self, name: str) -> Mapping[str, Any] | None:
        value = self._values.get(name)
        if not value or value == {"mode": "NONE"}:
            self.complain(name, "is empty: choose a preset")
            return None
        if isinstance(value, Mapping) and value.get("mode") == "INLINE":
            self.complain(name, "is defined inline: choose a preset, which users can sign in to")
            return None
        if not isinstance(value, Mapping) or value.get("mode") in ("PRESET", "NONE"):
            self.complain(
                name, "names a preset that DSS did not resolve: choose it again, and check who may use it"
            )
            return None
        return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
