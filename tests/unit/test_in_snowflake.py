"""Jobs inside Snowflake, module by module: templates, texts, schemas, signatures, slices, and what failures mean."""

from __future__ import annotations

import json
import re
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.session import Identity
from spcs_llm.control.sql_refusals import sql_error, sql_error_in_text
from spcs_llm.errors import NetworkError, SettingsError, SpcsError, SqlError
from spcs_llm.in_snowflake import form, job_statement
from spcs_llm.in_snowflake.answer_fields import UnfitSchema, read_fields
from spcs_llm.in_snowflake.estimate import Rate, check_limit, read_rate
from spcs_llm.in_snowflake.figures import counted, rows_left, usd
from spcs_llm.in_snowflake.form import RecipeFields, read_settings
from spcs_llm.in_snowflake.input_columns import InputColumn, key_text
from spcs_llm.in_snowflake.model_call import find_call
from spcs_llm.in_snowflake.outputs import Outputs, dimensions
from spcs_llm.in_snowflake.questions import plan_questions
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy, row_reason, told, without_values
from spcs_llm.in_snowflake.settings_table import create_statements
from spcs_llm.in_snowflake.signature import (
    Call,
    Form,
    Function,
    Sampling,
    UnfitFunction,
    form_of,
    read_functions,
)
from spcs_llm.in_snowflake.slice_runner import Progress, SliceRunner
from spcs_llm.in_snowflake.template import ColumnPiece, UnknownColumn, read_template, resolved
from spcs_llm.in_snowflake.texts import MAX_BYTES, fill_statements
from spcs_llm.in_snowflake.work_tables import HASHES, Slice, slices, work_tables
from spcs_llm.whole_characters import whole_characters
from tests.unit.test_descriptors import ROOT

from .scripted_session import ScriptedSession, rows

CHAT = {"service": "DB.S.SVC", "keyColumns": ["ID"], "promptTemplate": "{{TEXT}}"}
INPUT = QualifiedName("DB", "S", "INPUT")
SCHEMA_OF_ERROR = '{"properties": {"answer_error": {"type": "string"}}}'
HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("'\"$`{}\\;?:-\0"))) | st.sampled_from(
    ["$$", "${projectKey}", "{{x}}", "''", "\\'", "\0", "x'); DROP TABLE t; --", "?"]
)


# -- prompts ---------------------------------------------------------------------------------------


def test_a_template_is_texts_and_columns_by_turns() -> None:
    template = read_template('Hi {{ name }},\n{{"odd ""one"""}}{{b}} end')
    assert template.pieces == (
        "Hi ", ColumnPiece("name"), ",\n", ColumnPiece('odd "one"'), ColumnPiece("b"), " end",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["{{", "}}", "{{}}", "{{ }}", "{ {a} }", "${x}", "{{a\nb}}", "{{{"])
def test_braces_without_a_name_are_text(text: str) -> None:
    assert read_template(text).pieces == (text,)
    assert read_template(text).unread == text.count("{{")


def test_what_is_opened_and_not_closed_is_counted_unless_it_is_meant() -> None:
    assert read_template("{{a}} to {{lang} {{ }} {{}} {{").unread == 4
    assert read_template("{{{a}}} \\{{ \\{{{ \\{{{{b}} {").unread == 0


def test_a_backslash_makes_a_placeholder_text() -> None:
    assert read_template("\\{{a}} {{b}}").pieces == ("{{a}} ", ColumnPiece("b"))


@given(HOSTILE)
def test_a_text_without_placeholders_stays_as_it_is(text: str) -> None:
    text = text.replace("{{", "")
    assert "".join(read_template(text).texts) == text


def test_a_column_is_found_by_its_name_or_by_the_only_one_that_differs_in_case() -> None:
    assert resolved("a", ["A", "a"]) == "a"
    assert resolved("b", ["A", "B"]) == "B"
    for columns in (["A", "B"], ["Ca", "cA"]):
        with pytest.raises(UnknownColumn):
            resolved("ca", columns)


# -- texts in statements ---------------------------------------------------------------------------


def filled(statements: list[str]) -> dict[str, str]:
    """What the columns hold after the statements."""
    found: dict[str, bytes] = {}
    for statement in statements:
        assert re.fullmatch(
            r"UPDATE T SET (?:(?:, )?(\w+) = \1 \|\| HEX_DECODE_STRING\('[0-9a-f]*'\))+", statement
        )
        for column, digits in re.findall(r"(\w+) = \w+ \|\| HEX_DECODE_STRING\('([0-9a-f]*)'\)", statement):
            piece = bytes.fromhex(digits)
            piece.decode()  # each piece is whole characters
            found[column] = found.get(column, b"") + piece
    return {column: data.decode() for column, data in found.items()}


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), HOSTILE.filter(bool)))
def test_no_text_is_in_a_statement_and_all_arrive(texts: dict[str, str]) -> None:
    assert filled(list(fill_statements("T", texts))) == {
        column: whole_characters(text) for column, text in texts.items()
    }


@pytest.mark.parametrize("character", ["a", "ß", "\u20ac", "\U0001f600"])
def test_a_megabyte_is_put_together_of_short_statements(character: str) -> None:
    texts = {"A": character * 1_000_000, "B": "x"}
    statements = list(fill_statements("T", texts))
    assert filled(statements) == texts
    assert max(map(len, statements)) < 2.2 * MAX_BYTES


