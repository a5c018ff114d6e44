"""A service that speaks the toy protocol: a real server, whose requests a test can hold."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ToyService:
    """Answers texts by themselves in capitals, or by their lengths when the first ends with a dot. A context manager.

    Attributes:
        requests: The texts of each request.
        may_answer: Requests wait until it is set.
    """

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/toy" or not isinstance(texts, list):
                    self._reply(404 if self.path != "/toy" else 400, b'{"error": "no list of texts"}')
                    return
                service.requests.append(texts)
                assert service.may_answer.wait(20)
                vectors = texts[0].endswith(".")
                answer = json.dumps([[len(text)] if vectors else text.upper() for text in texts]).encode()
                self._reply(200, answer)

            def do_GET(self) -> None:
                self._reply(404, b'{"error": "not found"}')

            def _reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> ToyService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def config(self, **more: Any) -> dict[str, Any]:
        """A model's settings, for DSS's form."""
        return {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "programmaticAccessToken": {"token": "abc"},
            "serviceProtocol": "TOY",
            "llmEndpointUrl": f"http://127.0.0.1:{self._server.server_address[1]}",
            **more,
        }
