"""The gateway's settings: variables of the environment, as a service specification sets them under `env`.

Those that the form of a model in DSS has too are named for its fields ('Max parallelism' is MAX_PARALLELISM) and are
read by the same code; errors and hints name the fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from spcs_llm.errors import SettingsError
from spcs_llm.form_fields import ChoiceField, Field, FormValues, NumberField, TextField, WholeField
from spcs_llm.protocol_choices import OPENAI
from spcs_llm.settings import (
    FIELDS,
    CredentialSettings,
    EndpointSettings,
    NoSignIn,
    ProtocolSettings,
    Settings,
)
from spcs_llm.urls import BaseUrl, is_loopback

FieldT = TypeVar("FieldT", bound=Field[Any])

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_MEGABYTE = 1 << 20
_DAY = 86_400.0


def _variable(field: FieldT, **changed: Any) -> FieldT:
    """A field of the form as a variable: `maxParallelism` becomes MAX_PARALLELISM."""
    name = re.sub(r"(?=[A-Z])", "_", field.name).upper()
    return replace(field, name=name, label=name, **changed)


class VARIABLES:
    """The variables: what each means when it is not set, and its bounds."""

    engine = _variable(
        FIELDS.endpoint, fill_in="give the model server's address, such as http://127.0.0.1:8000"
    )
    model_name = _variable(FIELDS.model_name)
    service_api_key = _variable(FIELDS.service_api_key)
    max_parallelism = WholeField[int]("MAX_PARALLELISM", "MAX_PARALLELISM", 16, most=1024)
    max_batch_size = WholeField[int]("MAX_BATCH_SIZE", "MAX_BATCH_SIZE", 32, most=10_000)
    request_timeout = _variable(FIELDS.request_timeout, absent=300.0)
    query_timeout = _variable(FIELDS.query_timeout)
    cold_start_wait = _variable(FIELDS.cold_start_wait, absent=15.0)
    health_path = TextField("HEALTH_PATH", "HEALTH_PATH", "/health")
    host = TextField("HOST", "HOST", "0.0.0.0")  # noqa: S104 - a container is reached from outside of it
    port = WholeField[int]("PORT", "PORT", 9090, least=0, most=65_535)
    answer_within = NumberField(
        "ANSWER_WITHIN_SECONDS", "ANSWER_WITHIN_SECONDS", 20.0, least=0.1, most=29, unit=" seconds"
    )
    keep = NumberField("KEEP_SECONDS", "KEEP_SECONDS", 600.0, least=1, most=_DAY, unit=" seconds")
    max_queued_rows = WholeField[int]("MAX_QUEUED_ROWS", "MAX_QUEUED_ROWS", 20_000, most=10_000_000)
    max_body = WholeField[int]("MAX_BODY_MEGABYTES", "MAX_BODY_MEGABYTES", 32, most=1024)
    max_memory = WholeField[int]("MAX_HELD_MEGABYTES", "MAX_HELD_MEGABYTES", 256, most=65_536)
    log_level = ChoiceField("LOG_LEVEL", "LOG_LEVEL", "INFO", choices=lambda: _LEVELS)


@dataclass(frozen=True)
class Limits:
    """What the gateway holds at most.

    Attributes:
        answer_within: Seconds after which a request whose batch still runs is answered by 202.
        keep: Seconds for which a batch that nobody asks for is kept, and goes on running.
        max_queued_rows: Rows of all batches that wait or are asked; a batch is taken if there are no others.
        max_body: Bytes of a request.
        max_held: Bytes of all batches: their rows while they run, their answers afterwards.
    """

    answer_within: float
    keep: float
    max_queued_rows: int
    max_body: int
    max_held: int


@dataclass(frozen=True)
class GatewaySettings:
    """The gateway's settings.

    Attributes:
        model: How the model server is asked.
        rows_per_request: Texts in a request for embeddings.
        health_path: The path by which the model server says that it is ready.
        host: The address to listen at.
        port: The port to listen at; 0 takes a free one.
        limits: What is held at most.
        log_level: The least level that is logged.
    """

    model: Settings
    rows_per_request: int
    health_path: str
    host: str
    port: int
    limits: Limits
    log_level: str

    @property
    def parallelism(self) -> int:
        """Requests in flight to the model server."""
        return self.model.max_parallelism or 1


def read_settings(environment: Mapping[str, str]) -> GatewaySettings:
    """Reads the settings.

    Args:
        environment: The process's variables.

    Returns:
        The settings.

    Raises:
        SettingsError: If any of them is wrong. It holds every complaint.
    """
    form = FormValues(environment)
    url = VARIABLES.engine.read(form)
    if url is not None and not is_loopback(url.host):
        form.complain(
            VARIABLES.engine, "must be an address of this machine: the gateway runs beside the model server"
        )
    health_path = VARIABLES.health_path.read(form) or ""
    if not health_path.startswith("/"):
        form.complain(VARIABLES.health_path, "must begin with a slash")
    limits = _limits(form)
    settings = GatewaySettings(
        _model(form, url or BaseUrl("http", "127.0.0.1")),
        VARIABLES.max_batch_size.read(form),
        health_path,
        VARIABLES.host.read(form) or "",
        VARIABLES.port.read(form),
        limits,
        VARIABLES.log_level.read(form),
    )
    if form.complaints:
        raise SettingsError(" ".join(form.complaints))
    return settings


def _model(form: FormValues, url: BaseUrl) -> Settings:
    return Settings(
        CredentialSettings(NoSignIn(), None),
        EndpointSettings(
            url,
            VARIABLES.service_api_key.read(form),
            VARIABLES.request_timeout.read(form),
            VARIABLES.cold_start_wait.read(form),
        ),
        ProtocolSettings(OPENAI, model_name=VARIABLES.model_name.read(form)),
        VARIABLES.max_parallelism.read(form),
        VARIABLES.max_batch_size.read(form),
        VARIABLES.query_timeout.read(form),
    )


def _limits(form: FormValues) -> Limits:
    limits = Limits(
        VARIABLES.answer_within.read(form),
        VARIABLES.keep.read(form),
        VARIABLES.max_queued_rows.read(form),
        VARIABLES.max_body.read(form) * _MEGABYTE,
        VARIABLES.max_memory.read(form) * _MEGABYTE,
    )
    if limits.max_held < limits.max_body:
        form.complain(VARIABLES.max_memory, f"must be at least as large as '{VARIABLES.max_body.label}'")
    return limits
