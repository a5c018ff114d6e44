"""The recipe *Run a model inside Snowflake*, over HTTP to an account that runs its SQL and sends rows to services."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.services.scripted import POISON, answer_to, vector_of
from sandbox.snowflake.catalog import CALLER, DATABASE, SCHEMA
from spcs_llm.errors import SpcsError
from tests.integration.in_snowflake import CHAT, EMBED, PLUGIN, PROJECT, PROMPT, RECIPE, Scene, scene
from tests.waiting import longer_each_time, wait_for

pytest.importorskip("duckdb")

EMBEDDING = {"task": "EMBEDDING", "service": EMBED, "keyColumns": ["id"], "textColumn": "text"}
HOSTILE = [
    "it's \"quoted\"", "$$ $1 $x", "${projectKey} ${x}", "{{text}} {{ }} {{", "\\ \\n \\' \\\\", "a\x00b",
    "; DROP TABLE x --", "\u2028\u2029\ud7ff\U0001f600", "? ?1 :x", "/* -- */ // #", "", " ",
    "\n\r\t", "%s %(x)s {0}",
]  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> Iterator[Scene]:
    with scene() as made:
        yield made


@pytest.fixture
def at(shared: Scene) -> Iterator[Scene]:
    yield shared
    shared.sf.statement_faults.clear()
    shared.sf.tables.batches.faults.clear()
    for key in [key for key in shared.sf.tables.known if key[2].startswith("SPCS_LLM_")]:
        shared.sf.run_sql(f'DROP TABLE IF EXISTS "{key[0]}"."{key[1]}"."{key[2]}"', role=CALLER)


def answers(at: Scene, column: str = "answer") -> dict[int, Any]:
    return {int(row["id"]): row[column] for row in at.output}


# -- what it does ----------------------------------------------------------------------------------


def test_every_row_is_answered_in_the_process_that_dss_starts(at: Scene) -> None:
    at.fill([(i, f"ticket {i}") for i in range(150)])
    run = at.succeed(PROMPT)
    assert answers(at) == {i: answer_to(f"ticket {i}") for i in range(150)}
    assert at.failures == []
    assert at.work_tables == []
    assert "150 rows: 150 answered, 0 failed." in run.log
    assert "The rest costs about USD" in run.log
    assert f"role {CALLER}" in run.log


def test_the_input_stays_as_it_is_and_only_chosen_columns_are_kept(at: Scene) -> None:
    at.fill([(1, "a", "x"), (2, "b", "y")], {"id": "NUMBER", "text": "VARCHAR", 'odd "name"': "VARCHAR"})
    at.here({**PROMPT, "keptColumns": ['odd "name"', "id"], "outputColumn": "select"})
    assert [list(row) for row in at.output] == [['odd "name"', "id", "select"]] * 2
    assert len(at.table("INPUT")) == 2


@pytest.mark.exhaustive
def test_a_column_named_select_is_read_and_written(at: Scene) -> None:
    at.fill([(1, "hello")], {"id": "NUMBER", "select": "VARCHAR"})
    at.here({**PROMPT, "promptTemplate": "Say {{select}}."})
    assert answers(at) == {1: answer_to("Say hello.")}


def test_hostile_cells_and_prompts_reach_the_model_as_they_are_and_no_statement_holds_them(at: Scene) -> None:
    at.fill(list(enumerate(HOSTILE)))
    marked = "".join(HOSTILE) + " hostile mark "
    seen = len(at.sf.executor.statements)
    at.here({**PROMPT, "promptTemplate": marked.replace("{{", "\\{{") + "{{text}}", "systemPrompt": marked})
    assert answers(at) == {i: answer_to(marked + text) for i, text in enumerate(HOSTILE)}
    statements = at.sf.executor.statements[seen:]
    assert not any("hostile mark" in text or "${" in text or "$$" in text for text in statements)


TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("'\"$`{}\\;?:-/\0\n")), max_size=40
)


@pytest.mark.exhaustive
@settings(max_examples=4, deadline=None)
@given(cells=st.lists(TEXTS, max_size=60), before=TEXTS, system=TEXTS)
def test_any_cells_and_any_prompt_reach_the_model_as_they_are(
    shared: Scene, cells: list[str], before: str, system: str
) -> None:
    before = before.rstrip("\\")  # one before a placeholder makes it text
    shared.fill(list(enumerate(cells)))
    shared.here(
        {**PROMPT, "promptTemplate": before.replace("{{", "\\{{") + "{{text}}", "systemPrompt": system}
    )
    assert answers(shared) == {i: answer_to(before + text) for i, text in enumerate(cells)}


@pytest.mark.exhaustive
def test_prompts_and_cells_of_a_megabyte_arrive_whole(at: Scene) -> None:
    at.fill([(1, "ß" * 500_000), (2, "b" * 2_000_000)])
    prompt = "ä" * 500_000
    at.here({**PROMPT, "promptTemplate": prompt + "{{text}}"})
    assert answers(at) == {1: answer_to(prompt + "ß" * 500_000), 2: answer_to(prompt + "b" * 2_000_000)}
    assert max(map(len, at.sf.executor.statements)) < 1_000_000


@pytest.mark.exhaustive
def test_nulls_numbers_dates_and_variants_have_a_defined_text(at: Scene) -> None:
    columns = {
        "id": "NUMBER", "n": "NUMBER(10, 2)", "f": "FLOAT", "b": "BOOLEAN", "d": "DATE", "t": "TIMESTAMP_NTZ",
        "l": "TIMESTAMP_LTZ", "v": "VARIANT", "a": "ARRAY", "s": "VARCHAR", "h": "BINARY",
    }  # fmt: skip
    row = (
        1, "1.50", 2.0, True, "2024-02-29", "2024-02-29 01:02:03.004", "2024-02-29 01:02:03.004+02:00",
        {"k": [1, None]}, ["x"], None, b"\x01\xff",
    )  # fmt: skip
    at.fill([row], columns)
    at.here({**PROMPT, "promptTemplate": "|".join(f"{{{{{name}}}}}" for name in columns)})
    times = "2024-02-29|2024-02-29T01:02:03.004|2024-02-28T23:02:03.004+00:00"
    expected = f'1|1.50|2|true|{times}|{{"k":[1,null]}}|["x"]||01FF'
    assert answers(at) == {1: answer_to(expected)}


def test_keys_that_differ_in_their_last_digit_are_two_rows(at: Scene) -> None:
    """markddrake/YADAMU#42, snowflakedb/snowflake-jdbc#1109: a FLOAT as text has ten digits, two as one text."""
    at.fill([(0.08072205302271099, "a"), (0.08072205302271098, "b")], {"id": "FLOAT", "text": "VARCHAR"})
    assert at.here(PROMPT).answered == 2
    assert {row["text"]: row["answer"] for row in at.output} == {text: answer_to(text) for text in "ab"}


