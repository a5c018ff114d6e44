"""Another way to put a chat that a server refused, by what the request holds and what the server says of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from spcs_llm.domain import ChatRequest, JsonFormat
from spcs_llm.errors import (
    BadRequest,
    NetworkError,
    SpcsError,
)
from spcs_llm.protocols.openai import refusal_words as words
from spcs_llm.protocols.openai.dialect import SETTINGS, Demand, Dialect, SchemaForm, features_of
from spcs_llm.protocols.openai.json_schema import closed, limits_in, with_kinds_told, with_one_type
from spcs_llm.protocols.openai.lessons import Lesson, Lessons
from spcs_llm.protocols.openai.message import EndlessBlanks
from spcs_llm.protocols.openai.request import has_other_names
from spcs_llm.protocols.openai.useless_streams import EmptyStream, UselessStream
from spcs_llm.server_text.refusal_hints import (
    no_other_form_helps,
    says_output_is_unreadable,
)

_BLIND_TRIES: Final = 2
_NEUTRAL: Final = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}


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
        if dialect.object_arguments and self.before_objects:
            return self.before_objects
        if dialect.whole and self.within_stream and words.says_nothing(error):
            return self.within_stream  # which says what failed
        return error

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
        if isinstance(error, (EmptyStream, UselessStream)):
            return Step(replace(dialect, whole=True)) if dialect.asks_for_stream else None
        if not words.may_be_a_refusal(error):
            return None
        # Other code reads whole answers, and chance helps, too.
        if says_output_is_unreadable(words.reason_of(error)):
            return Step(replace(dialect, whole=True)) if dialect.asks_for_stream else None
        text = words.reason_of(error)
        # Looked at before the length of the texts, since the id of a tool call can be too long as well.
        if _has_calls(payload) and not dialect.short_ids and words.ABOUT_IDS.search(text):
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
        not_possible = words.NOT_POSSIBLE.search(text) is not None
        if _has_calls(payload) and not dialect.object_arguments and words.ABOUT_MAPPING.search(text):
            self.before_objects = error
            return _step(dialect, {"object_arguments": True}, frozenset({"calls"}))
        if not dialect.single_calls and _has_several_calls(payload) and words.ABOUT_ONE_CALL.search(text):
            return _step(dialect, {"single_calls": True}, frozenset({"calls"}))
        if _has_calls(payload) and "tools" not in payload and words.ABOUT_ABSENT_TOOLS.search(text):
            return _step(dialect, {"offers_called": True}, frozenset({"calls"}))
        if _has_assistant(payload) and words.names(text, "reasoning_content"):
            is_missing = words.ABOUT_REASONING.search(text) is not None
            if is_missing != dialect.empty_reasoning:  # or another model by now, which takes none
                calls = frozenset({"calls"}) if _has_calls(payload) else frozenset()
                return _step(dialect, {"empty_reasoning": is_missing}, calls)
        is_about_strict = self._asks_for_strict_tool(dialect) and words.ABOUT_STRICT.search(text) is not None
        if words.refuses_tool_schema(payload, text) and not is_about_strict:
            if words.ABOUT_LISTS_OF_TYPES.search(text) and _has_lists_of_types(self.request, dialect):
                return _step(dialect, {"tools_of_one_type": True}, frozenset({"tools"}))
            simpler = _with_simpler_tools(dialect, self.request, text)
            if simpler is not None:
                return Step(simpler)
        if not (refuses or not_possible or words.INVALID in text or words.ABOUT_ROLES.search(text)):
            return None  # a failure, and no refusal
        if dialect.object_arguments and self.before_objects is None and re.search(r"\barguments\b", text):
            return _step(dialect, {"object_arguments": False}, frozenset({"calls"}))  # another server by now
        if _has_results(payload) and not dialect.named_results and words.ABOUT_NAMES_OF_RESULTS.search(text):
            return _step(dialect, {"named_results": True}, frozenset({"calls"}))
        if not dialect.plain_names and words.ABOUT_NAMES.search(text) and has_other_names(self.request):
            tools = frozenset({"tools"}) if "tools" in payload else frozenset({"calls"})
            return _step(dialect, {"plain_names": True}, tools)
        if "stream_options" in payload and words.names(text, "stream_options"):
            return _step(dialect, {"stream_options": False})
        if "max_tokens" in payload and words.names(text, "max_completion_tokens"):
            return _step(dialect, {"token_limit": "max_completion_tokens"})
        if "max_completion_tokens" in payload and words.names(text, "max_completion_tokens") and not_possible:
            return _step(dialect, {"token_limit": "max_tokens"})  # another server, too
        if is_about_strict:
            return _step(dialect, {"strict_tools": False}, frozenset({"tool_choice"}))
        if "tool_choice" in payload and (words.names(text, "tool_choice") or "named tool" in text):
            return self._with_another_demand(dialect, text) or self._without_tool_choice(dialect)
        if _has_detail(payload) and (words.names(text, "detail") or "content part" in text):
            return _step(dialect, {"image_detail": False}, frozenset({"images"}))
        if _has_images_of_others(payload) and words.ABOUT_IMAGES_OF_OTHERS.search(text):
            return _step(dialect, {"images_of_users": True}, frozenset({"images"}))
        roles = _other_roles(dialect, payload, text)
        if roles is not None:
            return roles
        if dialect.asks_for_stream and words.ABOUT_STREAM.search(text):
            if (refuses or not_possible) and not words.PASSING.search(text):
                return _step(dialect, {"whole": True}, words.mentioned(text, payload))
            return Step(replace(dialect, whole=True)) if refuses else None
        if dialect.null_content and has_null_content(payload) and re.search(r"\bcontent\b", text):
            return _step(dialect, {"null_content": False})
        if self.request.json_format is not None and words.refuses_format(payload, text):
            return _with_another_format(dialect, self.request.json_format, text)
        setting = words.refused_setting(payload, text)
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
        if choice is None or not words.ABOUT_KINDS_OF_CHOICE.search(text):
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
        if not self.drops_settings and not _changes_nothing(setting, payload[setting]):
            return None
        lesson = None
        is_about_value = words.VALUE_REFUSED.search(text) is not None or words.quotes(text, payload[setting])
        # Another query may have a value of this setting that is not neutral.
        if self.drops_settings and words.FIELD_REFUSED.search(text) and not is_about_value:
            others = words.mentioned(text, payload) - {setting}
            if not any(words.names(text, name) for name in payload if name in SETTINGS and name != setting):
                lesson = Lesson({"left_out": frozenset({setting})}, others)
        return Step(replace(dialect, left_out=dialect.left_out | {setting}), lesson)

    def _blind(self, dialect: Dialect, payload: dict[str, Any], error: SpcsError, text: str) -> Step | None:
        """A form that is easier on the server, where it does not say what it refuses: one or two tries."""
        features = features_of(payload)
        if self.blind_tries >= _BLIND_TRIES or not self.lessons.may_try_blindly(features, error.status):
            return None
        if words.refused_setting(payload, text) is not None or words.refuses_format(payload, text):
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
        is_template = words.ABOUT_TEMPLATE.search(text) is not None
        is_unproven = not self.lessons.has_streamed(features)
        changes: dict[str, Any] = {}
        if dialect.null_content and has_null_content(payload):
            if is_refusal or is_template or is_unproven or words.ABOUT_NULL.search(text) is not None:
                changes["null_content"] = False
        elif (
            dialect.asks_for_stream and is_unproven and not is_template and (is_refusal or "tools" in payload)
        ):
            changes["whole"] = True
        elif (
            _has_foreign_roles(payload)
            and not dialect.joins_turns
            and (is_template or (is_refusal and words.SAYS_NOTHING.fullmatch(text) is not None))
        ):
            changes.update(joins_turns=True, folds_system=True)
            if "whole" in self.blind_changes:
                changes["whole"] = False  # which was not it
        if self._asks_for_strict_tool(dialect) and (changes or is_refusal):
            changes["strict_tools"] = False
        return changes


def _changes_nothing(setting: str, value: Any) -> bool:
    """Whether a sampling setting is what servers do without it, which some refuse to be told (TGI: a `top_p` of 1)."""
    return setting in _NEUTRAL and value == _NEUTRAL[setting]


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
    if not words.ABOUT_ROLES.search(text) or not _has_foreign_roles(payload):
        return None
    has_system = any(message["role"] == "system" for message in payload["messages"])
    changes: dict[str, Any] = {}
    if not dialect.joins_turns:
        changes["joins_turns"] = True
    is_about_turns_only = "joins_turns" in changes and words.ABOUT_TURNS_ONLY.search(text) is not None
    if has_system and not dialect.folds_system and not is_about_turns_only:
        changes["folds_system"] = True
    return _step(dialect, changes, words.mentioned(text, payload) & {"images"}) if changes else None


def _with_another_format(dialect: Dialect, json_format: JsonFormat, text: str) -> Step | None:
    schema = json_format.schema
    if dialect.schema_form != "value" and re.search(
        r"missing field .?value|unknown variant .?json_(schema|object)|expected .{0,20}\bregex\b", text
    ):
        return _with_form(dialect, "value")
    if schema is None and not dialect.schema_of_any and "json_schema" in text:
        return _step(dialect, {"schema_of_any": True}, frozenset({"response_format"}))
    if schema is not None:
        is_form = "json_object" in text or words.FORM_REFUSED.search(text) is not None
        if dialect.schema_form == "json_schema" and is_form and not json_format.strict:
            return _with_form(dialect, "json_object")
        simpler = _with_simpler_schema(dialect, schema, text) if json_format.compatible is not False else None
        if simpler is not None:
            return Step(simpler)
    if json_format.if_supported:
        return Step(replace(dialect, without_format=True))
    return None


def _has_lists_of_types(request: ChatRequest, dialect: Dialect) -> bool:
    """Whether the schema of a tool that is not strict has a type and null where one type would do."""
    if dialect.tools_of_one_type:
        return False
    schemas = [tool.parameters for tool in request.tools if tool.parameters and not tool.strict]
    return any(with_one_type(schema) != schema for schema in schemas)


def _with_simpler_tools(dialect: Dialect, request: ChatRequest, text: str) -> Dialect | None:
    """As with the schema of an answer. A tool checks its arguments itself, unless it is to be strict."""
    schemas = [tool.parameters for tool in request.tools if tool.parameters and not tool.strict]
    limits = frozenset().union(*map(limits_in, schemas)) - dialect.tools_without
    named = words.named(limits, text)
    if named:
        return replace(dialect, tools_without=dialect.tools_without | named)
    tells_kinds = dialect.tools_tell_kinds or all(with_kinds_told(schema) == schema for schema in schemas)
    if not limits and tells_kinds:
        return None
    return replace(dialect, tools_without=dialect.tools_without | limits, tools_tell_kinds=True)


def _with_simpler_schema(dialect: Dialect, schema: Mapping[str, Any], text: str) -> Dialect | None:
    """Without what the server names; without all limits on values where it names nothing."""
    limits = limits_in(schema) - dialect.schema_without
    named = words.named(limits, text)
    if named:
        return replace(dialect, schema_without=dialect.schema_without | named)
    if words.STRICT_MODE.search(text) and not dialect.schema_closed and closed(schema) != schema:
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
