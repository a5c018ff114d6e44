"""No prompt, answer, token or key in a log line, an error, a trace or a repr: canaries are searched everywhere."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.snowflake import USER
from tests.logs import everything_logged

PROMPT, ANSWER, KEY = "canaryprompt-7d1f", "canaryanswer-55aa", "canarykey-93cc"


PATHS = {"PREDICT": "/predict", "MODEL_SERVING": "/__call__", "OPENAI": "/v1/chat/completions"}
FAULTS: list[dict[str, Any]] = [
    {},
    {
        "kind": "respond",
        "status": 400,
        "json": {"error": f"Prediction failed: ValueError: cannot take {PROMPT}"},
    },
    {
        "kind": "respond",
        "status": 422,
        "json": {"detail": [{"loc": ["body"], "msg": "bad", "input": PROMPT}]},
    },
    {"kind": "respond", "status": 500, "body": f"Traceback\n  File x\nRuntimeError: {PROMPT}"},
    {"kind": "respond", "status": 200, "json": {"data": [[0, {"outputs": f"{ANSWER} {{ {PROMPT}"}]]}},
    {"kind": "respond", "status": 200, "body": f"<html>{PROMPT}</html>", "content_type": "text/html"},
    {"kind": "respond", "status": 418, "json": {"error": {"message": f"I saw {PROMPT}", "code": PROMPT}}},
    {"kind": "truncated_json"},
    {"kind": "reset", "times": None},
    {"kind": "gateway_error", "times": None},
    {"kind": "hidden_404", "times": None},
    {"kind": "garbage", "times": None},
]


@pytest.mark.sample(4)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("protocol", ["PREDICT", "MODEL_SERVING", "OPENAI"])
def test_no_canary_gets_out(
    protocol: str, fault: dict[str, Any], short_back_offs: Callable[[], None]
) -> None:
    with everything_logged() as log, Instance() as instance:
        short_back_offs()
        service = instance.snowflake.create_service("chat", "scripted", protocol)
        instance.add_model(
            "chat", "CHAT", service, serviceProtocol=protocol, serviceApiKey=KEY, queryTimeoutSeconds=5
        )
        if fault:
            details = {name: value for name, value in fault.items() if name != "kind"}
            instance.snowflake.faults.arm(fault["kind"], "chat", on=PATHS[protocol], **details)
        completion = instance.llm("custom:snowflake:chat").new_completion().with_message(PROMPT)
        completion.settings["stopSequences"] = [PROMPT[:4] + "-stop"]
        response = completion.execute()
        error = str(response._raw.get("errorMessage"))
        kernel_state = _reprs(instance)
        tokens = list(instance.snowflake.world.tokens)
    told = {"the log": _of_the_plugin(log.getvalue()), "the error": error, "the trace": str(response.trace),
            "a repr": kernel_state}  # fmt: skip
    assert tokens
    for where, text in told.items():
        for secret in (PROMPT, ANSWER, KEY, *tokens):
            assert secret not in text, f"{secret[:12]} in {where}"


def _of_the_plugin(log: str) -> str:
    """The sandbox may log what it likes; what is searched is all but that."""
    return "\n".join(line for line in log.splitlines() if "sandbox" not in line)


def _reprs(instance: Instance) -> str:
    """Of the plugin's instance, and of all that it holds."""
    dss = instance.dss
    model = dss.model("custom:snowflake:chat")
    assert model is not None
    seen: list[str] = []

    def look(thing: Any, depth: int) -> None:
        seen.append(repr(thing))
        for value in vars(thing).values() if depth and hasattr(thing, "__dict__") else ():
            if type(value).__module__.startswith("spcs_llm"):
                look(value, depth - 1)

    look(dss.mesh.kernel(model, USER).instance, 6)
    assert any("spcs_llm" in text for text in seen)
    return "\n".join(seen)


def test_an_unexpected_exception_leaves_nothing_of_itself_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Error reporters send along what an error came of."""
    from spcs_llm.connections import Connection
    from spcs_llm.errors import SpcsError
    from spcs_llm.model import Model

    def fails(self: Connection, context: Any) -> Any:
        raise KeyError(PROMPT)

    model = Model({"oauth": {"snowflake_oauth": KEY}, "llmEndpointUrl": "http://127.0.0.1:9", "queryTimeoutSeconds": 1,
                   "snowflakeAccountUrl": "http://127.0.0.1:9"})  # fmt: skip
    monkeypatch.setattr(Connection, "resolved", fails)
    with pytest.raises(SpcsError, match="failed unexpectedly") as raised:
        model.complete({"messages": [{"role": "user", "content": PROMPT}]}, {}, None)
    assert raised.value.__context__ is raised.value.__cause__ is None
    assert PROMPT not in repr(raised.value)


def test_an_exception_with_its_traceback_holds_no_canary() -> None:
    """What DSS's log shows of a failed query: the exception as `logging.exception` prints it."""
    from spcs_llm.model import Model

    model = Model({"oauth": {"snowflake_oauth": KEY}, "llmEndpointUrl": "http://127.0.0.1:9", "queryTimeoutSeconds": 1,
                   "snowflakeAccountUrl": "http://127.0.0.1:9"})  # fmt: skip
    with pytest.raises(Exception) as raised:
        model.complete({"messages": [{"role": "user", "content": PROMPT}]}, {}, None)
    text = "".join(traceback.format_exception(raised.type, raised.value, raised.tb))
    assert PROMPT not in text
    assert KEY not in text
