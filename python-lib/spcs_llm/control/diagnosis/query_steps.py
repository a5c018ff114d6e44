"""Steps that ask the model something: one query, a streamed answer, several queries at once, and what they cost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence

from spcs_llm.control.diagnosis.finding import Outcome, ok, quoted, skipped, warning
from spcs_llm.control.diagnosis.gateway_steps import as_steady, automatic
from spcs_llm.control.diagnosis.subject import StreamTiming, Subject
from spcs_llm.domain import ChatDelta, ChatRequest, Message, Sampling, TextPart
from spcs_llm.errors import ModelError, QueryTimeout, SpcsError
from spcs_llm.protocols.base import ServiceProtocol
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import FIELDS

CHAT, EMBED, RERANK = "chat", "embed", "rerank"
_LABELS = {CHAT: "chat", EMBED: "embedding", RERANK: "reranking"}
QUESTION = "Count from 1 to 40 in words, with commas between them."
TEXT = "This is a test of the connection."
SEARCHED = "What is the capital of France?"
# Not the first one: a server that scores all alike leaves them in their order.
_ANSWERS_IT = 2
DOCUMENTS = (
    "Apples and pears ripen in autumn.",
    "Bread is baked from flour.",
    "The capital of France is Paris.",
)
TOKENS = 64
_FEW_TOKENS = 8
_LEVELS = (1, 2, 4, 8, 16, 32)
_ROUNDS = 2
_WORTH = (
    1.25  # times as many queries a second as at half the parallelism, which makes the next level worth it
)
_ENOUGH_PIECES = 4
_ENOUGH_SECONDS = 0.5
_AT_THE_END = 0.8  # the part of the time after which the first piece of a stream that is held back comes


def _question(tokens: int) -> ChatRequest:
    return ChatRequest(
        (Message("user", (TextPart(QUESTION),)),), Sampling(max_output_tokens=tokens, temperature=0.0)
    )


class QuerySteps:
    """Queries of the kind that the model is for.

    Args:
        subject: The model under diagnosis.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def query(self, context: QueryContext) -> Outcome:
        """One query as LLM Mesh would send it."""
        began = time.monotonic()
        try:
            kind, seen = self._asked(context)
        except QueryTimeout as error:
            return self._overdue(error, context)
        facts = self._subject.facts
        facts.kind, facts.query_seconds = kind, time.monotonic() - began
        facts.busy_seconds = context.busy_seconds
        if kind == RERANK and not is_sensible(facts.ranking):
            return doubtful_ranking(seen)
        return as_steady(context, f"{seen} It took {facts.query_seconds:.2f} s.")

    def _asked(self, context: QueryContext) -> tuple[str, str]:
        kinds = self._kinds(context)
        first: SpcsError | None = None
        for kind in kinds:
            try:
                return kind, self._ask(kind, context)
            except ModelError as error:
                # A path that takes both kinds, such as /predict, answers with what its model makes.
                first = first or error
                if kind == kinds[-1]:
                    raise first from None
            except SpcsError as error:
                raise self._subject.connection.explained(error, kind, context) from None
        raise ModelError("The service has no path for any kind of query.")

    def _kinds(self, context: QueryContext) -> list[str]:
        if self._subject.capability is not None:
            return [self._subject.capability]
        found = automatic(self._subject).kinds(context)
        return [kind for kind in (CHAT, EMBED, RERANK) if kind in found] or [CHAT]

    def _ask(self, kind: str, context: QueryContext, tokens: int = TOKENS) -> str:
        """Asks one query, and says what came, without its content."""
        service = self._protocol(context)
        if kind == EMBED:
            (row,) = service.embed([TEXT], context)
            if isinstance(row, SpcsError):
                raise row
            return f"A text has an embedding of {len(row.vector)} dimensions."
        if kind == RERANK:
            ranking = service.rerank(SEARCHED, DOCUMENTS, context)
            self._subject.facts.ranking = [each.index for each in ranking.documents]
            return f"{len(ranking.documents)} documents are ranked."
        answer = service.chat(_question(tokens), context)
        if _is_a_vector(answer.text):
            raise ModelError("The service answers a chat with numbers: its model makes embeddings.")
        usage = answer.usage
        counted = usage.completion_tokens is not None and not usage.estimated
        count = f"{usage.completion_tokens} tokens" if counted else "an answer without a count of tokens"
        ignored = ", ".join(answer.ignored_settings)
        note = f" Not passed on: {ignored}." if ignored else ""
        return f"A chat has {count}, finish reason {quoted(answer.finish_reason or 'unknown', 40)}.{note}"

    def _protocol(self, context: QueryContext) -> ServiceProtocol:
        return self._subject.connection.resolved(context)

    def _overdue(self, error: QueryTimeout, context: QueryContext) -> Outcome:
        """The diagnosis waits for less than a query may."""
        allowed = self._subject.settings.query_timeout
        if context.seconds >= allowed:
            return Outcome.of(error)
        outcome = Outcome.of(error)
        return Outcome(
            outcome.result,
            f"{outcome.seen} ('{FIELDS.query_timeout.label}' is {allowed:g} s; the diagnosis waits"
            f" {context.seconds:.3g} s.)",
            "Look at the service's log and load: it accepts the request and does not answer it in this time."
            if error.status is None
            else outcome.hint,
            error,
        )

    def streaming(self, context: QueryContext) -> Outcome:
        """Whether the pieces of an answer arrive one by one."""
        if self._subject.facts.kind != CHAT:
            return skipped("Only chats are streamed.")
        service = self._protocol(context)
        if not service.capabilities.streams:
            return skipped("Services of this protocol return the whole answer at once.")
        timing = StreamTiming()
        began = time.monotonic()
        for piece in service.stream(_question(TOKENS), context):
            if isinstance(piece, ChatDelta) and (piece.text or piece.reasoning):
                timing.moments.append(time.monotonic() - began)
        timing.whole = time.monotonic() - began
        self._subject.facts.stream = timing
        return judged_stream(timing, context)

    def parallelism(self, context: QueryContext) -> Outcome:
        """How many queries at once the service gains by."""
        facts, connection = self._subject.facts, self._subject.connection
        most = connection.parallelism
        state = connection.client.state
        try:
            self._measure(context)
        finally:
            state.allow(most, is_set=True)
        if len(facts.rates) < 2:
            return skipped("Queries take too long to compare several at once within the time of this step.")
        useful = _useful(facts.rates)
        rates = ", ".join(f"{level}: {rate:.3g}" for level, rate in facts.rates.items())
        seen = f"Queries a second by queries at once: {rates}. {_said(useful)} useful."
        if useful > most:
            hint = f"Set '{FIELDS.max_parallelism.label}' to {useful}: it is {most} now, and the service can do more."
            return warning(seen, hint)
        return ok(seen)

    def _measure(self, context: QueryContext) -> None:
        facts = self._subject.facts
        kind = facts.kind or CHAT
        state = self._subject.connection.client.state
        last = 0.0
        for level in _LEVELS:
            state.allow(level, is_set=True)
            expected = _ROUNDS * (facts.query_seconds or 1.0) * 2
            if context.remaining() < expected and facts.rates:
                return
            seconds = _all_at_once(level, lambda: self._ask(kind, context.child(), _FEW_TOKENS))
            facts.rates[level] = rate = level * _ROUNDS / max(seconds, 1e-6)
            if rate < last * _WORTH:
                return
            last = rate

    def cost(self, context: QueryContext) -> Outcome:
        """What queries like the one that was asked cost."""
        facts, rate = self._subject.facts, self._subject.settings.rate
        one = rate.cost(facts.busy_seconds or 0.0)
        hour = rate.cost(3600.0)
        seen = f"1,000 queries like this one cost about USD {one * 1000:.3g} one after the other"
        best = max(facts.rates.values(), default=0.0)
        if best > facts.rates.get(1, best):
            # The queries of that step are shorter: only what they gain by running at once is taken over.
            seen += f", and USD {one * 1000 * facts.rates[1] / best:.3g} several at once"
        return ok(
            f"{seen}, at USD {hour:.3g} for an hour of the compute pool. Its idle time is not included."
        )


