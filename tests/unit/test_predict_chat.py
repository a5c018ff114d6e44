"""Chats over `/predict`: prompts, the texts that come back, echoes, stop sequences, what cannot be carried."""

from __future__ import annotations

import json
import tracemalloc
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
    ToolCall,
    ToolChoice,
    ToolResult,
)
from spcs_llm.errors import ModelError, QueryError
from spcs_llm.protocols.inference_server.predict import PredictProtocol
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
from tests.unit.scripted_endpoint import ScriptedEndpoint

ANSWER = "Paris is the capital."


def protocol(*script: Any, mode: str = "OTHER") -> tuple[PredictProtocol, ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(*script)
    return PredictProtocol(endpoint, template=template(mode)), endpoint


def ask(output: Any, request: ChatRequest | None = None, mode: str = "CHATML") -> Any:
    asked, _ = protocol(outputs(output), mode=mode)
    return asked.chat_rows([request or user()], call())[0]


def pipeline(text: str) -> str:
    return json.dumps([{"generated_text": text}])


# -- what is sent


def test_each_conversation_is_a_row_of_one_request_that_weighs_as_many() -> None:
    asked, endpoint = protocol(outputs(pipeline("one"), pipeline("two")), mode="CHATML")
    answers = asked.chat_rows([user("a"), user("b")], call())
    assert texts(answers) == ["one", "two"]
    (http_request,) = endpoint.asked
    assert (http_request.method, http_request.path, http_request.weight) == ("POST", "/predict", 2)
    render = template("CHATML").render
    assert http_request.payload == {
        "data": [[0, {"inputs": render(user("a").messages)}], [1, {"inputs": render(user("b").messages)}]]
    }


def test_a_lone_user_message_of_another_model_is_sent_exactly_as_it_is() -> None:
    asked, endpoint = protocol(outputs(pipeline("x")))
    asked.chat_rows([user(" 1 + 1 =\n")], call())
    assert endpoint.payloads == [{"data": [[0, {"inputs": " 1 + 1 =\n"}]]}]


def test_a_conversation_that_the_template_refuses_fails_alone_and_is_not_sent() -> None:
    refused = ChatRequest((Message("user", (TextPart(""),)),) * 0)
    asked, endpoint = protocol(outputs(pipeline("fine")), mode="CHATML")
    first, second = asked.chat_rows([refused, user("a")], call())
    assert isinstance(first, QueryError)
    assert text_of(second) == "fine"
    assert len(endpoint.payloads[0]["data"]) == 1


# -- the text in an answer


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(pipeline(ANSWER), id="JSON in a text"),
        pytest.param(str([{"generated_text": ANSWER}]), id="Python in a text"),
        pytest.param(str([{"generated_text": ANSWER, "score": None}]), id="Python with None"),
        pytest.param([{"generated_text": ANSWER}], id="native"),
        pytest.param({"generated_text": ANSWER}, id="native, not in a list"),
        pytest.param(json.dumps({"generated_text": ANSWER}), id="JSON, not in a list"),
        pytest.param([[{"generated_text": ANSWER}]], id="a list in a list"),
        pytest.param([{"generated_text": ANSWER}, {"generated_text": "Lyon"}], id="the first of several"),
        pytest.param([ANSWER], id="a list of texts"),
        pytest.param(ANSWER, id="plain text"),
        pytest.param(json.dumps(ANSWER), id="a JSON string"),
        pytest.param(
            [
                {
                    "generated_text": [
                        {"role": "user", "content": "?"},
                        {"role": "assistant", "content": ANSWER},
                    ]
                }
            ],
            id="the messages of a chat",
        ),
        pytest.param(
            [{"generated_text": [{"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}]}],
            id="messages of parts",
        ),
    ],
)
def test_the_text_is_found_however_it_is_written(output: Any) -> None:
    assert text_of(ask(output)) == ANSWER


@pytest.mark.parametrize(
    "text", ['{"city": "Paris"}', "[1, 2]", "42", "null", "(see above)", "[unsure] Paris", "{"]
)
def test_plain_text_that_is_json_or_looks_like_it_is_the_answer(text: str) -> None:
    assert text_of(ask(text)) == text


def test_another_output_column_is_found_if_it_is_the_only_one() -> None:
    asked, _ = protocol(rows({"generated": pipeline(ANSWER), "_ID": 3}), mode="CHATML")
    assert texts(asked.chat_rows([user()], call())) == [ANSWER]


def test_an_empty_answer_is_an_answer() -> None:
    assert text_of(ask(pipeline(""))) == ""


@pytest.mark.parametrize(
    "output",
    [
        None,
        7,
        [],
        "[]",
        {},
        {"text": "a"},
        [{"generated_text": None}],
        pipeline("x").replace('"x"', "null"),
        [{"generated_text": [{"role": "user", "content": "q"}]}],
        [{"generated_text": 5}],
        '[{"generated_text": "cut off in the midd',
    ],
)
def test_an_output_without_a_text_is_an_error_of_its_row_that_quotes_nothing(output: Any) -> None:
    asked, _ = protocol(outputs(pipeline("good"), output), mode="CHATML")
    good, bad = asked.chat_rows([user("a"), user(SECRET)], call())
    assert text_of(good) == "good"
    error = error_of(bad)
    assert isinstance(error, ModelError)
    assert error.hint
    assert_tells_nothing(error, "in the midd")


# -- echoed prompts


@pytest.mark.parametrize(
    "mode", ["CHATML", "LLAMA_2", "LLAMA_3", "MISTRAL", "ZEPHYR", "FALCON", "PHI_2", "PHI_3", "GEMMA"]
)
def test_a_prompt_at_the_head_of_the_answer_is_removed(mode: str) -> None:
    prompt = template(mode).render(user().messages)
    assert text_of(ask(pipeline(prompt + " " + ANSWER), mode=mode)) == ANSWER


DECODED = {
    "CHATML": "user\nWhat is the capital of France?\nassistant\n",
    "LLAMA_2": "[INST] What is the capital of France? [/INST]",
    "MISTRAL": " [INST] What is the capital of France? [/INST]",
    "ZEPHYR": "<|user|>\nWhat is the capital of France? \n<|assistant|>\n",
    "PHI_3": " What is the capital of France? ",
    "GEMMA": "user\nWhat is the capital of France?\nmodel\n",
}


@pytest.mark.parametrize("mode", DECODED)
def test_a_prompt_that_lost_its_control_tokens_on_the_way_is_removed_too(mode: str) -> None:
    assert text_of(ask(pipeline(DECODED[mode] + ANSWER), mode=mode)) == ANSWER


def test_a_prompt_elsewhere_than_at_the_head_stays() -> None:
    text = "You asked: What is the capital of France? " + ANSWER
    assert text_of(ask(pipeline(text), mode="OTHER")) == text


def test_an_echo_of_a_users_own_text_is_removed_and_what_goes_on_is_left_as_it_is() -> None:
    assert (
        text_of(ask(pipeline("Once upon a time there was"), user("Once upon a"), "OTHER"))
        == " time there was"
    )


def test_an_answer_that_happens_to_begin_with_a_short_message_is_whole() -> None:
    assert (
        text_of(ask(pipeline("Hello! How can I help?"), user("Hello"), "OTHER")) == "Hello! How can I help?"
    )


def test_a_service_that_was_seen_to_repeat_prompts_repeats_short_ones_too() -> None:
    asked, _ = protocol(
        outputs(pipeline("Tell me a story: there was")), outputs(pipeline("Hello there")), mode="OTHER"
    )
    assert texts(asked.chat_rows([user("Tell me a story:")], call())) == [" there was"]
    assert texts(asked.chat_rows([user("Hello")], call())) == [" there"]


def test_a_service_that_was_seen_not_to_repeat_prompts_begins_answers_with_them_by_chance() -> None:
    text = "The sky is blue because"
    asked, _ = protocol(outputs(pipeline("Paris."), pipeline(text)), outputs(pipeline(text)), mode="OTHER")
    assert texts(asked.chat_rows([user(), user("The sky is blue")], call()))[1] == text
    assert texts(asked.chat_rows([user("The sky is blue")], call())) == [text]


def test_the_longest_prompt_is_compared_in_no_time() -> None:
    prompt = template("CHATML").render(user("word " * 100_000).messages)
    decoded = prompt.replace("<|im_start|>", "").replace("<|im_end|>", "")
    assert text_of(ask(pipeline(decoded + ANSWER), user("word " * 100_000))) == ANSWER


# -- stop sequences and blanks


def stopping_at(*stops: str) -> ChatRequest:
    return user(sampling=Sampling(stop_sequences=stops))


def test_the_earliest_stop_sequence_ends_the_answer() -> None:
    assert text_of(ask(pipeline("one, two; three"), stopping_at(";", ","))) == "one"
    assert text_of(ask(pipeline("one, two; three"), stopping_at("#"))) == "one, two; three"


def test_stop_sequences_are_looked_for_behind_the_echo() -> None:
    prompt = template("CHATML").render(user().messages)
    assert text_of(ask(pipeline(prompt + "one\ntwo"), stopping_at("\n"))) == "one"


def test_blanks_before_an_answer_in_a_chat_format_are_no_part_of_it() -> None:
    assert text_of(ask(pipeline("\n\n Paris.\nIndeed.\n"), stopping_at("\n"))) == "Paris."


def test_a_turn_that_the_model_goes_on_to_invent_is_cut_off() -> None:
    assert text_of(ask(pipeline(" Paris.\nUser: And Italy?"), mode="FALCON")) == "Paris."
    assert text_of(ask(pipeline("Paris.<|im_end|>\n<|im_start|>user"), mode="CHATML")) == "Paris."
    assert text_of(ask(pipeline("\nUser: And Italy?"), mode="FALCON")) == ""


def test_what_continues_a_users_own_text_is_left_as_it_is() -> None:
    text = "  x = 1\n\nUser: hi\n"
    assert text_of(ask(pipeline(text), user("def f():"), "OTHER")) == text


def test_the_reason_to_finish_is_stop_and_tokens_are_not_counted() -> None:
    answer = ask(pipeline(ANSWER))
    assert answer.finish_reason == "stop"
    assert answer.usage.completion_tokens is None


# -- what cannot be carried


def test_settings_that_are_asked_for_and_cannot_be_sent_are_named() -> None:
    sampling = Sampling(
        max_output_tokens=5,
        temperature=0.0,
        top_p=0.9,
        top_k=3,
        stop_sequences=("x",),
        frequency_penalty=0.1,
        presence_penalty=0.2,
        logit_bias={"1": 2.0},
        log_probs=True,
        top_log_probs=2,
        seed=7,
    )
    answer = ask(pipeline(ANSWER), user(sampling=sampling, json_format=JsonFormat(if_supported=True)))
    assert answer.ignored_settings == (
        "maxOutputTokens",
        "temperature",
        "topP",
        "topK",
        "frequencyPenalty",
        "presencePenalty",
        "logitBias",
        "logProbs",
        "topLogProbs",
        "seed",
        "responseFormat",
    )


def test_settings_that_ask_for_nothing_are_not_named() -> None:
    assert ask(pipeline(ANSWER), user(sampling=Sampling(log_probs=False))).ignored_settings == ()


def test_an_answer_longer_than_asked_for_is_not_cut() -> None:
    long = "word " * 500
    answer = ask(pipeline(long), user(sampling=Sampling(max_output_tokens=3)))
    assert answer.text == long.strip()
    assert answer.ignored_settings == ("maxOutputTokens",)


TOOL = Tool("lookup")
CALLED = Message("assistant", tool_calls=(ToolCall("c1", "lookup", "{}"),))
RESULT = Message("tool", tool_results=(ToolResult("c1", "42"),))
PICTURE = Message("user", (TextPart("What is it?"), ImagePart(data="aGk=")))


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(user(tools=(TOOL,)), id="tools"),
        pytest.param(user(tools=(TOOL,), tool_choice=ToolChoice("auto")), id="tools, auto"),
        pytest.param(user(tools=(TOOL,), tool_choice=ToolChoice("required")), id="tools, required"),
        pytest.param(user(tool_choice=ToolChoice("tool", "lookup")), id="a tool named"),
        pytest.param(ChatRequest((*user().messages, CALLED)), id="a call"),
        pytest.param(ChatRequest((*user().messages, CALLED, RESULT)), id="a call and its result"),
        pytest.param(ChatRequest((PICTURE,)), id="an image"),
        pytest.param(user(json_format=JsonFormat()), id="JSON"),
        pytest.param(user(json_format=JsonFormat({"type": "object"}, strict=True)), id="a strict schema"),
    ],
)
def test_what_the_answer_depends_on_is_refused_before_anything_is_sent(request_: ChatRequest) -> None:
    asked, endpoint = protocol(outputs(pipeline("x")))
    with pytest.raises(QueryError, match="The query") as caught:
        asked.check(request_)
    assert "Service protocol" in caught.value.hint
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "request_",
    [
        user(),
        user(tools=(TOOL,), tool_choice=ToolChoice("none")),
        user(tool_choice=ToolChoice("auto")),
        user(json_format=JsonFormat(if_supported=True)),
    ],
)
def test_what_the_answer_does_not_depend_on_is_let_pass(request_: ChatRequest) -> None:
    asked, _ = protocol(outputs(pipeline(ANSWER)))
    asked.check(request_)
    assert isinstance(asked.chat_rows([request_], call())[0], ChatAnswer)


