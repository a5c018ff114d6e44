"""A model that is not one: its answers follow from the inputs, and its speed is what one sets.

For tests of speed and of faults: `answer_to` and `vector_of` say what each input must get back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import json
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox.services.schema_example import example_of

DIMENSIONS = 8
POISON = "__boom__"


def answer_to(text: str, tokens: int = 2) -> str:
    """`tokens` words, the last of which identifies the text."""
    words = [f"word{i}" for i in range(tokens - 2)]
    return " ".join(["answer", *words, hashlib.sha256(text.encode()).hexdigest()[:16]])


def vector_of(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[i % len(digest)] / 255 for i in range(dimensions)]


def tokens_of(text: str) -> list[str]:
    """Words with the space before them; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+$", text)


def text_of(messages: list[dict[str, Any]]) -> str:
    """The text of the last user message, whose content is a string or parts."""
    said = [m.get("content") for m in messages if m.get("role") == "user"]
    content = said[-1] if said else ""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content or "")


@dataclass
class Stats:
    """What the service was asked: rows of each request in order, most at once, last inputs."""

    batch_sizes: list[int] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    inputs: deque[str] = field(default_factory=lambda: deque(maxlen=1000))

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def request(self, inputs: list[str]) -> Iterator[None]:
        with self._lock:
            self.batch_sizes.append(len(inputs))
            self.inputs.extend(inputs)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


class ScriptedModel:
    """Costs `request_seconds` + rows times `row_seconds` on one of `replicas`, each of which is serial.

    `kind` "chat" or "embedding" is what PREDICT gives out; `outputs` "string" (JSON or, for embeddings, the
    `str` of a list), "repr" or "native". An answer has `tokens` words, a streamed one a word every
    `token_seconds`. Inputs with `__boom__` and batches of more than `max_rows` raise.
    """

    def __init__(
        self,
        kind: str = "chat",
        *,
        request_seconds: float = 0.0,
        row_seconds: float = 0.0,
        replicas: int = 1,
        max_rows: int | None = None,
        echo: bool = False,
        dimensions: int = DIMENSIONS,
        outputs: str = "string",
        tokens: int = 2,
        token_seconds: float = 0.0,
    ) -> None:
        self.kind = kind
        self.stats = Stats()
        self.token_seconds = token_seconds
        self._cost = (request_seconds, row_seconds)
        self._free_at = [0.0] * replicas
        self._max_rows = max_rows
        self._echo = echo
        self._dimensions = dimensions
        self._outputs = outputs
        self._tokens = tokens

    async def _work(self, seconds: float) -> None:
        """Takes the replica that is free first. It goes from one request to the next without a pause.

        How late this process wakes up takes none of a replica's time.
        """
        now = asyncio.get_running_loop().time()
        end = max(now, self._free_at[0]) + seconds
        heapq.heapreplace(self._free_at, end)
        await asyncio.sleep(end - now)

    @contextlib.asynccontextmanager
    async def _turn(self, inputs: list[str]) -> AsyncIterator[None]:
        """A request's time on a replica; raises for the poisoned input and for too many rows."""
        with self.stats.request(inputs):
            per_request, per_row = self._cost
            if seconds := per_request + per_row * len(inputs):
                await self._work(seconds)
            if self._max_rows is not None and len(inputs) > self._max_rows:
                raise RuntimeError(f"CUDA out of memory: a batch of {len(inputs)} rows")
            if any(POISON in text for text in inputs):
                raise ValueError("model exploded on purpose")
            yield

    # -- texts to texts (PREDICT, text generation) -------------------------------------------------

    async def predict(self, inputs: list[str]) -> list[Any]:
        async with self._turn(inputs):
            return [self._output(text) for text in inputs]

    def _output(self, text: str) -> Any:
        if self.kind == "chat":
            answer = answer_to(text, self._tokens)
            native: Any = [{"generated_text": text + answer if self._echo else answer}]
        else:
            native = vector_of(text, self._dimensions)
        if self._outputs == "native":
            return native
        return str(native) if self.kind == "embedding" or self._outputs == "repr" else json.dumps(native)

    # -- messages to a chat completion (MODEL_SERVING, OPENAI) -------------------------------------

    async def chat(self, messages: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
        """A `chat.completion`; a forced tool is called as its schema has it, `max_completion_tokens` cuts."""
        text = text_of(messages)
        async with self._turn([text]):
            answer = tokens_of(answer_to(text, self._tokens))
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
        kept = answer[:limit] if limit else answer
        message: dict[str, Any] = {"role": "assistant", "content": "".join(kept)}
        reason = "stop" if len(kept) == len(answer) else "length"
        if (tool := _chosen_tool(asked)) is not None:
            arguments = example_of(tool.get("parameters") or {"type": "object"}, text)
            function = {"name": tool["name"], "arguments": json.dumps(arguments)}
            call = {"id": f"call_{uuid.uuid4().hex[:8]}", "type": "function", "function": function}
            message, reason = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
        choices = [
            {"index": i, "message": message, "logprobs": None, "finish_reason": reason}
            for i in range(asked.get("n") or 1)
        ]
        prompt = sum(len(tokens_of(text_of([{**m, "role": "user"}]))) for m in messages)
        usage = {"prompt_tokens": prompt, "completion_tokens": len(kept), "total_tokens": prompt + len(kept)}
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex[:12]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": "scripted",
            "choices": choices,
            "usage": usage,
        }

    # -- vectors and scores ------------------------------------------------------------------------

    async def embed(self, texts: list[str], *, query: bool = False) -> list[list[float]]:
        async with self._turn(texts):
            return [vector_of(text, self._dimensions) for text in texts]

    async def rank(self, query: str, texts: list[str]) -> list[float]:
        """The share of the query's words that each text has."""
        wanted = set(query.lower().split())
        async with self._turn(texts):
            return [len(wanted & set(text.lower().split())) / max(1, len(wanted)) for text in texts]


def _chosen_tool(asked: dict[str, Any]) -> dict[str, Any] | None:
    """The function that has to be called: its name, and its parameters if they are told."""
    choice, tools = asked.get("tool_choice"), asked.get("tools") or []
    functions: list[dict[str, Any]] = [tool["function"] for tool in tools]
    if isinstance(choice, dict):
        name = str(choice["function"]["name"])
        return next((function for function in functions if function["name"] == name), {"name": name})
    return functions[0] if choice == "required" and functions else None
