"""Every fault that the sandbox can arm, the step of the diagnosis that must name it, and what its hint says.

A row that ends in `WARNING` is of a fault that queries survive; one that ends in `OK`, of a fault that they do not
notice. `test_no_kind_of_fault_is_forgotten` holds the table to the sandbox's own lists.
"""

# ruff: noqa: E501 - a row is easier to compare with its neighbours than to read on its own
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.snowflake import Snowflake, dead_ends
from spcs_llm.control.diagnosis.diagnosis import Diagnosis, diagnose
from spcs_llm.control.diagnosis.finding import FAILED, OK, WARNING, Finding
from tests.waiting import FAR_TOO_LONG

KEY_PAIR, TOKEN = "KEY_PAIR", "PROGRAMMATIC_ACCESS_TOKEN"
ENDLESS = ("hang", "trickle_headers", "trickle_body", "stall")
# Seconds for each step, where one of them would not end by itself. The second is for machines that are so busy that a
# step which works does not end in the first.
LIMITS = (1.0, 8.0)
# What they say is measured: a machine that stands still meanwhile spoils it, and not each time.
MEASURED = ("Streaming", "Parallelism")


@dataclass(frozen=True)
class Row:
    """One fault: `step` is the first that must not be ok, with `result`; `hint` are words of its hint or of `seen`.

    `or_step`: the same fault met earlier, where it depends on the moment who meets it.
    """

    name: str
    fault: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    step: str = ""
    result: str = FAILED
    hint: str = ""
    service: str = "predict"
    where: str = ""
    on: str | None = None
    times: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Snowflake, Any], None] | None = None
    or_step: str = ""

    def fails_in(self, steps: list[str]) -> bool:
        """Whether the steps that failed are those that must."""
        return steps in ([self.step], [self.or_step]) if self.result == FAILED else not steps

    def is_shown_by(self, findings: Sequence[Finding]) -> bool:
        """Whether the steps came to what they must."""
        warned = [found.step for found in findings if found.result == WARNING]
        failed = [found.step for found in findings if found.result == FAILED]
        return self.fails_in(failed) and (self.result != WARNING or self.step in warned)

    @property
    def limits(self) -> tuple[float, ...]:
        """Seconds for each step, in each look at it until it shows what it must."""
        if self.fault in ENDLESS or any(map(callable, self.settings.values())):
            return LIMITS
        return (FAR_TOO_LONG,) * (3 if self.step in MEASURED else 1)


def at_login(
    fault: str, step: str = "Sign-in", hint: str = "", result: str = FAILED, on: str = "login", **params: Any
) -> Row:
    return Row(
        f"login: {fault} {params or ''} on {on}", fault, params, step, result, hint, where="account", on=on
    )


def at_endpoint(
    fault: str, step: str, hint: str = "", result: str = FAILED, service: str = "predict", **params: Any
) -> Row:
    return Row(f"{service}: {fault} {params or ''}", fault, params, step, result, hint, service=service)


def code(number: str, hint: str) -> Row:
    return at_login("refuse", hint=hint, code=number, message=f"message of {number}")


GRANT = "GRANT SERVICE ROLE"
ACCOUNT_URL, ENDPOINT_URL = "'Snowflake account URL'", "'LLM endpoint URL'"
SIGN_IN_AGAIN = "Profile > Credentials"
LOGS = "SYSTEM$GET_SERVICE_LOGS"