def test_a_uuid_is_a_key_and_a_text_of_a_prompt(at: Scene) -> None:
    """Snowflake documentation, "UUID data type" (new in 2026): columns of Iceberg tables and keys have it."""
    key = "c73d9175-0a1d-48c6-8d30-df165461328b"
    at.fill([(key, "a"), (key[:-1] + "c", "b")], {"id": "UUID", "text": "VARCHAR"})
    assert at.here({**PROMPT, "promptTemplate": "{{id}} {{text}}"}).answered == 2
    assert {row["text"]: row["answer"] for row in at.output}["a"] == answer_to(f"{key} a")


def test_what_is_sent_is_what_the_form_says(at: Scene) -> None:
    at.fill([(1, "q")])
    asked: list[Any] = []
    model = at.model
    original, model.chat = model.chat, _recorded(model.chat, asked)
    try:
        at.here(
            {
                **PROMPT, "systemPrompt": "Be brief.", "examples": [{"input": "1", "output": "one"}],
                "temperature": "0", "maxOutputTokens": 300.0, "stopSequences": ["END", "${x}"],
            }
        )  # fmt: skip
    finally:
        model.chat = original
    (messages, settings), *_ = asked
    assert [(m["role"], m["content"][0]["text"]) for m in messages] == [
        ("system", "Be brief."), ("user", "1"), ("assistant", "one"), ("user", "q"),
    ]  # fmt: skip
    assert settings["max_completion_tokens"] == 300
    assert settings["temperature"] == 0
    assert settings["stop"] == ["END", "${x}"]


def _recorded(chat: Any, asked: list[Any]) -> Any:
    async def recorded(messages: Any, settings: Any) -> Any:
        asked.append((messages, settings))
        return await chat(messages, settings)

    return recorded


@pytest.mark.exhaustive
def test_a_model_that_takes_text_instead_of_parts_is_asked_with_text(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(9)])
    at.here({**PROMPT, "service": f"{CHAT.rpartition('.')[0]}.TEXT_CHAT"})
    assert answers(at) == {i: answer_to(f"t{i}") for i in range(9)}


@pytest.mark.sample(1)
@pytest.mark.parametrize("count", ["unknown", {"prompt": 3}, 2.5])
def test_a_count_of_tokens_that_is_none_stops_no_job(at: Scene, count: Any) -> None:
    """labscommunity/cascadia#55, mudler/LocalAI#9927: servers count tokens in ways of their own."""
    model = at.model

    async def chat(messages: Any, settings: Any) -> Any:
        message = {"role": "assistant", "content": "Yes."}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"total_tokens": count}
        return {"id": "1", "object": "o", "created": 1, "model": "m", "choices": choices, "usage": usage}

    at.fill([(1, "a"), (2, "b")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "chat", chat)
        report = at.here(PROMPT)
    assert (report.answered, report.failed) == (2, 0), at.failures


SCHEMA_OF_TICKETS = {
    "type": "object",
    "properties": {
        "team": {"type": "string", "enum": ["billing", "it"]}, "urgent": {"type": "boolean"},
        "score": {"type": "number"}, "count": {"type": "integer"}, "tags": {"type": "array"},
        "note": {"type": ["string", "null"]},
    },
    "required": ["team", "urgent"],
}  # fmt: skip
GOOD = {"team": "it", "urgent": True, "score": 1.5, "count": 3, "tags": ["a"], "note": None}


def _answering(at: Scene, answer: Any) -> Any:
    """Lets the model answer with what `answer` makes of the text."""
    model = at.model

    async def chat(messages: Any, settings: Any) -> Any:
        text = messages[-1]["content"][0]["text"]
        message = {"role": "assistant", "content": answer(text)}
        choices = [{"index": 0, "message": message, "finish_reason": "length" if "CUT" in text else "stop"}]
        usage = {"total_tokens": 5}
        return {"id": "1", "object": "o", "created": 1, "model": "m", "choices": choices, "usage": usage}

    return pytest.MonkeyPatch.context(), model, chat


@pytest.mark.sample(1)
@pytest.mark.parametrize("native", [True, False], ids=["native", "text"])
def test_fields_of_a_schema_become_typed_columns(at: Scene, native: bool) -> None:
    at.fill([(1, "x")])
    patching, model, chat = _answering(at, lambda text: json.dumps(GOOD))
    at.dss.recipes.column_types = "native" if native else "text"
    with patching as patch:
        patch.setattr(model, "chat", chat)
        at.here({**PROMPT, "jsonSchema": json.dumps(SCHEMA_OF_TICKETS)})
    (row,) = at.output
    assert (row["team"], row["urgent"], float(row["score"]), int(row["count"])) == ("it", True, 1.5, 3)
    assert json.loads(row["tags"]) == ["a"]
    assert row["note"] is None


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("no JSON", "The answer is not a JSON object."),
        ("[1]", "The answer is not a JSON object."),
        (json.dumps({"urgent": True}), "The field team is missing."),
        (json.dumps({**GOOD, "team": "hr"}), "The field team is none of its choices."),
        (json.dumps({**GOOD, "urgent": "yes"}), "The field urgent is not of type boolean."),
        (json.dumps({**GOOD, "urgent": None}), "The field urgent is null."),
        (json.dumps({**GOOD, "count": 1.5}), "The field count is not of type integer."),
        # mlorek/frostlake, JsonPlainDecimalWidthTest: of any width, it is an INTEGER, and one stopped the whole output.
        (json.dumps({**GOOD, "count": 10**38}), "The field count has more than 38 digits."),
        (json.dumps({**GOOD, "count": -(10**60)}), "The field count has more than 38 digits."),
        (json.dumps(GOOD) + "CUT", "The answer was cut"),
    ],
)
def test_an_answer_that_breaks_the_schema_is_a_failed_row_with_its_reason(
    at: Scene, answer: str, reason: str
) -> None:
    at.fill([(1, answer), (2, json.dumps(GOOD))])
    patching, model, chat = _answering(at, lambda text: text)
    with patching as patch:
        patch.setattr(model, "chat", chat)
        report = at.here({**PROMPT, "jsonSchema": json.dumps(SCHEMA_OF_TICKETS)})
    assert (report.answered, report.failed) == (1, 1)
    (failure,) = at.failures
    assert int(failure["id"]) == 1
    assert failure["answer_error"].startswith(reason)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("<think>\nTwo and two.\n</think>\n\n4", "4"),
        ("<think>\n\n</think>\n\n4", "4"),
        ("\n[THINK]Two.[/THINK]4", "4"),
        ("<|channel|>analysis<|message|>Two.<|end|><|start|>assistant<|channel|>final<|message|>4", "4"),
        ("Write <think>x</think> first.", "Write <think>x</think> first."),
        ("```json\n{}\n```", "```json\n{}\n```"),
    ],
)
def test_what_a_model_thinks_before_it_answers_is_not_in_the_answer(
    at: Scene, answer: str, text: str
) -> None:
    """vllm-project/vllm#21130, #13125: without a reasoning parser, thoughts are in the text. As LLM Mesh has it."""
    at.fill([(1, "q")])
    patching, model, chat = _answering(at, lambda _: answer)
    with patching as patch:
        patch.setattr(model, "chat", chat)
        at.here(PROMPT)
    assert answers(at) == {1: text}


