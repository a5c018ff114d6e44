"""The inference jobs of a recipe: their names, their states and their results, by SQL.

A job's name is derived from the output, the settings and a number: another run finds it again, and if two runs start
the same job, Snowflake refuses the second one, which then follows the first. Results are Parquet files on a stage
beside the output, one folder for each job.

States: Snowflake documentation, "DESCRIBE SERVICE"; results: "EXECUTE INFERENCE JOB SERVICE", and the integration tests
of snowflake-ml-python 2.6.0, which read columns by names in small letters, and nested ones as values or as JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spcs_llm.control import cells, statements
from spcs_llm.control.identifiers import QualifiedName, literal
from spcs_llm.control.services import GIVEN_UP, Container, Service, read_containers, read_services
from spcs_llm.errors import SpcsError, SqlError
from spcs_llm.in_snowflake.insertion import answers_of
from spcs_llm.in_snowflake.refused_slices import told
from spcs_llm.in_snowflake.work import Work
from spcs_llm.in_snowflake.work_tables import unanswered
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

BYTES_AT_ONCE = 256 * 2**20  # of results in one statement, so that it ends in time on a small warehouse
FILES_AT_ONCE = 200
_PARQUET = "[.]parquet"
_SUCCESS = "_SUCCESS"
# What a model may return, and which of it may be JSON text where it is nested.
_CHAT_FIELDS = {
    "choices": True, "usage": True, "outputs": True, "output": False, "generated_text": False, "error": False,
}  # fmt: skip
_VECTOR_FIELDS = {
    "output": True,
    "output_feature_0": True,
    "embedding": True,
    "outputs": True,
    "error": False,
}

_AFTER_MARK = re.compile(r"_J([0-9A-F]+)_([PT])(\d{1,9})")


class JobName(NamedTuple):
    """The name of a job, without database and schema.

    Attributes:
        mark: What the names of everything that belongs to one output begin with.
        key: The beginning of a digest of what the answers depend on.
        parts: Whether the content of a message is a list of parts.
        number: 1 for the first job.
    """

    mark: str
    key: str
    parts: bool
    number: int

    def __str__(self) -> str:
        return f"{self.mark}_J{self.key}_{'P' if self.parts else 'T'}{self.number}"

    @classmethod
    def read(cls, text: str, mark: str) -> JobName | None:
        """Reads a name; None if it is not that of a job of this output."""
        match = _AFTER_MARK.fullmatch(text, len(mark)) if text.startswith(mark) else None
        return None if match is None else cls(mark, match[1], match[2] == "P", int(match[3]))


@dataclass(frozen=True)
class ResultFile:
    """A file of results. `path` is relative to the job's folder."""

    path: str
    size: int


@dataclass(frozen=True)
class Results:
    """The files that a job has written."""

    files: tuple[ResultFile, ...]
    is_complete: bool

    def groups(self) -> list[list[ResultFile]]:
        """The files in groups that one statement can read."""
        groups: list[list[ResultFile]] = []
        size = 0
        for file in self.files:
            if not groups or size + file.size > BYTES_AT_ONCE or len(groups[-1]) == FILES_AT_ONCE:
                groups.append([])
                size = 0
            groups[-1].append(file)
            size += file.size
        return groups


