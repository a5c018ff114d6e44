"""Chats with services of the Model Registry: how they are put, what is learnt from refusals, what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spcs_llm.domain import (
    ChatAnswer,
    ChatRequest,
    ImagePart,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolChoice,
    Usage,
)
from spcs_llm.errors import (
    BadRequest,
    ModelError,
    NotFound,
    QueryError,
    ServiceError,
    SpcsError,
    TokenRefused,
)
from spcs_llm.protocols.inference_server.model_serving import ModelServingProtocol
from tests.unit.protocol_rows import (
    SECRET,
    assert_tells_nothing,
    call,
    error_of,
    outputs,
    rows,
    template,
    text_of,
    texts,
    user,
)
from tests.unit.scripted_endpoint import ScriptedEndpoint, refusal

CONTENT_IS_TEXT = refusal("Input data malformed: column 'messages': content expected str, got list")
TEMPERATURE_IS_MISSING = refusal("column 'temperature' is missing")
INPUTS_ARE_MISSING = refusal("column 'inputs' is missing")
SETTINGS = Sampling(
    max_output_tokens=400, temperature=0.2, top_p=0.9, frequency_penalty=0.1, presence_penalty=0.3
)


def completion(
    text: str | None = "Paris.", finish_reason: str = "stop", tokens: int = 3, **columns: Any
) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "name": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1.76e9,
        "model": "m1",
        "choices": [choice],
        "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens},
        **columns,
    }


def protocol(
    *script: Any, mode: str = "OTHER", **options: Any
) -> tuple[ModelServingProtocol, ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(*script)
    return ModelServingProtocol(endpoint, template=template(mode), **options), endpoint


def ask(*script: Any, request: ChatRequest | None = None, **options: Any) -> tuple[Any, ScriptedEndpoint]:
    asked, endpoint = protocol(*script, **options)
    return asked.chat_rows([request or user()], call())[0], endpoint


def columns(payload: Any) -> dict[str, Any]:
    """The first row of a request, by its columns."""
    split = payload["dataframe_split"]
    return dict(zip(split["columns"], split["data"][0]))


# -- how a conversation is put


def test_a_conversation_is_one_row_of_messages_with_content_in_parts() -> None:
    request = ChatRequest(
        (Message("system", (TextPart("Be brief."),)), Message("user", (TextPart("a"), TextPart("b"))))
    )
    _, endpoint = ask(rows(completion()), request=request)
    (http_request,) = endpoint.asked
    assert (http_request.method, http_request.path, http_request.weight) == ("POST", "/__call__", 1)
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "ab"}]},
    ]
    assert http_request.payload == {
        "dataframe_split": {"index": [0], "columns": ["messages"], "data": [[messages]]}
    }


def test_settings_that_the_signature_has_are_params() -> None:
    sampling = Sampling(**{**vars(SETTINGS), "stop_sequences": ("END",)})
    answer, endpoint = ask(rows(completion()), request=user(sampling=sampling))
    assert endpoint.payloads[0]["params"] == {
        "max_completion_tokens": 400,
        "temperature": 0.2,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.3,
        "stop": ["END"],
    }
    assert answer.ignored_settings == ()


def test_settings_that_the_signature_has_not_are_named() -> None:
    sampling = Sampling(top_k=3, logit_bias={"1": 1.0}, log_probs=True, top_log_probs=2, seed=1)
    answer, endpoint = ask(rows(completion()), request=user(sampling=sampling))
    assert "params" not in endpoint.payloads[0]
    assert answer.ignored_settings == ("topK", "logitBias", "logProbs", "topLogProbs", "seed")


def test_rows_share_one_request_and_are_matched_by_their_index() -> None:
    answer = {"data": [[1, completion("two")], [0, completion("one")]]}
    asked, endpoint = protocol(answer)
    assert texts(asked.chat_rows([user("a"), user("b")], call())) == ["one", "two"]
    assert endpoint.asked[0].weight == 2
    assert endpoint.payloads[0]["dataframe_split"]["index"] == [0, 1]


@pytest.mark.parametrize("stop", ["France", "\n", " "])
def test_a_stop_sequence_that_the_prompt_holds_is_applied_here_alone(stop: str) -> None:
    """Snowflake's Python engine looks for it in the prompt too, and would stop at the first token."""
    text = f"Paris{stop}Lyon"
    answer, endpoint = ask(
        rows(completion(text)), request=user(sampling=Sampling(stop_sequences=(stop, "END")))
    )
    assert endpoint.payloads[0]["params"] == {"stop": ["END"]}
    assert (answer.text, answer.finish_reason) == ("Paris", "stop")


# -- what is learnt from refusals


