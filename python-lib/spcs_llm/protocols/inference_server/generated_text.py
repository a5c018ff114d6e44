"""The text that a text-generation pipeline makes of a prompt, and what has to be taken off it.

Shapes: Hugging Face transformers, `TextGenerationPipeline`: a list of `{"generated_text"}`, whose value is a text or,
for a chat, its messages; snowflake-ml-python 1.0 to 1.5.4 gives it as JSON in a text, later versions as it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spcs_llm.chat_templates.template import ChatTemplate, TemplateError
from spcs_llm.domain import ChatRequest
from spcs_llm.errors import QueryError, SpcsError
from spcs_llm.learned import Learned
from spcs_llm.protocols.inference_server.rows import map_rows, parsed_json
from spcs_llm.protocols.reply_errors import unexpected_reply

_TEXT = "generated_text"
_IS_WRAPPED = re.compile(rf"[\s\[]*\{{\s*['\"]{_TEXT}['\"]\s*:")
_BLANKS = re.compile(
    r"(?:<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>|</?s>|<(?:bos|eos|unk|pad|start_of_turn|end_of_turn)>|\s)+"
)
_WORDS_NO_ANSWER_BEGINS_WITH = 3


@dataclass(frozen=True)
class Prompt:
    """What a model was given to continue. as_is: it is the user's text and nothing else."""

    text: str = field(repr=False)
    as_is: bool = False


def prompt_of(request: ChatRequest, template: ChatTemplate, *, bos: bool = True) -> Prompt:
    """The conversation as one text. Raises QueryError when the template does not take it.

    bos: whether it begins with the format's own token, which some servers add themselves.
    """
    try:
        text = template.render(request.messages, bos=bos)
    except TemplateError as error:
        raise QueryError(f"The messages do not fit the chat template {template.name}: {error}") from None
    return Prompt(text, as_is=len(request.messages) == 1 and text == request.messages[0].text)


def generated_text(value: Any) -> str:
    """The text in a pipeline's output: native, as JSON or a Python literal in a text, or plain. Raises ModelError."""
    if not isinstance(value, str):
        text = _within(value)
    else:
        found = parsed_json(value)
        if found is None and _IS_WRAPPED.match(value):
            found = _literal(value)
        if found == []:
            raise unexpected_reply("The model answers with an empty list.")
        # What is no pipeline's output is the model's own text, which may well be JSON.
        text = found if isinstance(found, str) else _within(found) if _is_wrapped(found) else value
    if text is None:
        raise unexpected_reply(f"The model answers with an output that holds no {_TEXT}.")
    return text


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


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise unexpected_reply(
            f"The model's output holds a {_TEXT} that is neither JSON nor Python, or cut off."
        ) from None


class PromptEchoFilter:
    """Whether a service repeats the prompt before its answers: it does before each, or before none.

    That is fixed when a model is logged (`return_full_text` of transformers' pipelines, true unless set). A prompt in
    a chat format comes back by that alone. A user's own words may begin an answer by chance ("Hello"): they are
    taken off when there are enough of them, or when the service is known to repeat prompts. Thread-safe.
    """

    def __init__(self) -> None:
        self._repeats: Learned[bool | None] = Learned(None)

    def removed(self, texts: Sequence[str], prompts: Sequence[Prompt]) -> list[str]:
        """The texts without the prompts they begin with."""
        ends = [_end_of_prompt(text, prompt.text) for text, prompt in zip(texts, prompts)]
        known = self._repeats.value
        shown: bool | None = None
        for end, prompt in zip(ends, prompts):
            if end is None:
                shown = False
            elif not prompt.as_is or (known is None and shown is None and _is_long(prompt.text)):
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
    """Where the prompt ends that the text begins with; None where it begins with something else.

    Decoders leave control tokens out (`skip_special_tokens`) and change blanks: neither counts.
    """
    if text.startswith(prompt):
        return len(prompt)
    if _first_character(text) != _first_character(prompt):  # as a rule, and much cheaper than to compare
        return None
    wanted, done, at = _BLANKS.sub("", prompt), 0, 0
    if not wanted:
        return None
    while done < len(wanted):
        blank = _BLANKS.match(text, at)
        at = blank.end() if blank else at
        next_blank = _BLANKS.search(text, at)
        word = text[at : next_blank.start() if next_blank else len(text)][: len(wanted) - done]
        if not word or not wanted.startswith(word, done):
            return None
        done, at = done + len(word), at + len(word)
    ends_blank = any(blank.end() == len(prompt) for blank in _BLANKS.finditer(prompt))
    blank = _BLANKS.match(text, at) if ends_blank else None
    return blank.end() if blank else at


def _first_character(text: str) -> str:
    blank = _BLANKS.match(text)
    at = blank.end() if blank else 0
    return text[at : at + 1]


def truncate_at_stop(text: str, stops: Sequence[str]) -> str:
    """`text` up to the first stop sequence in it."""
    ends = [end for end in (text.find(stop) for stop in stops if stop) if end >= 0]
    return text[: min(ends)] if ends else text


def text_answers(
    outputs: Sequence[Any],
    prompts: Sequence[Prompt],
    stops: Sequence[str],
    template: ChatTemplate,
    echo: PromptEchoFilter,
) -> list[str | SpcsError]:
    """The answers in what a model made of the prompts; outputs that are errors stay in their places.

    stops: the query's stop sequences, which no such service is told.
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
    """
    if prompt.as_is:
        return truncate_at_stop(text, stops)
    return truncate_at_stop(truncate_at_stop(text, stops_of_format).lstrip(), stops).rstrip()
