"""Model services that run behind the sandbox's ingress, by name and protocol."""

from __future__ import annotations

from typing import Any, Protocol

from sandbox.services.child import ChildService
from sandbox.services.local import LocalService
from sandbox.services.scripted_service import ScriptedService


class Service(Protocol):
    @property
    def url(self) -> str: ...

    def stop(self) -> None: ...


class ExternalService:
    """A server that somebody else runs."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def stop(self) -> None:
        pass


def start_service(service: str | Service, protocol: str, options: dict[str, Any]) -> Service:
    """A running service: "smollm2" and "e5" are real models in a child process, "scripted" is none."""
    if not isinstance(service, str):
        return service
    if service.startswith(("http://", "https://")):
        return ExternalService(service)
    if service == "scripted":
        return ScriptedService(protocol, **options)
    if service in ("smollm2", "e5"):
        return ChildService(service, protocol, options)
    raise ValueError(f"no service {service!r}: smollm2, e5, scripted or a URL")


__all__ = ["ChildService", "ExternalService", "LocalService", "ScriptedService", "Service", "start_service"]
