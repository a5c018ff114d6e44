"""Users' texts are kept out of what servers quote."""

from __future__ import annotations

import base64
import copy
import functools
import html
import json
import pickle
import random
import re
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.errors import BadRequest, ServiceDown
from spcs_llm.server_text import redaction
from spcs_llm.server_text.redaction import SENT_SECRETS, SentSecrets, without_private_text
from spcs_llm.snowflake.bearer import bearer
from tests.growth import cpu_seconds, growth

PROMPT = "My name is Ada Lovelace, born 10 Dec 1815"


def chat(text: object, **parameters: object) -> dict[str, object]:
    return {"model": "llama-3.1-8b", "messages": [{"role": "user", "content": text}], **parameters}


def test_a_quoted_text_is_masked() -> None:
    assert without_private_text(f"Cannot parse '{PROMPT}' here", chat(PROMPT)) == "Cannot parse '…' here"


def test_a_part_of_a_text_is_masked() -> None:
    assert without_private_text("at: Ada Lovelace!", chat(PROMPT)) == "at:…!"


def test_several_stretches_are_masked_each() -> None:
    message = "first: Ada Lovelace; then: 10 Dec 1815."
    assert without_private_text(message, chat(PROMPT)) == "first:…; then:…."


def test_names_of_parameters_and_models_may_be_quoted() -> None:
    message = "model llama-3.1-8b: unknown role assistant in messages, use json_schema"
    payload = chat("hi there, you", response_format={"type": "json_schema"})
    assert without_private_text(message, payload) == message


def test_names_of_columns_may_be_quoted() -> None:
    payload = {"dataframe_split": {"columns": ["user_question"], "data": [[PROMPT]]}}
    assert without_private_text(f"no user_question in {PROMPT}", payload) == "no user_question in …"


@pytest.mark.parametrize(
    "payload",
    [
        chat([{"type": "text", "text": PROMPT}]),
        chat("", tools=[{"type": "function", "function": {"name": "f", "description": PROMPT}}]),
        {"data": [[0, {"inputs": PROMPT}]]},
        {"dataframe_split": {"index": [0], "columns": ["input"], "data": [[PROMPT]]}},
        {"model": "e5", "input": [PROMPT]},
        {"model": "e5", "input": PROMPT},
        {"model": "r", "query": PROMPT, "documents": ["a"]},
        {"model": "r", "query": "a", "documents": (PROMPT,)},
    ],
    ids=lambda payload: json.dumps(payload)[:40],
)
def test_texts_are_found_wherever_protocols_put_them(payload: object) -> None:
    assert "Lovelace" not in without_private_text(f"bad: {PROMPT}", payload)


@pytest.mark.parametrize(
    "text",
    [
        "sécurité à Zürich\tmaintenant",
        "身份证号码是一二三四五六七八",
        'he said "no" loudly',
        'it\'s "no" again',  # in Python, only with a backslash
        "a\xa0b\u200bc\x9fd\u2028e\u2029f\u200bg\xa0h",  # and these, which repr alone escapes
    ],
)
@pytest.mark.parametrize(
    "quote",
    [str, json.dumps, lambda text: json.dumps(json.dumps(text)[1:-1]), repr],
    ids=["plain", "JSON", "JSON in JSON", "Python"],
)
def test_texts_quoted_with_escapes_are_masked(text: str, quote: object) -> None:
    assert callable(quote)
    assert without_private_text(f"<{quote(text)}>", chat(text)).strip("<>…'\"") == ""


@pytest.mark.parametrize("payload", [None, [], "text", {}, chat("short"), {"messages": None}])
def test_without_a_text_of_some_length_the_message_stays(payload: object) -> None:
    assert without_private_text("It failed: short", payload) == "It failed: short"


@given(st.text(st.characters(max_codepoint=127), max_size=100))
def test_ascii_is_read_as_any_text_is(text: str) -> None:
    assert redaction._ascii_view(text) == redaction._view(redaction._characters(text))


