"""What the webapp asks LLM Mesh for a viewer: with whose rights, how much at once, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spcs_llm.control.diagnosis.finding import FAILED, OK, SKIPPED, WARNING
from spcs_llm.control.diagnosis.runner import findings_of
from spcs_llm.control.identifiers import qualified
from spcs_llm.errors import ServiceBusy, SpcsError
from spcs_llm.monitor.as_viewer import AT_ONCE, EACH_AT_ONCE, AsViewer, Mesh, refusal
from spcs_llm.monitor.diagnoses import Diagnoses
from spcs_llm.monitor.mesh_models import MeshModel, likely, models_of
from spcs_llm.monitor.mesh_steps import MeshSteps
from spcs_llm.monitor.prompts import LEFT_SECONDS, MAX_ANSWER, Prompts
from spcs_llm.monitor.timeline import timeline, usage_of
from tests.clock import Clock
from tests.waiting import wait_for

MODEL = "custom:snow:chat"
HOST = "a-b.snowflakecomputing.app"
USAGE = {"promptTokens": 3, "completionTokens": 2, "estimatedCost": 0.001}


class Impersonation:
    def __enter__(self) -> Impersonation:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class Piece:
    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.type = data.get("type", "content")


class Query:
    """A completion, an embedding and a ranking in one."""

    def __init__(self, dss: Dss) -> None:
        self._dss = dss
        self.settings: dict[str, Any] = {}

    def with_message(self, text: str) -> None:
        self._dss.texts.append(text)

    def execute_streamed(self) -> Iterator[Piece]:
        yield from self._dss.answer()

    def add_text(self, text: str) -> Query:
        self._dss.texts.append(text)
        return self

    with_query = add_text

    def with_document(self, text: str) -> Query:
        return self

    def execute(self) -> Any:
        response = type("Response", (), {})()
        response._raw = {"responses": [self._dss.row]}
        return response


class Dss:
    """A DSS whose one model answers as one likes."""

    def __init__(self, *pieces: dict[str, Any], user: str = "ann", **row: Any) -> None:
        self.user = user
        self.pieces = pieces
        self.row = row
        self.texts: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.listed: Callable[[str], list[dict[str, str]]] = lambda purpose: (
            [{"id": MODEL, "friendlyName": "Chat"}, {"id": "openai:x"}]
            if purpose == "GENERIC_COMPLETION"
            else []
        )

    def mesh(self) -> AsViewer:
        return AsViewer(Mesh(Impersonation, lambda: self, lambda: "P"))

    def get_auth_info(self) -> dict[str, str]:
        return {"authIdentifier": self.user}

    def get_project(self, key: str) -> Dss:
        return self

    def list_llms(self, purpose: str) -> list[dict[str, str]]:
        return self.listed(purpose)

    def get_llm(self, id: str) -> Dss:
        return self

    def new_completion(self) -> Query:
        return Query(self)

    new_embeddings = new_reranking = new_completion

    def answer(self) -> Iterator[Piece]:
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        yield from map(Piece, self.pieces)


def _as_it_is(work: Callable[[], None]) -> Callable[[], None]:
    return work


def _spans(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"name": "query", "begin": "2026-11-01T00:00:00.000Z", "duration": 30, "children": list(spans)}


REQUEST = {
    "name": "SPCS_REQUEST",
    "begin": "2026-11-01T00:00:00.010Z",
    "duration": 20,
    "attributes": {"host": HOST},
}
WORDS = ({"text": "one "}, {"text": "two"})


def _footer(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"type": "footer", **USAGE, "trace": _spans(*spans)}


# -- with whose rights -------------------------------------------------------------------------------------


def test_nothing_is_asked_where_dss_acts_as_somebody_else() -> None:
    dss = Dss(user="robot")
    with pytest.raises(SpcsError, match="answers as another user"):
        dss.mesh().call("ann", lambda project: pytest.fail("asked"))


def test_a_failure_within_the_context_leaves_it() -> None:
    left: list[bool] = []

    class Watched(Impersonation):
        def __exit__(self, *error: object) -> None:
            left.append(True)

    as_viewer = AsViewer(Mesh(Watched, Dss, lambda: "P"))
    for error in (RuntimeError("x"), SpcsError("y")):
        with pytest.raises(SpcsError):
            as_viewer.call("ann", lambda project, error=error: (_ for _ in ()).throw(error))  # type: ignore[misc]
    assert left == [True, True]


def test_no_viewer_takes_all_places() -> None:
    dss = Dss()
    as_viewer, going = dss.mesh(), threading.Event()
    threads = [
        threading.Thread(target=as_viewer.query, args=(user, lambda project: going.wait(20)))
        for user in ("ann", "bob", "eve")
        for _ in range(EACH_AT_ONCE)
    ]
    for user in ("ann", "bob", "eve"):
        dss.user = user
        for thread in threads[: EACH_AT_ONCE * (("ann", "bob", "eve").index(user) + 1)]:
            if not thread.ident:
                thread.start()
        wait_for(lambda user=user: as_viewer._queries[user] == EACH_AT_ONCE)  # type: ignore[misc]
    assert sum(as_viewer._queries.values()) == AT_ONCE
    with pytest.raises(ServiceBusy, match="2 queries of yours"):
        as_viewer.query("eve", lambda project: None)
    with pytest.raises(ServiceBusy, match="6 queries are"):
        as_viewer.query("tom", lambda project: None)
    going.set()
    for thread in threads:
        thread.join()
    assert not as_viewer._queries


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("Query failed: [login] Snowflake refuses the token. Sign in.", "login", "Snowflake refuses"),
        ("boom", "webapp", "DSS refuses it: boom"),
        ("[webapp] boom", "webapp", "DSS refuses it"),
    ],
)
def test_errors_that_llm_mesh_passes_on_keep_their_place(text: str, place: str, message: str) -> None:
    error = refusal(text)
    assert error.place == place
    assert message in error.message
    assert bool(error.hint) == (place == "webapp")


# -- prompts -----------------------------------------------------------------------------------------------


def _done(prompts: Prompts, run: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def done() -> bool:
        seen.update(prompts.shown("ann", run))
        return bool(seen["done"])

    wait_for(done)
    return seen


def test_an_answer_comes_with_its_usage_and_its_trace() -> None:
    prompts = Prompts(Dss(*WORDS, _footer(REQUEST)).mesh())
    seen = _done(prompts, prompts.start("ann", MODEL, "hi", _as_it_is)["run"])
    assert (seen["text"], seen["promptTokens"], seen["cost"], seen["error"]) == ("one two", 3, 0.001, None)
    assert [(span["name"], span["begin"]) for span in seen["trace"]] == [("query", 0), ("SPCS_REQUEST", 10)]


def test_nobody_takes_all_of_the_room_for_prompts() -> None:
    prompts = Prompts(Dss(*WORDS, _footer()).mesh())
    first = prompts.start("ann", MODEL, "hi", _as_it_is)["run"]
    _done(prompts, first)
    for _ in range(60):
        last = prompts.start("ann", MODEL, "hi", _as_it_is)["run"]
        _done(prompts, last)
    assert prompts.start("bob", MODEL, "hi", _as_it_is)["run"]
    assert prompts.shown("ann", last)["done"]
    with pytest.raises(SpcsError, match="forgotten"):
        prompts.shown("ann", first)


def test_an_answer_that_ends_at_the_limit_says_so() -> None:
    """A model that thinks may use all tokens for it, and answers nothing."""
    thought = Dss({"text": "", "artifacts": [{}]}, {**_footer(REQUEST), "finishReason": "LENGTH"})
    for dss, limit in ((thought, 1024), (Dss(*WORDS, {**_footer(), "finishReason": "STOP"}), None)):
        prompts = Prompts(dss.mesh())
        assert _done(prompts, prompts.start("ann", MODEL, "hi", _as_it_is)["run"])["limit"] == limit


def test_an_answer_without_end_is_cut() -> None:
    prompts = Prompts(Dss({"text": "x" * MAX_ANSWER}, {"text": "y"}, _footer()).mesh())
    seen = _done(prompts, prompts.start("ann", MODEL, "hi", _as_it_is)["run"])
    assert (len(seen["text"]), seen["text"][-1], seen["isCut"]) == (MAX_ANSWER, "x", True)


def test_an_error_does_not_quote_the_prompt() -> None:
    dss = Dss()
    dss.error = RuntimeError("bad prompt: 'tell me of the zebras in the garden'")
    prompts = Prompts(dss.mesh())
    seen = _done(
        prompts, prompts.start("ann", MODEL, "tell me of the zebras in the garden", _as_it_is)["run"]
    )
    assert "DSS refuses it" in seen["error"]["message"]
    assert "zebras" not in str(seen["error"])


def test_a_prompt_is_its_viewers() -> None:
    prompts = Prompts(Dss(*WORDS).mesh())
    run = prompts.start("ann", MODEL, "hi", _as_it_is)["run"]
    for user, asked in (("bob", run), ("ann", "other"), ("ann", None), ("ann", ["x"])):
        with pytest.raises(SpcsError, match="does not exist"):
            prompts.shown(user, asked)
        with pytest.raises(SpcsError, match="does not exist"):
            prompts.cancel(user, asked)
    assert _done(prompts, run)["text"] == "one two"


def test_a_prompt_whose_page_is_gone_is_read_no_further_and_forgotten() -> None:
    clock, dss = Clock(), Dss(*({"text": "word "} for _ in range(1000)), _footer())
    dss.gate.clear()
    as_viewer = dss.mesh()
    prompts = Prompts(as_viewer, clock)
    run = prompts.start("ann", MODEL, "hi", _as_it_is)["run"]
    wait_for(lambda: as_viewer._queries["ann"] == 1)
    one = prompts._tries[run]
    clock.now += LEFT_SECONDS
    dss.gate.set()
    wait_for(lambda: one.ended is not None)
    assert len(one.pieces) == 1, "it notices with the next piece"
    with pytest.raises(SpcsError, match="forgotten"):
        prompts.shown("ann", run)
    assert not prompts._tries


def test_an_answer_waits_for_a_page_in_the_background_which_asks_once_a_minute() -> None:
    clock = Clock()
    prompts = Prompts(Dss(*WORDS).mesh(), clock)
    run = prompts.start("ann", MODEL, "hi", _as_it_is)["run"]
    _done(prompts, run)
    clock.now += 61
    assert prompts.shown("ann", run)["text"] == "one two"
    clock.now += LEFT_SECONDS
    with pytest.raises(SpcsError, match="forgotten"):
        prompts.shown("ann", run)


@pytest.mark.parametrize(
    "trace", [None, 7, {"children": 3}, {"begin": 5, "duration": "x", "children": [None]}]
)
def test_an_odd_trace_is_a_timeline_all_the_same(trace: Any) -> None:
    assert all(span["begin"] == 0 for span in timeline(trace))


def test_usage_is_read_from_where_each_version_of_dss_has_it() -> None:
    assert usage_of({"totalUsage": USAGE})["completionTokens"] == 2
    assert usage_of({"totalUsage": {"completionTokens": 9}, **USAGE})["completionTokens"] == 2
    assert usage_of({"totalUsage": "x"})["cost"] is None


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 10**400], ids=str)
def test_a_number_that_no_browser_reads_is_not_known(odd: float) -> None:
    """chainer/chainerui#16, wisdom-framework/wisdom#185: a NaN in the JSON of a dashboard stops the whole of it."""
    assert usage_of({"estimatedCost": odd, "promptTokens": odd})["cost"] is None
    (span,) = timeline({"name": "LLM", "duration": odd})
    assert span["length"] == 0


