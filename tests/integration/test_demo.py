"""What a newcomer runs first: it shows everything, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dataikuapi
import pytest
from dataikuapi.dss.llm_utils import LLMException

ROOT = Path(__file__).parents[2]


@contextmanager
def sandbox(command: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m sandbox <command>` in a process group of its own, in which nothing is left at the end."""
    arguments = [sys.executable, "-m", "sandbox", command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # A shell's background jobs, and so their children, are deaf to Ctrl-C, unless someone listens to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        left = not _has_ended(process)
        if left:
            os.killpg(process.pid, signal.SIGKILL)
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


def test_the_demo_shows_every_kind_of_query() -> None:
    with sandbox("demo") as process:
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
    assert "What next" in text


def served_model(process: subprocess.Popen[str]) -> Any:
    """The client's handle on the model that streams, once `serve` says how to reach it."""
    assert process.stdout is not None
    text = ""
    while "Ctrl-C" not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    found = re.search(r'DSSClient\("(.+)", "(.+)"\)', text)
    assert found is not None
    project = dataikuapi.DSSClient(*found.groups()).get_project("DEMO")
    assert len(project.list_llms()) == 2
    return project.get_llm("custom:snowflake:smollm2-openai")


def test_serve_answers_the_client_until_it_is_interrupted() -> None:
    with sandbox("serve") as process:
        answer = served_model(process).new_completion().with_message("Hello").execute()
        assert answer.success


def test_serve_waits_for_no_answer_when_it_is_interrupted() -> None:
    with sandbox("serve") as process, ThreadPoolExecutor(1) as pool:
        llm = served_model(process)
        asked = [llm.new_completion().with_message("Count from 1 to 10000: 1, 2, 3, 4, 5,") for _ in range(2)]
        for completion in asked:
            completion.settings.update(maxOutputTokens=4000, temperature=0)  # about two minutes
        stream = iter(asked[0].execute_streamed())
        next(stream)
        whole = pool.submit(asked[1].execute)  # which waits for the stream to end: 'Max parallelism' is 1
        time.sleep(0.5)  # until it has arrived
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read().split() == ["stopped"]
        assert "[network]" in whole.result(timeout=10)._raw["errorMessage"]
        with pytest.raises(LLMException, match="middle of its answer"):
            list(stream)
    assert process.returncode == 130


def test_a_stop_in_the_middle_leaves_nothing_behind() -> None:
    with sandbox("demo") as process:
        assert process.stdout is not None
        while "Chat" not in process.stdout.readline():
            pass
    assert process.returncode == 130


@pytest.mark.parametrize("arguments", [[], ["dance"]])
def test_other_commands_are_told_what_there_is(arguments: list[str]) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert told.returncode == 2
    assert "demo" in told.stdout
