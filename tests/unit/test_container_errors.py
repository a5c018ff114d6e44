"""The reason is found in every form in which a model server tells an error."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from spcs_llm.server_text.container_errors import (
    ContainerError,
    fields_in_xml,
    read_error,
    read_error_in_success,
    reason_in_text,
    telling_line,
)
from tests.growth import cpu_seconds

PYDANTIC = (
    "2 validation errors for ChatCompletionRequest\ntemperature\n  Input should be less than or equal to 2"
    " [type=less_than_equal, input_value='my dog', input_type=str]\n"
    "    For further information visit https://errors.pydantic.dev/2.10/v/less_than_equal\n"
    "tools.0.name\n  Field required [type=missing, input_value={'a': 'my dog'}, input_type=dict]\n"
    "    For further information visit https://errors.pydantic.dev/2.10/v/missing"
)
PYDANTIC_REASON = "temperature: Input should be less than or equal to 2; tools.0.name: Field required"

LONG = "too long"
FORMS: list[tuple[Any, str]] = [
    ({"error": "too long"}, "too long"),
    ({"error": {"message": "too long", "type": "x", "param": None, "code": None}}, "too long"),
    ({"error": {"message": "not supported", "param": "top_k"}}, "top_k: not supported"),
    ({"error": {"message": "not supported", "param": "None"}}, "not supported"),
    ({"error": {"message": "not supported", "param": "404"}}, "not supported"),
    ({"error": {"message": "trop long é", "code": "context_length"}}, "trop long é (context_length)"),
    ({"error": {"message": "não", "code": "api_error", "type": "quota_used"}}, "não (quota_used)"),
    ({"error": "quota_used", "message": "não"}, "não (quota_used)"),
    ({"error": {"message": "não: quota_used", "code": "quota_used"}}, "não: quota_used"),
    ({"error": {"message": "it\u2019s too long", "code": "context_length"}}, "it\u2019s too long"),
    ({"error": "ROUTE_E117", "message": "too long"}, "too long"),
    ({"error": {"message": "ROUTE_E117", "details": "too long"}}, "too long"),
    ({"error": {"message": "ROUTE_E117", "code": "route"}}, "ROUTE_E117"),
    ({"error": {"message": "400: {'error': 'too long', 'id': 'x'}"}}, "too long"),
    ({"error": {"message": "{'detail': \"too 'long'\"}"}}, "too 'long'"),
    ({"error": {"message": "Refused: {'error': 'it\\'s too long'}"}}, "Refused: it's too long"),
    ({"error": {"message": "Refused: {'error': 'Unauthorized', 'message': 'no key'}"}}, "Refused: no key"),
    ({"detail": "Refused: {'error': {'message': 'too long', 'type': 'x'}}"}, "Refused: too long"),
    ({"error": {"error": {"message": "too long"}}}, "too long"),
    ({"error": json.dumps({"error": {"message": "too long"}})}, "too long"),
    ({"error": {"message": json.dumps({"detail": "too long"})}}, "too long"),
    ({"error": "Bad Request", "message": "too long"}, "too long"),
    ({"error": "invalid_request_error", "error_description": "too long"}, "too long"),
    ({"error": {"message": "Internal Server Error"}, "detail": "the disk is full"}, "the disk is full"),
    ({"object": "error", "message": "too long", "detail": {}}, "too long"),
    ({"message": "too long", "detail": ""}, "too long"),
    ({"detail": "too long"}, "too long"),
    ({"detail": {"error": "too long"}}, "too long"),
    ({"detail": [{"loc": ["body", "n"], "msg": "too long", "input": "my dog"}]}, "body.n: too long"),
    ({"detail": [{"loc": [], "msg": "too long"}]}, "too long"),
    ({"detail": [{"msg": "too long"}]}, "too long"),
    ([{"loc": ["body"], "msg": "too long"}], "body: too long"),
    ([{"error": {"message": "too long", "code": 400}}], "too long"),
    ({"type": "urn:inference-service:problem-details:bad-request", "title": "Bad Request", "status": 400,
      "detail": "body -> n\n  too long (type=extra)"}, "body -> n: too long (type=extra)"),
    ({"title": "The queue is full", "status": 503}, "The queue is full"),
    ({"errors": [{"message": "one"}, {"message": "two"}]}, "one; two"),
    ({"error": "too long", "error_type": "validation"}, "too long"),
    ({"error_code": 40303, "text": "too long"}, "too long"),
    ({"__type": "ModelError", "message": "too long"}, "too long"),
    ({"error": {"code": 400}}, "400"),
    ({"error": {"type": "overloaded_error"}}, "overloaded_error"),
    ({"error": {}}, ""),
    ({"message": PYDANTIC}, PYDANTIC_REASON),
    ({"detail": f"Invalid request: {PYDANTIC}"}, PYDANTIC_REASON),
    ({"error": "[{'type': 'extra_forbidden', 'loc': ('body', 'x'), 'msg': 'Extra inputs are not permitted',"
               " 'input': 'my dog'}, {'type': 'm', 'loc': ('body', 'messages', 0), 'msg': \"Don't\", 'input': 1}]"},
     "body.x: Extra inputs are not permitted; body.messages.0: Don't"),
    ({"error": {"message": "litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'message':"
                " 'too long', 'type': 'x'}}. Received Model Group=a\nAvailable Model Group Fallbacks=None"}}, LONG),
    ({"error": {"message": "litellm.APIConnectionError: APIConnectionError: Hosted_vllmException - too long"}}, LONG),
    ({"error": 'backend service error: {"error": "Internal error: x\\nTraceback (most recent):\\nE: too long"}'},
     "E: too long"),
    ({"error": 'too long: {"error": 4'}, 'too long: {"error": 4'),
    ({"error": {"message": 'litellm.InternalServerError: VllmException - {"error":{"message":"too long"}}'}}, LONG),
    ({"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"too long"}}'}}},
     LONG),
    ({"error": {"message": "Stream error occurred", "cause": {"message": "no answer"},
                "value": {"error_message": '{"error":{"message":"too long"}}'}}}, "too long"),
    ({"error": {"message": "Error", "value": "my dog"}}, "Error"),
]  # fmt: skip


WSO2 = (
    '<am:fault xmlns:am="http://wso2.org/apimanager"><am:code>404</am:code><am:type>Status report</am:type>'
    "<am:message>{}</am:message><am:description>no &lt;such&gt; path</am:description></am:fault>"
)
SOAP = (
    "<?xml version='1.0' encoding='UTF-8'?>\n<soapenv:Envelope xmlns:soapenv='http://schemas.xmlsoap.org/soap/'>"
    "\n<soapenv:Body><soapenv:Fault><faultcode>Server</faultcode><faultstring>too long</faultstring>"
    "</soapenv:Fault></soapenv:Body></soapenv:Envelope>"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (WSO2.format("too long"), "too long"),
        (WSO2.format("Runtime Error"), "no <such> path"),
        (SOAP, "too long"),
        ('<?xml version="1.0"?><Error><Code>Bad</Code><Message><![CDATA[too long]]></Message></Error>', "too long"),
        ("<problem xmlns='urn:ietf:rfc:7807'><title>Bad Request</title><detail>too long</detail></problem>",
         "too long"),
        (f"<Error><Message>too long</Message>{'<a>' * 9999}", "too long"),
        (json.dumps({"error": WSO2.format("too long")}), "too long"),
        ("<!DOCTYPE a [<!ENTITY b 'too long'>]><Error><Message>&b;</Message></Error>", None),
        ("<html><title>too long</title></html>", None),
    ],
)  # fmt: skip
def test_the_reason_is_found_in_xml(text: str, reason: str | None) -> None:
    assert reason_in_text(text) == (reason or text)
    assert bool(fields_in_xml(text)) is (reason is not None and text[0] == "<")


@pytest.mark.parametrize(("body", "reason"), FORMS, ids=lambda value: str(value)[:50])
def test_the_reason_is_found(body: Any, reason: str) -> None:
    told = read_error(body)
    assert told is not None
    assert told.reason == reason
    assert "my dog" not in told.reason


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Value is not callable: null at row 4, column 9:\n {%- else %}\n    ^\n{%- endfor %}\n",
         "Value is not callable: null at row 4, column 9"),
        ("Failed to parse: Unsupported part; messages = [\n  {\n  }\n]", "Failed to parse: Unsupported part"),
        ("Traceback (most recent call last):\n  File \"/srv/a.py\", line 3\nValueError: full\n", "ValueError: full"),
        ("Oops\nTraceback (most recent call last):\n  File x\nKeyError: 'a'", "KeyError: 'a'"),
        ("\n------\nWhile executing Call at line 3 in source:\n  {{ x }}\n ^\nError: Jinja Exception: no user",
         "Error: Jinja Exception: no user"),
        ("Error:\nthe disk is full\nmore", "Error: the disk is full"),
        ("Bad Request\n\nthe disk is full", "Bad Request: the disk is full"),
        ("----\n\nthe reason\nmore", "the reason"),
        ("Execution failed. Status - X: Graph::Run() failed: \nNode \"a\" failed: the disk is full",
         "Execution failed. Status - X: Graph::Run() failed: Node \"a\" failed: the disk is full"),
        ("**NETWORK ERROR. PLEASE REFRESH THIS PAGE.**\n\n(CUDA out of memory. (GPU 0; 31.75 GiB))",
         "CUDA out of memory. (GPU 0; 31.75 GiB)"),
        ("**NETWORK ERROR. PLEASE REFRESH THIS PAGE.**\n\n(CUDA error: an assert\nmore)", "CUDA error: an assert"),
        ("**NETWORK ERROR. PLEASE REFRESH THIS PAGE.**\n\n()", "**NETWORK ERROR. PLEASE REFRESH THIS PAGE.**"),
        ("{[()]}", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_line_that_tells_something_is_taken(text: str, line: str) -> None:
    assert telling_line(text) == line


@pytest.mark.parametrize(
    "body", [{}, [], [1], 5, None, "text", {"choices": []}, {"text": "an answer"}, {"error": None}]
)
def test_what_has_no_form_of_an_error_is_none(body: Any) -> None:
    assert read_error(body) is None


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [], "error": None},
        {"choices": [], "error": ""},
        {"choices": [], "error": "null"},
        {"choices": [], "error": {}},
        {"choices": [{}], "error": {"code": 0, "message": "", "type": None, "param": {}}},
        {"choices": [], "error_code": "0", "error_msg": ""},
        {"choices": [], "error_code": "SUCCESS"},
        {"choices": [], "message": "fine", "status": 500},
        {"data": [], "detail": "fine"},
        {"message": "an answer"},
        {"code": "200", "message": "fine"},
        {"code": "Success", "message": "fine"},
        {"code": "m1", "message": {"role": "assistant", "content": "an answer"}},
    ],
)
def test_an_answer_is_no_error(body: Any) -> None:
    assert read_error_in_success(body) is None


@pytest.mark.parametrize("body", [{"error": {"message": ""}}, {"choices": [], "error": {"code": None}}])
def test_an_error_without_words_is_one_where_there_is_no_answer(body: Any) -> None:
    assert read_error_in_success(body) == ContainerError("")


def test_a_code_in_words_and_a_message_are_an_error() -> None:
    error = read_error_in_success({"code": "rate_limit_daily", "message": "The quota is used up"})
    assert error is not None
    assert error.reason == "The quota is used up"


def test_a_row_may_have_columns_of_any_name() -> None:
    assert read_error_in_success({"detail": "a column"}, row=True) is None
    assert read_error_in_success({"error": "it failed"}, row=True) == ContainerError("it failed")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"error": {"message": "x", "code": 429, "type": "rate_limit"}}, 429, "rate_limit 429"),
        ({"error": {"message": "x", "type": "tokens", "code": "rate_limit"}}, None, "tokens rate_limit"),
        ({"error": {"message": "x", "code": "404"}}, 404, "404"),
        ({"error": {"message": "x", "http_status_code": 422}}, 422, ""),
        ({"error": {"message": "x", "code": "model_not_found"}}, None, "model_not_found"),
        ({"error": "x", "error_type": "validation"}, None, "validation"),
        ({"error": "MODEL_BUSY", "message": "x"}, None, "MODEL_BUSY"),
        ({"title": "x", "status": 503}, 503, "503"),
        ({"error": {"message": "x", "code": True}}, None, "True"),
        ({"error": {"message": "x", "code": 10**400}}, None, None),
    ],
)
def test_the_status_and_kind_that_the_body_names_are_read(
    body: Any, status: int | None, kind: str | None
) -> None:
    told = read_error(body)
    assert told is not None
    assert told.status == status
    assert kind is None or told.kind == kind


NESTED: Any = "x"
for _ in range(500):
    NESTED = {"error": NESTED}
TEXT_IN_TEXT = "x"
for _ in range(8):
    TEXT_IN_TEXT = json.dumps({"error": TEXT_IN_TEXT})


@pytest.mark.parametrize(
    "body", [NESTED, {"error": TEXT_IN_TEXT}, {"detail": [[[["x"]]]]}, {"error": ["a"] * 10_000}]
)
def test_depth_and_number_are_bounded(body: Any) -> None:
    told = read_error(body)
    assert told is not None
    assert len(told.reason) < 2000


ATTACKS = {
    "opening brackets": "[" * 10_000_000,
    "blanks": " " * 10_000_000 + "x",
    "words": "a " * 5_000_000,
    "equal signs": "a = " * 2_000_000,
    "locations": "'loc': ('" * 1_000_000,
    "messages": "'msg': '" * 1_000_000,
    "exceptions": "AException - " * 1_000_000,
    "classes": "litellm.AError: " * 1_000_000,
    "validation": "1 validation error for X\n" * 400_000,
    "escapes": "'message': '" + "\\\\" * 4_000_000,
    "dictionaries": "{'error': '" * 1_000_000 + "}",
    "arrows": "a -> " * 2_000_000,
    "quoted errors": ': {"error": {}}' * 1_000_000,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_text_takes_long_to_read(name: str) -> None:
    """What is looked at is bounded: hundreds of times the bound takes no longer than a few times."""

    def seconds(text: str, repeat: int) -> float:
        read = functools.partial(read_error, {"error": text})
        return min(cpu_seconds(read) for _ in range(repeat))

    attack = ATTACKS[name]
    few = seconds(attack[:32_768], 5)
    assert seconds(attack, 3) < 4 * few + 0.05