# -- the models, and a query of a diagnosis ----------------------------------------------------------------


def test_models_of_purposes_that_dss_knows_are_listed_by_name() -> None:
    def listed(purpose: str) -> list[dict[str, str]]:
        if purpose == "RERANKING":
            raise ValueError("unknown purpose")
        return [{"id": f"custom:c:{purpose}", "friendlyName": purpose.lower()}, {"id": "openai:x"}]

    dss = Dss()
    dss.listed = listed
    assert [(model.kind, model.name) for model in models_of(dss)] == [
        ("chat", "generic_completion"),
        ("embed", "text_embedding_extraction"),
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["snow - Qwen 3", "other"], "custom:0"),
        (["my chat-svc", "other"], "custom:0"),
        (["qwen3", "chat svc"], None),
        (["other"], None),
    ],
)
def test_a_model_is_suggested_where_its_name_is_that_of_the_service(
    names: list[str], expected: str | None
) -> None:
    models = [MeshModel(f"custom:{n}", name, "chat") for n, name in enumerate(names)]
    assert likely(models, qualified("DB.SC.CHAT_SVC"), qualified("DB.ML.QWEN3")) == expected


def _results(dss: Dss, kind: str = "chat", model: str = MODEL) -> dict[str, tuple[str, str]]:
    purposes = {"chat": "GENERIC_COMPLETION", "embed": "TEXT_EMBEDDING_EXTRACTION", "rerank": "RERANKING"}
    dss.listed = lambda purpose: [{"id": MODEL, "friendlyName": "Chat"}] if purpose == purposes[kind] else []
    query = MeshSteps(dss.mesh(), "ann", model, [HOST], _as_it_is)
    return {found.step: (found.result, found.seen) for found in findings_of(query.steps(), 60)}