@given(HOSTILE.filter(str.strip), HOSTILE.filter(str.strip), HOSTILE.filter(bool))
def test_the_table_of_settings_never_has_a_text_in_its_statements(
    prompt: str, system: str, stop: str
) -> None:
    mark = "mark\u2620"
    config = {**CHAT, "promptTemplate": mark + prompt + "{{TEXT}}", "systemPrompt": mark + system}
    settings = read_settings({**config, "stopSequences": [mark + stop]})
    for statement in create_statements("T", settings, "ab12"):
        assert mark not in statement
        assert re.fullmatch(r"[A-Z0-9a-z_ ,()=|']+", statement)


# -- rows ------------------------------------------------------------------------------------------


def test_keys_of_several_columns_cannot_be_mixed_up() -> None:
    text = key_text([InputColumn("a", "TEXT"), InputColumn("b", "NUMBER")], "I")
    assert text == (
        "LENGTH(COALESCE(TO_VARCHAR(I.\"a\"), '')) || ':' || COALESCE(TO_VARCHAR(I.\"a\"), '') || "
        "LENGTH(COALESCE(TO_VARCHAR(I.\"b\"), '')) || ':' || COALESCE(TO_VARCHAR(I.\"b\"), '')"
    )


@pytest.mark.parametrize("kind", ["TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"])
def test_keys_that_differ_by_a_billionth_of_a_second_differ(kind: str) -> None:
    """dbt-labs/dbt-utils#850: a key of timestamps as text loses what is below a millisecond."""
    column = InputColumn("AT", kind)
    assert ".FF9" in key_text([column], "I")
    assert ".FF3" in column.text("I")  # in a prompt, as docs/in-snowflake.md says


@pytest.mark.parametrize(
    ("kind", "has_text"),
    [
        ("UUID", True),
        ("INTERVAL YEAR TO MONTH", True),
        ("VECTOR", False),
        ("GEOGRAPHY", False),
        ("FILE", False),
    ],
)
def test_what_snowflake_casts_to_text_has_one(kind: str, has_text: bool) -> None:
    """Snowflake documentation, "Data type conversion"."""
    assert InputColumn("C", kind).has_text is has_text


def test_a_text_is_read_without_its_collation() -> None:
    """Snowflake documentation, "Collation support"; mlorek/frostlake, CollationTest, checked against an account.

    Two columns of different collations cannot stand in one prompt or key (002322), and a cast has none.
    """
    columns = [InputColumn(name, "TEXT") for name in ("ID", "TEXT")]
    for asked in ({"promptTemplate": "{{TEXT}}"}, {"task": "EMBEDDING", "textColumn": "TEXT"}):
        planned = plan_questions(read_settings({**CHAT, **asked}), INPUT, columns)
        assert "TO_VARCHAR(I.TEXT)" in planned.prompt
    assert key_text(columns, "I").replace("TO_VARCHAR(I.", "").count("I.") == 0


def test_null_of_json_is_an_empty_text_as_null_is() -> None:
    """Snowflake documentation, "TO_CHAR, TO_VARCHAR": null of JSON in a VARIANT becomes the word null.

    A text that is not there got the vector of that word.
    """
    columns = [InputColumn("ID", "NUMBER"), InputColumn("BODY", "VARIANT")]
    for asked in ({"promptTemplate": "{{BODY}}"}, {"task": "EMBEDDING", "textColumn": "BODY"}):
        planned = plan_questions(read_settings({**CHAT, **asked}), INPUT, columns)
        assert planned.prompt == "COALESCE(TO_VARCHAR(STRIP_NULL_VALUE(I.BODY)), '')"


@pytest.mark.parametrize("field", ["keptColumns", "keyColumns"])
def test_a_column_that_is_named_twice_is_taken_once(field: str) -> None:
    """snowplow/snowplow-rdb-loader#1347: a table with two columns of one name is refused, after all rows were asked."""
    columns = [InputColumn("ID", "NUMBER"), InputColumn("TEXT", "TEXT")]
    settings = read_settings({**CHAT, "promptTemplate": "{{TEXT}}", field: "ID\nid\nTEXT"})
    planned = plan_questions(settings, INPUT, columns)
    assert (planned.kept if field == "keptColumns" else planned.keys) == tuple(columns)


def test_vectors_of_an_earlier_model_are_not_measured() -> None:
    """tobi/qmd#501, HKUDS/LightRAG#2233: what another model has left is of another length.

    A run that was stopped leaves its vectors. After another version of the model had embedded all rows, VECTOR was
    refused because of them, in each further run as well.
    """
    query = dimensions(work_tables(INPUT, chat=False))
    assert "PROMPT_KEY = Q.PROMPT_KEY" in query


def test_halves_of_characters_are_sent_as_everywhere_else() -> None:
    """vitorpamplona/amethyst#3254: text that was cut by units of UTF-16 ends with half a character."""
    texts = {"SYSTEM": "a\ud83d", "PART_0": "\ud83d\ude00"}
    assert filled(list(fill_statements("T", texts))) == {"SYSTEM": "a\ufffd", "PART_0": "\U0001f600"}
    assert job_statement.written(["a\ud83d", "\ud83d\ude00"]) == '["a\\uFFFD", "\\U0001F600"]'


def test_a_column_is_named_with_its_dots() -> None:
    """entechlog/dbt-snow-mask#80: names of columns have dots where a source had them."""
    columns = [InputColumn("ID", "NUMBER"), InputColumn("CONFIG.ids.Org", "TEXT")]
    settings = read_settings({**CHAT, "promptTemplate": "{{CONFIG.ids.Org}}!"})
    planned = plan_questions(settings, INPUT, columns)
    assert planned.prompt == "COALESCE(TO_VARCHAR(I.\"CONFIG.ids.Org\"), '') || P.PART_0"


