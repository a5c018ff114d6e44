"""The inference server out of the wheel of snowflake-ml-python 1.3.0, unmodified, over a packed model."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests

FIND_SERVER = (
    "import importlib.util, pathlib;"
    "print(pathlib.Path(importlib.util.find_spec('snowflake.ml.model').origin).parent"
    " / '_deploy_client' / 'image_builds')"
)


@contextlib.contextmanager
def snowflake_server(python: Path, model: Path, method: str = "predict", **variables: str) -> Iterator[str]:
    """Serves the model; gives its URL once it is ready. variables: of the environment, such as the server's own."""
    folder = subprocess.run(
        [python, "-c", FIND_SERVER], check=True, capture_output=True, text=True
    ).stdout.strip()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        python.parent / "gunicorn", "-w", "1", "-k", "uvicorn.workers.UvicornWorker", "-b", f"127.0.0.1:{port}",
        "--timeout", "600", "--chdir", folder, "inference_server.main:app",
    ]  # fmt: skip
    settings = {
        "MODEL_ZIP_STAGE_PATH": str(model),
        "TARGET_METHOD": method,
        "HF_HUB_OFFLINE": "1",
        **variables,
    }
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, f"{url}/health")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=2).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError("the server does not get ready")
