"""What DSS reads of the plugin agrees with what the code reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import spcs_llm
from spcs_llm.form_fields import Field
from spcs_llm.protocol_choices import PROTOCOLS
from spcs_llm.settings import FIELDS as KNOWN
from spcs_llm.settings import HANDLING_MODES, LABELS, read_settings

ROOT = Path(__file__).parents[2]
FORM: list[dict[str, Any]] = json.loads(
    (ROOT / "python-llms/snowpark-container-services-llm/llm.json").read_text()
)["params"]
FIELDS = {field["name"]: field for field in FORM if field["type"] != "SEPARATOR"}

TABLE: dict[str, Field[Any]] = {
    field.name: field for field in vars(KNOWN).values() if isinstance(field, Field)
}


def test_every_label_in_a_complaint_is_one_of_the_form() -> None:
    assert {name: field["label"] for name, field in FIELDS.items()} == LABELS


def test_every_field_tells_what_it_is() -> None:
    assert [name for name, field in FIELDS.items() if not field.get("description")] == []


def test_choices_are_those_that_the_code_knows() -> None:
    modes = [choice["value"] for choice in FIELDS["modelHandlingMode"]["selectChoices"]]
    assert sorted(modes) == sorted(HANDLING_MODES)
    protocols = [(choice["value"], choice["label"]) for choice in FIELDS["serviceProtocol"]["selectChoices"]]
    assert protocols == [(name, protocol.label) for name, protocol in PROTOCOLS.items()]


def test_each_field_has_the_type_label_and_bounds_of_the_code() -> None:
    assert list(FIELDS) == list(TABLE), "in the same order"
    for name, field in FIELDS.items():
        known = TABLE[name]
        assert field["type"] in known.kinds, name
        assert field["label"] == known.label
        bounds = {field.get(key) for key in ("minI", "minD")}, {field.get(key) for key in ("maxI", "maxD")}
        expected = (getattr(known, "least", None), getattr(known, "most", None))
        assert tuple((values - {None} or {None}).pop() for values in bounds) == expected, name


def test_defaults_of_the_form_are_those_of_the_code() -> None:
    for name, field in FIELDS.items():
        known = TABLE[name]
        expected = known.absent if known.fresh is None else known.fresh
        assert field.get("defaultValue") == expected, name
        if expected is None and not field.get("mandatory") and field["type"] in ("INT", "DOUBLE", "SELECT"):
            assert "If empty, " in field["description"], (
                f"{name} does not say what it means when it is left empty"
            )


def test_what_the_form_fills_in_for_new_models_is_accepted_and_what_is_absent_keeps_its_meaning() -> None:
    defaults = {name: field["defaultValue"] for name, field in FIELDS.items() if "defaultValue" in field}
    new, saved = _settings(**defaults), _settings()
    assert (new.query_timeout, new.endpoint.cold_start_wait) == (1200, 900)
    # Models that were saved before keep what an absent value means.
    assert (saved.query_timeout, saved.endpoint.cold_start_wait) == (600, 300)
    assert saved.protocol.name == "PREDICT"


def test_presets_are_of_parameter_sets_that_exist() -> None:
    sets = {path.parent.name for path in (ROOT / "parameter-sets").glob("*/parameter-set.json")}
    assert {field["parameterSetId"] for field in FIELDS.values() if field["type"] == "PRESET"} == sets


def test_the_earlier_plugins_fields_are_all_there() -> None:
    names = "oauth modelHandlingMode llmEndpointUrl snowflakeAccountUrl maxParallelism spcsCreditsPerHourCost"
    assert {*names.split(), "snowflakeCreditCost"} <= FIELDS.keys()
    preset = json.loads((ROOT / "parameter-sets/oauth-credentials/parameter-set.json").read_text())
    preset_names = {"snowflake_oauth", "authorizationEndpoint", "tokenEndpoint", "scope"}
    assert {field["name"] for field in preset["params"]} == preset_names


def test_the_package_and_the_plugin_have_one_version() -> None:
    assert json.loads((ROOT / "plugin.json").read_text())["version"] == spcs_llm.__version__


def _settings(**more: Any) -> Any:
    return read_settings(
        {
            "oauth": {"snowflake_oauth": "token"},
            "llmEndpointUrl": "abc-o-a.snowflakecomputing.app",
            "snowflakeAccountUrl": "o-a",
            **more,
        }
    )
