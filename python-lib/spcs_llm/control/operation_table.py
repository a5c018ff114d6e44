"""What was suspended or resumed, as the table of the macros, and as the error that makes a scenario fail."""

from __future__ import annotations

from spcs_llm.control.operate import Operation
from spcs_llm.control.operated import Verb
from spcs_llm.control.table import Table, amount
from spcs_llm.errors import SpcsError

COLUMNS = {
    "service": "Service",
    "pool": "Compute pool",
    "before": "State before",
    "after": "State",
    "result": "Result",
    "creditsPerHour": "Credits per hour",
    "note": "Note",
}


def operation_table(done: Operation) -> Table:
    """The table: a row for each service, for each pattern that fits none, and for each compute pool."""
    rows = [
        [one.name, one.pool, one.before, one.after, one.outcome.value, "", one.note] for one in done.services
    ]
    what = ("saved" if done.verb is Verb.SUSPEND else "begun") if not done.dry_run else "estimate"
    rows += [
        ["", effect.pool, "", "", what, amount(effect.credits_per_hour), effect.text] for effect in done.pools
    ]
    rows.append(["", "", "", "", "", "", f"These are the rights of {done.identity}."])
    name = (
        f"Services {done.verb.done}" if not done.dry_run else "What would be done; nothing has been changed"
    )
    return Table(name, COLUMNS, rows)


def raise_for_failures(done: Operation) -> None:
    """Makes the macro fail, so that a scenario sees it. A macro that raised has no result, so the text says everything.

    Args:
        done: What was done.

    Raises:
        SpcsError: If a service failed, or was not in its new state in time. Not after a dry run.
    """
    if done.dry_run or not done.failures:
        return
    well = [one.name for one in done.services if one not in done.failures]
    told = " ".join(f"{one.name}: {one.note.rstrip('.')}." for one in done.failures)
    raise SpcsError(
        f"{len(done.failures)} of {len(done.services)} could not be {done.verb.done}. {told}"
        f" The others are: {', '.join(well) or 'none'}. Rights used: {done.identity}.",
        place="macro",
    )