def _all_at_once(level: int, ask: Callable[[], object]) -> float:
    """Seconds for `_ROUNDS` queries of each of `level` threads. The first error ends it, and is raised."""
    errors: list[SpcsError] = []

    def rounds() -> None:
        try:
            for _ in range(_ROUNDS):
                ask()
        except SpcsError as error:
            errors.append(error)

    threads = [threading.Thread(target=rounds, name="diagnosis", daemon=True) for _ in range(level)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0].again()
    return time.monotonic() - began


def is_sensible(ranking: Sequence[object]) -> bool:
    """Whether the document that answers the question is the first of the ranking.

    Args:
        ranking: The places of the documents in the query, the best first.

    Returns:
        Whether it is; also if nothing is ranked.
    """
    return not ranking or ranking[0] == _ANSWERS_IT


def doubtful_ranking(seen: str) -> Outcome:
    """A model that ranks what has nothing to do with the question before its answer.

    Args:
        seen: What came of the query.

    Returns:
        The warning.
    """
    return warning(
        f"{seen} But to the question 'What is the capital of France?', a sentence about something else is ranked before"
        " the answer.",
        "The model may have been started without the template that it was trained with, or with the wrong head. vLLM"
        " needs --hf-overrides and --chat-template for the models Qwen3-Reranker, or returns scores that mean nothing.",
    )


