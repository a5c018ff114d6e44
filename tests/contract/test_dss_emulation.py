"""The LLM Mesh's part in the stand-in DSS: missing modes, retries, users, instances, violations."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sandbox.dss import Dss
from sandbox.dss.mesh import QueryFailedError
from tests.contract.plugins.writing import COMPLETE, model_of, write_plugin

QUERY = {"messages": [{"role": "user", "content": "hi"}]}


def installed(dss: Dss, folder: Path, llm_py: str, capability: str = "CHAT", **kwargs: Any) -> Any:
    dss.install_plugin(write_plugin(folder, llm_py))
    (llm_id,) = dss.create_connection("c", "small", [{"id": "m", "capability": capability}], **kwargs)
    return model_of(dss, llm_id)


def answer(dss: Dss, model: Any, query: Any = QUERY, settings: Any = None, user: str = "admin") -> Any:
    return dss.mesh.complete(model, user, [query], settings or {})[0]


def streamed(dss: Dss, model: Any) -> list[dict[str, Any]]:
    return [data for _, data in dss.mesh.stream(model, "admin", QUERY, {})]


@pytest.mark.parametrize(("version", "total"), [("14.1", None), ("14.5", {"promptTokens": 3})])
def test_an_answer_tells_its_total_usage_since_14_5(tmp_path: Path, version: str, total: Any) -> None:
    llm_py = """
        from dataiku.llm.python import BaseLLM

        class Model(BaseLLM):
            def process(self, query, settings, trace):
                return {"text": "", "promptTokens": 3}
    """
    with Dss(version) as dss:
        model = installed(dss, tmp_path, llm_py)
        assert answer(dss, model).get("totalUsage") == total
        assert streamed(dss, model)[-1].get("totalUsage") == total


def test_the_total_usage_that_a_plugin_tells_is_kept(tmp_path: Path) -> None:
    llm_py = """
        from dataiku.llm.python import BaseLLM

        class Model(BaseLLM):
            def process(self, query, settings, trace):
                return {"text": "", "promptTokens": 3, "totalUsage": {"promptTokens": 30}}
    """
    with Dss() as dss:
        assert answer(dss, installed(dss, tmp_path, llm_py))["totalUsage"] == {"promptTokens": 30}


ASYNC_ONLY = """
    import asyncio
    from dataiku.llm.python import BaseLLM

    class Model(BaseLLM):
        def __init__(self):
            self.loops = set()

        async def aprocess(self, query, settings, trace):
            await asyncio.sleep(0)
            self.loops.add(id(asyncio.get_running_loop()))
            return {"text": "async", "promptTokens": 1}
"""
STREAM_ONLY = """
    from dataiku.llm.python import BaseLLM

    class Model(BaseLLM):
        def process_stream(self, query, settings, trace):
            function = {"name": "add", "arguments": '{"a":'}
            yield {"chunk": {"text": "one "}}
            yield {"chunk": {"text": "two"}}
            call = {"index": 0, "id": "c", "type": "function", "function": function}
            yield {"chunk": {"toolCalls": [call]}}
            yield {"chunk": {"toolCalls": [{"index": 0, "function": {"arguments": " 1}"}}]}}
            yield {"footer": {"finishReason": "STOP", "promptTokens": 3}}
"""
ASYNC_STREAM_ONLY = """
    from dataiku.llm.python import BaseLLM

    class Model(BaseLLM):
        def __init__(self):
            self.closed = False

        async def aprocess_stream(self, query, settings, trace):
            try:
                yield {"chunk": {"text": "one "}}
                yield {"chunk": {"text": "two"}}
                yield {"footer": {"finishReason": "STOP"}}
            finally:
                self.closed = True
"""


def test_an_async_only_model_answers_and_streams(tmp_path: Path) -> None:
    with Dss() as dss:
        model = installed(dss, tmp_path, ASYNC_ONLY)
        assert answer(dss, model)["text"] == "async"
        chunk, footer = streamed(dss, model)
        assert chunk["text"] == "async"
        assert footer["promptTokens"] == 1


def test_coroutines_of_an_instance_share_one_event_loop(tmp_path: Path) -> None:
    with Dss() as dss:
        model = installed(dss, tmp_path, ASYNC_ONLY)
        dss.mesh.complete(model, "admin", [QUERY] * 20, {})
        assert len(dss.mesh.kernel(model, "admin").instance.loops) == 1


def test_a_stream_only_model_answers_whole(tmp_path: Path) -> None:
    with Dss() as dss:
        response = answer(dss, installed(dss, tmp_path, STREAM_ONLY))
        assert response["text"] == "one two"
        assert response["toolCalls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
        assert response["promptTokens"] == 3


def test_an_async_stream_only_model_streams_and_answers_whole(tmp_path: Path) -> None:
    with Dss() as dss:
        model = installed(dss, tmp_path, ASYNC_STREAM_ONLY)
        assert [data.get("text") for data in streamed(dss, model)] == ["one ", "two", None]
        assert answer(dss, model)["text"] == "one two"


def test_an_abandoned_async_stream_is_closed(tmp_path: Path) -> None:
    with Dss() as dss:
        model = installed(dss, tmp_path, ASYNC_STREAM_ONLY)
        stream = dss.mesh.stream(model, "admin", QUERY, {})
        next(stream)
        stream.close()
        assert dss.mesh.kernel(model, "admin").instance.closed


RETRYABLE = """
    from dataiku.llm.python import BaseLLM
    try:
        from dataiku.llm.python import RetryableException as Again
    except ImportError:
        Again = RuntimeError

    class Model(BaseLLM):
        def __init__(self):
            self.calls = 0

        def process(self, query, settings, trace):
            self.calls += 1
            if settings.get("how") == "plain":
                raise ValueError("broken")
            if self.calls <= settings.get("refusals", 2):
                raise Again("try again")
            return {"text": str(self.calls)}

        def process_stream(self, query, settings, trace):
            self.calls += 1
            if self.calls <= 2:
                raise Again("try again")
            yield {"chunk": {"text": str(self.calls)}}
            raise Again("too late")
