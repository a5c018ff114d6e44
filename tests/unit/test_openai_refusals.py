"""Requests that a server refuses are put another way, remembered, or explained."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.domain import ChatAnswer, ChatRequest, JsonFormat, Message, Sampling, TextPart, Tool, ToolCall
from spcs_llm.errors import BadRequest, ModelError, NotFound, RequestTooLarge, ServiceError
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_endpoint import DONE, ScriptedEndpoint, completion, delta, event, refusal, said

USER = Message("user", (TextPart("a question"),))
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}


def ask(protocol: OpenAIProtocol, **request: Any) -> ChatAnswer:
    request.setdefault("messages", (USER,))
    return protocol.chat(ChatRequest(**request), QueryContext(10))


# -- streaming -----------------------------------------------------------------------------------------

NO_STREAM = [
    refusal("Unrecognized request argument supplied: stream"),
    refusal("Streaming is not supported for this model"),
    refusal("bad request"),
    BadRequest("The service refuses the request.", status=422),
    ServiceError("The service fails: streaming is not implemented", status=501),
    ServiceError("The service fails: this model does not support streaming", status=500),
]


@pytest.mark.parametrize("error", NO_STREAM, ids=str)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_cannot_stream_is_asked_for_whole_answers_from_then_on(
    error: ServiceError, streamed: bool
) -> None:
    endpoint = ScriptedEndpoint(error, completion(content="a"))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(2):
        if streamed:
            text = "".join(d.text for d in list(protocol.stream(ChatRequest((USER,)), QueryContext(10)))[:-1])
        else:
            text = ask(protocol).text
        assert text == "a"
    assert ["stream" in p for p in endpoint.payloads] == [True, False, False]
    assert not any("stream_options" in p for p in endpoint.payloads[1:])


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_asked_for_whole_may_come_as_a_stream_nonetheless(streamed: bool) -> None:
    """As from a proxy that refuses the field, and streams from its server all the same."""
    endpoint = ScriptedEndpoint(refusal("Unrecognized request argument supplied: stream"), said("a", "b"))
    protocol = OpenAIProtocol(endpoint)
    if streamed:
        *deltas, end = protocol.stream(ChatRequest((USER,)), QueryContext(10))
        assert [delta.text for delta in deltas] == ["a", "b"]
        assert end.finish_reason == "stop"
    else:
        assert ask(protocol).text == "ab"
    assert ["stream" in payload for payload in endpoint.payloads] == [True, False]


def test_an_empty_answer_to_a_request_for_the_whole_is_told_as_one() -> None:
    endpoint = ScriptedEndpoint(refusal("streaming is not supported"), b"", b"")
    with pytest.raises(ServiceError, match="answer is empty"):
        ask(OpenAIProtocol(endpoint))
    assert len(endpoint.payloads) == 2


def test_a_refusal_whose_reason_is_clear_is_not_tried_another_way() -> None:
    endpoint = ScriptedEndpoint(refusal("the prompt is too long"), said("a"))
    protocol = OpenAIProtocol(endpoint)
    with pytest.raises(BadRequest, match="too long"):
        ask(protocol)
    ask(protocol)
    assert ["stream" in p for p in endpoint.payloads] == [True, True]


def test_a_refusal_that_has_another_reason_teaches_nothing() -> None:
    endpoint = ScriptedEndpoint(refusal("no such words"), refusal("no such words"), said("a"))
    protocol = OpenAIProtocol(endpoint)
    with pytest.raises(BadRequest, match="such words"):
        ask(protocol)
    ask(protocol)
    assert ["stream" in p for p in endpoint.payloads] == [True, False, True]


def test_a_server_that_has_streamed_is_not_suspected_again() -> None:
    endpoint = ScriptedEndpoint(said("a"), refusal("bad request"))
    protocol = OpenAIProtocol(endpoint)
    ask(protocol)
    with pytest.raises(BadRequest):
        ask(protocol)
    assert len(endpoint.payloads) == 2


@pytest.mark.parametrize("empty", [b"", b": ping - 2025-01-01 10:00:00\r\n\r\n"], ids=["empty", "pings"])
def test_an_empty_stream_is_asked_again_whole_for_the_reason(empty: bytes) -> None:
    """As llama-cpp-python refuses a streamed request whose prompt is too long."""
    endpoint = ScriptedEndpoint(
        said("a"), empty, refusal("the prompt is too long"), empty, completion(content="b"), said("c")
    )
    protocol = OpenAIProtocol(endpoint)
    assert ask(protocol).text == "a"
    with pytest.raises(BadRequest, match="too long"):
        ask(protocol)
    assert [ask(protocol).text, ask(protocol).text] == ["b", "c"]
    assert ["stream" in p for p in endpoint.payloads] == [True, True, False, True, False, True]


def test_a_tool_call_that_is_streamed_without_its_name_is_asked_for_whole() -> None:
    """As TGI before 3.1 streams its calls: an object in place of a list, with the grammar's text as arguments."""
    call = {"index": 0, "id": "", "type": "function", "function": {"name": None, "arguments": '{"function'}}
    whole = {"id": "0", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    endpoint = ScriptedEndpoint(
        delta(role="assistant", content="") + delta(role="assistant", tool_calls=call),
        completion("stop", content=None, tool_calls=[whole]),
        said("a"),
    )
    protocol = OpenAIProtocol(endpoint)
    assert ask(protocol, tools=(Tool("add"),)).tool_calls == (ToolCall("0", "add", '{"a": 1}'),)
    assert ask(protocol).text == "a"
    assert ["stream" in p for p in endpoint.payloads] == [True, False, True]


def test_a_server_without_stream_options_streams_without() -> None:
    endpoint = ScriptedEndpoint(refusal("stream_options: Extra inputs are not permitted"), said("a"))
    protocol = OpenAIProtocol(endpoint)
    assert [ask(protocol).text, ask(protocol).text] == ["a", "a"]
    assert [("stream" in p, "stream_options" in p) for p in endpoint.payloads] == [
        (True, True),
        (True, False),
        (True, False),
    ]


def test_a_refusal_inside_a_success_reads_as_sentences() -> None:
    error = event({"error": "`top_p` must be > 0.0 and < 1.0", "error_type": "validation"})
    with pytest.raises(BadRequest, match=r"1\.0\. Change or remove"):
        ask(OpenAIProtocol(ScriptedEndpoint(error)), sampling=Sampling(top_p=1.0))


@pytest.mark.parametrize("told", ["within a stream", "within JSON"])
def test_a_refusal_inside_a_success_is_one_too(told: str) -> None:
    error = {"error": {"message": "stream_options is not supported", "code": 400}}
    endpoint = ScriptedEndpoint(event(error) if told == "within a stream" else error, said("a"))
    assert ask(OpenAIProtocol(endpoint)).text == "a"


def test_what_was_streamed_is_never_asked_for_again() -> None:
    error = {"error": {"message": "stream_options is not supported", "code": 400}}
    broken = [delta(content="a"), event(error)]
    endpoint = ScriptedEndpoint(broken, broken, said("b"))
    for way in (OpenAIProtocol(endpoint).chat, lambda *asked: list(OpenAIProtocol(endpoint).stream(*asked))):
        endpoint.asked.clear()
        with pytest.raises(ModelError, match="stopped before its end"):
            way(ChatRequest((USER,)), QueryContext(10))
        assert len(endpoint.payloads) == 1


# -- fields --------------------------------------------------------------------------------------------

TOKENS_REFUSED = (
    "Unsupported parameter: 'max_tokens' is not supported with this model."
    " Use 'max_completion_tokens' instead."
)


def test_the_token_limit_goes_by_its_newer_name_where_the_server_wants_it() -> None:
    endpoint = ScriptedEndpoint(refusal(TOKENS_REFUSED), said("a"))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(2):
        assert ask(protocol, sampling=Sampling(max_output_tokens=5)).ignored_settings == ()
    assert [(p.get("max_tokens"), p.get("max_completion_tokens")) for p in endpoint.payloads] == [
        (5, None),
        (None, 5),
        (None, 5),
    ]


def test_a_token_limit_that_is_too_large_is_explained_and_teaches_nothing() -> None:
    too_large = refusal("'max_tokens' or 'max_completion_tokens' is too large: 9999.")
    endpoint = ScriptedEndpoint(too_large, too_large, said("a"))
    protocol = OpenAIProtocol(endpoint)
    with pytest.raises(BadRequest, match=r"setting 'maxOutputTokens'.*too large: 9999") as caught:
        ask(protocol, sampling=Sampling(max_output_tokens=9999))
    assert caught.value.status == 400
    ask(protocol, sampling=Sampling(max_output_tokens=5))
    assert endpoint.payloads[-1]["max_tokens"] == 5


CALLED = Message("assistant", tool_calls=(ToolCall("c1", "f", "{}"),))


@pytest.mark.parametrize(
    "error",
    [
        refusal("messages[1].content must be a string"),
        ServiceError(
            "[{'loc': ('body', 'messages', 1, 'content'), 'msg': 'Input should be a valid string'}]",
            status=500,
        ),
    ],
    ids=["refused", "a validation error"],
)
def test_a_server_that_refuses_null_content_gets_an_empty_text(error: ServiceError) -> None:
    endpoint = ScriptedEndpoint(error, said("a"))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(2):
        ask(protocol, messages=(USER, CALLED))
    assert [p["messages"][1]["content"] for p in endpoint.payloads] == [None, "", ""]


CALLED_FOR = Message("assistant", tool_calls=(ToolCall("c1", "f", '{"a": 1}'),))
NO_MAPPING = [
    ServiceError("The service fails: Can only get item pairs from a mapping.", status=500),
    refusal("'str object' has no attribute 'items'"),
    refusal("Unknown (built-in) filter 'items' for type String"),
]


def _arguments(endpoint: ScriptedEndpoint) -> list[Any]:
    return [p["messages"][1]["tool_calls"][0]["function"]["arguments"] for p in endpoint.payloads]


@pytest.mark.parametrize("error", NO_MAPPING, ids=str)
def test_a_template_that_goes_through_arguments_gets_them_as_an_object(error: ServiceError) -> None:
    endpoint = ScriptedEndpoint(error, said("a"))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(2):
        ask(protocol, messages=(USER, CALLED_FOR))
    assert _arguments(endpoint) == ['{"a": 1}', {"a": 1}, {"a": 1}]


def test_a_server_that_takes_arguments_as_text_only_is_told_of_by_its_templates_reason() -> None:
    endpoint = ScriptedEndpoint(NO_MAPPING[1], refusal("arguments: Input should be a valid string"))
    with pytest.raises(BadRequest, match="has no attribute 'items'"):
        ask(OpenAIProtocol(endpoint), messages=(USER, CALLED_FOR))


def test_another_server_behind_the_url_gets_arguments_as_text_again() -> None:
    refused = refusal("arguments: Input should be a valid string")
    endpoint = ScriptedEndpoint(NO_MAPPING[0], said("a"), refused, said("a"))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(3):
        ask(protocol, messages=(USER, CALLED_FOR))
    assert _arguments(endpoint) == ['{"a": 1}', {"a": 1}, {"a": 1}, '{"a": 1}', '{"a": 1}']


@pytest.mark.parametrize(
    "text",
    [
        "An assistant message with 'tool_calls' must be followed by tool messages for each 'tool_call_id'",
        "Not the same number of function calls and responses",
        "Unexpected role 'user' after role 'tool'",
    ],
)
def test_an_incomplete_history_is_told_at_once(text: str) -> None:
    endpoint = ScriptedEndpoint(refusal(text))
    with pytest.raises(BadRequest, match=text):
        ask(OpenAIProtocol(endpoint), messages=(USER, CALLED_FOR, USER))
    assert len(endpoint.payloads) == 1


NAMED = [
    ("topK", Sampling(top_k=3), "top_k", "Extra inputs are not permitted: top_k"),
    ("topP", Sampling(top_p=3), "top_p", "top_p must be in (0, 1], got 3"),
    ("temperature", Sampling(temperature=9), "temperature", "'temperature' must be between 0 and 2"),
    ("stopSequences", Sampling(stop_sequences=("x",)), "stop", "Unsupported parameter: 'stop'"),
    ("stopSequences", Sampling(stop_sequences=("x",)), "stop", "custom stop words are not implemented"),
    ("logitBias", Sampling(logit_bias={"1": 2}), "logit_bias", "logit_bias is not supported"),
    ("logProbs", Sampling(log_probs=True), "logprobs", "`logprobs` is not supported"),
    ("topLogProbs", Sampling(top_log_probs=30), "top_logprobs", "top_logprobs must be at most 20"),
    (
        "topLogProbs",
        Sampling(top_log_probs=30),
        "top_logprobs",
        "Requested sample logprobs of 30, at most 20",
    ),
    ("seed", Sampling(seed=1), "seed", "unknown field 'seed'"),
    ("frequencyPenalty", Sampling(frequency_penalty=1), "frequency_penalty", "frequency_penalty: unknown"),
    ("presencePenalty", Sampling(presence_penalty=1), "presence_penalty", "presence_penalty: unknown"),
]


@pytest.mark.parametrize(("setting", "sampling", "field", "text"), NAMED, ids=[n[0] for n in NAMED])
def test_a_refused_setting_is_named_as_in_dss(
    setting: str, sampling: Sampling, field: str, text: str
) -> None:
    endpoint = ScriptedEndpoint(refusal(text))
    with pytest.raises(BadRequest) as caught:
        ask(OpenAIProtocol(endpoint), sampling=sampling)
    assert f"refuses the setting '{setting}'" in str(caught.value)
    assert text in str(caught.value)
    assert len(endpoint.payloads) == 1


@pytest.mark.parametrize(("setting", "sampling", "field", "text"), NAMED, ids=[n[0] for n in NAMED])
def test_a_refused_setting_is_dropped_and_named_where_the_user_allows_it(
    setting: str, sampling: Sampling, field: str, text: str
) -> None:
    tokens = [{"token": "a", "logprob": -0.1}]
    endpoint = ScriptedEndpoint(
        refusal(text), delta(content="a", logprobs={"content": tokens}) + delta("stop")
    )
    answer = ask(OpenAIProtocol(endpoint, drop_refused_settings=True), sampling=sampling)
    assert answer.ignored_settings == (setting,)
    assert [field in p for p in endpoint.payloads] == [True, False]


def test_a_streamed_answer_names_what_was_dropped_at_its_end() -> None:
    protocol = OpenAIProtocol(
        ScriptedEndpoint(refusal("top_k: unknown"), said("a")), drop_refused_settings=True
    )
    request = ChatRequest((USER,), sampling=Sampling(top_k=3))
    assert list(protocol.stream(request, QueryContext(10)))[-1].ignored_settings == ("topK",)


def test_a_setting_that_the_server_lacks_is_not_tried_again() -> None:
    endpoint = ScriptedEndpoint(refusal("unknown field top_k"), said("a"))
    protocol = OpenAIProtocol(endpoint, drop_refused_settings=True)
    for _ in range(3):
        assert ask(protocol, sampling=Sampling(top_k=3)).ignored_settings == ("topK",)
    assert ask(protocol).ignored_settings == ()
    assert len(endpoint.payloads) == 5


def test_a_value_that_the_server_refuses_does_not_count_against_other_values() -> None:
    endpoint = ScriptedEndpoint(refusal("temperature must be at most 2"), said("a"))
    protocol = OpenAIProtocol(endpoint, drop_refused_settings=True)
    ask(protocol, sampling=Sampling(temperature=9))
    ask(protocol, sampling=Sampling(temperature=1))
    assert [p.get("temperature") for p in endpoint.payloads] == [9, None, 1]


def test_several_settings_are_dropped_one_after_the_other() -> None:
    endpoint = ScriptedEndpoint(refusal("top_k: unknown"), refusal("'seed': unknown"), said("a"))
    protocol = OpenAIProtocol(endpoint, drop_refused_settings=True)
    assert ask(protocol, sampling=Sampling(top_k=3, seed=4)).ignored_settings == ("topK", "seed")


@pytest.mark.parametrize(
    "error",
    [
        refusal("the server will stop; the stopwatch, the seed of doubt; context exceeded"),
        RequestTooLarge("The request is too large: max_tokens", status=413),
        ServiceError("The service fails: temperature of the GPU", status=500),
    ],
    ids=str,
)
def test_words_that_only_look_like_settings_change_nothing(error: ServiceError) -> None:
    endpoint = ScriptedEndpoint(said("a"), error)
    protocol = OpenAIProtocol(endpoint, drop_refused_settings=True)
    ask(protocol)
    with pytest.raises(type(error)) as caught:
        ask(protocol, sampling=Sampling(stop_sequences=("x",), seed=1, temperature=1, max_output_tokens=1))
    assert caught.value.message == error.message
    assert len(endpoint.payloads) == 2


# -- JSON formats --------------------------------------------------------------------------------------

NO_SCHEMA = refusal("response_format: the JSON schema has features that are not supported")
NO_JSON_SCHEMA = refusal("response_format.type: Input should be 'text' or 'json_object'")


def formats(json_format: JsonFormat, *script: Any) -> tuple[ChatAnswer, list[Any]]:
    endpoint = ScriptedEndpoint(said("unused"), *script)
    protocol = OpenAIProtocol(endpoint)
    ask(protocol)
    answer = ask(protocol, json_format=json_format)
    return answer, [p.get("response_format") for p in endpoint.payloads[1:]]


def test_a_schema_that_is_too_much_is_made_compatible() -> None:
    answer, sent = formats(JsonFormat(SCHEMA, strict=True), NO_SCHEMA, said('{"a": 1}'))
    assert sent[0]["json_schema"]["schema"] == SCHEMA
    assert "minimum" not in str(sent[1]["json_schema"]["schema"])
    assert sent[1]["json_schema"]["strict"] is True
    assert answer.ignored_settings == ()


def test_a_schema_is_left_alone_where_the_query_says_so() -> None:
    with pytest.raises(BadRequest, match=r"responseFormat.*not supported.*ifSupported"):
        formats(JsonFormat(SCHEMA, compatible=False), NO_SCHEMA)


def test_a_schema_that_is_refused_in_any_form_is_explained() -> None:
    with pytest.raises(BadRequest, match="responseFormat"):
        formats(JsonFormat(SCHEMA), NO_SCHEMA, NO_SCHEMA)


def test_a_setting_that_changes_nothing_is_left_out_and_others_are_not() -> None:
    """The next query may have one that changes something."""
    endpoint = ScriptedEndpoint(
        refusal("presence_penalty: Extra inputs are not permitted"),
        said("a"),
        refusal("presence_penalty: Extra inputs are not permitted"),
    )
    protocol = OpenAIProtocol(endpoint)
    assert ask(protocol, sampling=Sampling(presence_penalty=0)).ignored_settings == ("presencePenalty",)
    with pytest.raises(BadRequest, match="'presencePenalty'"):
        ask(protocol, sampling=Sampling(presence_penalty=1))
    assert ["presence_penalty" in payload for payload in endpoint.payloads] == [True, False, True]


def test_a_format_is_dropped_where_it_is_wanted_only_if_supported() -> None:
    answer, sent = formats(JsonFormat(SCHEMA, if_supported=True), NO_SCHEMA, NO_SCHEMA, said("text"))
    assert sent[2] is None
    assert answer.ignored_settings == ("responseFormat",)


def test_plain_json_is_dropped_where_it_is_wanted_only_if_supported() -> None:
    answer, sent = formats(
        JsonFormat(if_supported=True), refusal("response_format is not supported"), said("x")
    )
    assert sent == [{"type": "json_object"}, None]
    assert answer.ignored_settings == ("responseFormat",)


def test_a_server_that_knows_json_object_alone_gets_the_schema_with_it() -> None:
    answer, sent = formats(JsonFormat(SCHEMA), NO_JSON_SCHEMA, said('{"a": 1}'))
    assert sent[1] == {"type": "json_object", "schema": SCHEMA}
    assert answer.ignored_settings == ()


def test_a_strict_schema_is_not_entrusted_to_a_server_that_may_ignore_it() -> None:
    with pytest.raises(BadRequest, match="responseFormat"):
        formats(JsonFormat(SCHEMA, strict=True, compatible=False), NO_JSON_SCHEMA)


# -- models --------------------------------------------------------------------------------------------


def test_the_first_listed_model_is_used_and_the_list_is_asked_for_once() -> None:
    endpoint = ScriptedEndpoint(said("a"), models=("first", "second"))
    protocol = OpenAIProtocol(endpoint)
    ask(protocol)
    ask(protocol)
    assert [p["model"] for p in endpoint.payloads] == ["first", "first"]
    assert endpoint.paths.count("/v1/models") == 1


def test_a_configured_model_needs_no_list() -> None:
    endpoint = ScriptedEndpoint(said("a"))
    ask(OpenAIProtocol(endpoint, model="mine"))
    assert endpoint.paths == ["/v1/chat/completions"]
    assert endpoint.payloads[0]["model"] == "mine"


@pytest.mark.parametrize(
    "error", [NotFound("no such path", status=404), ServiceError("not implemented", status=501)], ids=str
)
def test_a_server_without_a_list_is_asked_for_no_model(error: ServiceError) -> None:
    endpoint = ScriptedEndpoint(said("a"), models=error)
    assert ask(OpenAIProtocol(endpoint)).text == "a"
    assert "model" not in endpoint.payloads[0]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "not a list of models"),
        ([], "not a list of models"),
        ({"data": 3}, "not a list of models"),
        ({"data": []}, "does not list a model"),
        ({"data": None}, "does not list a model"),
    ],
    ids=str,
)
def test_a_list_of_models_that_is_none_is_a_clear_error(body: Any, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        ask(OpenAIProtocol(ScriptedEndpoint(said("a"), models=body)))


UNKNOWN = [
    NotFound("The service has nothing there: The model `mine` does not exist.", status=404),
    refusal("model mine not found"),
    ServiceError("The service fails.", status=500),
]


@pytest.mark.parametrize("error", UNKNOWN, ids=str)
def test_an_unknown_model_is_explained_with_those_there_are(error: ServiceError) -> None:
    endpoint = ScriptedEndpoint(error, models=("first", "second"))
    with pytest.raises(NotFound, match=r"no model 'mine'\. It serves: first, second.*'Model name'"):
        ask(OpenAIProtocol(endpoint, model="mine"))


def test_a_long_list_of_models_is_cut() -> None:
    endpoint = ScriptedEndpoint(UNKNOWN[0], models=tuple(f"m{i:02}" for i in range(25)))
    with pytest.raises(NotFound, match="m09 and 15 more"):
        ask(OpenAIProtocol(endpoint, model="mine"))


@pytest.mark.parametrize("models", [("mine",), NotFound("no list", status=404)], ids=["listed", "no list"])
def test_another_404_keeps_its_own_reason(models: Any) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        ask(OpenAIProtocol(ScriptedEndpoint(UNKNOWN[0], models=models), model="mine"))


def test_a_discovered_model_that_is_gone_is_discovered_anew() -> None:
    endpoint = ScriptedEndpoint(said("a"), UNKNOWN[0], said("b"), models=("old",))
    protocol = OpenAIProtocol(endpoint)
    ask(protocol)
    endpoint._models = ("new",)
    assert ask(protocol).text == "b"
    assert [payload["model"] for payload in endpoint.payloads if "model" in payload] == ["old", "old", "new"]


def test_a_failure_after_a_success_is_not_blamed_on_the_model() -> None:
    endpoint = ScriptedEndpoint(said("a"), ServiceError("The service fails.", status=500))
    protocol = OpenAIProtocol(endpoint, model="mine")
    ask(protocol)
    with pytest.raises(ServiceError, match="fails"):
        ask(protocol)
    assert "/v1/models" not in endpoint.paths


def test_the_rest_of_a_stream_after_done_is_not_read() -> None:
    assert ask(OpenAIProtocol(ScriptedEndpoint([said("a"), event("{nonsense")]))).text == "a"
    assert ask(OpenAIProtocol(ScriptedEndpoint(said("a") + DONE + event("{nonsense")))).text == "a"