LOGINS = [
    code("390100", "LOGIN_NAME"),
    code("390101", SIGN_IN_AGAIN),
    code("390120", "interactively"),
    code("390122", "interactively"),
    code("390123", "interactively"),
    code("390126", "interactively"),
    code("390127", "interactively"),
    code("390129", "interactively"),
    code("390132", "interactively"),
    code("390144", "RSA_PUBLIC_KEY"),
    code("390186", "'Scope'"),
    code("390189", "'Scope'"),
    code("390303", SIGN_IN_AGAIN),
    code("390317", "ALLOWED_ROLES_LIST"),
    code("390318", SIGN_IN_AGAIN),
    code("390422", "network policy"),
    code("394300", "RSA_PUBLIC_KEY"),
    code("394301", "clock"),
    code("394304", "RSA_PUBLIC_KEY_FP"),
    code("394400", "programmatic access token"),
    code("399999", "LOGIN_HISTORY"),
    at_login("respond", hint=ACCOUNT_URL, status=403, body="Forbidden"),
    at_login("respond", hint=ACCOUNT_URL, status=404),
    at_login("respond", hint=ACCOUNT_URL, status=513),
    at_login("respond", hint="status.snowflake.com", status=503),
    at_login("redirect", hint=ACCOUNT_URL),
    at_login("redirect", hint=ACCOUNT_URL, to="elsewhere", status=307),
    at_login("html_200", hint=ACCOUNT_URL),
    at_login("empty_200", hint=ACCOUNT_URL),
    at_login("gateway_error", hint="LOGIN_HISTORY"),
    at_login("network_policy", hint="network policy"),
    at_login("hidden_404", hint=ACCOUNT_URL),
    at_login("host_recreated", hint=ENDPOINT_URL),
    at_login("access_denied", hint=ACCOUNT_URL),
    at_login("no_hosts", hint="status.snowflake.com"),
    at_login("upstream_connect_error", hint="status.snowflake.com"),
    at_login("model_loading", hint="status.snowflake.com"),
    at_login("gateway_timeout", hint="status.snowflake.com"),
    at_login("too_large", hint=ACCOUNT_URL),
    at_login("too_many_requests", hint="status.snowflake.com", retry_after="0"),
    at_login("arrow_500", hint="status.snowflake.com"),
    at_login("truncated_json", hint=ACCOUNT_URL),
    at_login("non_utf8", hint=ACCOUNT_URL),
    at_login("bom", step="", result=OK),
    at_login("huge_body", hint=ACCOUNT_URL, bytes=20_000_000),
    at_login("gzip_bomb", hint=ACCOUNT_URL, bytes=20_000_000),
    at_login("rewrite_json", hint=ACCOUNT_URL, drop=["data.token"]),
    at_login("rewrite_json", hint="LOGIN_HISTORY", drop=["data"]),
    at_login("rewrite_json", step="Session", result=WARNING, hint="DSS 14.5", drop=["data.masterToken"]),
    at_login("rewrite_json", step="Session", result=WARNING, hint="'Scope'", set={"data.sessionInfo.roleName": "PUBLIC"}),
    at_login("rows", step="Sign-in", hint="LOGIN_HISTORY", how="none"),
    at_login("delay", step="", result=OK, seconds=0.05),
    at_login("reset", hint=ACCOUNT_URL),
    at_login("close", hint=ACCOUNT_URL),
    at_login("lost_reply", hint=ACCOUNT_URL),
    at_login("hang", hint=ACCOUNT_URL),
    at_login("garbage", hint=ACCOUNT_URL),
    at_login("wrong_content_length", hint=ACCOUNT_URL),
    at_login("bad_chunk", hint=ACCOUNT_URL),
    at_login("trickle_headers", hint=ACCOUNT_URL, seconds=0.5),
    at_login("trickle_body", hint=ACCOUNT_URL, seconds=0.5),
    at_login("close_mid_body", hint=ACCOUNT_URL),
    at_login("reset_mid_body", hint=ACCOUNT_URL),
    at_login("stall", hint=ACCOUNT_URL),
    at_login("refuse", step="Session", result=WARNING, hint="DSS 14.5", on="token", code="390114"),
    at_login("reset", step="Session", result=WARNING, hint="DSS 14.5", on="token"),
    Row("login: refuse_connection", "refuse_connection", step="Sign-in", or_step="TCP (account)", hint=ACCOUNT_URL, where="account"),
    Row("login: reset once", "reset", step="Sign-in", result=WARNING, hint="status.snowflake.com", where="account", on="login", times=1),
    Row("key pair: refused", "refuse", {"code": "390144"}, "Sign-in", hint="RSA_PUBLIC_KEY", where="account", on="endpoint_token", settings={"authenticationMode": KEY_PAIR}),
    Row("key pair: the host is unknown", "respond", {"status": 400, "body": "Could not find the service associated with endpoint x"}, "Sign-in", hint=ENDPOINT_URL, where="account", on="endpoint_token", settings={"authenticationMode": KEY_PAIR}),
    Row("key pair: a web page", "html_200", step="Sign-in", hint=ACCOUNT_URL, where="account", on="endpoint_token", settings={"authenticationMode": KEY_PAIR}),
]  # fmt: skip

