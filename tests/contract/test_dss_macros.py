"""The stand-in DSS runs macros as DSS does, for the real `dataikuapi` client."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dataikuapi.utils import DataikuException

from sandbox.dss import DescriptorError, Dss, OAuthToken
from tests.contract.plugins.macros import JSON, PLUGIN, macro_id, runnable, write_macros
from tests.contract.plugins.writing import client
from tests.waiting import wait_for

ECHO = runnable(
    """
    def run(self, progress_callback):
        import json
        return json.dumps([self.project_key, self.config, self.plugin_config])
    """
)
LOGIN = {
    "login": [
        {"name": "server", "type": "STRING"},
        {
            "name": "token",
            "type": "CREDENTIAL_REQUEST",
            "credentialRequestSettings": {"type": "OAUTH2"},
        },
    ]
}


class Scene:
    """A DSS with a plugin of macros, served, and clients of its users."""

    def __init__(self, dss: Dss, url: str, undo: contextlib.ExitStack) -> None:
        self.dss = dss
        self._url = url
        self._undo = undo

    def macro(self, name: str, user: str = "admin") -> Any:
        dss_client = self._undo.enter_context(client(self._url, self.dss.create_api_key(user)))
        return dss_client.get_project("TEST").get_macro(macro_id(name))

    def json(self, name: str, params: Any = None, user: str = "admin", **more: Any) -> Any:
        macro = self.macro(name, user)
        return macro.get_result(macro.run(params, **more), as_type="json")


@contextlib.contextmanager
def scene(
    folder: Path, macros: Mapping[str, tuple[Mapping[str, Any], str]], plugin_config: Any = None, **more: Any
) -> Iterator[Scene]:
    """A scene of one plugin, which must not break the contract."""
    with contextlib.ExitStack() as undo:
        dss = undo.enter_context(Dss(more.pop("version", "15.0")))
        dss.install_plugin(write_macros(folder, macros, **more), plugin_config)
        yield Scene(dss, undo.enter_context(dss.serve()), undo)


def one(tmp_path: Path, body: str, described: Mapping[str, Any] = JSON, **more: Any) -> Any:
    """A scene with the one macro `it`."""
    return scene(tmp_path, {"it": (described, runnable(body))}, **more)


def test_macros_are_listed_under_the_id_that_scenarios_store(tmp_path: Path) -> None:
    with scene(tmp_path, {"echo": (JSON, ECHO)}) as at:
        dss_client = at.macro("echo").client
        (listed,) = dss_client.get_project("TEST").list_macros()
        assert listed["runnableType"] == "pyrunnable_small_echo"
        assert (listed["ownerPluginId"], listed["meta"]) == (PLUGIN, {"label": "echo"})
        assert at.macro("echo").get_definition() == listed


def test_the_api_hands_over_what_it_is_given_and_no_defaults(tmp_path: Path) -> None:
    params = [
        {"name": "count", "type": "INT", "defaultValue": 3},
        {"name": "dryRun", "type": "BOOLEAN", "defaultValue": True},
    ]
    with scene(tmp_path, {"echo": ({**JSON, "params": params}, ECHO)}) as at:
        assert at.json("echo", {"count": 7}) == ["TEST", {"count": 7.0}, {}]
        assert (
            '"count": 7.0'
            in at.macro("echo").get_result(at.macro("echo").run({"count": 7}), "string").decode()
        )
        assert at.json("echo") == ["TEST", {}, {}]
        assert at.json("echo", at.dss.form_defaults(PLUGIN, "echo"))[1] == {"count": 3.0, "dryRun": True}


def test_a_preset_arrives_flat_with_the_credential_of_the_user_who_runs(tmp_path: Path) -> None:
    described = {**JSON, "params": [{"name": "login", "type": "PRESET", "parameterSetId": "login"}]}
    fresh = runnable(
        """
        def run(self, progress_callback):
            import json
            from dataiku.core.plugin import OAuthCredentials
            login = self.config["login"]
            return json.dumps([login["token"], OAuthCredentials(login["__credentials"]["token"]).access_token])
        """
    )
    macros = {"echo": (described, ECHO), "fresh": (described, fresh)}
    with scene(tmp_path, macros, parameter_sets=LOGIN) as at:
        preset = at.dss.create_preset(PLUGIN, "login", "main", {"server": "s"})
        for user in ("alice", "bob"):
            at.dss.set_user_credential(user, preset, "token", OAuthToken(f"token of {user}"))
        stored = {"login": {"mode": "PRESET", "name": "main"}}
        (_, config, _) = at.json("echo", stored, "alice")
        assert (config["login"]["server"], config["login"]["token"]) == ("s", "token of alice")
        assert at.json("fresh", stored, "bob") == ["token of bob"] * 2
        with pytest.raises(DataikuException, match="sign in under Profile > Credentials"):
            at.json("echo", stored, "carol")
        with pytest.raises(DataikuException, match="a preset is"):
            at.json("echo", {"login": "main"})


def test_admin_parameters_are_dropped_and_hidden_for_others(tmp_path: Path) -> None:
    described = {**JSON, "adminParams": [{"name": "all", "type": "BOOLEAN"}]}
    with scene(tmp_path, {"echo": (described, ECHO)}, plugin=SETTING, plugin_config={"level": "high"}) as at:
        assert at.json("echo", {}, "admin", admin_params={"all": True}) == [
            "TEST",
            {"all": True},
            {"level": "high"},
        ]
        assert at.json("echo", {}, "alice", admin_params={"all": True})[1] == {}
        assert [
            len(at.macro("echo", user).get_definition()["adminParams"]) for user in ("admin", "alice")
        ] == [1, 0]


SETTING = {"params": [{"name": "level", "type": "STRING"}]}


def test_a_user_needs_the_permissions_that_the_macro_names(tmp_path: Path) -> None:
    macros: dict[str, tuple[dict[str, Any], str]] = {
        "look": ({**JSON, "permissions": ["READ_CONF"]}, ECHO),
        "change": ({**JSON, "permissions": ["ADMIN"]}, ECHO),
        "global": ({**JSON, "requiresGlobalAdmin": True}, ECHO),
    }
    with scene(tmp_path, macros) as at:
        at.dss.give_rights("alice", "TEST", "READ_CONF")
        at.dss.give_rights("bob", "TEST", "ADMIN")
        at.dss.give_rights("carol", "OTHER", "ADMIN")
        allowed: dict[str, set[str]] = {}
        for user in ("admin", "alice", "bob", "carol"):
            allowed[user] = set()
            for name in macros:
                with contextlib.suppress(DataikuException):
                    at.json(name, {}, user)
                    allowed[user].add(name)
        assert allowed == {"admin": set(macros), "alice": {"look"}, "bob": {"look", "change"}, "carol": set()}
        with pytest.raises(DataikuException, match="alice does not have ADMIN on project TEST"):
            at.json("change", {}, "alice")


def test_only_runnable_py_is_there_when_it_runs_and_the_library_is(tmp_path: Path) -> None:
    files = {"python-runnables/it/helper.py": "x = 1", "python-lib/small_lib.py": "x = 2"}
    body = """
    def run(self, progress_callback):
        import json, os, small_lib
        try:
            import helper
        except ImportError:
            helper = None
        return json.dumps([helper, small_lib.x, sorted(os.listdir()), "sandbox" in __import__("sys").modules])
    """
    with one(tmp_path, body, files=files) as at:
        assert at.json("it") == [None, 2, ["kernel.log", "runnable.py"], False]
        (warning,) = at.dss.plugin(PLUGIN).warnings
        assert warning.startswith("python-runnables/it: helper.py is not there when the macro runs")


def test_a_run_has_a_process_of_its_own_and_acts_as_its_user(tmp_path: Path) -> None:
    body = """
    def run(self, progress_callback):
        import dataiku, json, os
        me = dataiku.api_client().get_auth_info()["authIdentifier"]
        return json.dumps([os.getpid(), me, dataiku.default_project_key()])
    """
    with one(tmp_path, body) as at:
        first, second = at.json("it", user="alice"), at.json("it", user="bob")
        assert len({os.getpid(), first[0], second[0]}) == 3
        assert [first[1:], second[1:]] == [["alice", "TEST"], ["bob", "TEST"]]


A_COLUMN = "t = ResultTable(); t.add_column('a', 'A');"
TABLE = """
    def run(self, progress_callback):
        table = ResultTable()
        table.set_name("Services")
        table.add_column("name", "Name", "STRING")
        table.add_column("tags", "Tags", "STRING_LIST")
        table.add_record(["CHAT", ["a", "b"]])
        return table