def test_an_answer_that_is_all_thoughts_was_cut(at: Scene) -> None:
    """A model that thinks for as long as it may has not answered: an answer that is empty, or the thoughts, is none."""
    said = {"open CUT": "<think>Two and", "null CUT": None, "null": None}
    at.fill(list(enumerate(said)))
    patching, model, chat = _answering(at, said.get)
    with patching as patch:
        patch.setattr(model, "chat", chat)
        report = at.here(PROMPT)
    assert (report.answered, report.failed) == (0, 3)
    cut = "The answer was cut: it has as many tokens as 'Maximum output tokens' allows."
    assert [row["answer_error"] for row in sorted(at.failures, key=lambda row: int(row["id"]))] == [
        cut, cut, "The answer has no text.",
    ]  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "around",
    ["{}", "<think>\n</think>\n\n{}", "```json\n{}\n```", "<think>Hm.</think>\n```\n{}\n```\n", "  {}\n"],
)
def test_json_is_read_without_what_stands_around_it(at: Scene, around: str) -> None:
    """coze-dev/coze-studio#452, vllm-project/vllm#21130: an empty thought or a fence stands around the JSON."""
    at.fill([(1, "q")])
    patching, model, chat = _answering(at, lambda _: around.replace("{}", json.dumps(GOOD, indent=1)))
    with patching as patch:
        patch.setattr(model, "chat", chat)
        report = at.here({**PROMPT, "jsonSchema": json.dumps(SCHEMA_OF_TICKETS)})
    assert (report.answered, report.failed) == (1, 0), at.failures
    assert at.output[0]["team"] == "it"


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ["ARRAY", "VECTOR"])
def test_texts_are_embedded_and_a_row_without_text_is_a_failure(at: Scene, kind: str) -> None:
    at.fill([(1, "a"), (2, "b"), (3, None), (4, "")])
    report = at.here({**EMBEDDING, "vectorType": kind})
    vectors = {key: json.loads(cell) for key, cell in answers(at, "embedding").items()}
    assert {key: pytest.approx(vector, abs=1e-6) for key, vector in vectors.items()} == {
        1: vector_of("a"), 2: vector_of("b"),
    }  # fmt: skip
    assert report.failed == 2
    assert {row["embedding_error"] for row in at.failures} == {"The text is NULL or empty."}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ["ARRAY", "VECTOR"])
def test_what_is_not_a_vector_is_a_failed_row_and_not_an_answer(at: Scene, kind: str) -> None:
    """huggingface/text-embeddings-inference#644, #51, jundot/omlx#3507: nulls with success; embeddings of tokens.

    VECTOR refuses the rows of the whole table because of one of them, and ARRAY takes them.
    """
    odd = {
        "null": [None] * 8, "some": [0.5, None] * 4, "zeros": [0.0] * 8, "none": [],
        "tokens": [[0.5] * 8, [0.25] * 8], "words": ["a"] * 8,
    }  # fmt: skip
    model = at.embed.service.model  # type: ignore[attr-defined]
    usual = model.embed

    async def embed(texts: list[str], *, query: bool = False) -> list[Any]:
        return [odd.get(text) or odd.get(text, vector) for text, vector in zip(texts, await usual(texts))]

    at.fill([(0, "a"), *enumerate(odd, 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "embed", embed)
        report = at.here({**EMBEDDING, "vectorType": kind})
    assert (report.answered, report.failed) == (1, len(odd))
    assert list(answers(at, "embedding")) == [0]
    reasons = {row["text"]: row["embedding_error"] for row in at.failures}
    assert reasons.pop("zeros") == "All elements of the vector are zero."
    assert set(reasons.values()) == {"The vector has no elements, or elements that are not numbers."}


def test_a_vector_that_is_written_as_text_is_read(at: Scene) -> None:
    """The earlier notebook's models return such texts, and so do functions that return VARCHAR."""
    model = at.embed.service.model  # type: ignore[attr-defined]
    usual = model.embed

    async def embed(texts: list[str], *, query: bool = False) -> list[Any]:
        return [json.dumps(vector) for vector in await usual(texts)]

    at.fill([(1, "a"), (2, "b")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "embed", embed)
        report = at.here(EMBEDDING)
    assert (report.answered, report.failed) == (2, 0), at.failures
    vectors = {key: json.loads(cell) for key, cell in answers(at, "embedding").items()}
    assert vectors == {1: pytest.approx(vector_of("a"), abs=1e-6), 2: pytest.approx(vector_of("b"), abs=1e-6)}


@pytest.mark.exhaustive
def test_vectors_are_arrays_where_dss_makes_such_columns(at: Scene) -> None:
    at.fill([(1, "a")])
    at.dss.recipes.column_types = "native"
    try:
        at.here(EMBEDDING)
    finally:
        at.dss.recipes.column_types = "text"
    assert at.sf.tables.known[DATABASE, SCHEMA, "OUTPUT"].columns["embedding"] == "VARIANT"


@pytest.fixture(scope="module")
def e5(shared: Scene) -> Any:
    made = shared.sf.create_service("e5", "e5", "MODEL_SERVING")
    shared.sf.clock.advance(600)
    return made.service


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["ARRAY", "VECTOR"])
def test_a_real_model_embeds_a_table(at: Scene, e5: Any, kind: str) -> None:
    texts = ["a cat", "a kitten", "quarterly revenue", "ein Kätzchen", *(f"ticket {i}" for i in range(150))]
    at.fill([*enumerate(texts), (len(texts), None)])
    report = at.here({**EMBEDDING, "service": f"{DATABASE}.{SCHEMA}.E5", "vectorType": kind})
    assert (report.answered, report.failed) == (len(texts), 1)
    vectors = {key: json.loads(cell) for key, cell in answers(at, "embedding").items()}
    rows = [[i, {"sentence": text}] for i, text in enumerate(texts[:8])]
    asked = requests.post(f"{e5.url}/encode", json={"data": rows}, timeout=60)
    for number, output in asked.json()["data"]:
        assert vectors[number] == pytest.approx(output["output"], abs=1e-3)
    assert {key: len(vector) for key, vector in vectors.items()} == dict.fromkeys(range(len(texts)), 384)
    cat, kitten, revenue, german = (vectors[i] for i in range(4))
    assert min(_product(cat, kitten), _product(kitten, german)) > _product(kitten, revenue)


def _product(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other))


@pytest.mark.exhaustive
def test_without_a_dataset_for_them_failures_are_in_the_output_with_their_reason(at: Scene) -> None:
    at.fill([(1, "good"), (2, f"bad {POISON}")])
    at.here(PROMPT, failures=False)
    rows = {int(row["id"]): row for row in at.output}
    assert (rows[1]["answer"], rows[1]["answer_error"]) == (answer_to("good"), None)
    assert rows[2]["answer"] is None
    assert "model exploded on purpose" in rows[2]["answer_error"]


@pytest.mark.exhaustive
def test_a_limit_of_rows_runs_as_many(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(40)])
    assert at.here({**PROMPT, "rowLimit": "5"}).rows == 5
    assert len(at.output) == 5


