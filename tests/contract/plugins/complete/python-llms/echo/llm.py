import json
import threading
from collections.abc import Iterator
from typing import Any

from dataiku.llm.python import BaseLLM
from echo_plugin import last_text, vector

try:
    from dataiku.llm.python import BaseEmbeddingModel
except ImportError:
    from dataiku.llm.python.custom.base_embedding_model import BaseEmbeddingModel
try:
    from dataiku.llm.python import BaseRerankingModel
except ImportError:
    BaseRerankingModel = None


class EchoLLM(BaseLLM):
    def __init__(self) -> None:
        self.calls = 0
        # Tests hold a stream back here; set means go.
        self.go_on = threading.Event()
        self.go_on.set()
        self.waiting = threading.Event()
        self.closed = threading.Event()

    def get_max_parallelism(self) -> int:
        return int(self.config["parallel"])

    def process(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        self.calls += 1
        text = last_text(query)
        if text == "config":
            return {"text": json.dumps([self.config, self.plugin_config])}
        if text == "fail":
            raise ValueError("no answer to that")
        if text == "fresh":
            from dataiku.core import plugin

            login = self.config["login"]
            credentials = plugin.OAuthCredentials(login["__credentials"]["oauth"])
            return {"text": credentials.access_token + "/" + str(credentials.id_token)}
        if settings.get("tools"):
            function = {"name": settings["tools"][0]["function"]["name"], "arguments": '{"city": "Oslo"}'}
            calls = [{"type": "function", "id": "c1", "function": function}]
            return {"toolCalls": calls, "finishReason": "TOOL_CALLS"}
        with trace.subspan("echo") as span:
            span.attributes["letters"] = len(text)
        answer = text.upper() if self.config["mode"] == "loud" else text
        words = len(text.split())
        return {
            "text": answer,
            "finishReason": "STOP",
            "promptTokens": words,
            "completionTokens": words,
            "totalTokens": 2 * words,
            "estimatedCost": words * self.config["price"],
        }

    def process_stream(self, query: Any, settings: Any, trace: Any) -> Iterator[dict[str, Any]]:
        self.calls += 1
        words = last_text(query).split()
        go_on, waiting, closed = self.go_on, self.waiting, self.closed  # the next test has others
        try:
            for number, word in enumerate(words):
                if number == 1:
                    waiting.set()
                    if not go_on.wait(20):
                        raise RuntimeError("the test never let the stream go on")
                if word == "break":
                    raise ValueError("the stream broke")
                yield {"chunk": {"text": word + " "}}
            yield {"footer": {"finishReason": "STOP", "promptTokens": len(words), "estimatedCost": 0.25}}
        finally:
            closed.set()


class EchoEmbedding(BaseEmbeddingModel):
    def process(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        if "queries" in query:
            return {"responses": [self._row(row["text"]) for row in query["queries"]]}
        if query["text"] == "fail":
            raise ValueError("no vector for that")
        return self._row(query["text"])

    def _row(self, text: str) -> dict[str, Any]:
        if text == "fail":
            return {"errorMessage": "no vector for that"}
        return {"embedding": vector(text), "promptTokens": len(text.split())}


if BaseRerankingModel is not None:

    class EchoRanker(BaseRerankingModel):
        def process(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
            wanted = set(query["queryParts"][0]["text"].split())
            texts = [document["parts"][0]["text"] for document in query["documents"]]
            scores = [len(wanted & set(text.split())) / len(wanted) for text in texts]
            order = sorted(range(len(texts)), key=lambda index: -scores[index])
            return {"documents": [{"index": i, "relevanceScore": scores[i]} for i in order]}