@pytest.mark.parametrize(
    ("form", "label"),
    [
        ({}, "'Output column'"),
        ({"outputColumn": "TEXT", "keptColumns": ["ID", "TEXT_error"]}, "'Output column'"),
        ({"keptColumns": ["ID"], "jsonSchema": SCHEMA_OF_ERROR}, "'JSON schema'"),
    ],
)
def test_the_column_of_reasons_has_no_name_of_another_column(form: dict[str, Any], label: str) -> None:
    """dbt-labs/dbt-fusion#412, snowplow/snowplow-rdb-loader#1347: CREATE TABLE refuses two columns of one name.

    The failed rows of one recipe are the input of the next, with the reasons why they failed.
    """
    columns = [InputColumn(name, "TEXT") for name in ("ID", "TEXT", "answer_error", "TEXT_error")]
    with pytest.raises(SettingsError, match=re.escape(label)) as refused:
        plan_questions(read_settings({**CHAT, **form}), INPUT, columns)
    assert "_error" in refused.value.message


@pytest.mark.parametrize(
    "kind", ["ARRAY", "OBJECT", "VARIANT", "MAP", "VECTOR", "GEOGRAPHY", "GEOMETRY", "TEXT", "DATE", "NUMBER"]
)
def test_a_kept_column_can_be_written_into_a_text_column(kind: str) -> None:
    """metabase/metabase#13505, spiceai/spiceai#10451: tools know no type of their own for these, and take text."""
    columns = [InputColumn(name, "TEXT") for name in ("ID", "TEXT")] + [InputColumn("K", kind)]
    settings = read_settings(CHAT)
    questions = plan_questions(settings, INPUT, columns)
    outputs = Outputs(settings, questions, work_tables(INPUT, chat=True), as_text=True)
    first = outputs.answers(with_failures=False).partition(" AS K,")[0]
    assert ("TO_JSON(" in first) is (kind not in ("TEXT", "DATE", "NUMBER"))


@given(st.integers(1, 5000))
def test_slices_together_are_all_hashes(count: int) -> None:
    found = slices(count)
    assert (found[0].low, found[-1].high, len(found)) == (0, HASHES, count)
    assert all(one.high == other.low for one, other in zip(found, found[1:]))


@given(st.integers(0, HASHES - 2), st.integers(2, 1000))
def test_halves_lose_nothing(low: int, width: int) -> None:
    one, other = Slice(low, low + width).halves()
    assert (one.low, one.high, other.high) == (low, other.low, low + width)
    assert one.high > one.low
    assert other.high > other.low


class TimedWork:
    """Questions that take a time each, on a warehouse that ends a statement after another time."""

    def __init__(self, rows: int, row_seconds: float, limit: float) -> None:
        self.rows, self.row_seconds, self.limit = rows, row_seconds, limit
        self.now = self.lost = 0.0
        self.answered = 0
        self.done: set[Slice] = set()

    @property
    def session(self) -> Any:
        return self

    def clock(self) -> float:
        return self.now

    def check_turn(self) -> None: ...

    def sleep(self, seconds: float) -> None: ...

    def pending(self, part: Slice) -> int:
        return 0 if part in self.done else self.rows * part.high // HASHES - self.rows * part.low // HASHES

    def change(self, part: Any) -> None:
        seconds = self.pending(part) * self.row_seconds
        self.now += min(seconds, self.limit)
        if seconds > self.limit:
            self.lost += self.limit
            raise SqlError("Statement reached its statement or warehouse timeout", code="000630")
        self.answered += self.pending(part)
        self.done.add(part)


@pytest.mark.parametrize("limit", [8.0, 40.0, 74.0, 120.0])
def test_a_warehouse_that_ends_statements_early_is_not_asked_for_as_much_again(limit: float) -> None:
    """xlang-ai/Spider2#152, Snowflake-Labs/semantic-model-generator#221: a warehouse has a limit of its own.

    Each slice was sized for 75 seconds, ended by the warehouse, and asked again in halves: twice the cost.
    """
    work: Any = TimedWork(100_000, 0.1, limit)
    runner = SliceRunner(work, lambda part: part, 1)  # type: ignore[arg-type, return-value]
    runner.run_slice(Slice(0, HASHES // 10_000))
    runner.run_all(work.rows)
    assert work.answered >= work.rows
    assert work.lost < 0.05 * work.now


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "USD 0.00"), (0.01, "USD 0.01"), (1234.5, "USD 1,234.50"), (0.0099, "USD 0.0099"), (0.00123, "USD 0.0012"),
        (1e-6, "USD 0.0000010"),
    ],
)  # fmt: skip
def test_an_amount_below_a_cent_is_not_nothing(amount: float, said: str) -> None:
    assert usd(amount) == said


