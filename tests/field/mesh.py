"""DSS with the plugin as it loads it: a report's queries go in as LLM Mesh's dicts, and come out as such."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.dss import Dss
from sandbox.dss.mesh import QueryFailedError
from tests.field.replay import ReplayServer
from tests.field.reports import STREAMED, Query, Report

PLUGIN = Path(__file__).parents[2]
USERS = ("alice", "bob")
ACCESS_TOKEN = "pat-canary-0123456789abcdef"
OAUTH_TOKEN = "oauth-canary-0123456789abcdef"
PASSPHRASE = "passphrase-canary"
ISSUED = ("session-token-canary", "master-token-canary", "endpoint-token-canary")
_PAUSES_ARE_SHORTER_BY = 500.0
_COUNTS = ("promptTokens", "totalTokens", "tokenCountsAreEstimated")


# Each report leaves a server and a connection open until its DSS ends, and a process may often have only 1,024 files.
REPORTS_PER_DSS = 100


@dataclass
class Outcome:
    """What came back for one query.

    Attributes:
        answer: LLM Mesh's dict; of a stream, its chunks put together.
        error: None when it was answered.
        chunks: How many chunks came, if it was streamed.
        textless_chunks: How many of them had no field `text`.
    """

    answer: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    chunks: int = 0
    textless_chunks: int = 0

    @property
    def ignored(self) -> list[str]:
        """The settings that the trace names as ignored."""
        return sorted({name for names in _ignored(self.answer.get("trace") or {}) for name in names})


class Field:
    """The DSS of all reports. Servers keep their ports to the end, since what a process learns belongs to a URL."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        self._models = 0

    def __enter__(self) -> Field:
        with contextlib.ExitStack() as undo:
            undo.enter_context(shorter_pauses())
            self.dss = undo.enter_context(Dss())
            self.plugin_id = self.dss.install_plugin(PLUGIN).id
            self._sign_in()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._undo.close()

    def serve(self, report: Report) -> ReplayServer:
        return self._undo.enter_context(ReplayServer(report.server, report.account))

    def model(self, report: Report, server: ReplayServer) -> Any:
        """A model of the report's settings whose service is `server`."""
        self._models += 1
        form = {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "serviceProtocol": "OPENAI",
            "llmEndpointUrl": server.url,
            "queryTimeoutSeconds": 60,
            # Texts share requests only while an earlier one is under way.
            **({"maxParallelism": 1} if report.capability == "EMBEDDING" else {}),
            **report.form,
        }
        mode = form["authenticationMode"]
        if mode != "PROGRAMMATIC_ACCESS_TOKEN":
            form.setdefault("snowflakeAccountUrl", server.url)
        form.setdefault(*self._preset(mode, report))
        model = {"id": f"m{self._models}", "capability": report.capability, "params": form}
        (llm_id,) = self.dss.create_connection("field", self.plugin_id, models=[model])
        return self.dss.model(llm_id)

    def ask(self, model: Any, query: Query, way: str) -> Outcome:
        """Puts a query to the model as DSS does."""
        asked = query.asked
        user = asked.get("user", USERS[0])
        if "texts" in asked or "text" in asked or "image" in asked:
            return self._embed(model, user, asked)
        if "documents" in asked:
            return self._rerank(model, user, asked)
        body, settings = {"messages": messages_of(asked)}, asked.get("settings") or {}
        if asked.get("way", way) == STREAMED:
            return self._stream(model, user, body, settings)
        (row,) = self.dss.mesh.complete(model, user, [body], settings)
        return _outcome(row)

    def settle(self) -> list[str]:
        """Ends the kernels; returns what broke DSS's contract since the last time."""
        self.dss.restart_kernels()
        broken = [f"the contract is broken: {violation}" for violation in self.dss.mesh.violations]
        self.dss.mesh.violations.clear()
        return broken

    def secrets(self) -> tuple[str, ...]:
        """What may stand in no error, log line or trace."""
        body = "".join(self._private_key.splitlines()[1:-1])
        return (ACCESS_TOKEN, OAUTH_TOKEN, PASSPHRASE, body[:60], *ISSUED)

    # -- ways to ask ------------------------------------------------------------------------------------

    def _stream(self, model: Any, user: str, body: Any, settings: Any) -> Outcome:
        made = Outcome()
        consolidated = Consolidated()
        try:
            for event, data in self.dss.mesh.stream(model, user, body, settings):
                if event == "completion-chunk":
                    made.chunks += 1
                    made.textless_chunks += "text" not in data
                    consolidated.add(data)
                else:
                    consolidated.answer.update(data)
        except QueryFailedError as failed:
            made.error = str(failed)
        made.answer = consolidated.answer
        return made

    def _embed(self, model: Any, user: str, asked: Mapping[str, Any]) -> Outcome:
        if "texts" in asked:
            queries = [{"text": text} for text in asked["texts"]]
        else:
            image = {"inlineImage": asked["image"]} if "image" in asked else {}
            queries = [{**image, **({"text": asked["text"]} if "text" in asked else {})}]
        rows = self.dss.mesh.embed(model, user, queries, asked.get("settings") or {})
        made = Outcome({"rows": [row.get("embedding") for row in rows], "trace": {}})
        made.answer["errors"] = [row.get("errorMessage") for row in rows]
        made.answer["trace"] = {"children": [row.get("trace") or {} for row in rows]}
        if all("embedding" not in row for row in rows):
            # The first text is sent by itself. Texts that share a request are not told the server's words.
            made.error = max((row.get("errorMessage") or "" for row in rows), key=len)
        if len(rows) == 1:
            made.answer.update((name, rows[0][name]) for name in _COUNTS if name in rows[0])
        return made

    def _rerank(self, model: Any, user: str, asked: Mapping[str, Any]) -> Outcome:
        documents = [
            {"parts": document if isinstance(document, list) else [{"type": "TEXT", "text": document}]}
            for document in asked["documents"]
        ]
        query = {"queryParts": [{"type": "TEXT", "text": asked["question"]}], "documents": documents}
        (row,) = self.dss.mesh.rerank(model, user, [query], asked.get("settings") or {})
        return _outcome(row)

    # -- signing in -------------------------------------------------------------------------------------

    def _sign_in(self) -> None:
        token = self.dss.create_preset(self.plugin_id, "programmatic-access-token", "field", {})
        for user in USERS:
            self.dss.set_user_credential(user, token, "token", ACCESS_TOKEN)
        endpoints = {"authorizationEndpoint": "https://x", "tokenEndpoint": "https://x", "scope": "x"}
        oauth = self.dss.create_preset(self.plugin_id, "oauth-credentials", "field", endpoints)
        self.dss.set_user_credential(USERS[0], oauth, "snowflake_oauth", OAUTH_TOKEN)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._private_key = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE.encode()),
        ).decode()

    def _preset(self, mode: str, report: Report) -> tuple[str, str]:
        if mode == "OAUTH":
            return "oauth", "field"
        if mode == "PROGRAMMATIC_ACCESS_TOKEN":
            return "programmaticAccessToken", "field"
        name = f"field-{self._models}"
        key_pair = {"user": "DSS", "privateKey": self._private_key, "privateKeyPassphrase": PASSPHRASE}
        self.dss.create_preset(self.plugin_id, "key-pair-credentials", name, {**key_pair, **report.preset})
        return "keyPair", name


