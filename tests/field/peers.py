"""`python -m tests.field.peers`: the reports put to other clients of OpenAI's API, side by side with the plugin.

Needs the packages of requirements/peers.txt. Writes docs/field-reports.md. All clients are used as their documentation
does it and with their own defaults; all are judged by the same yardstick, which leaves out what only LLM Mesh has (the
names of ignored settings in a trace, hints that name fields of the plugin's form, how many requests were sent).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks the network for prices at import

import langchain_openai
import litellm
import openai

from tests.field.mesh import Field, Outcome, messages_of, shorter_pauses, with_a_dss
from tests.field.replay import MODEL, ReplayServer
from tests.field.reports import STREAMED, UNARY, Query, Report, all_reports
from tests.field.verdict import faults

PAGE = Path(__file__).parents[2] / "docs" / "field-reports.md"
KEY = "sk-field-canary-of-a-peer"
RIGHT, CLEAR, UNCLEAR, SILENT = "right", "clear", "unclear", "silent"
_SEVERITY = (RIGHT, CLEAR, UNCLEAR, SILENT)
_PATIENCE = 20.0
_NOT_FOR_PEERS = ("counts", "packages", "settings-of-queries", "sign-in", "predict", "model-serving")
_OF_THE_FORM = re.compile(
    r"Service API key|Service protocol|LLM endpoint URL|account URL|Cold start wait|GRANT|responseFormat|token$",
    re.I,
)
_CRASH = re.compile(
    r"object has no attribute|object is not|is not JSON serializable|Expecting |NoneType|KeyError|IndexError|TypeError"
    r"|validation errors? for|JSONDecodeError|AttributeError|list index|Extra data|RuntimeError|UnicodeEncodeError"
)


@dataclass(frozen=True)
class Client:
    """A way to ask a server. make: from the server's URL and a key, what asks a query in a way."""

    name: str
    package: str
    make: Callable[[str, str], Callable[[Query, str], Outcome]]

    @property
    def version(self) -> str:
        return importlib.metadata.version(self.package)


# -- the clients ----------------------------------------------------------------------------------------------


def with_openai(url: str, key: str) -> Callable[[Query, str], Outcome]:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=_PATIENCE)

    def ask(query: Query, way: str) -> Outcome:
        if "texts" in query.asked:
            made = client.embeddings.create(model=MODEL, input=query.asked["texts"])
            return Outcome({"rows": [item.embedding for item in made.data]})
        if way == STREAMED:
            return _consolidated(client.chat.completions.create(**request_of(query), stream=True))
        choice = client.chat.completions.create(**request_of(query)).choices[0]
        return _outcome(choice)

    return ask


def with_litellm(url: str, key: str) -> Callable[[Query, str], Outcome]:
    common = {"model": f"openai/{MODEL}", "api_base": f"{url}/v1", "api_key": key, "timeout": _PATIENCE}

    def ask(query: Query, way: str) -> Outcome:
        if "texts" in query.asked:
            made = litellm.embedding(**common, input=query.asked["texts"])
            return Outcome({"rows": [item["embedding"] for item in made.data]})
        request = {**request_of(query), **common}
        if way == STREAMED:
            chunks = list(litellm.completion(**request, stream=True))
            choice = litellm.stream_chunk_builder(chunks).choices[0]
        else:
            choice = litellm.completion(**request).choices[0]
        return _outcome(choice)

    return ask


def with_langchain(url: str, key: str) -> Callable[[Query, str], Outcome]:
    common = {"base_url": f"{url}/v1", "api_key": key, "model": MODEL, "timeout": _PATIENCE}

    def ask(query: Query, way: str) -> Outcome:
        if "texts" in query.asked:
            embeddings = langchain_openai.OpenAIEmbeddings(**common, check_embedding_ctx_length=False)
            return Outcome({"rows": embeddings.embed_documents(query.asked["texts"])})
        request = request_of(query)
        messages = request.pop("messages")
        request.pop("model")
        model = langchain_openai.ChatOpenAI(**common).bind(**request)
        if way == STREAMED:
            answer = None
            for chunk in model.stream(messages):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = model.invoke(messages)
        return _of_langchain(answer)

    return ask