def test_one_thing_is_one() -> None:
    assert [counted(count, "row") for count in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert [rows_left(count) for count in (1, 2)] == ["1 row is left", "2 rows are left"]


@pytest.mark.parametrize(
    ("done", "seconds"), [((0, 4, 0, 8), 2), ((6, 2, 4, 4), 1), ((8, 0, 4, 0), 0.5), ((), 0)]
)
def test_a_row_that_was_refused_costs_as_well(done: tuple[float, ...], seconds: float) -> None:
    """A sample of rows that were all refused made the rest seem to cost nothing, whatever the limit."""
    assert Progress(*done).seconds_of_all_per_row == seconds  # type: ignore[arg-type]


def test_work_tables_are_beside_the_output_and_found_again() -> None:
    one, other = (astuple(work_tables(QualifiedName("DB", "s p", name), chat=True)) for name in ("A", "B"))
    assert one == astuple(work_tables(QualifiedName("DB", "s p", "A"), chat=True))
    assert not set(one) & set(other)
    *names, mark = one
    assert all(re.fullmatch(rf'DB\."s p"\.{mark}_[A-Z]+', name) for name in names)
    assert re.fullmatch("SPCS_LLM_[0-9A-F]{12}", mark)
    vectors = work_tables(QualifiedName("DB", "s p", "A"), chat=False)
    assert (vectors.answers, vectors.stale) == (one[3], one[2])


# -- answers ---------------------------------------------------------------------------------------


def test_the_properties_of_a_schema_are_fields() -> None:
    schema = {
        "properties": {"a": {"type": ["null", "integer"]}, "b": {"enum": ["x", "y"]}}, "required": ["b"],
    }  # fmt: skip
    a, b = read_fields(json.dumps({"name": "n", "schema": schema}))
    assert (a.column_type, a.nullable, a.required) == ("NUMBER(38, 0)", True, False)
    assert (b.column_type, b.nullable, b.required, b.choices) == ("VARCHAR", False, True, ("x", "y"))


KIND = {"enum": ["a", "b"], "title": "Kind", "type": "string"}
NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("written", "column_type", "nullable", "choices"),
    [
        # pydantic/pydantic#8829, pnthn-ai/polar_llama#44: Optional
        ({"anyOf": [{"type": "integer"}, NULL], "default": None}, "NUMBER(38, 0)", True, None),
        ({"anyOf": [{"type": "string", "maxLength": 3}]}, "VARCHAR", False, None),
        # act-now-coalition/covid-data-model#710: an Enum, and Optional of one
        ({"$ref": "#/$defs/Kind"}, "VARCHAR", False, ("a", "b")),
        ({"anyOf": [{"$ref": "#/$defs/Kind"}, NULL]}, "VARCHAR", True, ("a", "b")),
        ({"allOf": [{"$ref": "#/$defs/Kind"}], "default": "a"}, "VARCHAR", False, ("a", "b")),
        ({"oneOf": [NULL, {"type": "boolean"}]}, "BOOLEAN", True, None),
        # a Literal of one value
        ({"const": "x", "type": "string"}, "VARCHAR", False, ("x",)),
        ({"const": 7}, "NUMBER(38, 0)", False, (7,)),
    ],
)
def test_a_property_is_read_as_pydantic_writes_it(
    written: dict[str, Any], column_type: str, nullable: bool, choices: Any
) -> None:
    (found,) = read_fields(json.dumps({"$defs": {"Kind": KIND}, "properties": {"a": written}}))
    assert (found.column_type, found.nullable, found.choices) == (column_type, nullable, choices)


@pytest.mark.parametrize(
    "written",
    [
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"$ref": "#/$defs/Loop"},
        {"$ref": "#/$defs/None"},
        {"$ref": "https://example.com/kind.json"},
        {"anyOf": []},
        {"anyOf": "x"},
        {"$ref": 1},
        {"anyOf": [{"type": "string"}, True]},
    ],
)
def test_a_property_of_no_one_type_is_refused_however_it_is_written(written: dict[str, Any]) -> None:
    schema = {"$defs": {"Loop": {"$ref": "#/$defs/Loop"}}, "properties": {"a": written}}
    with pytest.raises(UnfitSchema, match="must give 'a' one type"):
        read_fields(json.dumps(schema))


@pytest.mark.parametrize("depth", [100, 300, 450, 5000])
def test_a_property_of_any_depth_is_read_or_refused(depth: int) -> None:
    nested = '{"anyOf": [' * depth + '{"type": "date"}' + "]}" * depth
    with pytest.raises(SettingsError, match="'JSON schema'"):
        read_settings({**CHAT, "jsonSchema": f'{{"properties": {{"a": {nested}}}}}'})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "with 'properties'"),
        ('{"type": "array", "properties": {"a": {"type": "string"}}}', "must be the schema of an object"),
        ('{"properties": {"a": 1}}', "describes 'a'"),
        ('{"properties": {"a": {"type": ["string", "integer"]}}}', "must give 'a' one type"),
        ('{"properties": {"a": {"type": [{}]}}}', "must give 'a' one type"),
    ],
)
def test_what_is_not_such_a_schema_is_refused(schema: str, said: str) -> None:
    with pytest.raises(UnfitSchema, match=re.escape(said)):
        read_fields(schema)


# -- calls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "types"),
    [
        ("F(ARRAY, OBJECT) RETURN VARIANT", ("ARRAY", "OBJECT")),
        ("F(VARCHAR(16777216), NUMBER(38,0)) RETURN OBJECT", ("VARCHAR", "NUMBER")),
        ("F(MESSAGES ARRAY, DEFAULT TEMPERATURE FLOAT) RETURN OBJECT", ("ARRAY", "FLOAT")),
        ('[{"name": "MESSAGES", "type": "ARRAY"}]', ("ARRAY",)),
        # Snowflake documentation, BCR-1944, "Structured data types": the complete types of arguments.
        (
            "F(ARRAY(OBJECT(role VARCHAR(16), content VARCHAR NOT NULL)), MAP(VARCHAR, VARIANT)) RETURN VARIANT",
            ("ARRAY", "MAP"),
        ),
        (
            '[{"name": "TEXT", "type": "VARCHAR(16777216)"}, {"name": "P", "type": "OBJECT(a NUMBER(38,0))"}]',
            ("VARCHAR", "OBJECT"),
        ),
        (
            "F(" + "ARRAY(" * 5000 + "VARCHAR" + ")" * 5000 + ") RETURN OBJECT(a ARRAY(VARCHAR(1)))",
            ("ARRAY",),
        ),
        ("F() RETURN OBJECT", ()),
        ("something new", None),
        (None, None),
    ],
)
def test_arguments_are_read_in_every_form(arguments: str | None, types: Any) -> None:
    (found,) = read_functions([{"name": "F", "arguments": arguments}, {"name": None}])
    assert (found.name, found.arguments) == ("F", types)


