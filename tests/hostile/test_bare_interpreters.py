"""The whole plugin in the oldest Pythons that it supports, with no packages but pip's own copies.

On Python 3.9 and 3.10 `ast` recurses without a limit: a few hundred kilobytes of a server's end the whole process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import jinja2
import markupsafe
import pytest

from tests.compatibility import find_python
from tests.hostile.bodies import QUESTION, bombs, in_generated_text
from tests.hostile.known import judge
from tests.hostile.surfaces import (
    MB,
    OPENAI_CHAT,
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    Surface,
    answer_to,
    completion,
    dumped,
    new_question,
)
from tests.hostile.victim import ROOT, Victim

pytestmark = pytest.mark.exhaustive

# pip has requests with urllib3 1.26 within; Jinja's sources suit every Python from 3.7 on.
_PURE = (jinja2, markupsafe)
# Those that make a deep tree of a flat text.
DEEP = ("a sum", "subscripts")


@pytest.fixture(scope="module", params=["3.9", "3.10"])
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    python = find_python(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} here")
    packages = tmp_path_factory.mktemp("packages")
    for package in _PURE:
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, packages / folder.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    path = os.pathsep.join([str(ROOT / "python-lib"), str(packages)])
    made = Victim(str(python), {"PYTHONPATH": path, "VICTIM_USES_PIP": "1"})
    yield made
    made.stop()


def test_the_plugin_runs_there(bare: Victim) -> None:
    question = new_question()
    with PREDICT_CHAT.serve(PREDICT_CHAT.good) as server:
        (outcome,) = bare.ask(PREDICT_CHAT.ask(server.url, question))
    assert outcome.error is None and outcome.died is None, outcome
    assert outcome.answer["text"] == answer_to(question)


def test_no_text_ends_the_process(bare: Victim, request: pytest.FixtureRequest) -> None:
    version = request.node.callspec.params["bare"]
    complaints = {}
    for name, bomb in bombs(1_000_000).items():
        if name not in DEEP:
            continue
        rows = {PREDICT_EMBEDDING: bomb, PREDICT_CHAT: in_generated_text(bomb)}
        for surface, text in rows.items():
            body = dumped({"data": [[0, {"outputs": text}]]})
            complaints[f"Python {version}: {name}, {surface}"] = _ends(bare, surface, body)
    judge(complaints)


def test_no_json_ends_the_process(bare: Victim, request: pytest.FixtureRequest) -> None:
    version = request.node.callspec.params["bare"]
    complaints = {}
    for name, value in (
        ("lists", b"[" * 300_000 + b"]" * 300_000),
        ("objects", b'{"a":' * 300_000 + b"1" + b"}" * 300_000),
        ("digits", b"7" * (MB // 8)),
    ):
        body = b'{"data":[[0,{"outputs":' + value + b"}]]}"
        complaints[f"Python {version}: JSON of {name}, predict"] = _ends(bare, PREDICT_EMBEDDING, body)
        arguments = dumped(completion("", message={"content": value.decode()}))
        complaints[f"Python {version}: JSON of {name}, chat"] = _ends(bare, OPENAI_CHAT, arguments)
    judge(complaints)


def _ends(bare: Victim, surface: Surface, body: bytes) -> str:
    with surface.serve(lambda request: surface.reply(body)) as server:
        (outcome,) = bare.ask(
            surface.ask(server.url, QUESTION, queryTimeoutSeconds=2), measure=True, timeout=30
        )
    if outcome.died:
        return outcome.died
    if outcome.error and outcome.place in (None, "plugin"):
        return outcome.text
    return f"{outcome.cpu:.1f} s of CPU" if outcome.cpu > 3 else ""
