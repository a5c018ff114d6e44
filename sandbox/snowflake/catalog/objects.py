"""The objects of an account that need little: databases, schemas, warehouses, models, repositories, gateways."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.snowflake.catalog.grants import Securable
from sandbox.snowflake.catalog.identifiers import qualified


@dataclass
class Schema:
    database: str
    name: str
    owner: str
    created_on: float

    @property
    def securable(self) -> Securable:
        return Securable("SCHEMA", qualified(self.database, self.name))


@dataclass
class Database:
    name: str
    owner: str
    created_on: float
    schemas: dict[str, Schema] = field(default_factory=dict)

    @property
    def securable(self) -> Securable:
        return Securable("DATABASE", qualified(self.name))


@dataclass
class Warehouse:
    name: str
    owner: str
    created_on: float
    size: str = "X-Small"

    @property
    def securable(self) -> Securable:
        return Securable("WAREHOUSE", qualified(self.name))


@dataclass(frozen=True)
class Function:
    """A method of a model version. arguments: SQL types, by name."""

    name: str
    arguments: tuple[tuple[str, str], ...]
    returns: str = "OBJECT"
    target_method: str = "__call__"


@dataclass
class ModelVersion:
    """A version of a model. engine: the URL of what runs it, for jobs."""

    name: str
    created_on: float
    functions: tuple[Function, ...]
    services: list[str] = field(default_factory=list)
    comment: str | None = None
    engine: str | None = None


@dataclass
class Model:
    database: str
    schema: str
    name: str
    owner: str
    created_on: float
    versions: dict[str, ModelVersion] = field(default_factory=dict)
    default_version: str = "V1"
    comment: str | None = None
    model_type: str = "USER_MODEL"

    @property
    def full_name(self) -> str:
        return qualified(self.database, self.schema, self.name)

    @property
    def securable(self) -> Securable:
        return Securable("MODEL", self.full_name)


@dataclass
class Stage:
    """An internal stage. Its files are in a folder that ends with it. file_format: such as PARQUET."""

    database: str
    schema: str
    name: str
    owner: str
    created_on: float
    encryption: str = "SNOWFLAKE_FULL"
    file_format: str = "CSV"

    def __post_init__(self) -> None:
        self.is_removed = False
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-stage-")

    @property
    def full_name(self) -> str:
        return qualified(self.database, self.schema, self.name)

    @property
    def securable(self) -> Securable:
        return Securable("STAGE", self.full_name)

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    def files(self, below: str) -> Mapping[str, Path]:
        """The files whose path begins with a text, by path and in its order."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name[0] != ".")
        paths = {path.relative_to(self.folder).as_posix(): path for path in found}
        return {name: path for name, path in paths.items() if name.startswith(below)}

    def write(self, name: str, content: bytes = b"") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self) -> None:
        """The stage is dropped, and its files with it."""
        self.is_removed = True
        self._folder.cleanup()


@dataclass
class ImageRepository:
    database: str
    schema: str
    name: str
    owner: str
    created_on: float
    comment: str | None = None

    @property
    def securable(self) -> Securable:
        return Securable("IMAGE_REPOSITORY", qualified(self.database, self.schema, self.name))


@dataclass
class Gateway:
    """A gateway: a stable host in front of services. spec: YAML."""

    database: str
    schema: str
    name: str
    owner: str
    created_on: float
    ingress_url: str
    gateway_type: str = "traffic_split"
    spec: str = ""
    comment: str | None = None

    @property
    def securable(self) -> Securable:
        return Securable("GATEWAY", qualified(self.database, self.schema, self.name))


CHAT_FUNCTION = Function(
    "__CALL__",
    (
        ("MESSAGES", "ARRAY"), ("TEMPERATURE", "FLOAT"), ("MAX_COMPLETION_TOKENS", "NUMBER"), ("STOP", "ARRAY"),
        ("N", "NUMBER"), ("STREAM", "BOOLEAN"), ("TOP_P", "FLOAT"), ("FREQUENCY_PENALTY", "FLOAT"),
        ("PRESENCE_PENALTY", "FLOAT"), ("RESPONSE_FORMAT", "OBJECT"),
    ),
)  # fmt: skip
"""The signature of a chat model, as snowflake-ml-python 2.6.0 makes it (`OPENAI_CHAT_SIGNATURE`)."""
CHAT_PARAMS_FUNCTION = Function("__CALL__", (("MESSAGES", "ARRAY"),))
"""The same with settings as parameters (`OPENAI_CHAT_WITH_PARAMS_SIGNATURE`)."""
# Sentence transformers: snowflake-ml-python 2.6.0, the handler's default method.
ENCODE_FUNCTION = Function(
    "ENCODE", (("SENTENCE", "VARCHAR"), ("TRUNCATE_DIM", "NUMBER")), "OBJECT", "encode"
)
