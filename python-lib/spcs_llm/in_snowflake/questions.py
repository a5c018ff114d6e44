"""From the rows of the input to questions: a key, a hash, a prompt, and the columns to keep. All of it in SQL.

A job asks what is in the table of questions, and writes its outputs from it: what happens to the input meanwhile
changes nothing. Answers are found again by the row's key and by a digest of everything that the answer depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.form_fields import Field, FormValues
from spcs_llm.in_snowflake.form import JobSettings, RecipeFields, raise_for
from spcs_llm.in_snowflake.input_columns import InputColumn, key_text
from spcs_llm.in_snowflake.settings_table import part_column
from spcs_llm.in_snowflake.template import ColumnPiece, UnknownColumn, resolved
from spcs_llm.in_snowflake.work_tables import WorkTables

_SHOWN = 20
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Questions:
    """What the table of questions is made of.

    Attributes:
        input: The input table.
        keys: The key columns.
        kept: The columns to keep, in the order of the output.
        prompt: The expression for the prompt, over a row of the input (I) and the settings (P).
        row_limit: How many rows to take; None for all.
    """

    input: QualifiedName
    keys: tuple[InputColumn, ...]
    kept: tuple[InputColumn, ...]
    prompt: str
    row_limit: int | None

    def check(self) -> str:
        """The query for how many rows there are, how many keys, and how many rows without a key."""
        null = " OR ".join(f"{column.sql('I')} IS NULL" for column in self.keys)
        return (
            f'SELECT COUNT(*) AS "rows", COUNT(DISTINCT {self._key}) AS "keys", COUNT_IF({null}) AS "nulls" '
            f"FROM {self.input.sql} AS I"
        )

    def create(self, tables: WorkTables, job_key: str) -> str:
        """The statement that makes the table.

        Args:
            tables: The job's tables.
            job_key: A digest of the settings, in hexadecimal digits.

        Returns:
            The statement. Rows are stored by their hash, so that a slice reads only its own part of the table.
        """
        kept = "".join(f", {column.sql('I')} AS K_{i}" for i, column in enumerate(self.kept))
        names = "".join(f", K_{i}" for i in range(len(self.kept)))
        hashed = "MD5_NUMBER_LOWER64(ROW_KEY)"
        limit = (
            f" QUALIFY ROW_NUMBER() OVER (ORDER BY {hashed}, ROW_KEY) <= {self.row_limit}"
            if self.row_limit
            else ""
        )
        return (
            f"CREATE OR REPLACE TRANSIENT TABLE {tables.questions} AS SELECT ROW_KEY, {hashed} AS HASH, PROMPT, "
            f"SHA2('{job_key}' || COALESCE(PROMPT, ''), 256) AS PROMPT_KEY{names} "
            f"FROM (SELECT {self._key} AS ROW_KEY, {self.prompt} AS PROMPT{kept} "
            f"FROM {self.input.sql} AS I CROSS JOIN {tables.settings} AS P){limit} ORDER BY HASH"
        )

    @property
    def _key(self) -> str:
        return f"SHA2({key_text(self.keys, 'I')}, 256)"


def plan_questions(settings: JobSettings, table: QualifiedName, columns: Sequence[InputColumn]) -> Questions:
    """Fits the settings to the columns of the input.

    Args:
        settings: The settings.
        table: The input table.
        columns: Its columns.

    Returns:
        How to make questions of its rows.

    Raises:
        SettingsError: With a sentence for each setting that does not fit.
    """
    fitting = _Fitting(columns)
    keys = fitting.columns(RecipeFields.keys, settings.keys)
    kept = (
        fitting.columns(RecipeFields.kept, settings.kept, as_text=False) if settings.kept else tuple(columns)
    )
    prompt = _prompt(settings, fitting)
    fitting.check_names((*keys, *kept))
    fitting.check_output(settings, kept)
    raise_for(fitting.form.complaints)
    return Questions(table, keys, kept, prompt, settings.row_limit)


def _prompt(settings: JobSettings, fitting: _Fitting) -> str:
    if settings.template is None:
        (column,) = fitting.columns(RecipeFields.text_column, (settings.text_column or "",)) or (None,)
        return "" if column is None else column.text("I")
    if settings.template.unread:
        fitting.form.complain(
            RecipeFields.template,
            "has {{ without the name of a column and }} after it, which would be sent to the model as it is: write "
            "{{column}}, or \\{{ for {{ itself",
        )
    pieces, texts = [], 0
    for piece in settings.template.pieces:
        if isinstance(piece, str):
            pieces.append(f"P.{part_column(texts)}")
            texts += 1
        else:
            pieces += [column.text("I") for column in fitting.columns(RecipeFields.template, (piece.name,))]
    return " || ".join(pieces)


class _Fitting:
    """Looks for columns, and collects complaints."""

    def __init__(self, columns: Sequence[InputColumn]) -> None:
        self.form = FormValues({})
        self._columns = {column.name: column for column in columns}

    def columns(
        self, field: Field[Any], names: Sequence[str], *, as_text: bool = True
    ) -> tuple[InputColumn, ...]:
        found = []
        for name in names:
            try:
                column = self._columns[resolved(name, list(self._columns))]
            except UnknownColumn:
                listed = ", ".join(list(self._columns)[:_SHOWN])
                self.form.complain(field, f"names the column {name}, and the input has only {listed}")
                continue
            if as_text and not column.has_text:
                self.form.complain(
                    field, f"names the column {name} of type {column.type}, which cannot be written as text"
                )
            if "${" in column.name:
                self._complain_of_variable(field, column.name)
            found.append(column)
        return tuple(dict.fromkeys(found))  # one may have been named twice, in different case

    def check_names(self, columns: Sequence[InputColumn]) -> None:
        """DSS may put the value of a variable where it finds `${…}` in SQL."""
        for column in dict.fromkeys(columns):
            known = any(column.name in complaint for complaint in self.form.complaints)
            if "${" in column.name and not known:
                self._complain_of_variable(RecipeFields.kept, column.name)

    def check_output(self, settings: JobSettings, kept: Sequence[InputColumn]) -> None:
        """No two columns of the output may have one name."""
        taken = {column.name for column in kept}
        for name in [field.name for field in settings.fields] or [settings.output]:
            field: Field[Any] = RecipeFields.schema if settings.fields else RecipeFields.output
            if name in taken:
                self.form.complain(
                    field,
                    f"makes a column {name}, which is also a column to keep: rename one, or change 'Columns to keep'",
                )
            if "${" in name:
                self._complain_of_variable(field, name)
            self._check_length(field, name)
            taken.add(name)
        self._check_length(RecipeFields.output, settings.error)
        if settings.error in taken:
            self.form.complain(
                RecipeFields.output,
                f"makes a column {settings.error} for the reasons of failed rows, and there is another column of this "
                "name: enter another name, or change 'Columns to keep' or 'JSON schema'",
            )

    def _check_length(self, field: Field[Any], name: str) -> None:
        """Snowflake documentation, "Object identifiers"."""
        if not name or len(name) > _LONGEST_NAME:
            self.form.complain(
                field,
                f"makes a column whose name has {len(name)} characters, and Snowflake takes names of 1 to "
                f"{_LONGEST_NAME} characters: enter another name",
            )

    def _complain_of_variable(self, field: Field[Any], name: str) -> None:
        self.form.complain(
            field, f"names the column {name}, in which DSS would replace a variable: rename the column"
        )


def question_key(settings: JobSettings, described: str) -> str:
    """A digest of what the questions of a job depend on, besides the rows: prompts, settings, and the model.

    Args:
        settings: The settings.
        described: The model and how it is called, as the engine describes them.

    Returns:
        Hexadecimal digits.
    """
    pieces = settings.template.pieces if settings.template else (ColumnPiece(settings.text_column or ""),)
    prompt = [piece if isinstance(piece, str) else [piece.name] for piece in pieces]
    told = [job_key(settings, described), prompt, list(settings.keys)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def job_key(settings: JobSettings, described: str) -> str:
    """A digest of what the answers depend on, besides the prompts.

    Args:
        settings: The settings.
        described: The model and how it is called, as the engine describes them.

    Returns:
        Hexadecimal digits.
    """
    examples = [[example.input, example.output] for example in settings.examples]
    told = [settings.task, described, settings.system, examples, settings.schema, list(settings.stops)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