def with_a_dss(reports: Sequence[Report]) -> Iterator[tuple[Field, Report]]:
    """Each report with a DSS to replay it in, which some of them share."""
    for first in range(0, len(reports), REPORTS_PER_DSS):
        with Field() as field:
            for report in reports[first : first + REPORTS_PER_DSS]:
                yield field, report


class Consolidated:
    """A stream's chunks as one answer, put together as clients do it: texts joined, calls by their index."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        if "text" in chunk:
            self.answer["text"] = self.answer.get("text", "") + chunk["text"]
        for name in ("artifacts", "logProbs"):
            if chunk.get(name):
                self.answer.setdefault(name, []).extend(chunk[name])
        for piece in chunk.get("toolCalls") or ():
            self._add_call(piece)

    def _add_call(self, piece: Mapping[str, Any]) -> None:
        calls = self.answer.setdefault("toolCalls", [])
        call = next((call for call in calls if call["index"] == piece["index"]), None)
        if call is None:
            call = {"index": piece["index"], "function": {"name": "", "arguments": ""}}
            calls.append(call)
        if piece.get("id"):
            call["id"] = piece["id"]
        for name, text in (piece.get("function") or {}).items():
            call["function"][name] += text or ""


@contextlib.contextmanager
def shorter_pauses() -> Iterator[None]:
    """Pauses between attempts pass more quickly: a report is about what is asked and answered, not about how long.

    Entered before the plugin is loaded, so that it holds for functions that keep `time.sleep` as a default.
    """
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(seconds / _PAUSES_ARE_SHORTER_BY)
    try:
        yield
    finally:
        time.sleep = sleep


def messages_of(asked: Mapping[str, Any]) -> list[Any]:
    if "messages" in asked:
        return list(asked["messages"])
    return [{"role": "user", "content": asked["prompt"]}]


def _outcome(row: Mapping[str, Any]) -> Outcome:
    if row.get("ok"):
        return Outcome(dict(row))
    return Outcome(error=str(row.get("errorMessage")))


def _ignored(span: Any) -> Iterator[list[str]]:
    if isinstance(span, Mapping):
        names = (span.get("attributes") or {}).get("ignoredSettings")
        if names:
            yield names
        for child in span.get("children") or ():
            yield from _ignored(child)


def trace_text(outcome: Outcome) -> str:
    return json.dumps(outcome.answer.get("trace") or {}, default=str)
