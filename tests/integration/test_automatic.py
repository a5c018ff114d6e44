"""*Automatic*: what a service speaks is found out with the first query, behind the sandbox's ingress, and remembered.

And what is told where the settings are wrong: another protocol, or another kind of model.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.services.scripted import answer_to, vector_of
from sandbox.snowflake import Snowflake
from spcs_llm.connections import Connections
from spcs_llm.errors import NotFound, ServiceStarting, SpcsError
from spcs_llm.model import Model
from spcs_llm.protocol_choices import PROTOCOLS
from tests.unit.toy_protocol import TOY
from tests.unit.toy_service import ToyService

QUESTION = {"messages": [{"role": "user", "content": "Hello"}]}
DIMENSIONS = 64  # so that it is told from a list of numbers that a chat model was asked for
SPOKEN = ["PREDICT", "MODEL_SERVING", "OPENAI"]


class World:
    """Snowflake, with a service for each protocol and kind; made when they are first asked for."""

    def __init__(self, snowflake: Snowflake) -> None:
        self.snowflake = snowflake
        self._services: dict[str, Any] = {}

    def service(self, protocol: str, kind: str) -> Any:
        name = f"{protocol}-{kind}".lower().replace("_", "-")
        if name not in self._services:
            options: dict[str, Any] = {"kind": kind} if protocol == "PREDICT" else {}
            if protocol == "MODEL_SERVING" and kind == "embedding":
                options["signature"] = "embedding"
            if kind == "embedding":
                options["dimensions"] = DIMENSIONS
            self._services[name] = self.snowflake.create_service(name, "scripted", protocol, **options)
        return self._services[name]

    def model(self, service: Any, chosen: str, connections: Connections | None = None, **more: Any) -> Model:
        config = {
            "oauth": {"snowflake_oauth": self.snowflake.issue_oauth_token()},
            "snowflakeAccountUrl": self.snowflake.account_url,
            "llmEndpointUrl": service.url,
            "serviceProtocol": chosen,
            **more,
        }
        return Model(config, connections=connections or Connections())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Snowflake() as snowflake:
        yield World(snowflake)


def chat(model: Model) -> Any:
    return model.complete(QUESTION, {}, None)["text"]


def embed(model: Model) -> Any:
    return model.embed({"text": "one"}, {}, None)["embedding"]


ASKS: dict[str, Callable[[Model], Any]] = {"chat": chat, "embedding": embed}
ANSWERS: dict[str, Any] = {
    "chat": answer_to("Hello"),
    "embedding": pytest.approx(vector_of("one", DIMENSIONS)),
}


def steps(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The requests that went to the service."""
    sent = [record.getMessage() for record in caplog.records]
    return [text for text in sent if re.search(r" sends (GET|POST) /(?!session/)", text)]


# -- finding out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ASKS)
@pytest.mark.parametrize("protocol", SPOKEN)
def test_what_a_service_speaks_is_found_out_with_the_first_query_and_remembered(
    world: World, protocol: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = world.model(world.service(protocol, kind), "AUTOMATIC")
    logins = world.snowflake.counters["account"].get("login", 0)
    with caplog.at_level(logging.DEBUG, logger="spcs_llm"):
        assert ASKS[kind](model) == ANSWERS[kind]
        probes = len(steps(caplog))
        assert ASKS[kind](model) == ANSWERS[kind]
    assert len(steps(caplog)) == probes + 1, "the second query is one request"
    told = [
        record
        for record in caplog.records
        if record.levelno == logging.INFO and "speaks" in record.getMessage()
    ]
    assert len(told) == 1
    assert f"speaks {PROTOCOLS[protocol].title}" in told[0].getMessage()
    assert world.snowflake.counters["account"]["login"] == logins + 1, (
        "a path that is not there is no refused token"
    )


def test_a_stream_begins_with_finding_out_too(world: World) -> None:
    model = world.model(world.service("OPENAI", "chat"), "AUTOMATIC")
    chunks = [each["chunk"]["text"] for each in model.stream(QUESTION, {}, None) if "chunk" in each]
    assert "".join(chunks) == answer_to("Hello")
    assert len(chunks) > 1, "it is streamed"


def test_it_is_asked_once_by_all_instances_of_a_user(world: World, caplog: pytest.LogCaptureFixture) -> None:
    connections = Connections()
    service = world.service("OPENAI", "chat")
    config = {"oauth": {"snowflake_oauth": world.snowflake.issue_oauth_token()}}
    models = [world.model(service, "AUTOMATIC", connections, **config) for _ in range(8)]
    with caplog.at_level(logging.DEBUG, logger="spcs_llm"), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(chat, models)) == [answer_to("Hello")] * 8
    listed = [step for step in steps(caplog) if "/v1/models" in step]
    assert len(listed) <= 2, "once to find out, once for the model's name"
    assert len(steps(caplog)) == len(listed) + 8


@pytest.mark.parametrize(("protocol", "suits"), [("PREDICT", 1), ("MODEL_SERVING", 1), ("OPENAI", 8)])
def test_requests_in_flight_suit_what_was_found(world: World, protocol: str, suits: int) -> None:
    connections = Connections()
    token = {"oauth": {"snowflake_oauth": world.snowflake.issue_oauth_token()}}
    model = world.model(world.service(protocol, "chat"), "AUTOMATIC", connections, **token)
    chat(model)
    limiter = model._connection.client.state.limiter
    assert limiter.limit == model.chat_parallelism == suits
    again = world.model(world.service(protocol, "chat"), "AUTOMATIC", connections, **token)
    assert again._connection.client.state.limiter is limiter
    assert limiter.limit == again.chat_parallelism == suits