@pytest.mark.parametrize(
    ("types", "chat", "expected"),
    [
        (("ARRAY",), True, Form.PARAMS),
        (("ARRAY", *["FLOAT"] * 9), True, Form.COLUMNS),
        (("ARRAY", *["FLOAT"] * 10), True, Form.PARAMS),
        (("ARRAY", "OBJECT"), True, Form.OPTIONS),
        (("VARCHAR",), True, Form.TEXT),
        (("VARCHAR", "VARCHAR", "OBJECT"), True, Form.TEXT_SYSTEM_OPTIONS),
        (("STRING", "NUMBER"), False, Form.TEXT),
        (("VARCHAR", "OBJECT"), False, Form.TEXT_OPTIONS),
        (None, True, Form.PARAMS),
        (None, False, Form.TEXT),
    ],
)
def test_the_form_of_a_call_follows_from_the_arguments(types: Any, chat: bool, expected: Form) -> None:
    assert form_of(Function("F", types), chat=chat) is expected


@pytest.mark.parametrize("types", [(), ("BOOLEAN",), ("ARRAY",)])
def test_a_function_that_takes_something_else_is_refused(types: Any) -> None:
    with pytest.raises(UnfitFunction):
        form_of(Function("F", types), chat=False)


def test_the_number_of_tokens_is_always_sent_and_arguments_are_never_mixed() -> None:
    named = Call("S!M", Form.PARAMS, Sampling(None, 300), stops=True).sql
    assert named.startswith("TO_VARIANT(S!M(MESSAGES => ")
    assert ", MAX_COMPLETION_TOKENS => 300, STOP => PARSE_JSON(P.STOP)::ARRAY))" in named
    columns = Call("S!M", Form.COLUMNS, Sampling(0.5, 300)).sql
    assert "=>" not in columns
    assert columns.endswith(
        "0.5::FLOAT, 300, ARRAY_CONSTRUCT(), 1, FALSE, 1.0::FLOAT, 0.0::FLOAT, 0.0::FLOAT, NULL::OBJECT))"
    )
    assert Call("F", Form.TEXT_OPTIONS).sql == "TO_VARIANT(F(Q.PROMPT, OBJECT_CONSTRUCT()))"


# -- the form --------------------------------------------------------------------------------------


def test_the_fields_are_those_of_the_form() -> None:
    shown = json.loads((ROOT / "custom-recipes/spcs-llm-in-snowflake/recipe.json").read_text())["params"]
    fields = {field.name: field for field in vars(RecipeFields).values() if hasattr(field, "kinds")}
    by_name = {param["name"]: param for param in shown if param["type"] != "SEPARATOR"}
    assert set(fields) - set(by_name) == set()
    assert set(by_name) <= set(fields)
    for name, param in by_name.items():
        assert fields[name].label == param["label"]
        assert param.get("defaultValue", fields[name].absent) == fields[name].absent
        bounds = [param[key] for key in ("minI", "maxI") if key in param]
        assert bounds in ([], [getattr(fields[name], "least", None), getattr(fields[name], "most", None)])
        assert "required" not in param


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"service": None},
            "'Service' is empty: enter the full name of a service, DATABASE.SCHEMA.SERVICE, or select one of"
            " 'Services found'. With engine JOB, enter a model and a compute pool instead.",
        ),
        (
            {"service": None, "engine": "SERVICE"},
            "'Service' is empty: enter the full name of a service, DATABASE.SCHEMA.SERVICE, or select one of"
            " 'Services found'.",
        ),
        ({"service": None, "listedService": {}}, "'Services found' must be text."),
        ({"promptTemplate": {}}, "'Prompt' must be text."),
        ({"task": "EMBEDDING", "textColumn": {}}, "'Text column' must be text."),
    ],
)
def test_a_complaint_is_one_sentence_and_what_is_wrong_is_not_called_empty(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({**CHAT, **changes})
    assert refused.value.message == told


@pytest.mark.parametrize("empty", [None, "", "  ", []])
def test_empty_fields_mean_what_absent_ones_mean(empty: Any) -> None:
    names = [field.name for field in vars(RecipeFields).values() if hasattr(field, "kinds")]
    left = {name: empty for name in names if name not in CHAT}
    if empty == []:
        left = {name: [] for name in ("examples", "stopSequences", "keptColumns")}
    assert read_settings({**left, **CHAT}) == read_settings(CHAT)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *((name, left) for name in ("stopSequences", "keptColumns", "keyColumns") for left in (None, "")),
        *(("examples", left) for left in (None, {}, {"input": "", "output": None})),
    ],
)
def test_an_entry_that_was_added_and_not_filled_in_is_passed_over(name: str, left: Any) -> None:
    given = [{"input": "1", "output": "one"}] if name == "examples" else ["ID"]
    assert read_settings({**CHAT, name: [*given, left]}) == read_settings({**CHAT, name: given})


