"""One statement on its way: whose it is, what it may see, and how names resolve."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sandbox.snowflake.catalog import Catalog, Service, qualified
from sandbox.snowflake.catalog.catalog import OPERATOR
from sandbox.snowflake.catalog.grants import Securable, View
from sandbox.snowflake.catalog.objects import Model, Stage
from sandbox.snowflake.catalog.pools import ComputePool
from sandbox.snowflake.sql.errors import (
    SqlError,
    cancelled,
    does_not_exist,
    insufficient,
    no_database,
    no_warehouse,
    timed_out,
)
from sandbox.snowflake.sql.results import Result
from sandbox.snowflake.world import Session, World

T = TypeVar("T")
Names = tuple[str, ...]

SERVICE_PRIVILEGES = POOL_PRIVILEGES = OPERATOR
MODEL_PRIVILEGES = ("USAGE", "READ")
STAGE_PRIVILEGES = ("READ", "WRITE")


@dataclass
class Run:
    """A statement that runs. result_of: an earlier result, by the id of its statement.

    began, now: seconds since the epoch. What takes time counts from when the statement was submitted: a clock that is
    moved just then is not missed.

    text: as it was sent; query_id: the statement's id.
    """

    world: World
    session: Session
    now: float
    may: View
    began: float
    result_of: Callable[[str], Result | None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)
    deadline: float | None = None
    piped: list[Result] = field(default_factory=list)
    text: str = ""
    query_id: str = ""

    @property
    def catalog(self) -> Catalog:
        return self.world.catalog

    def look_again(self) -> None:
        """Let happen what has become due, for a statement that waits."""
        with self.world.lock:
            self.now = self.catalog.settle()

    def wait_until(self, ready: Callable[[], bool], deadline: float) -> bool:
        """Whether it became so before the deadline of the account's clock; raises `SqlError` if cancelled."""
        while True:
            if self.stop.is_set():
                raise cancelled()
            self.look_again()
            if self.deadline is not None and self.now >= self.deadline:
                raise timed_out(self.deadline - self.began)
            with self.world.lock:
                if ready():
                    return True
            if self.now >= deadline:
                return False
            self.stop.wait(0.02)

    # -- names -----------------------------------------------------------------------------------------

    def full(self, parts: Names, verb: str) -> tuple[str, str, str]:
        """Database, schema and name, with the session's for what is left out."""
        if len(parts) == 3:
            return parts[0], parts[1], parts[2]
        database = self.session.database
        if database is None:
            raise no_database(verb)
        schema = parts[0] if len(parts) == 2 else self.session.schema or "PUBLIC"
        return database, schema, parts[-1]

    def service(self, parts: Names, verb: str = "SELECT") -> Service:
        """A service on which the role has a privilege; raises 002003."""
        return self._found(self.catalog.services, parts, "Service", SERVICE_PRIVILEGES, verb)

    def model(self, parts: Names, verb: str = "SHOW") -> Model:
        return self._found(self.catalog.models, parts, "Model", MODEL_PRIVILEGES, verb)

    def stage(self, parts: Names) -> Stage:
        """A stage on which the role has a privilege; raises 002003."""
        found: Stage = self._found(self.catalog.stages, parts, "Stage", STAGE_PRIVILEGES, "SELECT")
        return found

    def require_in_schema(self, key: Names, privilege: str) -> None:
        """Raise 002003 or 003001 unless the role may create something of this kind in a schema."""
        database = self.catalog.databases.get(key[0])
        schema = database.schemas.get(key[1]) if database else None
        if database is None or schema is None or not self.may.holds_any(schema.securable):
            raise self.missing("Schema", qualified(*key[:2]))
        self.require(schema.securable, "schema", qualified(*key[:2]), privilege)

    def _found(
        self,
        objects: Mapping[tuple[str, str, str], T],
        parts: Names,
        kind: str,
        privileges: Iterable[str],
        verb: str,
    ) -> T:
        key = self.full(parts, verb)
        found = objects.get(key)
        if found is None or not self.sees_in_schema(found.securable, key, privileges):  # type: ignore[attr-defined]
            raise self.missing(kind, qualified(*key))
        return found

    def sees_in_schema(self, on: Securable, key: tuple[str, str, str], privileges: Iterable[str]) -> bool:
        """Whether the role may see an object, which needs a privilege on its database and on its schema as well."""
        database = self.catalog.databases.get(key[0])
        schema = database.schemas.get(key[1]) if database else None
        if database is None or schema is None:
            return False
        inside = self.may.holds_any(database.securable) and self.may.holds_any(schema.securable)
        return (inside and self.may.holds(on, *privileges)) or self.may.manages_grants

    def pool(self, parts: Names) -> ComputePool:
        """A compute pool on which the role has a privilege; raises 002003."""
        pool = self.catalog.pools.get(parts[-1]) if len(parts) == 1 else None
        if pool is None or not self.may.sees(pool.securable, POOL_PRIVILEGES):
            raise self.missing("Compute pool", ".".join(parts))
        return pool

    def missing(self, kind: str, name: str, *, table: bool = False) -> SqlError:
        hinted = self.session.role if self.catalog.hints_at_privileges else None
        return does_not_exist(kind, name, hinted, table=table)

    def require(self, on: Securable, kind: str, name: str, *privileges: str) -> None:
        """Raise 003001 unless the role has one of the privileges on an object that it sees."""
        if not self.may.holds(on, *privileges):
            raise insufficient(kind, name)

    def require_warehouse(self) -> None:
        """Raise 000606 unless a warehouse that the role may use is active."""
        name = self.session.warehouse
        warehouse = self.catalog.warehouses.get(name) if name else None
        if warehouse is None or not self.may.holds(warehouse.securable, "USAGE", "OPERATE"):
            raise no_warehouse()


def instant(seconds: float | None) -> dt.datetime | None:
    """A time of the account as a value of type TIMESTAMP_LTZ."""
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


def flag(value: bool) -> str:
    """A boolean of the SPCS listings, which is text (frostlake's recordings of an account)."""
    return "true" if value else "false"


def zulu(seconds: float | None) -> str | None:
    """A time as SHOW SERVICE INSTANCES and CONTAINERS print it, as text."""
    moment = instant(seconds)
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
