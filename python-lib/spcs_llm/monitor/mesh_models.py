"""The custom models that LLM Mesh offers to a viewer, and which of them a service is likely to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spcs_llm.control.diagnosis.query_steps import CHAT, EMBED, RERANK
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.server_text.foreign_text import plain

_CUSTOM = "custom:"  # what the ids of models of Custom LLM connections begin with
_PURPOSES = {"GENERIC_COMPLETION": CHAT, "TEXT_EMBEDDING_EXTRACTION": EMBED, "RERANKING": RERANK}


@dataclass(frozen=True)
class MeshModel:
    """A model of a Custom LLM connection.

    Attributes:
        id: Its id in LLM Mesh.
        name: Its name there.
        kind: What it is for: `chat`, `embed` or `rerank`.
    """

    id: str
    name: str
    kind: str

    def as_data(self) -> dict[str, str]:
        return {"id": self.id, "name": self.name, "kind": self.kind}


def custom_id(id: object) -> str | None:
    """The id, if it is that of a model of a Custom LLM connection."""
    return id if isinstance(id, str) and id.startswith(_CUSTOM) else None


def models_of(project: Any) -> list[MeshModel]:
    """The custom models that may be used in a project, by name.

    Args:
        project: A `dataikuapi` project, whose client has the viewer's rights.

    Returns:
        The models. A purpose that this version of DSS does not know has none.
    """
    found: dict[str, MeshModel] = {}
    for purpose, kind in _PURPOSES.items():
        try:
            listed = [dict(entry) for entry in project.list_llms(purpose=purpose)]
        except Exception:
            if kind == CHAT:
                raise
            continue
        for entry in listed:
            id, name = str(entry.get("id", "")), str(entry.get("friendlyName") or entry.get("id"))
            if custom_id(id) is not None:
                found.setdefault(id, MeshModel(id, plain(name, 200), kind))
    return sorted(found.values(), key=lambda model: (model.name.casefold(), model.id))


def likely(models: list[MeshModel], service: QualifiedName, registered: QualifiedName | None) -> str | None:
    """The one model that is named as a service, or as the model that it serves.

    Args:
        models: The models.
        service: The service.
        registered: Its model in the Model Registry, if it serves one.

    Returns:
        Its id; None if there is none, or more than one.
    """
    words = {_letters(name.name) for name in (service, registered) if name is not None} - {""}
    fit = [model.id for model in models if any(word in _letters(model.name) for word in words)]
    return fit[0] if len(fit) == 1 else None


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