"""


def test_a_table_is_json_with_records(tmp_path: Path) -> None:
    with one(tmp_path, TABLE, {"resultType": "RESULT_TABLE"}) as at:
        result = at.json("it")
        assert (result["name"], result["records"]) == ("Services", [["CHAT", ["a", "b"]]])
        assert [column["name"] for column in result["columns"]] == ["name", "tags"]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("result_type", "returned", "body"),
    [
        ("HTML", "'<b>€</b>'", "<b>€</b>"),
        ("URL", "'https://example.org'", "https://example.org"),
        ("JSON_OBJECT", "'{\"a\": 1}'", '{"a": 1}'),
        ("FILE", "'a;b'", "a;b"),
        ("FOLDER_FILE", "('folder', 'path')", '["folder", "path"]'),
        ("NONE", "None", ""),
    ],
)
def test_a_result_is_bytes_and_fetching_it_ends_the_run(
    tmp_path: Path, result_type: str, returned: str, body: str
) -> None:
    described = {"resultType": result_type, "extension": "txt", "mimeType": "text/plain"}
    with one(tmp_path, f"def run(self, progress_callback):\n    return {returned}", described) as at:
        macro = at.macro("it")
        run_id = macro.run()
        assert macro.get_status(run_id) == {"running": False}
        assert macro.get_result(run_id, as_type="string") == body.encode()
        for ask in (macro.get_result, macro.get_status):
            with pytest.raises(DataikuException, match="run not found"):
                ask(run_id)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("result_type", "body", "rule"),
    [
        ("HTML", "return None", "result-fits-its-type"),
        ("HTML", "return b'x'", "result-fits-its-type"),
        ("JSON_OBJECT", "return {'a': 1}", "result-fits-its-type"),
        ("JSON_OBJECT", "return 'no JSON'", "result-fits-its-type"),
        ("RESULT_TABLE", "return [['a']]", "result-fits-its-type"),
        ("RESULT_TABLE", "return ResultTable()", "table-has-columns"),
        ("RESULT_TABLE", "t = ResultTable(); t.add_column('a', 'A', 'INT'); return t", "column-type"),
        ("RESULT_TABLE", f"{A_COLUMN} t.add_record([]); return t", "record-fits-columns"),
        ("RESULT_TABLE", f"{A_COLUMN} t.add_record([[]]); return t", "cell-fits-its-column"),
        ("RESULT_TABLE", f"{A_COLUMN} t.add_record([self]); return t", "is-json"),
        ("NONE", "progress_callback('half')", "progress-is-a-number"),
    ],
)  # fmt: skip
def test_a_return_that_does_not_fit_is_a_breach(
    tmp_path: Path, result_type: str, body: str, rule: str
) -> None:
    with one(tmp_path, f"def run(self, progress_callback):\n    {body}", {"resultType": result_type}) as at:
        with pytest.raises(DataikuException):
            at.macro("it").run()
        assert [breach.rule for breach in at.dss.violations] == [rule]


def test_a_macro_that_raises_has_no_result_but_a_reason_and_a_log(tmp_path: Path) -> None:
    body = """
    def run(self, progress_callback):
        print("working")
        raise ValueError("2 of 3 services failed")
    """
    with one(tmp_path, body) as at:
        macro = at.macro("it")
        with pytest.raises(DataikuException, match="<class 'ValueError'>: 2 of 3 services failed"):
            macro.run(wait=True)
        run_id = macro.run(wait=False)
        run = at.dss.macro_run(run_id)
        assert run.done.wait(30)
        with pytest.raises(DataikuException, match="2 of 3 services failed"):
            macro.get_result(run_id)
        assert "working" in run.log
        assert "Traceback" in run.log
        assert at.dss.violations == ()


WAITING = """
    def get_progress_target(self):
        return (7, "RECORDS")

    def run(self, progress_callback):
        import json, os, subprocess, sys, time
        progress_callback(3)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("child", child.pid, flush=True)
        while not os.path.exists(self.config["until"]):
            time.sleep(0.01)
        child.kill()
        child.wait()
        progress_callback(7)
        return "{}"
