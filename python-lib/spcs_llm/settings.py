"""A model's settings in the DSS connection, as the form leaves them: missing, null, empty, a number as text.

What is wrong is said in one sentence each that names the field as the form labels it, all of them at once.
Of presets, DSS hands over the values: a dict of the parameter set's fields, with a credential's value as text and,
from DSS 14.5 on, something to refresh it by under `__credentials` (Dataiku documentation, "Plugins: parameters").
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Union

from spcs_llm.form_fields import (
    ChoiceField,
    Field,
    FlagField,
    FormValues,
    HostsField,
    KeyField,
    ModelTextField,
    NumberField,
    PresetField,
    TextField,
    UrlField,
    WholeField,
    bare_secret,
)
from spcs_llm.protocol_choices import AUTOMATIC, MODEL_SERVING, OPENAI, PREDICT, PROTOCOLS
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.urls import (
    DSS_VARIABLE,
    HAS_VARIABLE,
    BaseUrl,
    is_snowflakes,
    names_another_account,
    parse_account_url,
    parse_endpoint_url,
    without_method,
)

logger = one_line_logger(__name__)

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
_DAY = 86_400.0


class FIELDS:
    """The fields of the form: each one's name, label, meaning when empty, and bounds, written down once."""

    sign_in = ChoiceField(
        "authenticationMode",
        "Sign-in",
        OAUTH,
        choices=lambda: (OAUTH, KEY_PAIR, PROGRAMMATIC_ACCESS_TOKEN),
    )
    oauth = PresetField("oauth", "OAuth credentials", None, why_a_preset="which users can sign in to")
    key_pair = PresetField(
        "keyPair",
        "Key pair credentials",
        None,
        why_a_preset="in which an administrator fills in the user and the private key once for all models",
    )
    token = PresetField(
        "programmaticAccessToken",
        "Programmatic access token",
        None,
        why_a_preset="for which each user can enter a token",
    )
    account = UrlField(
        "snowflakeAccountUrl",
        "Snowflake account URL",
        None,
        parse=parse_account_url,
        fill_in="give https://<org>-<account>.snowflakecomputing.com",
    )
    endpoint = UrlField(
        "llmEndpointUrl",
        "LLM endpoint URL",
        None,
        parse=parse_endpoint_url,
        fill_in="copy ingress_url from SHOW ENDPOINTS IN SERVICE",
    )
    protocol = ChoiceField(
        "serviceProtocol", "Service protocol", PREDICT, fresh=AUTOMATIC, choices=lambda: tuple(PROTOCOLS)
    )
    handling_mode = ChoiceField(
        "modelHandlingMode", "Model handling mode", "TEXT_GENERATION_OTHER", choices=lambda: HANDLING_MODES
    )
    chat_template = TextField("chatTemplate", "Chat template", None, strip=False)
    model_name = ModelTextField("modelName", "Model name", None)
    method_name = ModelTextField("methodName", "Method name", None)
    input_column = ModelTextField("inputColumn", "Input column", None)
    service_api_key = KeyField("serviceApiKey", "Service API key", None)
    allowed_hosts = HostsField("allowedHosts", "Hosts outside Snowflake", None)
    drop_refused_settings = FlagField("dropRefusedSettings", "Leave out refused settings", False)
    # The connection pool sets aside a place for each.
    max_parallelism = WholeField["int | None"]("maxParallelism", "Max parallelism", None, most=1024)
    max_batch_size = WholeField["int | None"]("maxBatchSize", "Max batch size", None, most=10_000)
    request_timeout = NumberField(
        "requestTimeoutSeconds", "Request timeout", 90.0, least=1, most=_DAY, unit=" seconds"
    )
    query_timeout = NumberField(
        "queryTimeoutSeconds", "Query timeout", 600.0, fresh=1200.0, least=1, most=_DAY, unit=" seconds"
    )
    cold_start_wait = NumberField(
        "coldStartWaitSeconds", "Cold start wait", 300.0, fresh=900.0, most=_DAY, unit=" seconds"
    )
    credits_per_hour = NumberField("spcsCreditsPerHourCost", "Credits per hour", 1.0, most=10_000)
    credit_price = NumberField("snowflakeCreditCost", "Cost of a credit", 3.0, most=10_000, unit=" USD")
    nodes = WholeField[int]("nodeCount", "Number of nodes", 1, most=10_000)


