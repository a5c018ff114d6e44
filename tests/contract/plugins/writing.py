"""What the tests of the stand-in DSS share: small plugins, the complete one, a client that is closed."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dataikuapi
import requests

from sandbox.dss import Dss
from sandbox.dss.mesh import Model

COMPLETE = Path(__file__).parent / "complete"


def write_plugin(
    folder: Path,
    llm_py: str,
    *,
    plugin: Mapping[str, Any] | None = None,
    params: Sequence[Mapping[str, Any]] = (),
    parameter_sets: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    """A plugin with the one component `model`; `files` are further ones by path."""
    described = {"id": "small", "version": "0.1.0", "meta": {"label": "Small"}, **(plugin or {})}
    texts = {
        "plugin.json": json.dumps(described),
        "python-llms/model/llm.json": json.dumps({"meta": {"label": "Model"}, "params": list(params)}),
        "python-llms/model/llm.py": textwrap.dedent(llm_py),
        **{
            f"parameter-sets/{name}/parameter-set.json": json.dumps(
                {"meta": {"label": name}, "params": fields}
            )
            for name, fields in (parameter_sets or {}).items()
        },
        **(files or {}),
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@contextmanager
def client(url: str, api_key: str | None = None, **kwargs: Any) -> Iterator[dataikuapi.DSSClient]:
    """The real client, whose sockets are closed at the end; it leaves those of failed streams open."""
    dss_client = dataikuapi.DSSClient(url, api_key, **kwargs)
    replies: list[requests.Response] = []
    dss_client._session.hooks["response"].append(lambda reply, **_: replies.append(reply))
    try:
        yield dss_client
    finally:
        for reply in replies:
            reply.close()
        dss_client._session.close()


def model_of(dss: Dss, llm_id: str) -> Model:
    """The model with this id, which must be there."""
    model = dss.model(llm_id)
    assert model is not None, llm_id
    return model
