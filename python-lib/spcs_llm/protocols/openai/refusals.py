"""Another way to put a chat that a server refused, by what the request holds and what the server says of it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from spcs_llm.domain import ChatRequest, JsonFormat
from spcs_llm.errors import (
    BadRequest,
    ModelError,
    NetworkError,
    NotFound,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    SpcsError,
)
from spcs_llm.protocols.openai.answer import EmptyStream, UselessStream
from spcs_llm.protocols.openai.dialect import SETTINGS, Demand, Dialect, SchemaForm, features_of
from spcs_llm.protocols.openai.json_schema import LIMITS, closed, limits_in, with_kinds_told
from spcs_llm.protocols.openai.lessons import Lesson, Lessons
from spcs_llm.protocols.openai.message import EndlessBlanks
from spcs_llm.protocols.openai.request import has_other_names
from spcs_llm.protocols.openai.tool_calls import NamelessCall
from spcs_llm.server_text.refusal_hints import (
    no_other_form_helps,
    says_other_kind,
    says_output_is_unreadable,
)

_I: Final = re.IGNORECASE
_LONGEST_REASON: Final = 4000
_ABOUT_STREAM: Final = re.compile(r"\bstream(ing|ed)?\b", _I)
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
_NOT_POSSIBLE: Final = re.compile(
    r"unsupported|not (yet |currently )?(supported|permitted|allowed|implemented|available|possible)"
    r"|(does not|doesn't|do not|don't|cannot|can't|can not|could not|unable to|not able to)\b"
    r"|unrecogni[sz]ed|unknown|unexpected|extra_forbidden|extra inputs|disabled|only (when|if|with|without|for)"
    r"|incompatible|mutually exclusive|must be (false|disabled|off|omitted)|no support|invalid",
    _I,
)
_PASSING: Final = re.compile(
    r"timed? ?out|timeout|try again|retry|overload|temporar|interrupted|reset by|closed", _I
)
# What servers written in Rust add: the fields that they do have.
_KNOWN_FIELDS: Final = re.compile(r"(?<=`), expected (one of )?`[^\n]*")
# A field that a server does not have at all, and not a value or a combination that it refuses.
_FIELD_REFUSED: Final = re.compile(
    r"unsupported (parameter|param|field|argument)|unrecogni[sz]ed|unknown|unexpected|extra_forbidden|extra inputs"
    r"|(is|are) not (supported|permitted|allowed|implemented|available)|not implemented|(does not|doesn't) support"
    r"|unsupportedparams|disabled",
    _I,
)
_VALUE_REFUSED: Final = re.compile(
    r"\bvalues?\b|must be|should be|at (most|least)|between|(less|greater|larger|smaller|higher|lower) than|\brange\b"
    r"|too (large|small|high|low|many)|\bonly\b|\bwith (this|tools?|stream|images?|a|the)\b|\bwhen\b|\bif\b"
    r"|positive|negative|strictly|maximum|minimum|support \S*\d",
    _I,
)
_ABOUT_ROLES: Final = re.compile(
    r"\broles?\b|alternat|system (message|prompt|instruction)s?|must (be|start with|begin with) .{0,20}(user|system)"
    r"|first message",
    _I,
)
_ABOUT_IMAGES_OF_OTHERS: Final = re.compile(r"\bonly allowed for .{0,30}\buser\b", _I)
_ABOUT_IDS: Final = re.compile(
    r"tool.?call.?id.{0,400}(length of 9|a-z)|length of 9"
    r"|\btool_use(_id|\.id)\b.{0,40}\bpattern\b|\btool_calls\W{0,3}\d{1,4}\W{0,3}id\b.{0,20}\btoo long\b",
    _I | re.DOTALL,
)
# Of templates that go through the arguments of a call, where the server gives them the API's text.
_ABOUT_MAPPING: Final = re.compile(
    r"item pairs from a mapping|'str(ing)?( object)?' .{0,20}\bitems\b|filter .?items.? for type string"
    r"|arguments\W.{0,60}(must|should) be an? (valid )?(dict|mapping|object)",
    _I,
)
# Of templates that write one call into a turn, and of gateways that part the results of several.
_ABOUT_ONE_CALL: Final = re.compile(
    r"\b(single|one) tool[ -]?calls?\b|\b(multiple|parallel|several) tool[ -]?calls?\b.{0,60}\bnot\b"
    r"|\bexpected toolResult blocks\b|\btool_use\W{0,2} ids were found without\b",
    _I,
)
# Of servers that take a tool choice by word only, or by name only.
_ABOUT_KINDS_OF_CHOICE: Final = re.compile(r"\b(object|map|string|str|auto|any|none)\b|\bnamed tools?\b", _I)
# Of Bedrock and of gateways to it, where a query without tools has calls in its history.
_ABOUT_ABSENT_TOOLS: Final = re.compile(
    r"\btoolConfig field must be defined\b|\bmust define tools\b|\bwithout .?tools=.? param", _I
)
# Of DeepSeek's and Moonshot's models that think: a turn of the history lacks its reasoning.
_ABOUT_REASONING: Final = re.compile(
    r"reasoning_content\b.{0,60}\b(missing|required|must be (passed|provided|included|present))"
    r"|\b(missing|requires?|must (have|include|contain))\b.{0,60}\breasoning_content\b",
    _I,
)
# Of a tool's name that has other characters than a server takes, or too many of them.
_ABOUT_NAMES: Final = re.compile(
    r"\b(function|tool)\w{0,20}\b.{0,80}\bname\b.{0,300}"
    r"(a-z|pattern|letters|alphanumeric|length|too long|at most|invalid|characters)"
    r"|\binvalid\b.{0,40}\b(function|tool)s?\b.{0,80}\bname\b"
    r"|\blength\b.{0,40}\b(function|tool)\b.{0,20}\bname\b",
    _I | re.DOTALL,
)
# Of gateways to Gemini, which takes a tool's result under the tool's name.
_ABOUT_NAMES_OF_RESULTS: Final = re.compile(
    r"\bfunction_?response\W{0,2}name\b|\btool messages?\b.{0,40}\bname\b", _I
)
_ABOUT_NULL: Final = re.compile(r"\bcontent\b|null|none\b|nonetype|undefined|nil\b", _I)
_ABOUT_TEMPLATE: Final = re.compile(r"jinja|chat.?template|rendering prompt|apply_chat_template|template", _I)
_INVALID: Final = "Input should be"
_ABOUT_STRICT: Final = re.compile(
    r"\bstrict\b(?! ?ly)|additionalProperties|schema for function|tools\W{1,3}0", _I
)
_BLIND_TRIES: Final = 2
_SAYS_NOTHING: Final = re.compile(
    r"(the service refuses the request( \(HTTP \d{3}\))?:? ?)?\W{0,40}"
    r"((bad|invalid) request|unprocessable( entity| content)?|(internal )?(server )?error|no reason given)?\W{0,40}",
    _I,
)
# Of OpenAI's strict mode
_STRICT_MODE: Final = re.compile(
    r"additionalProperties|'required' is required|required.{0,60}every key", re.DOTALL
)
# Fields that servers refuse in words instead of by name.
_IN_WORDS: Final = {
    "stop": re.compile(r"\bstop[ _](words?|sequences?|strings?)\b", _I),
    "frequency_penalty": re.compile(r"\bfrequency penalty\b", _I),
    "presence_penalty": re.compile(r"\bpresence penalty\b", _I),
    "logit_bias": re.compile(r"\blogit bias(es)?\b", _I),
}
_FEATURE_WORDS: Final = {
    "tools": re.compile(r"\btools?\b|functions?\b|tool.?(use|call)", _I),
    "tool_choice": re.compile(r"tool.?choice", _I),
    "logprobs": re.compile(r"(?<!top_)\blog.?prob", _I),
    "top_logprobs": re.compile(r"top_?log.?prob", _I),
    "response_format": _ABOUT_FORMAT,
    "images": re.compile(r"image|vision|multi.?modal", _I),
}


@dataclass(frozen=True)
class Step:
    """Another way to put a request.

    Attributes:
        dialect: The way.
        lesson: What is learned if the server takes it; None if that is nothing.
    """

    dialect: Dialect
    lesson: Lesson | None = None


@dataclass
class Refusals:
    """What happened to one request so far. Each way is tried once.

    Attributes:
        request: What is asked.
        lessons: What is known of the server. They grow by what the request teaches.
        drops_settings: Whether sampling settings that the server refuses are left out.
        tried: The ways that were refused.
        lessons_of_steps: What the ways tried so far teach if the last one is taken.
        blind: The request's features and the refusal's HTTP status, if another form was tried without a reason given.
        blind_tries: How often that was done.
        blind_changes: The fields of Dialect that these tries changed, with their new values.
        within_stream: The error that came while an answer was read.
        before_objects: Why the arguments of calls were sent as objects, which other servers refuse.
    """

    request: ChatRequest
    lessons: Lessons
    drops_settings: bool
    tried: set[Dialect] = field(default_factory=set)
    lessons_of_steps: list[Lesson] = field(default_factory=list)
    blind: tuple[frozenset[str], int | None] | None = None
    blind_tries: int = 0
    blind_changes: dict[str, Any] = field(default_factory=dict)
    within_stream: SpcsError | None = (
        None  # that came in a stream which had begun, and not as an answer's status
    )
    before_objects: SpcsError | None = None

    def next_dialect(self, dialect: Dialect, payload: dict[str, Any], error: SpcsError) -> Dialect | None:
        """Chooses another way to put a request that failed.

        Args:
            dialect: The way that was refused.
            payload: The JSON that was refused.
            error: The server's refusal or failure.

        Returns:
            How to put the request now, or None when there is no other way that makes sense.
        """
        self.tried.add(dialect)
        step = self._step(dialect, payload, error)
        if step is None or step.dialect in self.tried:
            return None
        if step.lesson is not None:
            self.lessons_of_steps.append(step.lesson)
        return step.dialect

    def cause(self, dialect: Dialect, error: SpcsError) -> SpcsError:
        """What is to be told of a request that failed: not that a form was refused which the query does not have."""
        return self.before_objects if dialect.object_arguments and self.before_objects else error

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Notes an error that comes while an answer is read that had begun as a success, and lets it pass."""
        try:
            yield
        except SpcsError as error:
            self.within_stream = error
            raise

    def taken(self) -> None:
        """Learns from the request, after the way that was tried last was taken."""
        for lesson in self.lessons_of_steps:
            self.lessons.learn(lesson)
        if self.blind is not None:
            changes = {key: value for key, value in self.blind_changes.items() if key != "whole" or value}
            self.lessons.learn(Lesson(changes, self.blind[0]))

    def given_up(self) -> None:
        if self.blind is not None:
            self.lessons.was_of_no_use(*self.blind)

    def _step(self, dialect: Dialect, payload: dict[str, Any], error: SpcsError) -> Step | None:
        if isinstance(error, EndlessBlanks):
            return None
        if isinstance(error, NetworkError):
            return self._without_stream(dialect, error)
        if isinstance(error, (EmptyStream, UselessStream, NamelessCall)):
            return Step(replace(dialect, whole=True)) if dialect.asks_for_stream else None
        if not may_be_a_refusal(error):
            return None
        # Other code reads whole answers, and chance helps, too.
        if says_output_is_unreadable(reason_of(error)):
            return Step(replace(dialect, whole=True)) if dialect.asks_for_stream else None
        text = _KNOWN_FIELDS.sub("", reason_of(error))
        # An id may be too long, too: that is no prompt.
        if _has_calls(payload) and not dialect.short_ids and _ABOUT_IDS.search(text):
            return _step(dialect, {"short_ids": True})
        if no_other_form_helps(text):
            return None
        return (
            self._by_its_words(dialect, payload, error, text)
            or self._blind(dialect, payload, error, text)
            or self._without_stream(dialect, error)
        )

    def _without_stream(self, dialect: Dialect, error: SpcsError) -> Step | None:
        """A server may fail at streaming an answer that it can give whole."""
        if error is not self.within_stream or isinstance(error, BadRequest) or not dialect.asks_for_stream:
            return None
        return Step(replace(dialect, whole=True))

    def _by_its_words(
        self, dialect: Dialect, payload: dict[str, Any], error: SpcsError, text: str
    ) -> Step | None:
        refuses = isinstance(error, BadRequest)
        not_possible = _NOT_POSSIBLE.search(text) is not None
        if _has_calls(payload) and not dialect.object_arguments and _ABOUT_MAPPING.search(text):
            self.before_objects = error
            return _step(dialect, {"object_arguments": True}, frozenset({"calls"}))
        if not dialect.single_calls and _has_several_calls(payload) and _ABOUT_ONE_CALL.search(text):
            return _step(dialect, {"single_calls": True}, frozenset({"calls"}))
        if _has_calls(payload) and "tools" not in payload and _ABOUT_ABSENT_TOOLS.search(text):
            return _step(dialect, {"offers_called": True}, frozenset({"calls"}))
        if _has_assistant(payload) and names(text, "reasoning_content"):
            is_missing = _ABOUT_REASONING.search(text) is not None
            if is_missing != dialect.empty_reasoning:  # or another model by now, which takes none
                calls = frozenset({"calls"}) if _has_calls(payload) else frozenset()
                return _step(dialect, {"empty_reasoning": is_missing}, calls)
        is_about_strict = self._asks_for_strict_tool(dialect) and _ABOUT_STRICT.search(text) is not None
        if refuses_tool_schema(payload, text) and not is_about_strict:
            simpler = _with_simpler_tools(dialect, self.request, text)
            if simpler is not None:
                return Step(simpler)
        if not (refuses or not_possible or _INVALID in text or _ABOUT_ROLES.search(text)):
            return None  # a failure, and no refusal
        if dialect.object_arguments and self.before_objects is None and re.search(r"\barguments\b", text):
            return _step(dialect, {"object_arguments": False}, frozenset({"calls"}))  # another server by now
        if _has_results(payload) and not dialect.named_results and _ABOUT_NAMES_OF_RESULTS.search(text):
            return _step(dialect, {"named_results": True}, frozenset({"calls"}))
        if not dialect.plain_names and _ABOUT_NAMES.search(text) and has_other_names(self.request):
            tools = frozenset({"tools"}) if "tools" in payload else frozenset({"calls"})
            return _step(dialect, {"plain_names": True}, tools)
        if "stream_options" in payload and names(text, "stream_options"):
            return _step(dialect, {"stream_options": False})
        if "max_tokens" in payload and names(text, "max_completion_tokens"):
            return _step(dialect, {"token_limit": "max_completion_tokens"})
        if "max_completion_tokens" in payload and names(text, "max_completion_tokens") and not_possible:
            return _step(dialect, {"token_limit": "max_tokens"})  # another server, too
        if is_about_strict:
            return _step(dialect, {"strict_tools": False}, frozenset({"tool_choice"}))
        if "tool_choice" in payload and (names(text, "tool_choice") or "named tool" in text):
            return self._with_another_demand(dialect, text) or self._without_tool_choice(dialect)
        if _has_detail(payload) and (names(text, "detail") or "content part" in text):
            return _step(dialect, {"image_detail": False}, frozenset({"images"}))
        if _has_images_of_others(payload) and _ABOUT_IMAGES_OF_OTHERS.search(text):
            return _step(dialect, {"images_of_users": True}, frozenset({"images"}))
        roles = _other_roles(dialect, payload, text)
        if roles is not None:
            return roles
        if dialect.asks_for_stream and _ABOUT_STREAM.search(text):
            if (refuses or not_possible) and not _PASSING.search(text):
                return _step(dialect, {"whole": True}, _mentioned(text, payload))
            return Step(replace(dialect, whole=True)) if refuses else None
        if dialect.null_content and has_null_content(payload) and re.search(r"\bcontent\b", text):
            return _step(dialect, {"null_content": False})
        if self.request.json_format is not None and refuses_format(payload, text):
            return _with_another_format(dialect, self.request.json_format, text)
        setting = refused_setting(payload, text)
        if setting is not None:
            return self._without(setting, dialect, payload, text)
        return None

    def _asks_for_strict_tool(self, dialect: Dialect) -> bool:
        """Whether a tool is held to its schema though the query did not say so."""
        choice = self.request.tool_choice
        return dialect.strict_tools and any(
            choice is not None and choice.forces(tool.name) and tool.strict is None
            for tool in self.request.tools
        )

    def _with_another_demand(self, dialect: Dialect, text: str) -> Step | None:
        """By word or by name, whichever was not tried, where both mean the same tool."""
        choice = self.request.tool_choice
        if choice is None or not _ABOUT_KINDS_OF_CHOICE.search(text):
            return None
        demand: Demand = "as asked"
        if choice.mode == "tool":
            demand = "as asked" if dialect.demand == "by word" else "by word"
        elif choice.mode == "required" and len(self.request.tools) == 1:
            demand = "as asked" if dialect.demand == "by name" else "by name"
        other = replace(dialect, demand=demand)
        if other == dialect or other in self.tried:
            return None
        return _step(dialect, {"demand": demand}, frozenset({"tool_choice"}))

    def _without_tool_choice(self, dialect: Dialect) -> Step | None:
        """The choice that servers make without being told is auto. None is as good as no tools."""
        choice = self.request.tool_choice
        if choice is None or (choice.mode not in ("auto", "none") and not self.drops_settings):
            return None
        return _step(dialect, {"tool_choice": False}, frozenset({"tool_choice"}))

    def _without(self, setting: str, dialect: Dialect, payload: dict[str, Any], text: str) -> Step | None:
        if not self.drops_settings:
            return None
        lesson = None
        is_about_value = _VALUE_REFUSED.search(text) is not None or _quotes(text, payload[setting])
        if _FIELD_REFUSED.search(text) and not is_about_value:
            others = _mentioned(text, payload) - {setting}
            if not any(names(text, name) for name in payload if name in SETTINGS and name != setting):
                lesson = Lesson({"left_out": frozenset({setting})}, others)
        return Step(replace(dialect, left_out=dialect.left_out | {setting}), lesson)

    def _blind(self, dialect: Dialect, payload: dict[str, Any], error: SpcsError, text: str) -> Step | None:
        """A form that is easier on the server, where it does not say what it refuses: one or two tries."""
        features = features_of(payload)
        if self.blind_tries >= _BLIND_TRIES or not self.lessons.may_try_blindly(features, error.status):
            return None
        if refused_setting(payload, text) is not None or refuses_format(payload, text):
            return None
        changes = self._easier(dialect, payload, error, text)
        if not changes:
            return None
        self.blind_tries += 1
        self.blind_changes = {**self.blind_changes, **changes}
        self.blind = features, error.status
        return Step(replace(dialect, **changes))

    def _easier(
        self, dialect: Dialect, payload: dict[str, Any], error: SpcsError, text: str
    ) -> dict[str, Any]:
        """What the request holds that servers are known to stumble over."""
        features = features_of(payload)
        is_refusal = isinstance(error, BadRequest)
        is_template = _ABOUT_TEMPLATE.search(text) is not None
        is_unproven = not self.lessons.has_streamed(features)
        changes: dict[str, Any] = {}
        if dialect.null_content and has_null_content(payload):
            if is_refusal or is_template or is_unproven or _ABOUT_NULL.search(text) is not None:
                changes["null_content"] = False
        elif (
            dialect.asks_for_stream and is_unproven and not is_template and (is_refusal or "tools" in payload)
        ):
            changes["whole"] = True
        elif (
            _has_foreign_roles(payload)
            and not dialect.joins_turns
            and (is_template or (is_refusal and _SAYS_NOTHING.fullmatch(text) is not None))
        ):
            changes.update(joins_turns=True, folds_system=True)
            if "whole" in self.blind_changes:
                changes["whole"] = False  # which was not it
        if self._asks_for_strict_tool(dialect) and (changes or is_refusal):
            changes["strict_tools"] = False
        return changes


