"""The record of a diagnosis: what it saw, as numbers and words of closed lists, to be sent to the plugin's authors.

It answers what nobody could look up while this plugin was written (`docs/unverified.md`). It does not hold a host, a
name, a token or content: a text that somebody else chose is in it only if it is one of the words of `record_words`, and
a version only as digits.
"""

from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from spcs_llm import __version__
from spcs_llm.control.diagnosis import record_words as words
from spcs_llm.control.diagnosis.finding import Finding
from spcs_llm.control.diagnosis.observed import Seen
from spcs_llm.control.diagnosis.subject import Facts, StreamTiming, Subject
from spcs_llm.errors import SpcsError
from spcs_llm.http.network_errors import LLM_ENDPOINT_URL, SNOWFLAKE_ACCOUNT_URL
from spcs_llm.http.reachability import versions
from spcs_llm.settings import FIELDS, LABELS
from spcs_llm.urls import BaseUrl, is_loopback, is_private_link, is_snowflakes

FORMAT = 1
_VERSION = re.compile(r"\d{1,4}(?:\.\d{1,4}){1,3}")
_JWT = re.compile(r"\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_CODE = re.compile(r"\d{3,6}")
_PRESETS = {FIELDS.oauth.name: "oauth", FIELDS.key_pair.name: "keyPair", FIELDS.token.name: "token"}
_PRESET_FIELDS = (
    "snowflake_oauth",
    "__credentials",
    "authorizationEndpoint",
    "tokenEndpoint",
    "scope",
    "user",
    "role",
    "privateKey",
    "privateKeyPassphrase",
    "accountIdentifier",
    "token",
    "mode",
    "inlinedConfig",
    "name",
)
_PACKAGES = ("Jinja2", "PyJWT", "cryptography", "dataiku-api-client")
_BURST_SECONDS = 0.005
_MAX_ANSWERS = 40


def record(subject: Subject, findings: Sequence[Finding], dss_version: str | None = None) -> dict[str, Any]:
    """Makes the record.

    Args:
        subject: What was diagnosed.
        findings: What was found.
        dss_version: The version of DSS, if it is known.

    Returns:
        Numbers, truth values and words of closed lists, in dicts and lists.
    """
    facts = subject.facts
    return {
        "record": FORMAT,
        "versions": _versions(dss_version),
        "process": _process(),
        "form": _form(subject.config),
        "network": {
            name: _network(subject, label)
            for name, label in (("account", SNOWFLAKE_ACCOUNT_URL), ("endpoint", LLM_ENDPOINT_URL))
        },
        "session": {
            "seconds": _rounded(facts.session_seconds),
            "renewed": facts.renewed,
            "role_named": facts.role is not None,
        },
        "answers": _answers(subject),
        "service": {
            "spoken": facts.spoken,
            "kind": facts.kind,
            "paths": dict(facts.paths),
            "query_seconds": _rounded(facts.query_seconds),
            "busy_seconds": _rounded(facts.busy_seconds),
            "rates": {str(level): _rounded(rate) for level, rate in facts.rates.items()},
        },
        "stream": _stream(facts.stream),
        "columns": {kind: _columns(names) for kind, names in facts.columns.items()},
        "booleans": sorted(words.word(form, words.BOOLEANS) for form in facts.booleans),
        "sql_error": _error(facts.errors["SQL"]) if "SQL" in facts.errors else None,
        "steps": [_step(finding, facts) for finding in findings],
    }


def as_text(made: Mapping[str, Any]) -> str:
    """A record as one line to copy."""
    return json.dumps(made, separators=(",", ":"), sort_keys=False)


def _versions(dss_version: str | None) -> dict[str, str | None]:
    found = {"plugin": __version__, "dss": dss_version, "python": platform.python_version(), **versions()}
    for package in _PACKAGES:
        try:
            found[package.lower()] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package.lower()] = None
    return {name: _version(text) for name, text in found.items()}


def _version(text: str | None) -> str | None:
    found = _VERSION.search(text or "")
    return found[0] if found else None


def _process() -> dict[str, Any]:
    return {
        "platform": words.word(sys.platform, frozenset(("linux", "darwin", "win32"))),
        "threads": threading.active_count(),
        "child_process": multiprocessing.parent_process() is not None,
        "proxy_named": any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")),
        "ca_bundle_named": any(
            os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
        ),
    }