def _is_a_vector(text: str) -> bool:
    """Whether what should be a chat's answer is an embedding, as /predict of an embedding model gives it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(value, list) and len(value) > 1 and all(isinstance(item, (int, float)) for item in value)
    )


def _useful(rates: dict[int, float]) -> int:
    """The smallest level from which a larger one gains too little."""
    best, last = 1, 0.0
    for level, rate in sorted(rates.items()):
        if rate < last * _WORTH:
            break
        best, last = level, rate
    return best


def _said(useful: int) -> str:
    more = " or more" if useful == _LEVELS[-1] else ""
    return f"{useful}{more} at once {'is' if useful == 1 else 'are'}"


def judged_stream(timing: StreamTiming, context: QueryContext) -> Outcome:
    """Whether the pieces of an answer came one by one, by when they came."""
    count = len(timing.moments)
    if count < 2:
        failure = context.last_error
        why = f" A stream failed before: {failure.without_quotation().message}" if failure is not None else ""
        return warning(
            f"The answer arrives as {'one piece' if count else 'no text'} after {timing.whole:.2f} s.{why}",
            "The server does not stream, or refuses to. Enable streaming on the server, or use it only for answers that"
            " take less than 90 s: Snowflake's ingress closes connections that are silent for longer.",
        )
    first, last = timing.moments[0], timing.moments[-1]
    gap = max(later - earlier for earlier, later in zip(timing.moments, timing.moments[1:]))
    seen = f"{count} pieces: the first after {first:.2f} s, the last after {last:.2f} s, the longest gap {gap:.2f} s."
    if timing.whole >= _ENOUGH_SECONDS and count >= _ENOUGH_PIECES and first > _AT_THE_END * timing.whole:
        return warning(
            f"{seen} They were held back and arrived together.",
            "Ask network administrators whether a proxy between DSS and Snowflake buffers answers of type"
            " text/event-stream. If there is none, the ingress or the container does.",
        )
    if timing.whole < _ENOUGH_SECONDS:
        return as_steady(
            context, f"{seen} The answer is too quick to tell whether something holds pieces back."
        )
    return as_steady(context, f"{seen} They arrive one by one.")
