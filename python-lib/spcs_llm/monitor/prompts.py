"""Prompts that viewers send to models through LLM Mesh: started, looked at while they are answered, and cancelled.

No request of the page waits for a model. A prompt and its answer are in memory until the page has stopped asking for
them, and are not logged. Nobody but the viewer who sent a prompt sees it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spcs_llm.errors import QueryError, ServiceBusy, SpcsError, place_in_code
from spcs_llm.monitor.as_viewer import AsViewer, Carry
from spcs_llm.monitor.mesh_models import custom_id
from spcs_llm.monitor.timeline import is_footer, timeline, usage_of
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

MAX_PROMPT, MAX_ANSWER, _MAX_TOKENS = 8000, 200_000, 1024
LEFT_SECONDS = 150.0  # browsers let a page in the background ask once a minute, answered or not
_KEPT, _EACH_KEPT = 50, 5


@dataclass
class _Try:
    """A prompt under way, or answered."""

    user: str
    began: float
    asked: float
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    first: float | None = None
    ended: float | None = None
    is_cancelled: bool = False
    footer: Mapping[str, Any] = field(default_factory=dict)
    error: SpcsError | None = None


class Prompts:
    """What viewers ask models. Thread-safe.

    Args:
        as_viewer: Asks DSS as a viewer.
        clock: Seconds that never go back.
    """

    def __init__(self, as_viewer: AsViewer, clock: Callable[[], float] = time.monotonic) -> None:
        self._as_viewer = as_viewer
        self._clock = clock
        self._lock = threading.Lock()
        self._tries: dict[str, _Try] = {}

    def start(self, user: str, model: object, prompt: object, carry: Carry) -> dict[str, Any]:
        """Sends a prompt.

        Args:
            user: The viewer who sends it.
            model: The model's id in LLM Mesh.
            prompt: What to ask.
            carry: Makes a function for another thread, which has the context of the viewer's request there.

        Returns:
            What `shown` returns, with the `run` to ask for it by.

        Raises:
            QueryError: If there is nothing to ask.
            ServiceBusy: If too many are under way.
        """
        id = custom_id(model)
        if id is None:
            raise QueryError("No model is selected.", "Select a model.")
        if not isinstance(prompt, str) or not prompt.strip():
            raise QueryError("The prompt is empty.", "Enter a prompt.")
        if len(prompt) > MAX_PROMPT:
            raise QueryError(f"The prompt has more than {MAX_PROMPT:,} characters.", "Enter a shorter one.")
        now = self._clock()
        run, one = secrets.token_hex(8), _Try(user, now, now)
        with self._lock:
            self._forget()
            self._make_room(user)
            self._tries[run] = one
        take = carry(lambda: self._take(one, id, prompt))
        threading.Thread(target=take, name="prompt-of-viewer", daemon=True).start()
        return {"run": run, **self.shown(user, run)}

    def shown(self, user: str, run: object) -> dict[str, Any]:
        """What has come of a prompt so far.

        Args:
            user: The viewer.
            run: What `start` gave.

        Returns:
            Plain data: the text so far; once it is done, its tokens, its cost and its trace, or the error.

        Raises:
            SpcsError: If this viewer has not sent such a prompt, or it was forgotten.
        """
        with self._lock:
            self._forget()
            one = self._own(user, run)
            one.asked = now = self._clock()
            shown: dict[str, Any] = {
                "done": one.ended is not None,
                "seconds": (now if one.ended is None else one.ended) - one.began,
                "text": "".join(one.pieces),
            }
            if one.ended is not None:
                shown.update(_outcome(one))
        return shown

    def cancel(self, user: str, run: object) -> None:
        """Gives a prompt up, and forgets it. What the model still answers is not read.

        Args:
            user: The viewer.
            run: What `start` gave.

        Raises:
            SpcsError: As `shown`.
        """
        with self._lock:
            self._own(user, run).is_cancelled = True
            del self._tries[str(run)]

    def _own(self, user: str, run: object) -> _Try:
        one = self._tries.get(run) if isinstance(run, str) else None
        if one is None or one.user != user:
            raise SpcsError(
                "This prompt does not exist, or it has been forgotten.",
                "Send it again.",
                status=404,
                place="webapp",
            )
        return one

    def _make_room(self, user: str) -> None:
        """Forgets a viewer's oldest prompt that has ended, where the viewer has many: nobody takes all of the room."""
        own = [(run, one) for run, one in self._tries.items() if one.user == user]
        if len(own) >= _EACH_KEPT:
            ended = next((run for run, one in own if one.ended is not None), None)
            if ended is None:
                raise _no_room(_EACH_KEPT)
            del self._tries[ended]
        elif len(self._tries) >= _KEPT:
            raise _no_room(_KEPT)

    def _forget(self) -> None:
        now = self._clock()
        for run, one in list(self._tries.items()):
            if now - one.asked >= LEFT_SECONDS:
                one.is_cancelled = True
                del self._tries[run]

    def _take(self, one: _Try, model: str, prompt: str) -> None:
        error: SpcsError | None = None
        try:
            self._as_viewer.query(one.user, lambda project: self._read(one, project, model, prompt), prompt)
        except SpcsError as failure:
            error = failure.again()  # without the frames of the client, which hold its connection
        except Exception as failure:  # noqa: BLE001 - the page must not wait for a thread that has ended
            place = place_in_code(failure)
            logger.error("A prompt failed unexpectedly: %s.", place)
            error = SpcsError(
                f"The webapp failed unexpectedly ({place}).",
                "Please report this to the plugin's authors.",
                place="webapp",
            )
        with self._lock:
            one.error, one.ended = error, self._clock()

    def _read(self, one: _Try, project: Any, model: str, prompt: str) -> None:
        completion = project.get_llm(model).new_completion()
        completion.with_message(prompt)
        completion.settings["maxOutputTokens"] = _MAX_TOKENS
        pieces = completion.execute_streamed()
        try:
            for piece in pieces:
                if not self._heard(one, piece):
                    return
        finally:
            pieces.close()

    def _heard(self, one: _Try, piece: Any) -> bool:
        """Takes a piece of the answer; returns whether somebody waits for the next."""
        with self._lock:
            now = self._clock()
            if is_footer(piece):
                one.footer = dict(piece.data)
            elif isinstance(piece.data.get("text"), str) and piece.data["text"]:
                one.first = now if one.first is None else one.first
                room = MAX_ANSWER - one.length
                one.pieces.append(piece.data["text"][:room])
                one.length += len(one.pieces[-1])
            if now - one.asked >= LEFT_SECONDS:
                one.is_cancelled = True
            return not one.is_cancelled


def _outcome(one: _Try) -> dict[str, Any]:
    if one.error is not None:
        return {"error": {"message": one.error.message, "hint": one.error.hint}}
    return {
        "error": None,
        "firstSeconds": None if one.first is None else one.first - one.began,
        "isCut": one.length >= MAX_ANSWER,
        "limit": _MAX_TOKENS if one.footer.get("finishReason") == "LENGTH" else None,
        **usage_of(one.footer),
        "trace": timeline(one.footer.get("trace")),
    }


def _no_room(most: int) -> ServiceBusy:
    return ServiceBusy(f"{most} prompts are kept.", "Try again in a minute.", place="webapp")