def _form(config: Any) -> dict[str, Any]:
    """Which fields of the form arrive, as which type; of presets, which of their fields."""
    values = config if isinstance(config, Mapping) else {}
    presets = {
        short: values[name] for name, short in _PRESETS.items() if isinstance(values.get(name), Mapping)
    }
    oauth = presets.get("oauth", {})
    return {
        "types": {name: _type(values[name]) for name in LABELS if name in values},
        "other_fields": sum(name not in LABELS for name in values),
        "sign_in": _choice(values, FIELDS.sign_in),
        "protocol": _choice(values, FIELDS.protocol),
        "presets": {short: _preset(preset) for short, preset in presets.items()},
        "credentials_came": "__credentials" in oauth,
        "access_token": _token(oauth.get("snowflake_oauth")),
    }


def _choice(values: Mapping[str, Any], field: Any) -> str:
    return words.word(values.get(field.name, field.absent), frozenset(field.choices()))


def _preset(preset: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: _type(preset[name]) for name in _PRESET_FIELDS if name in preset},
        "other_fields": sum(name not in _PRESET_FIELDS for name in preset),
    }


def _type(value: Any) -> str:
    return words.word(type(value).__name__, words.TYPES)


def _token(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, str) or not value:
        return None
    return {"jwt": _JWT.fullmatch(value) is not None, "hundreds_of_characters": len(value) // 100}


def _network(subject: Subject, label: str) -> dict[str, Any] | None:
    if subject.config_sign_in is None:
        return None
    url = subject.url(label)
    if url is None:
        return None
    addresses, tls = subject.facts.addresses.get(label), subject.facts.tls.get(label)
    return {
        "host": _kind(url),
        "path": bool(url.path),
        "addresses": vars(addresses) if addresses is not None else None,
        "tls": None
        if tls is None
        else {"version": _tls_version(tls.version), "days": _rounded(tls.days_left)},
    }


def _kind(url: BaseUrl) -> str:
    if is_loopback(url.host):
        return "loopback"
    if not is_snowflakes(url):
        return "allowed"
    return "private link" if is_private_link(url) else "public"


def _tls_version(text: str) -> str:
    return words.word(text, frozenset(("TLSv1.2", "TLSv1.3")))


def _answers(subject: Subject) -> list[dict[str, Any]]:
    """What came back, each kind of answer once, in the order of their first."""
    if subject.config_sign_in is None:
        return []
    endpoint = subject.settings.endpoint.url.netloc
    told: dict[str, dict[str, Any]] = {}
    for seen in subject.observations.all:
        answer = _answer(seen, "endpoint" if seen.host == endpoint else "account")
        known = told.setdefault(as_text(answer), {**answer, "times": 0, "reused": 0})
        known["times"] += 1
        known["reused"] += seen.reused
    return list(told.values())[:_MAX_ANSWERS]


def _answer(seen: Seen, origin: str) -> dict[str, Any]:
    known = sorted(words.HEADERS & set(seen.headers))
    return {
        "from": origin,
        "method": seen.method,
        "status": seen.status,
        "gateway_marks": seen.from_gateway,
        "content_type": words.word(seen.content_type, words.CONTENT_TYPES),
        "headers": known,
        "other_headers": len(seen.headers) - len(known),
        "location": seen.location,
    }


def _stream(timing: StreamTiming | None) -> dict[str, Any] | None:
    if timing is None:
        return None
    gaps = [later - earlier for earlier, later in zip(timing.moments, timing.moments[1:])]
    return {
        "pieces": len(timing.moments),
        "bursts": 1 + sum(gap > _BURST_SECONDS for gap in gaps) if timing.moments else 0,
        "first": _rounded(timing.moments[0]) if timing.moments else None,
        "last": _rounded(timing.moments[-1]) if timing.moments else None,
        "longest_gap": _rounded(max(gaps, default=0.0)),
        "median_gap": _rounded(sorted(gaps)[len(gaps) // 2]) if gaps else None,
    }


def _columns(names: Sequence[str]) -> dict[str, Any]:
    known = [name for name in names if name in words.COLUMNS]
    return {"known": known, "others": len(names) - len(known)}


def _step(finding: Finding, facts: Facts) -> dict[str, Any]:
    told: dict[str, Any] = {
        "step": finding.step,
        "result": finding.result,
        "seconds": _rounded(finding.seconds),
    }
    error = facts.errors.get(finding.step)
    return told if error is None else {**told, "error": _error(error)}


def _error(error: SpcsError) -> dict[str, Any]:
    """The class is ours, the code is digits, and the id of the request is only said to be there."""
    code = error.code if error.code is not None and _CODE.fullmatch(error.code) else None
    return {
        "class": type(error).__name__,
        "place": error.place,
        "status": error.status,
        "code": code,
        "gateway_id": error.request_id is not None,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(float(number), 4)
