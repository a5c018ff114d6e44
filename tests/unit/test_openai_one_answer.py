"""One answer was asked for: nothing of it is lost or doubled, in whatever events it comes and however it ends."""

from __future__ import annotations

import collections
import contextlib
import json
from typing import Any

import pytest

from spcs_llm import lenient_json
from spcs_llm.domain import ChatAnswer, ChatDelta, ChatRequest, JsonFormat, Message, Sampling, TextPart, Tool
from spcs_llm.errors import ModelError, NetworkError, QueryTimeout, SpcsError
from spcs_llm.protocols.openai import choices, message
from spcs_llm.protocols.openai.answer import AnswerReader
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.protocols.openai.repeated_json import FirstObject
from spcs_llm.protocols.openai.text import GrowingText
from spcs_llm.query_context import QueryContext
from spcs_llm.whole_characters import whole_characters
from tests.growth import cpu_seconds, growth
from tests.unit.scripted_endpoint import DONE, ScriptedEndpoint, completion, delta, event, usage

USER = Message("user", (TextPart("a question"),))
CUT = NetworkError("cut")


def both_ways(body: Any, **request: Any) -> ChatAnswer:
    """The answer, which must be the same whether the caller asks for a stream or not."""
    asked = ChatRequest((USER,), **request)
    whole = OpenAIProtocol(ScriptedEndpoint(body)).chat(asked, QueryContext(10))
    *deltas, end = OpenAIProtocol(ScriptedEndpoint(body)).stream(asked, QueryContext(10))
    assert "".join(piece.text for piece in deltas) == whole.text
    assert "".join(piece.reasoning for piece in deltas) == (whole.reasoning or "")
    assert end.finish_reason == whole.finish_reason
    json.dumps([whole.text, whole.reasoning, whole.log_probs], allow_nan=False, ensure_ascii=False).encode()
    return whole


def choice(index: Any, text: str | None = None, reason: str | None = None, **more: Any) -> bytes:
    fields = {} if text is None else {"content": text}
    return event({"choices": [{"index": index, "delta": {**fields, **more}, "finish_reason": reason}]})


# -- which choice --------------------------------------------------------------------------------------

NUMBERED: dict[str, bytes] = {
    "all 0": choice(0, "One ") + choice(0, "two ") + choice(0, "three", "stop"),
    "the number of the event": choice(0, "One ") + choice(1, "two ") + choice(2, "three", "stop"),
    "the number of the event, after a role": choice(0, role="assistant", content="")
    + choice(0, "One ")
    + choice(1, "two ")
    + choice(2, "three")
    + choice(3, None, "stop"),
    "the number of the event, from 1": choice(1, "One ") + choice(2, "two ") + choice(3, "three", "stop"),
    "the number of the event, with gaps": choice(0, "One ") + choice(2, "two ") + choice(5, "three", "stop"),
    "all 1": choice(1, "One ") + choice(1, "two ") + choice(1, "three", "stop"),
    "all 7": choice(7, "One two ") + choice(7, "three", "stop"),
    "none": b"".join(choice(None, text) for text in ("One ", "two ", "three")) + choice(None, None, "stop"),
    "texts": choice("0", "One ") + choice("0", "two three", "stop"),
    "only the last another": choice(0, "One two ") + choice(1, "three", "stop"),
    "a second answer in the same events": b"".join(
        event(
            {
                "choices": [
                    {"index": 1, "delta": {"content": "no"}},
                    {"index": 0, "delta": {"content": text}, "finish_reason": reason},
                ]
            }
        )
        for text, reason in (("One ", None), ("two ", None), ("three", "stop"))
    ),
    "a second answer in turn": choice(0, role="assistant")
    + choice(1, role="assistant")
    + choice(0, "One ")
    + choice(1, "no ")
    + choice(0, "two ")
    + choice(1, "no ")
    + choice(0, "three", "stop")
    + choice(1, "no", "stop"),
    "a second answer in turn, without roles": choice(0, "One ")
    + choice(1, "no ")
    + choice(0, "two ")
    + choice(1, "no")
    + choice(0, "three", "stop")
    + choice(1, None, "stop"),
    "a second answer behind the first": choice(0, "One ")
    + choice(0, "two three", "stop")
    + choice(1, "no")
    + choice(1, None, "stop"),
    "a second answer that begins": choice(1, "no ")
    + choice(0, "One ")
    + choice(1, "no")
    + choice(0, "two three", "stop"),
}


@pytest.mark.parametrize("body", NUMBERED.values(), ids=NUMBERED.keys())
@pytest.mark.parametrize("end", [DONE, b"", usage(prompt_tokens=3, completion_tokens=3) + DONE])
def test_one_answer_whatever_the_choices_are_numbered(body: bytes, end: bytes) -> None:
    answer = both_ways(body + end)
    assert (answer.text, answer.finish_reason) == ("One two three", "stop")


@pytest.mark.parametrize("index", [0, 1, 9, None, "0", True, -1, 1.5, {}])
def test_the_only_choice_of_a_whole_answer_is_it(index: Any) -> None:
    body = completion(content="Hi")
    body["choices"][0]["index"] = index
    assert both_ways(body).text == "Hi"


