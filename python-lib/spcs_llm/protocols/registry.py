"""From the name of a protocol to its class. A protocol is imported when a model uses it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from spcs_llm.protocol_choices import PROTOCOLS

if TYPE_CHECKING:
    from spcs_llm.http.endpoint import Endpoint
    from spcs_llm.protocols.base import ServiceProtocol
    from spcs_llm.settings import ProtocolSettings


def protocol_class(name: str) -> type[ServiceProtocol]:
    """The class of a protocol, by its key in `PROTOCOLS`."""
    module, _, attribute = PROTOCOLS[name].place.partition(":")
    protocol: type[ServiceProtocol] = getattr(importlib.import_module(module), attribute)
    return protocol


def protocol_for(settings: ProtocolSettings, endpoint: Endpoint) -> ServiceProtocol:
    """Makes the protocol that a model's settings choose.

    Args:
        settings: The model's settings, whose `name` is a key of `PROTOCOLS`.
        endpoint: The service. Nothing is sent to it yet.

    Returns:
        The protocol at this endpoint.

    Raises:
        SettingsError: If a setting of the protocol cannot be used, such as a chat template that does not parse.
    """
    return protocol_class(settings.name).of(endpoint, settings)