def test_words_about_the_data_of_an_input_are_in_no_error(at: Scene) -> None:
    """The input may be a view that cannot be read to its end."""
    at.fill([(1, "a")])

    def unreadable(statement: str) -> None:
        if statement.startswith("CREATE") and "AS PROMPT_KEY" in statement:
            raise RuntimeError("Query failed: SnowflakeSQLException: Numeric value 'canary 391234' is odd")

    told = at.refuse(PROMPT, on_statement=unreadable)
    assert "canary" not in told
    assert "Numeric value '…' is odd" in told


@pytest.mark.sample(1)
@pytest.mark.parametrize("params", [PROMPT, EMBEDDING], ids=["chat", "embedding"])
def test_a_table_without_rows_gives_outputs_without_rows(at: Scene, params: dict[str, Any]) -> None:
    at.fill([])
    assert at.here(params).rows == 0
    assert (at.output, at.failures, at.work_tables) == ([], [], [])


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "said",
    [
        "Numeric value 'canary' is not recognized",
        "String 'canary' is too long and would be truncated",
        'Failed to cast variant value "canary" to FIXED',
        "Timestamp 'canary' is not recognized",
        "Number out of representable range: type FIXED[SB16](38,0){not null}, value canary",
    ],
)
def test_words_about_the_data_of_an_output_are_in_no_error(at: Scene, said: str) -> None:
    """Snowflake's words about data quote a cell, and DSS passes them on without their codes."""
    at.fill([(1, "a")])
    at.sf.statement_faults.arm("error", '"OUTPUT"', times=1, code="100038", state="22018", message=said)
    told = at.refuse(PROMPT)
    assert "canary" not in told
    assert "by its query tag" in told


def test_an_output_that_snowflake_refuses_is_said_with_what_to_do_and_costs_no_answer(
    at: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """DSS's own error has neither: the table may be another role's, which made it before."""
    at.fill([(1, "a")])
    said = "SQL access control error:\nInsufficient privileges to operate on table 'OUTPUT'"
    at.sf.statement_faults.arm("error", '"OUTPUT"', times=1, code="003001", state="42501", message=said)
    assert "Ask a Snowflake administrator to grant the role the privilege." in at.refuse(PROMPT)
    assert any("No row is asked again." in text for text in caplog.messages)
    assert at.here(PROMPT).asked == 0


@pytest.mark.sample(1)
@pytest.mark.parametrize("params", [PROMPT, EMBEDDING], ids=["chat", "embedding"])
def test_a_service_that_returns_null_while_it_starts_loses_no_row(at: Scene, params: dict[str, Any]) -> None:
    """snowflakedb/snowflake-ml-python, tests of AI_EMBED: RUNNING, and ENCODE is NULL for up to two minutes.

    Every row became a failure, in a job that came to its end.
    """
    at.fill([(i, f"t{i}") for i in range(150)])
    at.sf.tables.batches.arm("null", times=4)
    report = at.here(params)
    assert (report.answered, report.failed) == (150, 0)


def test_rows_of_a_batch_that_is_null_are_asked_again(at: Scene) -> None:
    """Snowflake documentation, "CREATE FUNCTION": with ON_BATCH_FAILURE = RETURN_NULL, a batch may fail by itself."""
    at.fill([(i, f"t{i}") for i in range(300)])
    at.sf.tables.batches.arm("null", times=1, skip=3)
    report = at.here(PROMPT)
    assert (report.answered, report.failed) == (300, 0)
    assert at.sf.tables.batches.faults[0].times == 0


def test_rows_that_are_always_null_fail(at: Scene) -> None:
    at.fill([(i, f"t{i} {'VOID' if i % 3 == 0 else ''}") for i in range(120)])
    at.sf.tables.batches.null_if = "VOID"
    try:
        report = at.here(PROMPT)
    finally:
        at.sf.tables.batches.null_if = None
    assert (report.answered, report.failed) == (80, 40)
    assert {row["answer_error"] for row in at.failures} == {
        "The service returned NULL: it failed, or took too long."
    }


@pytest.mark.exhaustive
@pytest.mark.long
def test_a_service_that_is_always_null_stops_the_job(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(120)])
    at.sf.tables.batches.null_if = ""
    try:
        assert "The service refuses every row" in at.refuse(PROMPT)
    finally:
        at.sf.tables.batches.null_if = None
    assert at.here(PROMPT).answered == 120


def test_one_row_that_is_null_does_not_keep_a_job_from_its_end(at: Scene) -> None:
    at.fill([(1, "VOID")])
    at.sf.tables.batches.null_if = "VOID"
    try:
        report = at.here(PROMPT)
    finally:
        at.sf.tables.batches.null_if = None
    assert (report.answered, report.failed) == (0, 1)


