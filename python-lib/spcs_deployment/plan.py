"""The notebook's parameter cell, checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spcs_deployment.catalogue import CHAT, EMBEDDING, CatalogueModel, chosen
from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import identifier, qualified

_MOST_CREDIT_COST = 10_000


@dataclass(frozen=True)
class Plan:
    """What is deployed where. All names are Snowflake identifiers, in upper case unless they are quoted.

    Attributes:
        logging_pool: Where Snowflake downloads the weights; None streams them through this machine.
        hugging_face_secret: The full name of a secret with a Hub token, for gated models.
        image_build_pool: Where Snowflake builds the image of a model that vLLM does not serve.
        build_integrations: The external access of that build.
        min_instances: 0 lets Snowflake suspend a service after 30 minutes without requests (snowflake-ml 1.25 or
            later).
        max_nodes: How many instances a service may grow to.
        credit_cost: USD per credit.
    """

    models: tuple[CatalogueModel, ...]
    database: str
    schema: str
    chat_pool: str
    embedding_pool: str
    caller_role: str
    version: str = "V1"
    logging_pool: str | None = "SYSTEM_COMPUTE_POOL_CPU"
    hugging_face_secret: str | None = None
    build_integrations: tuple[str, ...] = ()
    image_repository: str | None = None
    image_build_pool: str = "SYSTEM_COMPUTE_POOL_CPU"
    min_instances: int = 0
    max_nodes: int = 1
    credit_cost: float = 3.0

    def pool(self, model: CatalogueModel) -> str:
        return self.chat_pool if model.purpose == CHAT else self.embedding_pool

    def service(self, model: CatalogueModel) -> str:
        return f"{self.database}.{self.schema}.{model.service}"

    @property
    def pools(self) -> list[str]:
        return list(dict.fromkeys(self.pool(model) for model in self.models))


def plan(
    *,
    chat_models: Iterable[str | CatalogueModel] = (),
    embedding_models: Iterable[str | CatalogueModel] = (),
    database: str,
    schema: str,
    chat_pool: str,
    embedding_pool: str,
    caller_role: str,
    version: str = "V1",
    logging_pool: str | None = "SYSTEM_COMPUTE_POOL_CPU",
    hugging_face_secret: str | None = None,
    build_integrations: Iterable[str] = (),
    image_repository: str | None = None,
    image_build_pool: str = "SYSTEM_COMPUTE_POOL_CPU",
    min_instances: int = 0,
    max_nodes: int = 1,
    credit_cost: float = 3.0,
) -> Plan:
    """Checks the notebook's parameters, whose meaning `Plan` describes.

    Returns:
        The plan.

    Raises:
        DeploymentError: If a parameter cannot be used; it names the parameter.
    """
    models = _once(
        chosen(_listed(chat_models, "CHAT_MODELS"), CHAT)
        + chosen(_listed(embedding_models, "EMBEDDING_MODELS"), EMBEDDING)
    )
    logging_pool, hugging_face_secret = _given(logging_pool), _given(hugging_face_secret)
    image_repository = _given(image_repository)
    if not models:
        raise DeploymentError("No model is chosen.", "Fill in CHAT_MODELS or EMBEDDING_MODELS.")
    _check_instances(min_instances, max_nodes)
    _check_gated(models, logging_pool, hugging_face_secret)
    return Plan(
        models=tuple(models),
        database=identifier(database, "DATABASE"),
        schema=identifier(schema, "SCHEMA"),
        chat_pool=identifier(chat_pool, "CHAT_POOL"),
        embedding_pool=identifier(embedding_pool, "EMBEDDING_POOL"),
        caller_role=identifier(caller_role, "CALLER_ROLE"),
        version=identifier(version, "VERSION"),
        logging_pool=identifier(logging_pool, "LOGGING_POOL") if logging_pool else None,
        hugging_face_secret=(
            qualified(hugging_face_secret, "HUGGING_FACE_SECRET", 3) if hugging_face_secret else None
        ),
        build_integrations=tuple(
            identifier(name, "BUILD_INTEGRATIONS")
            for name in _listed(build_integrations, "BUILD_INTEGRATIONS")
        ),
        image_repository=qualified(image_repository, "IMAGE_REPOSITORY", 3) if image_repository else None,
        image_build_pool=identifier(image_build_pool, "IMAGE_BUILD_POOL"),
        min_instances=min_instances,
        max_nodes=max_nodes,
        credit_cost=_credit_cost(credit_cost),
    )


def _listed(names: Any, what: str) -> list[Any]:
    """A list of names, or the one name that was given without brackets: a text is not to be taken letter by letter."""
    names = _given(names)
    if names is None:
        return []
    if isinstance(names, (str, CatalogueModel)):
        return [names]
    if not isinstance(names, Iterable):
        raise DeploymentError(
            f"{what} must be a list of names, not {type(names).__name__}.", "Use [] for none."
        )
    return list(names)


def _given(value: Any) -> Any:
    """What a parameter was set to; None for a text that is blank."""
    return None if isinstance(value, str) and not value.strip() else value


def _once(models: list[CatalogueModel]) -> list[CatalogueModel]:
    """Each model once. Two that share a key would share a service."""
    by_key: dict[str, CatalogueModel] = {}
    for model in models:
        if by_key.setdefault(model.key, model) != model:
            raise DeploymentError(f"Two models have the key {model.key}.", "Give each a key of its own.")
    return list(by_key.values())


def _credit_cost(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_CREDIT_COST:
        raise DeploymentError(
            f"CREDIT_COST must be a number from 0 to {_MOST_CREDIT_COST:,}, such as 3.0, without quotes."
        )
    return float(value)


def _check_instances(min_instances: int, max_nodes: int) -> None:
    for name, value, least in (("MAX_NODES", max_nodes, 1), ("MIN_INSTANCES", min_instances, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DeploymentError(f"{name} must be a whole number of at least {least}.")
    if min_instances > max_nodes:
        raise DeploymentError("MIN_INSTANCES must not be larger than MAX_NODES.")


def _check_gated(models: list[CatalogueModel], logging_pool: str | None, secret: str | None) -> None:
    """A secret is read by Snowflake only: a download through this machine cannot use it."""
    for model in models:
        if not model.gated:
            continue
        if logging_pool and not secret:
            raise DeploymentError(
                f"{model.repository} is a gated model: Snowflake needs a Hugging Face token to download it.",
                "Accept its licence on its Hugging Face page, store a read token in a secret "
                "(docs/deployment.md), and enter the full name of the secret in HUGGING_FACE_SECRET.",
            )
        if secret and not logging_pool:
            raise DeploymentError(
                f"{model.repository} is a gated model, and HUGGING_FACE_SECRET works only with a LOGGING_POOL.",
                'Set LOGGING_POOL = "SYSTEM_COMPUTE_POOL_CPU".',
            )
