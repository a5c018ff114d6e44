"""What stands around an answer's text and is none of it: a block of thoughts before it, a fence about JSON."""

from __future__ import annotations

from typing import Final

_ENDS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "[THINK]": "[/THINK]",
    "<mm:think>": "</mm:think>",  # MiniMax M3
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "<|channel>thought": "<channel|>",  # Gemma 4
    "<|channel|>analysis<|message|>": "<|end|>",  # gpt-oss
}
# What stands between such an end and the answer.
_THEN: Final = {"<|end|>": "<|start|>assistant<|channel|>final<|message|>"}
_FENCE: Final = "```"
_LONGEST_LANGUAGE: Final = 20
_LONGEST_WAIT: Final = 1024  # characters; blanks without end must not be looked through again with each piece


class LeadingThoughts:
    """Parts a block of thoughts that begins an answer from the answer.

    Servers with a reasoning parser send reasoning in its own field; without one, `<think>…</think>`, or what the model
    has for it, comes as the beginning of the text. Such a block anywhere else is text. A model whose chat template has
    written `<think>` into the prompt already sends no opening tag, and what it thinks cannot be told from what it says.
    """

    def __init__(self) -> None:
        self._waiting = ""
        self._end: str | None = None
        self._then = ""
        self._strips = False
        self.is_over = False

    def part(self, piece: str) -> tuple[str, str]:
        """Takes in a piece of the answer.

        Args:
            piece: What is new.

        Returns:
            The text and the reasoning in what came, as far as they can be told by now; the rest waits.
        """
        if self.is_over:
            return piece, ""
        if self._strips:
            return self._stripped(piece), ""
        text = self._waiting + piece
        self._waiting = ""
        if self._end is None:
            head = text.lstrip()
            begin = next((begin for begin in _ENDS if head.startswith(begin)), None)
            if begin is None:
                may_begin = any(begin.startswith(head) for begin in _ENDS)  # also when only blanks came yet
                if may_begin and len(text) < _LONGEST_WAIT:
                    self._waiting = text
                    return "", ""
                self.is_over = True
                return text, ""
            self._end = _ENDS[begin]
            text = head[len(begin) :].lstrip("\r\n")
        thoughts, end, rest = text.partition(self._end)
        if not end:
            thoughts, self._waiting = _without_beginning_of(self._end, text)
            return "", thoughts
        self._strips = True
        self._then = _THEN.get(self._end, "")
        return self._stripped(rest), thoughts.rstrip("\r\n")

    def flush(self) -> tuple[str, str]:
        """Ends the answer.

        Returns:
            The text and the reasoning in what still waited.
        """
        rest, self._waiting = self._waiting, ""
        return ("", rest) if self._end is not None and not self._strips else (rest, "")

    def _stripped(self, piece: str) -> str:
        """The blank lines between the block and the text belong to neither."""
        piece = (self._waiting + piece).lstrip()
        self._waiting = ""
        if len(piece) < len(self._then) and self._then.startswith(piece):
            self._waiting = piece
            return ""
        if self._then and piece.startswith(self._then):
            piece, self._then = piece[len(self._then) :].lstrip(), ""
        self.is_over = bool(piece)
        return piece


class JsonFence:
    """Takes the fence of Markdown off an answer that was to be JSON and is nothing but a fenced block."""

    def __init__(self) -> None:
        self._waiting = ""
        self._state = "before"

    def part(self, piece: str) -> str:
        """Takes in a piece of the answer.

        Args:
            piece: What is new.

        Returns:
            What is certainly within the fence, or all when there is none; the rest waits.
        """
        if self._state == "none":
            return piece
        text = self._waiting + piece
        self._waiting = ""
        if self._state == "before":
            head = text.lstrip()
            if not head.startswith(_FENCE):
                if _FENCE.startswith(head) and len(text) < _LONGEST_WAIT:
                    self._waiting = text
                    return ""
                self._state = "none"
                return text
            language, end, rest = head[len(_FENCE) :].partition("\n")
            if not end:
                if len(language) <= _LONGEST_LANGUAGE and len(text) < _LONGEST_WAIT:
                    self._waiting = text
                    return ""
                self._state = "none"
                return text
            if language.strip() and not language.strip().isalnum():  # a fence on one line
                self._state = "none"
                return text
            self._state = "within"
            text = rest
        kept = text.rstrip()
        if kept.endswith(_FENCE):
            kept = kept[: -len(_FENCE)].rstrip()
        else:
            kept = kept.rstrip("`").rstrip()
        if len(text) - len(kept) > _LONGEST_WAIT:
            return text
        self._waiting = text[len(kept) :]
        return kept

    def flush(self) -> str:
        """Ends the answer, and returns what still waited."""
        rest, self._waiting = self._waiting, ""
        if self._state != "within":
            return rest
        return "" if rest.strip() in ("", _FENCE) else rest


def _without_beginning_of(tag: str, text: str) -> tuple[str, str]:
    """`text`, and what stands at its end and may become `tag`."""
    at = text.rfind(tag[0], max(0, len(text) - len(tag) + 1))
    while at >= 0:
        if tag.startswith(text[at:]):
            return text[:at], text[at:]
        at = text.rfind(tag[0], max(0, len(text) - len(tag) + 1), at)
    return text, ""