@pytest.mark.parametrize(
    "given",
    [
        {"jsonSchema": '{"properties": {"": {"type": "string"}}}'},
        {"jsonSchema": f'{{"properties": {{"{"x" * 256}": {{"type": "string"}}}}}}'},
        {"outputColumn": "x" * 256},
        {"outputColumn": "x" * 250},  # x…x_error is too long
    ],
)
def test_a_column_that_snowflake_could_not_create_is_refused_before_anything_is_asked(given: Any) -> None:
    """Snowflake documentation, "Object identifiers": up to 255 characters."""
    columns = [InputColumn("ID", "NUMBER"), InputColumn("TEXT", "TEXT")]
    with pytest.raises(SettingsError, match="255 characters"):
        plan_questions(read_settings({**CHAT, **given}), INPUT, columns)
    plan_questions(read_settings({**CHAT, "outputColumn": "x" * 249}), INPUT, columns)


def test_wrong_typed_values_are_read() -> None:
    left = {"maxOutputTokens": "300.0", "temperature": "0.5", "retryFailures": "true", "rowLimit": 4.0}
    settings = read_settings(
        {**CHAT, **left, "keyColumns": "A\nB", "stopSequences": "x\ny", "engine": "service"}
    )
    assert (settings.max_tokens, settings.temperature, settings.retry_failures) == (300, 0.5, True)
    assert (settings.row_limit, settings.keys, settings.stops, settings.engine) == (
        4,
        ("A", "B"),
        ("x", "y"),
        "SERVICE",
    )


@given(st.dictionaries(st.sampled_from([f.name for f in vars(RecipeFields).values() if hasattr(f, "kinds")]), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.none() | st.text() | st.integers()),
    st.dictionaries(st.text(), st.none() | st.text()))))  # fmt: skip
def test_whatever_the_form_leaves_is_read_or_refused_in_sentences(config: dict[str, Any]) -> None:
    try:
        read_settings(config)
    except SettingsError as error:
        assert error.message.startswith("'")
        assert error.message.endswith((".", "…"))


@pytest.mark.parametrize("config", [None, [], "x", 4])
def test_no_form_at_all_is_an_empty_one(config: Any) -> None:
    with pytest.raises(SettingsError, match="'Service' is empty"):
        read_settings(config)


def test_no_text_of_a_prompt_is_in_a_repr() -> None:
    schema = json.dumps({"properties": {"secret": {"type": "string"}}})
    texts = {
        "promptTemplate": "secret {{a}}",
        "systemPrompt": "secret",
        "stopSequences": ["secret"],
        "jsonSchema": schema,
    }
    examples = [{"input": "secret", "output": "secret"}]
    settings = read_settings({**CHAT, **texts, "examples": examples})
    assert "secret" not in repr(settings)
    assert "secret" not in repr(settings.examples)
    assert "secret" not in repr(settings.template)


def test_a_method_with_three_parts_is_a_function() -> None:
    settings = read_settings({**CHAT, "method": 'db.s."chat it"'})
    assert (settings.method, settings.function) == (None, QualifiedName("DB", "S", "chat it"))
    assert read_settings({**CHAT, "method": "__call__"}).method == "__CALL__"
    assert read_settings({**CHAT, "task": "chat"}).task == form.CHAT


# -- failures --------------------------------------------------------------------------------------


def refused(message: str, code: str | None = None) -> SqlError:
    return SqlError(message, code=code)


OVERLOADS = [
    ("ASK(NUMBER) RETURN VARCHAR", "ASK(VARCHAR) RETURN VARIANT"),
    ("ASK(VARCHAR) RETURN VARIANT", "ASK(NUMBER) RETURN VARCHAR"),
]


@pytest.mark.parametrize("listed", OVERLOADS)
@pytest.mark.parametrize("method", ["DB.S.ASK", "ASK"])
def test_of_functions_with_one_name_the_one_that_fits_is_called(method: str, listed: tuple[str, ...]) -> None:
    found = [{"name": "ASK", "arguments": arguments} for arguments in listed]
    session = ScriptedSession({"SHOW USER FUNCTIONS": found, "SHOW FUNCTIONS IN SERVICE": found})
    call = find_call(session, read_settings({**CHAT, "method": method}), QualifiedName("DB", "S", "SVC"))
    assert call.form is Form.TEXT