def test_a_registered_protocol_is_found_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "TOY", TOY)
    with ToyService() as service:
        model = Model(service.config(serviceProtocol="AUTOMATIC"), connections=Connections())
        assert chat(model) == "HELLO"


def test_a_service_that_speaks_nothing_that_is_known_is_said_to(caplog: pytest.LogCaptureFixture) -> None:
    with ToyService() as service, caplog.at_level(logging.DEBUG, logger="spcs_llm"):
        model = Model(service.config(serviceProtocol="AUTOMATIC"), connections=Connections())
        with pytest.raises(NotFound, match="could not be found") as raised:
            chat(model)
        looked = len(steps(caplog))
        with pytest.raises(NotFound, match="could not be found"):
            chat(model)
        assert len(steps(caplog)) == looked, "a failure does not multiply"
    assert "Predict, Model serving, OpenAI" in str(raised.value)
    assert "'Service protocol'" in raised.value.hint


def test_a_service_that_is_starting_teaches_nothing(world: World) -> None:
    service = world.snowflake.create_service("starting", "scripted", "PREDICT", kind="chat")
    model = world.model(service, "AUTOMATIC", coldStartWaitSeconds=0)
    service.set_state("suspended", refusals=1)
    with pytest.raises(ServiceStarting):
        chat(model)
    assert chat(model) == answer_to("Hello")


def test_a_token_that_is_refused_behind_a_404_is_replaced(world: World) -> None:
    model = world.model(world.service("PREDICT", "chat"), "AUTOMATIC")
    world.snowflake.faults.arm(kind="hidden_404", where="predict-chat", times=8)
    try:
        assert chat(model) == answer_to("Hello")
    finally:
        world.snowflake.faults.clear()


# -- a wrong choice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ASKS)
@pytest.mark.parametrize("chosen", SPOKEN)
@pytest.mark.parametrize("spoken", SPOKEN)
def test_a_wrong_choice_is_told_as_what_the_service_speaks(
    world: World, chosen: str, spoken: str, kind: str
) -> None:
    model = world.model(world.service(spoken, kind), chosen)
    if chosen == spoken:
        assert ASKS[kind](model) == ANSWERS[kind]
        return
    for _ in range(2):
        with pytest.raises(NotFound) as raised:
            ASKS[kind](model)
        title = PROTOCOLS[spoken].title
        assert raised.value.message == f"The service does not speak {PROTOCOLS[chosen].title} but {title}."
        assert raised.value.hint == f"Set 'Service protocol' to {title}, or to Automatic."


def test_each_row_of_a_query_is_told_so(world: World) -> None:
    model = world.model(world.service("OPENAI", "embedding"), "PREDICT")
    rows = model.embed({"queries": [{"text": "a"}, {"text": "b"}]}, {}, None)["responses"]
    assert ["does not speak Predict but OpenAI" in row["errorMessage"] for row in rows] == [True, True]


def test_an_endpoint_that_hides_everything_is_not_asked_many_times_for_each_query(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    model = world.model(world.service("PREDICT", "chat"), "PREDICT")
    chat(model)
    world.snowflake.faults.arm(kind="hidden_404", where="predict-chat", times=None)
    try:
        with caplog.at_level(logging.DEBUG, logger="spcs_llm"):
            with pytest.raises(NotFound):
                chat(model)
            looked = len(steps(caplog))
            for _ in range(5):
                with pytest.raises(NotFound):
                    chat(model)
    finally:
        world.snowflake.faults.clear()
    assert len(steps(caplog)) == looked + 5


# -- a wrong kind of model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ASKS)
@pytest.mark.parametrize(
    ("protocol", "chosen"),
    [
        ("PREDICT", "PREDICT"),
        ("PREDICT", "AUTOMATIC"),
        ("MODEL_SERVING", "MODEL_SERVING"),
        ("MODEL_SERVING", "AUTOMATIC"),
    ],
)
def test_a_model_of_the_other_kind_is_said_to_be_one(
    world: World, protocol: str, kind: str, chosen: str
) -> None:
    model = world.model(world.service(protocol, kind), chosen)
    (other,) = ASKS.keys() - {kind}
    with pytest.raises(SpcsError) as raised:
        ASKS[other](model)
    assert "embedding" in raised.value.message
    assert "chat" in str(raised.value)
    assert "endpoint" in raised.value.hint, "what to do is said"


@pytest.mark.parametrize("chosen", ["AUTOMATIC", "PREDICT", "MODEL_SERVING", "OPENAI"])
def test_a_path_in_the_url_is_named_where_nothing_is_found_below_it(world: World, chosen: str) -> None:
    service = world.service("OPENAI", "chat")
    model = world.model(service, chosen, llmEndpointUrl=f"{service.url}/nowhere")
    for _ in range(2):  # the second finds a failure that is remembered
        with pytest.raises(SpcsError) as refused:
            chat(model)
        assert refused.value.hint.count("'LLM endpoint URL' has a path, which is put before") == 1
    with pytest.raises(SpcsError) as refused:
        embed(world.model(world.service("PREDICT", "chat"), "PREDICT"))
    assert "has a path" not in refused.value.hint


def test_a_method_that_was_pasted_with_the_url_is_asked_for_once(world: World) -> None:
    service = world.service("MODEL_SERVING", "embedding")
    for pasted in ("/encode", "/docs", "/v1/models/all/of/it"):
        model = world.model(service, "MODEL_SERVING", llmEndpointUrl=service.url + pasted)
        assert embed(model) == ANSWERS["embedding"]
