"""What surrounds the text of an answer but is not part of it: thoughts, a Markdown fence, and end-of-turn tokens."""

from __future__ import annotations

import re
from typing import Final

from spcs_llm.protocols.openai.harmony import Harmony, begins_harmony
from spcs_llm.protocols.openai.text import begins_at

# How a block of thoughts begins, and how it ends.
THOUGHTS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "[THINK]": "[/THINK]",
    "<mm:think>": "</mm:think>",  # MiniMax M3
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "<|channel>thought": "<channel|>",  # Gemma 4
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "\u25c1think\u25b7": "\u25c1/think\u25b7",  # Kimi's first models
    "<longcat_think>": "</longcat_think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",  # Sky-T1, OpenThinker
}
# Of Apriel, whose thoughts begin with words, and only in the prompt.
_BEGUN_WITH_WORDS: Final = {"Here are my reasoning steps:": "[BEGIN FINAL RESPONSE]"}
THOUGHT_ENDS: Final = (*THOUGHTS.values(), *_BEGUN_WITH_WORDS.values())
_TAGS: Final = (*THOUGHTS, *THOUGHT_ENDS)  # an end comes first where the template has begun the block
_MOST_BLOCKS: Final = 2
_MOST_MARKS: Final = 8  # a role, blocks of thoughts, and what begins the answer
# What begins the model's turn in a prompt, with and without the tokens that a server leaves out of texts.
_ROLES: Final = (
    "<|start_header_id|>assistant<|end_header_id|>", "<|im_start|>assistant\n", "<start_of_turn>model\n", "assistant\n",
)  # fmt: skip
# Of Command A and of Sky-T1, with their ends below.
_ANSWERS: Final = ("<|START_RESPONSE|>", "<|START_TEXT|>", "<|begin_of_solution|>")
# `</s>` is also HTML's closing tag for struck-out text, so it is kept if there is a `<s>` before it: see _OPENINGS.
_TURN_ENDS: Final = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<|EOT|>", "<end_of_turn>",
    "<turn|>", "<|return|>", "<|END_OF_TURN_TOKEN|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<eos>", "</s>",
    "<|END_RESPONSE|>", "<|END_TEXT|>", "<end_of_utterance>", "<|end_of_turn|>", "<|im_assistant|>", "<|user|>",
    "<|observation|>", "<|end_of_solution|>", "[END FINAL RESPONSE]",
)  # fmt: skip
# Around the answer behind the thoughts of Hunyuan and of ERNIE. Others write such tags where a prompt wants them.
WRAPPERS: Final = {"<answer>": "</answer>", "<response>": "</response>"}
# What begins a turn that follows the model's. The roles come after.
_TURN_BEGINS: Final = (
    "<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|turn>", "<|user|>", "<|assistant|>",
)  # fmt: skip
_LONGEST_BEGIN: Final = max(map(len, _TURN_BEGINS))
_TURN_OR_WRAPPER_ENDS: Final = (*_TURN_ENDS, *WRAPPERS.values())
_TURN_END: Final = re.compile("|".join(map(re.escape, _TURN_ENDS)))
_TURN_OR_WRAPPER_END: Final = re.compile("|".join(map(re.escape, _TURN_OR_WRAPPER_ENDS)))
_OPENINGS: Final = {**{end: begin for begin, end in WRAPPERS.items()}, "</s>": "<s>"}
# Around the gist of an answer of GLM's models that read images, and before each tag of a call of MiniMax M3.
STRAYS: Final = ("<|begin_of_box|>", "<|end_of_box|>", "]<]minimax[>[")
_QUOTES: Final = "`'\""
_BLANKS: Final = re.compile(r"\s+")
_FENCE: Final = "```"
DASHES: Final = re.compile(r"\A\s{0,8}-{3,8}\s{0,8}(?=[{\[`])")
_LONGEST_LANGUAGE: Final = 20
_LONGEST_WAIT: Final = 1024  # characters; blanks without end must not be looked through again with each piece


