"""A DSS with the plugin in a separate process, and a process that asks it as DSS's recipes for LLM Mesh do.

So the CPU time and the memory of each contain nothing of the account or of the services.
"""

from __future__ import annotations

import multiprocessing
import re
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT, PLUGIN, RECIPE = "JOBS", "snowpark-container-services-llm", "spcs-llm-in-snowflake"
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Account:
    """Where DSS signs in, and the models of its connection `snowflake`, without what all of them need."""

    url: str
    token: str
    user: str
    role: str
    warehouse: str
    database: str
    schema: str
    models: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Taken:
    """What a process has taken: CPU seconds, and the most MB that it had resident."""

    cpu: float
    memory: float


class DssProcess:
    """The parent's end."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url, self.key = pipe.recv()

    def taken(self) -> Taken:
        """What the process of DSS, which has the plugin, has taken so far."""
        self._pipe.send(("taken", None))
        taken: Taken = self._pipe.recv()
        return taken

    def run_recipe(self, params: Mapping[str, Any]) -> Taken:
        """Runs the recipe *Run a model inside Snowflake* to its end, and says what its process has taken."""
        self._pipe.send(("recipe", params))
        failure, log, taken = self._pipe.recv()
        assert failure is None, f"{failure}\n{log}"
        result: Taken = taken
        return result


@contextmanager
def dss_process(account: Account) -> Iterator[DssProcess]:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, account), daemon=True)
    process.start()
    theirs.close()
    try:
        yield DssProcess(ours)
    finally:
        ours.close()
        process.join(30)


def ask_mesh(
    dss: DssProcess, model: str, texts: Sequence[str], size: int, settings: Mapping[str, Any]
) -> Taken:
    """Asks a model about each text, `size` at a time, from a process that has nothing else to do."""
    ours, theirs = _SPAWN.Pipe()
    llm = f"custom:snowflake:{model}"
    process = _SPAWN.Process(
        target=_ask, args=(theirs, dss.url, dss.key, llm, texts, size, settings), daemon=True
    )
    process.start()
    theirs.close()
    failure, taken = ours.recv()
    process.join(30)
    assert failure is None, failure
    result: Taken = taken
    return result


# -- the process of DSS ------------------------------------------------------------------------------


def _serve(pipe: Connection, account: Account) -> None:
    from sandbox.dss import Dss
    from sandbox.loopback import bypass_proxies

    bypass_proxies()
    with Dss() as dss:
        dss.install_plugin(str(ROOT))
        _connect(dss, account)
        with dss.serve() as url:
            pipe.send((url, dss.create_api_key(account.user)))
            while True:
                try:
                    order, params = pipe.recv()
                except EOFError:  # the parent has ended
                    return
                pipe.send(_own() if order == "taken" else _run(dss, params))


def _connect(dss: Any, account: Account) -> None:
    from sandbox.dss import SnowflakeConnection, SnowflakeLogin

    login = SnowflakeLogin(account.user, access_token=account.token)
    place = (account.role, account.warehouse, account.database, account.schema)
    dss.create_sql_connection("account", SnowflakeConnection("account", account.url, {"*": login}, *place))
    for name in ("input", "output"):
        where = {"catalog": account.database, "schema": account.schema}
        dss.create_dataset(PROJECT, name, "account", name.upper(), **where)
    preset = dss.create_preset(
        PLUGIN, "oauth-credentials", "snowflake", {"scope": f"session:role:{account.role}"}
    )
    dss.set_user_credential(account.user, preset, "snowflake_oauth", account.token)
    common = {"oauth": "snowflake", "snowflakeAccountUrl": account.url}
    models = [{**model, "params": {**common, **model["params"]}} for model in account.models]
    dss.create_connection("snowflake", PLUGIN, models=models)


def _run(dss: Any, params: Mapping[str, Any]) -> tuple[str | None, str, Taken]:
    before, peak = cpu_of_children(), 0.0
    run = dss.start_recipe(
        PLUGIN, RECIPE, {"input": ["input"], "output": ["output"]}, params, project_key=PROJECT
    )
    while not run.done.wait(0.1):
        peak = max(peak, peak_memory(dss.recipes.pid(run)))
    return run.failure, run.log[-4000:], Taken(cpu_of_children() - before, peak)


def cpu_of_children() -> float:
    """CPU seconds of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own() -> Taken:
    return Taken(time.process_time(), peak_memory("self"))


def peak_memory(pid: int | str) -> float:
    """The most MB that a process has had resident; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


# -- the process that asks ---------------------------------------------------------------------------


def _ask(
    pipe: Connection,
    url: str,
    key: str,
    llm: str,
    texts: Sequence[str],
    size: int,
    settings: Mapping[str, Any],
) -> None:
    import dataikuapi

    from sandbox.loopback import bypass_proxies

    bypass_proxies()
    model = dataikuapi.DSSClient(url, key).get_project(PROJECT).get_llm(llm)
    failure = None
    try:
        for start in range(0, len(texts), size):
            (_chat if settings else _embed)(model, texts[start : start + size], settings)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        failure = f"{type(error).__name__}: {error}"
    pipe.send((failure, _own()))


def _embed(model: Any, texts: Sequence[str], settings: Mapping[str, Any]) -> None:
    query = model.new_embeddings()
    for text in texts:
        query.add_text(text)
    assert len(query.execute().get_embeddings()) == len(texts)


def _chat(model: Any, texts: Sequence[str], settings: Mapping[str, Any]) -> None:
    query = model.new_completions()
    query.settings.update(settings)
    for text in texts:
        query.new_completion().with_message(text)
    answers = query.execute().responses
    assert sum(bool(answer.success and answer.text) for answer in answers) == len(texts)
