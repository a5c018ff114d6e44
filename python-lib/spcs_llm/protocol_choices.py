"""The service protocols there are: one line each, with what it is called, what it can carry and where it is written.

The choices of *Service protocol* come from here, in the settings as in the form (a test holds `llm.json` to it). Any
protocol can name the others in a hint by this list, without importing them: it depends on nothing else of the plugin.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTOMATIC, PREDICT, MODEL_SERVING, OPENAI = "AUTOMATIC", "PREDICT", "MODEL_SERVING", "OPENAI"


@dataclass(frozen=True)
class Capabilities:
    """What a protocol can carry. What it cannot carry is refused before anything is sent.

    Attributes:
        chats: The protocol has chats: `chat`, or `chat_rows` where `batches_chat` is set.
        embeds: The protocol has embeddings: `embed`.
        reranks: The protocol has reranking: `rerank`.
        streams: `stream` hands on an answer while it is being made. Without it, an answer comes as one piece.
        batches_chat: Several chats may share a request: `chat_rows`. Engines that batch by themselves are better
            served by parallel requests.
        tools: Queries may offer tools and have tool calls in their history.
        images: Messages may have images.
        json_output: Queries may ask for JSON output.
        parallelism: The number of requests in flight that suits one instance of the service, where the user sets none.
    """

    chats: bool = True
    embeds: bool = True
    reranks: bool = False
    streams: bool = False
    batches_chat: bool = False
    tools: bool = False
    images: bool = False
    json_output: bool = False
    parallelism: int = 1


@dataclass(frozen=True)
class ProtocolChoice:
    """A service protocol, as it can be chosen.

    Attributes:
        label: The choice in the form; what stands before its colon is the protocol's title.
        place: The place of its class: `module:class`. It is imported when a model uses it: see `protocols.registry`.
        capabilities: What it can carry.
    """

    label: str
    place: str
    capabilities: Capabilities

    @property
    def title(self) -> str:
        return self.label.partition(":")[0]


_HERE = "spcs_llm.protocols"
PROTOCOLS = {
    # Nothing of what a service may take is refused before it is known what the service speaks.
    AUTOMATIC: ProtocolChoice(
        "Automatic: the plugin asks the service",
        f"{_HERE}.automatic:AutomaticProtocol",
        Capabilities(
            reranks=True,
            streams=True,
            batches_chat=True,
            tools=True,
            images=True,
            json_output=True,
            parallelism=8,
        ),
    ),
    PREDICT: ProtocolChoice(
        "Predict: services of the earlier notebook",
        f"{_HERE}.inference_server.predict:PredictProtocol",
        Capabilities(batches_chat=True),
    ),
    # Whether there is JSON output depends on the layout that the model's signature turns out to have.
    MODEL_SERVING: ProtocolChoice(
        "Model serving: services of Snowflake's Model Registry",
        f"{_HERE}.inference_server.model_serving:ModelServingProtocol",
        Capabilities(batches_chat=True, json_output=True),
    ),
    # These engines batch chats by themselves.
    OPENAI: ProtocolChoice(
        "OpenAI: vLLM, TGI, Ollama, llama.cpp, NIM",
        f"{_HERE}.openai.protocol:OpenAIProtocol",
        Capabilities(reranks=True, streams=True, tools=True, images=True, json_output=True, parallelism=8),
    ),
}


def titles_with(capability: str) -> list[str]:
    """The titles of the protocols that have a capability, by its name in `Capabilities`."""
    return [
        protocol.title
        for name, protocol in PROTOCOLS.items()
        if name != AUTOMATIC and getattr(protocol.capabilities, capability)
    ]
