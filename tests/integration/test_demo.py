"""What a newcomer runs first: it shows everything, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dataikuapi
import pytest
from dataikuapi.dss.llm_utils import LLMException

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
MODEL = "custom:snowflake:smollm2-openai"
ENDLESS = "Count from 1 to 10000: 1, 2, 3, 4, 5,"


# What the developer's own shell says of terminals and proxies is left out.
PLAIN = {"PATH": os.environ["PATH"], "COLUMNS": "100", "NO_COLOR": "1", "LANG": "C.UTF-8"}
DEAD_PROXY = "http://127.0.0.1:9"
ODD = {
    **PLAIN,
    "HOME": "/nonexistent/home",
    "TZ": "Asia/Kathmandu",
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",  # so that standard output is ASCII
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), DEAD_PROXY),
}


@contextmanager
def sandbox(
    command: str, folder: Path = ROOT, environment: Mapping[str, str] = PLAIN
) -> Iterator[subprocess.Popen[str]]:
    """`python -m sandbox <command>` in a process group of its own, in which nothing is left at the end."""
    arguments = [sys.executable, "-m", "sandbox", command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "env": environment}
    # A shell's background jobs, and so their children, are deaf to Ctrl-C, unless someone listens to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(arguments, cwd=folder, start_new_session=True, **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        left = not _has_ended(process)
        if left:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        assert not left


def _has_ended(process: subprocess.Popen[str]) -> bool:
    """Whether it and all that it started end within a while."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if process.poll() is not None and not _is_there(process.pid):
            return True
        time.sleep(0.05)
    return False


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.exhaustive
def test_the_demo_shows_every_kind_of_query_and_how_services_are_run(tmp_path: Path) -> None:
    with sandbox("demo", environment={**PLAIN, "TMPDIR": str(tmp_path)}) as process:
        text = process.communicate(timeout=100)[0]
    assert process.returncode == 0, text
    assert "The capital of France is Paris." in text
    assert re.search(r"answer +·\S+(·[^·]+){10,}", text), "no stream of tokens"
    assert '{"city": "Berlin", "country": "Germany"}' in text
    assert re.search(r"0\.\d+ +Refunds are paid", text)
    assert "28" in text
    assert "source    leave.md" in text
    for name in ("DKU_LLM_MESH_LLM_CALL", "SNOWFLAKE_LOGIN", "SPCS_REQUEST", "ignoredSettings=temperature"):
        assert name in text
    assert re.search(r"tokens +\d+ in, \d+ out \(counted by the server\) +cost \$0\.0\d+", text)
    assert re.search(r"My invoice shows the wrong amount\. +(billing|shipping|technical) +(true|false)", text)
    assert "5 rows: 5 answered, 0 failed." in text
    assert "What next" in text
    _check_operations(text)
    (report,) = tmp_path.iterdir()  # all else is gone
    assert str(report) in text.replace("\n", "")
    html = report.read_text(encoding="utf-8")
    for shown in ("DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL", "SUMMARIZER", "usage log estimates USD"):
        assert shown in html


def _check_operations(text: str) -> None:
    """A service is found, broken, diagnosed, and answers again once the hint was followed."""
    assert re.search(r"DATAIKU_SPCS\.PUBLIC\.OPENAI +RUNNING +1 of 1 +GPU_NV_S", text)
    steps = ("broken", "failed", "hint", "run", "answer", "report")
    places = [text.rindex(f"  {step} ") for step in steps]
    assert places == sorted(places)
    assert "run       ALTER SERVICE DATAIKU_SPCS.PUBLIC.OPENAI RESUME\n" in text


def printed_until(process: subprocess.Popen[str], word: str) -> str:
    """What it prints until a line with this word, which must come."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if word in line:
            return text
    raise AssertionError(f"it ended before {word!r}:\n{text}")


def copied_lines(printed: str) -> str:
    """What `serve` prints to be copied into Python."""
    return textwrap.dedent("\n".join(line for line in printed.splitlines() if line.startswith("    ")))


def served_project(printed: str) -> Any:
    """The client's handle on the project of which `serve` says how to reach it."""
    found = re.search(r'DSSClient\("(.+)", "(.+)"\)', printed)
    assert found is not None
    return dataikuapi.DSSClient(*found.groups()).get_project("DEMO")


@pytest.mark.exhaustive
def test_the_lines_that_serve_prints_work_as_they_are() -> None:
    with sandbox("serve") as process:
        printed = printed_until(process, "Ctrl-C")
        asked = [sys.executable, "-c", copied_lines(printed)]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, env=PLAIN)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip()
        listed = {llm.id for llm in served_project(printed).list_llms()}
        named = set(re.findall(r"custom:[\w:-]+", printed))
        assert listed == named - {"custom:snowflake:e5"} != named  # the list is of models that chat


@pytest.mark.exhaustive
def test_it_runs_in_an_odd_place(tmp_path: Path) -> None:
    """A path with a blank and a letter of another script, no home, ASCII output, a proxy that is dead."""
    folder = tmp_path / "a place called ж"
    parts = (
        "sandbox",
        "python-lib",
        "python-llms",
        "python-runnables",
        "custom-recipes",
        "webapps",
        "parameter-sets",
        "resource",
        "code-env",
    )
    for part in parts:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "plugin.json", folder)
    with sandbox("demo", folder, ODD) as process:
        text = process.communicate(timeout=100)[0]
    assert process.returncode == 0, text
    assert "The capital of France is Paris." in text
    assert "What next" in text


@pytest.mark.exhaustive
def test_serve_waits_for_no_answer_when_it_is_interrupted() -> None:
    with sandbox("serve") as process:
        printed = printed_until(process, "Ctrl-C")
        llm = served_project(printed).get_llm(MODEL)
        completion = llm.new_completion().with_message(ENDLESS)
        completion.settings.update(maxOutputTokens=4000, temperature=0)  # about two minutes
        stream = iter(completion.execute_streamed())
        next(stream)
        with arrived_query(
            printed
        ) as connection:  # which waits for the stream to end: 'Max parallelism' is 1
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert process.stdout.read().split() == ["stopped"]
            assert "[network]" in connection.makefile().read()
        with pytest.raises(LLMException, match="middle of its answer"):
            list(stream)
    assert process.returncode == 130


@contextmanager
def arrived_query(printed: str) -> Iterator[socket.socket]:
    """A query that DSS has received: it asked for the body, and answered a request that came after that."""
    found = re.search(r'DSSClient\("http://(.+):(\d+)", "(.+)"\)', printed)
    assert found is not None
    host, port, key = found.groups()
    messages = [{"role": "user", "content": ENDLESS}]
    settings = {"maxOutputTokens": 4000, "temperature": 0}
    body = json.dumps({"llmId": MODEL, "queries": [{"messages": messages}], "settings": settings}).encode()
    head = (
        f"POST /dip/publicapi/projects/DEMO/llms/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        served_project(printed).list_llms()
        yield connection


@pytest.mark.exhaustive
def test_a_stop_in_the_middle_leaves_nothing_behind() -> None:
    with sandbox("demo") as process:
        printed_until(process, "Chat")
    assert process.returncode == 130


@pytest.mark.sample(1)
@pytest.mark.parametrize("arguments", [[], ["dance"]])
def test_other_commands_are_told_what_there_is(arguments: list[str]) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert told.returncode == 2
    assert "demo" in told.stdout
