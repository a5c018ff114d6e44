"""The reason in an error that a model server reports, whatever form it gives it.

Forms: OpenAI's `error` object, which vLLM, llama.cpp, Ollama, SGLang and LiteLLM have as well; a text instead
(TGI, Text Embeddings Inference, Ollama); vLLM's earlier `{"object": "error", "message"}`; FastAPI's `detail`, a text,
an object or a list of validation problems; problem details (RFC 7807, RFC 9457; NIM); FastChat's `error_code` beside a
`text`; `fault` (Apigee, WSO2); a gateway's JSON within a text within JSON; XML (WSO2, Amazon S3, SOAP). The texts in
them are tracebacks, validation errors of pydantic, templates and dumped requests, of which one line says something. A
code says less than the sentence beside it, but it goes with a sentence that is not in English.

What is read here is the server's own: nothing is masked, and nothing may be shown before it is.
"""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MAX_TEXT = 16_384  # of a text of a server, in which a reason is looked for
_MAX_DEPTH = 6
_MAX_PROBLEMS = 5
_WORDS_ALIKE = 3
_ANSWERS = (
    "choices",
    "data",
    "results",
    "embeddings",
    "embedding",
    "outputs",
    "predictions",
    "generated_text",
)
ENVELOPES = ("output", "result", "response")
# By falling worth. `title` is what RFC 7807 calls a class of problems.
_REASONS = (
    "message",
    "detail",
    "error_description",
    "error_message",
    "errorMessage",
    "error_msg",
    "status_msg",
    "msg",
    "reason",
    "errors",
    "faultstring",
    "description",
    "text",
    "title",
)
_CAUSES = (
    "fault",
    "metadata",
    "upstream_details",
    "innererror",
    "inner_error",
    "value",
    "cause",
    "raw",
    "details",
    "body",
    "responseText",
    "attempts",
)
_SHAPES: dict[str, type] = {"text": str, "value": Mapping}  # in which these tell something
_KINDS = ("type", "error_type", "code", "error_code", "status", "__type")
_STATUSES = (
    "code", "http_status_code", "status_code", "statusCode", "status", "error_code", "upstream_code", "upstream_status",
)  # fmt: skip
_NOTHING = ("", "none", "null", "undefined")
_WELL = (*_NOTHING, "false", "0", "ok", "success")
# What says no more than the status does.
_GENERIC = re.compile(
    r"(?:error from provider:?\s*)?(?:\[?\d{3}\]?:?\s*)?"
    r"(?:error|bad request|bad_request|badrequesterror|unprocessable (?:entity|content)|"
    r"validation error|runtime error|"
    r"internal (?:server )?error|server[_ ]error|internalservererror|invalid_request_error|invalid request|not found|"
    r"notfounderror|unauthorized|forbidden|service unavailable|bad gateway|gateway timeout|conflict|too many requests|"
    r"the given data was invalid|one or more validation errors occurred|validation failed|invalid input|"
    r"request failed|unknown error|an error occurred|something went wrong|api_error|apierror|"
    r"(?:upstream )?stream error(?: occurred)?|upstream error|"
    r"all target providers failed|exception|failed|failure|fail|true|"
    r"(?:error from provider:?\s*)?provider returned (?:an )?error)[.!:]?",
    re.IGNORECASE,
)
# The first element of an error in XML. Of pages, and of what has a document type, nothing is read.
_XML = re.compile(
    r"\s{0,100}(?:<\?xml[^<>]{0,200}>\s{0,100})?<(?:[\w.-]{1,40}:)?"
    r"(?:fault|errors?|error_?response|envelope|exception|exceptionreport|problem|response|result)[\s>]",
    re.IGNORECASE,
)
# An element that holds a text only.
_XML_FIELD = re.compile(
    r"<(?:[\w.-]{1,40}:)?([A-Za-z]\w{0,40})(?:\s[^<>]{0,300})?>(?:\s{0,100}<!\[CDATA\[)?([^<]{1,2000})</"
)
# A word for programs, such as `MAINTENANCE_MODE`.
_CODE = re.compile(r"[A-Za-z0-9]{1,40}(?:[_.-][A-Za-z0-9]{1,40}){1,6}")
_LINK = re.compile(r"for further information visit\s*\S*", re.IGNORECASE)
_GRPC_HEADING = re.compile(r"rpc error: code = \w{1,40} desc =")  # with nothing behind it
_INPUT_QUOTED = re.compile(r"\s{0,8}\[type=[^\n]{0,2000}\Z|,?\s{0,8}input_value=[^\n]{0,2000}\Z")
_INPUT_IN_LINE = re.compile(
    r"\s{0,8}\[type=\w{1,60}, input_value=[^\n]{0,2000}?, input_type=\w{1,60}\]\s{0,8}"
)
_VALIDATION = re.compile(r"\d{1,6} validation errors? for ")
_LOC = re.compile(r"""['"]loc['"]: ?[(\[]([^()\[\]]{0,300})[)\]]""")
_MSG = re.compile(r"""['"]msg['"]: ?(?:'((?:[^'\\]|\\.){0,500})'|"((?:[^"\\]|\\.){0,500})")""")
_MESSAGE = re.compile(r"""['"]message['"]: ?(?:'((?:[^'\\]|\\.){0,2000})'|"((?:[^"\\]|\\.){0,2000})")""")
_PYTHONS = re.compile(
    r"""['"](error|message|detail)['"]: ?(?:'((?:[^'\\]|\\.){1,2000})'|"((?:[^"\\]|\\.){1,2000})")"""
)
_BEGIN_OF_PYTHONS = re.compile(r"""\{['"](?:error|message|detail)['"]:""")
# What a sentence says before it quotes an error, if it only says that there is one.
_ONLY_AN_ERROR = frozenset(
    {"api", "backend", "code", "error", "http", "server", "service", "status", "upstream"}
)
_LITELLM_CLASS = re.compile(
    r"(?:litellm\.)?(?:exceptions\.)?[A-Za-z.]{0,60}(?:Error|Exception|Unavailable): (?=\S)"
)
_LITELLM_PROVIDER = re.compile(r"[A-Za-z_]{0,40}Exception - (?=\S)")
_LITELLM_TAIL = re.compile(
    r"\s{0,8}(?:\.?\s{0,8}Received Model Group=|Available Model Group Fallbacks=|LiteLLM Retried:)"
)
_PATH = re.compile(r"[\w.\[\]]+(?: ?-> ?[\w.\[\]]+)*:?")
_DUMP = re.compile(r"(?:[;,]?\s{0,8}\b\w{1,60}\s{0,8}[=:]\s{0,8})?[\[{(]{1,20}\s{0,8}\Z")
_SOURCE = re.compile(r"\s?\(/[^\s()]{1,300}\.[a-z]{1,4}:\d{1,6}\)\Z")  # the line of a program that failed
_TRACEBACK = re.compile(r"^\s*Traceback\b", re.MULTILINE)
_WHERE = re.compile(
    r"While executing\b|at (?:row|line)\b", re.IGNORECASE
)  # minja's and llama.cpp's templates
_EXCEPTION = re.compile(r"(?:[\w.]{0,120}(?:Error|Exception)): ?\S|Jinja Exception: ?\S", re.IGNORECASE)
# FastChat's, whatever the reason is, which follows in brackets.
_BANNER = re.compile(r"\s{0,8}\*\*[^a-z\n*]{10,200}\*\*\s{1,8}\((?=[^\s)])")
_HEADING = re.compile(r"[\w ]{1,40}:")
_SENTENCE = re.compile(r"[A-Z][a-z]{1,20}(?: [a-z]{1,20}){2}\b")  # and no line of a template or of a dump


