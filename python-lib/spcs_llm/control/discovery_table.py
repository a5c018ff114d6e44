"""What discovery found, as the table of the macro *Discover services*: one row for each endpoint."""

from __future__ import annotations

from collections.abc import Iterator

from spcs_llm.control.discovery import Discovery, FoundService
from spcs_llm.control.rates import PoolRate
from spcs_llm.control.services import Endpoint, ModelVersion, Pool
from spcs_llm.control.table import Table, amount
from spcs_llm.settings import FIELDS
from spcs_llm.urls import UrlError, parse_base_url

COLUMNS = {
    "service": "Service",
    "state": "State",
    "ready": "Ready instances",
    "endpoint": "Endpoint",
    "model": "Registry model",
    "pool": "Compute pool",
    "poolState": "Pool state",
    "family": "Instance family",
    "gpu": "GPU of a node",
    "poolCredits": "Credits per hour of the pool now",
    "poolCost": "USD per hour of the pool now",
    FIELDS.account.name: FIELDS.account.label,
    FIELDS.endpoint.name: FIELDS.endpoint.label,
    FIELDS.protocol.name: FIELDS.protocol.label,
    FIELDS.method_name.name: FIELDS.method_name.label,
    FIELDS.credits_per_hour.name: FIELDS.credits_per_hour.label,
    FIELDS.nodes.name: FIELDS.nodes.label,
    "note": "Note",
}
_STILL_CREATED = "Snowflake is still creating the host name: look again in a few minutes."
_NOT_PUBLIC = "It is not public, so DSS cannot reach it."


def discovery_table(found: Discovery, account_url: str | None, credit_price: float) -> Table:
    """The table.

    Args:
        found: What discovery found.
        account_url: The account's URL, to copy into a model's form.
        credit_price: USD for a credit.

    Returns:
        A row for each endpoint, and for each service without one. What is missing on the whole comes last.
    """
    rows = [
        row for service in found.services for row in _rows(found, service, account_url or "", credit_price)
    ]
    notes = [f"These are the rights of {found.identity}.", *found.notes]
    if not found.services:
        notes.insert(
            1, "The role sees no service here: it needs a privilege on the service, such as USAGE or MONITOR."
        )
    rows += [_row(note=note) for note in notes]
    return Table(f"Services, at USD {credit_price:g} per credit", COLUMNS, rows)


def _rows(found: Discovery, one: FoundService, account_url: str, credit_price: float) -> Iterator[list[str]]:
    service = one.service
    pool, rate = found.pools.get(service.pool), found.rates.get(service.pool)
    model = found.models.get(service.name)
    common = {
        "service": service.name.sql,
        "state": service.status,
        "ready": _ready(one),
        "model": _model(model, one),
        **_pool(service.pool, pool, rate, credit_price),
    }
    notes = list(one.notes)
    if rate is not None and not rate.confirmed:
        notes.append("The price of its nodes is not confirmed by Snowflake's own table.")
    for endpoint in one.endpoints or ():
        why_not = _STILL_CREATED if endpoint.is_provisioning else "" if endpoint.is_public else _NOT_PUBLIC
        form = {}
        if not why_not:
            try:
                form = form_values(endpoint, model, account_url, rate, pool)
            except UrlError as error:
                why_not = f"Its host name, {endpoint.host or endpoint.private_host}, {error}."
        yield _row(**common, endpoint=endpoint.name, **form, note=" ".join([*notes, why_not]).strip())
    if not one.endpoints:
        if one.endpoints is not None:
            notes.append("It has no endpoint.")
        yield _row(**common, note=" ".join(notes))


def form_values(
    endpoint: Endpoint, model: ModelVersion | None, account_url: str, rate: PoolRate | None, pool: Pool | None
) -> dict[str, str]:
    """The values to copy into the form of a model.

    Args:
        endpoint: The endpoint, which has a host name.
        model: The model version that the service serves, if it is one of the registry.
        account_url: The account's URL. The endpoint's host is that of the private link where this one is.
        rate: What the compute pool costs now.
        pool: The compute pool.

    Returns:
        The values by the names of the form's fields. What is empty keeps the form's default.

    Raises:
        UrlError: If the form would refuse the host.
    """
    hosts = [endpoint.host, endpoint.private_host]
    host = next(filter(None, reversed(hosts) if ".privatelink." in account_url else hosts), "")
    url = parse_base_url(host)
    chosen = model.functions[0] if model is not None and len(model.functions) == 1 else ""
    return {
        FIELDS.account.name: account_url,
        FIELDS.endpoint.name: str(url),
        FIELDS.protocol.name: "Automatic",
        FIELDS.method_name.name: chosen,
        FIELDS.credits_per_hour.name: ""
        if rate is None or rate.node_credits is None
        else f"{rate.node_credits:g}",
        FIELDS.nodes.name: "" if pool is None else str(max(1, pool.nodes)),
    }


def _pool(name: str, pool: Pool | None, rate: PoolRate | None, credit_price: float) -> dict[str, str]:
    if pool is None:
        return {"pool": name}
    credits = rate.credits_per_hour if rate is not None else None
    return {
        "pool": name,
        "poolState": f"{pool.state}, {pool.nodes} of {pool.max_nodes} nodes",
        "family": pool.family,
        "gpu": rate.gpu if rate is not None else "",
        "poolCredits": amount(credits),
        "poolCost": amount(None if credits is None else credits * credit_price),
    }


def _ready(one: FoundService) -> str:
    wanted = one.service.target_instances
    ready = "?" if one.ready is None else str(one.ready)
    return ready if wanted is None else f"{ready} of {wanted}"


def _model(model: ModelVersion | None, one: FoundService) -> str:
    if model is not None:
        return f"{model.model.sql} version {model.version}"
    return one.service.managing_model


def _row(**cells: str) -> list[str]:
    return [cells.get(column, "") for column in COLUMNS]