# What a protocol does not read, and the form hides for it.
_NEEDLESS: Mapping[str, tuple[Field[Any], ...]] = {
    OPENAI: (FIELDS.handling_mode, FIELDS.chat_template, FIELDS.method_name, FIELDS.input_column),
    PREDICT: (FIELDS.model_name, FIELDS.method_name, FIELDS.drop_refused_settings),
    MODEL_SERVING: (FIELDS.drop_refused_settings,),
}
LABELS = {field.name: field.label for field in vars(FIELDS).values() if isinstance(field, Field)}


@dataclass(frozen=True)
class OAuthSignIn:
    """A user's OAuth sign-in.

    The credentials are opaque and say nothing certain about whose they are, so that only the token is compared.

    Attributes:
        access_token: The token as DSS resolved it; "" if DSS gives only the credentials.
        credentials: What DSS 14.5 and later refreshes the token by.
    """

    access_token: str = field(repr=False)
    credentials: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class KeyPairSignIn:
    """A key pair that one user of Snowflake has for all models.

    Attributes:
        user: The user's name in Snowflake.
        private_key: The private key as it was pasted: PEM, or the base64 of PKCS#8.
        passphrase: Opens the private key, where it is encrypted.
        role: The role that may use the service, as SHOW ROLES lists it; None for the user's default role.
        account_identifier: `<org>-<account>`; None takes it from the account's URL.
    """

    user: str
    private_key: str = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)
    role: str | None = None
    account_identifier: str | None = None


@dataclass(frozen=True)
class TokenSignIn:
    """A programmatic access token.

    Attributes:
        token: The token's secret.
    """

    token: str = field(repr=False)


@dataclass(frozen=True)
class NoSignIn:
    """Nobody signs in: the model server runs beside its caller, with no gateway of Snowflake between them.

    No field of the form chooses it. The batch gateway makes its settings with it.
    """


SignIn = Union[OAuthSignIn, KeyPairSignIn, TokenSignIn, NoSignIn]


@dataclass(frozen=True)
class CredentialSettings:
    """Who signs in where.

    Attributes:
        sign_in: How, and as whom.
        account: The account's URL; None where the credential says it all.
    """

    sign_in: SignIn
    account: BaseUrl | None


@dataclass(frozen=True)
class EndpointSettings:
    """How a service is reached: clients of equal ones, under one credential, are the same.

    Attributes:
        url: The endpoint's URL.
        service_api_key: The key of the container itself, if it has one.
        request_timeout: Seconds of silence after which a request is given up.
        cold_start_wait: Seconds for which a service that is suspended or starting is tried again.
    """

    url: BaseUrl
    service_api_key: str | None = field(default=None, repr=False)
    request_timeout: float = FIELDS.request_timeout.absent
    cold_start_wait: float = FIELDS.cold_start_wait.absent


@dataclass(frozen=True)
class ProtocolSettings:
    """What a service speaks: models of equal ones, at one endpoint, ask in the same way.

    Attributes:
        name: The protocol's, in `protocol_choices.PROTOCOLS`.
        handling_mode: How a chat becomes a prompt: one of `HANDLING_MODES`.
        chat_template: The Jinja text of a custom template.
        model_name: The model to ask for; None leaves it to the protocol.
        method_name: The model's method in Snowflake's model serving; None leaves it to the protocol.
        input_column: The column of the model's signature that takes the input; None leaves it to the protocol.
        drop_refused_settings: Whether a query is sent again without a setting that the server refuses.
    """

    name: str = FIELDS.protocol.absent
    handling_mode: str = FIELDS.handling_mode.absent
    chat_template: str | None = field(default=None, repr=False)
    model_name: str | None = None
    method_name: str | None = None
    input_column: str | None = None
    drop_refused_settings: bool = FIELDS.drop_refused_settings.absent


