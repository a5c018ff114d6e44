"""The form of the recipe, as DSS leaves it: each field is written down once, and all problems are reported at once.

What needs the input's columns is checked in `questions`, with the same labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from spcs_llm.control.identifiers import NotAName, QualifiedName, parts, qualified, typed
from spcs_llm.control.macro_form import NameField, OptionalNumberField
from spcs_llm.errors import SettingsError
from spcs_llm.form_fields import (
    ChoiceField,
    Field,
    FlagField,
    FormValues,
    TextField,
    Unfit,
    WholeField,
    texts_in,
)
from spcs_llm.in_snowflake.answer_fields import AnswerField, UnfitSchema, read_fields, read_schema
from spcs_llm.in_snowflake.template import Template, read_template
from spcs_llm.settings import FIELDS

CHAT, EMBEDDING = "CHAT", "EMBEDDING"
AUTO, SERVICE, JOB = "AUTO", "SERVICE", "JOB"
ARRAY, VECTOR = "ARRAY", "VECTOR"
DEFAULT_TOKENS = 1024


@dataclass(frozen=True)
class Example:
    """A question and its answer, which stand before each prompt."""

    input: str = field(repr=False)
    output: str = field(repr=False)


@dataclass(frozen=True)
class ColumnsField(Field["tuple[str, ...]"]):
    """Names of columns: a list, or a text with one on each line."""

    kinds: ClassVar[tuple[str, ...]] = ("COLUMNS",)

    def _parsed(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [line.strip() for line in value.splitlines()]
        names = texts_in(value)
        if names is None:
            raise Unfit("must be names of columns")
        return tuple(dict.fromkeys(name for name in names if name.strip()))


@dataclass(frozen=True)
class StopsField(Field["tuple[str, ...]"]):
    """Stop sequences: a list, or a text with one on each line."""

    kinds: ClassVar[tuple[str, ...]] = ("STRINGS",)

    def _parsed(self, value: Any) -> tuple[str, ...]:
        stops = texts_in(value.splitlines() if isinstance(value, str) else value)
        if stops is None:
            raise Unfit("must be texts")
        return tuple(stops)


@dataclass(frozen=True)
class ExamplesField(Field["tuple[Example, ...]"]):
    """Examples: a list of objects with `input` and `output`, or the same as JSON."""

    kinds: ClassVar[tuple[str, ...]] = ("OBJECT_LIST",)

    def _parsed(self, value: Any) -> tuple[Example, ...]:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise Unfit("must be a list of objects with 'input' and 'output'") from None
        if not isinstance(value, list):
            raise Unfit("must be a list of objects with 'input' and 'output'")
        return tuple(_example(one) for one in value if not _is_blank(one))


def _is_blank(example: Any) -> bool:
    """Whether it was added to the list, and nothing was filled in."""
    return not (any(example.values()) if isinstance(example, Mapping) else example)


def _example(value: Any) -> Example:
    texts = [value.get(name) for name in ("input", "output")] if isinstance(value, Mapping) else []
    if len(texts) != 2 or not all(isinstance(text, str) and text for text in texts):
        raise Unfit("has an example that lacks its 'input' or its 'output'")
    return Example(str(texts[0]), str(texts[1]))


@dataclass(frozen=True)
class SchemaField(Field["tuple[str, tuple[AnswerField, ...]] | None"]):
    """A JSON schema whose fields become columns: the schema as JSON, and the fields."""

    kinds: ClassVar[tuple[str, ...]] = ("TEXTAREA",)

    def _parsed(self, value: Any) -> tuple[str, tuple[AnswerField, ...]]:
        text = json.dumps(value) if isinstance(value, Mapping) else value
        if not isinstance(text, str):
            raise Unfit("must be text")
        try:
            return json.dumps(read_schema(text)), read_fields(text)
        except UnfitSchema as problem:
            raise Unfit(str(problem)) from None


class RecipeFields:
    """The fields of the form."""

    task = ChoiceField("task", "Task", CHAT, choices=lambda: (CHAT, EMBEDDING))
    engine = ChoiceField("engine", "Engine", AUTO, choices=lambda: (AUTO, SERVICE, JOB))
    service = TextField("service", "Service", None)
    listed_service = TextField("listedService", "Services found", None)
    method = TextField("method", "Method or function", None)
    model = TextField("model", "Model", None)
    listed_model = TextField("listedModel", "Models found", None)
    version = NameField("modelVersion", "Model version", None)
    pool = NameField("computePool", "Compute pool", None)
    listed_pool = TextField("listedPool", "Compute pools found", None)
    template = TextField("promptTemplate", "Prompt", None, strip=False)
    system = TextField("systemPrompt", "System prompt", None, strip=False)
    examples = ExamplesField("examples", "Examples", ())
    text_column = TextField("textColumn", "Text column", None, strip=False)
    keys = ColumnsField("keyColumns", "Key columns", ())
    kept = ColumnsField("keptColumns", "Columns to keep", ())
    output = TextField("outputColumn", "Output column", None)
    schema = SchemaField("jsonSchema", "JSON schema", None)
    vector_type = ChoiceField("vectorType", "Type of vectors", ARRAY, choices=lambda: (ARRAY, VECTOR))
    temperature = OptionalNumberField("temperature", "Temperature", None, most=2.0)
    max_tokens = WholeField[int]("maxOutputTokens", "Maximum output tokens", DEFAULT_TOKENS, most=1_000_000)
    stops = StopsField("stopSequences", "Stop sequences", ())
    row_limit = WholeField["int | None"]("rowLimit", "Row limit", None, least=0, most=2_000_000_000)
    cost_limit = OptionalNumberField("costLimit", "Cost limit", None, most=100_000_000)
    credit_price = OptionalNumberField("creditPrice", "Cost of a credit", None, most=10_000)
    warehouse = NameField("warehouse", "Warehouse", None)
    retry_failures = FlagField("retryFailures", "Try failed rows again", False)


# What a task or an engine does not read, and the form hides for it.
_NEEDLESS: Mapping[str, tuple[Field[Any], ...]] = {
    CHAT: (RecipeFields.text_column, RecipeFields.vector_type),
    EMBEDDING: (
        RecipeFields.template,
        RecipeFields.system,
        RecipeFields.examples,
        RecipeFields.schema,
        RecipeFields.temperature,
        RecipeFields.max_tokens,
        RecipeFields.stops,
    ),
    AUTO: (),
    SERVICE: (
        RecipeFields.model,
        RecipeFields.listed_model,
        RecipeFields.version,
        RecipeFields.pool,
        RecipeFields.listed_pool,
    ),
    JOB: (RecipeFields.service, RecipeFields.listed_service),
}


@dataclass(frozen=True)
class JobSettings:
    """What a job is to do.

    Attributes:
        task: CHAT or EMBEDDING.
        service: The service that answers; None if a job is to.
        model: The model of the registry that a job runs; None if a service is to answer.
        version: The version of the model, or its alias, as SHOW prints it; None for the default version.
        pool: The compute pool that a job runs on, as SHOW prints it; None if a service is to answer.
        method: The method of the service or model, as SHOW prints it; None for the task's usual one.
        function: A function of CREATE FUNCTION … SERVICE instead of a method; None for none.
        template: The prompt; None for embeddings.
        system: The system prompt.
        examples: Questions and answers before each prompt.
        text_column: The column to embed; None for chats.
        keys: The columns that identify a row.
        kept: The columns of the input that the output has; empty for all.
        output: The column for the answer or the vector.
        schema: A JSON schema, as JSON; None for text.
        fields: The schema's fields; empty for text.
        vector_type: ARRAY or VECTOR.
        temperature: None for the model's own.
        max_tokens: The most tokens of an answer.
        stops: Texts that end an answer.
        row_limit: How many rows to run; None for all.
        cost_limit: The most that the job may cost, in USD; None for any.
        credit_price: USD for a credit.
        warehouse: The warehouse, as SHOW prints it; None for the connection's.
        retry_failures: Whether rows that failed before are tried again.
        engine: AUTO, SERVICE or JOB. SERVICE has a service; JOB has a model and a pool; AUTO has one of both, or both.
    """

    task: str
    service: QualifiedName | None
    model: QualifiedName | None
    version: str | None
    pool: str | None
    method: str | None
    function: QualifiedName | None
    template: Template | None
    system: str | None = field(repr=False)
    examples: tuple[Example, ...]
    text_column: str | None
    keys: tuple[str, ...]
    kept: tuple[str, ...]
    output: str
    schema: str | None = field(repr=False)
    fields: tuple[AnswerField, ...] = field(repr=False)
    vector_type: str
    temperature: float | None
    max_tokens: int
    stops: tuple[str, ...] = field(repr=False)
    row_limit: int | None
    cost_limit: float | None
    credit_price: float
    warehouse: str | None
    retry_failures: bool
    engine: str

    @property
    def is_chat(self) -> bool:
        """Whether the model is to chat, and not to embed."""
        return self.task == CHAT

    @property
    def error(self) -> str:
        """The column for why a row failed."""
        return f"{self.output}_error"


def read_settings(config: Any) -> JobSettings:
    """Reads the form.

    Args:
        config: The form's values. Null, empty and wrong-typed ones are normal.

    Returns:
        The settings.

    Raises:
        SettingsError: With a sentence for each value that is wrong.
    """
    form = FormValues(config)
    fields = RecipeFields
    task = fields.task.read(form)
    engine = fields.engine.read(form)
    form.leave_out(*_NEEDLESS[task], *_NEEDLESS[engine])
    service, model, pool = _who_answers(form, engine)
    method, function = _method(form)
    if engine == JOB and function is not None:
        form.complain(fields.method, "is a function of a service, and engine JOB runs a method of a model")
    template, text_column = _content(form, task)
    schema = fields.schema.read(form)
    keys = fields.keys.read(form)
    if not keys and not form.complaints_about(fields.keys):
        form.complain(
            fields.keys,
            "is empty: select the columns that identify a row, so that a job that was stopped can continue",
        )
    price = fields.credit_price.read(form)
    values: dict[str, Any] = {
        "task": task,
        "service": service,
        "model": model,
        "version": fields.version.read(form),
        "pool": pool,
        "method": method,
        "function": function,
        "template": template,
        "system": fields.system.read(form),
        "examples": fields.examples.read(form),
        "text_column": text_column,
        "keys": keys,
        "kept": fields.kept.read(form),
        "output": fields.output.read(form) or ("answer" if task == CHAT else "embedding"),
        "schema": schema[0] if schema else None,
        "fields": schema[1] if schema else (),
        "vector_type": fields.vector_type.read(form),
        "temperature": fields.temperature.read(form),
        "max_tokens": fields.max_tokens.read(form),
        "stops": fields.stops.read(form),
        "row_limit": fields.row_limit.read(form) or None,
        "cost_limit": fields.cost_limit.read(form) or None,
        "credit_price": FIELDS.credit_price.absent if price is None else price,
        "warehouse": fields.warehouse.read(form),
        "retry_failures": fields.retry_failures.read(form),
        "engine": engine,
    }
    raise_for(form.complaints)
    return JobSettings(**values)


def raise_for(complaints: list[str]) -> None:
    """Raises all complaints at once.

    Args:
        complaints: Sentences.

    Raises:
        SettingsError: If there are any.
    """
    if complaints:
        raise SettingsError(" ".join(complaints), "Correct the settings of the recipe.")


def _who_answers(
    form: FormValues, engine: str
) -> tuple[QualifiedName | None, QualifiedName | None, str | None]:
    """The service, the model and the compute pool, as far as the engine needs them."""
    fields = RecipeFields
    service = _full_name(form, fields.service, fields.listed_service)
    model = _full_name(form, fields.model, fields.listed_model)
    pool = fields.pool.read(form) or _listed_pool(form)
    complaints = form.complaints_about
    lacks_service = service is None and not complaints(fields.service, fields.listed_service)
    lacks_model = model is None and not complaints(fields.model, fields.listed_model)
    lacks_pool = pool is None and not complaints(fields.pool, fields.listed_pool)
    if engine == JOB or (engine == AUTO and lacks_service and not (lacks_model and lacks_pool)):
        if lacks_model:
            form.complain(
                fields.model,
                "is empty: enter the full name of a model of the registry, DATABASE.SCHEMA.MODEL, or select one of "
                "'Models found'",
            )
        if lacks_pool:
            form.complain(
                fields.pool,
                "is empty: enter the compute pool that the job is to run on, or select one of 'Compute pools found'",
            )
    elif lacks_service:
        or_model = ". With engine JOB, enter a model and a compute pool instead" if engine == AUTO else ""
        form.complain(
            fields.service,
            "is empty: enter the full name of a service, DATABASE.SCHEMA.SERVICE, or select one of 'Services found'"
            f"{or_model}",
        )
    return service, model, pool


def _full_name(form: FormValues, field: Field[Any], listed: Field[Any]) -> QualifiedName | None:
    text = field.read(form) or listed.read(form)
    if text is None:
        return None
    try:
        return qualified(text)
    except NotAName as problem:
        form.complain(field, str(problem))
        return None


def _listed_pool(form: FormValues) -> str | None:
    text = RecipeFields.listed_pool.read(form)
    try:
        return None if text is None else typed(text)
    except NotAName as problem:
        form.complain(RecipeFields.pool, str(problem))
        return None


def _method(form: FormValues) -> tuple[str | None, QualifiedName | None]:
    method = RecipeFields.method
    text = method.read(form)
    if text is None:
        return None, None
    try:
        if len(parts(text)) == 3:
            return None, qualified(text)
        return typed(text), None
    except NotAName as problem:
        form.complain(method, f"{problem}. A function has three parts: DATABASE.SCHEMA.FUNCTION")
        return None, None


def _content(form: FormValues, task: str) -> tuple[Template | None, str | None]:
    if task == EMBEDDING:
        column = RecipeFields.text_column.read(form)
        if column is None and not form.complaints_about(RecipeFields.text_column):
            form.complain(RecipeFields.text_column, "is empty: select the column to embed")
        return None, column
    text = RecipeFields.template.read(form)
    if text is None:
        if not form.complaints_about(RecipeFields.template):
            form.complain(
                RecipeFields.template, "is empty: write a prompt, with {{column}} where a column is to be put"
            )
        return None, None
    template = read_template(text)
    if not template.columns:
        form.complain(
            RecipeFields.template,
            "does not contain a column, so that each row would get the same prompt: write {{column}} where one is to "
            "be put",
        )
    return template, None
