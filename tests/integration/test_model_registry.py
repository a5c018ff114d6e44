"""What the deployment asks of the real snowflake-ml-python: its packager, imports and deployments.

No account is needed: the weights are a few bytes in a folder, and what would be sent to Snowflake is
caught at the library's own border to SQL.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from spcs_deployment import CATALOGUE, CatalogueModel, DeploymentError, plan, registry
from spcs_deployment.interface import interface_of
from spcs_deployment.pools import Pool
from spcs_llm.control import families

pytestmark = pytest.mark.real

CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
MODELS = list(CATALOGUE.values())


@pytest.fixture(autouse=True)
def _library() -> None:
    pytest.importorskip("snowflake.ml.registry")


def planned(model: CatalogueModel, **more: Any) -> Any:
    return plan(
        chat_models=[model] if model.purpose == "chat" else [],
        embedding_models=[model] if model.purpose == "embedding" else [],
        database="LLM",
        schema="REGISTRY",
        chat_pool="GPU",
        embedding_pool="CPU",
        caller_role="CALLER",
        **{"hugging_face_secret": "LLM.REGISTRY.TOKEN", **more},
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, bytes]]:
    """A Hub of tiny repositories in place of `huggingface_hub`, with the calls the library makes of it."""
    repositories: dict[str, dict[str, bytes]] = {}

    def files(repo_id: str) -> dict[str, bytes]:
        return repositories.setdefault(repo_id, tiny_repository(repo_id))

    def hf_hub_download(repo_id: str, filename: str, local_dir: str, **_: Any) -> str:
        path = Path(local_dir) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files(repo_id)[filename])
        return str(path)

    class HfApi:
        def model_info(self, repo_id: str, **_: Any) -> Any:
            siblings = [
                types.SimpleNamespace(rfilename=name, size=len(data)) for name, data in files(repo_id).items()
            ]
            return types.SimpleNamespace(siblings=siblings, pipeline_tag="text-generation")

    module = types.ModuleType("huggingface_hub")
    module.__dict__.update(HfApi=HfApi, hf_hub_download=hf_hub_download)
    module.errors = types.SimpleNamespace(EntryNotFoundError=KeyError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return repositories


def tiny_repository(repo_id: str) -> dict[str, bytes]:
    if CATALOGUE_BY_REPOSITORY[repo_id].purpose == "embedding":
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]
        pooling = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}
        return {
            "modules.json": json.dumps(modules).encode(),
            "1_Pooling/config.json": json.dumps(pooling).encode(),
            "config.json": b"{}",
            "model.safetensors": b"tiny",
        }
    tokenizer = {} if repo_id == "microsoft/phi-2" else {"chat_template": CHAT_TEMPLATE}
    return {
        "config.json": b"{}",
        "tokenizer_config.json": json.dumps(tokenizer).encode(),
        "model.safetensors": b"tiny",
    }


CATALOGUE_BY_REPOSITORY = {model.repository: model for model in MODELS}


def packaged(model: CatalogueModel, folder: Path) -> Any:
    """The metadata that the library's packager writes for the model our code hands it."""
    from snowflake.ml.model._packager.model_packager import ModelPackager

    wrapper = registry.hugging_face_model(model, planned(model, logging_pool=None, hugging_face_secret=None))
    packager = ModelPackager(str(folder))
    return packager.save(
        name=model.key, model=wrapper, target_platforms=["SNOWPARK_CONTAINER_SERVICES"], options={}
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.key)
def test_the_packager_gives_each_model_the_interface_that_the_form_is_filled_from(
    model: CatalogueModel, hub: dict[str, Any], tmp_path: Path
) -> None:
    meta = packaged(model, tmp_path / "model")

    functions = [{"target_method": name, "signature": sig} for name, sig in meta.signatures.items()]
    interface = interface_of(functions, model.key)
    expected = {
        "PHI_2": ("text", "__call__", "inputs"),
        "GRANITE_EMBEDDING": ("embedding", "encode", "sentence"),
        "MINILM_L6": ("embedding", "encode", "sentence"),
    }.get(model.key, ("chat", "__call__", "messages"))
    assert (interface.kind, interface.method, interface.input_column) == expected
    assert meta.env.cuda_version, "without it the library refuses gpu_requests"


