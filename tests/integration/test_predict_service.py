"""`/predict` over sockets: scripted and real models behind the server of snowflake-ml-python."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.services import ChildService, ScriptedService
from sandbox.services.scripted import answer_to, vector_of
from spcs_llm.domain import Sampling
from spcs_llm.errors import BadRequest, SpcsError
from spcs_llm.protocols.inference_server.predict import PredictProtocol
from tests.integration.openai_client import asking
from tests.integration.row_client import call, endpoint_for, in_batches, template, text_of, vector_in

Start = Callable[..., PredictProtocol]
WAYS = ["reversed", "shuffled", "missing", "duplicated", "extra", "none"]


@pytest.fixture
def start() -> Iterator[Start]:
    services: list[Any] = []

    def started(model: str = "scripted", mode: str = "CHATML", **options: Any) -> PredictProtocol:
        service: Any = (
            ScriptedService("PREDICT", **options)
            if model == "scripted"
            else ChildService(model, "PREDICT", options)
        )
        services.append(service)
        return PredictProtocol(endpoint_for(service.url), template=template(mode))

    yield started
    for service in services:
        service.stop()


def rendered(text: str) -> str:
    return template("CHATML").render(asking(text).messages)


@pytest.mark.parametrize("outputs", ["string", "repr", "native"])
@pytest.mark.parametrize("echo", [False, True])
def test_chats_are_answered_whatever_the_outputs_look_like(start: Start, outputs: str, echo: bool) -> None:
    protocol = start(outputs=outputs, echo=echo)
    questions = [f"question {number}" for number in range(8)]
    answers = protocol.chat_rows([asking(question) for question in questions], call())
    assert [text_of(answer) for answer in answers] == [answer_to(rendered(text)) for text in questions]


@pytest.mark.parametrize("outputs", ["string", "native"])
def test_texts_are_embedded_in_order(start: Start, outputs: str) -> None:
    texts = [f"text {number}" for number in range(20)]
    rows = start(kind="embedding", outputs=outputs).embed(texts, call())
    assert [vector_in(row) for row in rows] == [pytest.approx(vector_of(text)) for text in texts]


def test_a_model_that_fails_is_told_without_its_code_or_the_prompt(start: Start) -> None:
    with pytest.raises(BadRequest, match="model exploded on purpose") as caught:
        start().chat_rows([asking("my secret plan __boom__")], call())
    assert "Traceback" not in str(caught.value)
    assert "secret plan" not in str(caught.value)


def test_of_a_batch_only_the_text_fails_that_the_model_cannot_take(start: Start) -> None:
    texts = [f"text {number}" for number in range(16)]
    texts[5] = "__boom__"
    rows = in_batches(start(kind="embedding"), texts)
    assert [text for text, row in zip(texts, rows) if isinstance(row, SpcsError)] == ["__boom__"]
    assert [vector_in(row) for row in rows if not isinstance(row, SpcsError)] == [
        pytest.approx(vector_of(text)) for text in texts if text != "__boom__"
    ]


@pytest.mark.sample(2)
@pytest.mark.parametrize("how", WAYS)
def test_rows_that_are_lost_or_mixed_up_once_change_nothing(how: str) -> None:
    texts = [f"text {number}" for number in range(12)]
    with Instance(embedding_rows=len(texts)) as instance:
        service = instance.snowflake.create_service("embed", kind="embedding")
        llm = instance.add_model("embed", "EMBEDDING", service)
        instance.snowflake.faults.arm("rows", "embed", how=how)
        query = llm.new_embeddings()
        for text in texts:
            query.add_text(text)
        assert query.execute().get_embeddings() == [pytest.approx(vector_of(text)) for text in texts]
        assert service.stats.batch_sizes[0] == len(texts), "the fault was to meet them all"


# -- real models


@pytest.mark.sample(1)
@pytest.mark.parametrize("echo", [False, True])
def test_smollm2_answers_and_its_echo_is_removed(start: Start, echo: bool) -> None:
    protocol = start("smollm2", max_new_tokens=24, echo=echo)
    questions = ["What is the capital of France?", "What is the capital of Italy?"]
    paris, rome = map(text_of, protocol.chat_rows([asking(question) for question in questions], call()))
    assert "Paris" in paris
    assert "Rome" in rome
    for text in (paris, rome):
        assert not text.startswith(("What", "user"))
        assert "<|im_" not in text
        assert text == text.strip()


@pytest.mark.exhaustive
def test_smollm2_stops_where_the_query_says(start: Start) -> None:
    request = asking("What is the capital of France?", sampling=Sampling(stop_sequences=("Paris",)))
    (answer,) = start("smollm2", max_new_tokens=24).chat_rows([request], call())
    assert "Paris" not in text_of(answer)


def test_e5_vectors_come_as_python_and_are_unit_vectors(start: Start) -> None:
    rows = start("e5", mode="OTHER").embed(["a cat", "a kitten", "quarterly revenue"], call())
    cat, kitten, revenue = map(vector_in, rows)
    assert len(cat) == 384
    assert math.isclose(sum(x * x for x in cat), 1, abs_tol=1e-3)
    assert cosine(cat, kitten) > cosine(cat, revenue)
    assert json.dumps(cat)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b))