class InferenceJobs:
    """The inference jobs for one output.

    Args:
        work: The questions.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tables = work.tables

    # -- which there are ---------------------------------------------------------------------------

    def found(self) -> dict[JobName, Service]:
        """The jobs that Snowflake lists: those that have ended as well, for 30 days.

        Returns:
            The jobs. Where they cannot be listed, it is as if there were none: Snowflake refuses to start one again.
        """
        place = self._work.place.output
        try:
            shown = self._work.session.rows(
                statements.show_jobs(f"{self._tables.mark}_J", place.database, place.schema)
            )
        except SqlError as error:
            logger.info("Inference jobs cannot be listed. %s", told(error))
            return {}
        named = {
            JobName.read(service.name.name, self._tables.mark): service for service in read_services(shown)
        }
        return {name: service for name, service in named.items() if name is not None}

    def folders(self) -> set[JobName]:
        """The jobs of which there are files."""
        found = set()
        for path, _ in self._listed(""):
            name = JobName.read(path.partition("/")[0], self._tables.mark)
            if name is not None:
                found.add(name)
        return found

    def full_name(self, name: JobName) -> QualifiedName:
        """The name of a job as a statement has it."""
        place = self._work.place.output
        return QualifiedName(place.database, place.schema, str(name))

    # -- what becomes of one -----------------------------------------------------------------------

    def state(self, name: JobName) -> str:
        """The state of a job, in capitals; DELETED if there is none."""
        try:
            rows = self._work.session.rows(statements.describe_service(self.full_name(name)))
        except SqlError as error:
            if not error.is_absent:
                raise
            return "DELETED"
        place = self._work.place.output
        return next((s.status for s in read_services(rows, place.database, place.schema)), "DELETED")

    def containers(self, name: JobName) -> list[Container]:
        """The containers of a job; empty if they cannot be seen."""
        try:
            return read_containers(self._work.session.rows(statements.show_containers(self.full_name(name))))
        except SpcsError:
            return []

    def drop(self, name: JobName) -> None:
        """Ends a job, and frees its name. Its results stay."""
        self._work.session.change(f"DROP SERVICE IF EXISTS {self.full_name(name).sql}")

    def discard(self, name: JobName) -> None:
        """Ends a job, and removes its results."""
        self.drop(name)
        if self._listed(f"{name}/"):
            self._work.session.rows(f"REMOVE @{self._tables.stage}/{name}/")

    def discard_all(self) -> None:
        """Ends all jobs of this output, and removes their results with the stage. What fails is in the log."""
        try:
            for name in self.found():
                self.drop(name)
            self._work.session.change(f"DROP STAGE IF EXISTS {self._tables.stage}")
        except SpcsError as error:
            logger.warning(
                "Stage %s, or inference jobs whose names begin with %s_J, cannot be dropped: drop them. %s",
                self._tables.stage,
                self._tables.mark,
                told(error),
            )

    # -- results -----------------------------------------------------------------------------------

    def make_stage(self) -> None:
        """Makes the stage, unless a run before has left it. It is encrypted by the server, as jobs require."""
        self._work.session.change(
            f"CREATE STAGE IF NOT EXISTS {self._tables.stage} ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE') "
            "FILE_FORMAT = (TYPE = PARQUET)"
        )

    def results(self, name: JobName) -> Results:
        """The files of a job."""
        files, is_complete = [], False
        for path, size in self._listed(f"{name}/"):
            inside = path.partition("/")[2]
            is_complete |= inside == _SUCCESS
            if inside.endswith(".parquet"):
                files.append(ResultFile(inside, size))
        return Results(tuple(files), is_complete)

    def count(self, name: JobName) -> int:
        """How many rows the files of a job have."""
        rows = self._work.session.rows(
            f"SELECT COUNT(*) AS \"rows\" FROM @{self._tables.stage}/{name}/ (PATTERN => '.*{_PARQUET}') AS F"
        )
        return (cells.whole(rows[0], "rows") or 0) if rows else 0

    def take(self, name: JobName) -> Results:
        """Makes answers of the results of a job. Questions that are answered already keep their answers.

        Args:
            name: The job.

        Returns:
            What there was.

        Raises:
            SpcsError: If results cannot be read, and the job has said that they are complete.
        """
        results = self.results(name)
        for group in results.groups():
            try:
                self._work.session.change(self._taking(name, group))
            except SqlError as error:
                if results.is_complete or error.is_absent:
                    raise
                logger.warning("Results that the job had not completed cannot be read: %s", told(error))
        return results

    def _taking(self, name: JobName, files: Sequence[ResultFile]) -> str:
        paths = "|".join(re.escape(file.path).replace("\\.", "[.]") for file in files)
        tables, settings = self._tables, self._work.settings
        source = f"SELECT $1 AS R FROM @{tables.stage}/{name}/ (PATTERN => {literal(f'.*(?:{paths})')})"
        read = (
            f"SELECT {_cell('ROW_KEY')}::VARCHAR AS ROW_KEY, {_cell('PROMPT_KEY')}::VARCHAR AS PROMPT_KEY, "
            f"{_response(_CHAT_FIELDS if settings.is_chat else _VECTOR_FIELDS)} AS RESPONSE FROM ({source}) AS S"
        )
        asked = (
            f"SELECT Q.ROW_KEY, Q.PROMPT_KEY, J.RESPONSE FROM ({read}) AS J "
            f"JOIN {tables.questions} AS Q ON Q.ROW_KEY = J.ROW_KEY AND Q.PROMPT_KEY = J.PROMPT_KEY "
            f"CROSS JOIN {tables.settings} AS P "
            f"WHERE P.RUN_ID = '{self._work.run_id}' AND {unanswered(tables)}"
        )
        return answers_of(settings, tables, asked)

    def _listed(self, below: str) -> list[tuple[str, int]]:
        """Paths and sizes of the stage's files. Snowflake puts the name of the stage before each path."""
        try:
            rows = self._work.session.rows(f"LIST @{self._tables.stage}/{below}")
        except SqlError as error:
            if not error.is_absent:
                raise
            return []
        return [
            ((cells.text(row, "name") or "").partition("/")[2], cells.whole(row, "size") or 0) for row in rows
        ]


def _cell(name: str) -> str:
    return f"COALESCE(S.R:{name}, S.R:{name.lower()})"


def _response(fields: dict[str, bool]) -> str:
    """The expression for a response as a service has it, of the columns of a file."""
    pairs = []
    for name, may_be_text in fields.items():
        cell = f"COALESCE(S.R:{name}, S.R:{name.upper()})"
        if may_be_text:
            parsed = f"COALESCE(TRY_PARSE_JSON({cell}::VARCHAR), {cell})"
            cell = f"CASE WHEN TYPEOF({cell}) = 'VARCHAR' THEN {parsed} ELSE {cell} END"
        pairs.append(f"'{name}', {cell}")
    return f"OBJECT_CONSTRUCT({', '.join(pairs)})"


def is_live(status: str) -> bool:
    """Whether a job has not ended."""
    return status not in GIVEN_UP