@given(st.text(min_size=8, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_eight_characters_of_a_text_survive(text: str, before: str, after: str) -> None:
    shown = without_private_text(before + text + after, chat(text))
    assert not any(text[at : at + 8] in shown for at in range(len(text) - 7) if "…" not in text[at : at + 8])


def test_an_image_of_megabytes_does_not_hold_up_the_error() -> None:
    """Once it is large, more of it is not looked at."""

    def seconds(size: int) -> float:
        image = "data:image/png;base64," + "iVBORw0KGgo" * (size // 11)
        payload = chat([{"type": "image_url", "image_url": {"url": image}}])
        message = f"cannot decode {image[:80]} {'of the request ' * 20}"
        assert "iVBORw0K" not in without_private_text(message, payload)
        shown = functools.partial(without_private_text, message, payload)
        return min(cpu_seconds(shown) for _ in range(5))

    assert seconds(22_000_000) < 10 * max(seconds(220_000), 1e-3)


# -- however it is quoted ------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "blanks doubled": lambda text: text.replace(" ", "   "),
    "blanks as line ends": lambda text: text.replace(" ", "\n"),
    "without blanks": lambda text: text.replace(" ", ""),
    "dashes": lambda text: text.replace(" ", "-"),
    "URL": quote,
    "form": quote_plus,
    "HTML": lambda text: (
        html.escape(text).replace(" ", "&nbsp;").replace("e", "&#101;").replace("a", "&#x61;")
    ),
    "JSON escapes": lambda text: "".join(f"\\u{ord(character):04x}" for character in text),
    "JSON escapes twice": lambda text: "".join(f"\\\\u{ord(character):04x}" for character in text),
    "URL twice": lambda text: quote("".join(f"%{ord(character):02x}" for character in text)),
    "URL of JavaScript": lambda text: "".join(f"%u{ord(character):04x}" for character in text),
    "HTML twice": lambda text: html.escape("".join(f"&#{ord(character)};" for character in text)),
    "Python escapes": lambda text: "".join(f"\\x{ord(character):02x}" for character in text),
    "Python escapes of eight digits": lambda text: "".join(f"\\U{ord(character):08x}" for character in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 within more": lambda text: base64.b64encode(f"xy{text}z".encode()).decode(),
    "data as Basic": lambda text: "Basic " + base64.b64encode(f"user:{text}".encode()).decode(),
}


def folded(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())


@pytest.mark.parametrize("form", FORMS)
def test_a_text_is_masked_however_it_is_quoted(form: str) -> None:
    quoted = FORMS[form](PROMPT)
    shown = without_private_text(f"cannot read <{quoted}> here", chat(PROMPT))
    assert quoted not in shown
    assert folded(PROMPT)[:16] not in folded(shown)
    assert shown.startswith("cannot read <")
    assert shown.endswith("> here")


# Letters beyond U+FFFF, which JSON writes as two escapes each.
MATHEMATICAL = "".join(
    chr(0x1D41A + ord(letter) - ord("a")) if letter != " " else letter for letter in "salary of jane roe"
)
BEYOND_ASCII: dict[str, tuple[str, Callable[[str], str]]] = {
    "two escapes for a character": (MATHEMATICAL, lambda text: json.dumps(text)[1:-1]),
    "one escape for a character": (MATHEMATICAL, ascii),
    "escapes of bytes": ("山田花子の給与の明細書", lambda text: repr(text.encode())),
    "octal escapes of bytes": (
        "山田花子の給与の明細書",
        lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    ),
    "escapes of characters": ("Gehälter für Jürgen Müßig", ascii),
}


@pytest.mark.parametrize("name", BEYOND_ASCII)
def test_a_text_beyond_ascii_is_masked_however_it_is_escaped(name: str) -> None:
    text, form = BEYOND_ASCII[name]
    shown = without_private_text(f"cannot read <{form(text)}> here", chat(text))
    assert shown.count("\\") <= 2, shown
    assert shown.startswith("cannot read <")
    assert shown.endswith("> here")


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "salary band omega of staff"},
        "type": {"type": "string", "enum": ["verdict guilty"]},
        "secret_property_kappa": {"const": "kappa value 77"},
    },
}


@pytest.mark.parametrize(
    "private", ["salary band omega", "verdict guilty", "secret_property_kappa", "kappa value 77"]
)
def test_a_schema_is_private_below_any_name_and_so_are_its_own_names(private: str) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
    for payload in (
        chat("hi", tools=[tool]),
        chat("hi", response_format={"json_schema": {"schema": SCHEMA}}),
    ):
        assert private not in without_private_text(f"bad: '{private}'", payload)
    assert "look_up" in without_private_text("no such function: look_up", chat("hi", tools=[tool]))


