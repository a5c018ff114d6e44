"""Whether what came back is what the report calls right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.field.mesh import Outcome
from tests.field.replay import Asked, ReplayServer, unmet, vector_of

_NEVER = ("Traceback", "KeyError", "unforeseen", "The plugin failed unexpectedly")


def faults(right: Mapping[str, Any], outcome: Outcome, server: ReplayServer, before: int = 0) -> list[str]:
    """Everything that is not right; nothing when all is. before: service requests of earlier queries."""
    if "either" in right:
        common = {key: value for key, value in right.items() if key != "either"}
        verdicts = [
            faults({**common, **alternative}, outcome, server, before) for alternative in right["either"]
        ]
        return [] if [] in verdicts else min(verdicts, key=len)
    asked = server.service_requests()[before:]
    return [
        *_of_outcome(right, outcome),
        *_of_writing(outcome),
        *_of_count(right.get("requests"), len(asked)),
        *_of_requests(right.get("asked") or {}, asked, "request"),
        *_of_requests(right.get("account_asked") or {}, server.account_requests(), "request to the account"),
        *(f"the report has no answer to {request}" for request in server.unforeseen),
    ]


def _of_outcome(right: Mapping[str, Any], outcome: Outcome) -> Iterator[str]:
    if "error" in right:
        yield from _of_error(right["error"] or {}, outcome)
    elif outcome.error is not None:
        yield f"it failed: {outcome.error}"
    if "answer" in right:
        yield from _of_answer(right["answer"] or {}, outcome)


def _of_writing(outcome: Outcome) -> Iterator[str]:
    """Whatever goes to DSS is JSON in UTF-8."""
    try:
        json.dumps(outcome.answer, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        yield f"the answer cannot be written: {error}"


def _of_error(right: Mapping[str, Any], outcome: Outcome) -> Iterator[str]:
    error = outcome.error
    if error is None:
        yield f"it was answered: {_brief(outcome.answer)}"
        return
    if "place" in right and not error.startswith(f"[{right['place']}]"):
        yield f"the error is not of [{right['place']}]: {error}"
    told = error.casefold()
    for phrase in right.get("says") or ():
        if str(phrase).casefold() not in told:
            yield f"the error does not say {phrase!r}: {error}"
    if right.get("says_one_of") and not any(
        str(phrase).casefold() in told for phrase in right["says_one_of"]
    ):
        yield f"the error says none of {right['says_one_of']}: {error}"
    for phrase in [*(right.get("never") or ()), *_NEVER]:
        if str(phrase).casefold() in told:
            yield f"the error says {phrase!r}: {error}"


def _of_answer(right: Mapping[str, Any], outcome: Outcome) -> Iterator[str]:
    answer = outcome.answer
    text = answer.get("text") or ""
    if "text" in right and text != right["text"]:
        yield f"the text is {text!r}"
    for part in right.get("text_has") or ():
        if part not in text:
            yield f"the text has no {part!r}: {text!r}"
    for part in right.get("text_lacks") or ():
        if part in text:
            yield f"the text has {part!r}: {text!r}"
    if "calls" in right:
        yield from _of_calls(right["calls"] or [], answer.get("toolCalls") or [])
    if "textless_chunks" in right and outcome.textless_chunks != right["textless_chunks"]:
        yield f"{outcome.textless_chunks} chunks have no text"
    if "finish" in right and answer.get("finishReason") != right["finish"]:
        yield f"the finish reason is {answer.get('finishReason')}"
    if "reasoning" in right and _reasoning(answer) != right["reasoning"]:
        yield f"the reasoning is {_reasoning(answer)!r}"
    if "log_probs" in right and len(answer.get("logProbs") or ()) != right["log_probs"]:
        yield f"there are {len(answer.get('logProbs') or ())} log probabilities"
    yield from _of_usage(right.get("usage") or {}, answer)
    yield from _of_ignored(right, outcome)
    yield from _of_rows(right, answer)


def _of_calls(right: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A call of the report without `arguments` may have any, as long as they are a JSON object."""
    found = [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    if [name for name, _ in found] != [call["name"] for call in right]:
        yield f"the calls are {found}"
        return
    for wanted, (name, arguments) in zip(right, found):
        try:
            made = json.loads(arguments, parse_constant=_no_json)
        except (TypeError, ValueError):
            made = None
        if not isinstance(made, dict) or ("arguments" in wanted and made != wanted["arguments"]):
            yield f"{name} is called with {arguments!r}"
    ids = [call.get("id") for call in calls]
    if not all(ids) or len(set(ids)) < len(ids):
        yield f"the calls' ids are {ids}"


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _of_usage(right: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[str]:
    """`prompt`, `completion`, `total`, `estimated`; a number, `some` for any but 0, or `{least: 9}`."""
    names = {
        "prompt": "promptTokens",
        "completion": "completionTokens",
        "total": "totalTokens",
        "estimated": "tokenCountsAreEstimated",
    }
    for short, name in names.items():
        if short not in right:
            continue
        wanted, found = right[short], answer.get(name)
        least = {"some": 1}.get(wanted) if isinstance(wanted, str) else None
        least = wanted["least"] if isinstance(wanted, Mapping) else least
        if not (found == wanted if least is None else (found or 0) >= least):
            yield f"{name} is {found}"


def _of_ignored(right: Mapping[str, Any], outcome: Outcome) -> Iterator[str]:
    """`ignored`: exactly these settings are named in the trace; `ignores`: these at least."""
    if "ignored" in right and outcome.ignored != sorted(right["ignored"]):
        yield f"the trace names as ignored: {outcome.ignored}"
    for name in right.get("ignores") or ():
        if name not in outcome.ignored:
            yield f"the trace does not name {name} as ignored, but {outcome.ignored}"


def _of_rows(right: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[str]:
    """`vectors`: the text that each row's vector must be of, or null for a row that fails."""
    if "vectors" in right:
        rows = answer.get("rows") or []
        wanted = [
            None if text is None else vector_of(text) if isinstance(text, str) else text
            for text in right["vectors"]
        ]
        if rows != wanted:
            yield f"the vectors are {rows}, the errors {answer.get('errors')}"
    if "ranking" in right:
        ranked = [document["index"] for document in answer.get("documents") or ()]
        if ranked != right["ranking"]:
            yield f"the ranking is {ranked}"


def _of_count(right: Any, count: int) -> Iterator[str]:
    if isinstance(right, int) and count != right:
        yield f"{count} requests were sent"
    if isinstance(right, Mapping) and not right.get("least", 0) <= count <= right.get("most", count):
        yield f"{count} requests were sent"


def _of_requests(right: Mapping[Any, Mapping[str, Any]], asked: Sequence[Asked], what: str) -> Iterator[str]:
    """Conditions by the request's number from 1, or `last`, `each` or `one` (at least one meets it)."""
    for number, condition in right.items():
        if number == "each":
            chosen = list(asked)
        elif number == "last":
            chosen = list(asked[-1:])
        elif number == "one":
            problems = [unmet(condition, request) for request in asked]
            if None not in problems:
                yield f"no {what} meets the condition: {problems}"
            continue
        else:
            chosen = list(asked[int(number) - 1 : int(number)])
            if not chosen:
                yield f"there is no {what} {number}"
        for request in chosen:
            problem = unmet(condition, request)
            if problem is not None:
                yield f"{what} {number}: {problem}"


def leaks(secrets: Sequence[str], texts: Mapping[str, str]) -> list[str]:
    """Which secrets stand where. texts: by where they were found."""
    return [
        f"{where} holds the secret {secret[:6]}…: {_around(text, secret)}"
        for where, text in texts.items()
        for secret in secrets
        if secret in text
    ]


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 40) : at] + "▮"


def _reasoning(answer: Mapping[str, Any]) -> str:
    parts = [part for artifact in answer.get("artifacts") or () for part in artifact.get("parts") or ()]
    return "".join(part.get("text") or "" for part in parts)


def _brief(answer: Mapping[str, Any]) -> str:
    kept = ("text", "toolCalls", "finishReason", "rows", "documents")
    return json.dumps({key: answer[key] for key in kept if key in answer}, default=str)[:500]
