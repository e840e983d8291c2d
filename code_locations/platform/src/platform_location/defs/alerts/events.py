"""New events of one kind, and what an event says about its run."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, TypeVar

import dagster as dg
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from platform_kit.alerts import AlertPolicy, from_metadata, from_run_tags
from platform_kit.alerts.policy import is_address

T = TypeVar("T")
logger = logging.getLogger("alerts")

# An event is looked at when it is so old: others with a lower number are then committed as well, and Dagster has
# said in the run's tags whether it will be retried.
SETTLED_SECONDS = 10.0
AT_ONCE = 500


@dataclass(frozen=True)
class New:
    """Settled events, oldest first; the number of the last one, and how many cannot be read."""

    records: list[dg.EventLogRecord]
    last: int
    unreadable: int


def new(instance: dg.DagsterInstance, kind: dg.DagsterEventType, after: int) -> New:
    """The settled events of this kind after the one with this number.

    By SQL, for Dagster's own reader gives up at the first event that it cannot read, and any location can write one.
    """
    query = (
        select(Events.c.id, Events.c.timestamp, Events.c.event)
        .where(Events.c.dagster_event_type == kind.value, Events.c.id > after)
        .order_by(Events.c.id)
        .limit(AT_ONCE)
    )
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        # A row may claim any number: one far ahead would have all that follow passed over.
        query = query.where(Events.c.id <= _newest(connection))
        rows = list(takewhile(lambda row: _settled(row[1]), connection.execute(query).fetchall()))
    found = [(row[0], _entry(row[2])) for row in rows]
    records = [dg.EventLogRecord(storage_id=number, event_log_entry=entry) for number, entry in found if entry]
    return New(records, rows[-1][0] if rows else after, len(found) - len(records))


def _settled(at: datetime | None) -> bool:
    """Whether an event of this time is old enough. One of the future, or of no time, is forged: nobody waits for it."""
    age = (datetime.now(UTC).replace(tzinfo=None) - at).total_seconds() if at else SETTLED_SECONDS
    return age >= SETTLED_SECONDS or age < -60


def guarded(make: Callable[[], T], otherwise: T) -> T:
    """What `make` gives; where a location's events break it, `otherwise`, so that the others' are told."""
    try:
        return make()
    except SQLAlchemyError:
        raise  # the database is away: the next tick looks again
    except Exception:
        logger.exception("events that cannot be understood")
        return otherwise


def _entry(body: str) -> dg.EventLogEntry | None:
    """The event; None when it is none, whatever is wrong with it."""
    try:
        entry = dg.deserialize_value(body, dg.EventLogEntry)
        event = entry.dagster_event
        about = event.event_specific_data if event else None
        # A check's result has an asset's key, a change of freshness a key, a failed run none.
        key = getattr(about, "asset_key", None) or getattr(about, "key", None)
        sound = event and "\x00" not in entry.run_id and (key is None or is_key(key))
        return entry if sound else None
    except Exception:
        return None


def is_key(key: dg.AssetKey) -> bool:
    """Whether a key has parts, of plain text that a link can hold."""
    return bool(key.path) and all(isinstance(part, str) and part and part.isprintable() for part in key.path)


def newest(instance: dg.DagsterInstance) -> int:
    """The number of the newest event."""
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        return _newest(connection)


def _newest(connection: Any) -> int:
    """By the sequence that numbers them, which no location can set; without sequences, as in SQLite, the highest."""
    if connection.dialect.name == "postgresql":
        return int(connection.execute(text("SELECT last_value FROM event_logs_id_seq")).scalar() or 0)
    return int(connection.execute(select(func.max(Events.c.id))).scalar() or 0)


def location_of(run: dg.DagsterRun | None, key: dg.AssetKey | None = None) -> str:
    """The code location of a run, as webserver and daemon have written it down; without a run, by the asset's key."""
    tagged = run.tags.get("dagster/code_location") if run else None
    origin = run.remote_job_origin.location_name if run and run.remote_job_origin else None
    return tagged or origin or (key.path[0] if key else "") or "unknown location"


def receivers(
    instance: dg.DagsterInstance, when: str, run: dg.DagsterRun | None, keys: Sequence[dg.AssetKey]
) -> tuple[str, ...]:
    """Who else is told, by the run's tags and the assets' last materialisations."""
    some = list(keys)[:50]
    none: Mapping[dg.AssetKey, dg.EventLogEntry | None] = {}
    made = guarded(lambda: instance.get_latest_materialization_events(some) if some else none, none).values()
    policies = [
        policy
        for entry in made
        if entry and entry.asset_materialization
        for policy in said_in(entry.asset_materialization.metadata)
    ]
    if run:
        with suppress(ValueError):
            policies += from_run_tags(run.tags)
    return addresses(policies, when)


def said_in(metadata: Mapping[str, object]) -> list[AlertPolicy]:
    """The policies in metadata; none where a location wrote nonsense, for the deployment is told all the same."""
    try:
        return from_metadata(metadata)
    except ValueError:
        return []


def addresses(policies: Iterable[AlertPolicy], when: str) -> tuple[str, ...]:
    """The e-mail addresses of those policies that are about this."""
    return tuple(dict.fromkeys(to for policy in policies if policy.when == when for to in policy.to if is_address(to)))


def named(keys: Sequence[dg.AssetKey]) -> str:
    """Some of these assets, and how many more."""
    shown = ", ".join(key.to_user_string() for key in sorted(keys)[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown
