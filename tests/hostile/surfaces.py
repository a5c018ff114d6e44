"""What of the plugin a server can reach: each protocol and each sign-in, with honest answers to begin from.

Each query asks another question, `q-…-q`. The honest answer is made of the question, which tells whose answer it is.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.hostile.server import Answer, Request, Server, chunked, reply

TOKEN, KEY, ACCESS_TOKEN = "canary-token-Kq8ZtW", "canary-key-Vb3NcY", "canary-access-Hj5LmR"
SESSION_TOKEN, MASTER_TOKEN, ENDPOINT_TOKEN = (
    "canary-session-Pd7XsG",
    "canary-master-Fw2TuQ",
    "canary-endpoint-Zr6BnE",
)
_numbers = itertools.count(1)
_QUESTION = re.compile(rb"q-[0-9a-f]+-q")
MB = 1 << 20


def new_question() -> str:
    return f"q-{hashlib.sha256(str(next(_numbers)).encode()).hexdigest()[:12]}-q"


def answer_to(question: str) -> str:
    return f"the answer to {question[::-1]}"


def vector_to(question: str) -> list[float]:
    digest = hashlib.sha256(question.encode()).digest()
    return [digest[at] / 256 for at in range(4)]


def score_of(question: str) -> float:
    """One of very many: two questions with the same would pass for one."""
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:6], "big") / 2**48


def questions_in(body: bytes) -> list[str]:
    """Those of a request, in order, each once."""
    return list(dict.fromkeys(found.decode() for found in _QUESTION.findall(body)))


Body = Callable[[Sequence[str]], bytes]  # questions -> the body of an answer


@dataclass(frozen=True, eq=False)
class Surface:
    """A path of the plugin on which a server's answer arrives.

    verb: the model's method. path: where the answers arrive that are attacked; every other path is honest.
    honest: an answer's body for questions. says: what a Mesh answer says, to compare with `honest_says`.
    texts: an answer's body whose free texts are all these. largest: bytes of the largest answer that makes sense.
    again: whether the attacked answer comes with the second query only.
    """

    name: str
    verb: str
    path: str
    settings: Mapping[str, Any]
    honest: Body
    largest: int
    texts: Callable[[str], bytes] | None = None
    content_type: str = "application/json"
    streamed: bool = False
    sign_in: bool = False
    again: bool = False
    status_of_refusal: int = 400

    def __str__(self) -> str:
        return self.name

    def query(self, question: str) -> dict[str, Any]:
        if self.verb == "embed":
            return {"text": question}
        if self.verb == "rerank":
            documents = [
                {"parts": [{"type": "TEXT", "text": f"{question} document {at}"}]} for at in range(2)
            ]
            return {"queryParts": [{"type": "TEXT", "text": question}], "documents": documents}
        return {"messages": [{"role": "user", "content": question}]}

    def config(self, url: str, **settings: Any) -> dict[str, Any]:
        return {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "programmaticAccessToken": {"token": TOKEN},
            "snowflakeAccountUrl": url,
            "llmEndpointUrl": url,
            "queryTimeoutSeconds": 5,
            "requestTimeoutSeconds": 5,
            "coldStartWaitSeconds": 0,
            **(
                {"keyPair": {"user": "u", "privateKey": private_key()}} if self.path == "/oauth/token" else {}
            ),
            **self.settings,
            **settings,
        }

    def ask(self, url: str, question: str | None = None, /, **settings: Any) -> dict[str, Any]:
        """A job's query; `query` and `mesh` among the settings replace the query and give LLM Mesh's settings."""
        query, mesh = settings.pop("query", None), settings.pop("mesh", {})
        more: dict[str, Any] = {name: settings.pop(name) for name in ("times", "after") if name in settings}
        query = query if query is not None else self.query(question or new_question())
        return {
            "config": self.config(url, **settings),
            "verb": self.verb,
            "query": query,
            "settings": mesh,
            **more,
        }

    def reply(self, body: bytes, status: int = 200, **headers: str) -> bytes:
        if self.streamed and status == 200 and not headers:
            return chunked(body, content_type=self.content_type)
        kind = self.content_type if status == 200 else "application/json"
        return reply(body, status, **{"content_type": kind, **headers})

    def queries(self, url: str, question: str | None = None, /, **settings: Any) -> list[dict[str, Any]]:
        """`ask`, and before it what makes the plugin come to where the attack is."""
        query = self.ask(url, question, **settings)
        return [self.ask(url, **settings), {**query, "after": 0.03}] if self.again else [query]

    def good(self, request: Request) -> bytes:
        """The honest answer where the attacks are."""
        return self.reply(self.honest(questions_in(request.body)))

    def serve(self, attack: Callable[[Request], Answer], tls: Any = None) -> Server:
        """A server that is honest but at `path`, where `attack` answers."""

        def answer(request: Request) -> Answer:
            if request.path == self.path:
                return attack(request)
            if self.again and request.path == LOGIN.path:
                return reply(_short_login(()))
            return honest_answer(request)

        return Server(answer, tls)

    def says(self, answer: Any) -> Any:
        if isinstance(answer, list):
            return "".join(item["chunk"].get("text", "") for item in answer if "chunk" in item)
        if "embedding" in answer:
            return answer["embedding"]
        if "documents" in answer:
            return sorted((document["index"], document["relevanceScore"]) for document in answer["documents"])
        return answer.get("text")

    def honest_says(self, question: str) -> Any:
        if self.verb == "embed":
            return vector_to(question)
        if self.verb == "rerank":
            return [(0, score_of(question)), (1, score_of(question) / 2)]
        return answer_to(question)


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


# -- honest answers -------------------------------------------------------------------------------------------


def _predict_chat(questions: Sequence[str]) -> bytes:
    rows = [
        [at, {"outputs": dumped([{"generated_text": answer_to(q)}]).decode()}]
        for at, q in enumerate(questions)
    ]
    return dumped({"data": rows})


def _predict_embedding(questions: Sequence[str]) -> bytes:
    return dumped({"data": [[at, {"outputs": vector_to(q)}] for at, q in enumerate(questions)]})


def completion(text: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


def _serving_chat(questions: Sequence[str]) -> bytes:
    return dumped({"data": [[at, completion(answer_to(q))] for at, q in enumerate(questions)]})


def _serving_embedding(questions: Sequence[str]) -> bytes:
    return dumped({"data": [[at, {"output": vector_to(q)}] for at, q in enumerate(questions)]})


def event(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + dumped(value) + b"\n\n"


def delta(text: str | None = None, finish_reason: str | None = None, **more: Any) -> bytes:
    piece = {**({} if text is None else {"content": text}), **more}
    return event({"model": "m", "choices": [{"index": 0, "delta": piece, "finish_reason": finish_reason}]})


DONE = b"data: [DONE]\n\n"


def _openai_chat(questions: Sequence[str]) -> bytes:
    return delta(answer_to(questions[0])) + delta("", "stop") + DONE


def _openai_embedding(questions: Sequence[str]) -> bytes:
    rows = [{"index": at, "embedding": vector_to(q)} for at, q in enumerate(questions)]
    return dumped(
        {"object": "list", "data": rows, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    )


def _rerank(questions: Sequence[str]) -> bytes:
    score = score_of(questions[0])
    return dumped(
        {"results": [{"index": 0, "relevance_score": score}, {"index": 1, "relevance_score": score / 2}]}
    )


def _models(questions: Sequence[str]) -> bytes:
    return dumped({"object": "list", "data": [{"id": "m", "object": "model"}]})


def _login(questions: Sequence[str]) -> bytes:
    lives = {"validityInSeconds": 3600, "masterValidityInSeconds": 14400}
    return dumped({"success": True, "data": {"token": SESSION_TOKEN, "masterToken": MASTER_TOKEN, **lives}})


def _short_login(questions: Sequence[str]) -> bytes:
    lives = {"validityInSeconds": 0.02, "masterValidityInSeconds": 14400}
    return dumped({"success": True, "data": {"token": SESSION_TOKEN, "masterToken": MASTER_TOKEN, **lives}})


def _renewal(questions: Sequence[str]) -> bytes:
    lives = {"validityInSecondsST": 3600, "validityInSecondsMT": 14400}
    return dumped(
        {"success": True, "data": {"sessionToken": SESSION_TOKEN, "masterToken": MASTER_TOKEN, **lives}}
    )


def _endpoint_token(questions: Sequence[str]) -> bytes:
    return ENDPOINT_TOKEN.encode()


def honest_answer(request: Request) -> bytes:
    """What a good account and a good service answer."""
    questions = questions_in(request.body)
    if not questions and request.path in _ASKED:  # which paths are there?
        return reply(dumped({"detail": "Field required"}), 422)
    if request.path == "/v1/chat/completions":
        return chunked(_openai_chat(questions), content_type="text/event-stream")
    if request.path not in _HONEST:
        return reply(dumped({"error": "no such path"}), 404)
    return reply(_HONEST[request.path](questions))


_HONEST: dict[str, Body] = {
    "/predict": _predict_chat,
    "/__call__": _serving_chat,
    "/encode": _serving_embedding,
    "/v1/chat/completions": _openai_chat,
    "/v1/embeddings": _openai_embedding,
    "/v1/rerank": _rerank,
    "/v1/models": _models,
    "/session/v1/login-request": _login,
    "/session/token-request": _renewal,
    "/oauth/token": _endpoint_token,
}

_ASKED = ("/predict", "/__call__", "/encode", "/v1/chat/completions", "/v1/embeddings", "/v1/rerank")

# -- the surfaces ---------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, bare).decode()


PREDICT = {"serviceProtocol": "PREDICT"}
SERVING = {"serviceProtocol": "MODEL_SERVING"}
OPENAI = {"serviceProtocol": "OPENAI", "modelName": "m"}
OAUTH = {**PREDICT, "authenticationMode": "OAUTH", "oauth": {"snowflake_oauth": ACCESS_TOKEN}}
EVENTS = "text/event-stream"
_OF_VECTORS = 2 * MB  # 65,536 numbers of 20 characters and more, and what is around them
_OF_CHATS = 16 * MB


def _with_text_of_predict(text: str) -> bytes:
    return dumped({"data": [[0, {"outputs": text}]]})


def _with_text_of_serving(text: str) -> bytes:
    return dumped({"data": [[0, completion(text)]]})


def _with_text_of_chat(text: str) -> bytes:
    return delta(text) + delta("", "stop") + DONE


def _with_text_of_embedding(text: str) -> bytes:
    return dumped({"data": [{"index": 0, "embedding": text}], "model": text})


PREDICT_CHAT = Surface(
    "predict-chat", "complete", "/predict", PREDICT, _predict_chat, _OF_CHATS, _with_text_of_predict
)
PREDICT_EMBEDDING = Surface(
    "predict-embedding", "embed", "/predict", PREDICT, _predict_embedding, _OF_VECTORS, _with_text_of_predict
)
SERVING_CHAT = Surface(
    "serving-chat", "complete", "/__call__", SERVING, _serving_chat, _OF_CHATS, _with_text_of_serving
)
SERVING_EMBEDDING = Surface(
    "serving-embedding", "embed", "/encode", SERVING, _serving_embedding, _OF_VECTORS, _with_text_of_predict
)
OPENAI_CHAT = Surface(
    "openai-chat", "complete", "/v1/chat/completions", OPENAI, _openai_chat, _OF_CHATS, _with_text_of_chat,
    content_type=EVENTS, streamed=True,
)  # fmt: skip
OPENAI_STREAM = Surface(
    "openai-stream", "stream", "/v1/chat/completions", OPENAI, _openai_chat, _OF_CHATS, _with_text_of_chat,
    content_type=EVENTS, streamed=True,
)  # fmt: skip
OPENAI_EMBEDDING = Surface(
    "openai-embedding",
    "embed",
    "/v1/embeddings",
    OPENAI,
    _openai_embedding,
    _OF_VECTORS,
    _with_text_of_embedding,
)
OPENAI_RERANK = Surface("openai-rerank", "rerank", "/v1/rerank", OPENAI, _rerank, MB)
OPENAI_MODELS = Surface(
    "openai-models", "complete", "/v1/models", {"serviceProtocol": "OPENAI"}, _models, MB,
    lambda text: dumped({"data": [{"id": text}]}),
)  # fmt: skip
LOGIN = Surface(
    "login", "complete", "/session/v1/login-request", OAUTH, _login, MB, sign_in=True,
    texts=lambda text: dumped({"success": True, "data": {"token": text, "masterToken": text}}),
)  # fmt: skip
RENEWAL = Surface(
    "renewal", "complete", "/session/token-request", OAUTH, _renewal, MB, sign_in=True, again=True,
    texts=lambda text: dumped({"success": True, "data": {"sessionToken": text, "masterToken": text}}),
)  # fmt: skip
ENDPOINT_TOKENS = Surface(
    "endpoint-token", "complete", "/oauth/token", {**PREDICT, "authenticationMode": "KEY_PAIR"}, _endpoint_token, MB,
    texts=str.encode, content_type="text/plain", sign_in=True,
)  # fmt: skip

SERVICES = [
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    SERVING_CHAT,
    SERVING_EMBEDDING,
    OPENAI_CHAT,
    OPENAI_STREAM,
    OPENAI_EMBEDDING,
    OPENAI_RERANK,
    OPENAI_MODELS,
]
SIGN_INS = [LOGIN, RENEWAL, ENDPOINT_TOKENS]
SURFACES = [*SERVICES, *SIGN_INS]


def floats(numbers: Sequence[float]) -> str:
    """As OpenAI's base64."""
    import array

    return base64.b64encode(array.array("f", numbers).tobytes()).decode()
