"""What grows with the number of calls, and what an import costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.clients import plugin
from tests.benchmarks.quick_service import quick_service
from tests.benchmarks.report import record, spread
from tests.benchmarks.services import snowflake
from tests.benchmarks.test_calls import cpu_of

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

CALLS = 100_000
IMPORTS = 15


def test_memory_is_flat_and_time_linear() -> None:
    cpu, memory = [], []
    with snowflake() as account, quick_service() as service:
        ask = plugin(account, service.url)
        cpu_of(ask, 2000)
        for _ in range(10):
            cpu.append(cpu_of(ask, CALLS // 10))
            memory.append(_resident())
    rows = [
        {"calls": (tenth + 1) * CALLS // 10, "CPU µs per call": cost * 1e6, "resident MB": size / 2**20}
        for tenth, (cost, size) in enumerate(zip(cpu, memory, strict=True))
    ]
    record(
        "growth",
        "100,000 calls",
        "CPU time per call, and the resident memory of the process, after each tenth of the calls.",
        rows,
        {"cpu": [value * 1e6 for value in cpu], "memory": [value / 2**20 for value in memory]},
    )
    assert max(memory) - memory[0] < 4 * 2**20
    assert statistics.median(cpu[5:]) < 1.2 * statistics.median(cpu[:5])


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


IMPORT = """
import sys, time
sys.path.insert(0, "python-lib")
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
start = time.perf_counter()
import requests
between, before = time.perf_counter(), resident()
import spcs_llm.model
print(between - start, time.perf_counter() - between, resident() - before)
"""


def test_the_import_is_cheap() -> None:
    runs = []
    for _ in range(IMPORTS):
        command = [sys.executable, "-c", IMPORT]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
        )
        runs.append([float(word) for word in done.stdout.split()])
    library, ours, memory = zip(*runs, strict=True)
    ratio = statistics.median(ours) / statistics.median(library)
    record(
        "import",
        "Import",
        f"Measured in {IMPORTS} new interpreters: the import of `requests`, and what the import of the plugin adds.",
        [
            {
                "requests, ms": spread(library, 1e3),
                "the plugin on top, ms": spread(ours, 1e3),
                "times requests": ratio,
                "MB on top": spread(memory, 2**-20, 1),
            }
        ],
    )
    assert statistics.median(memory) < 8 * 2**20
    assert ratio < 1.0
