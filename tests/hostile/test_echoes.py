"""A server's texts in what people and log files see: secrets that it was sent, and characters that do something."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.hostile.known import Complaints, judge
from tests.hostile.places import (
    Place,
    places_in_the_head,
    places_of_refusals,
    places_of_sign_ins,
    places_of_successes,
)
from tests.hostile.server import Request, Server, reply
from tests.hostile.surfaces import (
    ACCESS_TOKEN,
    ENDPOINT_TOKENS,
    KEY,
    LOGIN,
    MASTER_TOKEN,
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_MODELS,
    OPENAI_RERANK,
    OPENAI_STREAM,
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    RENEWAL,
    SERVING_CHAT,
    SESSION_TOKEN,
    TOKEN,
    Surface,
    dumped,
)
from tests.hostile.victim import Outcome, Victim

pytestmark = pytest.mark.exhaustive

PROMPT = "Jane Roe has condition ZETA and lives in Lower Norwood"
SYSTEM = "The Acme merger closes in early March"
DESCRIPTION, ENUM, PROPERTY = (
    "salary band omega of staff",
    "verdict: guilty on all counts",
    "secret_property_kappa",
)
QUERY = {
    "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}],
}
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "with blanks doubled": lambda text: text.replace(" ", "  "),
    "without blanks": lambda text: text.replace(" ", ""),
    "URL-encoded": quote,
    "URL-encoded twice": lambda text: quote(quote(text)),
    "in HTML": lambda text: "".join(
        f"&#{ord(character)};" if character in " -" else character for character in text
    ),
    "in base64": lambda text: base64.b64encode(text.encode()).decode(),
    "escaped": lambda text: text.replace(" ", "\\u0020"),
    "with characters without a shape": "\u200b".join,
    "with escape sequences": "\x1b[0m".join,
    "with blanks of another kind": "\u00a0".join,
    "with accents": "\u0301".join,
    "in wide letters": lambda text: "".join(
        chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text
    ),
}
QUICK_FORMS = ("as it is", "in capitals", "with characters without a shape")
OF_WORDS = ("in capitals", "with blanks doubled", "without blanks")
_SETTINGS = {"serviceApiKey": KEY, "queryTimeoutSeconds": 3, "requestTimeoutSeconds": 1}


def places_of(surface: Surface, statuses: tuple[int, ...]) -> list[Place]:
    if surface.sign_in:
        return list(places_of_sign_ins())
    return [*places_of_refusals(statuses), *places_in_the_head(), *places_of_successes(surface)]


def tried(victim: Victim, surface: Surface, place: Place, text: str, **settings: Any) -> Outcome:
    """What comes of a query whose answer holds the text at the place."""
    with surface.serve(lambda request: _sent(request, place, text)) as server:
        queries = surface.queries(server.url, **{**_SETTINGS, "query": _query(surface), **settings})
        secrets = [TOKEN, KEY, ACCESS_TOKEN, SESSION_TOKEN, MASTER_TOKEN, PROMPT]
        return victim.ask(*queries, secrets=secrets, timeout=30)[-1]


def _sent(request: Request, place: Place, text: str) -> bytes | None:
    """What is wrong with a head may leave the plugin waiting for more: then the connection ends."""
    answer = place.put(text)
    if not place.raw:
        return answer
    request.sock.sendall(answer)
    return None


def _query(surface: Surface) -> Mapping[str, Any]:
    if surface.verb == "embed":
        return {"text": PROMPT}
    return QUERY


def folded(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", text).casefold())


def quoted_in(outcome: Outcome, secret: str, form: Callable[[str], str] = str) -> list[str]:
    """Where the outcome shows the secret, in the form in which it was echoed or without any."""
    found = []
    for where, text in outcome.shown().items():
        if form(secret) in text or json.dumps(form(secret))[1:-1] in text or folded(secret) in folded(text):
            found.append(where)
    return found


CHATS = [PREDICT_CHAT, OPENAI_STREAM]
OTHERS = [PREDICT_EMBEDDING, SERVING_CHAT, OPENAI_CHAT, OPENAI_EMBEDDING]


@pytest.mark.parametrize("surface", CHATS, ids=str)
def test_no_echo_of_what_was_sent_is_shown(victim: Victim, surface: Surface) -> None:
    judge(echoes(victim, surface, QUICK_FORMS, (400, 401, 503)))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("surface", [*CHATS, *OTHERS], ids=str)
def test_no_echo_in_any_form_is_shown(victim: Victim, surface: Surface) -> None:
    judge(echoes(victim, surface, tuple(FORMS), (400, 401, 404, 422, 429, 500, 502, 503)))


def echoes(victim: Victim, surface: Surface, forms: tuple[str, ...], statuses: tuple[int, ...]) -> Complaints:
    complaints, secrets = Complaints(), {"prompt": PROMPT, "token": TOKEN, "service key": KEY}
    for place in places_of(surface, statuses):
        for name in forms:
            form = FORMS[name]
            told = " and ".join(f"'{form(secret)}'" for secret in secrets.values())
            outcome = tried(victim, surface, place, told)
            shown = [
                f"{what} in {where}"
                for what, secret in secrets.items()
                if what == "prompt" or name not in OF_WORDS  # a token in capitals is no token
                for where in quoted_in(outcome, secret, form)
            ]
            complaints.add(f"echo {name}, {surface}, {place}", *shown)
            complaints.add(f"held behind an error, {surface}, {place}", *_held(outcome))
    return complaints


def _held(outcome: Outcome) -> list[str]:
    if outcome.died:
        return [outcome.died]
    return [f"held behind the error: {what}" for what in outcome.error["held"]] if outcome.error else []


@pytest.mark.parametrize("surface", [LOGIN, RENEWAL, ENDPOINT_TOKENS], ids=str)
def test_no_credential_is_shown_that_an_account_echoes(victim: Victim, surface: Surface) -> None:
    complaints = Complaints()
    for place in places_of_sign_ins():
        sent: list[str] = []

        def echo(request: Request, place: Place = place, sent: list[str] = sent) -> bytes | None:
            credentials = _credentials_in(request)
            sent.extend(credentials)
            return _sent(request, place, " and ".join(credentials))

        with surface.serve(echo) as server:
            queries = surface.queries(server.url, **_SETTINGS, query=QUERY)
            outcome = victim.ask(*queries, secrets=[ACCESS_TOKEN, PROMPT], timeout=30)[-1]
        assert sent, "there was nothing to echo"
        shown = [
            f"{credential[:12]}… in {where}"
            for credential in set(sent)
            for where in quoted_in(outcome, credential)
        ]
        complaints.add(f"echo of a credential, {surface}, {place}", *shown)
        complaints.add(f"held behind an error, {surface}, {place}", *_held(outcome))
    judge(complaints)


def _credentials_in(request: Request) -> list[str]:
    """All that a sign-in sends: of a form and of JSON, and of headers."""
    body = request.body.decode()
    found = re.findall(r"assertion=([^&]+)", body) + re.findall(r'"(canary-[^"]+)"', body)
    return found + re.findall(r'Token="([^"]+)"', request.headers.get("authorization", ""))


def test_a_query_quotes_nothing_of_its_tools_and_schemas(victim: Victim) -> None:
    """A user's own names are private, too: a tool's parameter may be called `name`, a schema's property `type`."""
    parameters = {
        "type": "object",
        "properties": {"name": {"type": "string", "description": DESCRIPTION}, PROPERTY: {"type": "string"}},
    }
    schema = {"type": "object", "properties": {"type": {"type": "string", "enum": [ENUM]}}}
    tool = {"type": "function", "function": {"name": "look_up", "description": "x", "parameters": parameters}}
    mesh = {"tools": [tool], "responseFormat": {"type": "json", "schema": schema}}
    complaints = Complaints()
    for place in (*places_of_refusals((400, 503)), *places_of_successes(OPENAI_STREAM)):
        for what, secret in (("description", DESCRIPTION), ("enumeration", ENUM), ("property", PROPERTY)):
            outcome = tried(victim, OPENAI_STREAM, place, f"bad: '{secret}'", mesh=mesh)
            complaints.add(
                f"echo of a schema, {place}", *(f"{what} in {where}" for where in quoted_in(outcome, secret))
            )
    judge(complaints)


