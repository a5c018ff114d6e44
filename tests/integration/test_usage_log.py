"""The usage log of the whole path: one line for each query of LLM Mesh, without content, hosts or secrets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox.instance import Instance
from spcs_llm.usage_log import UsageLine, endpoint_mark, read_usage

LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Instance]:
    with Instance(plugin_config={"usageLogFolder": str(tmp_path)}) as instance:
        yield instance
        assert not instance.dss.violations


def lines(folder: Path) -> list[UsageLine]:
    return list(read_usage(folder, LONG_AGO))


def test_every_kind_of_query_is_a_line(logged: Instance, tmp_path: Path) -> None:
    create = logged.snowflake.create_service
    service = create("chat", "scripted", "OPENAI", rerank="jina")
    chat = logged.add_model("chat", "CHAT", service, serviceProtocol="OPENAI", modelName="scripted")
    vectors = logged.add_model("vectors", "EMBEDDING", create("vectors", kind="embedding"))
    response = chat.new_completion().with_message("SECRET-PROMPT").execute()
    list(chat.new_completion().with_message("SECRET-PROMPT").execute_streamed())
    query = vectors.new_embeddings()
    for text in ("SECRET-TEXT one", "SECRET-TEXT two"):
        query.add_text(text)
    query.execute().get_embeddings()
    failed = chat.new_completion().with_message("SECRET __boom__").execute()
    assert not failed.success
    whole, streamed, first, second, broken = sorted(lines(tmp_path), key=lambda line: line.time)
    assert [line.kind for line in (whole, streamed, first, second, broken)] == ["chat"] * 2 + [
        "embed"
    ] * 2 + ["chat"]
    raw = response._raw
    assert (whole.prompt_tokens, whole.completion_tokens) == (raw["promptTokens"], raw["completionTokens"])
    assert (whole.cost, whole.model, whole.status) == (raw["estimatedCost"], "scripted", "ok")
    assert whole.endpoint == endpoint_mark(str(urlsplit(service.url).hostname))
    assert whole.busy_seconds > 0
    assert streamed.total_tokens == whole.total_tokens
    assert first.prompt_tokens
    assert broken.status == "failed"
    assert broken.error
    _check_nothing_is_told(tmp_path, logged, response.text)


def _check_nothing_is_told(folder: Path, instance: Instance, answer: str) -> None:
    written = "".join(path.read_text() for path in folder.glob("*.jsonl"))
    secrets = [token.text for token in instance.snowflake.world.tokens.values()]
    assert secrets
    for text in ("SECRET", answer, "127.0.0.1", *secrets):
        assert text not in written


def test_a_broken_log_costs_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Instance(plugin_config={"usageLogFolder": str(tmp_path / "missing")}) as instance:
        service = instance.snowflake.create_service("chat")
        model: Any = instance.add_model("chat", "CHAT", service)
        for _ in range(3):
            assert model.new_completion().with_message("Hello").execute().success
    assert caplog.text.count("The usage log cannot be written") == 1


def test_without_the_setting_there_is_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Instance() as instance:
        model: Any = instance.add_model("chat", "CHAT", instance.snowflake.create_service("chat"))
        assert model.new_completion().with_message("Hello").execute().success
        (kernel,) = instance.dss.mesh._kernels.values()
        assert type(kernel.instance.model).__name__ == "Model"
    assert list(tmp_path.iterdir()) == []