@pytest.mark.parametrize(
    ("text", "message", "shown"),
    [
        ("PIN4711", "cannot take 'PIN4711'", "cannot take '…'"),
        ("PIN4711", "cannot take PIN4711 now", "cannot take … now"),
        ("PIN4711", "cannot take pin-4711", "cannot take …"),
        ("Jane", "no user “Jane” here", "no user “…” here"),
        ("Jane", "Janet fails", "Janet fails"),
        ("model", "unknown field 'model'", "unknown field 'model'"),
        ("a", "a value is missing", "a value is missing"),
    ],
)
def test_a_short_text_is_masked_where_it_is_quoted_whole(text: str, message: str, shown: str) -> None:
    assert without_private_text(message, chat(text)) == shown


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (
            "What is the temperature in Paris?",
            "Input validation error: `temperature` must be strictly positive",
        ),
        ("Explain max_completion_tokens.", "Use 'max_completion_tokens' instead"),
        ("Give me a json_object", "'response_format.type' must be 'json_object'"),
        ("Is this supported by you?", "tools are not supported"),
        ("The parameter is wrong", "unknown parameter: foo"),
    ],
)
def test_names_of_the_apis_fields_and_single_words_of_errors_stay(prompt: str, message: str) -> None:
    assert without_private_text(message, chat(prompt)) == message