def test_a_short_text_is_not_quoted(victim: Victim) -> None:
    complaints = Complaints()
    for surface in (PREDICT_CHAT, OPENAI_STREAM, OPENAI_EMBEDDING):
        query = {"text": "PIN4711"} if surface.verb == "embed" else {"messages": [{"content": "PIN4711"}]}
        for place in (*places_of_refusals((400, 503)), *places_of_successes(surface)):
            outcome = tried(victim, surface, place, "cannot take 'PIN4711'", query=query)
            complaints.add(f"echo of a short text, {surface}, {place}", *quoted_in(outcome, "PIN4711"))
    judge(complaints)


# -- characters that are more than text -----------------------------------------------------------------------

NASTY = {
    "a line end": "one\n2026-01-01 [INFO] admin logged in",
    "CRLF": "one\r\ntwo",
    "a line separator": "one\u2028two\u2029three\x85four",
    "an escape sequence": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "C1 controls": "\x9b31mred\x9d0;title\x9c",
    "NUL and backspace": "a\0b\x08c\x7f",
    "direction": "abc\u202egnp.exe\u2066x\u2069\u200f",
    "invisible": "a\u200bb\ufeffc\u2060d\U000e0041",
    "markup": "<img src=x onerror=alert(1)><script>x</script>",
    "surrogate": "a\ud800b",
    "length": "A" * 20_000,
}
_LONGEST_ERROR = 1500


