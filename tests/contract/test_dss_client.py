"""The stand-in DSS answers the real `dataikuapi` client over HTTP, with a complete plugin behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from dataikuapi.dss.llm_tracing import SpanReader
from dataikuapi.dss.llm_utils import LLMException
from dataikuapi.utils import DataikuException

from sandbox.dss import Dss
from tests.contract.plugins.writing import COMPLETE, client

MODELS = [
    {"id": "chat", "capability": "CHAT"},
    {"id": "eyes", "capability": "CHAT_MULTIMODAL"},
    {"id": "vectors", "capability": "EMBEDDING"},
    {"id": "ranks", "capability": "RERANKING"},
]


@pytest.fixture(scope="module")
def dss() -> Iterator[Dss]:
    with Dss() as dss:
        dss.install_plugin(COMPLETE)
        dss.create_connection("acme", "echo", MODELS)
        yield dss
        assert dss.violations == ()


@pytest.fixture(scope="module")
def url(dss: Dss) -> Iterator[str]:
    with dss.serve() as url:
        yield url


@pytest.fixture(scope="module")
def project(dss: Dss, url: str) -> Iterator[Any]:
    with client(url, dss.create_api_key()) as dss_client:
        yield dss_client.get_project("TEST")


def post(url: str, dss: Dss, path: str, body: dict[str, Any], **kwargs: Any) -> requests.Response:
    auth = (dss.create_api_key(), "")
    return requests.post(
        f"{url}/dip/publicapi/projects/TEST/llms/{path}", json=body, auth=auth, timeout=10, **kwargs
    )


@pytest.mark.parametrize(
    ("purpose", "ids"),
    [
        ("GENERIC_COMPLETION", ["custom:acme:chat", "custom:acme:eyes"]),
        ("IMAGE_INPUT", ["custom:acme:eyes"]),
        ("TEXT_EMBEDDING_EXTRACTION", ["custom:acme:vectors"]),
        ("RERANKING", ["custom:acme:ranks"]),
        ("IMAGE_GENERATION", []),
    ],
)
def test_models_are_listed_by_purpose(project: Any, purpose: str, ids: Any) -> None:
    listed = project.list_llms(purpose=purpose)
    assert [model.id for model in listed] == ids
    assert all(model.type == "CUSTOM" and model.description.startswith("acme - ") for model in listed)


def test_a_completion_carries_text_usage_and_trace(project: Any) -> None:
    response = project.get_llm("custom:acme:chat").new_completion().with_message("two words").execute()
    assert response.success
    assert response.text == "two words"
    assert response._raw["totalTokens"] == 4
    assert response._raw["estimatedCost"] == 1.0
    assert response.total_usage == {
        "promptTokens": 2,
        "completionTokens": 2,
        "totalTokens": 4,
        "estimatedCost": 1.0,
    }


def test_usage_is_on_the_call_span_and_the_plugins_spans_below_it(project: Any) -> None:
    response = project.get_llm("custom:acme:chat").new_completion().with_message("two words").execute()
    query = SpanReader(response.trace)
    assert query.name == "DKU_LLM_MESH_COMPLETION_QUERY"
    names = [span.name for span in query.children]
    assert names == [
        "DKU_LLM_MESH_QUERY_ENFORCEMENT",
        "DKU_LLM_MESH_LLM_CALL",
        "DKU_LLM_MESH_RESPONSE_ENFORCEMENT",
    ]
    call = list(query.children)[1]
    assert call.span_data["usageMetadata"]["completionTokens"] == 2
    assert [(span.name, span.attributes) for span in call.children] == [("echo", {"letters": 9})]
    assert call.duration is not None


def test_a_batch_keeps_its_order_and_each_failure_to_its_row(project: Any) -> None:
    batch = project.get_llm("custom:acme:chat").new_completions()
    texts = [f"query {number}" if number % 7 else "fail" for number in range(40)]
    for text in texts:
        batch.new_completion().with_message(text)
    responses = batch.execute().responses
    assert [r.text if r.success else "fail" for r in responses] == texts
    assert responses[0]._raw["errorMessage"] == "no answer to that"
    assert responses[0]._raw["errorType"] == "ValueError"


def test_a_failed_completion_raises_the_plugins_message(project: Any) -> None:
    response = project.get_llm("custom:acme:chat").new_completion().with_message("fail").execute()
    with pytest.raises(LLMException, match="no answer to that"):
        _ = response.text


def test_parts_and_tools_reach_the_plugin(project: Any) -> None:
    query = project.get_llm("custom:acme:eyes").new_completion()
    query.new_multipart_message().with_text("look").with_inline_image(b"\xff\xd8").with_text("here").add()
    assert query.execute().text == "look here"
    query.settings["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    assert query.execute().tool_calls[0]["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}


def test_embeddings_keep_their_order(project: Any) -> None:
    query = project.get_llm("custom:acme:vectors").new_embeddings()
    for text in ("aaa", "bb", "c"):
        query.add_text(text)
    vectors = query.execute().get_embeddings()
    assert [round(vector[index]) for index, vector in enumerate(vectors)] == [3, 2, 1]


def test_an_embedding_row_fails_alone(project: Any) -> None:
    query = (
        project.get_llm("custom:acme:vectors").new_embeddings().add_text("a").add_text("fail").add_text("b")
    )
    response = query.execute()
    assert ["embedding" in row for row in response._raw["responses"]] == [True, False, True]
    with pytest.raises(Exception, match="no vector for that"):
        response.get_embeddings()


def test_reranking_answers_the_client_of_today(project: Any) -> None:
    query = project.get_llm("custom:acme:ranks").new_reranking().with_query("red fox")
    response = query.with_document("blue whale").with_document("a red fox").execute()
    assert [(d.index, d.relevance_score) for d in response.documents] == [(1, 1.0), (0, 0.0)]


def test_reranking_answers_the_body_of_the_14_3_client(url: str, dss: Dss) -> None:
    queries = [{"query": "red fox", "documents": [{"content": "blue"}, {"content": "red"}]}]
    reply = post(url, dss, "rerankings", {"llmId": "custom:acme:ranks", "queries": queries}).json()
    assert [d["index"] for d in reply["responses"][0]["documents"]] == [1, 0]


def test_the_body_of_the_12_5_client_without_settings_is_taken(url: str, dss: Dss) -> None:
    body = {"llmId": "custom:acme:vectors", "queries": [{"text": "a"}]}
    assert "embedding" in post(url, dss, "embeddings", body).json()["responses"][0]


def test_langchain_invokes_the_chat_model(project: Any) -> None:
    chat = project.get_llm("custom:acme:chat").as_langchain_chat_model()
    message = chat.invoke([("system", "Be brief."), ("human", "two words")])
    assert message.content == "two words"
    assert message.usage_metadata["total_tokens"] == 4


def test_langchain_streams_the_chat_model(project: Any) -> None:
    chat = project.get_llm("custom:acme:chat").as_langchain_chat_model()
    texts = [chunk.content for chunk in chat.stream("one two three") if chunk.content]
    assert texts == ["one ", "two ", "three "]


def test_langchain_binds_tools(project: Any) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return city

    chat = project.get_llm("custom:acme:chat").as_langchain_chat_model()
    message = chat.bind_tools([weather]).invoke("how is it?")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("weather", {"city": "Oslo"})]


def test_langchain_embeds(project: Any) -> None:
    embeddings = project.get_llm("custom:acme:vectors").as_langchain_embeddings()
    assert len(embeddings.embed_documents(["a", "b"])) == 2
    assert round(embeddings.embed_query("zz")[25]) == 2


@pytest.mark.parametrize("key", ["wrong", ""])
def test_a_wrong_key_is_refused(url: str, key: str) -> None:
    refusal = pytest.raises(DataikuException, match="UnauthorizedException: Invalid API key")
    with client(url, key) as dss_client, refusal:
        dss_client.get_project("TEST").list_llms()


def test_a_key_works_as_ticket_and_as_bearer_token(url: str, dss: Dss) -> None:
    key = dss.create_api_key("alice")
    for way in ({"internal_ticket": key}, {"jwt_bearer_token": key}):
        with client(url, **way) as dss_client:
            assert dss_client.get_auth_info()["authIdentifier"] == "alice"


def test_an_unknown_model_is_an_error_in_dss_form(project: Any) -> None:
    with pytest.raises(DataikuException, match="NotFoundException: LLM not found: custom:acme:gone"):
        project.get_llm("custom:acme:gone").new_completion().with_message("hi").execute()


def test_a_model_is_refused_what_it_is_not_for(project: Any) -> None:
    with pytest.raises(DataikuException, match="is a model for: Text embedding"):
        project.get_llm("custom:acme:vectors").new_completion().with_message("hi").execute()


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"llmId": "custom:acme:chat"}'])
def test_a_body_that_is_no_query_is_a_bad_request(url: str, dss: Dss, body: Any) -> None:
    auth = (dss.create_api_key(), "")
    target = f"{url}/dip/publicapi/projects/TEST/llms/completions"
    reply = requests.post(target, data=body, auth=auth, timeout=10)
    assert reply.status_code == 400
    assert reply.json()["errorType"].endswith("IllegalArgumentException")


def bank_of(dss: Dss, project: Any) -> Any:
    documents: list[str | dict[str, Any]] = [
        {"text": "zebra zebra", "metadata": {"page": 3}},
        "zebra zebras",
        "apple",
    ]
    dss.create_knowledge_bank("TEST", "facts", "custom:acme:vectors", documents)
    return project.get_knowledge_bank("facts")


def test_a_knowledge_bank_finds_the_nearest_document(dss: Dss, project: Any) -> None:
    best = bank_of(dss, project).search("zebra", max_documents=1).documents
    assert [(d.text, d.metadata) for d in best] == [("zebra zebra", {"page": 3})]
    assert best[0].score == pytest.approx(1.0, abs=1e-3)


def test_a_knowledge_bank_search_honours_threshold_and_diversity(dss: Dss, project: Any) -> None:
    bank = bank_of(dss, project)
    near = bank.search("zebra", search_type="SIMILARITY_THRESHOLD", similarity_threshold=0.8)
    assert [d.text for d in near.documents] == ["zebra zebra", "zebra zebras"]
    diverse = bank.search("zebra", 2, search_type="MMR", mmr_documents_count=3, mmr_factor=0.0)
    assert [d.text for d in diverse.documents] == ["zebra zebra", "apple"]


def test_a_knowledge_bank_says_what_it_cannot_search(dss: Dss, project: Any) -> None:
    with pytest.raises(Exception, match="HYBRID is not supported"):
        bank_of(dss, project).search("zebra", search_type="HYBRID")


def test_a_knowledge_bank_is_a_langchain_retriever(dss: Dss, project: Any) -> None:
    found = bank_of(dss, project).as_langchain_retriever(max_documents=1).invoke("zebra")
    assert [document.page_content for document in found] == ["zebra zebra"]


def test_the_client_reads_which_dss_it_talks_to(project: Any) -> None:
    assert project.client.get_instance_info().raw["dssVersion"] == "15.0.0"
