"""Whether a refusal is about a length, whatever its words: then no other form of the request is tried."""

from __future__ import annotations

import pytest

from spcs_llm.server_text.refusal_hints import hint_for, is_about_length

# As TGI, Text Embeddings Inference, vLLM, LightLLM and TensorRT-LLM write them.
LENGTHS = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens",
    "Input validation error: `inputs` must have less than 512 tokens. Given: 600",
    "max_tokens must be at least 1, got -5.",
    "the input prompt token len 303876 + max_new_tokens 32000 > 262144",
    "`default_max_tokens` (-905) must be greater than 0, `default_max_tokens` (-905) = max_seq_len (4096)",
    "default_max_tokens (-905) should be greater than 0, default_max_tokens (-905) = max_seq_len (4096)",
)
RANGES = (
    "Input validation error: `top_p` must be > 0.0 and < 1.0",
    "Input validation error: `top_n_tokens` must be >= 0 and <= 5. Given: `10`",
    "Input validation error: `typical_p` must be > 0.0 and < 1.0",
    "Input validation error: `presence_penalty` must be >= -2.0 and <= 2.0",
    "Invalid input: temperature must be < 2",
    "top_logprobs exceeds the maximum of 20",
)


@pytest.mark.parametrize("reason", LENGTHS)
def test_a_length_is_told_from_other_refusals(reason: str) -> None:
    assert is_about_length(reason)


@pytest.mark.parametrize("reason", RANGES)
def test_the_range_of_a_setting_is_no_length(reason: str) -> None:
    assert not is_about_length(reason)
    assert hint_for(reason) == "Change or remove what the service names."