class LeadingThoughts:
    """Parts a block of thoughts that begins an answer from the answer, and takes the model's role off before it.

    Servers with a reasoning parser send reasoning in its own field; without one, `<think>…</think>`, or what the model
    has for it, comes as the beginning of the text. Such a block anywhere else is text. A model whose chat template has
    written `<think>` into the prompt already sends no opening tag, and what it thinks cannot be told from what it says,
    unless it is nothing: then the text begins with the closing tag.

    Args:
        unwraps: Whether a tag around the answer behind the thoughts is taken off, too.

    Attributes:
        is_behind_thoughts: Whether thoughts came, in this text or elsewhere.
        is_over: Whether all that follows is text.
    """

    def __init__(self, *, unwraps: bool = False) -> None:
        self._unwraps = unwraps
        self.is_behind_thoughts = False
        self._waiting = ""
        self._end: str | None = None
        self._blocks = 0
        self._marks = 0
        self._has_thoughts = False
        self._begins_turn = True
        self._strips = False
        self._harmony: Harmony | None = None
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
        if self._harmony is not None:
            return self._harmony.part(piece)
        text = self._waiting + piece
        self._waiting = ""
        return self._before(text) if self._end is None else self._within(text, self._end)

    def flush(self) -> tuple[str, str]:
        """Ends the answer.

        Returns:
            The text and the reasoning in what still waited.
        """
        if self._harmony is not None:
            return self._harmony.flush()
        rest, self._waiting = self._waiting, ""
        if self._end is not None:
            return "", rest
        return (rest.lstrip() if self._strips else rest), ""

    def _before(self, text: str) -> tuple[str, str]:
        """Reads the beginning of an answer, or what follows a block: another one if that was empty."""
        head = text.lstrip()
        may_begin = self._blocks < _MOST_BLOCKS and not self._has_thoughts
        is_harmony = begins_harmony(head) if may_begin else False
        if is_harmony:
            self._harmony = Harmony()
            return self._harmony.part(head)
        tags = _TAGS if may_begin else ()
        if self._unwraps and (self._blocks or self.is_behind_thoughts):
            tags = (*tags, *WRAPPERS)
        marks = (*tags, *_ANSWERS, *(_ROLES if self._begins_turn else ()))
        mark = next((mark for mark in marks if head.startswith(mark)), None)
        if mark is not None and self._marks < _MOST_MARKS:
            self._marks += 1
            return self._after(mark, head[len(mark) :])
        may_go_on = not head or is_harmony is None or any(_may_become(mark, head) for mark in marks)
        if may_go_on and len(text) < _LONGEST_WAIT:
            self._waiting = text
            return "", ""
        self.is_over = True
        return (head if self._strips else text), ""

    def _after(self, mark: str, rest: str) -> tuple[str, str]:
        """Reads on behind a role or a tag. Blank lines there belong to nothing."""
        self._begins_turn = False
        self._strips = True
        if mark in WRAPPERS:
            self._unwraps = False
        if mark in _ROLES or mark in _ANSWERS or mark in WRAPPERS:
            return self._before(rest)
        self._blocks += 1
        self._end = THOUGHTS.get(mark)
        return self._before(rest) if self._end is None else self._within(rest.lstrip("\r\n"), self._end)

    def _within(self, text: str, end: str) -> tuple[str, str]:
        thoughts, found, rest = text.partition(end)
        if not found:
            until = begins_at(text, (end,))
            thoughts, self._waiting = text[:until], text[until:]
        self._has_thoughts = self._has_thoughts or bool(thoughts.strip())
        if not found:
            return "", thoughts
        self._end = None
        said, more = self._before(rest)
        return said, thoughts.rstrip("\r\n") + more


