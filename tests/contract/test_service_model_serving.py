"""Today's model serving: four shapes of a request, two spellings of a path, signatures that are strict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from sandbox.services import ChildService, ScriptedService
from sandbox.services.scripted import answer_to, vector_of

PARTS = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
STRING = [{"role": "user", "content": "hi"}]


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedService]]:
    started = []

    def start(**options: Any) -> ScriptedService:
        started.append(ScriptedService("MODEL_SERVING", **options))
        return started[-1]

    yield start
    for service in started:
        service.stop()


def post(service: Any, body: Any, path: str = "/__call__") -> requests.Response:
    return requests.post(service.url + path, json=body, timeout=30)


def split(messages: Any, params: Any = None, index: Any = (0,)) -> dict[str, Any]:
    body = {
        "dataframe_split": {"index": list(index), "columns": ["messages"], "data": [[m] for m in messages]}
    }
    return {**body, "params": params} if params is not None else body


def completion(response: requests.Response) -> Any:
    assert response.status_code == 200
    ((_, row),) = response.json()["data"]
    return row


SHAPES = {
    "split": split([PARTS], {"max_completion_tokens": 400}),
    "records": {"dataframe_records": [{"messages": PARTS}], "params": {"max_completion_tokens": 400}},
    "wide": {"data": [[0, {"messages": PARTS}]], "params": {"max_completion_tokens": 400}},
    "flat": {"data": [[0, PARTS, 1.0, 400, None, 1, False, 1.0, 0, 0, None]]},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", ["/__call__", "/--call--"])
def test_every_shape_gets_the_columns_of_a_chat_completion(
    serve: Callable[..., ScriptedService], shape: Any, path: str
) -> None:
    row = completion(post(serve(tokens=300), SHAPES[shape], path))
    assert row.keys() == {"id", "object", "created", "model", "choices", "usage"}
    assert row["object"] == "chat.completion"
    assert row["choices"][0]["message"] == {"role": "assistant", "content": answer_to("hi", 300)}
    assert row["choices"][0]["finish_reason"] == "stop"
    assert row["usage"] == {"prompt_tokens": 1, "completion_tokens": 300, "total_tokens": 301}


def test_an_answer_is_cut_at_250_tokens_unless_asked_otherwise(serve: Callable[..., ScriptedService]) -> None:
    service = serve(tokens=300)
    row = completion(post(service, split([PARTS])))
    assert row["choices"][0]["finish_reason"] == "length"
    assert row["usage"]["completion_tokens"] == 250
    assert (
        completion(post(service, split([PARTS], {"max_completion_tokens": 7})))["usage"]["completion_tokens"]
        == 7
    )
    ignored = split([PARTS], {"max_tokens": 7, "top_k": 3})
    assert completion(post(service, ignored))["usage"]["completion_tokens"] == 250


def test_rows_keep_their_index_and_extra_columns(serve: Callable[..., ScriptedService]) -> None:
    body = {
        "dataframe_split": {
            "index": [4, 9],
            "columns": ["messages", "k"],
            "data": [[PARTS, "a"], [PARTS, "b"]],
        },
        "extra_columns": ["k"],
    }
    data = post(serve(), body).json()["data"]
    assert [(index, row["k"]) for index, row in data] == [(4, "a"), (9, "b")]


@pytest.mark.parametrize(("content", "right", "wrong"), [("parts", PARTS, STRING), ("string", STRING, PARTS)])
def test_content_of_the_other_type_is_a_type_error(
    serve: Callable[..., ScriptedService], content: str, right: Any, wrong: Any
) -> None:
    service = serve(content=content)
    assert post(service, split([right])).status_code == 200
    refused = post(service, split([wrong]))
    assert refused.status_code == 400
    assert "content expected" in refused.json()["error"]


MALFORMED = [
    {},
    [],
    {"data": [[0, PARTS]]},
    {"data": "x"},
    {"dataframe_split": {"columns": ["messages"]}},
    {"dataframe_split": {"columns": ["messages"], "data": [[PARTS, 1]]}},
    {"dataframe_records": [{"inputs": "hi"}]},
    {"dataframe_records": [3]},
    {"dataframe_records": [{"messages": "hi"}]},
    {"dataframe_records": [{"messages": PARTS}], "params": []},
]


@pytest.mark.parametrize("body", MALFORMED)
def test_what_does_not_fit_the_signature_is_a_400(serve: Callable[..., ScriptedService], body: Any) -> None:
    assert post(serve(), body).status_code == 400


def test_a_parameter_of_the_wrong_type_is_refused_by_one_engine_and_dropped_by_the_other(
    serve: Callable[..., ScriptedService],
) -> None:
    body = split([PARTS], {"max_completion_tokens": "7"})
    assert post(serve(), body).status_code == 400
    dropped = completion(post(serve(engine="vllm", tokens=300), body))
    assert dropped["usage"]["completion_tokens"] == 250


def test_the_older_signature_takes_sampling_as_columns_and_no_params(
    serve: Callable[..., ScriptedService],
) -> None:
    service = serve(signature="chat_columns", tokens=300)
    assert (
        completion(post(service, split([PARTS], {"max_completion_tokens": 7})))["usage"]["completion_tokens"]
        == 250
    )
    columns = {"data": [[0, {"messages": PARTS, "max_completion_tokens": 7}]]}
    assert completion(post(service, columns))["usage"]["completion_tokens"] == 7


def test_only_the_spelling_that_is_served_is_found(serve: Callable[..., ScriptedService]) -> None:
    dunder, dashed = serve(paths="dunder"), serve(paths="dashed")
    assert [post(dunder, split([PARTS]), p).status_code for p in ("/__call__", "/--call--")] == [200, 404]
    assert [post(dashed, split([PARTS]), p).status_code for p in ("/__call__", "/--call--")] == [404, 200]


def test_text_generation_gives_native_lists(serve: Callable[..., ScriptedService]) -> None:
    service = serve(signature="text", outputs="native")
    row = completion(post(service, {"dataframe_records": [{"inputs": "hi"}]}))
    assert row == {"outputs": [{"generated_text": answer_to("hi")}]}


def test_encode_methods_take_and_give_the_named_columns(serve: Callable[..., ScriptedService]) -> None:
    service = serve(signature="embedding", input_column="text", output_column="output_feature_0")
    body = {"dataframe_split": {"columns": ["text"], "data": [["a"], ["b"]]}, "params": {"truncate_dim": 3}}
    for path in ("/encode", "/encode-query", "/encode-document"):
        data = post(service, body, path).json()["data"]
        assert [row["output_feature_0"] for _, row in data] == [vector_of("a")[:3], vector_of("b")[:3]]
    assert post(service, body, "/encode_query").status_code == 404
    assert post(service, {"data": [[0, {"sentence": "a"}]]}, "/encode").status_code == 400
    assert post(service, {"data": [[0, {"text": 5}]]}, "/encode").status_code == 400


def test_a_model_that_fails_is_a_500(serve: Callable[..., ScriptedService]) -> None:
    boom = [{"role": "user", "content": [{"type": "text", "text": "__boom__"}]}]
    assert post(serve(), split([boom])).status_code == 500


@pytest.mark.exhaustive
def test_smollm2_chats_with_real_token_counts() -> None:
    service = ChildService("smollm2", "MODEL_SERVING", {})
    question = [{"type": "text", "text": "Write one sentence about the sea."}]
    params = {"temperature": 0, "max_completion_tokens": 12}
    row = completion(post(service, split([[{"role": "user", "content": question}]], params)))
    service.stop()
    assert row["choices"][0]["message"]["content"]
    assert row["usage"]["completion_tokens"] == 12
    assert row["choices"][0]["finish_reason"] == "length"


def test_e5_encodes_queries_and_documents_differently() -> None:
    service = ChildService("e5", "MODEL_SERVING", {})
    body = {"dataframe_records": [{"sentence": "a cat"}]}
    query, document = (
        completion(post(service, body, path))["output"] for path in ("/encode-query", "/encode")
    )
    service.stop()
    assert len(query) == len(document) == 384
    assert query != document