def test_all_steps_of_a_query_that_works_are_ok() -> None:
    login = {"name": "SNOWFLAKE_LOGIN", "duration": 1500}
    found = _results(Dss(*WORDS, _footer(login, REQUEST)))
    assert {result for result, _ in found.values()} == {OK}
    assert "signed in" in found["Sign-in"][1]
    assert "2 tokens" in found["Query"][1]
    assert "USD 1," in found["Cost"][1]
    assert "No sign-in was needed" in _results(Dss(*WORDS, _footer(REQUEST)))["Sign-in"][1]


def test_the_time_of_a_step_is_what_it_took_within_the_query() -> None:
    dss = Dss(*WORDS, _footer({"name": "SNOWFLAKE_LOGIN", "duration": 1500}, REQUEST))
    query = MeshSteps(dss.mesh(), "ann", MODEL, [HOST], _as_it_is)
    kept = Diagnoses()
    kept.start(qualified("A.B.C"), "ann", query.steps, 60, query.seconds)
    wait_for(lambda: (kept.shown(qualified("A.B.C"), "ann") or {})["done"])
    shown = kept.shown(qualified("A.B.C"), "ann")
    assert shown is not None
    assert next(step for step in shown["steps"] if step["step"] == "Sign-in")["seconds"] == 1.5
    assert kept.shown(qualified("A.B.C"), "bob") is None


