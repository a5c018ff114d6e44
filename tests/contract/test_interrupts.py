"""Ctrl-C stops the sandbox wherever it is, and leaves nothing that its end would wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTERRUPTED = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
# A module that is interrupted while it is imported, and an object that is while it is collected.
MOMENTS = {
    "an import": "import interrupted",
    "a callback": "interrupted = type('Once', (), {'__del__': lambda self: signal.raise_signal(signal.SIGINT)})()"
    "; del interrupted",
}
PROGRAM = """
import signal, sys, threading, time
from sandbox import interrupts

interrupts.install()
try:
    MOMENT
    went_on = True
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    other = threading.Thread(target=__import__, args=("interrupted",), daemon=True)
    other.start()
    other.join(20)
    print("interrupted after it" if "went_on" in globals() else "interrupted within it", other.is_alive())
"""


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_waits_for_a_moment_at_which_it_harms_nothing(tmp_path: Path, moment: str) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED if moment == "an import" else "")
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("MOMENT", MOMENTS[moment])],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "interrupted after it False\n", ran.stderr
    assert ran.stderr == ""
