"""Assets that are late: by an alert policy of their own, or by their freshness policy."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.storage.event_log.base import AssetRecord
from dagster._core.storage.event_log.schema import AssetKeyTable
from sqlalchemy import select

from platform_kit.alerts.message import Alert
from platform_location.defs.alerts import events


def by_policy(
    instance: dg.DagsterInstance, known: dict[str, int], site: str, now: float | None = None
) -> tuple[list[Alert], dict[str, int]]:
    """Alerts for what has become late, and all that is late now: an asset's key and its last materialisation.

    The policy is the one that the last materialisation carries, so an asset that was never made is not late.
    """
    now = now or time.time()
    found: list[Alert] = []
    late: dict[str, int] = {}
    for record in _records(instance):
        alert = events.guarded(partial(_late, record, late, known, now, site), None)
        if alert:
            found.append(alert)
    return found, late


def _late(record: AssetRecord, late: dict[str, int], known: dict[str, int], now: float, site: str) -> Alert | None:
    entry = record.asset_entry
    last, key = entry.last_materialization_record, entry.asset_key
    made = last.asset_materialization if last else None
    if not last or not made or not events.is_key(key):
        return None
    policies = [policy for policy in events.said_in(made.metadata) if policy.after_hours]
    age = (now - last.timestamp) / 3600
    over = [policy for policy in policies if age > (policy.after_hours or age)]
    if not over:
        return None
    late[key.to_user_string()] = last.storage_id
    if known.get(key.to_user_string()) == last.storage_id:
        return None
    allowed = min(policy.after_hours or 0 for policy in over)
    ago = f"{age:.1f} hours ago, allowed are {allowed:g}"
    return _alert(key, ago, last.timestamp, events.addresses(over, "late"), site)


def _records(instance: dg.DagsterInstance) -> Sequence[AssetRecord]:
    """All assets in one question; one by one where the last event of one cannot be read."""
    storage: Any = instance.event_log_storage
    found: Sequence[AssetRecord] | None = events.guarded(lambda: storage.get_asset_records(), None)
    if found is not None:
        return found
    none: Sequence[AssetRecord] = []
    with storage.index_connection() as connection:
        # Dagster's own list of keys gives up at the first that is none.
        written = [row[0] for row in connection.execute(select(AssetKeyTable.c.asset_key))]
    keys = [key for text in written if (key := events.guarded(partial(dg.AssetKey.from_db_string, text), None))]
    each = [events.guarded(partial(storage.get_asset_records, [key]), none) for key in keys]
    return [record for some in each for record in some]


def by_freshness(instance: dg.DagsterInstance, records: Sequence[dg.EventLogRecord], site: str) -> list[Alert]:
    """Alerts for assets that Dagster has found to fail their freshness policy."""
    found = []
    for record in records:
        event = record.event_log_entry.dagster_event
        change = event.event_specific_data if event else None
        if isinstance(change, FreshnessStateChange) and change.new_state == FreshnessState.FAIL:
            to = events.receivers(instance, "late", None, [change.key])
            found.append(_alert(change.key, "longer ago than its freshness policy allows", None, to, site))
    return found


def _alert(key: dg.AssetKey, age: str, last: float | None, to: tuple[str, ...], site: str) -> Alert:
    at = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M UTC") if last else ""
    facts = (("last materialisation", age), ("at", at))
    path = "/".join(quote(part, safe="") for part in key.path)
    return Alert(f"{events.location_of(None, key)}: late: {key.to_user_string()}", facts, f"{site}/assets/{path}", to)