"""


def test_a_retryable_exception_is_retried_with_growing_delays(tmp_path: Path) -> None:
    waits: list[float] = []
    with Dss(sleep=waits.append) as dss:
        assert answer(dss, installed(dss, tmp_path, RETRYABLE))["text"] == "3"
    assert waits == [0.1, 0.2]


def test_retries_end_with_the_last_error(tmp_path: Path) -> None:
    with Dss(sleep=lambda _: None) as dss:
        model = installed(dss, tmp_path, RETRYABLE, max_retries=2)
        assert answer(dss, model, settings={"refusals": 9})["errorMessage"] == "try again"
        assert dss.mesh.kernel(model, "admin").instance.calls == 3


def test_any_other_exception_is_not_retried(tmp_path: Path) -> None:
    with Dss(sleep=lambda _: pytest.fail("waited")) as dss:
        model = installed(dss, tmp_path, RETRYABLE)
        assert answer(dss, model, settings={"how": "plain"})["errorMessage"] == "broken"
        assert dss.mesh.kernel(model, "admin").instance.calls == 1


def test_a_stream_is_retried_until_its_first_chunk_and_no_further(tmp_path: Path) -> None:
    with Dss(sleep=lambda _: None) as dss:
        model = installed(dss, tmp_path, RETRYABLE)
        stream = dss.mesh.stream(model, "admin", QUERY, {})
        assert next(stream)[1]["text"] == "3"
        with pytest.raises(QueryFailedError, match="too late"):
            next(stream)


def test_older_dss_retries_nothing(tmp_path: Path) -> None:
    with Dss("14.5", sleep=lambda _: pytest.fail("waited")) as dss:
        assert answer(dss, installed(dss, tmp_path, RETRYABLE))["ok"] is False


def test_parallel_calls_are_limited_by_what_the_component_says(tmp_path: Path) -> None:
    with Dss() as dss:
        dss.install_plugin(COMPLETE)
        for parallel in (1, 4):
            params = {"parallel": parallel}
            name = f"c{parallel}"
            (llm_id,) = dss.create_connection(
                name, "echo", [{"id": "m", "capability": "CHAT", "params": params}]
            )
            assert dss.mesh.kernel(model_of(dss, llm_id), "admin").parallelism == parallel


def test_there_is_one_instance_per_model_and_user_until_kernels_restart(tmp_path: Path) -> None:
    with Dss() as dss:
        model = installed(dss, tmp_path, ASYNC_ONLY)
        instances = [dss.mesh.kernel(model, user).instance for user in ("alice", "alice", "bob")]
        assert instances[0] is instances[1] is not instances[2]
        dss.restart_kernels()
        assert dss.mesh.kernel(model, "alice").instance is not instances[0]


def test_one_instance_is_made_however_many_callers_come_at_once(tmp_path: Path) -> None:
    slow = """
        import time
        from dataiku.llm.python import BaseLLM
        made = []

        class Model(BaseLLM):
            def set_config(self, config, plugin_config):
                time.sleep(0.05)
                made.append(self)

            def process(self, query, settings, trace):
                return {"text": str(len(made))}
    """
    with Dss() as dss:
        model = installed(dss, tmp_path, slow)
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append(answer(dss, model)["text"])) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert texts == ["1"] * 8


def test_a_failing_set_config_fails_each_query_and_is_tried_again_at_the_next(tmp_path: Path) -> None:
    failing = """
        from dataiku.llm.python import BaseLLM
        tries = []

        class Model(BaseLLM):
            def set_config(self, config, plugin_config):
                tries.append(1)
                raise ValueError(f"bad setting, try {len(tries)}")
    """
    with Dss() as dss:
        model = installed(dss, tmp_path, failing)
        first = dss.mesh.complete(model, "admin", [QUERY, QUERY], {})
        assert [row["errorMessage"] for row in first] == ["bad setting, try 1"] * 2
        assert answer(dss, model)["errorMessage"] == "bad setting, try 2"
        with pytest.raises(QueryFailedError, match="bad setting, try 3"):
            streamed(dss, model)


def test_a_plugin_cannot_change_its_callers_query(tmp_path: Path) -> None:
    changing = """
        from dataiku.llm.python import BaseLLM

        class Model(BaseLLM):
            def process(self, query, settings, trace):
                text = query["messages"].pop()["content"]
                settings["seen"] = True
                return {"text": text + str(sorted(settings))}
    """
    with Dss() as dss:
        model = installed(dss, tmp_path, changing)
        rows = dss.mesh.complete(model, "admin", [QUERY, QUERY], {"topK": 1})
        assert [row["text"] for row in rows] == ["hi['seen', 'topK']"] * 2


def test_embedding_queries_can_come_in_batches() -> None:
    with Dss(embedding_rows=2) as dss:
        dss.install_plugin(COMPLETE)
        dss.create_connection("acme", "echo", [{"id": "v", "capability": "EMBEDDING"}])
        queries = [{"text": text} for text in ("a", "fail", "b", "c", "d")]
        rows = dss.mesh.embed(model_of(dss, "custom:acme:v"), "admin", queries, {})
        assert ["embedding" in row for row in rows] == [True, False, True, True, True]
        assert rows[1]["errorMessage"] == "no vector for that"
        assert [round(row["embedding"][3]) for row in rows if "embedding" in row] == [0, 0, 0, 1]