def test_functions_with_one_name_that_all_do_not_fit_are_refused() -> None:
    found = [{"name": "ASK", "arguments": f"ASK({kind}) RETURN VARCHAR"} for kind in ("NUMBER", "DATE")]
    session = ScriptedSession({"SHOW USER FUNCTIONS": found})
    with pytest.raises(SettingsError, match="'Method or function' is ASK, which "):
        find_call(session, read_settings({**CHAT, "method": "DB.S.ASK"}), QualifiedName("DB", "S", "SVC"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            refused("Request failed for external function F with remote service error: 500 'boom'", "100351"),
            Remedy.DIVIDE,
        ),
        (refused("remote service error: 400 'secret prompt'"), Remedy.DIVIDE),
        (refused("Error parsing JSON response for external function F", "100287"), Remedy.DIVIDE),
        (refused("remote service error: 503 'no healthy upstream'", "100351"), Remedy.WAIT),
        (
            # Snowflake-Labs/sfquickstarts#1459: nobody answers there, and no row is the reason.
            refused(
                "Request failed for external function F. Error: Remote service cannot be reached. Check the endpoint"
                " URL and try again.",
                "100350",
            ),
            Remedy.WAIT,
        ),
        # Newer words of Snowflake's have the status in quotes.
        (
            refused("remote service error: '503 'no healthy upstream''; requests batch-id: 01c7", "100351"),
            Remedy.WAIT,
        ),
        (refused("remote service error: '504 'timeout''; requests batch-id: 01c7", "100351"), Remedy.SHORTEN),
        (refused("remote service error: '400 'a prompt''; requests batch-id: 01c7", "100351"), Remedy.DIVIDE),
        # The proxy of a service is there before its model: snowflakedb/snowflake-ml-python, llm-d-routing-sidecar#40.
        (
            refused(
                'remote service error: 502 \'{"error": "proxy error: dial tcp 127.0.0.1:8000: connect: connection'
                " refused\"}'",
                "100351",
            ),
            Remedy.LOAD,
        ),
        (
            refused(
                'remote service error: 500 \'{"error": {"code": 503, "message": "Loading model"}}\'', "100351"
            ),
            Remedy.LOAD,
        ),
        (
            refused(
                'remote service error: 400 `{"status":"Not Found","message":"worker is not ready to accept jobs -'
                ' please retry the job later"}`',
                "100351",
            ),
            Remedy.LOAD,
        ),
        (refused('remote service error: 500 \'{"error": "the job queue is full"}\'', "100351"), Remedy.LOAD),
        (
            refused(
                'remote service error: 400 \'{"error": "maximum context length is 4096 tokens: the model is loading"}\''
            ),
            Remedy.DIVIDE,
        ),
        (refused("remote service error: 500 'Internal error: is the service starting?'"), Remedy.DIVIDE),
        # Both forms of Snowflake documentation, "Troubleshooting external functions".
        (refused("Request failed for external function F. Error: 503 'no healthy upstream'"), Remedy.WAIT),
        (refused('Request failed for external function F. Error: 429 \'{"message": "busy"}\''), Remedy.WAIT),
        (refused("Request failed for external function F. Error: 401 'no key'"), Remedy.DIVIDE),
        (refused("Request failed for external function F. Error: Timeout was reached"), Remedy.SHORTEN),
        # What a service says of one row is not what Snowflake says of all of them.
        (refused("remote service error: 400 'cannot answer: no hosts in the prompt'"), Remedy.DIVIDE),
        (refused("Timeout was reached"), Remedy.SHORTEN),
        (refused("remote service error: 504 'upstream request timeout'", "100351"), Remedy.SHORTEN),
        (refused("Statement reached its statement timeout", "000630"), Remedy.SHORTEN),
        (refused("internal error", "000603"), Remedy.REPEAT),
        (
            refused("SQL execution canceled", "000604"),
            Remedy.REPEAT,
        ),  # hankinsoft/SQLPro#625: not always by a person
        (refused("whatever"), Remedy.REPEAT),
        (refused("does not exist", "002003"), Remedy.STOP),
        (refused("no privilege", "003001"), Remedy.STOP),
        (refused("no warehouse", "000606"), Remedy.STOP),
        (refused("invalid identifier", "000904"), Remedy.STOP),
        (NetworkError("gone"), Remedy.REPEAT),
    ],
)
def test_each_failure_has_a_remedy(error: SpcsError, expected: Remedy) -> None:
    assert remedy(error) is expected


def test_the_words_of_a_service_are_in_a_rows_reason_and_in_no_log() -> None:
    error = refused(
        "Request failed for external function F with remote service error: 400 'the secret prompt'", "100351"
    )
    assert row_reason(error) == "The service refuses the row: 400 'the secret prompt'"
    assert told(error) == "The service answers with HTTP status 400."
    assert told(refused("remote service error: '400 'the secret prompt''", "100351")) == told(error)
    assert "secret" not in told(refused("service function failed: secret", "100335"))
    value = refused("Numeric value 'secret' is not recognized", "100038")
    assert remedy(value) is Remedy.STOP
    assert "secret" not in f"{without_values(value)!r} {told(value)}"
    rights = refused("Table 'T' does not exist", "002003")
    assert without_values(rights) is rights


@pytest.mark.parametrize(
    "text",
    [
        "Numeric value 'secret' is not recognized",
        'Error parsing JSON: unknown keyword "secret", pos 7',
        "Invalid UTF8 detected in string 'secret0xA3'",
        'Duplicate row detected during DML action Row Values: ["secret", 1]',
        "Can't parse 'secret' as date with format 'AUTO'",
        'Failed to cast variant value {"a":"secret"} to FIXED',
        "String 'secret' is too long and would be truncated",
        "Numeric value 'secret' is out of range",
        "User character length limit (10) exceeded by string 'secret'",
        "The following string is not a legal hex-encoded value: 'secret'",
        "DML operation to table T failed on column V with error: secret",
        "Error parsing XML: unknown tag, pos 3: secret",
        # Six digits of a user's are no code of Snowflake's, whatever it would mean.
        "Numeric value 'secret, customer 391234' is not recognized",
        "Numeric value 'secret 002003 (42S02): x' is not recognized",
        "Numeric value 'secret: does not exist or not authorized' is not recognized",
        "String 'secret, file 390318' is too long and would be truncated",
        'Failed to cast variant value "secret 002003" to FIXED',
    ],
)
def test_words_about_data_that_come_without_a_code_are_in_no_error(text: str) -> None:
    """DSS passes on what the driver says, which has no code."""
    error = sql_error_in_text("INSERT INTO T SELECT 1", f"Query failed: SnowflakeSQLException: {text}")
    assert remedy(error) is Remedy.STOP
    assert (error.code, error.hint) == ("100038", "")
    assert "secret" not in f"{without_values(error)!r} {told(error)}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Value 'secret 'and' more' is odd", "Snowflake refuses INSERT: Value '…' is odd."),
        ("Value 'secret 390318' is odd", "Snowflake refuses INSERT: Value '…' is odd."),
        ('Odd row ["secret", 1] in column 3', "Snowflake refuses INSERT: Odd row […] in column 3."),
        (f"Value '{'secret ' * 400}' is odd", "Snowflake refuses INSERT: Value '…"),
        (f"Value 'A' and '{'secret ' * 400}' are odd", "Snowflake refuses INSERT: Value '…"),
    ],
)
def test_what_an_unknown_refusal_quotes_is_in_no_error(text: str, shown: str) -> None:
    """Snowflake has more sentences about data than are known here."""
    error = sql_error_in_text("INSERT INTO T SELECT 1", f"SnowflakeSQLException: {text}")
    assert error.code is None
    assert without_values(error).message == shown
    assert told(error) == shown


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("INSERT INTO T SELECT 1", "SQL compilation error:\nObject 'X' already exists."),
        ("SHOW COMPUTE POOLS", "Unknown pool 'X'"),
        ("SELECT 1", "Session 390114 is odd"),
    ],
)
def test_names_in_a_refusal_are_shown(statement: str, text: str) -> None:
    error = sql_error_in_text(statement, text)
    assert without_values(error) is error