def test_of_several_choices_of_a_whole_answer_number_0_is_it() -> None:
    body = completion(content="second")
    body["choices"] = [{**body["choices"][0], "index": 1}, {**completion(content="first")["choices"][0]}]
    assert both_ways(body).text == "first"


def test_one_answer_may_be_dealt_out_over_choices_without_numbers() -> None:
    call = {"id": "c1", "function": {"name": "add", "arguments": "{}"}}
    choices = [
        {"message": {"content": "I add them."}, "finish_reason": "tool_calls"},
        {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"},
    ]
    answer = both_ways({"choices": choices}, tools=(Tool("add"),))
    assert (answer.text, [made.name for made in answer.tool_calls]) == ("I add them.", ["add"])


# -- pieces, snapshots, repetitions ----------------------------------------------------------------------

TOWER = "The tower stands in Paris."
SAME_ANSWER: dict[str, bytes] = {
    "a whole message after its deltas": delta(content="The tower ")
    + delta(content="stands in Paris.")
    + event({"choices": [{"message": {"role": "assistant", "content": TOWER}, "finish_reason": "stop"}]}),
    "a whole message after its finish reason": delta(content=TOWER)
    + delta("stop")
    + event({"choices": [{"message": {"content": TOWER}, "finish_reason": "stop"}]}),
    "a whole message that has more than its deltas": delta(content="The tower ")
    + event({"choices": [{"delta": {}, "message": {"content": TOWER}, "finish_reason": "stop"}]}),
    "a whole message that has other blanks": delta(content=TOWER)
    + event({"choices": [{"message": {"content": f"\n{TOWER}\n"}, "finish_reason": "stop"}]}),
    "a message beside each delta": b"".join(
        event({"choices": [{"delta": {"content": text}, "message": {"content": text}}]})
        for text in ("The tower ", "stands in ", "Paris.")
    )
    + delta("stop"),
    "pieces as messages": b"".join(
        event({"choices": [{"message": {"content": text}}]})
        for text in ("The tower ", "stands in ", "Paris.")
    )
    + delta("stop"),
    "messages that grow": b"".join(
        event({"choices": [{"message": {"content": TOWER[:end]}}]}) for end in (4, 10, 17, 26)
    )
    + delta("stop"),
    "the whole text once more with the finish reason": delta(content="The tower ")
    + delta(content="stands in Paris.")
    + delta("stop", content=TOWER),
    "the only piece once more with the finish reason": delta(content=TOWER) + delta("stop", content=TOWER),
    "the whole text once more before the finish reason": b"".join(delta(content=f"{c}") for c in TOWER)
    + delta("stop", content=TOWER),
    "the whole text once more, with other blanks": delta(content="\n\nThe tower ")
    + delta(content="stands in Paris.")
    + delta("stop", content=TOWER),
    "texts so far": b"".join(delta(content=TOWER[:end]) for end in (9, 16, 19, 26)) + delta("stop"),
    "texts so far, from one letter on": b"".join(delta(content=TOWER[:end]) for end in range(1, 27))
    + delta("stop"),
    "texts so far, the last one twice": delta(content=TOWER[:9])
    + delta(content=TOWER)
    + delta("stop", content=TOWER),
    "texts so far, each twice": b"".join(delta(content=TOWER[:end]) * 2 for end in (17, 20, 26))
    + delta("stop"),
}


@pytest.mark.parametrize("body", SAME_ANSWER.values(), ids=SAME_ANSWER.keys())
def test_what_comes_again_adds_nothing(body: bytes) -> None:
    answer = both_ways(body + DONE)
    assert (answer.text.strip(), answer.finish_reason) == (TOWER, "stop")


TRUE_REPETITIONS = [
    ["ha", "ha", "ha"],
    ["no", " no"],
    ["-", "-", "--", "---"],
    ["1", "1", "11"],
    ["1", "10", "100"],
    [" very", " very", " much"],
    ["a line\n", "a line\n"],
    ["| a | b | c | d | e |\n", "| a | b | c | d | e |\n"],
    ["0", "0", "0", "0", "00"],
    ["\n", "\n\n", "x"],
    ["x", "xy", "z"],
    ["哈", "哈", "哈哈"],
    ["Yes", "", "Yes"],
    ["I will not talk.\n", "I will not talk.\nI will not talk.\n", "I will not talk.\n"],
    ["-" * 16, "-" * 32, "\n"],
]


@pytest.mark.parametrize("pieces", TRUE_REPETITIONS, ids=repr)
@pytest.mark.parametrize("bundled", [False, True], ids=["", "the last with its reason"])
def test_what_a_model_says_twice_stays(pieces: list[str], bundled: bool) -> None:
    *before, last = pieces
    body = b"".join(delta(content=piece) for piece in before)
    body += delta("stop", content=last) if bundled else delta(content=last) + delta("stop")
    assert both_ways(body + DONE).text == "".join(pieces)


def test_reasoning_that_comes_again_adds_nothing() -> None:
    thought = "I think, and think again."
    body = (
        b"".join(delta(reasoning_content=thought[:end]) for end in (8, 17, 25))
        + delta(content="Hi")
        + event(
            {
                "choices": [
                    {"message": {"content": "Hi", "reasoning_content": thought}, "finish_reason": "stop"}
                ]
            }
        )
    )
    answer = both_ways(body)
    assert (answer.text, answer.reasoning) == ("Hi", thought)


def test_growing_texts_take_linear_time() -> None:
    """The work, counted in characters compared, and not the time of a busy machine."""
    joins = 0

    class Counting(GrowingText):
        @property
        def so_far(self) -> str:
            nonlocal joins
            text = super().so_far
            joins += len(text)
            return text

    grown = Counting()
    for _ in range(20_000):
        grown.add("word ")
    assert joins < 200
    assert len(grown.so_far) == 100_000


# -- parts and fields ----------------------------------------------------------------------------------

CONTENTS: list[tuple[Any, str, str | None]] = [
    ([{"type": "output_text", "text": "Hi"}], "Hi", None),
    ([{"text": "Hi"}], "Hi", None),
    (["H", {"type": "text", "text": "i"}], "Hi", None),
    ({"type": "text", "text": "Hi"}, "Hi", None),
    ([{"type": "text", "text": {"value": "Hi", "annotations": []}}], "Hi", None),
    ([{"type": "markdown", "content": "Hi"}], "Hi", None),
    ([{"type": "refusal", "refusal": "No."}], "No.", None),
    ([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "Hi"}], "Hi", None),
    (
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hi"}],
        "Hi",
        "Hm",
    ),
    ([{"type": "reasoning", "text": "Hm"}, {"type": "text", "text": "Hi"}], "Hi", "Hm"),
    ([{"type": "text", "text": None}, None, {"type": "text", "text": "Hi"}], "Hi", None),
    (5, "5", None),
    (0, "0", None),
    (0.005, "0.005", None),
    (True, "true", None),
    ([{"type": "text", "text": 7}, {"type": "text", "text": " Hi"}], "7 Hi", None),
]


