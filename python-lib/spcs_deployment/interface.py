"""How a logged model is called, read from its signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spcs_deployment.problems import DeploymentError

_NUMBERS = {"FLOAT", "DOUBLE"}
_METHODS = ("__call__", "encode", "embed", "predict")


@dataclass(frozen=True)
class Interface:
    """How a service is called.

    Attributes:
        kind: "chat" (OpenAI messages), "text" (a prompt) or "embedding".
        method: The logged method's name.
        input_column: The column that holds the messages or the text.
    """

    kind: str
    method: str
    input_column: str


def interface_of(functions: Iterable[Mapping[str, Any]], model: str) -> Interface:
    """Chooses the interface to use: chat before text before embedding, and `encode` among several embedding methods.

    Args:
        functions: What `ModelVersion.show_functions()` gives (snowflake-ml-python 2.6.0, ModelFunctionInfo).
        model: The model's name, for the error.

    Returns:
        The interface.

    Raises:
        DeploymentError: If there is no method that the plugin can call.
    """
    found = []
    seen = []
    for function in functions:
        method = function["target_method"]
        signature = function["signature"].to_dict()
        interface = _read(method, signature)
        seen.append(f"{method}({_columns(signature['inputs'])}) -> ({_columns(signature['outputs'])})")
        if interface:
            found.append(interface)
    if not found:
        raise DeploymentError(
            f"The signature of {model} fits neither a chat nor an embedding model: {'; '.join(seen) or 'no method'}.",
            "Log a text-generation or sentence-transformers model, or a model with a signature of "
            "snowflake.ml.model.openai_signatures, under another VERSION.",
        )
    return min(found, key=_rank)


def _rank(interface: Interface) -> tuple[int, int]:
    method = _METHODS.index(interface.method) if interface.method in _METHODS else len(_METHODS)
    return (("chat", "text", "embedding").index(interface.kind), method)


def _read(method: str, signature: Mapping[str, Any]) -> Interface | None:
    inputs, outputs = signature["inputs"], signature["outputs"]
    if not inputs or not outputs:
        return None
    first = inputs[0]
    if first["name"] == "messages" and "specs" in first and _named(outputs, "choices"):
        return Interface("chat", method, "messages")
    if len(inputs) > 1 or first.get("type") != "STRING" or first.get("shape"):
        return None
    if len(outputs) > 1:
        return None
    output = outputs[0]
    if _named(output.get("specs", []), "generated_text") or output["name"] in ("outputs", "generated_text"):
        return Interface("text", method, first["name"])
    if output.get("type") in _NUMBERS and len(output.get("shape") or ()) == 1:
        return Interface("embedding", method, first["name"])
    return None


def _named(specs: Iterable[Mapping[str, Any]], name: str) -> bool:
    return any(spec["name"] == name for spec in specs)


def _columns(specs: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(str(spec["name"]) for spec in specs)
