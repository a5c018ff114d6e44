"""Conversations as the one text that a model continues, by the Jinja templates in `resource/chat_templates/`.

Each template says by what it sets how its format takes a conversation; one from the form may do so too:

    system_turn              "own" (default): in separate turns, where they stand; "first": joined before all
                             others; "in user turn": joined before the first user's text
    user_turn_first          user and assistant alternate, the user first
    control_tokens           what a message's text must not hold as it stands
    stop_strings             where an answer ends
    bos_token, eos_token     what begins the text and ends an answer
    lone_user_message_as_is  a single user message is sent without the template
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spcs_llm.chat_templates.control_tokens import ControlTokens, likely_control_tokens, structure_tokens
from spcs_llm.chat_templates.jinja_sandbox import compiled, rendered, top_level_variables
from spcs_llm.chat_templates.template_error import TemplateError
from spcs_llm.domain import Message

__all__ = ["ChatTemplate", "TemplateError"]

_FOLDER = Path(__file__).parents[3] / "resource" / "chat_templates"
_CUSTOM = "TEXT_GENERATION_CUSTOM"
_PREFIX = "TEXT_GENERATION_"
_PROBE = "qxzprobe"  # a word that no template holds; a digit behind it tells one message from another
_PROBE_ROLES = (
    ("system", "user", "assistant", "user"),
    ("user", "assistant", "user"),
    ("user",),
)
_CONTINUATION_MARK = "\uf8ff"  # of Unicode's private area
_PLACEHOLDER = "…"
# Templates of models leave these two to the tokenizer. What in a template tells whose it is, bos_token, eos_token:
_BOS_AND_EOS = (
    ("<|start_header_id|>", "<|begin_of_text|>", "<|eot_id|>"),
    ("<start_of_turn>", "<bos>", "<eos>"),
    ("<|im_start|>", "", "<|im_end|>"),
    ("<|end|>", "<s>", "<|endoftext|>"),
    ("[INST]", "<s>", "</s>"),
    ("<|user|>", "<s>", "</s>"),
)


class ChatTemplate:
    """One format of conversations. Thread-safe.

    Attributes:
        name: The name of the format, for errors.
        stop_strings: The texts at which an answer ends.
    """

    def __init__(self, name: str, source: str, *, trusted: bool = False) -> None:
        """Compiles the template, and tries it on conversations of a few messages.

        Args:
            name: The name of the format, for errors.
            source: The Jinja template.
            trusted: Whether it comes with the plugin.

        Raises:
            TemplateError: If the source does not compile, fails or loses what the user says.
        """
        if not source.strip():
            raise TemplateError("it is empty")
        self.name = name
        self._template = compiled(source, trusted=trusted)
        bos, eos = next((ends for sign, *ends in _BOS_AND_EOS if sign in source), ("", ""))
        self._variables = {"bos_token": bos, "eos_token": eos, "tools": None, "documents": None}
        probe = self._with(_probe(("user",)), True)
        if _PROBE not in rendered(self._template, probe).lower():
            raise TemplateError("it leaves out the user's message")
        says = top_level_variables(self._template, probe)
        self._bos = str(getattr(says, "bos_token", bos))
        self.stop_strings: tuple[str, ...] = tuple(getattr(says, "stop_strings", ()))
        self._system_turn = getattr(says, "system_turn", "own")
        self._user_turn_first = bool(getattr(says, "user_turn_first", False))
        self._alone_as_is = bool(getattr(says, "lone_user_message_as_is", False))
        self._control_tokens = ControlTokens(
            getattr(says, "control_tokens", None)
            or {bos, eos, *likely_control_tokens(source), *self._structure()}
        )

    @classmethod
    def for_mode(cls, mode: str, custom: str | None = None) -> ChatTemplate:
        """Finds the template of a `modelHandlingMode` in the form (llm.json).

        Args:
            mode: The mode: `TEXT_GENERATION_CUSTOM`, or `TEXT_GENERATION_` and the name of a file, in capitals, in
                `resource/chat_templates/`.
            custom: The Jinja template in the form, for the custom mode.

        Returns:
            The template. Those that were used before are kept.

        Raises:
            TemplateError: If there is no such template, or it cannot be used.
        """
        if mode == _CUSTOM:
            return _of_form(custom or "")
        return _shipped(mode[len(_PREFIX) :].lower())

    def render(self, messages: Sequence[Message], *, bos: bool = True) -> str:
        """Writes the text that the model is to continue: a new answer, or the one that comes last.

        Args:
            messages: The conversation.
            bos: Whether the text begins with the format's begin-of-text token. False is for a server that adds one
                itself.

        Returns:
            The text. Control tokens in messages are made plain text in it.

        Raises:
            TemplateError: If the template refuses the conversation or fails. The error quotes none of its texts.
        """
        if not messages:
            raise TemplateError("the conversation has no messages")
        if self._alone_as_is and len(messages) == 1 and messages[0].role == "user":
            return messages[0].text
        turns = [{"role": message.role, "content": message.text} for message in messages]
        for turn in turns:
            turn["content"] = self._control_tokens.neutralised(turn["content"])
        turns = self._arranged(turns)
        try:
            text = self._filled(turns)
        except TemplateError:
            raise self._refusal(turns) from None
        return text[len(self._bos) :] if not bos and text.startswith(self._bos) else text

    def _structure(self) -> set[str]:
        """What the template writes around messages, seen in conversations of each kind that it takes."""
        found: set[str] = set()
        for roles in _PROBE_ROLES:
            with contextlib.suppress(TemplateError):
                text = rendered(self._template, self._with(_probe(roles), True))
                found |= structure_tokens(text, _PROBE)
        return found

    def _filled(self, turns: list[dict[str, str]]) -> str:
        last = turns[-1]
        if last["role"] != "assistant":
            return rendered(self._template, self._with(turns, True))
        if not last["content"].strip():
            return rendered(self._template, self._with(turns[:-1], True))
        marked = {**last, "content": last["content"] + _CONTINUATION_MARK}
        text = rendered(self._template, self._with([*turns[:-1], marked], False))
        return text[: text.rindex(_CONTINUATION_MARK)] if _CONTINUATION_MARK in text else text

    def _with(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> dict[str, Any]:
        return {**self._variables, "messages": turns, "add_generation_prompt": add_generation_prompt}

    def _refusal(self, turns: list[dict[str, str]]) -> TemplateError:
        """What the template says to a conversation of this form, but without its texts, which it might quote."""
        try:
            self._filled([{**turn, "content": _PLACEHOLDER} for turn in turns])
        except TemplateError as refusal:
            return refusal
        return TemplateError("it fails on this conversation")

    def _arranged(self, turns: list[dict[str, str]]) -> list[dict[str, str]]:
        if self._system_turn != "own":
            turns = _with_system_first(turns, as_user=self._system_turn == "in user turn")
        if self._user_turn_first:
            turns = _alternating(turns)
        return turns


def _probe(roles: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": f"{_PROBE}{at}"} for at, role in enumerate(roles)]


@functools.cache
def _shipped(name: str) -> ChatTemplate:
    try:
        source = (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    except OSError:
        raise TemplateError(f"the plugin has no chat template named {name}") from None
    return ChatTemplate(name, source, trusted=True)


@functools.lru_cache(maxsize=32)
def _of_form(source: str) -> ChatTemplate:
    return ChatTemplate("of the form", source)


def _with_system_first(turns: list[dict[str, str]], *, as_user: bool) -> list[dict[str, str]]:
    system = [turn["content"] for turn in turns if turn["role"] == "system" and turn["content"].strip()]
    others = [turn for turn in turns if turn["role"] != "system"]
    if not system:
        return others
    role = "user" if as_user or not others else "system"
    return [{"role": role, "content": "\n\n".join(system)}, *others]


def _alternating(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """Neighbours of one role are joined; where the assistant speaks first, an empty user turn goes before it."""
    joined: list[dict[str, str]] = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = {**turn, "content": f"{joined[-1]['content']}\n\n{turn['content']}"}
        elif turn["role"] == "assistant" and (not joined or joined[-1]["role"] == "system"):
            joined += [{"role": "user", "content": ""}, turn]
        else:
            joined.append(turn)
    return joined
