"""The models that the notebook offers: what each needs, and under which licence it comes.

Sizes, licences and tasks are those of the models' cards on Hugging Face. Any other model of the Hub can be
deployed too: build a `CatalogueModel` for it in the notebook.
"""

from __future__ import annotations

from dataclasses import dataclass

from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import identifier

CHAT = "chat"
EMBEDDING = "embedding"


@dataclass(frozen=True)
class CatalogueModel:
    """A model that the notebook can deploy.

    Attributes:
        key: The name of the model in the registry. Its service has the same name, followed by `_SERVICE`.
        repository: The model's name on the Hugging Face Hub.
        purpose: CHAT or EMBEDDING.
        parameters: In billions.
        why: A reason to choose it, for the report.
        task: The Hugging Face pipeline's task; None for sentence-transformers.
        handling_mode: The form's chat template, used when the model has no chat template.
        engine_args: Arguments for vLLM.
        revision: The commit on the Hub; None takes the newest.
        dtype: Of the weights, where vLLM does not serve the model; None loads them as the model's configuration says.
    """

    key: str
    repository: str
    purpose: str
    licence: str
    parameters: float
    why: str
    task: str | None = None
    gated: bool = False
    handling_mode: str = "TEXT_GENERATION_OTHER"
    engine_args: tuple[str, ...] = ()
    revision: str | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        if identifier(self.key, "The model's key") != self.key or self.key.startswith('"'):
            raise DeploymentError(f"The key of {self.repository} must be upper case, without quotes.")
        if self.purpose not in (CHAT, EMBEDDING):
            raise DeploymentError(f"The purpose of {self.key} must be {CHAT!r} or {EMBEDDING!r}.")

    @property
    def service(self) -> str:
        return f"{self.key}_SERVICE"


def _chat(
    key: str, repository: str, licence: str, parameters: float, why: str, **more: object
) -> CatalogueModel:
    return CatalogueModel(
        key,
        repository,
        CHAT,
        licence,
        parameters,
        why,
        **{"task": "text-generation", **more},  # type: ignore[arg-type]
    )


_MODELS = (
    # Current: each fits one 24 GB GPU in 16 bits with room for a context of 8,192 tokens.
    _chat(
        "QWEN3_4B",
        "Qwen/Qwen3-4B-Instruct-2507",
        "Apache-2.0",
        4.0,
        "answers at once (no reasoning text), many languages, strong for its size",
        engine_args=("--max-model-len=8192",),
        revision="cdbee75f17c01a7cc42f958dc650907174af0554",
    ),
    _chat(
        "QWEN3_5_4B",
        "Qwen/Qwen3.5-4B",
        "Apache-2.0",
        4.7,
        "reasons before it answers, so allow 1,000 output tokens or more; needs a vLLM release of 2026 or later; "
        "the plugin sends images only to services with the OpenAI protocol",
        task="image-text-to-text",
        engine_args=("--max-model-len=8192", "--reasoning-parser=qwen3"),
    ),
    _chat(
        "GRANITE_4_MICRO",
        "ibm-granite/granite-4.0-micro",
        "Apache-2.0",
        3.0,
        "IBM's small model for business texts, trained on licensed data",
        engine_args=("--max-model-len=8192",),
    ),
    _chat(
        "PHI_4_MINI",
        "microsoft/Phi-4-mini-instruct",
        "MIT",
        3.8,
        "Phi-2's successor",
        engine_args=("--max-model-len=8192",),
    ),
    # Those of version 1 of the plugin.
    _chat(
        "ZEPHYR_7B",
        "HuggingFaceH4/zephyr-7b-beta",
        "MIT",
        7.2,
        "from version 1 of the plugin",
        handling_mode="TEXT_GENERATION_ZEPHYR",
        engine_args=("--max-model-len=8192",),
    ),
    _chat(
        "LLAMA_2_7B",
        "meta-llama/Llama-2-7b-chat-hf",
        "Llama 2 Community License",
        6.7,
        "from version 1 of the plugin",
        gated=True,
        handling_mode="TEXT_GENERATION_LLAMA_2",
        engine_args=("--max-model-len=4096",),
    ),
    _chat(
        "FALCON_7B",
        "tiiuae/falcon-7b-instruct",
        "Apache-2.0",
        7.2,
        "from version 1 of the plugin",
        handling_mode="TEXT_GENERATION_FALCON",
        engine_args=("--max-model-len=2048",),
        # Without vLLM, 32 bits would need 29 GB, more than a GPU with 24 GB has.
        dtype="bfloat16",
    ),
    _chat(
        "PHI_2",
        "microsoft/phi-2",
        "MIT",
        2.8,
        "from version 1 of the plugin; has no chat template, so the plugin writes its prompts",
        handling_mode="TEXT_GENERATION_PHI_2",
        engine_args=("--max-model-len=2048",),
        dtype="float16",
    ),
    CatalogueModel(
        "GRANITE_EMBEDDING",
        "ibm-granite/granite-embedding-97m-multilingual-r2",
        EMBEDDING,
        "Apache-2.0",
        0.097,
        "384 dimensions, 32,768 tokens, over 200 languages; runs on a CPU",
        revision="835ad14087e140460703cf0fae09f97d469d65c2",
    ),
    CatalogueModel(
        "MINILM_L6",
        "sentence-transformers/all-MiniLM-L6-v2",
        EMBEDDING,
        "Apache-2.0",
        0.023,
        "384 dimensions, 256 tokens, English; from version 1 of the plugin",
    ),
)

CATALOGUE = {model.key: model for model in _MODELS}


def chosen(keys: list[str | CatalogueModel], purpose: str) -> list[CatalogueModel]:
    """Looks up models in the catalogue.

    Args:
        keys: Keys of the catalogue, in any case, or models that are given whole.
        purpose: CHAT or EMBEDDING.

    Returns:
        The models, in the same order.

    Raises:
        DeploymentError: If a key is not in the catalogue, or its model has another purpose.
    """
    models = []
    for key in keys:
        model = key if isinstance(key, CatalogueModel) else CATALOGUE.get(str(key).strip().upper())
        if model is None or model.purpose != purpose:
            offered = ", ".join(name for name, entry in CATALOGUE.items() if entry.purpose == purpose)
            raise DeploymentError(
                f"The catalogue has no {purpose} model {key!r}.", f"Choose one of {offered}."
            )
        models.append(model)
    return models
