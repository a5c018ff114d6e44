"""SHOW of registry models, their versions and functions, of image repositories and gateways.

Columns: Snowflake docs, the page of each statement; `comment`, `runnable_in` and `inference_services` of a version:
snowflake-ml-python 2.6.0, `_client/sql/model.py`, which reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.snowflake.catalog import qualified
from sandbox.snowflake.catalog.objects import Model, ModelVersion
from sandbox.snowflake.sql.filters import read_filters
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import DESCRIBE, Result, columns, listing
from sandbox.snowflake.sql.run import MODEL_PRIVILEGES, Run, instant

MODELS = columns(
    "created_on timestamp_ltz", "name", "model_type", "database_name", "schema_name", "owner", "comment null",
    "versions", "default_version_name", "aliases",
)  # fmt: skip
VERSIONS = columns(
    "created_on timestamp_ltz", "name", "aliases", "comment null", "database_name", "schema_name", "model_name",
    "is_default_version", "functions", "metadata", "user_data", "runnable_in", "inference_services",
)  # fmt: skip
MODEL_FUNCTIONS = columns(
    "created_on timestamp_ltz", "name", "version_name", "min_num_arguments fixed", "max_num_arguments fixed",
    "arguments", "return_type", "description null", "language",
)  # fmt: skip
REPOSITORIES = columns(
    "created_on timestamp_ltz", "name", "database_name", "schema_name", "repository_url", "owner", "owner_role_type",
    "comment null",
)  # fmt: skip
GATEWAYS = columns(
    "created_on timestamp_ltz", "name", "database_name", "schema_name", "owner", "owner_role_type", "gateway_type",
    "comment null",
)  # fmt: skip
GATEWAY = columns(
    "name", "ingress_url null", "privatelink_ingress_url null", "database_name", "schema_name", "owner",
    "owner_role_type", "spec", "created_on timestamp_ltz", "updated_on timestamp_ltz", "comment null",
)  # fmt: skip


def visible(
    reader: Reader, run: Run, objects: Mapping[tuple[str, str, str], Any], privileges: Iterable[str]
) -> list[Any]:
    """What the role sees of objects that live in schemas, through the clauses of SHOW, which are read to the end."""
    filters = read_filters(reader, run)
    reader.end()
    seen = [
        found
        for key, found in sorted(objects.items())
        if filters.scope.holds(*key[:2]) and run.sees_in_schema(found.securable, key, privileges)
    ]
    return filters.apply(seen, lambda found: str(found.name))


def show_models(reader: Reader, run: Run) -> Result:
    rows = [
        [
            instant(model.created_on), model.name, model.model_type, model.database, model.schema, model.owner,
            model.comment, json.dumps(list(model.versions)), model.default_version, _aliases(model),
        ]
        for model in visible(reader, run, run.catalog.models, MODEL_PRIVILEGES)
    ]  # fmt: skip
    return listing(MODELS, rows)


def _aliases(model: Model) -> str:
    first, *_, last = [*model.versions, *model.versions]
    return json.dumps({"DEFAULT": model.default_version, "FIRST": first, "LAST": last})


def show_versions(reader: Reader, run: Run) -> Result:
    reader.expect("IN", "MODEL")
    model = run.model(reader.qualified())
    reader.end()
    return listing(VERSIONS, [_version_row(model, version) for version in model.versions.values()])


def _version_row(model: Model, version: ModelVersion) -> list[object]:
    names = list(model.versions)
    aliases = [word for word, name in (("FIRST", names[0]), ("LAST", names[-1])) if name == version.name]
    default = version.name == model.default_version
    return [
        instant(version.created_on), version.name, json.dumps(["DEFAULT", *aliases] if default else aliases),
        version.comment, model.database, model.schema, model.name, "true" if default else "false",
        json.dumps([function.name for function in version.functions]), "{}", "{}", json.dumps([]),
        json.dumps(version.services),
    ]  # fmt: skip


def show_functions(reader: Reader, run: Run) -> Result:
    """SHOW FUNCTIONS IN MODEL m [VERSION v]: of the default version unless one is named."""
    reader.expect("IN", "MODEL")
    model = run.model(reader.qualified())
    name = reader.identifier() if reader.take("VERSION") else model.default_version
    reader.end()
    version = model.versions.get(name)
    if version is None:
        raise run.missing("Version", name)
    rows = []
    for function in version.functions:
        arguments = json.dumps([{"name": n, "type": t} for n, t in function.arguments])
        count = len(function.arguments)
        made = instant(version.created_on)
        rows.append(
            [made, function.name, version.name, count, count, arguments, function.returns, None, "Python"]
        )
    return listing(MODEL_FUNCTIONS, rows)


def show_repositories(reader: Reader, run: Run) -> Result:
    account = f"{run.catalog.identity.organization}-{run.catalog.identity.account}".lower()
    rows = [
        [
            instant(r.created_on), r.name, r.database, r.schema,
            f"{account}.registry.snowflakecomputing.com/{r.database}/{r.schema}/{r.name}".lower(), r.owner, "ROLE",
            r.comment,
        ]
        for r in visible(reader, run, run.catalog.repositories, ("READ", "WRITE"))
    ]  # fmt: skip
    return listing(REPOSITORIES, rows)


def show_gateways(reader: Reader, run: Run) -> Result:
    rows = [
        [instant(g.created_on), g.name, g.database, g.schema, g.owner, "ROLE", g.gateway_type, g.comment]
        for g in visible(reader, run, run.catalog.gateways, ("USAGE", "MODIFY"))
    ]
    return listing(GATEWAYS, rows)


def describe_gateway(reader: Reader, run: Run) -> Result:
    key = run.full(reader.qualified(), "DESCRIBE")
    reader.end()
    g = run.catalog.gateways.get(key)
    if g is None or not run.sees_in_schema(g.securable, key, ("USAGE", "MODIFY")):
        raise run.missing("Gateway", qualified(*key))
    row = [
        g.name, g.ingress_url, None, g.database, g.schema, g.owner, "ROLE", g.spec, instant(g.created_on),
        instant(g.created_on), g.comment,
    ]  # fmt: skip
    return listing(GATEWAY, [row], DESCRIBE)
