"""Costs as the event log has them, one row a materialisation."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from sqlalchemy import select

LOCATION_TAG = "dagster/code_location"


@dataclass(frozen=True)
class Cost:
    """One materialisation. Times are UTC, memory is in bytes, `amount` in `currency`."""

    event_id: int
    day: date
    created_at: datetime
    location: str
    team: str
    asset: str
    partition: str | None
    run_id: str
    cpu_seconds: float
    wall_seconds: float
    peak_memory_bytes: int
    amount: float
    currency: str


@dataclass
class Found:
    """The costs of some days, and how many events said nothing that can be added up."""

    costs: list[Cost]
    without_cost: int = 0
    unreadable: int = 0


def of_days(instance: dg.DagsterInstance, first: date, days: int) -> Found:
    """All materialisations from the first day's midnight on. What a location wrote wrongly is counted, and left out."""
    found = Found([])
    entries: list[tuple[int, datetime, dg.EventLogEntry]] = []
    for number, at, text in _rows(instance, first, days):
        try:
            entry = dg.deserialize_value(text, dg.EventLogEntry)
            made = entry.asset_materialization
        except Exception:  # whatever is wrong with it
            found.unreadable += 1
            continue
        if made and not made.asset_key.path:
            found.unreadable += 1
        elif made and "cost/cpu_seconds" in made.metadata:
            entries.append((number, at, entry))
        else:
            found.without_cost += 1
    locations = _locations(instance, {entry.run_id for _, _, entry in entries})
    for number, at, entry in entries:
        cost = _cost(number, at, entry, locations.get(entry.run_id))
        if cost:
            found.costs.append(cost)
        else:
            found.unreadable += 1
    return found


def rows(costs: Iterable[Cost]) -> list[dict[str, Any]]:
    """As rows of a table."""
    return [asdict(cost) for cost in costs]


def _rows(instance: dg.DagsterInstance, first: date, days: int) -> Iterator[tuple[int, datetime, str]]:
    """Numbers, times and bodies of the events. By SQL: Dagster's own reader gives up at one that it cannot read."""
    start = datetime(first.year, first.month, first.day)
    query = (
        select(Events.c.id, Events.c.timestamp, Events.c.event)
        .where(Events.c.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value)
        .where(Events.c.timestamp >= start, Events.c.timestamp < start + timedelta(days=days))
        .order_by(Events.c.id)
    )
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        for row in connection.execute(query):
            yield row[0], row[1], row[2]


def _locations(instance: dg.DagsterInstance, run_ids: set[str]) -> dict[str, str]:
    """The location of each run, as webserver and daemon have written it down."""
    found: dict[str, str] = {}
    ids = sorted(run_ids)
    for at in range(0, len(ids), 500):
        for run in instance.get_runs(dg.RunsFilter(run_ids=ids[at : at + 500])):
            origin = run.remote_job_origin.location_name if run.remote_job_origin else ""
            found[run.run_id] = run.tags.get(LOCATION_TAG) or origin
    return found


def _cost(number: int, at: datetime, entry: dg.EventLogEntry, location: str | None) -> Cost | None:
    """The row of an event; None when its figures are none."""
    made = entry.asset_materialization
    if not made:
        return None
    figures: dict[str, Any] = {name: getattr(made.metadata.get(f"cost/{name}"), "value", None) for name in _FIGURES}
    if not all(isinstance(value, int | float) and 0 <= value < _ENDLESS for value in figures.values()):
        return None
    return Cost(
        event_id=number,
        day=at.date(),
        created_at=at,
        location=location or made.asset_key.path[0],
        team=_text(made, "cost/team"),
        asset=made.asset_key.to_user_string(),
        partition=made.partition,
        run_id=entry.run_id,
        cpu_seconds=float(figures["cpu_seconds"]),
        wall_seconds=float(figures["wall_seconds"]),
        peak_memory_bytes=int(figures["peak_memory_bytes"]),
        amount=float(figures["amount"]),
        currency=_text(made, "cost/currency"),
    )


# No figure is so large, and a column of the table would not take it.
_ENDLESS = 2**60
_FIGURES = ("cpu_seconds", "wall_seconds", "peak_memory_bytes", "amount")


def _text(made: dg.AssetMaterialization, name: str) -> str:
    return str(getattr(made.metadata.get(name), "value", "") or "")
