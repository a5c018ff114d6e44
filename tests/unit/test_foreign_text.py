"""Texts of others become one line of visible characters, whatever is in them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.operated import Verb
from spcs_llm.control.session import Identity
from spcs_llm.errors import ModelError, ServiceDown, SettingsError
from spcs_llm.monitor.operations import Operations
from spcs_llm.monitor.overview import Price
from spcs_llm.server_text.foreign_text import error_code, plain, request_id, without_markup
from spcs_llm.server_text.log_lines import one_line_logger
from tests.unit.test_control_operate import Account

ODD = ("Cc", "Cf", "Zl", "Zp", "Cs")


@given(st.text(alphabet=st.characters(), max_size=300))
def test_nothing_but_visible_characters_and_blanks_is_left(text: str) -> None:
    shown = plain(text)
    assert not [character for character in shown if unicodedata.category(character) in ODD]
    assert "\n" not in shown
    assert plain(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n2026-01-01 [INFO] admin logged in", "one 2026-01-01 [INFO] admin logged in"),
        ("one\r\ntwo\u2028three\x85four", "one two three four"),
        ("\x1b[31mred\x1b[0m\x1b]0;title\x07!", "red!"),
        ("abc\u202egnp.exe\u2066x\u2069", "abcgnp.exex"),
        ("a\u200bb\ufeffc\U000e0041", "abc"),
        ("a\ud800b", "ab"),
        ("  much\t\tblank  ", "much blank"),
        ("Zürich 身份 ok", "Zürich 身份 ok"),
    ],
)
def test_controls_are_taken_out_and_blanks_collapse(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize("text", ["x" * 10_000, "x\n" * 10_000, "\u200b" * 10_000_000])
def test_it_is_as_long_as_it_may_be(text: str) -> None:
    assert len(plain(text, 100)) <= 100


def test_a_text_that_is_cut_says_so() -> None:
    assert plain("a" * 10, 5) == "aaaa…"


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "<script>x</script>", "<!-- x", "<?php", "a <b>bold</b>"]
)
def test_markup_opens_nothing(text: str) -> None:
    assert "<" not in without_markup(text)


def test_a_comparison_is_no_markup() -> None:
    assert without_markup("3 < 5, a<=b, <|im_end|>") == "3 < 5, a<=b, <|im_end|>"


@pytest.mark.parametrize("nasty", ["a\nb", "\x1b[31m", "\u202e", "<img src=x>"])
def test_an_error_is_clean_however_its_texts_are_set(nasty: str) -> None:
    error = ServiceDown(f"It says {nasty}.", f"See {nasty}.")
    for changed in (error, error.again(), error.without_quotation()):
        assert nasty not in changed.message
    error.message = f"Again {nasty}."
    assert nasty not in repr(error.message)
    quoting = ModelError("It fails.")
    quoting.quote(f"because {nasty}")
    assert nasty not in str(quoting) + repr(quoting)


def test_our_own_placeholders_stay_in_complaints_about_settings() -> None:
    assert "<org>-<account>" in str(SettingsError("give https://<org>-<account>.snowflakecomputing.com"))


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("0b6f1c9e-0000-4000-8000-000000000002", True),
        ("a b", False),
        ("x" * 65, False),
        ("", False),
        (5, False),
    ],
)
def test_an_id_of_a_request_has_one_form(value: object, known: bool) -> None:
    assert request_id(value) == (value if known else None)


@pytest.mark.parametrize(
    ("value", "code"),
    [("390318", "390318"), (390318, "390318"), (" 390318 ", "390318"), ("1" * 7, None), ("39x", None), (True, None),
     (None, None), (10**5000, None), ("x" * 5000, None)],
    ids=range(9),
)  # fmt: skip
def test_a_code_is_a_number_of_few_digits(value: object, code: str | None) -> None:
    assert error_code(value) == code


HOSTILE = "A\n2026-11-27 [INFO] admin logged in\r\x1b[2K\u202egnp\u2028B"
ON_ONE_LINE = "A 2026-11-27 [INFO] admin logged in gnp B"


def test_a_record_is_one_line_whatever_it_names(caplog: pytest.LogCaptureFixture) -> None:
    """Snowflake documentation, "Identifier requirements": in double quotes, a name may have any character."""
    logger = one_line_logger("spcs_llm.any")
    assert one_line_logger("spcs_llm.any") is logger
    with caplog.at_level("INFO", "spcs_llm.any"):
        logger.info("Service %s of %s has 100%% of %d.", HOSTILE, "M\u00fcller", 2)
        logger.info("plain %s", "and\u00a0wide")
        logger.info(HOSTILE)
    assert caplog.messages == [
        f"Service {ON_ONE_LINE} of M\u00fcller has 100% of 2.",
        "plain and wide",
        ON_ONE_LINE,
    ]
    assert len(logger.filters) == 1


def test_the_log_of_operators_is_one_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    account = Account(f"ML|PROD|{HOSTILE}|RUNNING|GPU|false|1")
    account.session.answers["ALTER SERVICE"] = []
    account.session.identity = Identity(HOSTILE, HOSTILE, None)
    operations = Operations(lambda: account.session, price_list())
    service = QualifiedName("ML", "PROD", HOSTILE)
    asked = operations.preview(HOSTILE, Verb.SUSPEND, service, Price(3.0, "USD", "as entered"))
    with caplog.at_level("INFO", "spcs_llm"):
        operations.confirm(HOSTILE, asked["confirmation"])
    (message,) = caplog.messages
    assert message.isprintable()
    assert message.count("admin logged in") == 4
