"""What a refusal costs: every form for the first query, one more request after that, none once a form is known."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.domain import Embedding
from spcs_llm.errors import BadRequest, SpcsError
from spcs_llm.protocols.inference_server.model_serving import ModelServingProtocol
from spcs_llm.protocols.inference_server.predict import PredictProtocol
from tests.unit.protocol_rows import call, outputs, rows, template, text_of, user
from tests.unit.scripted_endpoint import ScriptedEndpoint, refusal

CUDA = refusal("CUDA error: device-side assert triggered")
CHAT = rows({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]})
VECTOR = [0.25, -1.5]


class Service(ScriptedEndpoint):
    """Answers by `answer`, a function of the payload."""

    def __init__(self, answer: Any) -> None:
        super().__init__(None)
        self.answer = answer

    def _answer(self, http_request: Any) -> Any:
        self._script = [self.answer(http_request.payload)]
        return super()._answer(http_request)


def model_serving(service: ScriptedEndpoint, **options: Any) -> ModelServingProtocol:
    return ModelServingProtocol(service, template=template("OTHER"), **options)


def predict(service: ScriptedEndpoint, **options: Any) -> PredictProtocol:
    return PredictProtocol(service, template=template("OTHER"), **options)


def cost(service: ScriptedEndpoint, ask: Any) -> int:
    """The number of requests for a query that fails."""
    before = len(service.asked)
    with pytest.raises(SpcsError):
        ask()
    return len(service.asked) - before


def test_a_failing_model_costs_at_most_two_requests_per_query_after_the_first() -> None:
    service = ScriptedEndpoint(CUDA)
    protocol = model_serving(service)
    costs = [cost(service, lambda: protocol.chat_rows([user()], call())) for _ in range(8)]
    assert costs[0] == 6
    assert max(costs[1:]) <= 2
    costs = [cost(service, lambda: protocol.embed(["a"], call())) for _ in range(4)]
    assert max(costs[1:]) <= 2


def test_after_a_model_failed_in_every_form_each_form_still_has_its_turn() -> None:
    works = False

    def answer(payload: Any) -> Any:
        in_columns = "temperature" in payload["dataframe_split"]["columns"]
        return CHAT if works and in_columns else refusal("no reason given")

    service = Service(answer)
    protocol = model_serving(service)
    cost(service, lambda: protocol.chat_rows([user()], call()))
    works = True
    for _ in range(6):
        try:
            (row,) = protocol.chat_rows([user()], call())
        except BadRequest:
            continue
        assert text_of(row) == "Hi"
        break
    else:
        pytest.fail("the form that the service takes was not tried again")
    before = len(service.asked)
    protocol.chat_rows([user()], call())
    assert len(service.asked) == before + 1


@pytest.mark.parametrize(
    "own",
    [
        "This model's maximum context length is 512 tokens.",
        "Unexpected type of content in the schema of the prompt",
        "expected scalar type Half but found Float",
        "KeyError: 'customer_id'",
    ],
)
def test_a_known_form_is_not_doubted_by_an_error_that_names_none_of_its_columns(own: str) -> None:
    fails = False
    service = Service(lambda _: refusal(own) if fails else CHAT)
    protocol = model_serving(service)
    protocol.chat_rows([user()], call())
    fails = True
    assert cost(service, lambda: protocol.chat_rows([user()], call())) == 1


def test_a_known_form_is_doubted_by_an_error_that_names_its_column() -> None:
    column = "messages"

    def answer(payload: Any) -> Any:
        columns = payload["dataframe_split"]["columns"]
        return (
            (CHAT if column == "messages" else outputs("Hi"))
            if column in columns
            else refusal(f"column '{column}' is missing")
        )

    service = Service(answer)
    protocol = model_serving(service)
    protocol.chat_rows([user()], call())
    column = "inputs"
    assert text_of(protocol.chat_rows([user()], call())[0]) == "Hi"
    assert len(service.asked) == 3


# -- columns ----------------------------------------------------------------------------------------------

PANDAS = "Only a column name can be used for the key in a dtype mappings argument. '{}' not found in columns."


def wants(column: str, answer: Any, message: str = PANDAS) -> Service:
    def answered(payload: Any) -> Any:
        sent = payload["data"][0][1] if "data" in payload else payload["dataframe_split"]["columns"]
        return answer if column in sent else refusal(message.format(column))

    return Service(answered)


@pytest.mark.parametrize("message", [PANDAS, "Input data malformed: columns do not fit the signature"])
def test_a_logged_sentence_transformer_is_given_its_column(message: str) -> None:
    service = wants("sentences", rows({"output_feature_0": VECTOR}), message)
    protocol = predict(service)
    for _ in range(2):
        (row,) = protocol.embed(["a"], call())
        assert isinstance(row, Embedding)
        assert row.vector == VECTOR
    assert len(service.asked) == 3


def test_a_chat_is_put_in_the_column_that_the_service_names() -> None:
    service = wants("prompt", outputs("Hi"))
    protocol = predict(service)
    assert [text_of(protocol.chat_rows([user()], call())[0]) for _ in range(2)] == ["Hi", "Hi"]
    assert len(service.asked) == 3


@pytest.mark.parametrize("kind", [predict, model_serving])
@pytest.mark.parametrize("embeds", [True, False])
def test_a_wrong_input_column_is_told_with_the_name_that_the_service_wants(kind: Any, embeds: bool) -> None:
    service = wants("inputs", rows({"outputs": VECTOR}))
    protocol = kind(service, input_column="text")
    with pytest.raises(BadRequest) as caught:
        protocol.embed(["a"], call()) if embeds else protocol.chat_rows([user()], call())
    assert "'Input column'" in caught.value.hint
    assert "'inputs'" in caught.value.hint
    assert len(service.asked) <= 2