@pytest.mark.parametrize(
    "said",
    [
        '{"error": "object of model does not exist or not authorized"}',
        "Insufficient privileges",
        "invalid identifier in prompt",
        "statement timeout",
        "JWT token is invalid",
        "Order 391111 and 000606 (57P03) failed",
    ],
)
@pytest.mark.parametrize("form", [" with remote service error: 500 '{}'", ". Error: 500 '{}'"])
def test_what_a_service_says_is_no_refusal_of_snowflakes(form: str, said: str) -> None:
    """One row whose service answers in Snowflake's words stopped the job of all rows."""
    text = f"Request failed for external function F{form.replace('{}', said)}"
    for error in (sql_error_in_text("INSERT", text), sql_error("INSERT", text)):
        assert (error.code, error.sqlstate, error.hint) == (None, None, "")
        assert remedy(error) is Remedy.DIVIDE
        assert told(error) == "The service answers with HTTP status 500."
        assert row_reason(error).startswith(f"The service refuses the row: 500 '{said}")


def test_what_snowflake_says_of_sign_ins_pools_and_images_is_shown() -> None:
    """Codes that begin with 39 are Snowflake's own; snowflakedb/snowflake-cli, `api/errno.py`, has those of images."""
    image = refused("Snowflake refuses EXECUTE: Failed to retrieve image /db/s/repo/i:1", "397013")
    assert without_values(image) is image
    assert "/db/s/repo/i:1" in told(image)


# -- cost ------------------------------------------------------------------------------------------


def test_a_cost_is_credits_by_hours_by_price() -> None:
    rate = Rate(0.57, 1.0, 3.0)
    assert rate.cost(3600) == pytest.approx(4.71)
    assert rate.cost(0) == 0
    check_limit(4.72, rate.cost(3600), 10, rate)
    check_limit(None, None, 10, rate)
    with pytest.raises(SettingsError, match="the rest, 10 rows, would cost"):
        check_limit(4.70, rate.cost(3600), 10, rate)


@pytest.mark.parametrize("rate", [Rate(None, 1.0, 3.0), Rate(0.5, None, 3.0)])
def test_a_limit_cannot_be_kept_where_the_cost_is_not_known(rate: Rate) -> None:
    assert rate.cost(10) is None
    with pytest.raises(SettingsError, match="'Cost limit' cannot be kept"):
        check_limit(1.0, rate.cost(10), 10, rate)


@pytest.mark.parametrize(
    ("warehouse", "region", "credits"),
    [
        ("W|STANDARD|X-Small|1|NULL", "AWS_US_WEST_2", 1.0),
        ("W|NULL|5X-Large|NULL|NULL", "AWS_US_WEST_2", 256.0),
        ("W|STANDARD|6X-Large|1|STANDARD_GEN_1", "AWS_US_WEST_2", 512.0),
        ("W|STANDARD|Medium|2|NULL", "AWS_EU_CENTRAL_1", 5.4),
        ("W|STANDARD|Medium|NULL|STANDARD_GEN_2", "GCP_EUROPE_WEST4", 5.4),
        ("W|STANDARD|Medium|2|NULL", "PUBLIC.AZURE_WESTEUROPE", 5.0),
        ("W|SNOWPARK-OPTIMIZED|Medium|1|MEMORY_16X", "AWS_US_WEST_2", 6.0),
        ("W|SNOWPARK-OPTIMIZED|X-Large|NULL|MEMORY_16X_X86", "AWS_US_WEST_2", 24.0),
        ("W|SNOWPARK-OPTIMIZED|Medium|NULL|NULL", "AWS_US_WEST_2", 6.0),
        ("W|SNOWPARK-OPTIMIZED|Large|NULL|MEMORY_64X", "AWS_US_WEST_2", None),
        ("W|INTERACTIVE|X-Small|NULL|NULL", "AWS_US_WEST_2", None),
        ("W|ADAPTIVE|NULL|NULL|NULL", "AWS_US_WEST_2", None),
    ],
)
def test_a_warehouse_costs_what_its_size_its_type_and_its_generation_do(
    warehouse: str, region: str, credits: float | None
) -> None:
    """Snowflake documentation, "generation 2 standard warehouses": new accounts have them without asking.

    Each credit of the first generation is 1.35, and 1.25 on Azure. A cost limit was kept by the rate of the first.
    "Understanding compute cost": a Snowpark-optimized one has 1.5. There are types whose prices are not known here.
    """
    session = ScriptedSession(
        {"SHOW WAREHOUSES": rows("name type size generation resource_constraint", warehouse)},
        Identity("U", "R", "W", "O-A", region),
    )
    found = read_rate(session, "", price_list(), 3.0).warehouse_credits
    assert found == (None if credits is None else pytest.approx(credits))
