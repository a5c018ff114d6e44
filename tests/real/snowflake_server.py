"""The inference server out of the wheel of snowflake-ml-python, unmodified, over a packed model."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.real.server_process import free_port, server_process

FIND_SERVER = (
    "import importlib.util, pathlib;"
    "print(pathlib.Path(importlib.util.find_spec('snowflake.ml.model').origin).parent"
    " / '_deploy_client' / 'image_builds')"
)


def snowflake_server(
    python: Path, model: Path, method: str = "predict", **variables: str
) -> AbstractContextManager[str]:
    """Serves the model; gives its URL once it is ready. variables: of the environment, such as the server's own."""
    found = subprocess.run([python, "-c", FIND_SERVER], check=True, capture_output=True, text=True)
    port = free_port()
    command: list[str | Path] = [
        python.parent / "gunicorn", "-w", "1", "-k", "uvicorn.workers.UvicornWorker", "-b", f"127.0.0.1:{port}",
        "--timeout", "600", "--chdir", found.stdout.strip(), "inference_server.main:app",
    ]  # fmt: skip
    settings: dict[str, Any] = {"MODEL_ZIP_STAGE_PATH": str(model), "TARGET_METHOD": method, **variables}
    return server_process(command, port, "/health", **settings)
