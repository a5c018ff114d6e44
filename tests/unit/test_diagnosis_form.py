"""The form of the macro *Diagnose an endpoint* is the model's, so that a diagnosis asks what a query asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.control.diagnosis import macro
from spcs_llm.control.diagnosis.diagnosis import Diagnosis
from spcs_llm.control.diagnosis.macro import DIAGNOSE_FIELDS, DiagnoseMacro, Surroundings
from spcs_llm.control.diagnosis.report import COLUMNS, ProblemsFound
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.control.macro_form import SignInSettings
from spcs_llm.control.open_session import Dss
from spcs_llm.form_fields import Field

ROOT = Path(__file__).parents[2]


def no_executor(connection: str) -> Any:
    raise RuntimeError("there is no DSS here")


OUTSIDE = Surroundings(Dss(no_executor))


TOKEN = {
    "programmaticAccessToken": {"token": "abc"},
    "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
    "llmEndpointUrl": "http://127.0.0.1:9",
}


def by_step(rows: list[list[str]]) -> dict[str, list[str]]:
    return {row[0]: row for row in rows}


def params(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / path).read_text(encoding="utf-8"))["params"]
    return found


MODEL = params("python-llms/snowpark-container-services-llm/llm.json")
MACRO = params("python-runnables/spcs-llm-diagnose/runnable.json")
OWN = {field.name: field for field in vars(DIAGNOSE_FIELDS).values() if isinstance(field, Field)}


def test_the_fields_of_a_model_are_those_of_its_form_to_the_letter() -> None:
    """A model asks the account's URL for a sign-in only. A diagnosis asks it for the state of the service as well."""
    theirs = {each["name"]: each for each in MODEL}
    ours = {each["name"]: each for each in MACRO[len(MACRO) - len(MODEL) :]}
    model, macro = theirs.pop("snowflakeAccountUrl"), ours.pop("snowflakeAccountUrl")
    assert list(ours.items()) == list(theirs.items())
    assert (macro["label"], macro["type"]) == (model["label"], model["type"])
    assert macro["description"].startswith(model["description"])
    assert macro["visibilityCondition"] == f"{model['visibilityCondition']} || !model.snowflakeConnection"


def test_the_other_fields_are_those_that_the_code_reads() -> None:
    others = {each["name"]: each for each in MACRO[: len(MACRO) - len(MODEL)] if each["type"] != "SEPARATOR"}
    assert others.keys() == OWN.keys()
    for name, field in OWN.items():
        form = others[name]
        kinds = ("CONNECTION",) if name == "snowflakeConnection" else field.kinds
        assert (form["type"] in kinds, form["label"]) == (True, field.label)
        assert form.get("defaultValue") == field.absent
        assert (form.get("minI"), form.get("maxI")) == (
            getattr(field, "least", None),
            getattr(field, "most", None),
        )
        if "selectChoices" in form:
            assert [choice["value"] for choice in form["selectChoices"]] == list(field.choices())  # type: ignore[attr-defined]
        assert form["description"]


def test_the_macro_looks_only_and_is_in_the_zip() -> None:
    descriptor = json.loads(
        (ROOT / "python-runnables/spcs-llm-diagnose/runnable.json").read_text(encoding="utf-8")
    )
    assert descriptor["permissions"] == ["READ_CONF"]
    assert descriptor["resultType"] == "RESULT_TABLE"
    assert "python-runnables" not in (ROOT / ".gitattributes").read_text(encoding="utf-8")


def test_the_columns_are_those_that_are_promised() -> None:
    assert [name for name, _ in COLUMNS] == ["step", "result", "seen", "hint", "seconds"]


def test_steps_have_different_names_and_need_earlier_ones() -> None:
    seen: set[str] = set()
    for step in Diagnosis(Subject({}))._steps:
        assert step.name not in seen
        assert set(step.needs) <= seen, step.name
        seen.add(step.name)