@pytest.mark.exhaustive
def test_only_the_rows_that_the_service_refuses_fail_and_the_others_are_answered(at: Scene) -> None:
    poisoned = {7, 8, 63, 90}
    at.fill([(i, f"t{i} {POISON if i in poisoned else ''}") for i in range(100)])
    report = at.here(PROMPT)
    assert (report.answered, report.failed) == (96, 4)
    assert {int(row["id"]) for row in at.failures} == poisoned
    assert set(answers(at)) == set(range(100)) - poisoned


@pytest.mark.parametrize("apart", [True, False], ids=["dataset", "column"])
def test_the_log_says_where_the_reasons_are_and_what_little_it_cost(
    at: Scene, caplog: pytest.LogCaptureFixture, apart: bool
) -> None:
    caplog.set_level(logging.INFO, "spcs_llm")
    at.fill([(1, POISON)])
    at.here(PROMPT, failures=apart)
    said = "\n".join(caplog.messages)
    assert "The input has 1 row." in said
    assert "1 row: 0 answered, 1 failed." in said
    where = "'Failed rows'" if apart else "the output"
    assert f"1 row failed, with the reason in column answer_error of {where}." in said
    assert re.search(r"At USD \d+\.\d\d an hour, that cost about USD 0\.0\d*[1-9]", said)
    assert not re.search(r"(?<![.\d])1 rows|USD 0\.00\b", said)


@pytest.mark.exhaustive
def test_failed_rows_are_tried_again_only_on_request(at: Scene) -> None:
    at.fill([(1, "good"), (2, f"bad {POISON}")])
    assert at.here(PROMPT).failed == 1
    at.sf.tables.create(
        "INPUT",
        {"id": "NUMBER", "text": "VARCHAR"},
        [(1, "good"), (2, "better")],
        database=DATABASE,
        schema=SCHEMA,
    )
    asked = sum(at.sf.tables.batches.sent)
    report = at.here({**PROMPT, "retryFailures": True})
    assert (report.answered, report.failed, report.asked) == (2, 0, 1)
    assert sum(at.sf.tables.batches.sent) - asked == 1
    assert at.work_tables == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["status", "duplicate", "lost", "garbage"])
def test_batches_that_fail_or_come_twice_lose_and_double_nothing(at: Scene, kind: str) -> None:
    at.fill([(i, f"t{i}") for i in range(120)])
    at.sf.tables.batches.arm(kind, times=6, skip=2, **({"status": 503} if kind == "status" else {}))
    report = at.here(PROMPT)
    assert report.answered + report.failed == 120
    assert report.failed == 0
    assert Counter(int(row["id"]) for row in at.output) == Counter(range(120))


def test_a_model_that_loads_behind_a_service_that_is_ready_is_waited_for(at: Scene) -> None:
    """The proxy of a service answers before its model does, which is no fault of the rows."""
    at.fill([(i, f"t{i}") for i in range(20)])
    at.sf.tables.batches.arm("status", times=120, status=500, body='{"error": {"message": "Loading model"}}')
    report = at.here(PROMPT)
    assert (report.answered, report.failed) == (20, 0)


@pytest.mark.exhaustive
def test_a_suspended_service_is_resumed_and_the_log_says_that_it_bills(at: Scene) -> None:
    at.fill([(1, "a")])
    at.sf.run_sql(f"ALTER SERVICE {CHAT} SUSPEND")
    run = at.succeed(PROMPT)
    assert "is suspended: it is resumed now, which starts billing." in run.log
    assert (
        "was resumed for this job. It runs, and bills, until it suspends itself or is suspended." in run.log
    )
    assert answers(at) == {1: answer_to("a")}


@pytest.mark.parametrize("left", ["no row", "no text", "nothing that was not answered"])
def test_a_suspended_service_is_not_resumed_where_nothing_is_to_be_asked(at: Scene, left: str) -> None:
    params, service = (EMBEDDING, EMBED) if left == "no text" else (PROMPT, CHAT)
    at.fill({"no row": [], "no text": [(1, None)]}.get(left, [(1, "a")]))
    if left.startswith("nothing"):
        said = "Numeric value 'a' is not recognized"
        at.sf.statement_faults.arm("error", '"OUTPUT"', times=1, code="100038", state="22018", message=said)
        at.refuse(params)
    at.sf.run_sql(f"ALTER SERVICE {service} SUSPEND")
    seen = len(at.sf.executor.statements)
    try:
        report = at.here(params)
    finally:
        at.sf.run_sql(f"ALTER SERVICE {service} RESUME")
    assert report.asked == 0
    assert not any(text.endswith(" RESUME") for text in at.sf.executor.statements[seen:-1])


def test_a_suspended_service_that_the_role_may_not_resume_is_named_with_its_grant(at: Scene) -> None:
    at.fill([(1, "a")])
    grants, service = at.sf.catalog.grants, at.chat.in_sql.securable
    grants.revoke("OPERATE", service, CALLER)
    at.sf.run_sql(f"ALTER SERVICE {CHAT} SUSPEND")
    try:
        assert f"GRANT OPERATE ON SERVICE {CHAT} TO ROLE {CALLER}" in at.refuse(PROMPT)
    finally:
        grants.grant("OPERATE", service, CALLER)
        at.sf.run_sql(f"ALTER SERVICE {CHAT} RESUME")


@pytest.mark.parametrize("code", ["002141", "002140", "002139"])
def test_a_service_whose_functions_the_role_may_not_call_is_named_with_its_grant(
    at: Scene, code: str
) -> None:
    """Snowflake documentation, BCR-2124 and "Budgets": a function without USAGE is an unknown one, by three codes."""
    at.fill([(1, "a")])
    said = f"SQL compilation error:\nUnknown user-defined function {CHAT}!__CALL__."
    at.sf.statement_faults.arm(
        "error", "^INSERT INTO .*!__CALL__", times=1, code=code, state="42601", message=said
    )
    assert f"GRANT SERVICE ROLE {CHAT}!INFERENCE_SERVICE_FUNCTION_USAGE TO ROLE {CALLER}" in at.refuse(PROMPT)


@pytest.mark.exhaustive
def test_a_job_of_the_other_task_does_not_meet_answers_of_another_type(at: Scene) -> None:
    at.fill([(1, "a"), (2, f"b {POISON}")])
    at.here(PROMPT)
    (kept,) = at.work_tables
    assert kept.endswith("_ANSWERS")
    assert at.here({**EMBEDDING, "outputColumn": "v"}).failed == 1  # the poisoned one
    assert [name.rpartition("_")[2] for name in at.work_tables] == ["VECTORS"]