class Caught(Exception):
    pass


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.key)
def test_logging_on_a_pool_imports_the_repository_with_the_secret(model: CatalogueModel) -> None:
    """Registry.log_model, the real one, up to the statement SYSTEM$IMPORT_MODEL."""
    import yaml
    from snowflake.ml.registry._manager import model_manager

    with (
        mock.patch.object(model_manager.model_ops, "ModelOperator", autospec=True) as operator,
        mock.patch.object(model_manager.service_ops, "ServiceOperator", autospec=True),
    ):
        operator.return_value.validate_existence.return_value = False
        operator.return_value.run_import_model_query.side_effect = Caught
        manager = model_manager.ModelManager(
            mock.Mock(), database_name=_name("LLM"), schema_name=_name("REGISTRY")
        )
        with pytest.raises(DeploymentError, match="Caught"):
            registry.log_model(_Front(manager), model, planned(model))
    sent = yaml.safe_load(operator.return_value.run_import_model_query.call_args.kwargs["yaml_content"])

    assert sent["compute_pool"] == "SYSTEM_COMPUTE_POOL_CPU"
    (imported,) = sent["models"]
    assert imported["name"] == {"model_name": f"LLM.REGISTRY.{model.key}", "version_name": "V1"}
    assert imported["hf_model"]["hf_model_name"] == model.repository
    assert imported["hf_model"].get("task") == model.task
    assert imported["hf_model"]["token_secret_object"] == "LLM.REGISTRY.TOKEN"
    assert imported["hf_model"].get("revision") == model.revision
    assert not imported["hf_model"].get("trust_remote_code")
    kwargs = json.loads(imported["hf_model"].get("hf_model_kwargs") or "{}")
    assert kwargs == ({"torch_dtype": model.dtype} if model.dtype else {})
    assert imported["log_model_args"]["target_platforms"] == ["SNOWPARK_CONTAINER_SERVICES"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.key)
def test_the_library_accepts_the_service_of_each_packaged_model(
    model: CatalogueModel, hub: dict[str, Any], tmp_path: Path
) -> None:
    """ModelVersion.create_service, the real one with its vLLM and GPU checks, up to the deployment."""
    import yaml
    from snowflake.ml.model import ModelVersion

    pytest.importorskip(
        "snowflake.ml.model._client.model_spec", reason="this library keeps specifications elsewhere"
    )
    from snowflake.ml.model._client.model_spec.model_spec_parser import parse_model_spec
    from snowflake.ml.model._client.ops import service_ops

    folder = tmp_path / "model"
    signatures = packaged(model, folder).signatures
    version = ModelVersion.__new__(ModelVersion)
    version._service_ops = mock.create_autospec(service_ops.ServiceOperator, instance=True)
    version._model_name, version._version_name = _name(model.key), _name("V1")
    version._model_spec = parse_model_spec(yaml.safe_load((folder / "model.yaml").read_text()))
    version._functions = functions = [
        {"name": name, "target_method": name, "target_method_function_type": "FUNCTION", "signature": one}
        for name, one in signatures.items()
    ]

    family = "GPU_NV_S" if model.purpose == "chat" else "CPU_X64_XS"
    pool = Pool("P", family, families.price_list().family(family), 1, 300)
    registry.create_service(version, model, interface_of(functions, model.key), planned(model), pool)

    sent = version._service_ops.create_service.call_args.kwargs
    assert sent["ingress_enabled"] is True
    assert sent["service_name"] == _name(model.service)
    assert sent["gpu_requests"] == ("1" if model.purpose == "chat" else None)
    assert sent["image_build_compute_pool_name"] == _name("SYSTEM_COMPUTE_POOL_CPU")
    assert (sent["min_instances"], sent["max_instances"]) == (0, 1)
    assert sent["num_workers"] == (None if model.purpose == "chat" else 1)
    engine = sent["inference_engine_args"]
    if model.purpose == "chat" and model.key != "PHI_2":
        assert engine.inference_engine.value == "vllm"
        assert engine.inference_engine_args_override == list(model.engine_args)
    else:
        assert engine is None


def _name(text: str) -> Any:
    from snowflake.ml._internal.utils.sql_identifier import SqlIdentifier

    return SqlIdentifier(text)


class _Front:
    """Registry.log_model without the session's checks that its constructor makes in SQL."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def log_model(self, model: Any, **arguments: Any) -> Any:
        from snowflake.ml.registry import Registry

        front = Registry.__new__(Registry)
        front._model_manager = self._manager
        return front.log_model(model, **arguments)
