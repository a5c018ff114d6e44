"""Model serving over sockets: every signature, spelling and engine of the sandbox, learnt from what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.services import ChildService, ScriptedService
from sandbox.services.scripted import answer_to, vector_of
from spcs_llm.domain import ChatAnswer, ChatRequest, Message, Sampling, TextPart
from spcs_llm.errors import BadRequest, NotFound, SpcsError
from spcs_llm.protocols.inference_server.model_serving import ModelServingProtocol
from tests.integration.openai_client import asking
from tests.integration.row_client import call, endpoint_for, in_batches, template, text_of, vector_in

Start = Callable[..., ModelServingProtocol]


@pytest.fixture
def start() -> Iterator[Start]:
    services: list[Any] = []

    def started(
        model: str = "scripted",
        *,
        mode: str = "CHATML",
        method: str | None = None,
        column: str | None = None,
        **options: Any,
    ) -> ModelServingProtocol:
        service: Any = (
            ScriptedService("MODEL_SERVING", **options)
            if model == "scripted"
            else ChildService(model, "MODEL_SERVING", options)
        )
        services.append(service)
        return ModelServingProtocol(
            endpoint_for(service.url), template=template(mode), method=method, input_column=column
        )

    yield started
    for service in services:
        service.stop()


def chat(protocol: ModelServingProtocol, *texts: str, **sampling: Any) -> list[ChatAnswer]:
    requests = [asking(text, sampling=Sampling(**sampling)) for text in texts]
    answers = protocol.chat_rows(requests, call())
    for answer in answers:
        text_of(answer)
    return answers  # type: ignore[return-value]


# -- chats: each signature


@pytest.mark.parametrize("engine", ["python", "vllm"])
@pytest.mark.parametrize("paths", ["dunder", "dashed", "both"])
@pytest.mark.parametrize("content", ["parts", "string"])
def test_a_chat_signature_with_params(start: Start, content: str, paths: str, engine: str) -> None:
    protocol = start(content=content, paths=paths, engine=engine, tokens=300)
    for _ in range(2):
        (answer,) = chat(protocol, "hi", max_output_tokens=280)
        assert (answer.usage.completion_tokens, answer.finish_reason) == (280, "length")
        assert answer.ignored_settings == ()
        (whole,) = chat(protocol, "hi", max_output_tokens=400)
        assert (whole.text, whole.finish_reason, whole.model) == (answer_to("hi", 300), "stop", "scripted")


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("content", ["parts", "string"])
def test_a_chat_signature_with_columns(start: Start, content: str, required: bool) -> None:
    protocol = start(signature="chat_columns", content=content, columns_required=required, tokens=300)
    for _ in range(2):
        (answer,) = chat(protocol, "hi", max_output_tokens=400)
        assert (answer.text, answer.finish_reason) == (answer_to("hi", 300), "stop")
        assert answer.ignored_settings == ()
        (short,) = chat(protocol, "hi", max_output_tokens=7)
        assert short.usage.completion_tokens == 7


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("column", [None, "inputs", "prompt"])
def test_a_text_signature(start: Start, column: str | None, echo: bool) -> None:
    protocol = start(signature="text", input_column=column, echo=echo)
    prompt = template("CHATML").render(asking("hi").messages)
    for temperature in (None, 0.0, 0.7):
        (answer,) = chat(protocol, "hi", temperature=temperature)
        assert answer.text == answer_to(prompt)


def test_a_text_signature_whose_column_is_set(start: Start) -> None:
    protocol = start(signature="text", input_column="prompt", column="prompt")
    assert chat(protocol, "hi")[0].text == answer_to(template("CHATML").render(asking("hi").messages))


@pytest.mark.parametrize("column", [None, "inputs"])
def test_a_text_signature_that_takes_messages(start: Start, column: str | None) -> None:
    protocol = start(signature="text_messages", column=column)
    for _ in range(2):
        assert chat(protocol, "hi")[0].text == answer_to("hi")


def test_conversations_share_a_request_and_keep_their_order(start: Start) -> None:
    protocol = start(content="string")
    texts = [f"question {number}" for number in range(20)]
    assert [answer.text for answer in chat(protocol, *texts)] == [answer_to(text) for text in texts]


def test_a_wrong_method_is_told_with_what_was_tried(start: Start) -> None:
    with pytest.raises(NotFound) as caught:
        chat(start(method="no_such"), "hi")
    assert "/no-such and /no_such were tried" in caught.value.hint


def test_a_model_that_fails_is_told_without_the_prompt(start: Start) -> None:
    with pytest.raises(SpcsError, match="exploded on purpose") as caught:
        chat(start(), "my secret plan __boom__")
    assert "secret plan" not in str(caught.value)


# -- embeddings


@pytest.mark.parametrize("output", ["output", "output_feature_0", "vector"])
@pytest.mark.parametrize(("served", "asked"), [("sentence", None), ("text", None), ("text", "text")])
def test_an_embedding_signature(start: Start, served: str, asked: str | None, output: str) -> None:
    protocol = start(signature="embedding", input_column=served, output_column=output, column=asked)
    texts = [f"text {number}" for number in range(20)]
    for _ in range(2):
        rows = protocol.embed(texts, call())
        assert [vector_in(row) for row in rows] == [vector_of(text) for text in texts]


@pytest.mark.parametrize("method", ["encode_query", "encode-document", "encode"])
def test_each_method_of_sentence_transformers(start: Start, method: str) -> None:
    (row,) = start(signature="embedding", method=method).embed(["a"], call())
    assert vector_in(row) == vector_of("a")


def test_a_column_that_is_wrong_is_told_with_a_mend(start: Start) -> None:
    with pytest.raises(BadRequest, match="'sentence' is missing") as caught:
        start(signature="embedding", column="txt").embed(["a"], call())
    assert "'Input column'" in caught.value.hint


def test_of_a_batch_only_the_text_fails_that_the_model_cannot_take(start: Start) -> None:
    texts = [f"text {number}" for number in range(16)]
    texts[11] = "__boom__"
    rows = in_batches(start(signature="embedding"), texts)
    assert [text for text, row in zip(texts, rows) if isinstance(row, SpcsError)] == ["__boom__"]


# -- real models, and the whole path


@pytest.mark.exhaustive
def test_smollm2_chats_with_real_token_counts(start: Start) -> None:
    protocol = start("smollm2")
    turns = [("user", "My name is Ada."), ("assistant", "Hello Ada!"), ("user", "What is my name?")]
    conversation = ChatRequest(tuple(Message(role, (TextPart(text),)) for role, text in turns))
    short, long = (
        protocol.chat_rows(
            [replace(request, sampling=Sampling(temperature=0.0, max_output_tokens=12))], call()
        )[0]
        for request in (asking("What is my name?"), conversation)
    )
    assert text_of(short)
    assert text_of(long)
    for answer in (short, long):
        assert isinstance(answer, ChatAnswer)
        assert (answer.usage.completion_tokens, answer.finish_reason) == (12, "length")
        assert answer.model == "smollm2-135m-instruct"
    assert 0 < short.usage.prompt_tokens < long.usage.prompt_tokens


def test_e5_embeds(start: Start) -> None:
    rows = start("e5").embed(["a cat", "a kitten", "quarterly revenue"], call())
    cat, kitten, revenue = map(vector_in, rows)
    assert len(cat) == 384
    assert sum(a * b for a, b in zip(cat, kitten)) > sum(a * b for a, b in zip(cat, revenue))


@pytest.mark.parametrize("paths", ["dunder", "dashed"])
def test_a_chat_model_of_the_registry_in_dss(instance: Instance, paths: str) -> None:
    service = instance.snowflake.create_service(
        "chat", protocol="MODEL_SERVING", content="string", paths=paths, tokens=300
    )
    llm = instance.add_model(
        "chat",
        "CHAT",
        service,
        serviceProtocol="MODEL_SERVING",
        methodName="__call__",
        inputColumn="messages",
    )
    for _ in range(2):
        completion = llm.new_completion().with_message("hi")
        completion.settings["maxOutputTokens"] = 400
        response = completion.execute()
        assert response.success, response._raw
        assert response.text == answer_to("hi", 300)
        assert response._raw["completionTokens"] == 300
        assert response._raw["tokenCountsAreEstimated"] is False
    assert instance.snowflake.counters["account"]["login"] <= 2, (
        "a 404 may hide a refusal: one fresh login, no more"
    )


def test_an_embedding_model_of_the_registry_in_dss(instance: Instance) -> None:
    service = instance.snowflake.create_service("embed", protocol="MODEL_SERVING", signature="embedding")
    llm = instance.add_model("embed", "EMBEDDING", service, serviceProtocol="MODEL_SERVING")
    texts = [f"text {number}" for number in range(10)]
    query = llm.new_embeddings()
    for text in texts:
        query.add_text(text)
    assert query.execute().get_embeddings() == [vector_of(text) for text in texts]
