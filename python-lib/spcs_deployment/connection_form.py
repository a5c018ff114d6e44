"""What to type into the form of the model in DSS, under the labels of the form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spcs_deployment.catalogue import CHAT, CatalogueModel
from spcs_deployment.interface import Interface
from spcs_deployment.plan import Plan
from spcs_deployment.pools import Pool

_DESCRIPTOR = Path(__file__).parents[2] / "python-llms" / "snowpark-container-services-llm" / "llm.json"


# Seconds until a suspended service answers: an estimate, not measured. A node, an image and weights have to come.
_COLD_START_SECONDS = 900
_OWN_RATE = "your rate (second query of resource/sql/cost.sql)"


@dataclass(frozen=True)
class Field:
    """A parameter of the connection's form and the value to enter."""

    name: str
    value: str


def fields(
    model: CatalogueModel, interface: Interface, host: str, account: str, pool: Pool, plan: Plan
) -> list[Field]:
    """The form's values for this service, in the order of the form. What is not listed keeps its default.

    Args:
        model: The model that the service serves.
        interface: How its service is called.
        host: The host of the service's public endpoint.
        account: The account's URL.
        pool: The compute pool that it runs on.
        plan: The plan that it is part of.

    Returns:
        The fields that need a value.
    """
    chat = interface.kind != "embedding"
    values: dict[str, Any] = {
        "snowflakeAccountUrl": account,
        "llmEndpointUrl": f"https://{host}",
        "serviceProtocol": "MODEL_SERVING",
        # A chat service applies the model's own template; only a service that takes a prompt needs ours.
        "modelHandlingMode": model.handling_mode if interface.kind == "text" else "TEXT_GENERATION_OTHER",
        "methodName": interface.method,
        "inputColumn": interface.input_column,
        "maxParallelism": 8 if interface.kind == "chat" else plan.max_nodes,
        "maxBatchSize": 1 if chat else 64,
        # The first query after a suspension waits for a node, the image and the weights.
        "queryTimeoutSeconds": _COLD_START_SECONDS + 300 if plan.min_instances == 0 else None,
        "coldStartWaitSeconds": _COLD_START_SECONDS if plan.min_instances == 0 else None,
        "spcsCreditsPerHourCost": pool.family.credits_per_hour if pool.family else None,
        "snowflakeCreditCost": plan.credit_cost,
        "nodeCount": plan.max_nodes,
    }
    if pool.family is None:
        values["spcsCreditsPerHourCost"] = _OWN_RATE
    return [Field(name, _written(value)) for name, value in values.items() if value is not None]


def table(model: CatalogueModel, filled: list[Field], descriptor: Path = _DESCRIPTOR) -> str:
    """The values as text. Labels come from the plugin's descriptor, so that they are those on the screen."""
    labels, choices = _labels(descriptor)
    lines = []
    for field in filled:
        shown = choices.get((field.name, field.value))
        value = f"{field.value}  (shown as: {shown})" if shown and shown != field.value else field.value
        lines.append((labels.get(field.name, field.name), value))
    width = max(len(label) for label, _ in lines)
    capability = "chat completion" if model.purpose == CHAT else "text embedding"
    head = f"{model.key}: {capability} model {model.repository} ({model.licence})"
    return "\n".join([head, "-" * len(head), *(f"{label:<{width}}  {value}" for label, value in lines)])


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _labels(descriptor: Path) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    try:
        params = json.loads(descriptor.read_text(encoding="utf-8"))["params"]
    except (OSError, ValueError, KeyError):
        return {}, {}
    labels = {param["name"]: param["label"] for param in params if param.get("name") and param.get("label")}
    choices = {
        (param["name"], choice["value"]): choice["label"]
        for param in params
        for choice in param.get("selectChoices") or []
        if choice.get("label")
    }
    return labels, choices


def descriptor_names(descriptor: Path = _DESCRIPTOR) -> set[str] | None:
    """The parameters of the form, or None when the descriptor is not beside this library."""
    try:
        params = json.loads(descriptor.read_text(encoding="utf-8"))["params"]
    except OSError:
        return None
    return {param["name"] for param in params}
