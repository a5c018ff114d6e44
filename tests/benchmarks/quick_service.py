"""A service that costs next to nothing, in a separate process, so that what is measured is the client.

    python -m tests.benchmarks.quick_service '{"seconds": 0.021, "tls": true}'

It answers every request alike, as Snowflake's inference server does. One line of JSON says where it is, and with which
certificate; each line of standard input is answered by a line with what was asked so far.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.cores import a_core_for_services, all_cores_afterwards

ROOT = Path(__file__).parents[2]
ANSWER_TOKENS = 300


def answer(tokens: int) -> bytes:
    text = " ".join(f"word{number}" for number in range(tokens))
    body = json.dumps({"data": [[0, {"outputs": json.dumps([{"generated_text": text}])}]]}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Conversation(asyncio.Protocol):
    connections = requests = 0

    def __init__(self, response: bytes, seconds: float) -> None:
        self._response = response
        self._seconds = seconds
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        Conversation.connections += 1
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._received = b""
        Conversation.requests += 1
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self._transport.write, self._response)
        else:
            self._transport.write(self._response)


async def serve(seconds: float = 0.0, tls: bool = False, tokens: int = ANSWER_TOKENS) -> None:
    context, authority = _certificate() if tls else (None, None)
    response = answer(tokens)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Conversation(response, seconds), "127.0.0.1", 0, ssl=context, backlog=512
    )
    port = server.sockets[0].getsockname()[1]
    url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    print(json.dumps({"url": url, "authority": authority}), flush=True)
    done = asyncio.Event()

    def listen() -> None:
        for _ in sys.stdin:
            counts = {"connections": Conversation.connections, "requests": Conversation.requests}
            print(json.dumps(counts), flush=True)
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=listen, daemon=True).start()
    await done.wait()


def _certificate() -> tuple[ssl.SSLContext, str]:
    import trustme

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
        file.write(authority.cert_pem.bytes())
    return context, file.name


@dataclass
class Quick:
    url: str
    authority: str | None
    process: subprocess.Popen[str]

    def counts(self) -> dict[str, int]:
        """Connections and requests so far."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def quick_service(**options: Any) -> Iterator[Quick]:
    command = [sys.executable, "-m", "tests.benchmarks.quick_service", json.dumps(options)]
    with all_cores_afterwards():
        with a_core_for_services():
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert process.stdin is not None and process.stdout is not None
        place = json.loads(process.stdout.readline())
        try:
            yield Quick(place["url"], place["authority"], process)
        finally:
            process.stdin.close()
            process.wait(30)
            process.stdout.close()
            if place["authority"]:
                Path(place["authority"]).unlink()


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(sys.argv[1])))
