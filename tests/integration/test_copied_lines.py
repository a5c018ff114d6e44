"""Every line that the project gives to copy is run, as it is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.instance import Instance
from sandbox.services.scripted import answer_to, vector_of

ROOT = Path(__file__).parents[2]
PROSE = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("sandbox/*/*.md")])


def blocks(path: str, language: str) -> list[str]:
    """The fenced blocks of a Markdown file in this language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / path).read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"{path} has no {language}"
    return found


def run(*command: str, **environment: str) -> str:
    """What a command prints; it must end well and complain of nothing."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.exhaustive
def test_the_readme_s_python(instance: Instance) -> None:
    create_service = instance.snowflake.create_service
    chat = create_service("chat", "scripted", "OPENAI")
    instance.add_model("qwen", "CHAT", chat, serviceProtocol="OPENAI", modelName="scripted")
    instance.add_model(
        "minilm", "EMBEDDING", create_service("embed", "scripted", "PREDICT", kind="embedding")
    )
    (code,) = blocks("README.md", "python")
    for written, meant in (("https://dss.example.com", instance.url), ("<API key>", instance.api_key)):
        assert written in code
        code = code.replace(written, meant)
    code += "\nprint(chat_model.invoke('Hello').content)"
    printed = run(sys.executable, "-c", code)
    whole, streamed, chained = (
        answer_to("Why is the sky blue?"),
        answer_to("Why is the sky blue?"),
        answer_to("Hello"),
    )
    assert printed == f"{whole}\n{streamed}{[vector_of('a text')]}\n{chained}\n"


@pytest.mark.exhaustive
def test_the_python_of_the_sandbox_s_readme_for_dss() -> None:
    ask, look = blocks("sandbox/dss/README.md", "python")
    assert run(sys.executable, "-c", ask).strip()
    columns, service = run(sys.executable, "-c", look).splitlines()
    assert columns.startswith("['name', 'status', ")
    assert service == "['DATAIKU_SPCS.PUBLIC.CHAT', 'RUNNING']"


@pytest.mark.exhaustive
def test_the_python_of_the_sandbox_s_readme_for_snowflake() -> None:
    code, tables = blocks("sandbox/snowflake/README.md", "python")
    assert run(sys.executable, "-c", tables).strip() == "[{'ID': Decimal('1'), 'TEXT': 'a'}]"
    answer, status, rest = run(sys.executable, "-c", code).splitlines()
    assert "Paris" in answer
    assert status == "429"
    assert rest.startswith("http://127.0.0.1:")


@pytest.mark.exhaustive
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_shell_lines_of_the_sandbox_s_readme_for_snowflake() -> None:
    serve, ask = blocks("sandbox/snowflake/README.md", "sh")
    command = serve.replace(".venv-demo/bin/python", shlex.quote(sys.executable))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(["sh", "-c", f"exec {command}"], cwd=ROOT, **pipes) as served:  # type: ignore[call-overload]
        where = json.loads(served.stdout.readline())
        printed = run("sh", "-ec", ask, CHAT=where["services"]["chat"])
        served.stdin.close()
    assert served.returncode == 0
    for seen in ("Paris", '"faults": [{', "HTTP/1.1 429", "Retry-After: 2", '"forwarded": 1'):
        assert seen.lower() in printed.lower(), printed


def test_every_make_target_that_is_told_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    told = {
        (path.name, target)
        for path in PROSE
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.M)
    }
    assert len(told) > 8
    assert [(name, target) for name, target in sorted(told) if target not in targets] == []


def test_every_file_that_is_told_is_there() -> None:
    """Links of Markdown; addresses elsewhere are not looked up."""
    told = [
        (path, target)
        for path in PROSE
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert len(told) > 20
    assert [(path.name, target) for path, target in told if not (path.parent / target).exists()] == []