def test_content_as_text_is_learnt_once_from_the_type_error() -> None:
    asked, endpoint = protocol(CONTENT_IS_TEXT, rows(completion()))
    assert texts(asked.chat_rows([user("hi")], call())) == ["Paris."]
    assert columns(endpoint.payloads[1]) == {"messages": [{"role": "user", "content": "hi"}]}
    asked.chat_rows([user("again")], call())
    assert columns(endpoint.payloads[2]) == {"messages": [{"role": "user", "content": "again"}]}


@pytest.mark.parametrize(
    "error",
    [
        refusal("no reason that we know of"),
        BadRequest("The service refuses the request (HTTP 400).", status=400),
        ServiceError("The service fails: can only concatenate str (not 'list') to str", status=500),
    ],
)
def test_a_form_that_is_refused_in_other_words_is_put_otherwise(error: SpcsError) -> None:
    answer, endpoint = ask(error, rows(completion()))
    assert text_of(answer) == "Paris."
    assert columns(endpoint.payloads[1])["messages"][0]["content"] == user().messages[0].text


def test_sampling_as_columns_is_learnt_from_the_column_that_is_missing() -> None:
    request = user(sampling=Sampling(temperature=0.0, max_output_tokens=7))
    asked, endpoint = protocol(TEMPERATURE_IS_MISSING, rows(completion()))
    for _ in range(2):
        asked.chat_rows([request], call())
    for payload in endpoint.payloads[1:]:
        assert "params" not in payload
        row = columns(payload)
        assert isinstance(row.pop("messages")[0]["content"], list)
        assert row == {
            "temperature": 0.0,
            "max_completion_tokens": 7,
            "stop": None,
            "n": 1,
            "stream": False,
            "top_p": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
        }
    assert len(endpoint.payloads) == 3


def test_content_and_columns_are_learnt_one_after_the_other() -> None:
    answer, endpoint = ask(CONTENT_IS_TEXT, TEMPERATURE_IS_MISSING, rows(completion()))
    assert text_of(answer) == "Paris."
    row = columns(endpoint.payloads[2])
    assert row["messages"][0]["content"] == user().messages[0].text
    assert row["n"] == 1


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(completion("long", tokens=9), completion("short", tokens=7), id="longer than asked for"),
        pytest.param(
            completion("cut", "length", 250), completion("whole", tokens=300), id="cut at the default"
        ),
    ],
)
def test_a_limit_that_was_ignored_as_a_param_is_sent_as_a_column(first: Any, then: Any) -> None:
    """Params that a signature does not have are ignored in silence."""
    limit = 7 if then["usage"]["completion_tokens"] == 7 else 400
    asked, endpoint = protocol(rows(first), rows(then))
    request = user(sampling=Sampling(max_output_tokens=limit))
    (answer,) = asked.chat_rows([request], call())
    assert isinstance(answer, ChatAnswer)
    assert answer.text == then["choices"][0]["message"]["content"]
    assert answer.ignored_settings == ()
    assert columns(endpoint.payloads[1])["max_completion_tokens"] == limit
    asked.chat_rows([request], call())
    assert "max_completion_tokens" in columns(endpoint.payloads[2])


@pytest.mark.parametrize("then", [refusal("unknown column"), rows(completion("again", tokens=9))])
def test_a_limit_that_is_ignored_either_way_is_named_and_asked_for_twice_but_once(then: Any) -> None:
    request = user(sampling=Sampling(max_output_tokens=7))
    asked, endpoint = protocol(rows(completion("long", tokens=9)), then, rows(completion("long", tokens=9)))
    for _ in range(2):
        (answer,) = asked.chat_rows([request], call())
        assert isinstance(answer, ChatAnswer)
        assert answer.text == "long"
        assert answer.ignored_settings == ("maxOutputTokens",)
    assert len(endpoint.payloads) == 3


def test_a_request_that_no_form_makes_right_fails_for_its_own_reason_after_few_tries() -> None:
    too_long = refusal("This model's maximum context length is 2048 tokens.")
    asked, endpoint = protocol(CONTENT_IS_TEXT, too_long, INPUTS_ARE_MISSING)
    with pytest.raises(BadRequest, match="maximum context length"):
        asked.chat_rows([user(SECRET)], call())
    assert len(endpoint.payloads) <= 6


def test_once_a_form_was_taken_a_refusal_is_final() -> None:
    asked, endpoint = protocol(rows(completion()), refusal("prompt too long"), refusal("never asked"))
    asked.chat_rows([user()], call())
    with pytest.raises(BadRequest, match="too long"):
        asked.chat_rows([user()], call())
    assert len(endpoint.payloads) == 2


