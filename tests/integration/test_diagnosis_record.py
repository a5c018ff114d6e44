"""The record of a diagnosis holds numbers and words of closed lists, whatever servers, forms and accounts choose."""

# ruff: noqa: E501 - a row is easier to compare with its neighbours than to read on its own
from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.snowflake import Snowflake
from spcs_llm import errors
from spcs_llm.control.diagnosis import record_words
from spcs_llm.control.diagnosis.diagnosis import Diagnosis, diagnose
from spcs_llm.control.diagnosis.finding import FAILED, OK
from spcs_llm.control.diagnosis.record import as_text, record
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.protocol_choices import PROTOCOLS
from spcs_llm.settings import LABELS
from tests.logs import everything_logged
from tests.unit.scripted_session import ScriptedSession, rows

MARK = "zebra"  # in everything that somebody else chooses; the plugin has no such word
TOKEN = f"{MARK}-token-{'x' * 40}"
VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}")


@pytest.fixture(scope="module")
def snowflake() -> Iterator[Snowflake]:
    with Snowflake() as made:
        made.world.add_user("ZEBRA", "ZEBRA_ROLE")
        made.create_service("chat", "scripted", "OPENAI", roles=None, tokens=20, token_seconds=0.01)
        yield made


def session() -> ScriptedSession:
    columns = f"name database_name schema_name status compute_pool {MARK}_column"
    return ScriptedSession(
        {
            "SHOW SERVICES": rows(columns, f"{MARK} | {MARK} | {MARK} | RUNNING | {MARK} | {MARK}"),
            "SHOW SERVICE CONTAINERS": rows(
                "instance_id container_name status message restart_count last_exit_code",
                f"0 | {MARK} | PENDING | {MARK} | 3 | {MARK}",
            ),
            "DESCRIBE COMPUTE POOL": rows(
                "name state error_code status_message", f"{MARK} | {MARK} | {MARK} | {MARK}"
            ),
            "SELECT SYSTEM$GET_SERVICE_LOGS": [{MARK: MARK}],
        }
    )


def config(snowflake: Snowflake, **more: Any) -> dict[str, Any]:
    return {
        "oauth": {
            "snowflake_oauth": snowflake.issue_oauth_token("ZEBRA", "ZEBRA_ROLE"),
            "__credentials": {"snowflake_oauth": {MARK: MARK}},
            "scope": MARK,
            MARK: MARK,
        },
        "keyPair": {"user": MARK, "role": MARK, "privateKey": MARK, "accountIdentifier": MARK},
        "programmaticAccessToken": {"token": TOKEN},
        "snowflakeAccountUrl": snowflake.account_url,
        "llmEndpointUrl": snowflake.service("chat").url,
        "serviceProtocol": "AUTOMATIC",
        "serviceApiKey": TOKEN,
        "chatTemplate": MARK,
        "inputColumn": MARK,
        "methodName": MARK,
        MARK: MARK,
        **more,
    }


def options() -> dict[str, Any]:
    return {"open_sql": session, "service": QualifiedName(MARK, MARK, MARK), "log_lines": 5}


LOUD = {
    "headers": {f"X-{MARK}": MARK, "Set-Cookie": f"sfc-ss-{MARK}={MARK}", "Location": f"https://{MARK}.example/{MARK}"},
    "content_type": f"application/{MARK}",
}  # fmt: skip
GATEWAY_JSON = {"responseType": f"ERROR_{MARK.upper()}", "requestId": MARK, "detail": MARK, "code": MARK}
SCENES: dict[str, Callable[[Snowflake], dict[str, Any]]] = {
    "nothing is wrong": lambda sf: {},
    "the login refuses": lambda sf: arm(sf, "refuse", "account", on="login", code="390303", message=MARK),
    "the login has a code of its own": lambda sf: arm(sf, "respond", "account", on="login", status=403, json={"code": MARK, "message": MARK}),
    "the gateway refuses": lambda sf: arm(sf, "respond", "chat", status=403, json=GATEWAY_JSON, headers=LOUD["headers"]),
    "the gateway redirects": lambda sf: arm(sf, "respond", "chat", status=302, body=MARK, **LOUD),
    "the container refuses": lambda sf: arm(sf, "respond", "chat", status=400, json={"error": {"message": MARK, "type": MARK}}, headers=LOUD["headers"]),
    "the container fails": lambda sf: arm(sf, "respond", "chat", status=500, body=MARK, **LOUD),
    "a page": lambda sf: arm(sf, "respond", "chat", status=200, body=f"<html>{MARK}", **LOUD),
    "a model that is not there": lambda sf: {"modelName": MARK},
    "settings that cannot be read": lambda sf: {"llmEndpointUrl": f"http://{MARK}.example/{MARK}", "maxParallelism": MARK, "serviceProtocol": MARK, "authenticationMode": MARK},
    "a key that cannot be read": lambda sf: {"authenticationMode": "KEY_PAIR"},
    "a token of one's own": lambda sf: {"authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN"},
    "a host that does not exist": lambda sf: {"llmEndpointUrl": f"https://{MARK}.invalid", "allowedHosts": f"{MARK}.invalid"},
    "presets that are none": lambda sf: {"oauth": MARK, "keyPair": [MARK], "programmaticAccessToken": {MARK: {MARK: MARK}}},
}  # fmt: skip


def arm(snowflake: Snowflake, kind: str, where: str, **more: Any) -> dict[str, Any]:
    snowflake.faults.arm(kind, where, times=None, **more)
    return {}


