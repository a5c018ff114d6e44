"""The clients that are measured: each function gives one that asks a chat model once, and its answer's text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import requests
import urllib3
from dataikuapi.dss.llm_tracing import SpanBuilder

from spcs_llm.connections import Connections
from spcs_llm.model import Model

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. " * 8},
    {"role": "user", "content": "Explain the difference between a compute pool and a warehouse. " * 6},
]
PROMPT = "".join(f"{message['role']}: {message['content']}\n" for message in MESSAGES)
MAX_TOKENS = 300
Ask = Callable[[], str]


def plugin(account: dict[str, Any], url: str, **params: Any) -> Ask:
    """The plugin as DSS calls it: Mesh query in, Mesh response out. The span that it adds to is DSS's own."""
    config = {
        "oauth": {"snowflake_oauth": account["token"]},
        "snowflakeAccountUrl": account["account"],
        "llmEndpointUrl": url,
        "modelHandlingMode": "TEXT_GENERATION_CHATML",
        **params,
    }
    model = Model(config, connections=Connections())
    settings = {"temperature": 0.2, "maxOutputTokens": MAX_TOKENS}

    trace = SpanBuilder("call")

    def ask() -> str:
        trace.span["children"].clear()
        return model.complete({"messages": MESSAGES}, settings, trace)["text"]

    return ask


def bare_requests(account: dict[str, Any], url: str, pool: int = 10) -> Ask:
    """As many bytes as the plugin sends, and no more than the answer's text taken from what is returned."""
    session, headers = requests.Session(), session_header(account)
    session.mount("http", requests.adapters.HTTPAdapter(pool_maxsize=pool))
    body = json.dumps({"data": [[0, {"inputs": PROMPT}]]}).encode()

    def ask() -> str:
        reply = session.post(f"{url}/predict", data=body, headers=headers)
        reply.raise_for_status()
        return json.loads(reply.json()["data"][0][1]["outputs"])[0]["generated_text"]

    return ask


def bare_urllib3(account: dict[str, Any], url: str, pool: int) -> Ask:
    place = urllib3.util.parse_url(url)
    kind = urllib3.HTTPSConnectionPool if place.scheme == "https" else urllib3.HTTPConnectionPool
    trusted: dict[str, Any] = (
        {"ca_certs": os.environ["REQUESTS_CA_BUNDLE"]} if place.scheme == "https" else {}
    )
    connections = kind(place.host or "", place.port, maxsize=pool, **trusted)
    headers, body = session_header(account), json.dumps({"data": [[0, {"inputs": PROMPT}]]}).encode()

    def ask() -> str:
        reply = connections.urlopen("POST", "/predict", body=body, headers=headers)
        return json.loads(json.loads(reply.data)["data"][0][1]["outputs"])[0]["generated_text"]

    return ask


def openai_client(account: dict[str, Any], url: str) -> Ask:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", default_headers=session_header(account))

    def ask() -> str:
        asked = {"model": "scripted", "messages": MESSAGES, "temperature": 0.2, "max_tokens": MAX_TOKENS}
        return client.chat.completions.create(**asked).choices[0].message.content or ""

    return ask


def openai_stream(account: dict[str, Any], url: str) -> Ask:
    """The same, streamed, as the plugin always asks upstream."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", default_headers=session_header(account))

    def ask() -> str:
        asked = {"model": "scripted", "messages": MESSAGES, "temperature": 0.2, "max_tokens": MAX_TOKENS}
        chunks = client.chat.completions.create(**asked, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    return ask


def litellm_client(account: dict[str, Any], url: str) -> Ask:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    fixed = {
        "model": "openai/scripted",
        "api_base": f"{url}/v1",
        "api_key": "x",
        "extra_headers": session_header(account),
        "temperature": 0.2,
        "max_tokens": MAX_TOKENS,
    }
    return lambda: litellm.completion(messages=MESSAGES, **fixed).choices[0].message.content


def session_header(account: dict[str, Any]) -> dict[str, str]:
    body = {"data": {"AUTHENTICATOR": "OAUTH", "TOKEN": account["token"]}}
    reply = requests.post(f"{account['account']}/session/v1/login-request", json=body, timeout=30).json()
    token = reply["data"]["token"]
    return {"Authorization": f'Snowflake Token="{token}"', "Content-Type": "application/json"}
