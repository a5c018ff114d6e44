"""A caller that leaves in the middle of its request is no error of anything in the sandbox."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from sandbox.instance import Instance
from sandbox.services import ScriptedService
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance() as made:
        yield made


def leave_in_mid_body(url: str, path: str, authorization: str) -> None:
    """Half of a body, whose beginning has certainly been asked for; then the connection ends."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port or 443), timeout=10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: {authorization}\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'{"data": [')


@pytest.mark.parametrize("server", ["account", "ingress", "service", "dss"])
def test_a_caller_that_leaves_in_mid_body_leaves_no_traceback(
    server: str, instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with contextlib.ExitStack() as undo:
        service = ScriptedService()
        undo.callback(service.stop)
        endpoint = instance.snowflake.create_service(server, service)
        url, path, authorization = {
            "account": (instance.snowflake.account_url, "/session/v1/login-request", ""),
            "ingress": (endpoint.url, "/predict", f'Snowflake Token="{instance.snowflake.create_pat()}"'),
            "service": (service.url, "/predict", ""),
            "dss": (instance.url, "/dip/publicapi/projects/P/llms/completions", f"Bearer {instance.api_key}"),
        }[server]
        for _ in range(3):
            leave_in_mid_body(url, path, authorization)
        # It goes on as if nothing had been, and what was begun has ended.
        assert requests.get(url + "/nothing", allow_redirects=False, timeout=10).status_code in (302, 404)
        wait_for(lambda: endpoint.counters["in_flight"] == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