"""


def test_a_run_can_be_watched_and_its_result_waits_for_its_end(tmp_path: Path) -> None:
    until = tmp_path / "until"
    with one(tmp_path / "plugin", WAITING) as at:
        macro = at.macro("it")
        run_id = macro.run({"until": str(until)}, wait=False)
        run = at.dss.macro_run(run_id)
        wait_for(lambda: run.progress == 3)
        assert (run.target, macro.get_status(run_id)) == ((7, "RECORDS"), {"running": True})
        with pytest.raises(DataikuException, match="still running"):
            macro.get_result(run_id)
        until.touch()
        assert run.done.wait(30)
        assert (run.progress, macro.get_result(run_id, as_type="json")) == (7, {})


def test_an_aborted_run_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    with one(tmp_path, WAITING) as at:
        macro = at.macro("it")
        run_id = macro.run({"until": str(tmp_path / "never")}, wait=False)
        run = at.dss.macro_run(run_id)
        wait_for(lambda: "child" in run.log)
        child = int(run.log.split("child")[1].split()[0])
        macro.abort(run_id)
        assert run.done.wait(30)
        wait_for(lambda: not _is_running(child))
        with pytest.raises(DataikuException, match="Aborted"):
            macro.get_result(run_id)
        assert macro.client.get_auth_info()["authIdentifier"] == "admin"


def _is_running(pid: int) -> bool:
    """A killed process that nobody has waited for is a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_run_that_has_ended_can_be_aborted_in_vain(tmp_path: Path) -> None:
    with scene(tmp_path, {"echo": (JSON, ECHO)}) as at:
        macro = at.macro("echo")
        run_id = macro.run()
        macro.abort(run_id)
        assert macro.get_result(run_id, as_type="json") == ["TEST", {}, {}]


