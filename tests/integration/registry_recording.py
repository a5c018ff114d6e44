"""Signatures of the real snowflake-ml-python, recorded, and calls checked against them.

Run as a module with snowflake-ml-python installed to record again:
    python -m tests.integration.registry_recording
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import types
import typing
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).with_name("registry_recording.json")

_CALLABLES = {
    "Registry.__init__": ("snowflake.ml.registry", "Registry", "__init__"),
    "Registry.models": ("snowflake.ml.registry", "Registry", "models"),
    "Registry.log_model": ("snowflake.ml.registry", "Registry", "log_model"),
    "Registry.delete_model": ("snowflake.ml.registry", "Registry", "delete_model"),
    "Model.versions": ("snowflake.ml.model", "Model", "versions"),
    "ModelVersion.create_service": ("snowflake.ml.model", "ModelVersion", "create_service"),
    "ModelVersion.show_functions": ("snowflake.ml.model", "ModelVersion", "show_functions"),
    "TransformersPipeline.__init__": (
        "snowflake.ml.model.models.huggingface",
        "TransformersPipeline",
        "__init__",
    ),
    "SentenceTransformer.__init__": (
        "snowflake.ml.model.models.huggingface",
        "SentenceTransformer",
        "__init__",
    ),
    "AsyncJob.is_done": ("snowflake.snowpark", "AsyncJob", "is_done"),
    "AsyncJob.result": ("snowflake.snowpark", "AsyncJob", "result"),
}
_PROPERTIES = {
    "Model": ("snowflake.ml.model", "Model", ("name",)),
    "ModelVersion": ("snowflake.ml.model", "ModelVersion", ("model_name", "version_name")),
}


def record() -> dict[str, Any]:
    """The recording, made from the installed package."""
    callables = {}
    for name, (module, owner, attribute) in _CALLABLES.items():
        signature = inspect.signature(getattr(getattr(importlib.import_module(module), owner), attribute))
        callables[name] = [_parameter(parameter) for parameter in signature.parameters.values()]
    properties = {}
    for name, (module, owner, attributes) in _PROPERTIES.items():
        cls = getattr(importlib.import_module(module), owner)
        properties[name] = [a for a in attributes if isinstance(inspect.getattr_static(cls, a), property)]
    return {
        "snowflake-ml-python": importlib.metadata.version("snowflake-ml-python"),
        "callables": callables,
        "properties": properties,
        "signatures": _model_signatures(),
    }


def recorded() -> dict[str, Any]:
    return json.loads(RECORDING.read_text(encoding="utf-8"))


def bind(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The call's arguments by name. Raises TypeError as the real callable would for a name it does not have,
    and for a value that its annotation (where it is of plain types) does not take.
    """
    parameters = recorded()["callables"][name]
    bound = _signature(parameters).bind(*args, **kwargs)
    annotations = {parameter["name"]: parameter.get("annotation") for parameter in parameters}
    for parameter, value in bound.arguments.items():
        wanted = annotations.get(parameter)
        if wanted and not _takes(wanted, value):
            raise TypeError(f"{name}: {parameter}={value!r} is no {wanted}")
    return dict(bound.arguments)


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": parameter.name, "kind": parameter.kind.name}
    if parameter.default is not parameter.empty:
        entry["default"] = repr(parameter.default)
    annotation = _plain(parameter.annotation)
    if annotation:
        entry["annotation"] = annotation
    return entry


def _plain(annotation: Any) -> str | None:
    """The annotation, if it is one of builtins alone."""
    if isinstance(annotation, str):
        text = annotation
    elif isinstance(annotation, type) and not typing.get_origin(annotation):
        text = annotation.__name__
    else:
        text = str(annotation)
    text = text.replace("typing.Any", "Any")
    try:
        eval(text, {"Any": Any})
    except (NameError, SyntaxError, TypeError, AttributeError):
        return None
    return text


def _takes(annotation: str, value: Any) -> bool:
    return _fits(eval(annotation, {"Any": Any}), value)


def _fits(kind: Any, value: Any) -> bool:
    if kind is Any:
        return True
    if kind is None or kind is types.NoneType:
        return value is None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(one, value) for one in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(arguments[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(arguments[0], key) for key in value)
    if kind is int and isinstance(value, bool):
        return False
    return isinstance(value, origin or kind)


def _signature(parameters: list[dict[str, Any]]) -> inspect.Signature:
    return inspect.Signature(
        [
            inspect.Parameter(
                entry["name"],
                inspect._ParameterKind[entry["kind"]],
                default=entry.get("default", inspect.Parameter.empty),
            )
            for entry in parameters
        ]
    )


def _model_signatures() -> dict[str, Any]:
    """What the library gives models of each sort by itself, and one signature that DSS cannot use."""
    signatures = importlib.import_module("snowflake.ml.model.model_signature")
    utils = importlib.import_module("snowflake.ml.model._signatures.utils")
    sentences = importlib.import_module("snowflake.ml.model._packager.model_handlers.sentence_transformers")
    openai = importlib.import_module("snowflake.ml.model.openai_signatures")
    infer = utils.huggingface_pipeline_signature_auto_infer
    iris = signatures.ModelSignature(
        inputs=[signatures.FeatureSpec(name=name, dtype=signatures.DataType.DOUBLE) for name in ("W", "H")],
        outputs=[signatures.FeatureSpec(name="SPECIES", dtype=signatures.DataType.INT64)],
    )
    return {
        "chat": infer("text-generation", {}, has_chat_template=True).to_dict(),
        "chat of images": infer("image-text-to-text", {}, has_chat_template=True).to_dict(),
        "chat of strings": openai.OPENAI_CHAT_SIGNATURE_WITH_CONTENT_FORMAT_STRING["__call__"].to_dict(),
        "text": infer("text-generation", {}, has_chat_template=False).to_dict(),
        "embedding": sentences._auto_infer_signature("encode", 384).to_dict(),
        "neither": iris.to_dict(),
    }


if __name__ == "__main__":
    RECORDING.write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
