"""Conversations as the one text that a model continues, by the Jinja templates in `resource/chat_templates/`.

Templates follow Hugging Face's conventions (`messages`, `add_generation_prompt`, `bos_token`, `eos_token`,
`raise_exception`) and run in Jinja's sandbox. Those that the plugin ships also say, by what they set, how their format
takes system texts and which texts are structure:

    system_turn             "own" (default), "first": only as the first message, or "in user turn"
    user_turn_first         turns alternate and begin with the user's
    control_tokens          what must not come from a message's text
    stop_strings            where an answer ends
    lone_user_message_as_is a single user message is sent without the template
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from spcs_llm.domain import Message

_FOLDER = Path(__file__).parents[2] / "resource" / "chat_templates"
_CUSTOM = "TEXT_GENERATION_CUSTOM"
_PREFIX = "TEXT_GENERATION_"
# Between the first character of a control token and the rest: to a reader it is not there, to a tokenizer it is.
_SEPARATOR = "\N{ZERO WIDTH SPACE}"


class TemplateError(ValueError):
    """A template that does not compile, or messages that it refuses. The text quotes no message."""


class ChatTemplate:
    """One format of conversations. Thread-safe."""

    def __init__(self, name: str, source: str) -> None:
        """Raises TemplateError, with the line, for a source that is no template."""
        self.name = name
        try:
            self._template = _environment().from_string(source)
            facts: Any = self._template.make_module({"messages": [], "add_generation_prompt": False})
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"{error.message} (line {error.lineno})") from None
        except Exception:  # noqa: BLE001 - a template of one's own need not render without messages
            facts = None
        self._system_turn = getattr(facts, "system_turn", "own")
        self._user_turn_first = bool(getattr(facts, "user_turn_first", False))
        self._alone_as_is = bool(getattr(facts, "lone_user_message_as_is", False))
        self.stop_strings: tuple[str, ...] = tuple(getattr(facts, "stop_strings", ()))
        self._control_tokens = tuple(getattr(facts, "control_tokens", ()))
        self._structure = _pattern(self._control_tokens)

    @classmethod
    def for_mode(cls, mode: str, custom: str | None = None) -> ChatTemplate:
        """The template of a `modelHandlingMode`. Raises TemplateError."""
        if mode == _CUSTOM:
            return cls("of the form", custom or "")
        return _shipped(mode[len(_PREFIX) :].lower())

    def render(self, messages: Sequence[Message]) -> str:
        """The text that the model is to continue. Raises TemplateError."""
        if self._alone_as_is and len(messages) == 1 and messages[0].role == "user":
            return messages[0].text
        turns = self._turns(messages)
        try:
            return self._template.render(
                messages=turns,
                add_generation_prompt=not turns or turns[-1]["role"] != "assistant",
                bos_token="",
                eos_token="",
            )
        except TemplateError:
            raise
        except jinja2.UndefinedError as error:
            raise TemplateError(f"it uses something that is not there: {error.message}") from None
        except Exception as error:  # noqa: BLE001 - a template may do whatever Jinja's sandbox allows
            raise TemplateError(f"it fails ({type(error).__name__})") from None

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        turns = [{"role": message.role, "content": self._neutral(message.text)} for message in messages]
        if self._system_turn != "own":
            turns = self._with_system_first(turns)
        if self._user_turn_first:
            turns = _alternating(turns)
        return turns

    def _with_system_first(self, turns: list[dict[str, str]]) -> list[dict[str, str]]:
        system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
        others = [turn for turn in turns if turn["role"] != "system"]
        if not system:
            return others
        if self._system_turn == "first":
            return [{"role": "system", "content": system}, *others]
        if others and others[0]["role"] == "user":
            return [{"role": "user", "content": f"{system}\n\n{others[0]['content']}"}, *others[1:]]
        return [{"role": "user", "content": system}, *others]

    def _neutral(self, text: str) -> str:
        """`text` with its control tokens made plain text."""
        if self._structure is None:
            return text
        padded = f"\n{text}"  # a text's first line begins after a line end of the format
        neutral = self._structure.sub(
            lambda token: token.group()[:1] + _SEPARATOR + token.group()[1:], padded
        )
        return neutral[1:]


@functools.cache
def _shipped(name: str) -> ChatTemplate:
    return ChatTemplate(name, (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))


def _pattern(tokens: Sequence[str]) -> re.Pattern[str] | None:
    if not tokens:
        return None
    longest_first = sorted(tokens, key=len, reverse=True)
    # Overlapping tokens too: only the first character is consumed, the rest is looked at.
    return re.compile("|".join(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in longest_first))


def _alternating(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """User and assistant in turns, the user first: neighbours of one role are joined."""
    joined: list[dict[str, str]] = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = {"role": turn["role"], "content": f"{joined[-1]['content']}\n\n{turn['content']}"}
        else:
            joined.append(turn)
    first = next((turn["role"] for turn in joined if turn["role"] != "system"), "user")
    if first == "assistant":
        raise TemplateError(
            "the conversation begins with an answer of the assistant, which this format cannot have"
        )
    return joined


@functools.lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _raise(message: object) -> str:
    raise TemplateError(str(message)[:200])