def diagnosed(snowflake: Snowflake, scene: str) -> tuple[Diagnosis, dict[str, Any], str]:
    snowflake.faults.clear()
    more = SCENES[scene](snowflake)
    with everything_logged() as log:
        try:
            made = diagnose(
                config(snowflake, **more), lambda credentials: oauth_token(snowflake), limit=5, **options()
            )
        finally:
            snowflake.faults.clear()
    told = record(made.subject, made.findings, f"14.5.{MARK}")
    return made, json.loads(as_text(told)), log.getvalue()


def oauth_token(snowflake: Snowflake) -> str:
    return snowflake.issue_oauth_token("ZEBRA", "ZEBRA_ROLE")


@pytest.mark.sample(1)
@pytest.mark.parametrize("scene", SCENES)
def test_nothing_of_what_others_chose_is_in_the_record(snowflake: Snowflake, scene: str) -> None:
    made, told, _ = diagnosed(snowflake, scene)
    text = json.dumps(told)
    assert MARK not in text.lower()
    for address in (snowflake.account_url, snowflake.service("chat").url):
        host = address.partition("://")[2]
        assert host not in text
        assert host.partition(":")[2] not in re.findall(r"\d+", text)
    assert "127.0.0.1" not in text
    assert "oauth-" not in text
    assert len(as_text(told)) < 10_000, "it is to be copied from a cell of a table"
    assert made.findings


@pytest.mark.exhaustive
@pytest.mark.parametrize("scene", SCENES)
def test_every_text_in_the_record_is_a_word_of_a_closed_list(snowflake: Snowflake, scene: str) -> None:
    made, told, _ = diagnosed(snowflake, scene)
    known = {
        *record_words.HEADERS, *record_words.CONTENT_TYPES, *record_words.COLUMNS, *record_words.TYPES,
        *PROTOCOLS, *LABELS, *record_words.BOOLEANS, *(found.step for found in made.findings), record_words.OTHER,
        "ok", "warning", "failed", "skipped", "chat", "embed", "rerank", "account", "endpoint", "GET", "POST",
        "same host", "another host", "loopback", "public", "private link", "allowed", "linux", "darwin", "win32",
        "OAUTH", "KEY_PAIR", "PROGRAMMATIC_ACCESS_TOKEN", "TLSv1.2", "TLSv1.3",
        "settings", "query", "login", "network", "ingress", "service", "model", "SQL", "plugin",
        "SHOW SERVICES", "SHOW SERVICE CONTAINERS", "DESCRIBE COMPUTE POOL", "SELECT",
    }  # fmt: skip
    classes = set(vars(errors)) | {"NotFoundOrDenied", "TokenOrKeyRefused", "TokenOrAccessDenied"}
    strange = [
        (path, text)
        for path, text in texts(told)
        if text not in known
        and not (path.endswith(".class") and text in classes)
        and not (path.startswith(".versions") and VERSION.fullmatch(text))
        and not (path.endswith(".code") and text.isdigit())
    ]
    assert strange == []


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, path)


@pytest.mark.sample(1)
@pytest.mark.parametrize("scene", SCENES)
def test_no_secret_and_no_question_is_in_the_log_or_in_the_findings(snowflake: Snowflake, scene: str) -> None:
    made, _, log = diagnosed(snowflake, scene)
    shown = "\n".join(f"{found.seen} {found.hint}" for found in made.findings)
    for text in (log, shown):
        assert TOKEN not in text
        assert "oauth-" not in text
        assert "ETMsDg" not in text
        assert "Count from 1" not in text
        assert "word0" not in text  # of the scripted model's answers
    ours = [line for line in log.splitlines() if line.startswith("Diagnosis:")]
    assert len(ours) == made.count
    assert MARK not in "\n".join(ours)


@pytest.mark.exhaustive
def test_the_record_answers_what_it_is_for(snowflake: Snowflake) -> None:
    """Each key that docs/unverified.md names is there."""
    _, told, _ = diagnosed(snowflake, "nothing is wrong")
    assert told["versions"]["dss"] == "14.5"
    assert told["form"]["credentials_came"] is True
    assert told["form"]["types"]["oauth"] == "dict"
    assert told["session"] == {"seconds": 3600, "renewed": True, "role_named": True}
    assert told["columns"]["SHOW SERVICES"] == {
        "known": ["name", "database_name", "schema_name", "status", "compute_pool"],
        "others": 1,
    }
    (without_token,) = [answer for answer in told["answers"] if answer["status"] == 302]
    assert without_token["gateway_marks"] is True
    assert without_token["location"] == "another host"
    assert told["service"]["paths"]["/v1/chat/completions"] is True
    assert told["service"]["paths"]["/__call__"] is False
    assert told["stream"]["pieces"] == 20
    assert told["stream"]["bursts"] > 2
    assert {step["result"] for step in told["steps"]} >= {OK}


def test_a_step_that_failed_has_the_class_of_its_error(snowflake: Snowflake) -> None:
    _, told, _ = diagnosed(snowflake, "the login refuses")
    (failed,) = [step for step in told["steps"] if step["result"] == FAILED]
    assert failed["step"] == "Sign-in"
    assert (failed["error"]["class"], failed["error"]["code"]) == ("LoginError", "390303")


def test_a_record_without_settings_is_made_all_the_same() -> None:
    made = Diagnosis(Subject({}))
    findings = list(made.run())
    told = record(made.subject, findings)
    assert (told["network"], told["answers"]) == ({"account": None, "endpoint": None}, [])
