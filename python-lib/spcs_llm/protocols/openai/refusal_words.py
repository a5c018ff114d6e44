"""What a server's refusal of a request is about, by its words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from spcs_llm.errors import ModelError, NotFound, RequestTooLarge, ServiceBusy, ServiceDown, SpcsError
from spcs_llm.protocols.openai.dialect import SETTINGS, features_of
from spcs_llm.protocols.openai.json_schema import LIMITS
from spcs_llm.server_text.refusal_hints import says_other_kind

_I: Final = re.IGNORECASE
_LONGEST_REASON: Final = 4000
ABOUT_STREAM: Final = re.compile(r"\bstream(ing|ed)?\b", _I)
_ABOUT_FORMAT: Final = re.compile(
    r"response_format|json_schema|json_object|json schema|\bschema\b|grammar|guided|structured", _I
)
# No other text has these: minLength, uniqueItems, $schema and the like.
_KEYWORDS: Final = tuple(name for name in sorted(LIMITS) if not (name.isalpha() and name.islower()))
_ABOUT_PARAMETERS: Final = re.compile(
    r"function_declarations\W{1,2}\d{1,4}\W{1,2}parameters|tools\W{1,2}\d{1,4}\b.{0,80}\bparameters\b"
    r"|\bparameters\.properties\b",
    _I,
)
NOT_POSSIBLE: Final = re.compile(
    r"unsupported|not (yet |currently )?(supported|permitted|allowed|implemented|available|possible)"
    r"|(does not|doesn't|do not|don't|cannot|can't|can not|could not|unable to|not able to)\b"
    r"|unrecogni[sz]ed|unknown|unexpected|extra_forbidden|extra inputs|disabled|only (when|if|with|without|for)"
    r"|incompatible|mutually exclusive|must be (false|disabled|off|omitted)|no support|invalid",
    _I,
)
PASSING: Final = re.compile(
    r"timed? ?out|timeout|try again|retry|overload|temporar|interrupted|reset by|closed", _I
)
# What servers add: the fields that they do have (in Rust, and in Java), or another name (in Python).
_KNOWN_FIELDS: Final = re.compile(
    r"(?<=`), expected (one of )?`[^\n]*|, not marked as ignorable\b[^\n]*|\bDid you mean\b[^\n]*"
)
# A field that a server does not have at all, and not a value or a combination that it refuses.
FIELD_REFUSED: Final = re.compile(
    r"unsupported (parameter|param|field|argument)|unrecogni[sz]ed|unknown|unexpected|extra_forbidden|extra inputs"
    r"|(is|are) not (supported|permitted|allowed|implemented|available)|not implemented|(does not|doesn't) support"
    r"|unsupportedparams|disabled",
    _I,
)
VALUE_REFUSED: Final = re.compile(
    r"\bvalues?\b|must be|should be|at (most|least)|between|(less|greater|larger|smaller|higher|lower) than|\brange\b"
    r"|too (large|small|high|low|many)|\bonly\b|\bwith (this|tools?|stream|images?|a|the)\b|\bwhen\b|\bif\b"
    r"|positive|negative|strictly|maximum|minimum|support \S*\d",
    _I,
)
ABOUT_ROLES: Final = re.compile(
    r"\broles?\b|alternat|system (message|prompt|instruction)s?|must (be|start with|begin with) .{0,20}(user|system)"
    r"|first message|\bu/a/u\b|\bmessages must be an odd number\b",  # the last two are LLaMA-Factory's and Qianfan's
    _I,
)
# Of LLaMA-Factory, which has a place for a system message before the turns.
ABOUT_TURNS_ONLY: Final = re.compile(r"\bonly supports u/a/u", _I)
ABOUT_IMAGES_OF_OTHERS: Final = re.compile(r"\bonly allowed for .{0,30}\buser\b", _I)
ABOUT_IDS: Final = re.compile(
    r"tool.?call.?id.{0,400}(length of 9|a-z)|length of 9"
    r"|\btool_use(_id|\.id)\b.{0,40}\bpattern\b|\btool_calls\W{0,3}\d{1,4}\W{0,3}id\b.{0,20}\btoo long\b",
    _I | re.DOTALL,
)
# Of templates that go through the arguments of a call, where the server gives them the API's text.
ABOUT_MAPPING: Final = re.compile(
    r"item pairs from a mapping|'str(ing)?( object)?' .{0,20}\bitems\b|filter .?items.? for type string"
    r"|arguments\W.{0,60}(must|should) be an? (valid )?(dict|mapping|object)",
    _I,
)
# Of templates that write one call into a turn, and of gateways that part the results of several.
ABOUT_ONE_CALL: Final = re.compile(
    r"\b(single|one) tool[ -]?calls?\b|\b(multiple|parallel|several) tool[ -]?calls?\b.{0,60}\bnot\b"
    r"|\bexpected toolResult blocks\b|\btool_use\W{0,2} ids were found without\b",
    _I,
)
# Of servers that take a tool choice by word only, or by name only.
ABOUT_KINDS_OF_CHOICE: Final = re.compile(r"\b(object|map|string|str|auto|any|none)\b|\bnamed tools?\b", _I)
# Of Bedrock and of gateways to it, where a query without tools has calls in its history.
ABOUT_ABSENT_TOOLS: Final = re.compile(
    r"\btoolConfig field must be defined\b|\bmust define tools\b|\bwithout .?tools=.? param", _I
)
# Of DeepSeek's and Moonshot's models that think: a turn of the history lacks its reasoning.
ABOUT_REASONING: Final = re.compile(
    r"reasoning_content\b.{0,60}\b(missing|required|must be (passed|provided|included|present))"
    r"|\b(missing|requires?|must (have|include|contain))\b.{0,60}\breasoning_content\b",
    _I,
)
# Of a tool's name that has other characters than a server takes, or too many of them.
ABOUT_NAMES: Final = re.compile(
    r"\b(function|tool)\w{0,20}\b.{0,80}\bname\b.{0,300}"
    r"(a-z|pattern|letters|alphanumeric|length|too long|at most|invalid|characters)"
    r"|\binvalid\b.{0,40}\b(function|tool)s?\b.{0,80}\bname\b"
    r"|\blength\b.{0,40}\b(function|tool)\b.{0,20}\bname\b",
    _I | re.DOTALL,
)
# Of gateways to Gemini, which takes a tool's result under the tool's name.
ABOUT_NAMES_OF_RESULTS: Final = re.compile(
    r"\bfunction_?response\W{0,2}name\b|\btool messages?\b.{0,40}\bname\b", _I
)
ABOUT_NULL: Final = re.compile(r"\bcontent\b|null|none\b|nonetype|undefined|nil\b", _I)
ABOUT_TEMPLATE: Final = re.compile(r"jinja|chat.?template|rendering prompt|apply_chat_template|template", _I)
# Of servers that have JSON, and not by a schema.
FORM_REFUSED: Final = re.compile(
    r"\bresponse_format.{0,3}type\b.{0,20}\b(unavailable|not (supported|available))"
    r"|\bjson_schema\b\W{0,3}(is|are) (unavailable|unsupported|not (yet |currently )?(supported|available))"
    r"|\bnot support (the )?response.format( of)?( type)?\W{0,3}json_schema\b(?!\.)",
    _I,
)
# Of structures for a tool's schema in which a type is a text, in Go and in Google's protocol buffers.
ABOUT_LISTS_OF_TYPES: Final = re.compile(
    r"\bunmarshal array into Go .{0,80}\btype of type string\b|\bfield is not repeating, cannot start list\b",
    _I,
)
INVALID: Final = "Input should be"
ABOUT_STRICT: Final = re.compile(
    r"\bstrict\b(?! ?ly)|additionalProperties|schema for function|tools\W{1,3}0", _I
)
SAYS_NOTHING: Final = re.compile(
    r"(the service refuses the request( \(HTTP \d{3}\))?:? ?)?\W{0,40}"
    r"((bad|invalid) request|unprocessable( entity| content)?|(internal )?(server )?error|no reason given)?\W{0,40}",
    _I,
)
# Of OpenAI's strict mode
STRICT_MODE: Final = re.compile(
    r"additionalProperties|'required' is required|required.{0,60}every key", re.DOTALL
)
# Fields that servers refuse in words, or by a name of their own, instead of by name.
_IN_WORDS: Final = {
    "stop": re.compile(r"\bstop[ _](words?|sequences?|strings?)\b", _I),
    "frequency_penalty": re.compile(r"\bfrequency penalty\b", _I),
    "presence_penalty": re.compile(r"\bpresence penalty\b", _I),
    "logit_bias": re.compile(r"\blogit bias(es)?\b", _I),
    "top_logprobs": re.compile(r"\btop_n_tokens\b"),  # TGI
}
_FEATURE_WORDS: Final = {
    "tools": re.compile(r"\btools?\b|functions?\b|tool.?(use|call)", _I),
    "tool_choice": re.compile(r"tool.?choice", _I),
    "logprobs": re.compile(r"(?<!top_)\blog.?prob", _I),
    "top_logprobs": re.compile(r"top_?log.?prob|top_n_tokens", _I),
    "response_format": _ABOUT_FORMAT,
    "images": re.compile(r"image|vision|multi.?modal", _I),
}


def may_be_a_refusal(error: SpcsError) -> bool:
    """Whether another form of the request may help, by the kind of the error and its status."""
    if isinstance(error, (ModelError, NotFound, RequestTooLarge, ServiceBusy, ServiceDown)):
        return False
    return error.place == "service" and error.status not in (401, 402, 403, 404, 405, 413)


def is_of_other_kind(error: SpcsError) -> bool:
    """Whether a server says that it does not take this kind of query at all, in words that are not the query's."""
    return says_other_kind(error.quotation)


