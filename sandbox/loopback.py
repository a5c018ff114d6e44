"""Everything here talks over loopback, which no proxy of the environment can reach."""

from __future__ import annotations

import os

NAMES = ("127.0.0.1", "localhost")


def bypass_proxies() -> None:
    """Exempt loopback from the proxies that HTTP_PROXY and the like name, for this process and its children."""
    for variable in ("no_proxy", "NO_PROXY"):
        exempt = [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
        os.environ[variable] = ",".join([*exempt, *(name for name in NAMES if name not in exempt)])