def may_be_a_refusal(error: SpcsError) -> bool:
    """Whether another form of the request may help, by the kind of the error and its status."""
    if isinstance(error, (ModelError, NotFound, RequestTooLarge, ServiceBusy, ServiceDown)):
        return False
    return error.place == "service" and error.status not in (401, 402, 403, 404, 405, 413)


def is_of_other_kind(error: SpcsError) -> bool:
    """Whether a server says that it does not take this kind of query at all, in words that are not the query's."""
    return says_other_kind(error.quotation)


def reason_of(error: SpcsError) -> str:
    """What the server says, as far as it is looked through."""
    return error.server_text[:_LONGEST_REASON]


def names(text: str, name: str) -> bool:
    """Whether a text speaks of a JSON field. `stop` and `seed` are words, too: they count in quotes only."""
    words = _IN_WORDS.get(name)
    if words is not None and words.search(text):
        return True
    if name in ("stop", "seed"):
        return re.search(rf"['\"`.]{name}['\"`]|: {name}$|\b{name}:|\.{name}\b|\[{name}\]", text) is not None
    return re.search(rf"(?<![A-Za-z_]){name}(?![A-Za-z_])", text) is not None


def _quotes(text: str, value: Any) -> bool:
    """Whether a text has the number that was sent."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    written = {str(value), f"{value:g}", f"{value:.1f}"}
    return any(re.search(rf"(?<![\w.]){re.escape(each)}(?![\w]|\.\d)", text) for each in written)


def refused_setting(payload: Mapping[str, Any], text: str) -> str | None:
    """The sampling field of `payload` that a text names, if it does."""
    setting = next((name for name in SETTINGS if name in payload and names(text, name)), None)
    if setting == "logprobs" and _quotes(text, payload.get("top_logprobs")):
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


def _named(keywords: frozenset[str], text: str) -> frozenset[str]:
    """The keywords that a text names."""
    return frozenset(
        keyword
        for keyword in keywords
        if re.search(rf"(?<![A-Za-z_]){re.escape(keyword)}(?![A-Za-z_])", text, _I)
    )


def has_null_content(payload: Mapping[str, Any]) -> bool:
    """Whether a message in `payload` has null for its content."""
    return any(message["content"] is None for message in payload["messages"])


def _has_images_of_others(payload: Mapping[str, Any]) -> bool:
    return any(
        message["role"] != "user" and isinstance(message["content"], list) for message in payload["messages"]
    )


def _has_detail(payload: Mapping[str, Any]) -> bool:
    contents = [message["content"] for message in payload["messages"] if isinstance(message["content"], list)]
    return any("detail" in (part.get("image_url") or ()) for content in contents for part in content)


def _has_calls(payload: Mapping[str, Any]) -> bool:
    return any(message.get("tool_calls") for message in payload["messages"])


def _has_several_calls(payload: Mapping[str, Any]) -> bool:
    return any(len(message.get("tool_calls", ())) > 1 for message in payload["messages"])


def _has_results(payload: Mapping[str, Any]) -> bool:
    return any(message["role"] == "tool" for message in payload["messages"])


def _has_assistant(payload: Mapping[str, Any]) -> bool:
    return any(message["role"] == "assistant" for message in payload["messages"])


def _has_foreign_roles(payload: Mapping[str, Any]) -> bool:
    """Whether there is what templates refuse: a system message, or two turns of one role in a row."""
    roles = [message["role"] for message in payload["messages"]]
    return "system" in roles or any(one == other == "user" for one, other in zip(roles, roles[1:]))


def _other_roles(dialect: Dialect, payload: Mapping[str, Any], text: str) -> Step | None:
    if not _ABOUT_ROLES.search(text) or not _has_foreign_roles(payload):
        return None
    has_system = any(message["role"] == "system" for message in payload["messages"])
    changes: dict[str, Any] = {}
    if not dialect.joins_turns:
        changes["joins_turns"] = True
    if has_system and not dialect.folds_system:
        changes["folds_system"] = True
    return _step(dialect, changes, _mentioned(text, payload) & {"images"}) if changes else None


def _mentioned(text: str, payload: Mapping[str, Any]) -> frozenset[str]:
    """The features of a request that a text speaks of."""
    present = features_of(dict(payload))
    return frozenset(name for name, words in _FEATURE_WORDS.items() if name in present and words.search(text))


def _with_another_format(dialect: Dialect, json_format: JsonFormat, text: str) -> Step | None:
    schema = json_format.schema
    if dialect.schema_form != "value" and re.search(
        r"missing field .?value|unknown variant .?json_(schema|object)|expected .{0,20}\bregex\b", text
    ):
        return _with_form(dialect, "value")
    if schema is None and not dialect.schema_of_any and "json_schema" in text:
        return _step(dialect, {"schema_of_any": True}, frozenset({"response_format"}))
    if schema is not None:
        if dialect.schema_form == "json_schema" and "json_object" in text and not json_format.strict:
            return _with_form(dialect, "json_object")
        simpler = _with_simpler_schema(dialect, schema, text) if json_format.compatible is not False else None
        if simpler is not None:
            return Step(simpler)
    if json_format.if_supported:
        return Step(replace(dialect, without_format=True))
    return None


def _with_simpler_tools(dialect: Dialect, request: ChatRequest, text: str) -> Dialect | None:
    """As with the schema of an answer. A tool checks its arguments itself, unless it is to be strict."""
    schemas = [tool.parameters for tool in request.tools if tool.parameters and not tool.strict]
    limits = frozenset().union(*map(limits_in, schemas)) - dialect.tools_without
    named = _named(limits, text)
    if named:
        return replace(dialect, tools_without=dialect.tools_without | named)
    tells_kinds = dialect.tools_tell_kinds or all(with_kinds_told(schema) == schema for schema in schemas)
    if not limits and tells_kinds:
        return None
    return replace(dialect, tools_without=dialect.tools_without | limits, tools_tell_kinds=True)


def _with_simpler_schema(dialect: Dialect, schema: Mapping[str, Any], text: str) -> Dialect | None:
    """Without what the server names; without all limits on values where it names nothing."""
    limits = limits_in(schema) - dialect.schema_without
    named = _named(limits, text)
    if named:
        return replace(dialect, schema_without=dialect.schema_without | named)
    if _STRICT_MODE.search(text) and not dialect.schema_closed and closed(schema) != schema:
        return replace(dialect, schema_closed=True)
    if limits:
        return replace(dialect, schema_without=dialect.schema_without | limits)
    return None


def _with_form(dialect: Dialect, form: SchemaForm) -> Step:
    return _step(dialect, {"schema_form": form}, frozenset({"response_format"}))


def _step(
    dialect: Dialect,
    changes: dict[str, Any],
    features: frozenset[str] = frozenset(),
) -> Step:
    return Step(replace(dialect, **changes), Lesson(changes, features))