def test_a_service_that_takes_another_form_by_now_is_learnt_anew() -> None:
    asked, _ = protocol(rows(completion("old")), CONTENT_IS_TEXT, rows(completion("new")))
    assert texts(asked.chat_rows([user()], call())) == ["old"]
    assert texts(asked.chat_rows([user()], call())) == ["new"]


def test_a_signature_that_fits_nothing_is_told_with_a_mend() -> None:
    with pytest.raises(BadRequest) as caught:
        ask(refusal("column 'image' is missing"))
    assert "show_functions()" in caught.value.hint


@pytest.mark.parametrize("error", [ServiceError("CUDA error", status=500), SpcsError("gateway", status=503)])
def test_a_failure_that_is_not_about_the_form_is_raised_at_once(error: SpcsError) -> None:
    asked, endpoint = protocol(error)
    with pytest.raises(SpcsError):
        asked.chat_rows([user()], call())
    assert len(endpoint.payloads) == 1


# -- the path of a method


@pytest.mark.parametrize("error", [NotFound("no such path", status=404), TokenRefused("hidden", status=404)])
def test_a_method_that_is_not_found_is_tried_with_dashes_once_and_remembered(error: SpcsError) -> None:
    asked, endpoint = protocol(error, rows(completion()))
    for _ in range(2):
        asked.chat_rows([user()], call())
    assert endpoint.paths == ["/__call__", "/--call--", "/--call--"]


def test_a_path_that_refuses_the_request_is_there() -> None:
    asked, endpoint = protocol(NotFound("?", status=404), CONTENT_IS_TEXT, rows(completion()))
    asked.chat_rows([user()], call())
    assert endpoint.paths == ["/__call__", "/--call--", "/--call--"]


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        (None, ["/__call__", "/--call--"]),
        ("generate_text", ["/generate-text", "/generate_text"]),
        ("/predict/", ["/predict"]),
        ("--call--", ["/--call--", "/__call__"]),
    ],
)
def test_a_method_that_is_nowhere_is_told_with_the_paths_that_were_tried(
    name: str | None, paths: list[str]
) -> None:
    asked, endpoint = protocol(NotFound("Nothing answers there.", "Check the URL.", status=404), method=name)
    with pytest.raises(NotFound) as caught:
        asked.chat_rows([user()], call())
    assert endpoint.paths == paths
    tried = f"the path {paths[0]} was" if len(paths) == 1 else f"the paths {' and '.join(paths)} were"
    assert caught.value.hint == f"Check 'Method name': {tried} tried. Check the URL."


# -- what comes back


def test_text_reason_counts_and_model_come_from_the_openai_columns() -> None:
    answer, _ = ask(rows(completion("Paris", "length", tokens=7)))
    assert (answer.text, answer.finish_reason, answer.model) == ("Paris", "length", "m1")
    assert answer.usage == Usage(5, 7, 12)


def test_columns_that_come_as_json_in_a_text_are_read() -> None:
    row = completion()
    answer, _ = ask(rows({**row, "choices": json.dumps(row["choices"])}))
    assert text_of(answer) == "Paris."


@pytest.mark.parametrize(("asked_for", "tokens"), [(7, 7), (None, 250)])
def test_an_answer_of_as_many_tokens_as_allowed_was_cut_whatever_the_engine_says(
    asked_for: int | None, tokens: int
) -> None:
    request = user(sampling=Sampling(max_output_tokens=asked_for))
    answer, _ = ask(rows(completion("cut off in", "stop", tokens)), request=request)
    assert answer.finish_reason == "length"


@pytest.mark.parametrize(
    "row",
    [
        {"choices": None},
        {"choices": []},
        {"choices": ["Paris"]},
        {"choices": [{"message": 3}]},
        {"choices": "Paris"},
        {"id": "1", "object": "chat.completion"},
        "Paris",
        7,
        None,
    ],
)
def test_a_row_that_is_no_completion_is_an_error_of_its_own(row: Any) -> None:
    asked, _ = protocol(rows(completion("good"), row))
    good, bad = asked.chat_rows([user("a"), user(SECRET)], call())
    assert text_of(good) == "good"
    assert_tells_nothing(error_of(bad))


