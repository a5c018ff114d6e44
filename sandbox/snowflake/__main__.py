"""An account with services in a separate process.

    python -m sandbox.snowflake chat=smollm2:PREDICT slow=scripted:PREDICT:request_seconds=0.02

One line of JSON says where everything is; it serves until standard input ends, or Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from sandbox.loopback import bypass_proxies
from sandbox.snowflake import Snowflake


def parse(argument: str) -> tuple[str, str, str, dict[str, Any]]:
    """`name=service:PROTOCOL[:option=value,...]`; values are JSON, or else text."""
    name, _, rest = argument.partition("=")
    service, _, rest = rest.partition(":")
    protocol, _, options = rest.partition(":")
    pairs = (pair.partition("=") for pair in options.split(",") if pair)
    return name, service, protocol or "PREDICT", {key: _value(text) for key, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def main(arguments: list[str]) -> None:
    bypass_proxies()
    with Snowflake() as sf, contextlib.suppress(KeyboardInterrupt):
        services = {}
        for name, service, protocol, options in map(parse, arguments):
            services[name] = sf.create_service(name, service, protocol, **options).url
        print(json.dumps({"account": sf.account_url, "services": services}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