@dataclass(frozen=True)
class Rate:
    """What the compute pool costs.

    Attributes:
        credits_per_hour: Credits that one node takes in an hour.
        credit_price: USD for a credit.
        nodes: The number of nodes.
    """

    credits_per_hour: float = FIELDS.credits_per_hour.absent
    credit_price: float = FIELDS.credit_price.absent
    nodes: int = FIELDS.nodes.absent

    def cost(self, busy_seconds: float) -> float:
        """USD for `busy_seconds` of the service."""
        return busy_seconds * self.credits_per_hour * self.nodes * self.credit_price / 3600.0


@dataclass(frozen=True)
class Settings:
    """What a model is and how to reach it. Its groups are what shared objects are found by (see `connections`).

    Attributes:
        credential: Who signs in where.
        endpoint: How the service is reached.
        protocol: What the service speaks.
        max_parallelism: Requests in flight to the endpoint; None leaves it to the protocol.
        max_batch_size: Rows a request; None leaves it to the kind of query.
        query_timeout: Seconds that a query may take in all.
        rate: What the compute pool costs.
    """

    credential: CredentialSettings
    endpoint: EndpointSettings
    protocol: ProtocolSettings = ProtocolSettings()
    max_parallelism: int | None = None
    max_batch_size: int | None = None
    query_timeout: float = FIELDS.query_timeout.absent
    rate: Rate = Rate()


def read_settings(config: Any) -> Settings:
    """Reads a model's settings.

    Args:
        config: A component's config, as DSS hands it over. It may be anything.

    Returns:
        The settings.

    Raises:
        SettingsError: If any of them is wrong. It holds every complaint.
    """
    form = FormValues(config)
    protocol = _protocol_settings(form)
    mode = FIELDS.sign_in.read(form)
    url = FIELDS.endpoint.read(form)
    if url is not None and protocol.method_name is not None:
        url = without_method(url, protocol.method_name)
    account = None if mode == PROGRAMMATIC_ACCESS_TOKEN else FIELDS.account.read(form)
    if account and url and names_another_account(account, url):
        form.complain(
            FIELDS.endpoint,
            f"belongs to another Snowflake account than '{FIELDS.account.label}': the token of one account"
            f" is not sent to another. Correct the one that is wrong. '{FIELDS.account.label}' must have the account's"
            " present name, and not that of a connection for Client Redirect",
        )
    allowed = FIELDS.allowed_hosts.read(form) or ()
    for address, destination in ((FIELDS.account, account), (FIELDS.endpoint, url)):
        if destination is not None:
            _check_destination(form, address, destination, allowed)
    sign_in = read_sign_in(form)
    service_api_key = FIELDS.service_api_key.read(form)
    request_timeout = FIELDS.request_timeout.read(form)
    cold_start_wait = FIELDS.cold_start_wait.read(form)
    max_parallelism, max_batch_size = FIELDS.max_parallelism.read(form), FIELDS.max_batch_size.read(form)
    query_timeout = FIELDS.query_timeout.read(form)
    rate = Rate(FIELDS.credits_per_hour.read(form), FIELDS.credit_price.read(form), FIELDS.nodes.read(form))
    if form.complaints or sign_in is None or url is None:
        raise form.error()
    return Settings(
        CredentialSettings(sign_in, account),
        EndpointSettings(url, service_api_key, request_timeout, cold_start_wait),
        protocol,
        max_parallelism,
        max_batch_size,
        query_timeout,
        rate,
    )


def read_sign_in(form: FormValues) -> SignIn | None:
    """Reads how and as whom to sign in. What is wrong becomes a complaint.

    Args:
        form: What the form left.

    Returns:
        The sign-in; None after a complaint.
    """
    mode = FIELDS.sign_in.read(form)
    return None if form.complaints_about(FIELDS.sign_in) else _SIGN_INS[mode](form)


def _check_destination(form: FormValues, address: UrlField, url: BaseUrl, allowed: Collection[str]) -> None:
    """Users' credentials go to Snowflake, and elsewhere only where an administrator says so.

    Args:
        form: What the form left, and takes a complaint.
        address: The field that has the address.
        url: The address.
        allowed: The hosts that the administrator allows.
    """
    if is_snowflakes(url):
        return
    if url.host not in allowed:
        form.complain(
            address,
            "names a host that is not Snowflake's, and users' tokens would be sent there. If it is a reverse proxy of"
            f" yours, add it to '{FIELDS.allowed_hosts.label}'",
        )
        return
    _tell_destination(address.label, url.host)


