"""Runs the gateway: `python -m batch_gateway`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn

from batch_gateway.app import Gateway
from batch_gateway.logs import fields, log_as_json
from batch_gateway.settings import GatewaySettings, read_settings
from spcs_llm.errors import SettingsError
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger("batch_gateway")

_KEEP_ALIVE_SECONDS = 120
_MOST_BYTES_OF_HEADERS = 1 << 20  # a context header can hold the text of a whole statement
_GRACE_SECONDS = 20  # for requests in flight, when the container is told to stop


class _Server(uvicorn.Server):
    """uvicorn's server, which says at which port it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            logger.info("The batch gateway listens", extra=fields(port=port))


def server(settings: GatewaySettings) -> uvicorn.Server:
    """The server, not yet started.

    Args:
        settings: The gateway's.

    Returns:
        uvicorn's server. SIGTERM and SIGINT end it after the requests in flight.
    """
    return _Server(
        uvicorn.Config(
            Gateway(settings),
            host=settings.host,
            port=settings.port,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=_MOST_BYTES_OF_HEADERS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


def main() -> int:
    """Serves until a signal ends it; returns the exit status."""
    log_as_json("INFO")
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        logger.error("The settings are wrong: %s", error)
        return 2
    log_as_json(settings.log_level)
    running = server(settings)
    asyncio.run(running.serve())
    return 0 if running.started else 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # at once: threads that wait for the model server would hold up the end
