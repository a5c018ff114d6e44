"""The sandbox's DSS serves webapps as strictly as DSS does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("flask", reason="Flask is what DSS brings; the sandbox's environment has it")

from sandbox.dss import Dss
from sandbox.dss.parameters import DescriptorError
from sandbox.dss.webapps import COOKIE

DESCRIPTOR = {"meta": {"label": "Page"}, "baseType": "STANDARD", "hasBackend": "true", "params": []}
BACKEND = """
import dataiku, dataiku.customwebapp, flask

@app.route("/who")
def who():
    try:
        return dataiku.api_client().get_auth_info_from_browser_headers(dict(flask.request.headers))
    except Exception as error:
        return {"error": type(error).__name__}

@app.route("/as-viewer")
def as_viewer():
    with dataiku.WebappImpersonationContext():
        return dataiku.api_client().get_auth_info()

@app.route("/config")
def config():
    return dataiku.customwebapp.get_webapp_config()
"""


def plugin(folder: Path, backend: str = BACKEND, **descriptor: Any) -> Path:
    """A plugin with one webapp, and a macro, which it must have to be one."""
    (folder / "plugin.json").write_text(
        json.dumps({"id": "paged", "version": "1.0.0", "meta": {"label": "Paged"}})
    )
    macro = folder / "python-runnables" / "noop"
    macro.mkdir(parents=True)
    told = {
        "meta": {"label": "Noop"},
        "impersonate": False,
        "permissions": [],
        "resultType": "NONE",
        "params": [],
    }
    (macro / "runnable.json").write_text(json.dumps(told))
    (macro / "runnable.py").write_text("from dataiku.runnables import Runnable\nclass Noop(Runnable): pass\n")
    page = folder / "webapps" / "page"
    page.mkdir(parents=True)
    (page / "webapp.json").write_text(json.dumps({**DESCRIPTOR, **descriptor}))
    for name, text in (
        ("app.js", ""),
        ("style.css", ""),
        ("body.html", "<p>Hi</p>"),
        ("backend.py", backend),
    ):
        (page / name).write_text(text)
    return folder


@pytest.fixture
def dss() -> Iterator[Dss]:
    with Dss() as made:
        made.put_in_groups("ann", "readers")
        made.give_rights("ann", "P", "READ_CONF")
        yield made


def get(url: str, session: str | None = None) -> requests.Response:
    return requests.get(url, cookies={COOKIE: session} if session else None, timeout=30)


def test_a_missing_file_and_another_kind_are_refused(dss: Dss, tmp_path: Path) -> None:
    made = plugin(tmp_path)
    (made / "webapps" / "page" / "app.js").unlink()
    with pytest.raises(DescriptorError, match=r"app\.js is missing"):
        dss.install_plugin(made)


def test_only_those_who_may_read_the_project_see_the_page_and_its_backend(dss: Dss, tmp_path: Path) -> None:
    params = [{"name": "greeting", "type": "STRING", "label": "Greeting"}]
    dss.install_plugin(plugin(tmp_path, params=params))
    with dss.serve() as url:
        running = dss.start_webapp("paged", "page", "P", {"greeting": "hello"})
        page, backend = dss.webapp_url(running), f"{url}/web-apps-backends/P/{running.id}"
        ann, bob = dss.browsers.sign_in("ann"), dss.browsers.sign_in("bob")
        for address in (page, f"{backend}/who"):
            assert [get(address, who).status_code for who in (None, "forged", bob, ann)] == [
                401,
                401,
                403,
                200,
            ]
        assert get(f"{backend}/who", ann).json()["groups"] == ["readers"]
        assert get(f"{backend}/config", ann).json() == {"greeting": "hello"}
        assert "script-src 'self'" in get(page, ann).headers["Content-Security-Policy"]
    assert not dss.violations


def test_a_public_page_is_seen_by_somebody_whom_dss_does_not_know(dss: Dss, tmp_path: Path) -> None:
    dss.install_plugin(plugin(tmp_path))
    with dss.serve() as url:
        running = dss.start_webapp("paged", "page", "P", public=True)
        assert get(f"{url}/web-apps-backends/P/{running.id}/who").json() == {"error": "DataikuException"}


def test_a_backend_acts_as_the_viewer_only_where_its_run_as_user_may(dss: Dss, tmp_path: Path) -> None:
    dss.install_plugin(plugin(tmp_path))
    with dss.serve() as url:
        ann = dss.browsers.sign_in("ann")
        for groups, expected in ((["readers"], 200), ([], 500)):
            running = dss.start_webapp("paged", "page", "P", impersonates=groups)
            answer = get(f"{url}/web-apps-backends/P/{running.id}/as-viewer", ann)
            assert answer.status_code == expected
            assert expected == 500 or answer.json()["authIdentifier"] == "ann"


def test_an_app_of_its_own_breaks_the_contract(dss: Dss, tmp_path: Path) -> None:
    dss.install_plugin(plugin(tmp_path, "import flask\napp = flask.Flask(__name__)\n"))
    with dss.serve(), pytest.raises(RuntimeError, match="app of its own"):
        dss.start_webapp("paged", "page", "P")
    assert [violation.rule for violation in dss.violations] == ["injected-app"]


def test_a_backend_that_fails_says_why(dss: Dss, tmp_path: Path) -> None:
    dss.install_plugin(plugin(tmp_path, "raise ValueError('no')\n"))
    with dss.serve(), pytest.raises(RuntimeError, match="ValueError"):
        dss.start_webapp("paged", "page", "P")
