"""The stand-in DSS loads a plugin as DSS does, refuses what DSS could not use, and leaves nothing behind."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sandbox.dss import Capability, ConfigError, DescriptorError, Dss, PluginError
from tests.contract.plugins.writing import COMPLETE, model_of, write_plugin
from tests.waiting import wait_for

CHAT = """
    from dataiku.llm.python import BaseLLM

    class Model(BaseLLM):
        def process(self, query, settings, trace):
            return {"text": "%s"}
"""
QUERY = {"messages": [{"role": "user", "content": "hi"}]}


def text(dss: Dss, llm_id: str, user: str = "admin") -> str:
    (row,) = dss.mesh.complete(model_of(dss, llm_id), user, [QUERY], {})
    return row["text"] if row["ok"] else row["errorMessage"]


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                archive.write(path, prefix + str(path.relative_to(folder)))
    return target


def test_a_plugin_is_loaded_from_its_folder_without_warnings() -> None:
    with Dss() as dss:
        plugin = dss.install_plugin(COMPLETE)
        assert (plugin.id, plugin.warnings) == ("echo", ())
        assert plugin.offers("echo") == {Capability.CHAT, Capability.EMBEDDING, Capability.RERANKING}


def test_a_plugin_is_loaded_from_a_zip_which_is_not_needed_afterwards(tmp_path: Path) -> None:
    archive = zipped(COMPLETE, tmp_path / "echo.zip")
    with Dss() as dss:
        plugin = dss.install_plugin(archive)
        archive.unlink()
        dss.create_connection("c", plugin.id, [{"id": "m", "capability": "CHAT"}])
        assert text(dss, "custom:c:m") == "hi"
        folder = plugin.descriptor.folder
        assert folder.is_dir()
    assert not folder.exists()


def test_a_zip_with_the_plugin_in_a_subfolder_is_refused(tmp_path: Path) -> None:
    archive = zipped(COMPLETE, tmp_path / "echo.zip", prefix="echo-1.0.0/")
    with Dss() as dss, pytest.raises(DescriptorError, match="root of the zip does not hold"):
        dss.install_plugin(archive)


def test_what_is_no_plugin_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    with Dss() as dss:
        with pytest.raises(PluginError, match="neither a folder nor a zip"):
            dss.install_plugin(tmp_path / "note.txt")
        with pytest.raises(DescriptorError, match=r"plugin\.json cannot be read"):
            dss.install_plugin(tmp_path)


def test_closing_leaves_paths_modules_and_threads_as_they_were() -> None:
    before = (list(sys.path), set(sys.modules), set(threading.enumerate()))
    with Dss() as dss:
        dss.install_plugin(COMPLETE)
        dss.create_connection("c", "echo", [{"id": "m", "capability": "CHAT"}])
        with dss.serve():
            assert text(dss, "custom:c:m") == "hi"
        assert "echo_plugin" in sys.modules
    left = {name for name in set(sys.modules) - before[1] if "echo" in name or name.startswith("dataiku.")}
    assert (list(sys.path), left) == (before[0], set())
    wait_for(lambda: set(threading.enumerate()) <= before[2])  # those of other tests may end meanwhile


def test_a_failed_install_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = write_plugin(
        tmp_path, "import helper\nraise RuntimeError('no')", files={"python-lib/helper.py": ""}
    )
    with Dss() as dss:
        before = list(sys.path)
        with pytest.raises(PluginError, match="RuntimeError: no"):
            dss.install_plugin(folder)
        assert sys.path == before
        assert "helper" not in sys.modules


def test_the_next_version_of_a_plugin_brings_its_own_library(tmp_path: Path) -> None:
    for number in ("one", "two"):
        llm_py = "from dataiku.llm.python import BaseLLM\nfrom small_lib import word\n" + (
            "class Model(BaseLLM):\n    def process(self, q, s, t):\n        return {'text': word}\n"
        )
        files = {"python-lib/small_lib.py": f"word = {number!r}"}
        folder = write_plugin(tmp_path / number, llm_py, files=files)
        with Dss() as dss:
            dss.install_plugin(folder)
            dss.create_connection("c", "small", [{"id": "m", "capability": "CHAT"}])
            assert text(dss, "custom:c:m") == number


def test_a_module_already_imported_under_a_librarys_name_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = type(sys)("small_lib")
    monkeypatch.setitem(sys.modules, "small_lib", other)
    llm_py = CHAT % "x" + "\n    from small_lib import word\n"
    with Dss() as dss:
        dss.install_plugin(write_plugin(tmp_path, llm_py, files={"python-lib/small_lib.py": "word = 1"}))
        assert sys.modules["small_lib"] is not other
    assert sys.modules["small_lib"] is other


def test_two_plugins_live_side_by_side_unless_their_libraries_collide(tmp_path: Path) -> None:
    files = {"python-lib/shared.py": ""}
    with Dss() as dss:
        for name in ("a", "b"):
            own = {f"python-lib/{name}_lib.py": ""}
            folder = write_plugin(tmp_path / name, CHAT % name, plugin={"id": name}, files=own)
            dss.install_plugin(folder)
            dss.create_connection(name, name, [{"id": "m", "capability": "CHAT"}])
        assert (text(dss, "custom:a:m"), text(dss, "custom:b:m")) == ("a", "b")
        dss.install_plugin(write_plugin(tmp_path / "c", CHAT % "c", plugin={"id": "c"}, files=files))
        with pytest.raises(PluginError, match=r"share modules in python-lib: \['shared'\]"):
            dss.install_plugin(write_plugin(tmp_path / "d", CHAT % "d", plugin={"id": "d"}, files=files))


def test_only_one_dss_is_open_at_a_time() -> None:
    with Dss(), pytest.raises(RuntimeError, match="another stand-in DSS is open"):
        Dss()


# -- classes


def test_two_classes_for_one_capability_are_refused(tmp_path: Path) -> None:
    with Dss() as dss, pytest.raises(PluginError, match="several classes derived from BaseLLM: Model, Other"):
        dss.install_plugin(write_plugin(tmp_path, CHAT % "x" + "\n    class Other(BaseLLM):\n        pass\n"))


def test_a_class_of_the_module_wins_over_an_imported_one(tmp_path: Path) -> None:
    library = "from dataiku.llm.python import BaseLLM\nclass Helper(BaseLLM):\n    pass\n"
    llm_py = "from helpers import Helper\nclass Model(Helper):\n    pass\n"
    with Dss() as dss:
        plugin = dss.install_plugin(write_plugin(tmp_path, llm_py, files={"python-lib/helpers.py": library}))
        assert plugin.class_for("model", Capability.CHAT).__name__ == "Model"


def test_a_module_without_a_class_is_refused(tmp_path: Path) -> None:
    with Dss() as dss, pytest.raises(PluginError, match="no class derived from a base class"):
        dss.install_plugin(write_plugin(tmp_path, "from dataiku.llm.python import BaseLLM"))


def test_a_capability_without_a_class_is_refused(tmp_path: Path) -> None:
    with Dss() as dss:
        dss.install_plugin(write_plugin(tmp_path, CHAT % "x"))
        with pytest.raises(PluginError, match="small/model has no class for Text embedding"):
            dss.create_connection("c", "small", [{"id": "m", "capability": "EMBEDDING"}])


def test_an_instance_whose_init_calls_no_super_has_the_bases_attributes(tmp_path: Path) -> None:
    llm_py = """
        from dataiku.llm.python import BaseLLM

        class Model(BaseLLM):
            def __init__(self):
                assert (self.config, self.plugin_config) == (None, None)

            def process(self, query, settings, trace):
                self.logger.debug("called")
                return {"text": str((self.config, self.plugin_config))}
    """
    with Dss() as dss:
        dss.install_plugin(write_plugin(tmp_path, llm_py))
        dss.create_connection("c", "small", [{"id": "m", "capability": "CHAT"}])
        assert text(dss, "custom:c:m") == "({}, {})"


# -- older versions


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        (
            "14.1",
            {"BaseEmbeddingModel", "BaseRerankingModel", "RetryableException", "OAuthCredentials", "event"},
        ),
        ("14.5", {"BaseRerankingModel", "RetryableException"}),
        ("15.0", set()),
    ],
)
def test_a_version_lacks_what_came_later(tmp_path: Path, version: str, missing: Any) -> None:
    llm_py = """
        import dataiku.core.plugin, dataiku.llm.python as llm
        import dataiku.llm.python.types
        from dataiku.llm.python.custom.base_embedding_model import BaseEmbeddingModel
        names = ["BaseEmbeddingModel", "BaseRerankingModel", "RetryableException"]
        missing = {name for name in names if not hasattr(llm, name)}
        if not hasattr(dataiku.core.plugin, "OAuthCredentials"):
            missing.add("OAuthCredentials")

        class Model(llm.BaseLLM):
            def process(self, query, settings, trace):
                with trace.subspan("mine") as span:
                    events = set() if hasattr(span, "event") else {"event"}
                return {"text": " ".join(sorted(missing | events))}
    """
    with Dss(version) as dss:
        dss.install_plugin(write_plugin(tmp_path, llm_py))
        dss.create_connection("c", "small", [{"id": "m", "capability": "CHAT"}])
        assert set(text(dss, "custom:c:m").split()) == missing


@pytest.mark.parametrize("version", ["14.1", "14.5"])
def test_the_complete_plugin_runs_on_older_dss_without_reranking(version: str) -> None:
    with Dss(version) as dss:
        dss.install_plugin(COMPLETE)
        dss.create_connection("c", "echo", [{"id": "v", "capability": "EMBEDDING"}])
        assert len(dss.embed("custom:c:v", ["a"], "admin")) == 1
        with pytest.raises(PluginError, match="this DSS version has no models for Reranking"):
            dss.create_connection("c", "echo", [{"id": "r", "capability": "RERANKING"}])


RANKS = """
    from dataiku.llm.python import BaseRerankingModel

    class Ranks(BaseRerankingModel):
        def process(self, query, settings, trace):
            return {"documents": []}
