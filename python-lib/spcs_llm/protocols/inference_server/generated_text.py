"""The text that a text-generation pipeline makes of a prompt, and what has to be taken off it.

Shapes: Hugging Face transformers, `TextGenerationPipeline`: a list of `{"generated_text"}`, whose value is a text or,
for a chat, its messages; snowflake-ml-python 1.0 to 1.5.4 gives it as JSON in a text, later versions as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spcs_llm.chat_templates.template_error import TemplateError
from spcs_llm.domain import ChatRequest
from spcs_llm.errors import ModelError, QueryError, SpcsError
from spcs_llm.lenient_json import read_leniently
from spcs_llm.protocols.inference_server.configured_template import Template
from spcs_llm.protocols.inference_server.rows import map_rows, parsed_json
from spcs_llm.protocols.reply_errors import unexpected_reply
from spcs_llm.sharing.learned import Learned

_TEXT = "generated_text"
_IS_WRAPPED = re.compile(rf"[\s\[]{{0,100}}\{{\s{{0,100}}['\"]{_TEXT}['\"]\s{{0,100}}:")
# What decoders leave out or change: blanks, or one control token. Repeated here, `re` would take 120 bytes a round.
_GAP = re.compile(
    r"\s+|<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|</?s>|<(?:bos|eos|unk|pad|start_of_turn|end_of_turn)>"
)
_WORD = re.compile(r"\w")
_LONGEST_GAP = 50  # characters of a control token
_WORDS_NO_ANSWER_BEGINS_WITH = 3
_LONGEST_EMPTY = 64
_MAX_BRACKETS = 1_000_000  # of an output: each may be a list or an object, of 56 bytes or more
# A vector written as a text, and no list that a model was asked for: many numbers, most of them of many digits.
_LEAST_DIMENSIONS = 16
_LONG_FRACTION = re.compile(r"\.[0-9]{4}")
_IS_NUMBERS = re.compile(r"[\s\[\](),.0-9eE+-]+")
_HEAD = 4_000  # characters of a text that are looked at for that


@dataclass(frozen=True)
class Prompt:
    """What a model was given to continue.

    Attributes:
        text: The whole text.
        as_is: Whether it is the user's text and nothing else.
    """

    text: str = field(repr=False)
    as_is: bool = False


def prompt_of(request: ChatRequest, template: Template, *, bos: bool = True) -> Prompt:
    """Writes a conversation as one text.

    Args:
        request: The conversation.
        template: The model's chat template.
        bos: Whether the text begins with the format's begin-of-text token, which some servers add themselves.

    Returns:
        The prompt.

    Raises:
        QueryError: If the template does not take the conversation.
    """
    try:
        text = template.render(request.messages, bos=bos)
    except TemplateError as error:
        raise QueryError(f"The messages do not fit the chat template {template.name}: {error}") from None
    return Prompt(text, as_is=len(request.messages) == 1 and text == request.messages[0].text)


def generated_text(value: Any) -> str:
    """Reads the text in a pipeline's output.

    Args:
        value: The output: native, as JSON or a Python literal in a text, or a plain text.

    Returns:
        The text that the model generated, which may begin with its prompt.

    Raises:
        ModelError: If the output has no such text, or is an embedding.
    """
    if is_vector(value):
        raise ModelError(
            "The service returned an embedding instead of a text: its model embeds texts.",
            "In the DSS connection, choose text embedding as the capability of this model, or the endpoint of a"
            " chat service.",
        )
    text = _in_text(value) if isinstance(value, str) else _within(value)
    if text is None:
        raise unexpected_reply(f"The model's output has no {_TEXT}.")
    return text


def is_text_answer(value: Any) -> bool:
    """Whether this is a text-generation pipeline's output, which an embedding service does not give."""
    return _IS_WRAPPED.match(value) is not None if isinstance(value, str) else _is_wrapped(value)


def is_vector(value: Any) -> bool:
    """Whether this is an embedding, which a text-generation service does not give."""
    if isinstance(value, str):
        return _IS_NUMBERS.fullmatch(value) is not None and _has_dimensions(value[:_HEAD])
    is_list = isinstance(value, (list, tuple))
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return is_list and isinstance(value, (int, float)) and not isinstance(value, bool)


def _has_dimensions(head: str) -> bool:
    numbers = head.split(",")
    long_ones = sum(_LONG_FRACTION.search(number) is not None for number in numbers)
    return len(numbers) >= _LEAST_DIMENSIONS and 2 * long_ones > len(numbers)


def _in_text(value: str) -> str | None:
    """The text in an output that is one. What is not a pipeline's output is the model's own, which may well be JSON."""
    if _IS_WRAPPED.match(value):
        return _within(_unpacked(value))
    start = value.lstrip()[:1]
    found = parsed_json(value) if start == '"' or (start == "[" and len(value) < _LONGEST_EMPTY) else value
    if found == []:
        raise unexpected_reply("The model's answer is an empty list.")
    return found if isinstance(found, str) else value


def _unpacked(value: str) -> Any:
    if value.count("[") + value.count("{") > _MAX_BRACKETS:
        raise unexpected_reply(f"The model's output has more than {_MAX_BRACKETS:,} brackets.")
    found = parsed_json(value)
    if found is not None:
        return found
    try:
        return read_leniently(value)[0]
    except ValueError:
        raise unexpected_reply(
            f"The model's output has a {_TEXT} that is neither JSON nor Python, or that is incomplete."
        ) from None


def _is_wrapped(found: Any) -> bool:
    while isinstance(found, (list, tuple)) and found:
        found = found[0]
    return isinstance(found, Mapping) and _TEXT in found