INGRESS = [
    at_endpoint("redirect", "Gateway", GRANT),
    at_endpoint("redirect", "Gateway", GRANT, to="elsewhere", status=307),
    at_endpoint("gateway_error", "Gateway", GRANT),
    at_endpoint("network_policy", "Gateway", "network policy"),
    at_endpoint("hidden_404", "Gateway", GRANT),
    at_endpoint("host_recreated", "Gateway", "SHOW ENDPOINTS"),
    at_endpoint("access_denied", "Gateway", GRANT),
    at_endpoint("arrow_500", "Gateway", "status.snowflake.com"),
    at_endpoint("reset", "Gateway", ENDPOINT_URL),
    at_endpoint("close", "Gateway", ENDPOINT_URL),
    at_endpoint("lost_reply", "Gateway", ENDPOINT_URL),
    at_endpoint("hang", "Gateway", "does not answer"),
    at_endpoint("garbage", "Gateway", ENDPOINT_URL),
    at_endpoint("trickle_headers", "Gateway", "does not answer", seconds=0.5),
    Row("predict: refuse_connection", "refuse_connection", step="Gateway", or_step="TCP (endpoint)", hint=ENDPOINT_URL),
    Row("predict: reset once", "reset", step="Gateway", result=WARNING, hint="drops connections", times=1),
    Row("predict: refused once", "redirect", step="Gateway", result=WARNING, hint="again", times=1),
    at_endpoint("no_hosts", "Service", "SHOW SERVICE CONTAINERS"),
    at_endpoint("upstream_connect_error", "Service", "SHOW SERVICE CONTAINERS"),
    at_endpoint("model_loading", "Service", "SHOW SERVICE CONTAINERS"),
    at_endpoint("respond", "Service", "'Cold start wait'", status=503, json={"error": {"message": "Loading model"}}),
    at_endpoint("gateway_timeout", "Service", "90 s"),
    at_endpoint("too_many_requests", "Service", "'Max parallelism'", retry_after="0"),
    at_endpoint("respond", "Service", LOGS, status=503, body="busy"),
    at_endpoint("respond", "Service", "'Service API key'", status=401, json={"error": {"message": "Invalid API key"}}),
    at_endpoint("html_200", "Protocol", ENDPOINT_URL),
    at_endpoint("respond", "Protocol", ENDPOINT_URL, status=404, json={"error": {"message": "Not Found"}}),
    at_endpoint("too_large", "Query", "'Max batch size'"),
    at_endpoint("respond", "Query", LOGS, status=500, body="oops"),
    at_endpoint("empty_200", "Query", "'Service protocol'"),
    at_endpoint("truncated_json", "Query", "'Service protocol'"),
    at_endpoint("non_utf8", "Query", "'Service protocol'"),
    at_endpoint("bom", "", result=OK),
    at_endpoint("huge_body", "Protocol", ENDPOINT_URL, bytes=20_000_000),
    at_endpoint("gzip_bomb", "Protocol", ENDPOINT_URL, bytes=20_000_000),
    at_endpoint("rows", "Query", how="none"),
    at_endpoint("rewrite_json", "Query", set={"data.0.1": {"error": "CUDA out of memory"}}),
    at_endpoint("delay", "", result=OK, seconds=0.02),
    at_endpoint("trickle_body", "Gateway", "does not answer", seconds=0.2),
    at_endpoint("wrong_content_length", "Query", "closes connections"),
    at_endpoint("bad_chunk", "Query", "closes connections"),
    at_endpoint("close_mid_body", "Query", "closes connections"),
    at_endpoint("reset_mid_body", "Query", "closes connections"),
    at_endpoint("stall", "Gateway", "does not answer"),
    Row("openai: stream_error", "stream_error", step="Streaming", result=WARNING, hint="A stream failed before", service="openai", on="/v1/chat"),
    Row("openai: buffered", "buffered", step="Streaming", result=WARNING, hint="buffers", service="openai", on="/v1/chat"),
    Row("predict: refuse", "refuse", {"code": "390112"}, "Query", hint="", on="/predict"),
]  # fmt: skip