@pytest.mark.parametrize("size", [20_000, 200_000, 900_000])
def test_a_large_request_is_searched_as_a_whole(size: int) -> None:
    canary = "the canary of Lower Norwood sings at dawn"
    filler = " ".join(f"w{number}x" for number in range(size // 7))
    for text in (canary + filler, filler[: size // 2] + canary + filler[size // 2 :], filler + canary):
        shown = without_private_text(f"cannot read '{canary}'!", chat(text))
        assert folded("Lower Norwood") not in folded(shown)
        assert without_private_text("nothing of it is here", chat(text)) == "nothing of it is here"


def test_time_grows_no_faster_than_the_request() -> None:
    def seconds(size: int) -> float:
        payload = chat("It is a text of some length and says little. " * (size // 45))
        message = "The model said: " + "everything else is a different story altogether. " * 9

        def masked() -> str:
            return without_private_text(message, payload)

        return cpu_seconds(masked)

    # Eight times if it is linear, 64 times if it grows with the square.
    assert growth(seconds, 1_000_000, 8, most=20) <= 20


# -- credentials ---------------------------------------------------------------------------------------------

KEY = "sk/field+canary==4723"
JWT = "eyJhbGciOiJSUzI1NiJ9." + "eyJzdWIiOiJjYW5hcnkifQ-_" * 40 + ".c2ln"


@pytest.fixture
def sent() -> SentSecrets:
    secrets = SentSecrets()
    secrets.add_headers(
        {"Authorization": f"Bearer {KEY}", "X-SF-SPCS-Authorization": f'Snowflake Token="{JWT}"'}
    )
    secrets.add("EMPTY1", "EMPTY")
    return secrets


@pytest.mark.parametrize(
    "form",
    [str, quote, lambda text: quote(text, safe=""), lambda text: quote(quote(text, safe="")),
     lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
     lambda text: base64.b64encode(text.encode()).decode(),
     lambda text: base64.b64encode(f"Bearer {text}".encode()).decode()],
    ids=["plain", "URL", "URL, all", "URL twice", "JSON", "base64", "base64 of the header"],
)  # fmt: skip
@pytest.mark.parametrize(
    "secret", [KEY, JWT, JWT[:30], JWT[100:140]], ids=["key", "token", "its head", "a part of it"]
)
def test_a_credential_is_masked_however_it_is_echoed(
    sent: SentSecrets, secret: str, form: Callable[[str], str]
) -> None:
    for before in ("Received=", "Bearer ", 'Snowflake Token="', "key: '"):
        shown = sent.masked(f"refused: {before}{form(secret)}, see the docs")
        assert form(secret) not in shown
        assert "refused: " in shown
        assert ", see the docs" in shown


@pytest.mark.parametrize("kind", ["PROGRAMMATIC_ACCESS_TOKEN", "KEYPAIR_JWT", "OAUTH"])
def test_the_kind_of_a_token_is_no_secret(kind: str) -> None:
    secrets = SentSecrets()
    secrets.add_headers(bearer(KEY, kind))
    told = f"Create a new programmatic access token: {kind.lower()} {kind} keypair JWT is invalid."
    assert secrets.masked(told) == told
    assert KEY not in secrets.masked(f"{told} {KEY}")


def test_a_short_credential_is_masked_as_a_word(sent: SentSecrets) -> None:
    assert sent.masked("the key EMPTY1 is wrong") == "the key … is wrong"
    assert sent.masked("EMPTY12, empty1, EMPTY") == "EMPTY12, empty1, EMPTY"


def test_words_that_a_credential_has_by_chance_stay() -> None:
    secrets = SentSecrets()
    secrets.add("endpoint-token-1234567890-abcdefgh")
    assert secrets.masked("no such endpoint: abc") == "no such endpoint: abc"


def test_as_many_credentials_are_kept_as_were_used_last() -> None:
    secrets = SentSecrets(kept=3)
    names = [f"canary-{number}-{'x' * 20}{number}" for number in range(5)]
    secrets.add(*names[:3])
    secrets.add(names[0])
    secrets.add(*names[3:])
    assert [secrets.masked(name) == "…" for name in names] == [True, False, False, True, True]


@pytest.mark.exhaustive
def test_credentials_of_any_length_are_kept_in_bounded_memory() -> None:
    secrets = SentSecrets()
    draw = random.Random(0)
    tracemalloc.start()
    for number in range(100):
        secrets.add(f"canary-{number}-{draw.randbytes(100_000).hex()}")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100 << 20  # without a bound, 453 MB
    assert secrets.masked("canary-99-") == "canary-99-"  # too short a part to be told
    last = f"canary-of-the-end-{draw.randbytes(40_000).hex()}"
    secrets.add(last)
    assert secrets.masked(f"bad token {last[:200]}") == "bad token …"


def test_every_error_is_made_without_the_credentials_that_were_sent() -> None:
    SENT_SECRETS.add("canary-credential-0815-of-a-test")
    error = ServiceDown(
        "It quotes canary-credential-0815-of-a-test.", "Not CANARY-credential-0815-of-a-test."
    )
    error.quote("again canary-credential-0815-of-a-test")
    for form in (str(error), repr(error), repr(error.args), repr(vars(error)), str(pickle.dumps(error))):
        assert "0815" not in form


# -- what is read, and what is shown -------------------------------------------------------------------------


def test_the_servers_words_are_read_unmasked_and_shown_masked() -> None:
    error = BadRequest("The service refuses the request (HTTP 400).", "Change it.")
    error.quote(f"cannot read {PROMPT}")
    error.mask_quotation(lambda words: without_private_text(words, chat(PROMPT)))
    assert error.server_text == f"cannot read {PROMPT}"
    assert error.message == "The service refuses the request (HTTP 400): cannot read …."
    for shown in (str(error), repr(error), repr(error.args), repr(vars(error)), str(pickle.dumps(error))):
        assert "Lovelace" not in shown
    for copied in (copy.copy(error), error.again(), pickle.loads(pickle.dumps(error))):
        assert "Lovelace" not in copied.server_text
    error.forget_server_text()
    assert "Lovelace" not in error.server_text


def test_our_own_words_are_not_masked() -> None:
    error = BadRequest("The service refuses the request (HTTP 400).")
    error.quote("The service refuses the request")
    error.mask_quotation(
        lambda words: without_private_text(words, chat("Why: the service refuses the request?"))
    )
    assert error.message.startswith("The service refuses the request (HTTP 400)")


def test_without_its_quotation_an_error_says_what_failed() -> None:
    error = BadRequest("The service refuses the request (HTTP 400).", status=400, request_id="r-1")
    error.quote("cannot read anything")
    plain = error.again().without_quotation()
    assert plain.message == "The service refuses the request (HTTP 400)."
    assert (plain.status, plain.request_id, type(plain)) == (400, "r-1", BadRequest)