@pytest.mark.exhaustive
def test_as_many_statements_run_at_once_as_the_service_has_instances(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(600)])
    for seconds in longer_each_time(0.002):  # statements that overlap for a moment only may miss each other
        name = f"wide_{seconds * 1000:.0f}"
        wide = at.sf.create_service(
            name,
            protocol="MODEL_SERVING",
            row_seconds=seconds,
            placed={"min_instances": 3, "max_instances": 3},
        )
        at.sf.clock.advance(600)
        running: list[int] = []

        def on_statement(text: str, running: list[int] = running) -> None:
            if "!__CALL__" in text:
                running.append(at.sf.executor.running + 1)

        service = f"{DATABASE}.{SCHEMA}.{name.upper()}"
        run = at.here(
            {**PROMPT, "service": service, "promptTemplate": f"{seconds} {{{{text}}}}"},
            on_statement=on_statement,
        )
        assert run.answered == 600
        assert max(running) <= 3
        if max(running) > 1 and wide.stats.max_in_flight > 4:
            break
    assert max(running) > 1
    assert wide.stats.max_in_flight > 4  # more than the batches of one statement


@pytest.mark.exhaustive
def test_a_service_that_refuses_every_row_stops_the_job_and_keeps_what_was_answered(at: Scene) -> None:
    at.fill([(i, f"t{i} {POISON}") for i in range(30)])
    said = at.refuse(PROMPT)
    assert "The service refuses every row: 25 in succession." in said
    assert POISON not in said
    assert "another run" not in said.lower()
    model = at.model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_turn", lambda inputs: contextlib.nullcontext())
        assert at.here(PROMPT).failed == 0  # what failed in succession was not the rows' fault


@pytest.mark.exhaustive
def test_a_service_that_is_away_for_a_while_loses_no_row(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(200)])
    at.chat.set_state("no_hosts", refusals=9)
    report = at.here(PROMPT)
    assert (report.answered, report.failed) == (200, 0)


@pytest.mark.exhaustive
def test_a_service_that_stays_away_stops_the_job_and_fails_no_row(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(50)])
    at.chat.set_state("no_hosts")
    try:
        assert "The service is away, or has too much to do." in at.refuse(PROMPT)
    finally:
        at.chat.set_state("running")
    assert at.here(PROMPT).answered == 50


class Interrupted(BaseException):
    """The process is gone: no handler of the recipe's sees it coming."""


def _interrupt(at: Scene, rng: random.Random, longest: int) -> bool:
    """Runs the recipe until one of the first `longest` statements. Whether it came to its end before."""
    left = rng.randint(1, longest)
    lock = threading.Lock()

    def on_statement(text: str) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left <= 0:
                raise Interrupted

    try:
        at.here(PROMPT, on_statement=on_statement)
    except Interrupted:
        return False
    return True


FAULTS: tuple[Callable[[Scene, int], object], ...] = (
    lambda at, skip: at.sf.tables.batches.arm("lost", skip=skip),
    lambda at, skip: at.sf.tables.batches.arm("duplicate", skip=skip),
    lambda at, skip: at.sf.tables.batches.arm("garbage", skip=skip),
    lambda at, skip: at.sf.tables.batches.arm("status", status=503, times=5, skip=skip),
    lambda at, skip: at.sf.statement_faults.arm(
        "error", "^INSERT INTO .*!__CALL__", times=1, skip=skip, code="000603", state="XX000"
    ),
    lambda at, skip: at.sf.statement_faults.arm(
        "error", "^INSERT INTO .*!__CALL__", times=1, skip=skip, code="000604", state="57014"
    ),
    lambda at, skip: at.chat.set_state("no_hosts", refusals=1 + skip),
)


@pytest.mark.exhaustive
def test_no_row_is_lost_or_doubled_by_interruptions(at: Scene) -> None:
    _interruptions(at, seed=1, count=12, longest=45)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_no_row_is_lost_or_doubled_by_fifty_interruptions(at: Scene) -> None:
    seed = random.SystemRandom().randint(1, 10**6)
    print(f"\nseed {seed}: {_interruptions(at, seed, count=50, longest=90)}")


def _interruptions(at: Scene, seed: int, count: int, longest: int) -> str:
    """Rows may be asked twice; after a run that comes to its end, each is in exactly one output."""
    rng = random.Random(seed)
    rows, poisoned = range(150), {3, 77}
    at.fill([(i, f"t{i} {POISON if i in poisoned else ''}") for i in rows])
    sent = sum(at.sf.tables.batches.sent)
    interrupted = finished = faults = 0
    while interrupted < count:
        if rng.random() < 0.5:
            rng.choice(FAULTS)(at, rng.randint(0, 3))
            faults += 1
        if _interrupt(at, rng, longest):
            finished += 1
            _each_row_once(at, rows, poisoned, seed)
        else:
            interrupted += 1
    at.here(PROMPT)
    _each_row_once(at, rows, poisoned, seed)
    sent = sum(at.sf.tables.batches.sent) - sent
    return (
        f"{interrupted} interruptions and {faults} faults in {interrupted + finished + 1} runs, of which"
        f" {finished + 1} came to their end with {len(rows)} rows each: none lost, none doubled; {sent} rows sent"
    )


def _each_row_once(at: Scene, rows: range, poisoned: set[int], seed: int) -> None:
    answered = Counter(int(row["id"]) for row in at.output)
    failed = {int(row["id"]): row["answer_error"] for row in at.failures}
    assert answered + Counter(int(row["id"]) for row in at.failures) == Counter(rows), seed
    # The batch of a single row may meet the fault "garbage": that row fails, with this reason.
    assert {key for key, why in failed.items() if "Error parsing JSON" not in why} == poisoned, seed


@pytest.mark.exhaustive
def test_a_recipe_that_is_killed_goes_on_where_it_stopped(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(400)])
    at.sf.statement_faults.arm("slow", "^INSERT INTO .*ANSWERS", times=None, skip=2, seconds=10**6)
    run = at.start(PROMPT)
    asked = at.sf.tables.batches.sent
    wait_for(lambda: "rows are left" in run.log)
    wait_for(lambda: at.sf.executor.running > 0)
    at.dss.recipes.abort(run)
    assert run.done.wait(100)
    assert run.failure == "Aborted"
    at.sf.statement_faults.clear()
    at.sf.executor.close()
    wait_for(lambda: at.sf.executor.running == 0)
    before = sum(asked)
    report = at.here(PROMPT)
    assert (report.answered, report.failed) == (400, 0)
    assert report.asked < 400
    assert sum(asked) - before == report.asked