def state(name: str, **options: Any) -> Callable[[Snowflake, Any], None]:
    return lambda snowflake, service: service.set_state(name, **options)


def endpoint(**attributes: Any) -> Callable[[Snowflake, Any], None]:
    """Changes how the ingress admits; put back after the row."""

    def change(snowflake: Snowflake, service: Any) -> None:
        for name, value in attributes.items():
            setattr(service.endpoint, name, value)

    return change


def expire(kind: str) -> Callable[[Snowflake, Any], None]:
    return lambda snowflake, service: snowflake.world.expire_all(kind)


SERVICES = [
    Row("state: running", before=state("running"), result=OK),
    Row("state: suspended", step="Service", hint="SHOW SERVICE CONTAINERS", before=state("suspended")),
    Row("state: no_hosts", step="Service", hint="SHOW SERVICE CONTAINERS", before=state("no_hosts")),
    Row("state: connect_error", step="Service", hint="SHOW SERVICE CONTAINERS", before=state("connect_error")),
    Row("state: loading", step="Service", hint="SHOW SERVICE CONTAINERS", before=state("loading")),
    Row("access: the role may not call", step="Gateway", hint=GRANT, before=endpoint(roles=frozenset({"OTHER"}))),
    Row("access: the same, hidden", step="Gateway", hint=GRANT, before=endpoint(roles=frozenset({"OTHER"}), unauthenticated="404")),
    Row("access: no session tokens, redirected", step="Gateway", hint=GRANT, before=endpoint(accepts=frozenset({"pat"}))),
    Row("access: no session tokens, 401", step="Gateway", hint=GRANT, before=endpoint(accepts=frozenset({"pat"}), unauthenticated="401")),
    Row("access: no session tokens, 403", step="Gateway", hint=GRANT, before=endpoint(accepts=frozenset({"pat"}), unauthenticated="403")),
    Row("access: no session tokens, 404", step="Gateway", hint=GRANT, before=endpoint(accepts=frozenset({"pat"}), unauthenticated="404")),
    Row("access: the access token has expired", step="Sign-in", hint=SIGN_IN_AGAIN, before=expire("oauth")),
    Row("token: expired", step="Gateway", hint="has not expired", before=expire("pat"), settings={"authenticationMode": TOKEN}),
    Row("token: no network policy", step="Gateway", hint="network policy", settings={"authenticationMode": TOKEN, "programmaticAccessToken": "denied"}),
    Row("ingress: silent for too long", step="Query", hint="90 s", service="slow", before=endpoint(idle_seconds=0.3)),
    Row("service: its key is missing", step="Service", hint="'Service API key'", service="locked"),
    Row("service: its key is wrong", step="Service", hint="'Service API key'", service="locked", settings={"serviceApiKey": "wrong"}),
    Row("service: refuses to stream", step="Streaming", result=WARNING, hint="does not stream", service="whole"),
    Row("service: the model fails", step="Query", hint="", service="failing"),
    Row("service: no such model", step="Models", hint="'Model name'", service="openai", settings={"modelName": "other"}),
    Row("service: no such method", step="Protocol", hint="'Method name'", service="serving", settings={"methodName": "predict_it"}),
    Row("service: speaks another protocol", step="Protocol", hint="'Service protocol'", service="openai", settings={"serviceProtocol": "PREDICT"}),
    Row("service: several replicas, one request", step="Parallelism", result=WARNING, hint="'Max parallelism'", service="parallel", settings={"maxParallelism": 1}),
    Row("model: embeds", result=OK, service="embedding"),
]  # fmt: skip

