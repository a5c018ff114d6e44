"""Calls in the model's own words, within an answer's text: what a server's parser leaves there."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, Final

from spcs_llm.lenient_json import is_costly
from spcs_llm.protocols.openai.text import begins_at

# Of the token in the tags of DeepSeek V3.2 and V4, as tokenizers and gateways write it.
_BARS: Final = ("\uff5c", "\uff5c\uff5c", "|", "||", "\u2016")
_ENDS: Final = {
    "<tool_call>": "</tool_call>",  # Qwen, Hermes, GLM
    "<tool_calls>": "</tool_calls>",  # Hunyuan
    "<function=": "</function>",  # Qwen Coder, where it forgets the tag around it
    "<function_call>": "</function_call>",
    "<function_calls>": "</function_calls>",  # OLMo
    "<tool_use>": "</tool_use>",
    "<TOOLCALL>": "</TOOLCALL>",  # Nemotron
    "<minimax:tool_call>": "</minimax:tool_call>",
    "<seed:tool_call>": "</seed:tool_call>",
    "<|tool_call>": "<tool_call|>",  # Gemma 4
    "<|tool_call|>": "<|/tool_call|>",  # Phi-4; Granite writes no end
    "<|tool_call_start|>": "<|tool_call_end|>",  # LFM2
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",  # Kimi K2
    "<|tool_call_begin|>": "<|tool_call_end|>",  # Kimi K2, where it forgets the section
    "<|python_tag|>": "<|eom_id|>",  # Llama 3
    "<|python_start|>": "<|python_end|>",  # Llama 4
    "<longcat_tool_call>": "</longcat_tool_call>",
    "<start_function_call>": "<end_function_call>",  # FunctionGemma
    "<|action_start|>": "<|action_end|>",  # InternLM
    "[TOOL_CALLS]": "</s>",  # Mistral, at the end of a turn
    "<|START_ACTION|>": "<|END_ACTION|>",  # Command A
    "<\uff5ctool\u2581calls\u2581begin\uff5c>": "<\uff5ctool\u2581calls\u2581end\uff5c>",  # DeepSeek
    "<\uff5ctool\u2581call\u2581begin\uff5c>": "<\uff5ctool\u2581call\u2581end\uff5c>",  # where it forgets those
    **{
        f"<{bars}DSML{bars}{calls}>": f"</{bars}DSML{bars}{calls}>"
        for bars in _BARS
        for calls in ("function_calls", "tool_calls")
    },
}
# The closing tags around calls whose opening ones are not there.
_STRAY: Final = re.compile(r"\s{0,8}(?:</tool_call>|<\|tool_calls_section_end\|>)")
# A text that begins as a call does which is nothing but JSON: Llama's, and others' without their tags.
_BARE: Final = re.compile(r'\s{0,64}(?:\[\s{0,8})?\{\s{0,8}"(?:name|function|type)"\s{0,8}:')
_MAY_BE_BARE: Final = re.compile(r'\s{0,64}(?:(?:\[\s{0,8})?\{\s{0,8}(?:"[a-z]{0,8}"?\s{0,8})?|\[\s{0,8})?')
_FUNCTOOLS: Final = "functools"  # Phi-4 mini writes this word before the JSON
_MOST_BLANKS: Final = 64
# Kimi K2, which may forget the tool's name before it
_BEFORE_ARGUMENTS: Final = "<|tool_call_argument_begin|>"
OPENING: Final = re.compile("|".join(map(re.escape, _ENDS)))


class CallMarkup:
    """Holds back text from where a call may begin: at a tag, or at the beginning of a text that begins as JSON does.

    The call is removed from the text if the server also returns it as a call.

    Args:
        names: The names of the tools that the model may call.

    Attributes:
        names: The names of the tools.
        has_call: Whether the text has a call of one of the tools that did not come as a call. Known after `flush`.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.names = names
        self._lists = tuple(f"[{name}(" for name in names)  # of Python, as Llama 4 writes calls
        self._begun = ""
        self._held: list[str] = []
        self._is_start = True
        self.has_call = False

    @property
    def is_waiting(self) -> bool:
        return bool(self._begun or self._held or self._is_start)

    def part(self, piece: str) -> str:
        """Takes in a piece of the answer.

        Args:
            piece: What is new.

        Returns:
            What stands before any call; the rest waits for the answer's end.
        """
        if self._held:
            self._held.append(piece)
            return ""
        text = self._begun + piece
        is_bare = self._begins_bare_call(text) if self._is_start else False
        if is_bare is None:
            self._begun = text
            return ""
        if is_bare:
            self._held.append(text)
            self._begun = ""
            return ""
        self._is_start = False
        found = OPENING.search(text)
        at = begins_at(text, _ENDS) if found is None else found.start()
        self._begun = text[at:] if found is None else ""
        if found is not None:
            self._held.append(text[at:])
        return text[:at]

    def flush(self, *, is_called: bool) -> str:
        """Ends the answer.

        Args:
            is_called: Whether calls came as calls.

        Returns:
            What waited and is text.
        """
        text = self._begun + "".join(self._held)
        is_bare = self._is_start and self._is_bare_call(text)
        self._begun, self._held, self._is_start = "", [], False
        if is_bare:
            self.has_call = not is_called
            return "" if is_called else text
        kept: list[str] = []
        at = 0
        while (found := OPENING.search(text, at)) is not None:
            end = text.find(_ENDS[found[0]], found.end())
            until = len(text) if end < 0 else end
            past = until if end < 0 else end + len(_ENDS[found[0]])
            block = text[found.end() : until]
            is_call = _is_call(block, self.names)
            kept.append(text[at : found.start()])
            if is_call and not is_called:
                self.has_call = True
            if not (is_called and (is_call or not block.strip())):
                kept.append(text[found.start() : past])
            else:
                stray = _STRAY.match(text, past)
                past = past if stray is None else stray.end()
            at = past
        kept.append(text[at:])
        left = "".join(kept)
        return left if left.strip() or left == text else ""

    def _begins_bare_call(self, text: str) -> bool | None:
        """Whether a text begins as one does that is nothing but calls; None while that is not certain."""
        if _MAY_BE_BARE.fullmatch(text):
            return None
        if _BARE.match(text):
            return True
        head = text.lstrip()
        if not head or len(text) - len(head) > _MOST_BLANKS:
            return False
        beginnings = (f"{_FUNCTOOLS}[", *self._lists)
        may_become = any(beginning.startswith(head) for beginning in beginnings)
        return True if head.startswith(beginnings) else None if may_become else False

    def _is_bare_call(self, text: str) -> bool:
        """Whether a text is nothing but calls of the tools, as JSON or as Python; or only the beginning of JSON."""
        text = text.strip()
        if text in ("{", '{"', "["):
            return True
        if text.startswith(self._lists):
            return text.endswith(")]")
        if is_costly(text):
            return False
        try:
            calls = json.loads(text.removeprefix(_FUNCTOOLS))
        except (ValueError, RecursionError):
            return False
        calls = calls if isinstance(calls, list) else [calls]
        return bool(calls) and all(isinstance(call, dict) and self._calls_tool(call) for call in calls)

    def _calls_tool(self, call: dict[str, Any]) -> bool:
        function = call.get("function")
        holder = function if isinstance(function, dict) else call
        name = function if isinstance(function, str) else holder.get("name")
        has_arguments = any(isinstance(holder.get(key), (dict, str)) for key in ("arguments", "parameters"))
        return has_arguments and name in self.names


def holds_call(thoughts: str, names: Collection[str]) -> bool:
    """Whether a model calls one of the tools within its thoughts, and does not only think about a call."""
    at = 0
    while (found := OPENING.search(thoughts, at)) is not None:
        end = thoughts.find(_ENDS[found[0]], found.end())
        at = len(thoughts) if end < 0 else end
        block = thoughts[found.end() : at]
        if _is_call(block, names) and (end >= 0 or "{" in block or "<" in block):
            return True
    return False


def _is_call(block: str, names: Collection[str]) -> bool:
    return _BEFORE_ARGUMENTS in block or any(name in block for name in names)
