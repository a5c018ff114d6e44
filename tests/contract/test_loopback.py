"""No proxy of the environment comes between the sandbox and its own servers."""

from __future__ import annotations

import os

import pytest

from sandbox.loopback import bypass_proxies


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "127.0.0.1,localhost"),
        ("corp.example, 10.0.0.0/8", "corp.example,10.0.0.0/8,127.0.0.1,localhost"),
        ("localhost", "localhost,127.0.0.1"),
        ("127.0.0.1,localhost", "127.0.0.1,localhost"),
    ],
)
def test_loopback_is_exempt_from_proxies_and_what_was_exempt_stays(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, before)
    bypass_proxies()
    assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (after, after)
