"""A coverage-guided fuzzer over the readers of servers' bytes, apart from sockets: some thousand answers a second.

    python -m venv .venvs/atheris && .venvs/atheris/bin/pip install atheris requests jinja2
    PYTHONPATH=python-lib:. .venvs/atheris/bin/python -m tests.hostile.coverage_guided TARGET [-max_total_time=600]

For long runs by hand: Atheris has wheels for few versions of Python, so that it is in none of the environments.
Whatever is raised that is no error of the plugin's is a find; libFuzzer writes the input to `crash-…`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from types import SimpleNamespace

import atheris

with atheris.instrument_imports(include=["spcs_llm", "http.client", "json"]):
    from spcs_llm.errors import SpcsError
    from spcs_llm.http.event_stream import events
    from spcs_llm.http.response import HttpResponse
    from spcs_llm.protocols.inference_server.generated_text import generated_text


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))


def event_stream(data: bytes) -> None:
    size = (data[0] if data else 0) + 1
    list(events(data[at : at + size] for at in range(1, len(data), size)))


def response(data: bytes) -> None:
    import http.client

    read = HttpResponse(_Socket(b"HTTP/1.1 200 OK\r\n" + data), method="POST")  # type: ignore[arg-type]
    try:
        read.begin()
        while read.read1(65536):
            pass
    except (http.client.HTTPException, OSError, ValueError):
        assert not read.reusable, "of a response that could not be read"


def text(data: bytes) -> None:
    generated_text(data.decode("utf-8", "replace"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "event_stream": event_stream,
    "response": response,
    "text": text,
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"Which target? {', '.join(TARGETS)}")
    chosen = SimpleNamespace(check=TARGETS[sys.argv.pop(1)])

    def once(data: bytes) -> None:
        try:
            chosen.check(data)
        except SpcsError as error:
            assert str(error).isprintable(), "what is shown of it"

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
