"""The choices of an answer. One is asked for: the only choice of an event is it, whatever its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spcs_llm.lenient_json import read_index
from spcs_llm.protocols.reply_errors import unexpected_reply

Choice = dict[str, Any]
_MOST_WAITING = 2_000_000  # parts of choices: an answer of 80,000 tokens has a third


def the_choice(choices: Sequence[Choice]) -> Choice:
    """Picks the answer among the choices of a whole answer.

    Args:
        choices: OpenAI's `choices`, one at least.

    Returns:
        The choice numbered 0, or the first. Some gateways deal one answer out over two choices without numbers, its
        text in one and its calls in the other: then the first choice has the other's calls as well.
    """
    chosen = next((choice for choice in choices if _number(choice) == 0), choices[0])
    if any(_number(choice) is not None for choice in choices):
        return chosen
    message = chosen.get("message")
    others = [choice["message"] for choice in choices if isinstance(choice.get("message"), dict)]
    calls = next((other["tool_calls"] for other in others if other.get("tool_calls")), None)
    if calls is None or not isinstance(message, dict) or message.get("tool_calls"):
        return chosen
    return {**chosen, "message": {**message, "tool_calls": calls}}


def failure_in(choice: Mapping[str, Any], reason: Any) -> dict[str, Any] | None:
    """What a choice says of its failure, as an error's body: beside the finish reason, or in it as SGLang has it."""
    within = reason.get("error") if isinstance(reason, Mapping) else None
    for error in (choice.get("error"), within):
        if error and isinstance(error, (Mapping, str)):
            return {"error": error}
    if isinstance(reason, Mapping) and reason.get("message"):
        told = {
            "message": reason["message"],
            "type": reason.get("err_type"),
            "code": reason.get("status_code"),
        }
        return {"error": told}
    return None


def is_foreign(choice: Mapping[str, Any]) -> bool:
    """Whether a choice has neither message nor delta nor text, but other fields with something in them."""
    if any(key in choice for key in ("delta", "message", "text")):
        return False
    known = ("index", "finish_reason", "logprobs", "stop_reason", "usage")
    return any(
        value and isinstance(value, (str, dict, list)) for key, value in choice.items() if key not in known
    )


class Choices:
    """Picks the answer's choices out of the events of a stream whose choices are not all numbered 0.

    Some number the only choice of each event with the event's own number, some number it 1. And a server that gives
    more answers than were asked for has a choice of each number, in one event or in turn. A choice that may be of
    either kind waits for the next event.

    Args:
        number: The number of the choice that was read so far; None if none was.
        is_finished: Whether that choice had its finish reason.
    """

    def __init__(self, number: int | None, *, is_finished: bool) -> None:
        self._number = number
        self._others: set[int] = set()
        self._waiting: list[tuple[int, Choice]] = []
        self._room = _MOST_WAITING
        self._is_finished = is_finished
        self._counts_events = False

    def pick(self, choices: Sequence[Choice]) -> list[Choice]:
        """Takes in the choices of an event.

        Args:
            choices: OpenAI's `choices`, one at least.

        Returns:
            The choices to read now, in order: those that waited and turn out to be the answer's, then this event's.

        Raises:
            ModelError: If more of them wait than an answer can have.
        """
        numbered = [(_number(choice), choice) for choice in choices]
        if len(numbered) > 1:
            return self._of_several(numbered)
        number, choice = numbered[0]
        if number in self._others:
            return []
        if number is None:
            return self._released() + self._taken([choice])
        if number == self._number:
            self._drop_waiting()
            return self._taken([choice])
        if _opens(choice):  # so begins each of several answers, with a role and nothing else
            if self._number is None:
                return []
            self._others.add(number)
            return []
        if self._number is None:
            return self._first(number, choice)
        if self._is_finished:
            self._others.add(number)
            return []
        if number > self._number and (
            self._counts_events or (self._waiting and number > self._waiting[-1][0])
        ):
            self._counts_events = True
            return self._released() + self._taken([choice], number)
        if number > self._number:
            self._wait(number, choice)
            return []
        self._others.add(number)
        return []

    def rest(self) -> list[Choice]:
        """Returns the choices that still wait, when no more events come."""
        return [] if self._is_finished else self._released()

    def _first(self, number: int, choice: Choice) -> list[Choice]:
        """The first number is not 0: a choice 0 may follow."""
        if not self._waiting:
            self._wait(number, choice)
            return []
        before = self._waiting[-1][0]
        if number < before:
            self._drop_waiting()
            return self._taken([choice], number)
        self._counts_events = number > before
        return self._released() + self._taken([choice], number)

    def _of_several(self, numbered: list[tuple[int | None, Choice]]) -> list[Choice]:
        wanted = self._number
        if wanted is None:
            wanted = min((number for number, _ in numbered if number is not None), default=None)
        for number, choice in numbered:
            if number == wanted:
                self._others.update(other for other, _ in numbered if other is not None and other != wanted)
                self._drop_waiting()
                return self._taken([choice], wanted)
        if wanted is None:
            return self._taken([numbered[0][1]])
        return []

    def _wait(self, number: int, choice: Choice) -> None:
        """Keeps a choice as it came, which may take many times the memory of its JSON."""
        self._room -= _parts(choice, self._room)
        if self._room < 0:
            raise unexpected_reply(
                "The service's answer has too many choices of which none can be told to be the answer."
            )
        self._waiting.append((number, choice))

    def _taken(self, choices: list[Choice], number: int | None = None) -> list[Choice]:
        if number is not None:
            self._number = number
        self._is_finished = self._is_finished or any(choice.get("finish_reason") for choice in choices)
        return choices

    def _released(self) -> list[Choice]:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        return self._taken([choice for _, choice in waiting], waiting[-1][0])

    def _drop_waiting(self) -> None:
        self._others.update(number for number, _ in self._waiting)
        self._waiting = []


def _number(choice: Choice) -> int | None:
    return read_index(choice.get("index"), most_digits=5)


def _parts(value: Any, most: int) -> int:
    """Counts the lists and objects in a value, and what is in them; not on when there are more than `most`."""
    holders, count = [value], 0
    while holders and count <= most:
        holder = holders.pop()
        count += 1 + len(holder)
        items = holder.values() if isinstance(holder, dict) else holder
        holders += [item for item in items if isinstance(item, (dict, list))]
    return count


def _opens(choice: Choice) -> bool:
    delta = choice.get("delta")
    if not isinstance(delta, dict) or choice.get("finish_reason"):
        return False
    return not any(value for key, value in delta.items() if key != "role")