class TurnEnd:
    """Takes the tokens that end a model's turn off the end of an answer: servers are to stop at them, not to say them.

    Args:
        unwraps: Whether the end of a tag around the answer is taken off, too.
        cuts: Whether further turns behind that end are taken off, which models make up if a server does not stop them.

    Attributes:
        is_waiting: Whether something of the answer is held back.
    """

    def __init__(self, *, unwraps: bool = False, cuts: bool = False) -> None:
        self._cuts = cuts
        self._tail = ""  # of what was said
        self._is_over = False
        self._ends = _TURN_OR_WRAPPER_ENDS if unwraps else _TURN_ENDS
        self._pattern = _TURN_OR_WRAPPER_END if unwraps else _TURN_END
        self._ended: list[str] = []  # tokens, and the blanks between them, after which nothing came yet
        self._begun = ""
        self.is_waiting = False

    def part(self, piece: str) -> str:
        """Takes in a piece of the answer.

        Args:
            piece: What is new.

        Returns:
            What is certainly not behind the end; the rest waits.
        """
        if self._is_over:
            return ""
        text = self._begun + piece
        self._begun = ""
        said: list[str] = []
        at = 0
        while at < len(text):
            at = self._past_blanks(text, at) if self._ended else at
            if self._ended and self._cuts and self._begins_turn(text, at):
                break
            found = self._pattern.search(text, at)
            begun_at = begins_at(text, self._ends, at) if found is None else len(text)
            until = begun_at if found is None else found.start()
            if until > at:
                said += [*self._ended, text[at:until]]
                self._ended = []
                self._note(text[at:until])
            if found is None:
                self._begun = text[begun_at:]
                break
            self._ended.append(found[0])
            at = found.end()
        self.is_waiting = bool(self._ended or self._begun)
        return "".join(said)

    def flush(self, said: str) -> str:
        """Ends the answer.

        Args:
            said: The text that was not held back.

        Returns:
            What waited and is text: a token that is all of the answer, or one that ends what the text has begun.
        """
        ended, begun = "".join(self._ended), self._begun
        self._ended, self._begun, self.is_waiting = [], "", False
        if not ended:
            return begun
        begun_in_text = any(ended.startswith(end) and begin in said for end, begin in _OPENINGS.items())
        is_text = not said.strip() or begun_in_text
        return ended + begun if is_text else ""

    def _begins_turn(self, text: str, at: int) -> bool:
        """Whether another turn begins there, or may begin."""
        self._is_over = text.startswith(_TURN_BEGINS, at)
        rest = text[at : at + _LONGEST_BEGIN]  # and not all: the text may be nothing but ends of turns
        if self._is_over or (rest and any(mark.startswith(rest) for mark in _TURN_BEGINS)):
            self._begun = "" if self._is_over else rest
            return True
        return False

    def _note(self, said: str) -> None:
        """Cuts no further turns off a text that has begun one itself: it shows how turns are written."""
        text = self._tail + said
        self._cuts = self._cuts and not any(mark in text for mark in _TURN_BEGINS)
        self._tail = text[-_LONGEST_BEGIN:]

    def _past_blanks(self, text: str, at: int) -> int:
        blanks = _BLANKS.match(text, at)
        end = blanks.end() if blanks else at
        if end > at:
            self._ended.append(text[at:end])
        return end


class Strays:
    """Takes tokens off that are not part of an answer, anywhere in its text.

    Attributes:
        is_waiting: Whether something of the answer is held back.
    """

    def __init__(self) -> None:
        self._begun = ""

    @property
    def is_waiting(self) -> bool:
        return bool(self._begun)

    def part(self, piece: str) -> str:
        """Takes in a piece of the answer, and returns what is certain; the rest waits."""
        text = self._begun + piece
        for token in STRAYS:
            text = text.replace(token, "")
        at = begins_at(text, STRAYS)
        self._begun = text[at:]
        return text[:at]

    def flush(self) -> str:
        """Ends the answer, and returns what still waited."""
        rest, self._begun = self._begun, ""
        return rest


class JsonFence:
    """Takes the fence of Markdown off an answer that was to be JSON and is nothing but a fenced block.

    The dashes that vLLM leaves of the mark of Gemma's thoughts are taken off before it, too.
    """

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
            text = DASHES.sub("", text, count=1)
            head = text.lstrip()
            if not head.startswith(_FENCE):
                may_go_on = _FENCE.startswith(head) or not head.strip("- \t\r\n")
                if may_go_on and len(text) < _LONGEST_WAIT:
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


def behind_end_of_thoughts(text: str, *, may_be_all: bool) -> tuple[str, str]:
    """Parts thoughts whose beginning a chat template has written from the answer behind their end.

    Args:
        text: The text of a whole answer.
        may_be_all: Whether the thoughts may be all of the text, as before a tool call.

    Returns:
        The answer and the thoughts; the text, and nothing, if it is something else or quotes the end.
    """
    for begin, end in (*THOUGHTS.items(), *_BEGUN_WITH_WORDS.items()):
        thoughts, found, rest = text.partition(end)
        if not found or begin in thoughts or end in rest or not thoughts.strip():
            continue
        if thoughts[-1] in _QUOTES or rest[:1] in tuple(_QUOTES) or not (rest.strip() or may_be_all):
            continue
        return rest.lstrip(), thoughts.strip()
    return text, ""


def _may_become(mark: str, head: str) -> bool:
    """Whether what came is the beginning of a mark; of a word it is all but the line end, or any `a` would wait."""
    return mark.startswith(head) and (not head[0].isalpha() or head == mark.rstrip("\n"))