def test_answers_and_prompts_stay_out_of_reprs() -> None:
    answer = ask(pipeline(f"I know that {SECRET}"), user(SECRET))
    assert SECRET not in repr(answer)


SOUND = ["She goes to school every day.", "The weather is fine today.", "We have eaten all the bread."]


def test_a_model_that_gives_a_sound_text_back_is_not_taken_for_an_echo() -> None:
    asked, _ = protocol(*(outputs(pipeline(text)) for text in SOUND), outputs(pipeline("He goes to school.")))
    for text in SOUND:
        assert text_of(asked.chat_rows([user(text)], call())[0]) == text
    assert text_of(asked.chat_rows([user("he go to scool")], call())[0]) == "He goes to school."


def test_a_full_stop_that_a_model_adds_is_no_answer_after_an_echo() -> None:
    asked, _ = protocol(outputs(pipeline("She goes to school.")), outputs(pipeline("The weather is fine.")))
    assert text_of(asked.chat_rows([user("She goes to school")], call())[0]) == "She goes to school."
    assert text_of(asked.chat_rows([user("The weather is fine.")], call())[0]) == "The weather is fine."


VECTOR = [0.0912345 + at / 1000 for at in range(32)]


@pytest.mark.parametrize("output", [VECTOR, [VECTOR], [0.5], str(VECTOR), json.dumps([VECTOR])])
def test_an_embedding_service_asked_for_a_chat_is_told_as_one(output: Any) -> None:
    error = error_of(ask(output))
    assert "embedding instead of a text" in error.message
    assert "0.09" not in str(error)


@pytest.mark.parametrize(
    "text", ["[0.5, 1.5]", str(list(range(40))), "[" + ", ".join(["0.25"] * 40) + "]", "3.14159"]
)
def test_a_list_of_numbers_that_a_model_was_asked_for_is_its_answer(text: str) -> None:
    assert text_of(ask(text)) == text


@pytest.mark.sample(1)
@pytest.mark.parametrize("blanks", [" ", "\n", "<s>", "<|a|>"], ids=["spaces", "lines", "tokens", "control"])
def test_blanks_cost_no_memory(blanks: str) -> None:
    prompt = "one two three " + blanks * (2_000_000 // len(blanks)) + "x"
    tracemalloc.start()
    answer = text_of(ask(pipeline(prompt + "yes"), user(prompt), mode="OTHER"))
    assert answer == "yes"
    assert (
        text_of(ask(pipeline(f"one two three{blanks}x and so on"), user(prompt), mode="OTHER"))
        == " and so on"
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000