@pytest.mark.exhaustive
def test_of_two_runs_at_once_the_earlier_one_stops_and_nothing_is_doubled(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(100)])
    begun, go_on = threading.Event(), threading.Event()
    outcome: list[BaseException] = []

    def hold(text: str) -> None:
        if text.startswith("INSERT INTO") and "!__CALL__" in text and not begun.is_set():
            begun.set()
            assert go_on.wait(60)

    def first() -> None:
        try:
            at.here(PROMPT, on_statement=hold)
        except SpcsError as error:
            outcome.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(60)
    at.sf.statement_faults.arm("error", "^INSERT INTO .*!__CALL__", times=1, code="000604", state="57014")
    with pytest.raises(SpcsError):
        at.here({**PROMPT, "costLimit": 0.000000001})
    go_on.set()
    thread.join(60)
    assert "Another run of this recipe has begun" in str(outcome[0])
    at.here(PROMPT)
    assert Counter(int(row["id"]) for row in at.output) == Counter(range(100))


@pytest.mark.exhaustive
def test_a_job_that_would_cost_more_than_the_limit_stops_after_the_sample(at: Scene) -> None:
    at.fill([(i, f"t{i}") for i in range(100)])
    said = at.refuse({**PROMPT, "costLimit": "0.000001"})
    assert re.search(
        r"'Cost limit' is USD 0\.0000010, and the rest, 80 rows, would cost about USD 0\.\d*[1-9]", said
    )
    assert at.here(PROMPT).asked == 80


@pytest.mark.exhaustive
def test_a_sample_that_is_refused_does_not_make_the_rest_cost_nothing(at: Scene) -> None:
    at.fill([(i, f"t{i} {POISON}") for i in range(18)])
    said = at.refuse({**PROMPT, "costLimit": "0.0000001"})
    assert "and the rest, 2 rows, would cost about USD 0.0" in said


def test_a_sample_without_any_answer_stops_the_job_once(at: Scene) -> None:
    """A model that does not keep to the schema, or not within the tokens, would answer a million rows in vain."""
    at.fill([(i, f"t{i}") for i in range(60)])
    structured = {**PROMPT, "jsonSchema": json.dumps(SCHEMA_OF_TICKETS)}
    sent = sum(at.sf.tables.batches.sent)
    said = at.refuse(structured)
    assert (
        "None of the first 20 rows has a usable answer, so the others are not asked. The answer is not a JSON"
        in said
    )
    assert sum(at.sf.tables.batches.sent) - sent == 20
    report = at.here(structured)
    assert (report.answered, report.failed, report.asked) == (0, 60, 40)
    assert "None of the first 20 rows" in at.refuse({**structured, "retryFailures": True})


