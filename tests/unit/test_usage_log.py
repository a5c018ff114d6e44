"""The usage log: whole lines from any number of processes, within bounds, and never a query lost for one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.model import Model
from spcs_llm.usage_log import UsageLine, endpoint_mark, logged, read_usage, usage_log_folder
from spcs_llm.usage_log.lines import read_line
from spcs_llm.usage_log.logged_model import LoggedModel
from spcs_llm.usage_log.writer import UsageWriter

ROOT = Path(__file__).parents[2]
LIBRARY, DOCS = ROOT / "python-lib", ROOT / "docs" / "operations.md"
NOON = datetime(2025, 11, 26, 12, tzinfo=timezone.utc)
LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)
LINE = UsageLine(
    NOON,
    "chat",
    model="qwen",
    endpoint=endpoint_mark("abc-org-acct.snowflakecomputing.app"),
    project="SALES",
    prompt_tokens=12,
    completion_tokens=30,
    total_tokens=42,
    seconds=0.5,
    busy_seconds=0.25,
    cost=0.0002,
)


def read(folder: Path, since: datetime = LONG_AGO, **more: Any) -> list[UsageLine]:
    return list(read_usage(folder, since, **more))


def numbers(lines: list[UsageLine]) -> list[int]:
    return sorted(line.prompt_tokens or 0 for line in lines)


def numbered(number: int) -> bytes:
    return replace(LINE, prompt_tokens=number).written()


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = [LINE, UsageLine(NOON, "embed", status="failed", error="TokenRefused", rows=3, estimated=True)]
    writer = UsageWriter(tmp_path)
    for line in lines:
        writer.append(line.written())
    assert read(tmp_path) == lines
    assert (
        (tmp_path / "usage.jsonl")
        .read_text()
        .splitlines()[0]
        .startswith('{"time": "2025-11-26T12:00:00.000Z"')
    )


def test_the_line_of_the_documentation_is_one_that_is_written() -> None:
    (text,) = re.findall(r'^\{"time".*$', DOCS.read_text(encoding="utf-8"), re.M)
    line = read_line(text)
    assert line is not None
    assert line.written().decode() == text + "\n"


def test_lines_before_a_moment_are_left_out(tmp_path: Path) -> None:
    writer = UsageWriter(tmp_path)
    for hours in range(4):
        writer.append(replace(LINE, time=NOON + timedelta(hours=hours)).written())
    assert [line.time.hour for line in read(tmp_path, NOON + timedelta(hours=2))] == [14, 15]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{}",
        '{"time": "',
        '{"time": "x", "kind": "chat"}',
        '{"time": "2026-11-26T12:00:00Z"}',
        "[1]",
        '{"time": "2026-11-26T12:00:00", "kind": "chat"}',
        '{"time": "2026-11-26T12:00:00Z", "kind": "chat", "time": 5}',
        '{"time": "2026-11-26T12:00:00Z", "kind": "chat", "rows": 1e999}',
        '{"time": "2026-11-26T12:00:00Z", "kind": "chat", "rows": Infinity}',
        '{"time": "2026-11-26T12:00:00Z", "kind": "chat", "cost": NaN}',
        '{"time": "2026-11-26T12:00:00Z", "kind": "chat", "cost": 1e999}',
        '{"time": "2026-11-26T12:00:00Z", "kind": "chat", "seconds": 1%s}' % ("0" * 400),
        '{"time": "0001-01-01T00:00:00+14:00", "kind": "chat"}',
    ],
)
def test_what_is_no_line_is_left_out(text: str) -> None:
    assert read_line(text) is None


def test_a_line_behind_the_rest_of_another_is_read() -> None:
    odd = replace(LINE, model='{"time": "2020-01-01T00:00:00Z", "kind": "x"}')
    rest = odd.written().decode()[:70]
    assert read_line(rest + odd.written().decode()) == odd


def test_full_files_are_moved_aside_and_the_oldest_deleted(tmp_path: Path) -> None:
    writer = UsageWriter(tmp_path, max_bytes=10 * len(numbered(10)), kept=2)
    for number in range(10, 60):
        writer.append(numbered(number))
    names = {path.name: path.stat().st_size for path in tmp_path.glob("*.jsonl")}
    assert names.keys() == {"usage.jsonl", "usage.1.jsonl", "usage.2.jsonl"}
    assert max(names.values()) <= 10 * len(numbered(10))
    assert [line.prompt_tokens for line in read(tmp_path, kept=2)] == list(range(30, 60))


WRITE = """
import sys
from pathlib import Path