@pytest.mark.parametrize(
    ("told", "results"),
    [
        ("[settings] no key", [FAILED, SKIPPED, SKIPPED]),
        ("[login] no", [FAILED, SKIPPED, SKIPPED]),
        ("[network] silence", [SKIPPED, FAILED, SKIPPED]),
        ("[ingress] no", [OK, FAILED, SKIPPED]),
        ("[service] no", [OK, OK, FAILED]),
        ("[model] no", [OK, OK, FAILED]),
        ("budget exceeded", [SKIPPED, SKIPPED, FAILED]),
    ],
)
def test_a_failure_is_at_the_step_that_its_place_names(told: str, results: list[str]) -> None:
    dss = Dss()
    dss.error = RuntimeError(f"Custom LLM failed: {told}")
    found = _results(dss)
    assert [found[step][0] for step in ("Sign-in", "Gateway", "Query")] == results
    assert found["Streaming"][0] == found["Cost"][0] == SKIPPED


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (
            {**REQUEST, "attributes": {"host": "other.snowflakecomputing.app"}},
            "not an endpoint of this service",
        ),
        ({**REQUEST, "attributes": {}}, "does not say by which endpoint"),
        ({**REQUEST, "attributes": {"host": HOST, "error": "ServiceBusy"}}, "ServiceBusy"),
    ],
)
def test_what_is_odd_about_a_query_that_was_answered_is_a_warning(span: dict[str, Any], told: str) -> None:
    result, seen = _results(Dss(*WORDS, _footer(span)))["Gateway"]
    assert result == WARNING
    assert told in seen


