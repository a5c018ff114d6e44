"""A model of settings that were read already, beside its server: no token is sent, and no error blames one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.services.scripted import POISON, answer_to, vector_of
from sandbox.services.scripted_service import ScriptedService
from spcs_llm.connections import Connections
from spcs_llm.errors import QueryError, ServiceError, SpcsError
from spcs_llm.model import Model
from spcs_llm.settings import CredentialSettings, EndpointSettings, NoSignIn, ProtocolSettings, Settings
from spcs_llm.urls import parse_base_url
from tests.integration.row_batches import ObedientServer


def model_at(url: str, key: str | None = None) -> Model:
    settings = Settings(
        CredentialSettings(NoSignIn(), None),
        EndpointSettings(parse_base_url(url), key),
        ProtocolSettings("OPENAI"),
    )
    return Model(settings, connections=Connections())


@pytest.fixture
def server() -> Iterator[ObedientServer]:
    made = ObedientServer()
    yield made
    made.stop()


@pytest.fixture
def scripted() -> Iterator[ScriptedService]:
    service = ScriptedService("OPENAI", api_key="sesame")
    yield service
    service.stop()


def hello(model: Model) -> str:
    return str(model.complete({"messages": [{"role": "user", "content": "hello"}]}, {}, None)["text"])


def test_nothing_is_sent_in_authorization(server: ObedientServer) -> None:
    assert hello(model_at(server.url)) == "said hello"
    assert server.keys == {None}


def test_the_servers_own_key_is_sent_as_a_bearer_token(server: ObedientServer) -> None:
    assert hello(model_at(server.url, "sesame")) == "said hello"
    assert server.keys == {"Bearer sesame"}


def test_a_wrong_key_is_the_servers_refusal_and_nothing_of_snowflakes(scripted: ScriptedService) -> None:
    with pytest.raises(ServiceError) as caught:
        hello(model_at(scripted.url, "wrong"))
    assert "'Service API key'" in str(caught.value) and "HTTP 401" in str(caught.value)
    assert "Snowflake" not in str(caught.value) and "GRANT" not in str(caught.value)


def test_rows_of_embeddings_have_their_errors_and_not_only_their_words(scripted: ScriptedService) -> None:
    missing = QueryError("The text is NULL.")
    rows = model_at(scripted.url, "sesame").embed_rows(["one", missing, POISON, "two"], {})
    assert [isinstance(row, SpcsError) for row in rows] == [False, True, True, False]
    one, _, poisoned, two = rows
    assert isinstance(one, dict) and one["embedding"] == pytest.approx(vector_of("one"))
    assert isinstance(two, dict) and two["embedding"] == pytest.approx(vector_of("two"))
    assert rows[1] is missing
    assert isinstance(poisoned, ServiceError) and poisoned.status == 500
    assert poisoned.server_text == poisoned.message, (
        "the server's own words, which may quote a text, are gone"
    )
    assert hello(model_at(scripted.url, "sesame")) == answer_to("hello")