"""


def test_of_a_plugin_only_the_component_is_refused_that_is_for_a_newer_dss(tmp_path: Path) -> None:
    files = {
        "python-llms/ranks/llm.json": json.dumps({"meta": {"label": "Ranks"}}),
        "python-llms/ranks/llm.py": textwrap.dedent(RANKS),
    }
    folder = write_plugin(tmp_path, CHAT % "hello", files=files)
    ranks = [{"id": "r", "component": "ranks", "capability": "RERANKING"}]
    with Dss("14.5") as dss:
        plugin = dss.install_plugin(folder)
        assert plugin.warnings == ("ranks is for a newer DSS: it imports BaseRerankingModel",)
        assert plugin.offers("ranks") == set()
        dss.create_connection("c", "small", [{"id": "m", "component": "model", "capability": "CHAT"}])
        assert text(dss, "custom:c:m") == "hello"
        with pytest.raises(PluginError, match="ranks is for a newer DSS"):
            dss.create_connection("c", "small", ranks)
    with Dss("15.0") as dss:
        assert dss.install_plugin(folder).warnings == ()
        dss.create_connection("c", "small", ranks)


def test_a_plugin_of_which_dss_can_list_nothing_is_refused(tmp_path: Path) -> None:
    with Dss("14.5") as dss, pytest.raises(PluginError, match="model is for a newer DSS"):
        dss.install_plugin(write_plugin(tmp_path, RANKS))


def test_a_component_that_imports_what_no_dss_has_is_refused_whole(tmp_path: Path) -> None:
    broken = write_plugin(tmp_path, CHAT.replace("import BaseLLM", "import BaseLLM, BaseMagic") % "x")
    with Dss("14.5") as dss, pytest.raises(PluginError, match="cannot import name 'BaseMagic'"):
        dss.install_plugin(broken)


@pytest.mark.parametrize("version", ["13.5", "14.0"])
def test_a_version_without_python_models_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"they exist from 14\.1"):
        Dss(version)


# -- descriptors

STRING = {"name": "a", "type": "STRING"}
REQUEST = {"name": "k", "type": "CREDENTIAL_REQUEST", "credentialRequestSettings": {"type": "SINGLE_FIELD"}}


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ([{"type": "STRING"}], "a parameter has no name"),
        ([{"name": "_x", "type": "STRING"}], "reserved for DSS"),
        ([{"name": "a", "type": "TEXT"}], "unknown type 'TEXT'"),
        ([STRING, STRING], "a is there twice"),
        ([REQUEST], "CREDENTIAL_REQUEST outside a parameter set"),
        ([{"name": "p", "type": "PRESET", "parameterSetId": "gone"}], "names the parameter set 'gone'"),
        ([{"name": "s", "type": "SELECT"}], "s has no selectChoices"),
        ([{"name": "s", "type": "SELECT", "selectChoices": [{"value": "a"}]}], "needs value and label"),
        (
            [{"name": "s", "type": "SELECT", "getChoicesFromPython": True}],
            "getChoicesFromPython without paramsPythonSetup",
        ),
    ],
)
def test_a_parameter_dss_could_not_show_is_refused(tmp_path: Path, params: Any, complaint: str) -> None:
    with Dss() as dss, pytest.raises(DescriptorError, match=complaint):
        dss.install_plugin(write_plugin(tmp_path, CHAT % "x", params=params))


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"plugin.json": "{"}, "is not JSON"),
        ({"plugin.json": '{"id": "a b", "version": "1.0.0", "meta": {"label": "x"}}'}, "id 'a b'"),
        ({"plugin.json": '{"id": "a", "version": "1", "meta": {"label": "x"}}'}, "version '1'"),
        ({"plugin.json": '{"id": "a", "version": "1.0.0"}'}, "meta.label is missing"),
        ({"python-llms/other/llm.json": '{"meta": {"label": "x"}}'}, "llm.py is missing"),
        ({"parameter-sets/p/parameter-set.json": "{}"}, "parameter-sets/p: meta.label is missing"),
        ({"code-env/python/desc.json": "{}"}, "acceptedPythonInterpreters is missing"),
        (
            {"code-env/python/desc.json": '{"acceptedPythonInterpreters": ["PYTHON3"]}'},
            "no interpreter 'PYTHON3'",
        ),
        (
            {"code-env/python/desc.json": '{"acceptedPythonInterpreters": ["PYTHON311"]}'},
            "requirements.txt is missing",
        ),
        (
            {
                "code-env/python/desc.json": '{"acceptedPythonInterpreters": ["PYTHON311"]}',
                "code-env/python/spec/requirements.txt": "requests >= 2\n-> nonsense",
            },
            "'-> nonsense' is no requirement",
        ),
    ],
)
def test_a_descriptor_dss_could_not_use_is_refused(tmp_path: Path, files: Any, complaint: str) -> None:
    with Dss() as dss, pytest.raises(DescriptorError, match=complaint):
        dss.install_plugin(write_plugin(tmp_path, CHAT % "x", files=files))


def test_what_dss_would_ignore_is_a_warning(tmp_path: Path) -> None:
    described = {
        "meta": {"label": "x"},
        "className": "Model",
        "params": [{"name": "a", "type": "STRING", "visibilityCondition": "model.mod == 'x'"}],
    }
    files = {
        "python-llms/model/llm.json": json.dumps(described),
        "code-env/python/desc.json": '{"acceptedPythonInterpreters": ["PYTHON36"]}',
        "code-env/python/spec/requirements.txt": "",
    }
    with Dss() as dss:
        warnings = dss.install_plugin(write_plugin(tmp_path, CHAT % "x", files=files)).warnings
    assert len(warnings) == 3
    assert "no key 'className'" in warnings[0]
    assert "unknown mod" in warnings[1]
    assert "the plugin accepts ('PYTHON36',)" in warnings[2]


@pytest.mark.parametrize(
    ("param", "oddity"),
    [
        ({"type": "INT", "defaultValue": "8"}, "'8' is no INT"),
        ({"type": "INT", "defaultValue": 0, "minI": 1}, "0 is out of its own bounds"),
        ({"type": "DOUBLE", "defaultValue": 2.5, "maxD": 2.0}, "2.5 is out of its own bounds"),
        ({"type": "BOOLEAN", "defaultValue": 1}, "1 is no BOOLEAN"),
        (
            {"type": "SELECT", "defaultValue": "b", "selectChoices": [{"value": "a", "label": "A"}]},
            "'b' is none of its choices",
        ),
    ],
)
def test_a_default_that_does_not_fit_its_parameter_is_a_warning(
    tmp_path: Path, param: dict[str, Any], oddity: Any
) -> None:
    with Dss() as dss:
        plugin = dss.install_plugin(write_plugin(tmp_path, CHAT % "x", params=[{"name": "p", **param}]))
        assert plugin.warnings == (f"python-llms/model: p: defaultValue {oddity}",)


def test_unknown_names_in_a_configuration_are_refused_unless_they_are_leftovers(tmp_path: Path) -> None:
    model = {"id": "m", "capability": "CHAT", "params": {"gone": 1}}
    with Dss() as dss:
        dss.install_plugin(write_plugin(tmp_path, CHAT % "x"))
        with pytest.raises(ConfigError, match=r"model has no parameters \['gone'\]"):
            dss.create_connection("c", "small", [model])
        dss.create_connection("c", "small", [model], unknown_params=True)
        assert text(dss, "custom:c:m") == "x"