@pytest.mark.parametrize(("content", "text", "reasoning"), CONTENTS)
def test_parts_of_whatever_kind_keep_their_text(content: Any, text: str, reasoning: str | None) -> None:
    for body in (completion(content=content), delta(content=content) + delta("stop")):
        answer = both_ways(body)
        assert (answer.text, answer.reasoning) == (text, reasoning)


FIELDS: dict[str, tuple[Any, str]] = {
    "the older API's text": ({"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]}, "Hi"),
    "the older API's text, streamed": (
        event({"choices": [{"text": "H"}]}) + event({"choices": [{"text": "i", "finish_reason": "stop"}]}),
        "Hi",
    ),
    "a chunk that came alone": (
        {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
        "Hi",
    ),
    "a list of chunks": (
        [
            json.dumps(
                [
                    {"choices": [{"delta": {"content": "H"}}]},
                    {"choices": [{"delta": {"content": "i"}, "finish_reason": "stop"}]},
                ]
            ).encode()
        ],
        "Hi",
    ),
    "lines of JSON": (
        b'{"choices":[{"delta":{"content":"H"}}]}\n{"choices":[{"delta":{"content":"i"},"finish_reason":"stop"}]}\n',
        "Hi",
    ),
}


@pytest.mark.parametrize(("body", "text"), FIELDS.values(), ids=FIELDS.keys())
def test_an_answer_in_another_envelope(body: Any, text: str) -> None:
    answer = both_ways(body)
    assert (answer.text, answer.finish_reason) == (text, "stop")


UNKNOWN: dict[str, Any] = {
    "a choice of fields of its own": {
        "choices": [{"index": 0, "output": {"answer": "Hi"}, "finish_reason": "stop"}]
    },
    "a message of fields of its own": {"choices": [{"message": {"role": "assistant", "answer": "Hi"}}]},
    "deltas of fields of their own": event({"choices": [{"delta": {"answer": "Hi"}}]}) + delta("stop"),
    "choices of fields of their own": event({"choices": [{"generated": "Hi"}]}) + delta("stop"),
}


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_answer_that_nobody_knows_is_no_empty_one(body: Any) -> None:
    with pytest.raises(ModelError, match="none of the fields"):
        both_ways(body)


@pytest.mark.parametrize(
    "body",
    [
        completion(content=""),
        completion(content=None),
        {"choices": [{"message": {"role": "assistant"}, "finish_reason": "stop"}]},
        delta(role="assistant") + delta("stop") + DONE,
        delta(role="assistant", content="") + delta("stop", content="") + usage(completion_tokens=1),
    ],
)
def test_an_answer_of_nothing_is_one(body: Any) -> None:
    assert both_ways(body).text == ""


def test_a_refusal_comes_in_pieces_beside_empty_texts() -> None:
    body = b"".join(delta(content="", refusal=piece) for piece in ("I can", "not", " help.")) + delta("stop")
    assert both_ways(body).text == "I cannot help."


@pytest.mark.parametrize("data", [b": PROCESSING", b":", b"ping"])
def test_a_comment_that_was_made_an_event_is_passed_over(data: bytes) -> None:
    noise = b"data: " + data + b"\n\n"
    assert both_ways(noise + delta(content="Hi") + noise + delta("stop")).text == "Hi"


# -- thoughts before the answer --------------------------------------------------------------------------

THOUGHTS: list[tuple[str, str, str | None]] = [
    ("<think>Hm.</think>Hi", "Hi", "Hm."),
    ("<think>\nHm.\n</think>\n\nHi", "Hi", "Hm."),
    ("\n <think>Hm.</think> Hi", "Hi", "Hm."),
    ("<think></think>Hi", "Hi", None),
    ("<thinking>Hm.</thinking>Hi", "Hi", "Hm."),
    ("<think>Hm", "", "Hm"),
    ("<think>a < b </thin</think>Hi", "Hi", "a < b </thin"),
    ("Hi <think>no</think>", "Hi <think>no</think>", None),
    ("<thin air", "<thin air", None),
    ("<", "<", None),
    (" ", " ", None),
    ("<b>Hi</b>", "<b>Hi</b>", None),
    ("<think>Hm.</think>Hi <think>no</think>", "Hi <think>no</think>", "Hm."),
    ("<mm:think>Hm.</mm:think>Hi", "Hi", "Hm."),
    ("<seed:think>\nHm.\n</seed:think>\nHi", "Hi", "Hm."),
    ("<|channel>thought\nHm.\n<channel|>Hi", "Hi", "Hm."),
    ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi", "Hi", "Hm."),
    ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=add", "<|start|>assistant to=add", "Hm."),
    ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assis", "", "Hm."),
    (
        "<|channel|>analysis<|message|>Hm. <|start|>assistant<|channel|>final json<|message|>Hi<|return|>",
        "Hi",
        "Hm.",
    ),
    ("<|channel|>analysis<|message|>A.<|end|>\n<|channel|>analysis<|message|>B.<|end|>", "", "A.\n\nB."),
    ("<|channel|>commentary<|message|>A.<|end|><|channel|>final<|message|>B.", "A.\n\nB.", None),
    ("<|start|>assistant<|channel|>final <|constrain|>json<|message|>1 <| 2 <", "1 <| 2 <", None),
    ("<|channel|>commentary to=f<|message|>{}<|call|>", "<|channel|>commentary to=f<|message|>{}", None),
    ("<|channel|>final Hi", "<|channel|>final Hi", None),
    (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>user<|message|>Hi",
        "<|start|>user<|message|>Hi",
        "Hm.",
    ),
    ("<|channel|>final<|message|>Hi", "Hi", None),
    ("assistants\nHi", "assistants\nHi", None),
    ("assistant", "assistant", None),
    ("<|im_start|>assistant\n<think>Hm.</think>Hi", "Hi", "Hm."),
    ("<|start_header_id|>assistant<|end_header_id|>\n\nassistant\nHi", "assistant\nHi", None),
    ("</think>\n\nHi", "Hi", None),
    ("</think>", "", None),
    ("</thin air", "</thin air", None),
    ("<think>\n\n</think>\n\n<think>Hm.</think>Hi", "Hi", "Hm."),
    ("<think></think><think></think><think>Hi", "<think>Hi", None),
    ("<think>Hm.</think>\n<think>Hi", "<think>Hi", "Hm."),
]


@pytest.mark.parametrize(("said", "text", "reasoning"), THOUGHTS)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_a_block_of_thoughts_before_the_answer_is_reasoning(
    said: str, text: str, reasoning: str | None, size: int
) -> None:
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    answer = both_ways(b"".join(delta(content=piece) for piece in pieces) + delta("stop"))
    assert (answer.text, (answer.reasoning or "").strip() or None) == (text, reasoning)


# -- the end of a turn -------------------------------------------------------------------------------------

TURN_ENDS: list[tuple[str, str]] = [
    ("Hi<|im_end|>", "Hi"),
    ("Hi<|im_end|>\n<|endoftext|>\n", "Hi"),
    ("Hi</s>", "Hi"),
    ("Hi<\uff5cend\u2581of\u2581sentence\uff5c>", "Hi"),
    ("Hi<|im_end|><|im_e", "Hi"),
    ("Hi <|im_e", "Hi <|im_e"),
    ("Hi <|im_end|> there", "Hi <|im_end|> there"),
    ("Hi <|im_end|>\n</s> there<|im_end|>", "Hi <|im_end|>\n</s> there"),
    ("<s>Hi</s>", "<s>Hi</s>"),
    ("<|im_end|>", "<|im_end|>"),
    ("a << b <", "a << b <"),
]


@pytest.mark.parametrize(("said", "text"), TURN_ENDS)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_token_that_ends_a_turn_is_none_of_the_answer(said: str, text: str, size: int) -> None:
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    assert both_ways(b"".join(delta(content=piece) for piece in pieces) + delta("stop")).text == text


def test_a_fence_before_the_end_of_a_turn_is_taken_off() -> None:
    body = delta(content='```json\n{"a": 1}\n```<|im_') + delta(content="end|>") + delta("stop")
    assert both_ways(body, json_format=JsonFormat(if_supported=True)).text == '{"a": 1}'


# -- JSON in a fence -------------------------------------------------------------------------------------

FENCED: list[tuple[str, str]] = [
    ('```json\n{"a": 1}\n```', '{"a": 1}'),
    ('```\n{"a": 1}\n```\n', '{"a": 1}'),
    ('\n```JSON\n{\n  "a": "```"\n}\n```', '{\n  "a": "```"\n}'),
    ('{"a": 1}', '{"a": 1}'),
    ('{"a": 1}\n', '{"a": 1}\n'),
    ("``", "``"),
    ('```json\n{"a": 1', '{"a": 1'),
]


@pytest.mark.parametrize(("said", "text"), FENCED)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_fence_about_json_is_taken_off(said: str, text: str, size: int) -> None:
    pieces = [said[at : at + size] for at in range(0, len(said), size)]
    answer = both_ways(
        b"".join(delta(content=piece) for piece in pieces) + delta("stop"),
        json_format=JsonFormat(if_supported=True),
    )
    assert answer.text == text


def test_a_fence_stays_where_no_json_was_asked_for() -> None:
    assert both_ways(delta(content='```json\n{"a": 1}\n```') + delta("stop")).text.startswith("```json")


def test_json_in_a_fence_within_a_whole_answer_is_the_answer() -> None:
    body = completion(content='Here you are:\n```json\n{"a": 1}\n```\nAnything else?')
    answer = OpenAIProtocol(ScriptedEndpoint(body)).chat(
        ChatRequest((USER,), json_format=JsonFormat()), QueryContext(10)
    )
    assert answer.text == '{"a": 1}'


def test_json_that_came_as_reasoning_only_is_not_an_answer() -> None:
    """vLLM 0.32 with a reasoning parser that is not its model's: all is reasoning, and no schema holds it."""
    body = completion(content=None, reasoning='{"a": 1}')
    with pytest.raises(ModelError, match=r"'responseFormat'.*reasoning parser"):
        OpenAIProtocol(ScriptedEndpoint(body)).chat(
            ChatRequest((USER,), json_format=JsonFormat()), QueryContext(10)
        )


# -- frames ----------------------------------------------------------------------------------------------

FIRST, SECOND = (
    '{"choices":[{"index":0,"delta":{"content":"Par"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"is"},"finish_reason":"stop"}]}',
)
FRAMES: dict[str, str] = {
    "glued in one line": f"data: {FIRST}data: {SECOND}\n\ndata: [DONE]\n\n",
    "glued without a word between": f"data: {FIRST}{SECOND}\n\n",
    "glued with the end": f"data: {FIRST}\n\ndata: {SECOND}data: [DONE]\n\n",
    "one line end between events": f"data: {FIRST}\ndata: {SECOND}\ndata: [DONE]\n",
    "one line end and no space": f"data:{FIRST}\r\ndata:{SECOND}\r\n",
    "the name of the field twice": f"data: data: {FIRST}\n\ndata: data: {SECOND}\n\n",
    "encoded twice": f"data: {json.dumps(FIRST)}\n\ndata: {json.dumps(SECOND)}\n\ndata: [DONE]\n\n",
    "parted by record separators": f"data: \x1e{FIRST}\x1e{SECOND}\n\n",
    "over several lines": "data: " + SECOND.replace('"is"', '"Paris"').replace(",", ",\ndata: ") + "\n\n",
    "no blank line at the end": f"data: {FIRST}\n\ndata: {SECOND}\n",
    "no line end at the end": f"data: {FIRST}\n\ndata: {SECOND}",
    "cut in what follows": f"data: {FIRST}\n\ndata: {SECOND}\n\ndata: " + '{"choices":[],"usa',
    "an event without data between": f"data: {FIRST}\n\nevent: ping\n\ndata: {SECOND}\n\n",
    "words to keep the connection alive": f"data: ping\n\ndata: {FIRST}\n\ndata: [Keep-Alive]\n\ndata: {SECOND}\n\n",
    "JSON to keep the connection alive": f'data: "ping"\n\ndata: {FIRST}\n\ndata: null\n\ndata: {SECOND}\n\n',
    "rubbish after the finish reason": f"data: {FIRST}\n\ndata: {SECOND}\n\ndata: nonsense\n\n",
}


@pytest.mark.parametrize("body", FRAMES.values(), ids=FRAMES.keys())
def test_frames_are_read_however_they_are_parted(body: str) -> None:
    answer = both_ways(body.encode())
    assert (answer.text, answer.finish_reason) == ("Paris", "stop")


# -- the end ---------------------------------------------------------------------------------------------

PARIS = delta(content="Paris")
COMPLETE: dict[str, Any] = {
    "cut after the finish reason": [PARIS + delta("stop"), CUT],
    "late after the finish reason": [PARIS + delta("stop"), QueryTimeout("late")],
    "cut within the line after the finish reason": [PARIS + delta("stop") + b'data: {"us', CUT],
    "cut right behind the data of the finish reason": [(PARIS + delta("stop")).rstrip(), CUT],
    "an error after the finish reason": [
        PARIS + delta("stop") + event({"error": {"message": "x", "code": 500}})
    ],
    "an error event after the finish reason": [PARIS + delta("stop") + event("x", "error")],
    "an error of overload after the finish reason": [PARIS + delta("stop") + event({"error": {"code": 503}})],
    "odd choices after the finish reason": [PARIS + delta("stop") + event("[1]")],
    "usage and nothing else": [PARIS + usage(prompt_tokens=3, completion_tokens=1)],
    "[DONE] without a line end": [PARIS + b"data: [DONE]"],
}


@pytest.mark.parametrize("body", COMPLETE.values(), ids=COMPLETE.keys())
def test_a_finished_answer_is_kept_and_not_asked_for_again(body: Any) -> None:
    assert both_ways(body).text == "Paris"
    endpoint = ScriptedEndpoint(body)
    OpenAIProtocol(endpoint).chat(ChatRequest((USER,)), QueryContext(10))
    assert len(endpoint.payloads) == 1


BROKEN_OFF: dict[str, Any] = {
    "without a finish reason": [PARIS],
    "with counts in each event": [
        event({"choices": [{"delta": {"content": "Par"}}], "usage": {"completion_tokens": 1}}),
    ],
    "within a frame": [PARIS + b'data: {"choices":[{"delta":{"content":"i'],
    "by a finish reason that is none": [delta("null", content="Paris")],
}


@pytest.mark.parametrize("body", BROKEN_OFF.values(), ids=BROKEN_OFF.keys())
def test_an_answer_that_breaks_off_is_none(body: Any) -> None:
    with pytest.raises(NetworkError, match="stopped in the middle"):
        both_ways(body)


def test_the_rest_after_the_finish_reason_is_waited_for_a_moment_only() -> None:
    endpoint = ScriptedEndpoint([PARIS, delta("stop"), usage(prompt_tokens=1, completion_tokens=1)])
    OpenAIProtocol(endpoint).chat(ChatRequest((USER,)), QueryContext(10))
    assert endpoint.streams[0].graces == [2.0]


def test_a_server_that_gives_a_finish_reason_in_each_event_is_read_to_its_end() -> None:
    endpoint = ScriptedEndpoint([delta("stop", content=text) for text in ("One ", "two ", "three")])
    answer = OpenAIProtocol(endpoint).chat(ChatRequest((USER,)), QueryContext(10))
    assert answer.text == "One two three"
    assert endpoint.streams[0].graces == [30.0, float("inf")]


def test_the_querys_time_is_kept_while_bytes_are_there() -> None:
    now = [0.0]
    endpoint = ScriptedEndpoint([delta(content="a ")] * 10_000)
    context = QueryContext(10, clock=lambda: now[0])
    pieces = OpenAIProtocol(endpoint, model="m").stream(ChatRequest((USER,)), context)
    taken = 0
    with pytest.raises(QueryTimeout, match="reading the service's answer"):
        for _ in pieces:
            taken += 1
            now[0] += 0.01
    assert taken < 1200


# -- finish reasons --------------------------------------------------------------------------------------

REASONS: list[tuple[Any, str | None]] = [
    ("STOP", "stop"),
    ("eos", "stop"),
    ("End_Turn", "stop"),
    ("MAX_TOKENS", "length"),
    ("FinishReason.LENGTH", "length"),
    ("model_length", "length"),
    ("repetition", "length"),
    ("content-filter", "content_filter"),
    ("sensitive", "content_filter"),
    ("SAFETY", "content_filter"),
    ({"type": "stop", "matched": 2}, "stop"),
    ({"type": "length", "length": 5}, "length"),
    ("tool_calls", "stop"),
    ("function_call", "stop"),
    ("whatever", None),
    ("x" * 1_000_000, None),
    (["stop"], None),
    (7, None),
]


@pytest.mark.parametrize(("reason", "expected"), REASONS, ids=lambda value: str(value)[:20])
def test_finish_reasons_are_of_a_list(reason: Any, expected: str | None) -> None:
    for body in (completion(reason, content="Hi"), delta(content="Hi") + delta(reason) + DONE):
        assert both_ways(body).finish_reason == expected


@pytest.mark.parametrize(
    "reason",
    ["error", "abort", "ABORTED", "cancelled", "network_error", "MALFORMED_FUNCTION_CALL"],
)
def test_an_engine_that_gave_up_is_an_error(reason: str) -> None:
    with pytest.raises(ModelError, match="stopped in the middle"):
        both_ways(delta(content="Hi") + delta(reason) + DONE)


def test_an_error_beside_a_clean_end_is_no_error_of_the_answer() -> None:
    choice = {
        "index": 0,
        "delta": {"content": "Hi"},
        "finish_reason": "stop",
        "error": {"message": "not counted"},
    }
    assert both_ways(event({"choices": [choice]}) + DONE).text == "Hi"


# -- what can be written ---------------------------------------------------------------------------------

HALVES: list[tuple[list[str], str]] = [
    (["Hi \ud83d", "\ude00 there"], "Hi 😀 there"),
    (["\ud83d", "\ude00"], "😀"),
    (["a\ud83d", "b"], "a\ufffdb"),
    (["a\udcaf", "b\ud83d"], "a\ufffdb\ufffd"),
    (["\ud83d\ude00"], "😀"),
    (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
]


@pytest.mark.parametrize(("pieces", "text"), HALVES)
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_halves_of_characters_are_joined_or_replaced(pieces: list[str], text: str, field: str) -> None:
    def escaped(fields: dict[str, str]) -> bytes:
        return b"data: " + json.dumps({"choices": [{"delta": fields}]}).encode() + b"\n\n"

    body = b"".join(escaped({field: piece}) for piece in pieces) + delta("stop")
    answer = both_ways(body)
    assert (answer.text if field == "content" else answer.reasoning) == text


def test_characters_are_left_as_they_are() -> None:
    text = "é€😀\U0001f468\u200d\U0001f469 \x00\x85"
    assert whole_characters(text) == text


LOG_PROBS: list[tuple[str, Any]] = [
    ("-Infinity", -9999.0),
    ("-1e400", -9999.0),
    ("-0.5", -0.5),
    ("0", 0),
    ("NaN", None),
    ("Infinity", None),
    ("null", None),
    ('"high"', None),
]


@pytest.mark.parametrize(("written", "expected"), LOG_PROBS)
def test_log_probabilities_are_finite_or_none(written: str, expected: Any) -> None:
    tokens = (
        f'[{{"token":"Hi\\ud83d","logprob":{written},"top_logprobs":[{{"token":"Hi","logprob":{written}}}]}}]'
    )
    body = delta(content="Hi", logprobs={"content": "TOKENS"}).replace(b'"TOKENS"', tokens.encode())
    answer = both_ways(body + delta("stop"), sampling=Sampling(log_probs=True))
    (token,) = answer.log_probs
    assert (token["logprob"], token["top_logprobs"][0]["logprob"]) == (expected, expected)
    assert token["token"] == "Hi\ufffd"


def test_the_older_form_of_log_probabilities_is_read() -> None:
    old = {
        "tokens": ["H", "i"],
        "token_logprobs": [-0.1, None],
        "top_logprobs": [{"H": -0.1, "J": -3.0}, None],
    }
    body = {"choices": [{"text": "Hi", "logprobs": old, "finish_reason": "stop"}]}
    answer = both_ways(body, sampling=Sampling(log_probs=True))
    assert [token["logprob"] for token in answer.log_probs] == [-0.1, None]
    assert [top["token"] for top in answer.log_probs[0]["top_logprobs"]] == ["H", "J"]


# -- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n"])
@pytest.mark.parametrize("name", [b"", b"event: error\n"])
def test_an_error_as_the_last_event_is_told(ending: bytes, name: bytes) -> None:
    body = PARIS + name + b'data: {"error": {"message": "KV cache exhausted"}}' + ending
    with pytest.raises(SpcsError, match="KV cache exhausted"):
        both_ways(body)


def test_a_first_piece_goes_out_before_the_second_comes() -> None:
    endpoint = ScriptedEndpoint([delta(content="The "), CUT])
    assert next(OpenAIProtocol(endpoint).stream(ChatRequest((USER,)), QueryContext(10))) == ChatDelta("The ")


def test_odd_events_between_do_no_harm() -> None:
    body = (
        event({"choices": []})
        + event({"choices": None})
        + event({"id": "x"})
        + event({"choices": [{"index": 0, "delta": None}]})
        + event({"choices": [{"index": 0}]})
        + event({"prompt_filter_results": [], "choices": []})
        + delta(content="Hi", tool_calls=None, function_call=None, refusal=None, audio=None)
        + delta("stop")
    )
    assert both_ways(body, tools=(Tool("add"),)).text == "Hi"


def piece_of(**choice_fields: Any) -> bytes:
    return event({"choices": [choice_fields]})


LINEAR: dict[str, Any] = {
    "blanks before the answer": lambda n: [b"    "] * n + [PARIS, delta("stop")],
    "reasoning without a line end": lambda n: [delta(reasoning_content="a ")] * n,
    "blanks where a block of thoughts may begin": lambda n: [delta(content="  ")] * n,
    "a tag that never ends": lambda n: [delta(content="<think>"), *[delta(content="<")] * n],
    "halves of characters": lambda n: [delta(content="x").replace(b"x", b"\\ud83d")] * n,
    "choices of many numbers": lambda n: [piece_of(index=at % 7, delta={"content": "a"}) for at in range(n)],
    "choices that wait": lambda n: [PARIS, *[piece_of(index=5, delta={"content": "a"})] * n],
    "frames in one line": lambda n: [b"data: " + FIRST.encode() * n],
    "a finish reason in each event": lambda n: [delta("stop", content=f"{at:020d}") for at in range(n)],
    "messages that grow by nothing": lambda n: [PARIS, *[piece_of(message={"content": "Paris"})] * n],
    "errors that are null": lambda n: [PARIS * n, *[event({"error": None, "choices": []})] * n],
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("chunks", LINEAR.values(), ids=LINEAR.keys())
def test_reading_takes_linear_time(chunks: Any) -> None:
    """Eight times the events take about eight times as long; sixty-four times would be the square."""
    request = ChatRequest((USER,), tools=(Tool("add"),))

    def seconds(count: int) -> float:
        body = chunks(count)

        def read() -> None:
            reader = AnswerReader(request, {"messages": []})
            with contextlib.suppress(SpcsError):
                collections.deque(reader.deltas(iter(body)), maxlen=0)

        return cpu_seconds(read)

    assert growth(seconds, 2_000, 8, most=30) <= 30


# -- what a hostile server may send ---------------------------------------------------------------------


def test_marks_before_an_answer_are_taken_off_a_few_times_only() -> None:
    """Each was a call within the one before."""
    mark = "<|START_RESPONSE|>"
    assert both_ways(delta(content=f"{mark}Hi") + delta("stop") + DONE).text == "Hi"
    assert both_ways(delta(content=mark * 3000 + "Hi") + delta("stop") + DONE).text.endswith(f"{mark}Hi")


def test_ends_of_turns_are_read_in_linear_time() -> None:
    def cost(count: int) -> float:
        body = delta(content="a" + "<|im_end|>" * count) + delta("stop") + DONE
        return cpu_seconds(lambda: both_ways(body))

    assert growth(cost, 20_000, 4, most=7.0) <= 7.0


def test_messages_after_pieces_are_read_in_linear_time() -> None:
    def cost(count: int) -> float:
        whole = event({"choices": [{"index": 0, "message": {"content": "x"}}]})
        body = delta(content="w" * 2_000 * count) + (delta(content="ab") + whole) * count + delta("stop")
        reader = AnswerReader(ChatRequest((USER,)), {}, as_stream=True)
        return cpu_seconds(lambda: collections.deque(reader.deltas(iter([body])), maxlen=0))

    assert growth(cost, 1_000, 4, most=7.0) <= 7.0


@pytest.mark.parametrize("index", [5, 1])
def test_choices_do_not_wait_without_end(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "_MOST_WAITING", 500)
    waits = event({"choices": [{"index": index, "a": [[]] * 100}]})
    with pytest.raises(ModelError, match="too many choices"):
        both_ways(choice(0, "a") + waits * 3 + choice(0, None, "stop") + DONE)


@pytest.mark.parametrize(
    "log_probs",
    [
        {"content": [{}] * 50},
        {"content": [{"token": "a", "top_logprobs": [{}] * 49}]},
        {"tokens": ["a"] * 50},
        {"tokens": ["a"], "top_logprobs": [{str(at): -1.0 for at in range(49)}]},
    ],
    ids=["tokens", "others", "list of tokens", "list of others"],
)
def test_log_probabilities_are_not_kept_without_end(log_probs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "MOST_ENTRIES", 500)
    piece = event({"choices": [{"delta": {"content": "a"}, "logprobs": log_probs}]})
    assert both_ways(piece * 10 + delta("stop") + DONE).log_probs
    with pytest.raises(ModelError, match="log probabilities of more than"):
        both_ways(piece * 11 + delta("stop") + DONE)


@pytest.mark.parametrize("of_token", [[[]], ["a"], [256], [-1], [True], [1.5]])
def test_bytes_of_a_token_that_are_none_are_left_out(of_token: Any) -> None:
    for given, kept in (([97, 0, 255], [97, 0, 255]), (None, None), (of_token, None)):
        log_probs = {"content": [{"token": "a", "logprob": -1.0, "bytes": given}]}
        piece = event({"choices": [{"delta": {"content": "a"}, "logprobs": log_probs}]})
        (token,) = both_ways(piece + delta("stop") + DONE).log_probs
        assert token["bytes"] == kept


def test_json_of_too_many_parts_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenient_json, "_MAX_PARTS", 1000)
    for parts, is_read in ((900, True), (1000, False)):
        text = '{"a":[' + "[]," * parts + "[]]}"
        reader = AnswerReader(
            ChatRequest((USER,), json_format=JsonFormat({"type": "object"})),
            {"response_format": {}},
            holds_to_request=True,
        )
        list(reader.deltas(iter([delta(content=text) + delta("stop") + DONE])))
        assert reader.answer().ignored_settings == (() if is_read else ("responseFormat",))


def test_a_body_that_is_declared_to_be_a_stream_is_no_larger_than_others() -> None:
    reader = AnswerReader(ChatRequest((USER,)), {}, as_stream=True)
    with pytest.raises(ModelError, match="larger than 16 MB"):
        list(reader.deltas(iter([b'{"choices":[', *[b" " * (1 << 20)] * 17])))


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (['{"a": 1}', '\n{"a"', ": 1}", '\n{"a'], '{"a": 1}'),
        ([" ", '{"a": {"b": "}"}}{"a": {"b": "}"}}'], ' {"a": {"b": "}"}}'),
        (['{"a": 1}', "\n", "That is it."], '{"a": 1}\nThat is it.'),
        (['{"a": 1}{"a": 2}'], '{"a": 1}{"a": 2}'),
        ([" ", "No {} and no {}."], " No {} and no {}."),
        (['{"a": 1}}'], '{"a": 1}}'),
        (['{"a": "\\', '"}"', "}"], '{"a": "\\"}"}'),
    ],
    ids=repr,
)  # fmt: skip
def test_json_that_is_written_again_is_streamed_once(pieces: list[str], said: str) -> None:
    first = FirstObject()
    assert "".join([*(first.part(piece) for piece in pieces), first.flush()]) == said
    assert first.flush() == ""
