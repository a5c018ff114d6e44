"""Snowflake's model registry: find or log a model, find or create its service.

Arguments as of snowflake-ml-python 2.6.0 (registry/registry.py, model/_client/model/model_version_impl.py,
model/models/huggingface.py).
"""

from __future__ import annotations

import re
from typing import Any, Final

from spcs_deployment.catalogue import CHAT, EMBEDDING, CatalogueModel
from spcs_deployment.interface import Interface
from spcs_deployment.plan import Plan
from spcs_deployment.pools import Pool, has_gpu, lacks_bfloat16
from spcs_deployment.problems import DeploymentError, explained
from spcs_deployment.sql import Session, bare

# The first that streams weights from this machine. Before that, `min_instances` came in 1.25, and the wrapper for
# embedding models in 1.43. Seen in the wheels from 1.20 on.
_OLDEST: Final = (1, 45)
_NEEDED: Final = "{}.{} or later; Python 3.10 or later".format(*_OLDEST)


def check_library() -> None:
    """Finds out whether the installed library knows all arguments that are used here. It asks nothing of Snowflake.

    Raises:
        DeploymentError: If it is too old, or not installed.
    """
    found = str(_library("snowflake.ml.version").VERSION)
    numbers = [int(number) for number in re.findall(r"\d+", found)[:2]]
    if numbers < list(_OLDEST):
        raise DeploymentError(
            f"The package snowflake-ml-python is version {found}, which is too old ({_NEEDED}).",
            "Update it in the notebook's code environment.",
        )


def open_registry(session: Session, plan: Plan) -> Any:
    """Opens the model registry in the plan's database and schema."""
    with explained(f"opening the registry in {plan.database}.{plan.schema}"):
        return _library("snowflake.ml.registry").Registry(
            session=session, database_name=plan.database, schema_name=plan.schema
        )


def model_version(registry: Any, model: CatalogueModel, plan: Plan) -> Any | None:
    """The logged version, or None."""
    with explained(f"looking for model {model.key}"):
        logged = next((found for found in registry.models() if bare(found.name) == model.key), None)
        if logged is None:
            return None
        return next((v for v in logged.versions() if bare(v.version_name) == bare(plan.version)), None)


def log_model(registry: Any, model: CatalogueModel, plan: Plan) -> Any:
    """Logs a model. Snowflake downloads the weights on `logging_pool`, or this machine streams them.

    The signature is Snowflake's own choice: OpenAI's chat columns if the model has a chat template, otherwise a prompt.
    It is read afterwards, never assumed.

    Args:
        registry: The registry to log into.
        model: The model to log.
        plan: The plan that it is part of.

    Returns:
        The `ModelVersion`.
    """
    with explained(f"logging {model.repository} as {model.key}"):
        return registry.log_model(
            hugging_face_model(model, plan),
            model_name=model.key,
            version_name=plan.version,
            comment=f"{model.repository} ({model.licence})",
            target_platforms=["SNOWPARK_CONTAINER_SERVICES"],
        )


def hugging_face_model(model: CatalogueModel, plan: Plan) -> Any:
    """The registry's wrapper around a model of the Hub. Weights stay where they are until it is logged."""
    wrappers = _library("snowflake.ml.model.models.huggingface")
    common = {
        "revision": model.revision,
        "token_or_secret": plan.hugging_face_secret,
        "compute_pool_for_log": plan.logging_pool,
    }
    if model.purpose == EMBEDDING:
        return wrappers.SentenceTransformer(model=model.repository, **common)
    return wrappers.TransformersPipeline(
        model=model.repository,
        task=model.task,
        model_kwargs={"torch_dtype": model.dtype} if model.dtype else None,
        **common,
    )


def create_service(version: Any, model: CatalogueModel, interface: Interface, plan: Plan, pool: Pool) -> Any:
    """Starts to create a service. vLLM serves chat models; Snowflake builds an image for the others.

    An embedding model gets one worker: each worker loads the model, and a small CPU node has memory for one. If the
    pool has a GPU, it is used, since it is billed in any case.

    Args:
        version: The logged `ModelVersion`.
        model: The model that the service serves.
        interface: How the service will be called.
        plan: The plan that it is part of.
        pool: The compute pool that it will run on.

    Returns:
        The job that creates it.
    """
    engine = None
    if interface.kind == "chat":
        engine = {"engine": "vllm", "engine_args_override": _engine_args(model, pool)}
    with explained(f"creating service {plan.service(model)}"):
        return version.create_service(
            service_name=plan.service(model),
            service_compute_pool=plan.pool(model),
            image_build_compute_pool=plan.image_build_pool,
            image_repo=plan.image_repository,
            ingress_enabled=True,
            min_instances=plan.min_instances,
            max_instances=plan.max_nodes,
            gpu_requests="1" if model.purpose == CHAT or has_gpu(pool) else None,
            num_workers=None if model.purpose == CHAT else 1,
            build_external_access_integrations=list(plan.build_integrations) or None,
            block=False,
            inference_engine_options=engine,
        )


def _engine_args(model: CatalogueModel, pool: Pool) -> list[str]:
    """The arguments for vLLM, with 16 bits that the pool's GPUs know, unless the model chooses its own."""
    chosen = any(argument.partition("=")[0] == "--dtype" for argument in model.engine_args)
    return [*model.engine_args, *(["--dtype=half"] if lacks_bfloat16(pool) and not chosen else [])]


def delete_model(registry: Any, model: CatalogueModel) -> None:
    """Deletes a model with all its versions."""
    with explained(f"deleting model {model.key}"):
        registry.delete_model(model.key)


def _library(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DeploymentError(
            f"The package snowflake-ml-python ({_NEEDED}) is not installed.",
            "Add it to the notebook's code environment.",
        ) from error
