"""Serve one model: the process that `ChildService` starts."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from typing import Any

from sandbox.loopback import bypass_proxies
from sandbox.services.run import serve


def follow_parent() -> None:
    """End this process with its parent: at the end of standard input, or when the parent has changed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            readable, _, _ = select.select([sys.stdin], [], [], 1.0)
            if readable and not os.read(sys.stdin.fileno(), 4096):
                break
        # At once: native threads of a model may be busy, and there is nothing to save.
        os._exit(0)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()


def announce(url: str) -> None:
    sys.stdout.write(f"ready {url}\n")
    sys.stdout.flush()


def main(argument: str) -> None:
    order: dict[str, Any] = json.loads(argument)
    follow_parent()
    bypass_proxies()
    serve(order["model"], order["protocol"], order["options"], announce)


if __name__ == "__main__":
    main(sys.argv[1])
