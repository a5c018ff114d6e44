"""The notebook's parameter cell, checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spcs_deployment.catalogue import CHAT, EMBEDDING, CatalogueModel, chosen
from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import identifier, qualified


@dataclass(frozen=True)
class Plan:
    """What goes where. All names are Snowflake identifiers, upper case unless quoted.

    logging_pool: where Snowflake downloads the weights; None streams them through this machine.
    hugging_face_secret: full name of a secret with a Hub token, for gated models.
    build_integrations: external access for the image build of models that vLLM does not serve.
    max_nodes: instances a service may grow to; it starts with one. credit_cost: USD per credit.
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
    max_nodes: int = 1,
    credit_cost: float = 3.0,
) -> Plan:
    """Check the parameters. Raises DeploymentError, which names the parameter."""
    models = chosen(list(chat_models), CHAT) + chosen(list(embedding_models), EMBEDDING)
    if not models:
        raise DeploymentError("No model is chosen.", "Fill CHAT_MODELS or EMBEDDING_MODELS.")
    if isinstance(max_nodes, bool) or not isinstance(max_nodes, int) or max_nodes < 1:
        raise DeploymentError("MAX_NODES must be a whole number of at least 1.")
    for model in models:
        if model.gated and logging_pool and not hugging_face_secret:
            raise DeploymentError(
                f"{model.repository} is gated: Snowflake needs a Hugging Face token to download it.",
                "Accept its licence on its Hugging Face page, store a read token in a secret "
                "(docs/deployment.md), and put the secret's full name into HUGGING_FACE_SECRET.",
            )
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
        build_integrations=tuple(identifier(name, "BUILD_INTEGRATIONS") for name in build_integrations),
        image_repository=qualified(image_repository, "IMAGE_REPOSITORY", 3) if image_repository else None,
        max_nodes=max_nodes,
        credit_cost=float(credit_cost),
    )
