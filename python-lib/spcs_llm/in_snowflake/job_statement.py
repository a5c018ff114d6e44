"""EXECUTE INFERENCE JOB SERVICE: the statement that starts a job, and the specification in it.

Clauses, their order and the specification: Snowflake documentation, "EXECUTE INFERENCE JOB SERVICE". No binding is
taken in it. Stop sequences and a JSON schema are users' texts, and have to be in the specification: there, every
character but letters, digits and a few others is written as its number, so that no `$$` ends the specification, and DSS
finds no `${…}` to replace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spcs_llm.control.identifiers import QualifiedName, literal, quoted
from spcs_llm.in_snowflake.form import JobSettings
from spcs_llm.in_snowflake.registry_model import RegistryModel
from spcs_llm.in_snowflake.settings_table import response_format
from spcs_llm.in_snowflake.signature import Call, Form, Sampling
from spcs_llm.in_snowflake.work_tables import WorkTables, unanswered
from spcs_llm.whole_characters import whole_characters

MAX_CHARACTERS = 900_000  # of a statement, which Snowflake limits to 1 MB
_OTHERS = re.compile(r"[^A-Za-z0-9_ ./@]")


@dataclass(frozen=True)
class JobStart:
    """What a job is started with.

    Attributes:
        name: The job. Its parts need no double quotes, which Snowflake does not take here.
        pool: The compute pool.
        model: The function of the model.
        gpus: How many GPUs a replica has; 0 runs it on CPUs.
        replicas: How many replicas there are.
        parts: Whether the content of a message is a list of parts.
    """

    name: QualifiedName
    pool: str
    model: RegistryModel
    gpus: int
    replicas: int
    parts: bool = True

    def sql(self, settings: JobSettings, tables: WorkTables, run_id: str) -> str:
        """The statement.

        Args:
            settings: The settings.
            tables: The job's tables.
            run_id: The run whose turn it is.

        Returns:
            The statement. The blanks beside `$$` are there because DSS would find `${` without them.
        """
        function = "" if self.model.is_only else f" FUNCTION = {literal(self.model.target_method)}"
        return (
            f"EXECUTE INFERENCE JOB SERVICE IN COMPUTE POOL {quoted(self.pool)} "
            f"WITH SPECIFICATION $$ {self.specification(settings, tables)} $$ "
            f"FROM ({self._input(settings, tables, run_id)}) "
            f"MODEL = {self.model.name.sql} VERSION = {quoted(self.model.version)}{function} "
            f"NAME = {self.name.sql} ASYNC = TRUE REPLICAS = {self.replicas}"
        )

    def specification(self, settings: JobSettings, tables: WorkTables) -> str:
        """The specification, as YAML on one line."""
        found: dict[str, Any] = {"output": {"stage_location": f"@{tables.stage}/", "mode": "error"}}
        if self.gpus:
            found["resources"] = {"gpu_requests": str(self.gpus)}
        if self.model.form is Form.PARAMS:
            found["input"] = {"params": _params(settings)}
        return written(found)

    def _input(self, settings: JobSettings, tables: WorkTables, run_id: str) -> str:
        """The query for the unanswered questions. What the job does not know is in its results as it is here."""
        columns = {"ROW_KEY": "Q.ROW_KEY", "PROMPT_KEY": "Q.PROMPT_KEY", **self._columns(settings)}
        listed = ", ".join(f"{expression} AS {quoted(name)}" for name, expression in columns.items())
        return (
            f"SELECT {listed} FROM {tables.questions} AS Q CROSS JOIN {tables.settings} AS P "
            f"WHERE P.RUN_ID = '{run_id}' AND {unanswered(tables)}"
        )

    def _columns(self, settings: JobSettings) -> Mapping[str, str]:
        """The columns of the model. Arrays and objects are JSON text, as Snowflake unloads them to Parquet."""
        form, names = self.model.form, self.model.function.argument_names
        sampling = Sampling(settings.temperature, settings.max_tokens) if settings.is_chat else None
        call = Call("", form, sampling, self.parts)
        if form is Form.TEXT:
            return {names[0]: call.text}
        messages = f"TO_JSON({call.messages})"
        if form is Form.PARAMS:
            return {names[0] if names else "MESSAGES": messages}
        temperature = "1.0" if settings.temperature is None else repr(settings.temperature)
        values = [
            messages, f"{temperature}::FLOAT", str(settings.max_tokens),
            "P.STOP" if settings.stops else "NULL::VARCHAR", "1", "FALSE", "1.0::FLOAT", "0.0::FLOAT", "0.0::FLOAT",
            "NULL::VARCHAR" if settings.schema is None else "P.RESPONSE_FORMAT",
        ]  # fmt: skip
        return dict(zip(names, values))


def _params(settings: JobSettings) -> dict[str, Any]:
    """The settings by name. The number of tokens is always among them: the registry's default of 250 cuts answers."""
    found: dict[str, Any] = {"max_completion_tokens": settings.max_tokens}
    if settings.temperature is not None:
        found["temperature"] = settings.temperature
    if settings.stops:
        found["stop"] = list(settings.stops)
    if settings.schema is not None:
        found["response_format"] = json.loads(response_format(settings))
    return found


def written(value: Any) -> str:
    """A value as YAML that contains no text but as letters, digits and numbers of characters.

    Args:
        value: What JSON can write.

    Returns:
        YAML on one line.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(key)}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        return '"' + _OTHERS.sub(_numbered, whole_characters(value)) + '"'
    return json.dumps(value)


def _numbered(character: re.Match[str]) -> str:
    number = ord(character[0])
    return f"\\u{number:04X}" if number < 0x10000 else f"\\U{number:08X}"