HOSTS = [
    Row("host: refused", step="TCP (endpoint)", hint=ENDPOINT_URL, settings={"llmEndpointUrl": dead_ends.refused}),
    Row("host: hanging_connect", step="TCP (endpoint)", hint="firewall", settings={"llmEndpointUrl": dead_ends.hanging_connect}),
    Row("host: silent", step="TLS (endpoint)", hint=ENDPOINT_URL, settings={"llmEndpointUrl": dead_ends.silent}),
    Row("host: handshake_cut", step="TLS (endpoint)", hint=ENDPOINT_URL, settings={"llmEndpointUrl": dead_ends.handshake_cut}),
    Row("account: refused", step="TCP (account)", hint=ACCOUNT_URL, settings={"snowflakeAccountUrl": dead_ends.refused}),
    Row("account: hanging_connect", step="TCP (account)", hint="firewall", settings={"snowflakeAccountUrl": dead_ends.hanging_connect}),
    Row("account: silent", step="TLS (account)", hint=ACCOUNT_URL, settings={"snowflakeAccountUrl": dead_ends.silent}),
    Row("account: handshake_cut", step="TLS (account)", hint=ACCOUNT_URL, settings={"snowflakeAccountUrl": dead_ends.handshake_cut}),
    Row("host: no such name", step="DNS (endpoint)", hint="SHOW ENDPOINTS", settings={"llmEndpointUrl": "https://no-such-host.invalid", "allowedHosts": "no-such-host.invalid"}),
    Row("account: no such name", step="DNS (account)", hint="name servers", settings={"snowflakeAccountUrl": "https://no-such-host.invalid", "allowedHosts": "no-such-host.invalid"}),
]  # fmt: skip

TABLE = [*LOGINS, *INGRESS, *SERVICES, *HOSTS]


@contextlib.contextmanager
def account() -> Iterator[Snowflake]:
    """An account with the services that the rows name."""
    with Snowflake() as made:
        made.create_service("predict")
        made.create_service("openai", "scripted", "OPENAI", tokens=30, token_seconds=0.02)
        made.create_service("serving", "scripted", "MODEL_SERVING")
        made.create_service("slow", "scripted", "PREDICT", request_seconds=1.0)
        made.create_service("locked", "scripted", "OPENAI", api_key="right")
        made.create_service("whole", "scripted", "OPENAI", stream="refused", tokens=30)
        made.create_service("failing", "scripted", "PREDICT", max_rows=0)
        # Its answers take long beside what a busy machine adds.
        made.create_service("parallel", "scripted", "OPENAI", replicas=8, request_seconds=0.3)
        made.create_service("embedding", "scripted", "PREDICT", kind="embedding")
        yield made


def key_of(snowflake: Snowflake) -> str:
    """A private key, in PEM format, whose public key is ALICE's."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    snowflake.register_public_key("ALICE", public)
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return private.decode()


@contextlib.contextmanager
def changed(snowflake: Snowflake, row: Row) -> Iterator[None]:
    """The fault is armed within the block, and nothing of it is left afterwards."""
    service = snowflake.service(row.service)
    before = {
        name: getattr(service.endpoint, name)
        for name in ("roles", "accepts", "unauthenticated", "idle_seconds")
    }
    snowflake.faults.clear()
    if row.fault:
        where = row.where or row.service
        snowflake.faults.arm(row.fault, where, on=row.on, times=row.times, **row.params)
    try:
        yield
    finally:
        snowflake.faults.clear()
        service.set_state("running")
        for name, value in before.items():
            setattr(service.endpoint, name, value)


def config_of(snowflake: Snowflake, row: Row, private_key: str, undo: contextlib.ExitStack) -> dict[str, Any]:
    settings = dict(row.settings)
    for name, value in settings.items():
        if callable(value):
            settings[name] = f"https://{undo.enter_context(value())}"
    denied = settings.get("programmaticAccessToken") == "denied"
    token = snowflake.create_pat(network_allowed=not denied)
    return {
        "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
        "keyPair": {"user": "ALICE", "privateKey": private_key, "accountIdentifier": "MYORG-MYACCT"},
        "snowflakeAccountUrl": snowflake.account_url,
        "llmEndpointUrl": snowflake.service(row.service).url,
        "serviceProtocol": "AUTOMATIC",
        **settings,
        "programmaticAccessToken": {"token": token},
    }


def diagnosed(snowflake: Snowflake, row: Row, private_key: str) -> Diagnosis:
    with contextlib.ExitStack() as undo:
        config = config_of(snowflake, row, private_key, undo)
        with changed(snowflake, row):
            if row.before is not None:
                row.before(snowflake, snowflake.service(row.service))
            for limit in row.limits:
                diagnosis = diagnose(config, limit=limit)
                if row.is_shown_by(diagnosis.findings):
                    break
            return diagnosis