@dataclass(frozen=True)
class ContainerError:
    """What a container says about an error.

    Attributes:
        reason: What failed, in the server's words; "" when it gives none.
        kind: Its type in words, and its code.
        status: The HTTP status that the body names, for errors that come with another one, or without.
    """

    reason: str
    kind: str = ""
    status: int | None = None


def read_error(body: Any) -> ContainerError | None:
    """Reads the error in a response that is not a success.

    Args:
        body: The JSON of the response.

    Returns:
        The error; None when the body has no form of an error at all.
    """
    if isinstance(body, list) and body and isinstance(body[0], Mapping):
        body = body[0] if "loc" not in body[0] else {"detail": body}
    if not isinstance(body, Mapping):
        return None
    body = _with_small_initials(body)
    told = [name for name in ("error", *_REASONS, *_CAUSES) if name in body and body[name] is not None]
    if not told or (told == ["text"] and "error_code" not in body):
        return None
    return _error_in(body)


def read_error_in_success(body: Any, *, row: bool = False) -> ContainerError | None:
    """Reads the error that a response of status 200 has instead of an answer, or an event of one.

    Args:
        body: The JSON of the response, of an event, or of a row.
        row: Whether it is a row of an answer, whose columns may have any name.

    Returns:
        The error; None when the body has none.
    """
    if not isinstance(body, Mapping):
        return None
    if _has_error(body.get("error_code")) or body.get("object") == "error":
        return _error_in(body)
    if _has_error(body.get("error")) and not (_is_blank(body["error"]) and _has_answer(body)):
        return _error_in(body)
    if row:
        return None
    minimax = body.get("base_resp")
    if isinstance(minimax, Mapping) and _has_error(minimax.get("status_code")) and not _has_answer(body):
        return _error_in(minimax)
    if any(name in body for name in _ANSWERS):
        return None
    within = _in_envelope(body)
    if within is not None:
        return within
    failed = body.get("success") is False or (_status(body) or 0) >= 400 or _has_code(body)
    if failed and any(body.get(name) for name in _REASONS):
        return _error_in(body)
    return _error_in(body) if body.get("detail") and len(body) == 1 else None


