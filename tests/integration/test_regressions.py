"""What must not get slower: ratios and counts only, with room for noise. The figures themselves are `make bench`'s."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.connections import Connections
from spcs_llm.model import Model
from spcs_llm.query_context import QueryContext

pytest.importorskip("starlette")

from sandbox.services.scripted import vector_of
from sandbox.snowflake import Snowflake
from tests.benchmarks.clients import Ask, bare_requests, plugin
from tests.benchmarks.quick_service import quick_service
from tests.benchmarks.test_calls import cpu_of

ROOT = Path(__file__).parents[2]
ROUNDS, CALLS = 15, 60


def least_cpu(asks: dict[str, Ask]) -> dict[str, float]:
    """The least of several rounds, in turns: what disturbs only ever adds."""
    for ask in asks.values():
        cpu_of(ask, 20)
    rounds = [{name: cpu_of(ask, CALLS) for name, ask in asks.items()} for _ in range(ROUNDS)]
    return {name: min(each[name] for each in rounds) for name in asks}


@pytest.mark.exhaustive
def test_a_call_through_everything_costs_less_than_a_bare_one_with_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without NO_PROXY, which spares requests a look at the environment that it usually takes.
    for name in ("no_proxy", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Snowflake() as snowflake, quick_service() as service:
        account = {"account": snowflake.account_url, "token": snowflake.issue_oauth_token()}
        cpu = least_cpu(
            {"plugin": plugin(account, service.url), "requests": bare_requests(account, service.url)}
        )
        asked = service.counts()
    assert cpu["plugin"] <= 0.9 * cpu["requests"], "0.6 is usual"
    assert asked["connections"] == 2, "one for each client, for all calls"


def test_texts_share_requests() -> None:
    texts = [f"text {number}" for number in range(640)]
    with Snowflake() as snowflake:
        service = snowflake.create_service("embed", "scripted", "PREDICT", kind="embedding")
        config: dict[str, Any] = {
            "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
            "snowflakeAccountUrl": snowflake.account_url,
            "llmEndpointUrl": service.url,
        }
        model = Model(config, connections=Connections())
        responses = model.embed({"queries": [{"text": text} for text in texts]}, {}, None)["responses"]
        sizes = list(service.stats.batch_sizes)
    assert [response["embedding"] for response in responses] == [vector_of(text) for text in texts]
    assert sum(sizes) == len(texts)
    assert len(sizes) <= 12, "ten of 64 rows each"


LOADED = """
import sys
sys.path.insert(0, "python-lib")
import requests
before = set(sys.modules)
import spcs_llm.model
print(*sorted(set(sys.modules) - before))
"""


def test_an_import_loads_only_what_every_model_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    heavy = (
        "jinja2",
        "jwt",
        "cryptography",
        "numpy",
        "snowflake",
        "dataiku",
        "asyncio",
        "spcs_deployment",
    )
    assert not [name for name in loaded if name.startswith(heavy)]
    assert len(loaded) < 100


@pytest.mark.exhaustive
def test_the_log_of_steps_costs_next_to_nothing_while_it_is_off() -> None:
    """Ten steps, as a query has at most as a rule, beside the call that they are steps of."""
    context = QueryContext(60)

    def steps() -> str:
        for _ in range(10):
            context.log("sends %s %s (%d bytes)", "POST", "/predict", 100)
        return ""

    with Snowflake() as snowflake, quick_service() as service:
        account = {"account": snowflake.account_url, "token": snowflake.issue_oauth_token()}
        cpu = least_cpu({"plugin": plugin(account, service.url), "steps": steps})
    assert cpu["steps"] <= 0.03 * cpu["plugin"], "0.003 is usual"