@pytest.mark.parametrize("config", [None, [], "text", {}, {"llmEndpointUrl": None}, {"oauth": 3}])
def test_whatever_the_form_leaves_there_is_a_table(config: Any) -> None:
    rows = DiagnoseMacro(config, OUTSIDE).run()
    assert rows[0][:2] == ["Settings", "failed"]
    assert "is empty" in rows[0][2]
    assert {row[1] for row in rows[1:-1]} == {"skipped"}
    assert rows[-1][0] == "Record"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("capability", "SINGING", "'Capability' must be one of"),
        ("serviceName", "just_a_name", "'Service name' must have three parts"),
        ("logLines", -1, "'Log lines' must be a whole number"),
        ("failOnProblem", "perhaps", "'Fail if there is a problem' must be true or false"),
        ("snowflakeConnection", ["SNOW"], "'Snowflake connection' must be text"),
    ],
)
def test_a_wrong_field_of_the_macro_is_named_and_ends_nothing(field: str, value: Any, told: str) -> None:
    """No query reads it. The fields of the model are in the DSS connection, and this one is not."""
    rows = DiagnoseMacro({**TOKEN, "snowflakeConnection": "SNOW", field: value}, OUTSIDE).run()
    assert rows[0][1] == "warning"
    assert f"Not used: {told}" in rows[0][2]
    assert rows[0][3] == "Correct the fields that are named here, in the form of this macro."
    assert by_step(rows)["TCP (endpoint)"][1] == "failed"  # nothing listens there


def test_what_is_wrong_with_both_forms_is_said_at_once() -> None:
    form = {**TOKEN, "llmEndpointUrl": "", "capability": "SINGING"}
    (_, result, seen, hint, _), *_ = DiagnoseMacro(form, OUTSIDE).run()
    assert result == "failed"
    assert "'LLM endpoint URL' is empty" in seen
    assert "'Capability' must be one of" in seen
    assert "in its settings of the DSS connection, the others in the form of this macro" in hint


@pytest.mark.parametrize(("field", "value"), [("serviceName", "just_a_name"), ("logLines", -1)])
@pytest.mark.parametrize("connection", [None, ""])
def test_fields_that_the_form_hides_without_a_connection_are_not_read(
    field: str, value: Any, connection: str | None
) -> None:
    rows = DiagnoseMacro({**TOKEN, "snowflakeConnection": connection, field: value}, OUTSIDE).run()
    assert rows[0][1] == "ok"
    assert "select a 'Snowflake connection'" in by_step(rows)["Log"][2]


@pytest.mark.parametrize(
    ("account", "seen", "hint"),
    [
        (None, "Not asked: 'Snowflake account URL' is empty", "enter 'Snowflake account URL'"),
        ("a b", "Not asked: 'Snowflake account URL' is not a URL", "select a 'Snowflake connection'"),
        ("https://evil.example.com", "Not asked: 'Snowflake account URL' does not name a host", "select a"),
    ],
)
def test_nobody_is_said_to_lack_a_right_where_snowflake_was_not_asked(
    account: str | None, seen: str, hint: str
) -> None:
    macro = DiagnoseMacro({**TOKEN, "snowflakeAccountUrl": account}, OUTSIDE)
    state = by_step(macro.run())["Service state"]
    assert state[1] == "skipped"
    assert seen in state[2]
    assert hint in state[3]
    assert "SQL" not in macro._subject.facts.errors


def test_the_state_of_the_service_is_asked_for_with_the_role_of_the_key_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[SignInSettings] = []
    monkeypatch.setattr(macro, "open_session", lambda settings, *others: opened.append(settings))
    diagnosed = DiagnoseMacro(
        {
            "authenticationMode": "KEY_PAIR",
            "keyPair": {"user": "SVC", "privateKey": "PEM", "role": "my-role"},
            "snowflakeAccountUrl": "http://127.0.0.1:9",
            "llmEndpointUrl": "http://127.0.0.1:9",
        },
        OUTSIDE,
    )
    diagnosed._subject.read()
    diagnosed._open_sql()
    assert opened[0].role == "my-role"


def test_a_failure_that_is_asked_for_has_the_findings_in_its_text() -> None:
    with pytest.raises(ProblemsFound) as raised:
        DiagnoseMacro({"failOnProblem": True}, OUTSIDE).run()
    text = str(raised.value)
    assert text.startswith("To correct first: Settings: failed. [settings] 'LLM endpoint URL' is empty")
    assert "What to do: Correct the fields that are named here" in text
    assert 'Record: {"record":1,' in text