def says_nothing(error: SpcsError) -> bool:
    """Whether a server says no more than that it failed."""
    return SAYS_NOTHING.fullmatch(reason_of(error)) is not None


def reason_of(error: SpcsError) -> str:
    """What the server says, as far as it is looked through, without the fields that it would take instead."""
    return _KNOWN_FIELDS.sub("", error.server_text[:_LONGEST_REASON])


def names(text: str, name: str) -> bool:
    """Whether a text speaks of a JSON field. `stop` and `seed` are words, too: they count in quotes only."""
    return _place(text, name) is not None


def _place(text: str, name: str) -> int | None:
    """Where a text speaks of a JSON field; None where it does not."""
    words = _IN_WORDS.get(name)
    found = words.search(text) if words is not None else None
    if found is not None:
        return found.start()
    if name in ("stop", "seed"):
        found = re.search(rf"['\"`.]{name}['\"`]|: {name}$|\b{name}:|\.{name}\b|\[{name}\]", text)
    else:
        found = re.search(rf"(?<![A-Za-z_]){name}(?![A-Za-z_])", text)
    return None if found is None else found.start()


def quotes(text: str, value: Any) -> bool:
    """Whether a text has the number that was sent."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    written = {str(value), f"{value:g}", f"{value:.1f}"}
    return any(re.search(rf"(?<![\w.]){re.escape(each)}(?![\w]|\.\d)", text) for each in written)


def refused_setting(payload: Mapping[str, Any], text: str) -> str | None:
    """The sampling field of `payload` that a text names first, if it does."""
    places = {
        name: place for name in SETTINGS if name in payload and (place := _place(text, name)) is not None
    }
    setting = min(places, key=places.__getitem__) if places else None
    if setting == "logprobs" and quotes(text, payload.get("top_logprobs")):
        return "top_logprobs"  # vLLM calls them log probabilities, too
    return setting


def refuses_format(payload: Mapping[str, Any], text: str) -> bool:
    """Whether `payload` asks for a JSON format and a text speaks of it, or of a keyword of its schema."""
    if "response_format" not in payload:
        return False
    return _ABOUT_FORMAT.search(text) is not None or _names_keyword(payload["response_format"], text)


def refuses_tool_schema(payload: Mapping[str, Any], text: str) -> bool:
    """Whether a text speaks of a schema, and `payload` has none but those of its tools."""
    if "response_format" in payload or "tools" not in payload:
        return False
    is_about_schema = _ABOUT_FORMAT.search(text) or _ABOUT_PARAMETERS.search(text)
    return is_about_schema is not None or _names_keyword(payload["tools"], text)


def _names_keyword(schemas: Any, text: str) -> bool:
    """Whether a text has a keyword of JSON schemas that some schemas have."""
    named = [name for name in _KEYWORDS if name in text]
    written = json.dumps(schemas) if named else ""
    return any(f'"{name}"' in written for name in named)


def named(keywords: frozenset[str], text: str) -> frozenset[str]:
    """The keywords that a text names."""
    return frozenset(
        keyword
        for keyword in keywords
        if re.search(rf"(?<![A-Za-z_]){re.escape(keyword)}(?![A-Za-z_])", text, _I)
    )


def mentioned(text: str, payload: Mapping[str, Any]) -> frozenset[str]:
    """The features of a request that a text speaks of."""
    present = features_of(dict(payload))
    return frozenset(name for name, words in _FEATURE_WORDS.items() if name in present and words.search(text))
