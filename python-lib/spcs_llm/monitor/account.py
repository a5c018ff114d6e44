"""What is known of the account's services at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from spcs_llm.control.discovery import FoundService
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.rates import PoolRate
from spcs_llm.control.services import ModelVersion, Pool
from spcs_llm.control.session import Identity


@dataclass(frozen=True)
class Event:
    """Something that happened to a service.

    Attributes:
        at: When, with its zone; None if the row does not say.
        severity: Such as INFO.
        name: Such as SERVICE.STATUS_CHANGE.
        message: What Snowflake says of it.
        status: The state after it.
        container: The container; empty for the service.
    """

    at: datetime | None
    severity: str
    name: str
    message: str
    status: str
    container: str = ""


@dataclass(frozen=True)
class Series:
    """Values of a metric, the oldest first.

    Attributes:
        name: Such as container.cpu.usage.
        unit: Such as cpu; empty if Snowflake does not say.
        container: The container.
        points: Moments and values.
    """

    name: str
    unit: str
    container: str
    points: tuple[tuple[datetime, float], ...]


@dataclass(frozen=True)
class Closer:
    """What is only asked for while somebody has a service's page open. None: not asked for yet.

    Attributes:
        logs: The last lines of each container, safe to show.
        events: What happened, the newest first.
        series: What it used.
        notes: What cannot be had, and why, by its name: logs, events or metrics.
    """

    logs: Mapping[str, tuple[str, ...]] | None = None
    events: tuple[Event, ...] | None = None
    series: tuple[Series, ...] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """What is known of the account's services.

    Attributes:
        identity: Whose rights were used.
        services: The services, by the order of their names. Containers are None until they have been asked for.
        pools: The compute pools that the role may see, by name.
        rates: What each of them costs now, by name.
        models: The model version behind a service.
        closer: What else is known of the services whose pages are open.
        notes: What is missing on the whole, and why.
    """

    identity: Identity
    services: Mapping[QualifiedName, FoundService]
    pools: Mapping[str, Pool] = field(default_factory=dict)
    rates: Mapping[str, PoolRate] = field(default_factory=dict)
    models: Mapping[QualifiedName, ModelVersion] = field(default_factory=dict)
    closer: Mapping[QualifiedName, Closer] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