def _in_envelope(body: Mapping[str, Any]) -> ContainerError | None:
    """The error within an envelope, such as RunPod's `{"status", "output": [{"object": "error", "message"}]}`."""
    for name in ENVELOPES:
        told = body.get(name)
        told = told[0] if isinstance(told, list) and told else told
        if isinstance(told, Mapping) and (_has_error(told.get("error")) or told.get("object") == "error"):
            return _error_in(told)
    return None


def _has_error(error: Any) -> bool:
    """Whether a field reports an error: some servers send `null`, `false`, "", "0" or {} beside a good answer."""
    return bool(error) and not (isinstance(error, str) and error.strip().lower() in _WELL)


def _has_answer(body: Mapping[str, Any]) -> bool:
    return any(map(body.get, _ANSWERS))


def _is_blank(error: Any) -> bool:
    """Whether an error is an object none of whose fields says anything."""
    return isinstance(error, Mapping) and not any(map(_has_error, error.values()))


def _has_code(body: Mapping[str, Any]) -> bool:
    """Whether a body is a code in words and a sentence, as `{"code": "rate_limit_daily", "message"}`."""
    code, message = body.get("code"), body.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        return False
    return _has_error(code) and not code.strip().isdecimal()


def _error_in(body: Mapping[str, Any]) -> ContainerError:
    error = body.get("error")
    inner = error if isinstance(error, Mapping) else {}
    kinds = [_text(told[name]) for told in (inner, body) for name in _KINDS if told.get(name)]
    if isinstance(error, str) and _CODE.fullmatch(error.strip()):
        kinds.append(error.strip())
    status = _status(inner) or _status(body)
    return ContainerError(_reason_in_object(body, 0), " ".join(dict.fromkeys(kinds))[:100], status)


def _status(told: Mapping[str, Any]) -> int | None:
    for name in _STATUSES:
        value = told.get(name)
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdecimal():
            value = int(value)  # LiteLLM writes it as a text
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return None


# -- where the reason is ------------------------------------------------------------------------------------


