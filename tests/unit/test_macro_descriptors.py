"""What DSS reads of the macros agrees with what the code reads, and with what the README tells to copy."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.control.macro_form import SIGN_IN_FIELDS, MacroFields, read_operate
from spcs_llm.form_fields import Field
from spcs_llm.settings import FIELDS

ROOT = Path(__file__).parents[2]
OURS = ("discover", "suspend", "resume", "cost-report")
CODE: dict[str, Field[Any]] = {
    field.name: field
    for field in [*vars(FIELDS).values(), *vars(MacroFields).values()]
    if isinstance(field, Field)
}
# Which type of DSS stands for a field of the code, where it is not the field's own.
TYPES = {"snowflakeConnection": "CONNECTION", "services": "TEXTAREA", "waitSeconds": "INT"}
FORM = json.loads((ROOT / "python-llms/snowpark-container-services-llm/llm.json").read_text())["params"]


def described(macro: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (ROOT / f"python-runnables/spcs-llm-{macro}/runnable.json").read_text()
    )
    return found


def fields(macro: str) -> dict[str, dict[str, Any]]:
    return {p["name"]: p for p in described(macro)["params"] if p["type"] != "SEPARATOR"}


@pytest.mark.parametrize("macro", OURS)
def test_each_field_has_the_label_type_and_default_of_the_code(macro: str) -> None:
    for name, param in fields(macro).items():
        assert param.get("description"), name
        known = CODE[name]
        if name == "creditPrice":
            known = MacroFields.credit_price
        assert param["label"] == known.label
        assert param["type"] == TYPES.get(name, param["type"])
        assert param["type"] in (*known.kinds, TYPES.get(name))
        default = param.get("defaultValue")
        assert default in (known.absent, None), name
        assert default is not None or known.absent is None, (
            f"{name}: what an empty field means is not filled in"
        )


@pytest.mark.parametrize("macro", OURS)
def test_all_macros_sign_in_by_the_same_fields_in_the_same_order(macro: str) -> None:
    assert list(fields(macro))[: len(SIGN_IN_FIELDS)] == [field.name for field in SIGN_IN_FIELDS]
    choices = fields(macro)["authenticationMode"]["selectChoices"]
    assert choices == next(p for p in FORM if p["name"] == "authenticationMode")["selectChoices"]
    sets = {p["parameterSetId"] for p in fields(macro).values() if p["type"] == "PRESET"}
    assert sets == {path.parent.name for path in (ROOT / "parameter-sets").glob("*/parameter-set.json")}


@pytest.mark.parametrize("macro", OURS)
def test_looking_needs_less_than_changing_and_nothing_needs_the_administrator_of_dss(macro: str) -> None:
    descriptor = described(macro)
    assert descriptor["permissions"] == (["ADMIN"] if macro in ("suspend", "resume") else ["READ_CONF"])
    assert not descriptor.get("requiresGlobalAdmin")
    assert descriptor["meta"]["category"] == "Snowflake LLM services"


@pytest.mark.parametrize("macro", ["suspend", "resume"])
def test_what_changes_something_is_a_dry_run_by_default(macro: str) -> None:
    assert fields(macro)["dryRun"]["defaultValue"] is True


@pytest.mark.parametrize("macro", OURS)
def test_choices_that_python_gives_stand_beside_a_field_to_type_into(macro: str) -> None:
    dynamic = {name for name, param in fields(macro).items() if param.get("getChoicesFromPython")}
    assert dynamic <= {"listedServices"}
    assert not dynamic or fields(macro)["services"]["type"] == "TEXTAREA"
    setup = described(macro).get("paramsPythonSetup")
    assert bool(setup) is bool(dynamic)
    assert not setup or (ROOT / "resource" / setup).is_file()


@pytest.mark.parametrize("macro", OURS)
def test_a_runnable_holds_one_class_and_nothing_that_dss_would_not_copy(macro: str) -> None:
    folder = ROOT / f"python-runnables/spcs-llm-{macro}"
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".pyc" and path.is_file()) == [
        "runnable.json",
        "runnable.py",
    ]
    tree = ast.parse((folder / "runnable.py").read_text())
    bases = [ast.unparse(base) for node in tree.body if isinstance(node, ast.ClassDef) for base in node.bases]
    assert bases == ["Runnable"]


def the_scenario_of_the_readme() -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = json.loads(block)
    return found


def test_the_readmes_scenario_runs_a_macro_that_is_there_with_a_form_that_it_reads() -> None:
    (step,) = the_scenario_of_the_readme()["params"]["steps"]
    plugin = json.loads((ROOT / "plugin.json").read_text())["id"]
    assert step["params"]["runnableType"] == f"pyrunnable_{plugin}_spcs-llm-suspend"
    settings = read_operate(step["params"]["config"])
    assert (settings.dry_run, settings.wait) == (
        False,
        0,
    )  # as in the steps by clicks, of which JSON is the same
    section = (
        (ROOT / "README.md")
        .read_text(encoding="utf-8")
        .partition("two scenarios:")[2]
        .partition("```json")[0]
    )
    (clicked,) = re.findall(r"\*Wait\* set to (\d+)", section)
    assert f'`"waitSeconds": {clicked}`' in section
    assert [pattern.text for pattern in settings.services] == ["ML.PROD.*"]


def test_the_readmes_trigger_is_the_one_that_the_client_makes() -> None:
    scenario = pytest.importorskip("dataikuapi.dss.scenario", reason="DSS's client")
    made = scenario.StepBasedScenarioSettings(None, None, {"triggers": [], "params": {}})
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
    made.add_daily_trigger(hour=20, minute=0, days=days, timezone="Europe/Paris")
    (trigger,) = made.raw_triggers
    del trigger["params"]["startingFrom"]  # today
    assert the_scenario_of_the_readme()["triggers"] == [trigger]
