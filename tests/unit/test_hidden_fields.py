"""A field that a form hides is not read: DSS keeps its value, and nobody sees what there would be to correct."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

from spcs_llm.control.diagnosis.macro import DiagnoseMacro, Surroundings
from spcs_llm.control.macro_form import read_cost, read_discover, read_operate
from spcs_llm.control.open_session import Dss
from spcs_llm.errors import SettingsError
from spcs_llm.in_snowflake.form import read_settings as read_recipe
from spcs_llm.settings import read_settings as read_model

ROOT = Path(__file__).parents[2]
UNFIT = {"mode": "PRESET"}  # for a field of any kind; as a preset, one that DSS did not resolve

SIGN_IN = {
    "oauth": {"snowflake_oauth": "token"},
    "keyPair": {"user": "SVC", "privateKey": "PEM"},
    "programmaticAccessToken": {"token": "token"},
    "snowflakeAccountUrl": "https://myorg-prod.snowflakecomputing.com",
}
MODEL = {
    **SIGN_IN,
    "llmEndpointUrl": "abc-myorg-prod.snowflakecomputing.app",
    "chatTemplate": "{{ messages }}",
}
RECIPE = {
    "service": "D.S.SERVICE",
    "model": "D.S.MODEL",
    "computePool": "POOL",
    "keyColumns": ["ID"],
    "promptTemplate": "{{TEXT}}",
    "textColumn": "TEXT",
}
INSTEAD_OF = {"listedService": "service", "listedModel": "model", "listedPool": "computePool"}
MODES = ("OAUTH", "KEY_PAIR", "PROGRAMMATIC_ACCESS_TOKEN")
PROTOCOLS = ("AUTOMATIC", "PREDICT", "MODEL_SERVING", "OPENAI")
OF_A_MODEL = {
    "authenticationMode": MODES,
    "serviceProtocol": PROTOCOLS,
    "modelHandlingMode": ("TEXT_GENERATION_OTHER", "TEXT_GENERATION_CUSTOM"),
}
OF_A_MACRO = {"snowflakeConnection": ("", "SNOW"), "authenticationMode": MODES}


def read_diagnose(config: Any) -> None:
    macro = DiagnoseMacro(config, Surroundings(Dss(lambda connection: None)))  # type: ignore[arg-type, return-value]
    if macro._subject.problem is not None:
        raise macro._subject.problem
    read_model(config)


class Form(NamedTuple):
    path: str
    read: Callable[[Any], object]
    base: Mapping[str, Any]
    choices: Mapping[str, tuple[str, ...]]


FORMS = {
    "model": Form("python-llms/snowpark-container-services-llm/llm.json", read_model, MODEL, OF_A_MODEL),
    "diagnose": Form(
        "python-runnables/spcs-llm-diagnose/runnable.json", read_diagnose, MODEL, {**OF_A_MODEL, **OF_A_MACRO}
    ),
    "discover": Form(
        "python-runnables/spcs-llm-discover/runnable.json",
        read_discover,
        {**SIGN_IN, "database": "D", "schema": "S"},
        {**OF_A_MACRO, "scope": ("ACCOUNT", "DATABASE", "SCHEMA")},
    ),
    "suspend": Form(
        "python-runnables/spcs-llm-suspend/runnable.json",
        read_operate,
        {**SIGN_IN, "services": "A.B.C"},
        OF_A_MACRO,
    ),
    "resume": Form(
        "python-runnables/spcs-llm-resume/runnable.json",
        read_operate,
        {**SIGN_IN, "services": "A.B.C"},
        OF_A_MACRO,
    ),
    "cost-report": Form(
        "python-runnables/spcs-llm-cost-report/runnable.json", read_cost, SIGN_IN, OF_A_MACRO
    ),
    "recipe": Form(
        "custom-recipes/spcs-llm-in-snowflake/recipe.json",
        read_recipe,
        RECIPE,
        {"engine": ("AUTO", "SERVICE", "JOB"), "task": ("CHAT", "EMBEDDING")},
    ),
}


def is_visible(param: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """What DSS makes of `visibilityCondition`, which is an expression of JavaScript."""
    condition = re.sub(r"model\.(\w+)", r"values.get('\1')", param.get("visibilityCondition", "true"))
    for theirs, ours in (("true", "True"), ("&&", " and "), ("||", " or ")):
        condition = condition.replace(theirs, ours)
    return bool(eval(re.sub(r"!(?!=)", " not ", condition), {"values": values}))


def filled_in(form: Form) -> Iterator[dict[str, Any]]:
    for chosen in itertools.product(*form.choices.values()):
        yield {**form.base, **dict(zip(form.choices, chosen))}


@pytest.mark.parametrize("name", FORMS)
def test_what_a_hidden_field_has_is_of_no_matter(name: str) -> None:
    form = FORMS[name]
    params = json.loads((ROOT / form.path).read_text(encoding="utf-8"))["params"]
    conditional = [
        param for param in params if "visibilityCondition" in param and param["type"] != "SEPARATOR"
    ]
    for values in filled_in(form):
        shown = {param["name"]: param for param in conditional if is_visible(param, values)}
        hidden = {param["name"] for param in conditional} - shown.keys()
        form.read({**values, **dict.fromkeys(hidden, UNFIT)})
        for field, param in shown.items():
            if (name, field) == ("diagnose", "snowflakeAccountUrl"):
                continue  # read when the state of the service is asked for
            with pytest.raises(SettingsError, match=re.escape(f"'{param['label']}' ")):
                form.read({**values, INSTEAD_OF.get(field, field): None, field: UNFIT})
