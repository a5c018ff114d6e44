"""Names as people type them, as SHOW prints them and as statements have them."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control import identifiers, statements
from spcs_llm.control.identifiers import NotAName, QualifiedName
from spcs_llm.control.service_patterns import Pattern

NAMES = st.text(st.characters(blacklist_characters="\x00"), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("typed", "shown", "sql"),
    [
        ("my_service", "MY_SERVICE", "MY_SERVICE"),
        ('"MixedCase"', "MixedCase", '"MixedCase"'),
        ('"say ""hi"""', 'say "hi"', '"say ""hi"""'),
        ('"PLAIN"', "PLAIN", "PLAIN"),
        ("order", "ORDER", '"ORDER"'),
        (" a$1 ", "A$1", "A$1"),
    ],
)
def test_a_typed_name_is_read_as_snowflake_reads_it(typed: str, shown: str, sql: str) -> None:
    assert identifiers.typed(typed) == shown
    assert identifiers.quoted(shown) == sql


@pytest.mark.parametrize("text", ["", "a b", "1a", "a;b", "a--b", '"', '""', '"a', "é", "a.b"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(NotAName, match="name of Snowflake"):
        identifiers.typed(text)


@pytest.mark.parametrize("text", ["a.b", "a.b.c.d", "a..c", ".a.b", "a.b.", "", "a.b.c d"])
def test_a_full_name_has_three_parts(text: str) -> None:
    with pytest.raises(NotAName):
        identifiers.qualified(text)


def test_a_dot_within_quotes_does_not_part() -> None:
    name = identifiers.qualified('db."my.schema"."s ""q"" "')
    assert name == QualifiedName("DB", "my.schema", 's "q" ')
    assert name.sql == 'DB."my.schema"."s ""q"" "'


@given(NAMES)
def test_a_shown_name_survives_the_way_into_a_statement_and_back(shown: str) -> None:
    assert identifiers.typed(identifiers.quoted(shown)) == shown


@given(NAMES, NAMES, NAMES)
def test_a_full_name_survives_the_way_into_a_statement_and_back(
    database: str, schema: str, name: str
) -> None:
    full = QualifiedName(database, schema, name)
    assert identifiers.qualified(full.sql) == full


@given(st.text())
def test_a_literal_ends_where_it_should(text: str) -> None:
    written = identifiers.literal(text)
    inner = written[1:-1].replace("\\\\", "").replace("''", "")
    assert "'" not in inner
    assert not inner.endswith("\\")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SHOW SERVICES EXCLUDE JOBS IN ACCOUNT", "SHOW SERVICES"),
        ("show service containers in service A.B.C", "SHOW SERVICE CONTAINERS"),
        ("ALTER SERVICE SERVICES.B.C SUSPEND", "ALTER SERVICE"),
        ("SELECT * FROM secrets", "SELECT"),
        ("DESCRIBE COMPUTE POOL P", "DESCRIBE COMPUTE POOL"),
        ("'x'", "statement"),
    ],
)
def test_the_kind_of_a_statement_names_nothing(statement: str, kind: str) -> None:
    assert statements.kind(statement) == kind


def test_bindings_become_literals_where_a_session_takes_none() -> None:
    bound = statements.with_literals("""SELECT '?', "a?", ?, ?""", ["it's", "\\"])
    assert bound == """SELECT '?', "a?", 'it''s', '\\\\'"""


@pytest.mark.parametrize("bindings", [[], ["a", "b"]])
def test_bindings_must_be_as_many_as_there_are_places(bindings: list[str]) -> None:
    with pytest.raises(ValueError, match="than there are bindings"):
        statements.with_literals("SELECT ?", bindings)


@pytest.mark.parametrize("invisible", ["\u200b", "\ufeff", "\u2060", "\u200e"], ids=ascii)
def test_what_nobody_sees_in_a_name_is_not_part_of_it(invisible: str) -> None:
    """google/conscrypt#363: names that were copied from a page end with a blank of no width. Addresses lose it, too."""
    assert identifiers.typed(f"{invisible}chat{invisible}") == "CHAT"
    assert identifiers.qualified(f"{invisible}ml.prod{invisible}.ch{invisible}at") == ("ML", "PROD", "CHAT")
    assert Pattern.read(f"ml.prod.*{invisible}").fits(QualifiedName("ML", "PROD", "CHAT"))
    assert identifiers.typed(f'"a{invisible}b"') == f"a{invisible}b", "in double quotes a name is as it is"


@given(st.text('"a.\0 ', max_size=8))
def test_names_in_quotes_are_those_of_the_plain_expression(text: str) -> None:
    plain = re.compile(r'("(?:[^"\x00]|"")+"|[^."\s]+)(?:\.|$)')
    found, expected = identifiers._PART.match(text), plain.match(text)
    assert (found and found.span()) == (expected and expected.span())
    is_quoted = re.fullmatch(r'"(?:[^"\x00]|"")+"', text) is not None
    assert (identifiers._QUOTED.fullmatch(text) is not None) is is_quoted


def test_a_name_without_its_last_quote_takes_no_memory() -> None:
    """Any viewer of the webapp can send one."""
    text = 'A.B."' + "x" * 1_000_000
    tracemalloc.start()
    assert identifiers.parts(text) == []
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000
