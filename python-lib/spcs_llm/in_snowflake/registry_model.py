"""The model of the registry that an inference job runs, and the compute pool that it runs on.

Columns: Snowflake documentation, "SHOW VERSIONS IN MODEL", "SHOW FUNCTIONS IN MODEL" and "SHOW COMPUTE POOL INSTANCE
FAMILIES".
"""

from __future__ import annotations

from dataclasses import dataclass

from spcs_llm.control import cells, statements
from spcs_llm.control.container_messages import hint_for_pool
from spcs_llm.control.families import GPU_FAMILIES, PriceList
from spcs_llm.control.identifiers import QualifiedName, grantee, quoted
from spcs_llm.control.services import Pool, named_pool
from spcs_llm.control.session import Row, SqlSession
from spcs_llm.errors import SqlError
from spcs_llm.in_snowflake.form import JobSettings, RecipeFields
from spcs_llm.in_snowflake.signature import Form, Function, UnfitFunction, form_of, read_functions

METHODS = {True: "__CALL__", False: "ENCODE"}
_RUN_BY_JOBS = (Form.PARAMS, Form.COLUMNS, Form.TEXT)


class Unavailable(ValueError):
    """What a job needs and does not find; the message is a sentence or two."""


@dataclass(frozen=True)
class RegistryModel:
    """A function of a version of a model.

    Attributes:
        name: The model.
        version: The version's name.
        function: The function.
        form: What it takes.
        is_only: Whether the version has no other function.
    """

    name: QualifiedName
    version: str
    function: Function
    form: Form
    is_only: bool

    @property
    def target_method(self) -> str:
        """The function as a job names it.

        SHOW prints a name in capitals, and the method that it stands for is in small letters unless the model was
        logged with another one (snowflake-ml-python 2.6.0, `model/_model_composer/model_method`).
        """
        name = self.function.name
        return name.lower() if name == name.upper() else name


def find_model(session: SqlSession, settings: JobSettings, name: QualifiedName) -> RegistryModel:
    """The function of a model that a job is to run.

    Args:
        session: Runs the statements.
        settings: The settings.
        name: The model.

    Returns:
        The function.

    Raises:
        Unavailable: If the role sees no such model, or the model has no such version or function.
    """
    try:
        version = _version(session.rows(statements.show_versions(name)), settings.version)
        shown = session.rows(statements.show_model_functions(name, version))
    except SqlError as error:
        if not error.is_about_rights:
            raise
        identity = session.whose()
        raise Unavailable(
            f"'{RecipeFields.model.label}': role {identity.said_role} sees no model {name.sql}. Correct the name, or "
            f"ask a Snowflake administrator: GRANT USAGE ON MODEL {name.sql} TO ROLE {grantee(identity.role)}, and "
            "USAGE on its database and schema."
        ) from None
    known = read_functions(shown)
    function = _function(known, settings)
    return RegistryModel(name, version, function, _form(function, settings), len(known) == 1)


def find_pool(session: SqlSession, name: str) -> Pool:
    """The compute pool that a job is to run on.

    Args:
        session: Runs the statement.
        name: The pool, as SHOW prints it.

    Returns:
        The pool.

    Raises:
        Unavailable: If the role sees no such pool, or it is suspended and does not resume by itself.
    """
    label = f"'{RecipeFields.pool.label}'"
    pool = named_pool(session, name)
    if pool is None:
        identity = session.whose()
        raise Unavailable(
            f"{label}: role {identity.said_role} sees no compute pool {quoted(name)}. Correct the name, or ask a "
            f"Snowflake administrator: GRANT USAGE ON COMPUTE POOL {quoted(name)} TO ROLE {grantee(identity.role)}."
        )
    if pool.stays_down:
        raise Unavailable(
            f"{label}: compute pool {quoted(name)} is {pool.state} and does not resume by itself. "
            + hint_for_pool(quoted(name), pool.state)
        )
    return pool


def gpus_of_node(session: SqlSession, pool: Pool, prices: PriceList) -> int:
    """How many GPUs a node of a pool has.

    Args:
        session: Is asked about a family that is newer than the price list.
        pool: The pool.
        prices: The families that are known.

    Returns:
        The number; 0 if the job has to run on CPUs.

    Raises:
        Unavailable: If the nodes have GPUs, and nothing says how many: the job would run on their CPUs.
    """
    family = prices.family(pool.family)
    if family is not None:
        return family.gpus
    listed = _gpus_listed(session, pool.family)
    if listed is not None:
        return listed
    if not pool.family.startswith(GPU_FAMILIES):
        return 0
    raise Unavailable(
        f"'{RecipeFields.pool.label}': the plugin does not know how many GPUs a node of instance family {pool.family}"
        " has, and SHOW COMPUTE POOL INSTANCE FAMILIES does not list it. Select another pool, or use engine SERVICE."
    )


def _gpus_listed(session: SqlSession, family: str) -> int | None:
    try:
        rows = session.rows(statements.SHOW_FAMILIES)
    except SqlError:
        return None
    found = (row for row in rows if (cells.text(row, "name") or "").upper() == family)
    return next((cells.whole(row, "gpu_count") for row in found), None)


def _version(rows: list[Row], wanted: str | None) -> str:
    names = [name for row in rows if (name := cells.text(row, "name")) is not None]
    for row in rows:
        name = cells.text(row, "name")
        aliases = cells.json_value(row, "aliases")
        is_meant = (
            cells.boolean(row, "is_default_version")
            if wanted is None
            else name == wanted or (isinstance(aliases, list) and wanted in aliases)
        )
        if name is not None and is_meant:
            return name
    if wanted is None and len(names) == 1:
        return names[0]
    label = f"'{RecipeFields.version.label}'"
    if wanted is None:
        raise Unavailable(
            f"{label} is empty, and the model has no default version: enter one of {_listed(names)}."
        )
    raise Unavailable(f"{label} is {wanted}, and the model has only {_listed(names)}.")


def _function(known: list[Function], settings: JobSettings) -> Function:
    if settings.method is None and len(known) == 1:
        return known[0]
    wanted = settings.method or METHODS[settings.is_chat]
    for function in known:
        if function.name.upper() == wanted.upper():
            return function
    names = _listed([function.name for function in known])
    raise Unavailable(
        f"'{RecipeFields.method.label}' is {wanted}, and the version of the model has only {names}."
    )


def _form(function: Function, settings: JobSettings) -> Form:
    what = f"'{RecipeFields.method.label}' is {function.name}, which"
    try:
        form = form_of(function, chat=settings.is_chat)
    except UnfitFunction as problem:
        raise Unavailable(f"{what} {problem}.") from None
    if form not in _RUN_BY_JOBS:
        raise Unavailable(f"{what} takes {form.value}: engine JOB cannot fill that in.")
    if form is not Form.PARAMS and not function.argument_names:
        raise Unavailable(f"{what} has arguments whose names Snowflake does not list: use engine SERVICE.")
    return form


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
