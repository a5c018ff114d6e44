"""The service protocols there are: one line each. A protocol is imported when a model uses it.

The choices of *Service protocol* come from here, in the settings as in the form (a test holds `llm.json` to it).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spcs_llm.http.endpoint import Endpoint
    from spcs_llm.protocols.base import ServiceProtocol
    from spcs_llm.settings import ProtocolSettings

AUTOMATIC, PREDICT, MODEL_SERVING, OPENAI = "AUTOMATIC", "PREDICT", "MODEL_SERVING", "OPENAI"


@dataclass(frozen=True)
class Registration:
    """A service protocol.

    Attributes:
        label: The choice in the form; what stands before its colon is the protocol's title.
        place: The place of its class: `module:class`.
    """

    label: str
    place: str

    @property
    def title(self) -> str:
        return self.label.partition(":")[0]

    def load(self) -> type[ServiceProtocol]:
        module, _, name = self.place.partition(":")
        protocol: type[ServiceProtocol] = getattr(importlib.import_module(module), name)
        return protocol


_HERE = "spcs_llm.protocols"
PROTOCOLS = {
    AUTOMATIC: Registration("Automatic: the plugin asks the service", f"{_HERE}.automatic:AutomaticProtocol"),
    PREDICT: Registration(
        "Predict: services of the earlier notebook", f"{_HERE}.inference_server.predict:PredictProtocol"
    ),
    MODEL_SERVING: Registration(
        "Model serving: services of Snowflake's Model Registry",
        f"{_HERE}.inference_server.model_serving:ModelServingProtocol",
    ),
    OPENAI: Registration(
        "OpenAI: vLLM, TGI, Ollama, llama.cpp, NIM", f"{_HERE}.openai.protocol:OpenAIProtocol"
    ),
}


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
    return PROTOCOLS[settings.name].load().of(endpoint, settings)


def titles_with(capability: str) -> list[str]:
    """The titles of the protocols that have a capability, by its name in `base.Capabilities`."""
    return [
        protocol.title
        for name, protocol in PROTOCOLS.items()
        if name != AUTOMATIC and getattr(protocol.load().capabilities, capability)
    ]
