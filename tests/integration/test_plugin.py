"""The whole path: DSS's own client, the plugin as DSS loads it, Snowflake's login and ingress, a service."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.services.scripted import answer_to, vector_of
from sandbox.snowflake import USER

ROOT = Path(__file__).parents[2]


def ask(llm: Any, text: str, **settings: Any) -> Any:
    completion = llm.new_completion().with_message(text)
    completion.settings.update(settings)
    return completion.execute()


def spans(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [trace, *(span for child in trace.get("children", []) for span in spans(child))]


@pytest.fixture
def chat(instance: Instance) -> Any:
    return instance.add_model("chat", "CHAT", instance.snowflake.create_service("chat"))


@pytest.fixture
def embedder(instance: Instance) -> Any:
    service = instance.snowflake.create_service("embed", kind="embedding")
    return instance.add_model("embed", "EMBEDDING", service)


def test_a_chat_is_answered_with_tokens_cost_and_trace(instance: Instance, chat: Any) -> None:
    response = ask(chat, "How are you?")
    assert response.success
    assert response.text == answer_to("How are you?")
    raw = response._raw
    assert raw["finishReason"] == "STOP"
    assert raw["promptTokens"] > 0
    assert raw["completionTokens"] > 0
    assert raw["totalTokens"] == raw["promptTokens"] + raw["completionTokens"]
    assert raw["tokenCountsAreEstimated"] is True
    assert raw["estimatedCost"] > 0
    named = {span["name"]: span for span in spans(response.trace)}
    assert {"SNOWFLAKE_LOGIN", "SPCS_REQUEST"} <= named.keys()
    assert named["SPCS_REQUEST"]["attributes"]["status"] == 200
    assert "How are you?" not in str(response.trace)


def test_models_are_listed(instance: Instance, chat: Any, embedder: Any) -> None:
    chats = instance.project.list_llms(purpose="GENERIC_COMPLETION")
    embedders = instance.project.list_llms(purpose="TEXT_EMBEDDING_EXTRACTION")
    assert [llm.id for llm in chats] == ["custom:snowflake:chat"]
    assert [llm.id for llm in embedders] == ["custom:snowflake:embed"]


def test_a_stream_over_predict_is_one_chunk_and_a_footer(instance: Instance, chat: Any) -> None:
    items = list(chat.new_completion().with_message("Hello").execute_streamed())
    assert [item.data.get("text") for item in items] == [answer_to("Hello"), None]
    assert items[-1].data["finishReason"] == "STOP"
    assert items[-1].data["estimatedCost"] > 0


def test_texts_are_embedded_in_order(instance: Instance, embedder: Any) -> None:
    texts = [f"text {number}" for number in range(40)]
    query = embedder.new_embeddings()
    for text in texts:
        query.add_text(text)
    assert query.execute().get_embeddings() == [pytest.approx(vector_of(text)) for text in texts]


def test_embedding_queries_of_the_batch_shape_are_answered_in_kind() -> None:
    with Instance(embedding_rows=16) as instance:
        service = instance.snowflake.create_service("embed", kind="embedding")
        llm = instance.add_model("embed", "EMBEDDING", service)
        query = llm.new_embeddings()
        for number in range(20):
            query.add_text(f"text {number}")
        vectors = query.execute().get_embeddings()
        assert vectors == [pytest.approx(vector_of(f"text {number}")) for number in range(20)]
        assert not instance.dss.violations


def test_a_row_that_fails_fails_alone(instance: Instance, embedder: Any) -> None:
    query = embedder.new_embeddings()
    for text in ("one", "__boom__", "three"):
        query.add_text(text)
    rows = query.execute()._raw["responses"]
    assert [("embedding" in row) for row in rows] == [True, False, True]
    assert rows[0]["embedding"] == pytest.approx(vector_of("one"))
    assert rows[1]["errorMessage"].startswith("[service]")


def test_one_login_serves_all_models_and_queries(instance: Instance, chat: Any, embedder: Any) -> None:
    for _ in range(3):
        assert ask(chat, "Hello").success
    embedder.new_embeddings().add_text("one").execute().get_embeddings()
    instance.dss.restart_kernels()
    assert ask(chat, "Hello again").success
    assert instance.snowflake.counters["account"]["login"] == 1


def test_langchains_adapters_work(instance: Instance, chat: Any, embedder: Any) -> None:
    model = chat.as_langchain_chat_model()
    message = model.invoke("Hello")
    assert message.content == answer_to("Hello")
    assert message.usage_metadata["total_tokens"] > 0
    assert "".join(chunk.content for chunk in model.stream("Hello")) == answer_to("Hello")
    embeddings = embedder.as_langchain_embeddings()
    assert embeddings.embed_documents(["a", "b"]) == [pytest.approx(vector_of(text)) for text in "ab"]


def test_a_knowledge_bank_is_searched(instance: Instance, embedder: Any) -> None:
    instance.dss.create_knowledge_bank("DEMO", "kb", "custom:snowflake:embed", ["apples", "pears"], USER)
    (found,) = instance.project.get_knowledge_bank("kb").search("pears", max_documents=1).documents
    assert found.text == "pears"


def test_settings_that_predict_cannot_carry_are_named_in_the_trace_and_once_in_the_log(
    instance: Instance, chat: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first = ask(chat, "Hello", temperature=0.3, maxOutputTokens=5)
        ask(chat, "Hello", temperature=0.3)
    ignored = [span["attributes"].get("ignoredSettings") for span in spans(first.trace)]
    assert ["maxOutputTokens", "temperature"] in [sorted(names) for names in ignored if names]
    warnings = [
        record.getMessage() for record in caplog.records if "settings of queries" in record.getMessage()
    ]
    assert len(warnings) == 1
    assert "temperature" in warnings[0]


def test_stop_sequences_are_applied_by_the_plugin(instance: Instance, chat: Any) -> None:
    word = answer_to("Hello").split()[-1]
    response = ask(chat, "Hello", stopSequences=[word])
    assert response.text == answer_to("Hello").split(word)[0]
    assert response._raw["finishReason"] == "STOP"


def test_tool_history_and_images_are_refused_in_a_sentence(instance: Instance, chat: Any) -> None:
    completion = chat.new_completion()
    completion.with_message("Add 1 and 2")
    completion.with_tool_calls(
        [{"type": "function", "id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}]
    )
    completion.with_tool_output("3", tool_call_id="c1")
    error = completion.execute()._raw["errorMessage"]
    assert error.startswith("[query]")
    assert "tool" in error
    picture = chat.new_completion()
    picture.new_multipart_message().with_text("What is it?").with_inline_image(b"\x89PNG\r\n\x1a\n").add()
    assert picture.execute()._raw["errorMessage"].startswith("[query]")


def test_wrong_settings_are_told_by_every_query_all_at_once(instance: Instance) -> None:
    service = instance.snowflake.create_service("chat")
    llm = instance.add_model("chat", "CHAT", service, oauth=None, maxParallelism=-3, serviceProtocol="GRPC")
    for _ in range(2):
        error = ask(llm, "Hello")._raw["errorMessage"]
        assert error == (
            "[settings] 'Service protocol' must be one of AUTOMATIC, PREDICT, MODEL_SERVING, OPENAI."
            " 'OAuth credentials' is empty: select a preset."
            " 'Max parallelism' must be a whole number from 1 to 1024."
        )


def test_a_template_that_does_not_compile_is_told_with_its_line(instance: Instance) -> None:
    llm = instance.add_model(
        "chat",
        "CHAT",
        instance.snowflake.create_service("chat"),
        modelHandlingMode="TEXT_GENERATION_CUSTOM",
        chatTemplate="{{ bos_token }}\n{% for message in messages %}",
    )
    error = ask(llm, "Hello")._raw["errorMessage"]
    assert error.startswith("[settings] 'Chat template'")
    assert "line 2" in error


def test_reranking_needs_another_protocol_than_predict(instance: Instance) -> None:
    llm = instance.add_model("rank", "RERANKING", instance.snowflake.create_service("chat"))
    response = llm.new_reranking().with_query("q").with_document("d").execute()
    assert "'Service protocol'" in response.error_message


def test_documents_are_ranked(instance: Instance) -> None:
    service = instance.snowflake.create_service("rank", "scripted", "OPENAI")
    llm = instance.add_model("rank", "RERANKING", service, serviceProtocol="OPENAI", maxBatchSize=2)
    query = llm.new_reranking().with_query("apple pie")
    for text in ("a car", "an apple pie", "a pear", "apple"):
        query.with_document(text)
    documents = query.execute().documents
    assert documents[0].index == 1
    assert sorted(document.index for document in documents) == [0, 1, 2, 3]


@pytest.mark.parametrize("version", ["14.1", "14.5", "15.0"])
def test_the_plugin_loads_and_answers_on_each_dss(version: str) -> None:
    with Instance(version=version) as instance:
        service = instance.snowflake.create_service("chat")
        assert ask(instance.add_model("chat", "CHAT", service), "Hello").text == answer_to("Hello")
        assert not instance.dss.violations


def test_the_zip_is_installed_and_answers(tmp_path: Path) -> None:
    """`make plugin` packs what is committed: this is about what is in the zip, not about the working tree."""
    built = run(["make", "-s", "plugin"], cwd=ROOT, check=True, capture_output=True, text=True)
    archive = ROOT / built.stdout.strip().splitlines()[-1]
    names = zipfile.ZipFile(archive).namelist()
    assert {"plugin.json", "release_info.json", "python-lib/spcs_llm/model.py"} <= set(names)
    macros = {path.relative_to(ROOT).as_posix() for path in (ROOT / "python-runnables").glob("*/runnable.*")}
    assert len(macros) >= 8
    assert {*macros, "resource/forms/spcs_llm_services.py"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "sandbox/", "requirements/", "."))]
    with Instance(plugin=archive) as instance:
        service = instance.snowflake.create_service("chat")
        assert ask(instance.add_model("chat", "CHAT", service), "Hello").text == answer_to("Hello")
        assert not instance.dss.violations


@pytest.mark.parametrize("content", ["parts", "string"])
def test_a_model_of_the_registry_chats_and_embeds(instance: Instance, content: str) -> None:
    chats = instance.snowflake.create_service("registry", "scripted", "MODEL_SERVING", content=content)
    llm = instance.add_model("registry", "CHAT", chats, serviceProtocol="MODEL_SERVING", maxBatchSize=4)
    for _ in range(2):
        response = ask(llm, "Hello", maxOutputTokens=400, temperature=0.1)
        assert response.text == answer_to("Hello")
        assert response._raw["tokenCountsAreEstimated"] is False
        assert response._raw["finishReason"] == "STOP"
    embeds = instance.snowflake.create_service("encoder", "scripted", "MODEL_SERVING", signature="embedding")
    llm = instance.add_model("encoder", "EMBEDDING", embeds, serviceProtocol="MODEL_SERVING")
    query = llm.new_embeddings()
    for text in ("one", "two"):
        query.add_text(text)
    assert query.execute().get_embeddings() == [pytest.approx(vector_of(text)) for text in ("one", "two")]