CLIENTS = (
    Client("openai-python", "openai", with_openai),
    Client("LiteLLM", "litellm", with_litellm),
    Client("LangChain ChatOpenAI", "langchain-openai", with_langchain),
)


# -- queries of LLM Mesh as requests of OpenAI's API -------------------------------------------------------------


def request_of(query: Query) -> dict[str, Any]:
    settings = query.asked.get("settings") or {}
    names = {
        "temperature": "temperature",
        "topP": "top_p",
        "maxOutputTokens": "max_tokens",
        "frequencyPenalty": "frequency_penalty",
        "seed": "seed",
        "stopSequences": "stop",
        "logProbs": "logprobs",
        "topLogProbs": "top_logprobs",
        "tools": "tools",
    }
    request = {names[name]: value for name, value in settings.items() if name in names}
    if "topK" in settings:
        request["extra_body"] = {"top_k": settings["topK"]}
    if "toolChoice" in settings:
        choice = settings["toolChoice"]
        named = {"type": "function", "function": {"name": choice.get("name")}}
        request["tool_choice"] = named if choice["type"] == "tool_name" else choice["type"]
    if "responseFormat" in settings:
        schema = settings["responseFormat"].get("schema")
        described = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        request["response_format"] = described if schema else {"type": "json_object"}
    return {
        "model": MODEL,
        "messages": [made for message in messages_of(query.asked) for made in _messages(message)],
        **request,
    }


def _messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if message["role"] == "tool":
        for output in message["toolOutputs"]:
            yield {"role": "tool", "tool_call_id": output["callId"], "content": output.get("output") or ""}
        return
    content = message.get("content")
    if message.get("parts"):
        content = [_part(part) for part in message["parts"]]
    made = {"role": message["role"], "content": content}
    if message.get("toolCalls"):
        made["tool_calls"] = message["toolCalls"]
    yield made


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "TEXT":
        return {"type": "text", "text": part["text"]}
    kind = part.get("imageMimeType") or "image/png"
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{part['inlineImage']}"}}


# -- answers of the clients as those of LLM Mesh ----------------------------------------------------------------