def test_rows_without_a_text_are_no_answers_and_not_the_models_fault(at: Scene) -> None:
    at.fill([(i, f"t{i}" if i % 2 else None) for i in range(60)])
    assert at.here(EMBEDDING).failed == 30
    model = at.embed.service.model  # type: ignore[attr-defined]

    async def embed(texts: list[str], *, query: bool = False) -> list[Any]:
        return [[0.0] * 8 for _ in texts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "embed", embed)
        said = at.refuse({**EMBEDDING, "outputColumn": "v"})
    assert (
        "None of the first 20 rows has a usable answer, so the others are not asked. All elements of the vector"
        in said
    )


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.sample(12)
@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"keyColumns": []}, "'Key columns' is empty"),
        ({"keyColumns": ["text"]}, "'Key columns' are text, with NULL in 1 row."),
        ({"keyColumns": ["kind"]}, "'Key columns' are kind, with the key of another row in 2 of 3 rows"),
        (
            {"keyColumns": ["nope"]},
            "'Key columns' names the column nope, and the input has only id, text, kind",
        ),
        ({"promptTemplate": "{{nope}}"}, "'Prompt' names the column nope"),
        ({"promptTemplate": "no column"}, "'Prompt' does not contain a column"),
        (
            {"promptTemplate": "{{text}} in {{kind}"},
            "'Prompt' has {{ without the name of a column and }} after it",
        ),
        ({"promptTemplate": None}, "'Prompt' is empty"),
        ({"service": None}, "'Service' is empty"),
        ({"service": None}, "With engine JOB, enter a model and a compute pool instead."),
        ({"service": None, "model": f"{DATABASE}.{SCHEMA}.M"}, "'Compute pool' is empty"),
        ({"service": "CHAT"}, "'Service' must have three parts"),
        (
            {"service": f"{DATABASE}.{SCHEMA}.NOPE"},
            f"GRANT USAGE ON SERVICE {DATABASE}.{SCHEMA}.NOPE TO ROLE {CALLER}",
        ),
        ({"method": "predict"}, "'Method or function' is PREDICT, and"),
        ({"method": f"{DATABASE}.{SCHEMA}.F"}, f"sees no function {DATABASE}.{SCHEMA}.F"),
        ({"engine": "JOB"}, "'Model' is empty"),
        ({"engine": "NOPE"}, "'Engine' must be one of"),
        ({"jsonSchema": "{"}, "'JSON schema' is not JSON"),
        ({"jsonSchema": '{"type": "object", "properties": {"id": {"type": "string"}}}'}, "makes a column id"),
        (
            {"jsonSchema": '{"type": "object", "properties": {"a": {"type": "date"}}}'},
            "must give 'a' one type of",
        ),
        ({"outputColumn": "text"}, "'Output column' makes a column text"),
        ({"outputColumn": "${x}"}, "in which DSS would replace a variable"),
        ({"temperature": "hot"}, "'Temperature' must be a number"),
        ({"maxOutputTokens": 0}, "'Maximum output tokens' must be a whole number"),
        ({"warehouse": "NOPE"}, "'Warehouse' is NOPE, which does not exist or which the role may not use."),
        ({"examples": [{"input": "x"}]}, "'Examples' has an example that lacks"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_anything_runs(
    at: Scene, params: dict[str, Any], said: str
) -> None:
    at.fill(
        [(1, "a", "x"), (2, "b", "x"), (3, None, "x")], {"id": "NUMBER", "text": "VARCHAR", "kind": "VARCHAR"}
    )
    sent = len(at.sf.tables.batches.sent)
    assert said in at.refuse({**PROMPT, **params})
    assert len(at.sf.tables.batches.sent) == sent
    assert at.work_tables == []


def test_all_that_is_wrong_with_the_form_is_said_at_once(at: Scene) -> None:
    said = at.refuse({"task": "SING", "temperature": 9, "engine": "NOPE"})
    for label in ("Task", "Service", "Prompt", "Key columns", "Engine", "Temperature"):
        assert f"'{label}' " in said


@pytest.mark.parametrize(
    ("role", "how", "said"),
    [
        ("output", {"connection": "other"}, "All datasets must be on one connection"),
        ("input", {"mode": "query"}, "is an SQL query"),
        ("output", {"partitions": ("day",)}, "is partitioned"),
        ("input", {"kind": "PostgreSQL"}, "is not on a Snowflake connection"),
        ("output", {"table": "INPUT"}, "are the same table"),
        ("output", {"table": "INPUT", "catalog": None, "schema": None}, "are the same table"),
        ("input", {"table": "NOPE"}, f"GRANT SELECT ON TABLE {DATABASE}.{SCHEMA}.NOPE TO ROLE {CALLER}."),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(
    at: Scene, role: str, how: dict[str, Any], said: str
) -> None:
    at.fill([(1, "a")])
    described = {"connection": "account", "table": role.upper(), "catalog": DATABASE, "schema": SCHEMA, **how}
    at.dss.create_dataset(PROJECT, role, **described)
    try:
        assert said in at.refuse(PROMPT)
    finally:
        at.dss.create_dataset(PROJECT, role, "account", role.upper(), catalog=DATABASE, schema=SCHEMA)


@pytest.mark.exhaustive
def test_datasets_without_a_database_are_in_that_of_the_connection(at: Scene) -> None:
    at.fill([(1, "a")])
    at.dss.create_dataset(PROJECT, "input", "account", "INPUT")
    try:
        at.here(PROMPT)
    finally:
        at.dss.create_dataset(PROJECT, "input", "account", "INPUT", catalog=DATABASE, schema=SCHEMA)
    assert answers(at) == {1: answer_to("a")}


def test_a_role_that_may_not_create_tables_gets_the_grant(at: Scene) -> None:
    at.fill([(1, "a")])
    grants = at.sf.catalog.grants
    schema = at.sf.catalog.databases[DATABASE].schemas[SCHEMA].securable
    grants.revoke("CREATE TABLE", schema, CALLER)
    try:
        assert f"GRANT USAGE, CREATE TABLE ON SCHEMA {DATABASE}.{SCHEMA} TO ROLE {CALLER}." in at.refuse(
            PROMPT
        )
    finally:
        grants.grant("CREATE TABLE", schema, CALLER)


# -- the form --------------------------------------------------------------------------------------


@pytest.mark.sample(1)
@pytest.mark.parametrize("shape", ["bare", "wrapped", "rootModel only"])
def test_the_form_offers_services_and_keeps_the_chosen_one(at: Scene, shape: str) -> None:
    inputs = [{"role": "input", "type": "DATASET", "fullName": f"{PROJECT}.input"}]
    choices = at.dss.form_choices(
        PLUGIN,
        RECIPE,
        "listedService",
        {"listedService": "A.B.GONE"},
        project_key=PROJECT,
        shape=shape,
        inputs=inputs,
    )
    values = [str(choice.get("value")) for choice in choices]
    assert values[0] == "A.B.GONE"
    assert values[1:] == sorted(values[1:])
    assert {CHAT, EMBED, f"{DATABASE}.{SCHEMA}.TEXT_CHAT"} <= set(values)  # other tests may add services


def test_the_form_says_what_is_wrong_instead_of_failing(at: Scene) -> None:
    (line,) = at.dss.form_choices(PLUGIN, RECIPE, "listedService", {}, project_key=PROJECT)
    assert "value" not in line
    assert "Type a name" in line["label"]


# -- functions over containers ---------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ("MESSAGES ARRAY, PARAMETERS OBJECT", "/chat"),
        ("PROMPT VARCHAR, SYSTEM_PROMPT VARCHAR, PARAMETERS OBJECT", "/complete"),
    ],
)
def test_the_batch_gateway_answers_by_its_functions(at: Scene, arguments: str, path: str) -> None:
    """The container of `resource/images/batch_gateway`, as a process beside a scripted model server."""
    gateways = pytest.importorskip("sandbox.services.batch_gateway")
    name = path[1:].upper()
    engine = at.sf.create_service(f"engine_{name}", "scripted", "OPENAI")
    gateway = gateways.BatchGateway(engine.service.url)
    try:
        at.sf.create_service(f"box_{name}", gateway.url, "OPENAI")
        at.sf.run_sql(
            f"CREATE OR REPLACE FUNCTION {DATABASE}.{SCHEMA}.{name}({arguments}) RETURNS VARIANT "
            f"SERVICE = {DATABASE}.{SCHEMA}.BOX_{name} ENDPOINT = api MAX_BATCH_ROWS = 16 AS '{path}'",
            role=CALLER,
        )
        at.fill([(i, f"t{i} {POISON if i == 5 else ''}") for i in range(40)])
        box = {"service": f"{DATABASE}.{SCHEMA}.BOX_{name}", "method": f"{DATABASE}.{SCHEMA}.{name}"}
        report = at.here({**PROMPT, **box})
    finally:
        gateway.stop()
    assert (report.answered, report.failed) == (39, 1)
    assert answers(at) == {i: answer_to(f"t{i} ") for i in range(40) if i != 5}
    assert at.failures[0]["answer_error"].startswith("The service reports: ")


@pytest.mark.exhaustive
def test_the_batch_gateway_embeds(at: Scene) -> None:
    gateways = pytest.importorskip("sandbox.services.batch_gateway")
    engine = at.sf.create_service("engine_embed", "scripted", "OPENAI", kind="embedding")
    gateway = gateways.BatchGateway(engine.service.url)
    name = f"{DATABASE}.{SCHEMA}.LLM_EMBED"
    try:
        at.sf.create_service("box_embed", gateway.url, "OPENAI")
        at.sf.run_sql(
            f"CREATE OR REPLACE FUNCTION {name}(INPUT VARCHAR, PARAMETERS OBJECT) RETURNS VARIANT "
            f"SERVICE = {DATABASE}.{SCHEMA}.BOX_EMBED ENDPOINT = api AS '/embed'",
            role=CALLER,
        )
        at.fill([(i, f"t{i}") for i in range(20)])
        at.here({**EMBEDDING, "service": f"{DATABASE}.{SCHEMA}.BOX_EMBED", "method": name})
    finally:
        gateway.stop()
    vectors = {key: json.loads(cell) for key, cell in answers(at, "embedding").items()}
    assert vectors == {i: pytest.approx(vector_of(f"t{i}"), abs=1e-6) for i in range(20)}
