"""Dagster's own history: events and records of runs that have ended.

What is the last of its kind stays for ever: the last materialisation, observation, plan or failure of each asset and
partition, and the last result of each check of each partition. Asset pages, partition states and staleness are made of
these, so they show after a deletion what they showed before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance
from provisioning.plan import FINAL_STATES

from platform_location.database import Session

_BATCH = 5000
# What is held in memory of the first night's millions.
_AT_ONCE = 200_000
_UNFINISHED_BACKFILLS = ("REQUESTED", "CANCELING", "FAILING")

_LAST = """
SELECT max(id) AS id FROM public.event_logs WHERE asset_key IS NOT NULL
GROUP BY asset_key, dagster_event_type, partition"""
_LAST_CHECKS = """
SELECT max(id) AS id FROM public.asset_check_executions GROUP BY asset_key, check_name, partition, execution_status"""
# An event of no run, such as a reported materialisation, is as one of a run that has ended.
_OF_ENDED_RUNS = """
NOT EXISTS (SELECT FROM public.runs AS r WHERE r.run_id = e.run_id AND (r.status = ANY (%s)) IS NOT TRUE)"""
_EVENTS = f"""
SELECT e.id, pg_catalog.pg_column_size(e.event) AS size FROM public.event_logs AS e
WHERE e.timestamp < %s AND {_OF_ENDED_RUNS} AND NOT EXISTS (SELECT FROM ({_LAST}) AS last WHERE last.id = e.id)"""  # noqa: S608
_CHECKS = f"""
SELECT e.id, pg_catalog.pg_column_size(e.evaluation_event) AS size FROM public.asset_check_executions AS e
WHERE e.create_timestamp < %s AND {_OF_ENDED_RUNS}
AND NOT EXISTS (SELECT FROM ({_LAST_CHECKS}) AS last WHERE last.id = e.id)"""  # noqa: S608
_RUNS = f"""
SELECT r.run_id FROM public.runs AS r
WHERE r.status = ANY (%s) AND r.update_timestamp < %s
AND NOT EXISTS (
    SELECT FROM public.event_logs AS e JOIN ({_LAST}) AS last USING (id) WHERE e.run_id = r.run_id)
AND NOT EXISTS (
    SELECT FROM public.asset_check_executions AS e JOIN ({_LAST_CHECKS}) AS last USING (id) WHERE e.run_id = r.run_id)
AND NOT EXISTS (
    SELECT FROM public.run_tags AS t JOIN public.bulk_actions AS b ON b.key = t.value
    WHERE t.run_id = r.run_id AND t.key = 'dagster/backfill' AND b.status = ANY (%s))
ORDER BY r.id"""  # noqa: S608
_EVENTS_OF_RUN = """
SELECT count(*), coalesce(sum(pg_catalog.pg_column_size(event)), 0) FROM public.event_logs WHERE run_id = %s"""
_UNFINISHED = "SELECT run_id FROM public.runs WHERE (status = ANY (%s)) IS NOT TRUE"


@dataclass
class Removed:
    """How much of the history went."""

    rows: int = 0
    bytes: int = 0


def prune_events(dagster: Session, days: int, *, dry_run: bool) -> dict[str, Removed]:
    """Delete old events of runs that have ended, but the last of each kind; by table, what went."""
    before = _moment(days)
    tables = (("event_logs", _EVENTS), ("asset_check_executions", _CHECKS))
    return {table: _prune(dagster, table, question, before, dry_run=dry_run) for table, question in tables}


def _prune(dagster: Session, table: str, question: str, before: datetime, *, dry_run: bool) -> Removed:
    if dry_run:
        counted = f"SELECT count(*), coalesce(sum(size), 0) FROM ({question}) AS old"  # noqa: S608  from above
        rows, size = dagster.ask(counted, before, list(FINAL_STATES))[0]
        return Removed(rows, int(size))
    removed = Removed()
    while old := dagster.ask(f"{question} LIMIT {_AT_ONCE}", before, list(FINAL_STATES)):
        removed.rows += len(old)
        removed.bytes += sum(size or 0 for _, size in old)
        # In pieces, so that a run that writes events never waits long for a lock.
        for ids in _batches([row_id for row_id, _ in old]):
            if table == "event_logs":
                dagster.count("DELETE FROM public.asset_event_tags WHERE event_id = ANY (%s)", ids)
            dagster.count(f"DELETE FROM public.{table} WHERE id = ANY (%s)", ids)  # noqa: S608  a name from above
    return removed


def delete_runs(instance: DagsterInstance, dagster: Session, days: int, *, dry_run: bool) -> tuple[int, Removed]:
    """Delete old runs that have ended, with their events; gives their number and what went with them."""
    final = list(FINAL_STATES)
    # A run that goes on is refused by the database too (guard_run_deletes).
    found = [run for (run,) in dagster.ask(_RUNS, final, _moment(days), list(_UNFINISHED_BACKFILLS))]
    removed = Removed()
    for run_id in found:
        rows, size = dagster.ask(_EVENTS_OF_RUN, run_id)[0]
        removed.rows += rows
        removed.bytes += int(size)
        if not dry_run:
            instance.delete_run(run_id)
    return len(found), removed


def unfinished_runs(dagster: Session) -> set[str]:
    """The runs that have not ended: what they print stays."""
    return {run for (run,) in dagster.ask(_UNFINISHED, list(FINAL_STATES))}


def _moment(days: int) -> datetime:
    # Dagster stores moments without a time zone, in UTC.
    return (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
