"""The stand-in DSS asks a plugin's Python for the choices of a form, and is strict about what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox.dss import ContractError, Dss, OAuthToken
from sandbox.dss.forms import SHAPES
from tests.contract.plugins.macros import JSON, PLUGIN, runnable, write_macros

LOGIN = {
    "login": [
        {"name": "token", "type": "CREDENTIAL_REQUEST", "credentialRequestSettings": {"type": "OAUTH2"}},
    ]
}
PARAMS = [
    {"name": "login", "type": "PRESET", "parameterSetId": "login"},
    {"name": "count", "type": "INT"},
    {"name": "service", "type": "SELECT", "getChoicesFromPython": True, "triggerParameters": ["login"]},
]
STORED = {"login": {"mode": "PRESET", "name": "main"}, "count": 2}


@contextmanager
def form(folder: Path, do: str, plugin_config: Any = None) -> Iterator[Dss]:
    described = {**JSON, "params": PARAMS, "paramsPythonSetup": "forms/services.py"}
    files = {"resource/forms/services.py": do, "python-lib/small_lib.py": "word = 'library'"}
    plugin = {"params": [{"name": "level", "type": "STRING"}]}
    with Dss() as dss:
        code = runnable("def run(self, progress_callback):\n    return '1'")
        macros = {"it": (described, code)}
        dss.install_plugin(
            write_macros(folder, macros, files, parameter_sets=LOGIN, plugin=plugin), plugin_config
        )
        preset = dss.create_preset(PLUGIN, "login", "main")
        dss.set_user_credential("alice", preset, "token", OAuthToken("token of alice"))
        yield dss


ECHO = """
import json
from small_lib import word

def do(payload, config, plugin_config, inputs):
    return {"choices": [{"value": json.dumps([payload, config, plugin_config, inputs]), "label": word}]}
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_do_gets_the_form_as_it_is_now_and_the_saved_values_resolved(tmp_path: Path, shape: str) -> None:
    typed = {"login": {"mode": "PRESET", "name": "other"}, "count": 5}
    with form(tmp_path, ECHO, {"level": "high"}) as dss:
        (choice,) = dss.form_choices(PLUGIN, "it", "service", typed, STORED, user="alice", shape=shape)
    assert choice["label"] == "library"
    payload, config, plugin_config, inputs = json.loads(choice["value"])
    assert payload["parameterName"] == "service"
    assert payload["parameterType"] == "SELECT"
    assert payload["rootModel"] == typed
    assert (plugin_config, inputs) == ({"level": "high"}, [])
    saved = config.get("config", config)
    if shape == "rootModel only":
        assert saved == {}
    else:
        assert (saved["login"]["token"], saved["count"]) == ("token of alice", 2.0)
        assert ("config" in config) == (shape == "wrapped")


@pytest.mark.parametrize(
    "choices",
    [
        "[]",
        "[{'label': 'Cannot list services: role X lacks USAGE'}]",
        "[{'value': None, 'label': 'A group'}]",
    ],
)
def test_messages_and_headings_are_choices_too(tmp_path: Path, choices: str) -> None:
    do = f"def do(payload, config, plugin_config, inputs):\n    return {{'choices': {choices}}}"
    with form(tmp_path, do) as dss:
        assert dss.form_choices(PLUGIN, "it", "service") == eval(choices)
        assert dss.violations == ()


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("raise KeyError('login')", "form-never-raises"),
        ("import os; os._exit(3)", "form-answers-in-time"),
        ("return []", "form-gives-choices"),
        ("return {'choices': None}", "form-gives-choices"),
        ("return {'choices': [{'value': 'a'}, {}]}", "choice-has-a-label"),
        ("return {'choices': ['a']}", "choice-has-a-label"),
        ("return {'choices': [{'value': 1, 'label': 'one'}]}", "choice-value-is-text"),
        ("return {'choices': [{'value': do, 'label': 'one'}]}", "is-json"),
    ],
)
def test_anything_else_is_a_breach(tmp_path: Path, body: str, rule: str) -> None:
    do = f"def do(payload, config, plugin_config, inputs):\n    {body}"
    with form(tmp_path, do) as dss:
        with pytest.raises(ContractError) as raised:
            dss.form_choices(PLUGIN, "it", "service")
        assert raised.value.rule == rule
        assert [breach.rule for breach in dss.violations] == [rule]


def test_a_form_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.dss.forms.PATIENCE", 0.3)
    do = "import time\ndef do(payload, config, plugin_config, inputs):\n    time.sleep(600)"
    with form(tmp_path, do) as dss, pytest.raises(ContractError, match="form-answers-in-time"):
        dss.form_choices(PLUGIN, "it", "service")


def test_a_choice_that_is_asked_for_at_each_key_stroke_is_a_warning(tmp_path: Path) -> None:
    files = {"resource/form.py": ECHO}
    always = {"name": "service", "type": "SELECT", "getChoicesFromPython": True}
    described = {**JSON, "paramsPythonSetup": "form.py"}
    for more, match in (
        ({}, "at each change of any field"),
        ({"triggerParameters": ["x"]}, "names unknown x"),
    ):
        macros = {"it": ({**described, "params": [{**always, **more}]}, runnable("pass"))}
        with Dss() as dss:
            (warning,) = dss.install_plugin(write_macros(tmp_path / str(len(more)), macros, files)).warnings
            assert match in warning