def _within(found: Any) -> str | None:
    while isinstance(found, (list, tuple)) and found:
        found = found[0]  # of several alternatives the first
    if isinstance(found, Mapping):
        found = found.get(_TEXT)
        if isinstance(found, (list, tuple)) and found:
            found = _said_last(found[-1])
    return found if isinstance(found, str) else None


def _said_last(message: Any) -> Any:
    if not isinstance(message, Mapping) or message.get("role") in ("system", "user"):
        return None
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return content


class PromptEchoFilter:
    """Whether a service repeats the prompt before its answers: it does before each, or before none.

    That is fixed when a model is logged (`return_full_text` of transformers' pipelines, true unless set). A prompt in
    a chat format is only there for that reason. A user's own words may begin an answer by chance ("Hello"): they are
    taken off when there are enough of them, or when the service is known to repeat prompts. Thread-safe.
    """

    def __init__(self) -> None:
        self._repeats: Learned[bool | None] = Learned(None)

    def removed(self, texts: Sequence[str], prompts: Sequence[Prompt]) -> list[str]:
        """Takes off texts the prompts that they begin with.

        A model that corrects or translates gives a sound text back as it is: a text in which no word follows the
        prompt does not show that the prompt was repeated, and is left where no other answer has shown it.

        Args:
            texts: What a service answered, a text for each prompt.
            prompts: The prompts, in the same order.

        Returns:
            The texts without their prompts, in the same order.
        """
        ends = [_end_of_prompt(text, prompt.text) for text, prompt in zip(texts, prompts)]
        known = self._repeats.value
        shown: bool | None = None
        for text, end, prompt in zip(texts, ends, prompts):
            if end is None:
                shown = False
            elif not prompt.as_is or (
                known is None and shown is None and _is_long(prompt.text) and _says_more(text, end)
            ):
                shown = True
        if shown is not None:
            self._repeats.learn(shown)
        repeats = known if shown is None else shown
        return [
            text[end:] if end is not None and (repeats or not prompt.as_is) else text
            for text, prompt, end in zip(texts, prompts, ends)
        ]


def _is_long(text: str) -> bool:
    return len(text.split(None, _WORDS_NO_ANSWER_BEGINS_WITH)) >= _WORDS_NO_ANSWER_BEGINS_WITH


def _end_of_prompt(text: str, prompt: str) -> int | None:
    """Finds where the prompt ends that a text begins with.

    Decoders leave control tokens out (`skip_special_tokens`) and change blanks: neither counts.

    Args:
        text: The text.
        prompt: The prompt.

    Returns:
        The index in `text` of the first character behind the prompt; None if the text begins with something else.
    """
    if text.startswith(prompt):
        return len(prompt)
    if _first_character(text) != _first_character(prompt):  # as a rule, and much cheaper than to compare
        return None
    wanted, done, at = _GAP.sub("", prompt), 0, 0
    if not wanted:
        return None
    while done < len(wanted):
        at = _after_gaps(text, at)
        gap = _GAP.search(text, at, at + len(wanted) - done + _LONGEST_GAP)
        word = text[at : gap.start() if gap else len(text)][: len(wanted) - done]
        if not word or not wanted.startswith(word, done):
            return None
        done, at = done + len(word), at + len(word)
    ends_in_gap = _ends_in_gap(prompt)
    return _after_gaps(text, at) if ends_in_gap else at


def _after_gaps(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    while gap is not None:
        at = gap.end()
        gap = _GAP.match(text, at)
    return at


def _ends_in_gap(text: str) -> bool:
    tail = text[-_LONGEST_GAP:]
    return any(gap.end() == len(tail) for gap in _GAP.finditer(tail))


def _says_more(text: str, begin: int) -> bool:
    return _WORD.search(text, begin) is not None


def _first_character(text: str) -> str:
    at = _after_gaps(text, 0)
    return text[at : at + 1]


def truncate_at_stop(text: str, stops: Sequence[str]) -> str:
    """The part of `text` before the first stop sequence in it; all of it if there is none."""
    ends = [end for end in (text.find(stop) for stop in stops if stop) if end >= 0]
    return text[: min(ends)] if ends else text


def text_answers(
    outputs: Sequence[Any],
    prompts: Sequence[Prompt],
    stops: Sequence[str],
    template: Template,
    echo: PromptEchoFilter,
) -> list[str | SpcsError]:
    """Reads the answers in what a model made of prompts.

    Args:
        outputs: A pipeline's output for each prompt, or the error that is there instead of one.
        prompts: The prompts, in the same order.
        stops: The query's stop sequences, at which the answers are cut here: not every service is told them.
        template: The chat template that the prompts were made with.
        echo: Takes off the prompts that the service repeats.

    Returns:
        The answers, in the same order; an output without one has its error instead of it.
    """
    texts = map_rows(outputs, lambda at, output: generated_text(output))
    good = [at for at, text in enumerate(texts) if isinstance(text, str)]
    bare = echo.removed([str(texts[at]) for at in good], [prompts[at] for at in good])
    without_prompt = dict(zip(good, bare))
    return map_rows(
        texts, lambda at, _: _trimmed(without_prompt[at], prompts[at], stops, template.stop_strings)
    )


def _trimmed(text: str, prompt: Prompt, stops: Sequence[str], stops_of_format: Sequence[str]) -> str:
    """Blanks around an answer in a chat format belong to the format; what continues a user's own text is left as is.

    A format's stop strings may begin with the blanks that precede an answer, those of a query are about the answer.

    Args:
        text: The generated text, without its prompt.
        prompt: The prompt.
        stops: The query's stop sequences.
        stops_of_format: The stop strings of the chat template.

    Returns:
        The answer.
    """
    if prompt.as_is:
        return truncate_at_stop(text, stops)
    return truncate_at_stop(truncate_at_stop(text, stops_of_format).lstrip(), stops).rstrip()
