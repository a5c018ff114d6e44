"""The models that `make demo` and `make serve` show."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.instance import Instance
from sandbox.snowflake.catalog import CPU_POOL

CHAT, CHAT_OPENAI, EMBEDDING = (f"custom:snowflake:{name}" for name in ("smollm2", "smollm2-openai", "e5"))
_CPU_X64_XS = {"spcsCreditsPerHourCost": 0.06, "snowflakeCreditCost": 3.0}


def add_models(instance: Instance, say: Callable[[str], None]) -> None:
    """Starts the services and adds their models to DSS. `say` is told each step before it is taken."""
    create_service = instance.snowflake.create_service
    say("SmolLM2-135M-Instruct behind /predict, run by llama.cpp")
    chat = create_service("chat", "smollm2", "PREDICT")
    instance.add_model("smollm2", "CHAT", chat, modelHandlingMode="TEXT_GENERATION_CHATML", **_CPU_X64_XS)
    say("SmolLM2-135M-Instruct behind /v1, llama.cpp's own server")
    chat = create_service("openai", "smollm2", "OPENAI", placed={"auto_resume": False})
    instance.add_model("smollm2-openai", "CHAT", chat, serviceProtocol="OPENAI", **_CPU_X64_XS)
    say("multilingual-e5-small behind /predict, for embeddings")
    instance.add_model(
        "e5",
        "EMBEDDING",
        create_service("embedding", "e5", "PREDICT", placed={"pool": CPU_POOL}),
        **_CPU_X64_XS,
    )