ALL_AT_ONCE = {
    "all at once": "".join(text for name, text in NASTY.items() if name not in ("length", "surrogate"))
}


@pytest.mark.parametrize("surface", [PREDICT_CHAT, OPENAI_STREAM, LOGIN], ids=str)
def test_foreign_text_is_text_and_no_more(victim: Victim, surface: Surface) -> None:
    few = {**ALL_AT_ONCE, "length": NASTY["length"], "markup": NASTY["markup"]}
    judge(foreign_texts(victim, surface, few, (400,)))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "surface", [*CHATS, *OTHERS, OPENAI_MODELS, LOGIN, RENEWAL, ENDPOINT_TOKENS], ids=str
)
def test_any_foreign_text_is_text_and_no_more(victim: Victim, surface: Surface) -> None:
    judge(foreign_texts(victim, surface, NASTY, (400, 404, 500, 503)))


def foreign_texts(
    victim: Victim, surface: Surface, texts: Mapping[str, str], statuses: tuple[int, ...]
) -> Complaints:
    complaints = Complaints()
    for place in places_of(surface, statuses):
        for text in texts.values():
            if place.raw and not (text.isprintable() and text.isascii()):
                continue  # which would be another head
            outcome = tried(victim, surface, place, text)
            complaints.add(f"foreign text, {surface}, {place}", *unclean(surface, outcome))
    return complaints


def test_names_of_models_are_text_and_no_more(victim: Victim) -> None:
    complaints = Complaints()
    for text in NASTY.values():
        listed = reply(dumped({"data": [{"id": f"{text}{at}"} for at in range(100)]}))

        def answer(request: Request, listed: bytes = listed) -> bytes:
            return (
                listed
                if request.path == "/v1/models"
                else reply(dumped({"error": {"message": "no model"}}), 404)
            )

        with Server(answer) as server:
            (outcome,) = victim.ask(OPENAI_CHAT.ask(server.url, modelName="another"))
        complaints.add("foreign text, names of models", *unclean(OPENAI_CHAT, outcome))
    judge(complaints)


def test_names_of_models_quote_nothing_of_a_query(victim: Victim) -> None:
    """A server that remembers what it was asked lists it as a model, and says that it does not have the one wanted."""
    complaints = Complaints()
    for surface in (OPENAI_CHAT, OPENAI_EMBEDDING, OPENAI_RERANK):
        for name in QUICK_FORMS:
            form = FORMS[name]
            listed = reply(dumped({"data": [{"id": form(PROMPT)}]}))

            def answer(request: Request, listed: bytes = listed) -> bytes:
                if request.path == "/v1/models":
                    return listed
                return reply(dumped({"error": {"message": "no model"}}), 404)

            query = (
                {"queryParts": [{"type": "TEXT", "text": PROMPT}], "documents": [{"text": PROMPT}]}
                if surface.verb == "rerank"
                else _query(surface)
            )
            with Server(answer) as server:
                (outcome,) = victim.ask(surface.ask(server.url, query=query, modelName="another"))
            complaints.add(
                f"echo {name}, {surface}, a model's name",
                *quoted_in(outcome, PROMPT, form),
                "" if outcome.error else "no error",
            )
    judge(complaints)


def unclean(surface: Surface, outcome: Outcome) -> Iterator[str]:
    if outcome.died:
        yield outcome.died
        return
    if outcome.error:
        if outcome.place in (None, "plugin"):
            yield f"ends in {outcome.text[:200]}"
        yield from _unclean("the error", outcome.text, _LONGEST_ERROR)
    yield from (complaint for line in outcome.log for complaint in _unclean("the log", line, 4000))
    for text in _texts(outcome.trace):
        yield from _unclean("the trace", text, _LONGEST_ERROR)
    for text in _labels(outcome.answer):
        yield from _unclean("a label of the answer", text, 64)


def _unclean(where: str, text: str, longest: int) -> Iterator[str]:
    odd = {
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co")
    }
    if odd:
        yield f"{where} holds {', '.join(sorted(f'U+{ord(character):04X}' for character in odd))}"
    if "<img" in text or "<script" in text:
        yield f"{where} holds markup"
    if len(text) > longest:
        yield f"{where} has {len(text)} characters"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _labels(answer: Any) -> Iterator[str]:
    """What of an answer is not the model's text: it is shown in lists and filters."""
    for item in answer if isinstance(answer, list) else [answer]:
        holder = item.get("footer", item) if isinstance(item, dict) else {}
        if isinstance(holder.get("finishReason"), str):
            yield holder["finishReason"]