def test_closing_ends_the_runs_under_way(tmp_path: Path) -> None:
    with one(tmp_path, WAITING) as at:
        run = at.dss.macro_run(at.macro("it").run({"until": str(tmp_path / "never")}, wait=False))
        wait_for(lambda: run.progress == 3)
    assert run.done.is_set()
    assert run.failure == "Aborted"


def test_the_ticket_of_a_run_is_void_when_it_has_ended(tmp_path: Path) -> None:
    body = """
    def run(self, progress_callback):
        import json, os
        return json.dumps(os.environ["DKU_API_TICKET"])
    """
    with one(tmp_path, body) as at:
        assert at.dss.user_of(at.json("it")) is None


PLACES = """
    def run(self, progress_callback):
        import json, pathlib, tempfile
        def attempt(work):
            try:
                work()
                return "done"
            except PermissionError:
                return "denied"
        data = pathlib.Path(self.config["data"])
        with tempfile.NamedTemporaryFile(dir=".") as own:
            own.write(b"x")
        return json.dumps({
            "own": attempt(lambda: pathlib.Path("own").write_text("x")),
            "read data": attempt(lambda: (data / "secret").read_text()),
            "write data": attempt(lambda: (data / "new").write_text("x")),
            "elsewhere": attempt(lambda: pathlib.Path(self.config["elsewhere"]).write_text("x")),
            "moved there": attempt(lambda: pathlib.Path("own").rename(self.config["elsewhere"])),
        })
"""


@pytest.mark.parametrize(("impersonate", "outcome"), [(True, "denied"), (False, "done")])
def test_an_impersonating_macro_sees_its_own_folder_only(
    tmp_path: Path, impersonate: bool, outcome: str
) -> None:
    with one(tmp_path / "plugin", PLACES, {**JSON, "impersonate": impersonate}) as at:
        (at.dss.data_folder / "secret").write_text("x")
        places = {"data": str(at.dss.data_folder), "elsewhere": str(tmp_path / "elsewhere")}
        assert at.json("it", places) == {
            "own": "done", "read data": outcome, "write data": outcome, "elsewhere": outcome, "moved there": outcome
        }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("x = 1", "defines none"),
        (runnable("pass") + "\nclass Other(Runnable):\n    pass", "defines Other, Small"),
        ("raise RuntimeError('at import')", "at import"),
    ],
)
def test_a_file_without_exactly_one_runnable_cannot_run(tmp_path: Path, code: str, match: str) -> None:
    with scene(tmp_path, {"it": (JSON, code)}) as at, pytest.raises(DataikuException, match=match):
        at.macro("it").run()