first, count, folder, max_bytes = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
writer = UsageWriter(folder, max_bytes=max_bytes, ceiling=1_000_000_000)
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + count):
    writer.append(numbered(number))
"""
LINES = """
from dataclasses import replace
from datetime import datetime, timezone
from spcs_llm.usage_log.lines import UsageLine
from spcs_llm.usage_log.writer import UsageWriter

LINE = UsageLine(datetime(2026, 11, 26, tzinfo=timezone.utc), "chat", model="m" * 50)

def numbered(number):
    return replace(LINE, prompt_tokens=number).written()
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LINES + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_write_at_once_lose_no_line_and_break_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    count, processes = 1500, 3
    with contextlib.ExitStack() as ended:
        writers = [
            ended.enter_context(child(WRITE, number * count, count, log, 200_000))
            for number in range(processes)
        ]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("\n")
            writer.stdin.flush()
        for writer in writers:
            assert writer.wait(60) == 0
    assert len(list(log.glob("usage.*.jsonl"))) > 3
    assert numbers(read(log)) == list(range(count * processes))
    assert all(read_line(text) for path in log.glob("*.jsonl") for text in path.read_text().splitlines())


def test_threads_that_write_at_once_lose_no_line(tmp_path: Path) -> None:
    writer = UsageWriter(tmp_path, max_bytes=20_000, ceiling=1_000_000_000)

    def write(first: int) -> None:
        for number in range(first, first + 200):
            writer.append(numbered(number))

    threads = [threading.Thread(target=write, args=(200 * number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(read(tmp_path)) == list(range(600))


def test_lines_are_read_while_files_are_moved(tmp_path: Path) -> None:
    """Every line that was there before reading began is met once."""
    writer = UsageWriter(tmp_path, max_bytes=4_000)
    for number in range(50):
        writer.append(numbered(number))
    reading = read_usage(tmp_path, LONG_AGO)
    first = next(reading)
    for number in range(50, 80):
        writer.append(numbered(number))
    met = [first.prompt_tokens, *(line.prompt_tokens for line in reading)]
    assert [number for number in met if number < 50] == list(range(50))
    assert len(set(met)) == len(met)


DISK = """
import logging, resource, sys
from pathlib import Path

logging.basicConfig(stream=sys.stdout, format="%(message)s")
size = len(numbered(10))
writer = UsageWriter(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + size // 2, hard))
for number in range(10, 15):
    writer.append(numbered(number))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for number in range(15, 18):
    writer.append(numbered(number))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="there are no limits of file sizes here")
def test_a_full_disk_is_told_once_and_cuts_one_line_off(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    with child(DISK, log) as writer:
        printed, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0
    assert printed.count("The usage log cannot be written") == 1
    assert [line.prompt_tokens for line in read(log)] == [10, 11, 15, 16, 17]
    assert len((log / "usage.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize("folder", ["missing", "relative", "a file", "a link", "a pipe"])
def test_a_folder_that_cannot_be_used_is_told_once(
    tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "log"
    if folder == "relative":
        place = Path("log")
    elif folder == "a file":
        place.write_text("")
    elif folder in ("a link", "a pipe"):
        place.mkdir()
        if folder == "a link":
            (place / "usage.jsonl").symlink_to(tmp_path / "elsewhere")
        else:
            os.mkfifo(place / "usage.jsonl")
    writer = UsageWriter(place)
    for _ in range(3):
        writer.append(LINE.written())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(place) in record.getMessage()
    assert "'Folder of the usage log'" in record.getMessage()
    assert not (tmp_path / "elsewhere").exists()
    assert not Path("log").exists()


def test_a_folder_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")
    assert read(tmp_path) == []


@pytest.mark.parametrize("made", ["a pipe", "an endless device", "a link to another file", "a folder"])
def test_what_is_no_file_is_neither_waited_for_nor_followed(tmp_path: Path, made: str) -> None:
    """Whoever may write to the folder may put something else there, by the files' names."""
    (tmp_path / "elsewhere").write_bytes(replace(LINE, model="elsewhere").written())
    (tmp_path / "usage.jsonl").write_bytes(LINE.written())
    other = tmp_path / "usage.1.jsonl"
    if made == "a pipe":
        os.mkfifo(other)
    elif made == "a folder":
        other.mkdir()
    else:
        other.symlink_to("/dev/zero" if made == "an endless device" else tmp_path / "elsewhere")
    found: list[UsageLine] = []
    reader = threading.Thread(target=lambda: found.extend(read_usage(tmp_path, LONG_AGO)), daemon=True)
    reader.start()
    reader.join(20)
    assert found == [LINE]


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "usage.jsonl").open("wb") as file:
        file.truncate(30_000_000)
        file.seek(30_000_000)
        file.write(b"\n" + LINE.written() + b"x" * 200_000 + LINE.written() + LINE.written())
    tracemalloc.start()
    found = list(read_usage(tmp_path, LONG_AGO))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [LINE, LINE]
    assert most < 5_000_000


def test_no_more_of_a_file_is_read_than_the_plugin_writes(tmp_path: Path) -> None:
    with (tmp_path / "usage.jsonl").open("wb") as file:
        file.write(LINE.written())
        file.truncate(1 << 40)
    assert list(read_usage(tmp_path, LONG_AGO)) == [LINE]


@pytest.mark.parametrize("cost", [1e308, -50.0, 1e400, "1e400", None, [], {}, "9" * 5000])
def test_a_line_says_no_more_than_a_query_can_take(cost: Any) -> None:
    text = LINE.written().decode()
    assert read_line(text) is not None
    assert read_line(text.replace('"cost": 0.0002', f'"cost": {json.dumps(cost)}')) is None


def test_nobody_waits_for_a_process_that_stopped_while_it_moved_files(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    writer = UsageWriter(tmp_path, max_bytes=3 * len(numbered(10)))
    with (tmp_path / "usage.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(10, 30):
            writer.append(numbered(number))
        # It grows to twice its size at most.
        assert [line.prompt_tokens for line in read(tmp_path)] == list(range(10, 17))
    writer.append(numbered(30))
    assert read(tmp_path)[-1].prompt_tokens == 30


@pytest.mark.parametrize(
    "plugin_config", [None, {}, {"usageLogFolder": ""}, {"usageLogFolder": " "}, "odd", {"x": 1}]
)
def test_a_model_is_used_as_it_is_where_the_log_is_off(plugin_config: Any) -> None:
    assert usage_log_folder(plugin_config) is None
    model = Model(SETTINGS)
    assert logged(model, plugin_config) is model


def test_a_model_with_wrong_settings_is_used_as_it_is(tmp_path: Path) -> None:
    model = Model({})
    assert model.settings is None
    assert logged(model, {"usageLogFolder": str(tmp_path)}) is model


SETTINGS = {
    "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
    "programmaticAccessToken": {"token": "secret-token"},
    "llmEndpointUrl": "https://abc-org-acct.snowflakecomputing.app",
    "serviceProtocol": "OPENAI",
    "modelName": "qwen",
}


class Span:
    """What a model leaves in DSS's span."""

    def __init__(self, busy: float) -> None:
        self.attributes = {"busySeconds": busy}


class ScriptedModel:
    """Answers with what it is told to."""

    chat_parallelism = 3
    row_parallelism = 5

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def complete(self, query: Any, settings: Any, trace: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    embed = rerank = complete

    def stream(self, query: Any, settings: Any, trace: Any) -> Any:
        yield from self._answer


def model_of(answer: Any, folder: Path) -> LoggedModel:
    settings = Model(SETTINGS).settings
    assert settings is not None
    return LoggedModel(ScriptedModel(answer), settings, folder)  # type: ignore[arg-type]


COUNTS = {"promptTokens": 5, "completionTokens": 7, "totalTokens": 12, "tokenCountsAreEstimated": True}


def test_a_query_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DKU_CURRENT_PROJECT_KEY", "SALES")
    answer = {"text": "hi", **COUNTS, "estimatedCost": 0.25}
    assert model_of(answer, tmp_path).complete({}, {}, Span(0.5)) is answer
    (line,) = read(tmp_path)
    assert line == UsageLine(
        line.time,
        "chat",
        model="qwen",
        endpoint=endpoint_mark("ABC-org-acct.snowflakecomputing.app "),
        project="SALES",
        prompt_tokens=5,
        completion_tokens=7,
        total_tokens=12,
        estimated=True,
        seconds=line.seconds,
        busy_seconds=0.5,
        cost=0.25,
    )


def test_rows_of_one_query_are_one_line(tmp_path: Path) -> None:
    rows = [
        {"embedding": [1.0], "promptTokens": 5, "totalTokens": 5, "estimatedCost": 0.1},
        {"errorMessage": "no"},
    ]
    model_of({"responses": rows}, tmp_path).embed({}, {}, None)
    (line,) = read(tmp_path)
    assert (line.kind, line.rows, line.prompt_tokens, line.completion_tokens, line.cost) == (
        "embed",
        2,
        5,
        None,
        0.1,
    )


def test_a_query_all_of_whose_rows_failed_has_failed_and_has_its_cost(tmp_path: Path) -> None:
    rows = [{"errorMessage": "no"}, {"errorMessage": "no"}]
    model_of({"responses": rows}, tmp_path).embed({}, {}, Span(1200.0))
    (line,) = read(tmp_path)
    assert (line.status, line.rows, line.busy_seconds, line.cost) == ("failed", 2, 1200.0, 1.0)


def test_a_query_without_rows_has_not_failed(tmp_path: Path) -> None:
    model_of({"responses": []}, tmp_path).embed({}, {}, Span(0.0))
    assert [line.status for line in read(tmp_path)] == ["ok"]


def test_a_ranking_has_its_counts_one_level_down(tmp_path: Path) -> None:
    ranking = {"documents": [], "estimatedCost": 0.1, "totalUsage": {**COUNTS, "estimatedCost": 0.1}}
    model_of(ranking, tmp_path).rerank({}, {}, Span(1.0))
    (line,) = read(tmp_path)
    assert (line.kind, line.prompt_tokens, line.busy_seconds, line.cost) == ("rerank", 5, 1.0, 0.1)


def test_a_failed_query_has_its_error_and_what_it_cost(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="secret"):
        model_of(ValueError("secret"), tmp_path).complete({}, {}, Span(1200.0))
    (line,) = read(tmp_path)
    assert (line.status, line.error, line.busy_seconds, line.cost) == ("failed", "ValueError", 1200.0, 1.0)
    assert "secret" not in (tmp_path / "usage.jsonl").read_text()


ITEMS = [{"chunk": {"text": "a"}}, {"chunk": {"text": "b"}}, {"footer": {**COUNTS, "estimatedCost": 0.5}}]


def test_a_stream_is_a_line_when_it_has_ended(tmp_path: Path) -> None:
    stream = model_of(ITEMS, tmp_path).stream({}, {}, Span(1.0))
    assert next(stream) == ITEMS[0]
    assert read(tmp_path) == []
    assert list(stream) == ITEMS[1:]
    (line,) = read(tmp_path)
    assert (line.status, line.total_tokens, line.cost) == ("ok", 12, 0.5)


def test_a_stream_that_nobody_reads_to_its_end_is_a_line_too(tmp_path: Path) -> None:
    stream: Any = model_of(ITEMS, tmp_path).stream({}, {}, Span(1200.0))
    next(stream)
    stream.close()
    (line,) = read(tmp_path)
    assert (line.status, line.error, line.busy_seconds, line.cost) == ("abandoned", None, 1200.0, 1.0)


def test_the_rest_is_the_models_own(tmp_path: Path) -> None:
    model = model_of({}, tmp_path)
    assert (model.chat_parallelism, model.row_parallelism) == (3, 5)