def test_embeddings_and_rankings_are_asked_for_in_their_way() -> None:
    found = _results(Dss(embedding=[0.1] * 8, trace=_spans(REQUEST)), "embed")
    assert found["Query"][0] == OK
    assert "8 dimensions" in found["Query"][1]
    assert found["Streaming"][0] == SKIPPED
    assert (
        "2 documents"
        in _results(Dss(ok=True, documents=[{"index": 2}, {"index": 1}], trace=_spans(REQUEST)), "rerank")[
            "Query"
        ][1]
    )
    ranked = [{"index": 2, "relevanceScore": 0.9}, {"index": 0, "relevanceScore": 0.1}]
    assert _results(Dss(ok=True, documents=ranked, trace=_spans(REQUEST)), "rerank")["Query"][0] == OK
    doubted = _results(Dss(ok=True, documents=ranked[::-1], trace=_spans(REQUEST)), "rerank")["Query"]
    assert doubted[0] == WARNING
    assert "before the answer" in doubted[1]
    assert _results(Dss(errorMessage="[service] no"), "embed")["Query"][0] == FAILED
    assert _results(Dss(ok=False), "rerank")["Query"][0] == FAILED


@pytest.mark.parametrize("kind", ["chat", "embed", "rerank"])
def test_no_diagnosis_can_be_answered_from_the_cache_of_a_connection(kind: str) -> None:
    dss = Dss(*WORDS, _footer(REQUEST), ok=True, embedding=[0.1], documents=[{}, {}])
    for _ in range(3):
        _results(dss, kind)
    assert len(set(dss.texts)) == 3


def test_a_model_that_is_not_offered_is_not_asked() -> None:
    dss = Dss(*WORDS)
    found = _results(dss, model="custom:other:chat")
    assert found["Model"][0] == FAILED
    assert {result for step, (result, _) in found.items() if step != "Model"} == {SKIPPED}
    assert dss.texts == []


# -- diagnoses ---------------------------------------------------------------------------------------------


def test_no_more_than_six_diagnoses_run_and_one_for_all_is_not_repeated_at_once() -> None:
    clock, going = Clock(), threading.Event()
    dss = Dss(*WORDS, _footer(REQUEST))
    dss.gate = going
    kept = Diagnoses(clock)
    services = [qualified(f"A.B.S{n}") for n in range(7)]
    for service in services[:6]:
        query = MeshSteps(dss.mesh(), "ann", MODEL, [HOST], _as_it_is)
        kept.start(service, None, query.steps, 60)
    with pytest.raises(ServiceBusy):
        kept.start(services[6], None, list, 60)
    going.set()
    wait_for(lambda: all((kept.shown(service, None) or {})["done"] for service in services[:6]))
    kept.start(services[0], None, lambda: pytest.fail("asked again"), 60)
    clock.now += 15
    kept.start(services[0], None, list, 60)
    wait_for(lambda: (kept.shown(services[0], None) or {})["planned"] == [])