@functools.lru_cache(maxsize=256)
def _tell_destination(label: str, host: str) -> None:
    """Once per process."""
    logger.warning(
        "Users' tokens are sent to %s, which '%s' names and '%s' allows: it is not a host of Snowflake.",
        host,
        label,
        FIELDS.allowed_hosts.label,
    )


def _protocol_settings(form: FormValues) -> ProtocolSettings:
    protocol = FIELDS.protocol.read(form)
    form.leave_out(*_NEEDLESS.get(protocol, ()))
    handling_mode = FIELDS.handling_mode.read(form)
    if handling_mode != CUSTOM_TEMPLATE:
        form.leave_out(FIELDS.chat_template)
    settings = ProtocolSettings(
        protocol,
        handling_mode,
        FIELDS.chat_template.read(form),
        FIELDS.model_name.read(form),
        FIELDS.method_name.read(form),
        FIELDS.input_column.read(form),
        FIELDS.drop_refused_settings.read(form),
    )
    lacks_template = settings.chat_template is None and not form.complaints_about(FIELDS.chat_template)
    if handling_mode == CUSTOM_TEMPLATE and lacks_template:
        form.complain(
            FIELDS.chat_template,
            "is empty: paste the model's Jinja template, or choose another handling mode",
        )
    return settings


def _oauth(form: FormValues) -> OAuthSignIn | None:
    preset = FIELDS.oauth.read(form)
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
            FIELDS.oauth,
            "contains settings instead of an access token: select a preset, and do not define it inline",
        )
    else:
        form.complain(
            FIELDS.oauth,
            "does not contain an access token: sign in to the preset's Snowflake login in DSS, under"
            " Profile > Credentials",
        )
    return None


def _key_pair(form: FormValues) -> KeyPairSignIn | None:
    preset = FIELDS.key_pair.read(form)
    if preset is None:
        return None
    user, private_key = _stripped(preset.get("user")), _stripped(preset.get("privateKey"))
    if user is None:
        form.complain(FIELDS.key_pair, "does not name a user: fill in 'User' in the preset")
    if private_key is None:
        form.complain(
            FIELDS.key_pair, "does not contain a private key: paste it into 'Private key' of the preset"
        )
    for label, name in (("User", "user"), ("Role", "role"), ("Account identifier", "accountIdentifier")):
        if DSS_VARIABLE.search(_stripped(preset.get(name)) or ""):
            form.complain(FIELDS.key_pair, f"has a '{label}' that {HAS_VARIABLE}")
    if user is None or private_key is None:
        return None
    passphrase = preset.get("privateKeyPassphrase")
    return KeyPairSignIn(
        user,
        private_key,
        passphrase if isinstance(passphrase, str) and passphrase else None,
        _as_listed(_stripped(preset.get("role"))),
        _stripped(preset.get("accountIdentifier")),
    )


def _token(form: FormValues) -> TokenSignIn | None:
    preset = FIELDS.token.read(form)
    if preset is None:
        return None
    token = preset.get("token")
    token = bare_secret(token) if isinstance(token, str) else ""
    if not token:
        form.complain(
            FIELDS.token,
            "does not contain a token: enter yours for the preset under Profile > Credentials in DSS",
        )
        return None
    if " " in token or not (token.isascii() and token.isprintable()):
        form.complain(FIELDS.token, "is not a token: paste only the token's secret, as Snowflake showed it")
        return None
    return TokenSignIn(token)


_SIGN_INS: dict[str, Callable[[FormValues], SignIn | None]] = {
    OAUTH: _oauth,
    KEY_PAIR: _key_pair,
    PROGRAMMATIC_ACCESS_TOKEN: _token,
}


def _as_listed(role: str | None) -> str | None:
    """Takes the double quotes of SQL off a role. Nothing puts it into capitals: SHOW ROLES lists it as it is."""
    if role is not None and len(role) > 2 and role[0] == role[-1] == '"':
        return role[1:-1].replace('""', '"')
    return role


def _stripped(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None
