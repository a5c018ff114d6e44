"""Harmony, the format of gpt-oss, as a server without a parser for it leaves it in an answer's text.

A message is `<|start|>assistant<|channel|>final<|message|>…<|end|>`; of the first one, the template has written
`<|start|>assistant` into the prompt. Thoughts are on the channel `analysis`. `commentary` holds what the user is told
meanwhile and, with a recipient (`to=functions.add`), calls.
"""

from __future__ import annotations

import re
from typing import Final

from spcs_llm.protocols.openai.text import begins_at

_HEADER: Final = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>(?P<channel>analysis|commentary|final)\b(?P<more>[^<]{0,60})"
    r"(?:<\|constrain\|>[^<]{0,20})?<\|message\|>"
)
_BEGINS_HEADER: Final = re.compile(
    r"(?:<\|start\|>assistant)?(?:<\|channel\|>[^<]{0,80}(?:<\|constrain\|>[^<]{0,20})?)?(?:<[|a-z]{0,11})?"
    r"|<\|start\|>[a-z]{0,9}"
)
_ENDS: Final = ("<|end|>", "<|return|>", "<|call|>")
_STARTS: Final = ("<|start|>", "<|channel|>")
_MARKS: Final = (*_ENDS, *_STARTS)
_MARK: Final = re.compile("|".join(map(re.escape, _MARKS)))
_GAP: Final = re.compile(r"\s{0,64}")  # between two messages


def begins_harmony(text: str) -> bool | None:
    """Whether a text begins with a message's header; None while that is not certain."""
    if _HEADER.match(text):
        return True
    return None if _BEGINS_HEADER.fullmatch(text) else False


class Harmony:
    """Parts the messages of an answer into text and thoughts. Messages of one kind are parted by an empty line.

    A call stays in the text, header and all: it is not known for certain what it is. So does what is of no known form.
    """

    def __init__(self) -> None:
        self._waiting = ""
        self._is_header = True
        self._is_thought = False
        self._spoke = {True: False, False: False}  # by whether it is thoughts
        self._gap = ""

    def part(self, piece: str) -> tuple[str, str]:
        """Takes in a piece of the answer.

        Args:
            piece: What is new.

        Returns:
            The text and the thoughts in what came, as far as they can be told by now; the rest waits.
        """
        rest, self._waiting = self._waiting + piece, ""
        found: dict[bool, list[str]] = {False: [], True: []}
        at = 0
        while at < len(rest):
            end = self._header(rest, at, found) if self._is_header else self._message(rest, at, found)
            if end is None:
                break
            at = end
        return "".join(found[False]), "".join(found[True])

    def flush(self) -> tuple[str, str]:
        """Ends the answer.

        Returns:
            The text and the thoughts in what still waited.
        """
        rest, self._waiting = self._waiting, ""
        if self._is_header and "<|start|>assistant".startswith(rest.strip()):
            return "", ""
        return ("", rest) if self._is_thought and not self._is_header else (rest, "")

    def _header(self, text: str, at: int, found: dict[bool, list[str]]) -> int | None:
        """Reads between two messages; returns where to go on, or None if what is there waits."""
        gap = _GAP.match(text, at)
        begin = gap.end() if gap else at
        header = _HEADER.match(text, begin)
        if header is None and _BEGINS_HEADER.fullmatch(text, begin):
            self._waiting = text[at:]
            return None
        self._is_header = False
        self._is_thought = header is not None and header["channel"] == "analysis"
        if header is None:
            self._say(text[at : begin + 1], found)
            return begin + 1
        if "to=" in header["more"]:
            self._say(header[0], found)
        else:
            self._gap = "\n\n" if self._spoke[self._is_thought] else ""
        return header.end()

    def _message(self, text: str, at: int, found: dict[bool, list[str]]) -> int | None:
        """Reads on in a message; returns where to go on, or None if what is there waits."""
        mark = _MARK.search(text, at)
        until = begins_at(text, _MARKS, at) if mark is None else mark.start()
        self._say(text[at:until], found)
        if mark is None:
            self._waiting = text[until:]
            return None
        self._is_header = True
        return mark.end() if mark[0] in _ENDS else until

    def _say(self, text: str, found: dict[bool, list[str]]) -> None:
        if text:
            found[self._is_thought].append(self._gap + text)
            self._gap = ""
            self._spoke[self._is_thought] = True