# -- JSON output

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (JsonFormat(), {"type": "json_object"}),
        (
            JsonFormat(SCHEMA, strict=True),
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_a_json_format_is_a_param(wanted: JsonFormat, sent: Any) -> None:
    answer, endpoint = ask(rows(completion('{"city": "Paris"}')), request=user(json_format=wanted))
    assert endpoint.payloads[0]["params"] == {"response_format": sent}
    assert answer.ignored_settings == ()


def test_a_json_format_that_an_engine_ignored_is_not_passed_over() -> None:
    error = error_of(ask(rows(completion(SECRET)), request=user(json_format=JsonFormat(SCHEMA)))[0])
    assert isinstance(error, ModelError)
    assert "1.45" in error.hint
    assert_tells_nothing(error)


def test_a_json_format_that_may_be_ignored_is_named() -> None:
    answer, _ = ask(rows(completion("Paris")), request=user(json_format=JsonFormat(if_supported=True)))
    assert (answer.text, answer.ignored_settings) == ("Paris", ("responseFormat",))


def test_json_that_was_cut_at_the_limit_is_an_answer_that_says_so() -> None:
    answer, _ = ask(rows(completion('{"city": "Pa', "length")), request=user(json_format=JsonFormat()))
    assert (answer.text, answer.finish_reason) == ('{"city": "Pa', "length")


# -- models that take a prompt


def test_a_model_without_chat_columns_gets_a_prompt_of_the_template() -> None:
    asked, endpoint = protocol(INPUTS_ARE_MISSING, outputs([{"generated_text": " Paris."}]), mode="LLAMA_3")
    assert texts(asked.chat_rows([user()], call())) == ["Paris."]
    assert columns(endpoint.payloads[1]) == {"inputs": template("LLAMA_3").render(user().messages, bos=False)}
    assert endpoint.payloads[1]["dataframe_split"]["columns"] == ["inputs"]


def test_a_prompt_column_that_is_set_is_asked_at_once() -> None:
    answer, endpoint = ask(outputs([{"generated_text": "Paris."}]), input_column="prompt", mode="CHATML")
    assert text_of(answer) == "Paris."
    assert columns(endpoint.payloads[0]) == {"prompt": template("CHATML").render(user().messages)}


def test_a_prompt_column_of_another_name_is_learnt_from_the_error() -> None:
    _, endpoint = ask(refusal("column 'question' is missing"), outputs([{"generated_text": "Paris."}]))
    assert columns(endpoint.payloads[1]).keys() == {"question"}


def test_messages_in_the_prompts_column_are_learnt_from_the_type_error() -> None:
    answer, endpoint = ask(
        refusal("column 'inputs' expected list, got str"),
        outputs([{"generated_text": "Paris."}]),
        input_column="inputs",
    )
    assert text_of(answer) == "Paris."
    assert columns(endpoint.payloads[1]) == {"inputs": [{"role": "user", "content": user().messages[0].text}]}


@pytest.mark.parametrize(
    ("sampling", "params", "ignored"),
    [
        (Sampling(), None, ()),
        (Sampling(max_output_tokens=5), {"max_new_tokens": 5}, ()),
        (Sampling(temperature=0.0, top_p=0.5), {"do_sample": False}, ()),
        (
            Sampling(max_output_tokens=5, temperature=0.5, top_k=3, top_p=0.9),
            {"max_new_tokens": 5, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "do_sample": True},
            (),
        ),
        (Sampling(seed=1, frequency_penalty=0.5), None, ("frequencyPenalty", "seed")),
        (Sampling(stop_sequences=("X",)), None, ()),
    ],
)
def test_a_prompts_settings_are_those_of_transformers(sampling: Sampling, params: Any, ignored: Any) -> None:
    answer, endpoint = ask(
        outputs([{"generated_text": "Paris.X"}]), input_column="inputs", request=user(sampling=sampling)
    )
    assert endpoint.payloads[0].get("params") == params
    assert answer.ignored_settings == ignored


def test_an_echoed_prompt_is_removed_and_a_stop_sequence_applied() -> None:
    prompt = template("CHATML").render(user().messages)
    answer, _ = ask(
        outputs([{"generated_text": prompt + "Paris. Lyon."}]),
        input_column="inputs",
        mode="CHATML",
        request=user(sampling=Sampling(stop_sequences=(" Lyon",))),
    )
    assert answer.text == "Paris."


def test_a_model_that_takes_a_prompt_cannot_be_held_to_json() -> None:
    asked, endpoint = protocol(outputs("x"), input_column="inputs")
    (row,) = asked.chat_rows([user(json_format=JsonFormat())], call())
    assert isinstance(row, QueryError)
    assert endpoint.asked == []


# -- what cannot be carried


@pytest.mark.parametrize(
    "request_",
    [
        user(tools=(Tool("lookup"),)),
        user(tool_choice=ToolChoice("required")),
        ChatRequest((Message("user", (ImagePart(data="aGk="),)),)),
    ],
)
def test_tools_and_images_are_refused_before_anything_is_sent(request_: ChatRequest) -> None:
    asked, endpoint = protocol(rows(completion()))
    with pytest.raises(QueryError, match="The query has"):
        asked.check(request_)
    assert endpoint.asked == []


def test_no_request_asks_nothing() -> None:
    asked, endpoint = protocol(rows())
    assert asked.chat_rows([], call()) == []
    assert endpoint.asked == []