def _reason(told: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(told, str):
        return _reason_in_text(told, depth)
    if isinstance(told, Mapping):
        return _reason_in_object(told, depth)
    if isinstance(told, (list, tuple)):
        return _reason_in_list(told, depth)
    return _text(told) if isinstance(told, (int, float)) and not isinstance(told, bool) else ""


def _reason_in_object(told: Mapping[str, Any], depth: int) -> str:
    """What says most: a reason before a heading, a cause before an error that only says that there is one."""
    told = _with_small_initials(told)
    found = []
    for name in ("error", *_REASONS, *_CAUSES):
        if told.get(name) is None or not isinstance(told[name], _SHAPES.get(name, object)):
            continue
        reason = _reason(told[name], depth + 1)
        if not reason and name == "errors" and isinstance(told[name], Mapping):
            reason = _reason_by_field(told[name], depth + 1)
        if reason and not _GENERIC.fullmatch(reason) and not _CODE.fullmatch(reason):
            return _with_code(told, _with_parameter(told, reason))
        if reason:
            found.append(reason)
    if not found:
        found = [_text(told[name]) for name in ("type", "code") if told.get(name)]
    return found[0] if found else ""


def _with_small_initials(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object whose fields begin with small letters: AWS and ASP.NET have `Message`."""
    if not any(isinstance(name, str) and name[:1].isupper() for name in told):
        return told
    return {**{name[:1].lower() + name[1:]: value for name, value in told.items()}, **told}


def _reason_by_field(problems: Mapping[str, Any], depth: int) -> str:
    """Problems under the names of the fields that have them, as Laravel and ASP.NET write them."""
    named = list(problems.items())[:_MAX_PROBLEMS]
    reasons = [(_text(field), _reason(problem, depth + 1)) for field, problem in named]
    return "; ".join(f"{field}: {reason}" for field, reason in reasons if field and reason)


def _with_parameter(told: Mapping[str, Any], reason: str) -> str:
    """A reason with the parameter that it is about, where that is told apart from it."""
    param = told.get("param") or told.get("parameter")
    if not isinstance(param, str) or param.strip().lower() in _NOTHING or param in reason:  # LiteLLM: "None"
        return reason
    return reason if param.strip().isdecimal() else f"{param}: {reason}"  # new-api has its provider's status


def _with_code(told: Mapping[str, Any], reason: str) -> str:
    """A reason in another language with its code, which more readers understand, and all that looks for words."""
    if reason.isascii() or not any(letter.isalpha() and not letter.isascii() for letter in reason):
        return reason
    codes = (_text(told[name]) for name in ("code", "type", "error") if told.get(name))
    code = next((code for code in codes if _CODE.fullmatch(code) and not _GENERIC.fullmatch(code)), "")
    return f"{reason} ({code})" if code and code not in reason else reason


def _reason_in_list(told: Sequence[Any], depth: int) -> str:
    problems = [_problem(item, depth) for item in told[:_MAX_PROBLEMS]]
    return "; ".join(dict.fromkeys(problem for problem in problems if problem))


def _problem(item: Any, depth: int) -> str:
    """FastAPI's: where and what, without the input that it quotes."""
    if not isinstance(item, Mapping) or not ("loc" in item or "msg" in item):
        return _reason(item, depth + 1)
    loc = item.get("loc")
    place = ".".join(map(_text, loc)) if isinstance(loc, (list, tuple)) else _text(loc or "")
    reason = _reason(item.get("msg"), depth + 1)
    return ": ".join(part for part in (place, reason) if part)


def fields_in_xml(text: str) -> dict[str, str]:
    """Finds the texts of an error in XML, without a parser: nothing is expanded or looked up.

    Args:
        text: The body of a response; only its first 16,384 characters are read.

    Returns:
        The first text of each element's name, without the name's prefix; nothing if it is not XML or no error.
    """
    text = text[:_MAX_TEXT]
    fields: dict[str, str] = {}
    if _XML.match(text):
        for found in _XML_FIELD.finditer(text):
            fields.setdefault(found[1], html.unescape(found[2]).replace("]]>", "").strip())
    return fields


def _reason_in_text(text: str, depth: int) -> str:
    text = text.strip()[:_MAX_TEXT]
    if text.lower() in _NOTHING:
        return ""
    if text[0] == "<":
        return _reason(fields_in_xml(text), depth + 1) or telling_line(text)
    if text[0] in "{[":
        try:
            within = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return _reason(within, depth + 1) or telling_line(text)
    return (
        _problems_in_python(text) or _cause(text, depth) or _quoted_error(text, depth) or telling_line(text)
    )


def _problems_in_python(text: str) -> str:
    """A list of validation problems in the form of Python's `repr`, as vLLM quotes them."""
    if "'loc'" not in text and '"loc"' not in text:
        return ""
    places = [_names(found[1]) for found in _LOC.finditer(text)]
    reasons = [_unquoted(found[1] or found[2] or "") for found in _MSG.finditer(text)]
    if not reasons:
        return ""
    places += [""] * (len(reasons) - len(places))
    problems = [f"{place}: {reason}" if place else reason for place, reason in zip(places, reasons)]
    return "; ".join(dict.fromkeys(problems[:_MAX_PROBLEMS]))


def _names(loc: str) -> str:
    return ".".join(part.strip(" '\"") for part in loc.split(",") if part.strip())


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _cause(text: str, depth: int) -> str:
    """What a gateway quotes of the server behind it, without what the gateway says of itself (LiteLLM)."""
    is_litellm = "litellm" in text.lower() or "Exception - " in text
    if not is_litellm:
        return ""
    text = _LITELLM_TAIL.split(text, maxsplit=1)[0]
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        try:
            reason = _reason(json.loads(text[start : end + 1]), depth + 1)
        except (ValueError, RecursionError):
            found = _MESSAGE.search(text, start)
            reason = _reason_in_text(_unquoted(found[1] or found[2] or ""), depth + 1) if found else ""
        if reason:
            return reason
    for _ in range(4):
        text = _LITELLM_PROVIDER.sub("", _LITELLM_CLASS.sub("", text, count=1), count=1)
    return telling_line(text)


def _told_in_python(text: str) -> dict[str, str]:
    """What a dictionary in the form of Python's `repr` says, if it begins with what says something."""
    if not _BEGIN_OF_PYTHONS.match(text):
        return {}
    told: dict[str, str] = {}
    for found in itertools.islice(_PYTHONS.finditer(text), _MAX_PROBLEMS):
        told.setdefault(found[1], _unquoted(found[2] or found[3]))
    return told


def _quoted_error(text: str, depth: int) -> str:
    """The reason in an error that a sentence quotes, as JSON or as Python does, behind what the sentence says of it."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        return ""
    try:
        within = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        within = _told_in_python(text[start:])
    if not isinstance(within, Mapping) or not any(name in within for name in ("error", "message", "detail")):
        return ""
    reason = _reason(within, depth + 1)
    before = telling_line(text[:start]).rstrip(" \"'`:")
    says_more = any(word not in _ONLY_AN_ERROR for word in re.findall(r"[a-z]+", before.lower()))
    return f"{before}: {reason}" if says_more and reason else reason


def reason_in_text(text: str) -> str:
    """Finds what a text says is wrong, which may quote the error of the server behind it.

    Args:
        text: The body of a response that is not JSON; only its first 16,384 characters are read.

    Returns:
        The reason; "" when there is none.
    """
    return _reason_in_text(text, 0)


# -- the line that tells something --------------------------------------------------------------------------


def telling_line(text: str) -> str:
    """Finds the line of a text of several that says what is wrong.

    Of a traceback it is the last one: the others are the service's code. Of pydantic's errors it is the field and the
    reason, without the input and the link. Of a list of problems it is each of them. Otherwise it is the first that
    says something: dumps, templates and carets follow it.

    Args:
        text: What a server says; only its first 16,384 characters are read.

    Returns:
        The line; "" when there is none.
    """
    text = _without_banner(text[:_MAX_TEXT])
    lines = [line for line in text.splitlines() if any(map(str.isalnum, line))]
    if not lines:
        return ""
    if _TRACEBACK.search(text):
        return lines[-1].strip()
    says_nothing = (_LINK.match, _GRPC_HEADING.fullmatch)
    lines = [line for line in lines if not any(one(line.strip()) for one in says_nothing)] or lines
    first = lines[0].strip()
    if _WHERE.match(first):
        first = next((line.strip() for line in lines if _EXCEPTION.match(line.strip())), first)
    start = _VALIDATION.search(text)
    if start is not None:
        return _validation_errors(text[start.start() :]) or first
    second = lines[1] if len(lines) > 1 else ""
    if second and _is_about(first, second):
        return f"{first.rstrip(': ')}: {_without_input(second.strip())}"
    problems = list(itertools.takewhile(lambda line: _is_alike(first, line), lines[1:]))
    if problems:
        told = [_without_input(line.strip()) for line in (first, *problems[: _MAX_PROBLEMS - 1])]
        return "; ".join(dict.fromkeys(told))
    return _DUMP.sub("", _SOURCE.sub("", _without_input(first))).rstrip(" :;,") or first


def _without_banner(text: str) -> str:
    """What stands in brackets behind a line in bold capitals, which is the same for all errors."""
    banner = _BANNER.match(text)
    return text if banner is None else text[banner.end() :].rstrip().removesuffix(")")


def _is_alike(line: str, other: str) -> bool:
    """Whether two lines say the same of two things: they begin or end with the same words, as in Gemini's lists."""
    words, others = line.split(), other.split()
    if min(len(words), len(others)) <= _WORDS_ALIKE:
        return False
    return words[:_WORDS_ALIKE] == others[:_WORDS_ALIKE] or words[-_WORDS_ALIKE:] == others[-_WORDS_ALIKE:]


def _is_about(first: str, second: str) -> bool:
    """Whether the first line is a heading or a field's path, and the second the reason."""
    # MediaPipe, in OpenVINO's server, tells a call of calls before what the innermost says.
    if _GENERIC.fullmatch(first.rstrip(":")) or _HEADING.fullmatch(first) or first.endswith(" failed:"):
        return True
    if first.endswith(":") and _SENTENCE.match(second):
        return True
    return second[:1].isspace() and ("->" in first or " " not in first) and bool(_PATH.fullmatch(first))


def _validation_errors(text: str) -> str:
    """pydantic's: a heading, then a field's line and an indented reason for each problem; or all of it on one line."""
    problems: list[str] = []
    field = ""
    if "\n" not in text.strip():
        return _INPUT_IN_LINE.sub(" ", _LINK.sub("", text)).strip()
    heading, *lines = text.splitlines()
    for line in lines:
        if not line.strip() or _LINK.search(line):
            continue
        if not line[0].isspace():
            field = line.strip()
        elif field or not problems:  # a problem of the whole value has no field
            problems.append(f"{field or heading.strip()}: {_without_input(line.strip())}")
            field = ""
    return "; ".join(problems[:_MAX_PROBLEMS])


def _without_input(line: str) -> str:
    return _INPUT_QUOTED.sub("", line).strip()


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else ""
