"""What an inference job is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sandbox.snowflake.catalog.objects import Function, Model, ModelVersion, Stage
from sandbox.snowflake.catalog.pools import ComputePool


@dataclass
class InferenceJob:
    """A job. rows: of the subquery, each by column name; stage and below: where results go."""

    key: tuple[str, str, str]
    pool: ComputePool
    model: Model
    version: ModelVersion
    function: Function
    stage: Stage
    below: str
    specification: dict[str, Any]
    replicas: int = 1
    rows: list[dict[str, Any]] = field(default_factory=list)