@pytest.mark.parametrize(
    ("described", "match"),
    [
        ({}, "resultType is None"),
        ({"resultType": "TABLE"}, "resultType is 'TABLE'"),
        ({**JSON, "permissions": ["READ"]}, "permissions are"),
        ({**JSON, "permissions": "ADMIN"}, "permissions are"),
        ({**JSON, "impersonate": "false"}, "impersonate is 'false'"),
        (
            {**JSON, "macroRoles": [{"type": "CONNECTION", "targetParamsKey": "c"}]},
            "unknown type 'CONNECTION'",
        ),
        ({**JSON, "macroRoles": [{"type": "DATASET"}]}, "no targetParamsKey"),
        ({**JSON, "paramsPythonSetup": "form.py"}, "does not exist"),
        ({**JSON, "paramsPythonSetup": "bad.py"}, "no function do"),
        ({**JSON, "params": [{"name": "a", "type": "TEXT"}]}, "unknown type 'TEXT'"),
        (
            {**JSON, "params": [{"name": "a", "type": "SELECT", "getChoicesFromPython": True}]},
            "without paramsPy",
        ),
        ({**JSON, "params": [{"name": "a", "type": "PRESET", "parameterSetId": "b"}]}, "parameter set 'b'"),
        (
            {**JSON, "params": [{"name": "a", "type": "INT"}], "adminParams": [{"name": "a", "type": "INT"}]},
            "in params and in adminParams",
        ),
    ],
)
def test_a_descriptor_that_dss_could_not_use_is_refused(tmp_path: Path, described: Any, match: str) -> None:
    folder = write_macros(
        tmp_path, {"it": (described, ECHO)}, {"resource/bad.py": "def do(payload):\n    pass"}
    )
    with Dss() as dss, pytest.raises(DescriptorError, match=match):
        dss.install_plugin(folder)


@pytest.mark.parametrize(
    ("described", "match"),
    [
        ({**JSON, "meta": {"label": "it", "macroRoles": []}}, "macroRoles inside meta does nothing"),
        ({**JSON, "results": 1}, "knows no key 'results'"),
        ({**JSON, "params": [{"name": "a", "type": "INT", "required": True}]}, "it is called 'mandatory'"),
        ({**JSON, "params": [{"name": "a", "type": "INT", "visibilityCondition": "model.b"}]}, "unknown b"),
        ({**JSON, "params": [{"name": "a", "type": "INT", "defaultValue": "1"}]}, "is no INT"),
        ({"resultType": "FILE"}, "a FILE without extension"),
    ],
)
def test_what_dss_would_ignore_is_a_warning(tmp_path: Path, described: Any, match: str) -> None:
    with Dss() as dss:
        (warning,) = dss.install_plugin(write_macros(tmp_path, {"it": (described, ECHO)})).warnings
        assert match in warning


def test_a_macro_of_an_older_dss_has_no_fresh_credentials(tmp_path: Path) -> None:
    body = """
    def run(self, progress_callback):
        import json
        import dataiku.core.plugin
        return json.dumps(hasattr(dataiku.core.plugin, "OAuthCredentials"))
    """
    for version, expected in (("14.1", False), ("14.5", True)):
        with one(tmp_path / version, body, version=version) as at:
            assert at.json("it") is expected


def test_what_a_macro_prints_is_no_message_to_dss(tmp_path: Path) -> None:
    body = """
    def run(self, progress_callback):
        print(json_line)
        return "{}"
    """
    said = json.dumps({"result": {"kind": "text", "value": "[1]"}})
    with scene(tmp_path, {"it": (JSON, runnable(body, f"json_line = {said!r}\n"))}) as at:
        assert at.json("it") == {}
