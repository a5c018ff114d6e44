"""vLLM's own server, in its build for CPUs, over a model in a folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from tests.real.environments import environment, packages
from tests.real.server_process import free_port, server_process

LONGEST = 2048  # tokens, of prompt and answer
# With bfloat16, vLLM gave wrong words on a virtual machine whose processor names AMX; transformers gave the right ones.
DTYPE = "float32"
_VARIABLES = {
    "OMP_NUM_THREADS": "2",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
}


def vllm_python() -> Path:
    """The Python with vLLM, which finds out by its package's metadata, under the name `vllm`, what it was built for."""
    python = environment("vllm")
    (installed,) = packages(python).glob("vllm_cpu-*.dist-info")
    version = installed.stem.removeprefix("vllm_cpu-") + "+cpu"
    metadata = packages(python) / f"vllm-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    return python


def vllm_server(python: Path, model: Path, name: str, *options: str) -> AbstractContextManager[str]:
    """Serves the model under a name; gives the server's URL once it is ready, which takes minutes."""
    port = free_port()
    command: list[str | Path] = [
        python.parent / "vllm", "serve", model, "--served-model-name", name, "--host", "127.0.0.1",
        "--port", str(port), "--enforce-eager", "--dtype", DTYPE, *options,
    ]  # fmt: skip
    return server_process(command, port, "/health", 1200, **_VARIABLES)