def _outcome(choice: Any) -> Outcome:
    message, log_probs = choice.message, getattr(choice, "logprobs", None)
    calls = [_call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    finish = str(choice.finish_reason).upper()
    answer = {"text": message.content or "", "toolCalls": calls, "finishReason": finish}
    return Outcome({**answer, "logProbs": [log_probs.model_dump()] if log_probs else []})


def _call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": arguments}}


def _consolidated(chunks: Any) -> Outcome:
    """As OpenAI's guides put a stream together: texts joined, calls by their index."""
    text, finish = "", None
    calls: dict[int, Any] = {}
    log_probs = []
    for chunk in chunks:
        if not chunk.choices:
            continue
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        log_probs += [choice.logprobs.model_dump()] if choice.logprobs else []
        for piece in choice.delta.tool_calls or ():
            if piece.index not in calls:
                calls[piece.index] = piece
            else:
                calls[piece.index].function.arguments += piece.function.arguments or ""
    made = [_call(call.id, call.function.name, call.function.arguments) for call in calls.values()]
    answer = {"text": text, "toolCalls": made, "finishReason": str(finish).upper()}
    return Outcome({**answer, "logProbs": log_probs})


def _of_langchain(answer: Any) -> Outcome:
    if answer.invalid_tool_calls:
        names = [call["name"] for call in answer.invalid_tool_calls]
        return Outcome(error=f"invalid_tool_calls: the arguments of {names} are no JSON")
    calls = [_call(call["id"], call["name"], json.dumps(call["args"])) for call in answer.tool_calls]
    finish = str(answer.response_metadata.get("finish_reason")).upper()
    log_probs = [answer.response_metadata.get("logprobs") or {}]
    return Outcome({"text": answer.text, "toolCalls": calls, "finishReason": finish, "logProbs": log_probs})


# -- the yardstick ----------------------------------------------------------------------------------------------


def is_for_peers(report: Report) -> bool:
    protocol = report.form.get("serviceProtocol", "OPENAI")
    asks_what_they_can = report.capability in ("CHAT", "EMBEDDING") and all(
        "textOverflowMode" not in (query.asked.get("settings") or {}) and "image" not in query.asked
        for query in report.queries
    )
    return report.peers and protocol == "OPENAI" and asks_what_they_can and report.kind not in _NOT_FOR_PEERS


def ways_of(report: Report) -> Iterator[str]:
    """The ways in which the reporter's server is known to answer: of many only a stream was reported, or no stream."""
    replies = [reply for reply in report.server if reply.get("status", 200) == 200]
    if any("stream=true" in (reply.get("when") or {}).get("has", ()) for reply in report.server):
        yield from report.ways
    elif any("events" in reply or "sse" in reply for reply in replies):
        yield STREAMED
    elif any(key in reply for reply in replies for key in ("json", "message", "text", "raw")):
        yield UNARY
    else:
        yield from report.ways


def comparable(right: Mapping[str, Any]) -> dict[str, Any]:
    """What of it every client can be expected to do."""
    made: dict[str, Any] = {}
    if "either" in right:
        made["either"] = [comparable(alternative) for alternative in right["either"]]
    if "answer" in right:
        kept = ("text", "text_has", "text_lacks", "calls", "finish", "vectors", "ignores")
        made["answer"] = {key: value for key, value in (right["answer"] or {}).items() if key in kept}
    if "error" in right:
        error = right["error"] or {}
        made["error"] = {
            key: [phrase for phrase in error[key] if not _OF_THE_FORM.search(str(phrase))]
            for key in ("says", "says_one_of")
            if key in error
        }
    return made


def judge(right: Mapping[str, Any], outcome: Outcome, server: ReplayServer, secrets: list[str]) -> str:
    unforeseen, server.unforeseen = server.unforeseen, []
    wrong = faults(comparable(right), outcome, server)
    server.unforeseen = unforeseen
    told = outcome.error or ""
    if any(secret in told for secret in secrets):
        return UNCLEAR
    if outcome.error is None:
        return SILENT if wrong else RIGHT
    crash = _CRASH.search(told)
    if crash and crash.group() not in server.script:
        return UNCLEAR
    return CLEAR if wrong else RIGHT


def asked_of_peer(client: Client, report: Report, way: str) -> str:
    key = report.form.get("serviceApiKey", KEY)
    with ReplayServer(report.server, report.account) as server:
        ask = client.make(server.url, key)
        found = []
        for query in report.queries:
            outcome = _with_patience(partial(ask, query, query.asked.get("way", way)))
            found.append(judge(query.right_when(way), outcome, server, [key, *report.secrets]))
    return max(found, key=_SEVERITY.index)


def _with_patience(ask: Callable[[], Outcome]) -> Outcome:
    """What came back, an exception as its text; of what takes for ever, that it does."""
    box: list[Outcome] = []

    def run() -> None:
        try:
            box.append(ask())
        except Exception as error:  # noqa: BLE001
            box.append(Outcome(error=f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2 * _PATIENCE)
    return box[0] if box else Outcome(error="RuntimeError: no answer and no error")


def asked_of_plugin(field: Field, report: Report, way: str) -> str:
    server = field.serve(report)
    secrets = [report.form["serviceApiKey"]] if "serviceApiKey" in report.form else []
    found = []
    try:
        model = field.model(report, server)
        for query in report.queries:
            outcome = field.ask(model, query, way)
            found.append(judge(query.right_when(way), outcome, server, [*secrets, *field.secrets()]))
    finally:
        server.close_connections()
        if field.settle():
            found.append(SILENT)
    return max(found, key=_SEVERITY.index)


# -- the page ---------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Asks all clients, or of the reports those whose names contain an argument; then nothing is written."""
    logging.disable(logging.CRITICAL)
    litellm.suppress_debug_info = True
    reports = [
        report
        for report in all_reports()
        if is_for_peers(report) and (not arguments or any(part in report.name for part in arguments))
    ]
    names = ["this plugin", *(client.name for client in CLIENTS)]
    verdicts: dict[tuple[str, str], dict[str, str]] = {}
    for field, report in with_a_dss(reports):
        for way in ways_of(report):
            verdicts[report.name, way] = {names[0]: asked_of_plugin(field, report, way)}
    for client in CLIENTS:
        with (
            shorter_pauses(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            for report in reports:
                for way in ways_of(report):
                    verdicts[report.name, way][client.name] = asked_of_peer(client, report, way)
    if arguments:
        for (name, way), found in verdicts.items():
            print(name, way, found)
    else:
        PAGE.write_text(page(verdicts, names), "utf-8")
    for (name, way), found in verdicts.items():
        better = [peer for peer in names[1:] if found[peer] == RIGHT]
        if better and found[names[0]] != RIGHT:
            print(f"{name} ({way}): {', '.join(better)} right, the plugin {found[names[0]]}")


_BEFORE_THE_TABLE = """\
# Reports from the field, side by side

What real servers and gateways send ([the reports](../tests/field/README.md)), put over loopback to this plugin and to
other clients of OpenAI's API: {versions}.
Written by `python -m tests.field.peers` (`make peers`).

Each report is asked whole and streamed, as far as it says what the server sends in that way. A cell counts, in this
order:

1. **right**: what the report calls right, the answer, or an error that gives the server's reason;
2. **clear**: an error that says what is wrong, where an answer could be had or another reason told;
3. **unclear**: an error of the program itself, in words that the server did not send, or one that reveals a secret;
4. **silent**: an answer that is wrong, without a word: text lost or doubled, calls lost or glued together, what was
   asked ignored.

The clients are used as their documentation does it, with their own defaults. Left out is what only LLM Mesh has: the
names of ignored settings in the trace do not count here, nor are hints that name fields of the plugin's form, nor the
number of requests. Peers have no setting by which refused settings are left out; where a report allows it, the plugin
may do so. Reports of logins, of token counts, of reranking and of Snowflake's own protocols are for the plugin only.

The plugin has been repaired by these reports, and the other clients have not: the table says what a client meets, not
which program is the better made. A fairer measure are the 854 reports that were written after the repairs, in November
2026: the plugin answered 403 of them rightly when they were put to it first.

"""


def page(verdicts: Mapping[tuple[str, str], Mapping[str, str]], names: list[str]) -> str:
    kinds: dict[str, dict[str, Counter[str]]] = {}
    for (name, _), found in verdicts.items():
        for row in (name.partition("/")[0], "all"):
            counts = kinds.setdefault(row, {client: Counter() for client in names})
            for client in names:
                counts[client][found[client]] += 1
    kinds["all"] = kinds.pop("all")
    versions = ", ".join(f"{client.name} {client.version}" for client in CLIENTS)
    lines = [
        *_BEFORE_THE_TABLE.format(versions=versions).splitlines(),
        "| kind | of | " + " | ".join(names) + " |",
        "| --- | ---: |" + " ---: |" * len(names),
    ]
    for kind, counts in kinds.items():
        cells = [" / ".join(str(counts[client][verdict]) for verdict in _SEVERITY) for client in names]
        label = f"**{kind}**" if kind == "all" else kind
        lines.append(f"| {label} | {counts[names[0]].total()} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
