"""What Dagster's database is asked. Each statement answers with one line of JSON; together they see one moment."""

# ruff: noqa: S608  Questions are constants of this module; what is put in is quoted.

from collections.abc import Iterable

from operations.branches.postgres import literal
from operations.invariants import times
from operations.invariants.facts import ENDED
from operations.invariants.run_events import KINDS

# So that an answer is about runs, events and pools at once, while they go on.
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSET LOCAL TimeZone = 'UTC';"
END = "COMMIT;"
_ENDED = ", ".join(literal(status) for status in sorted(ENDED))
_RUNS = """
SELECT r.run_id AS id, r.status, coalesce(r.pipeline_name, '') AS job,
    extract(epoch FROM r.create_timestamp) AS created, extract(epoch FROM r.update_timestamp) AS updated,
    r.end_time AS ended_at,
    (SELECT coalesce(jsonb_object_agg(t.key, t.value), '{{}}') FROM run_tags AS t WHERE t.run_id = r.run_id) AS tags
FROM runs AS r WHERE {chosen}"""
_CHOSEN = """
(r.status NOT IN ({ended}) OR r.update_timestamp > (now() AT TIME ZONE 'UTC') - interval '{seconds} s'
    OR r.run_id IN ({named}))"""
_TOLD = """
SELECT e.run_id, e.dagster_event_type AS kind, coalesce(e.step_key, '') AS step, count(*) AS times, max(e.id) AS last
FROM event_logs AS e JOIN runs AS r ON r.run_id = e.run_id
WHERE {chosen} AND e.dagster_event_type IN ({kinds}) GROUP BY 1, 2, 3"""
_POOLS = 'SELECT concurrency_key AS name, "limit" FROM concurrency_limits'
# The moment that counts is the run's end; of a run that is gone, the place's own.
_SLOTS = """
SELECT s.concurrency_key AS pool, s.run_id, coalesce(s.step_key, '') AS step, r.status, s.waits,
    extract(epoch FROM greatest(s.create_timestamp, r.update_timestamp)) AS since
FROM (
    SELECT concurrency_key, run_id, step_key, create_timestamp, false AS waits FROM concurrency_slots
    WHERE run_id IS NOT NULL
    UNION ALL SELECT concurrency_key, run_id, step_key, create_timestamp, true FROM pending_steps
) AS s LEFT JOIN runs AS r ON r.run_id = s.run_id"""
_TICKS = """
SELECT id, coalesce(tick_body::jsonb ->> 'job_name', '') AS instigator,
    coalesce(selector_id, job_origin_id, '') AS selector, coalesce(type, '') AS kind, coalesce(status, '') AS status,
    extract(epoch FROM timestamp) AS at, extract(epoch FROM coalesce(update_timestamp, timestamp)) AS updated
FROM job_ticks
WHERE timestamp > (now() AT TIME ZONE 'UTC') - interval '{seconds} s' AND (
    type = 'SCHEDULE' OR type = 'SENSOR' AND id IN (SELECT max(id) FROM job_ticks GROUP BY selector_id))"""
# The newest of each asset and partition, of those that the lake's I/O manager wrote: it tells the lake's snapshot.
_MATERIALISED = """
SELECT e.asset_key AS asset, e.partition, e.run_id,
    jsonb_path_query_first(m, '$[*] ? (@.label == "lake/snapshot").entry_data.value') AS snapshot,
    jsonb_path_query_first(m, '$[*] ? (@.label == "dagster/row_count").entry_data.value') AS rows,
    jsonb_path_query_first(m, '$[*] ? (@.label == "dagster/partition_row_count").entry_data.value') AS partition_rows
FROM event_logs AS e
JOIN (
    SELECT max(id) AS id FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key IS NOT NULL
    GROUP BY asset_key, partition
) AS newest ON newest.id = e.id
LEFT JOIN asset_keys AS k ON k.asset_key = e.asset_key,
LATERAL (
    SELECT e.event::jsonb #> '{{dagster_event,event_specific_data,materialization,metadata_entries}}' AS m
) AS found
WHERE m @> '[{{"label": "lake/snapshot"}}]' AND (k.wipe_timestamp IS NULL OR k.wipe_timestamp < e.timestamp)"""
_BEING_WRITTEN = """
SELECT DISTINCT e.asset_key AS asset FROM event_logs AS e JOIN runs AS r ON r.run_id = e.run_id
WHERE r.status NOT IN ({ended}) AND e.asset_key IS NOT NULL
    AND e.dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'"""
NAMES = ("now", "runs", "told", "pools", "slots", "ticks", "materialised", "being_written")


def script(named_runs: Iterable[str]) -> str:
    """All questions, in the order of NAMES; of runs those of the last day, those under way, and the named ones."""
    named = ", ".join(literal(run_id) for run_id in sorted({"", *named_runs}))
    chosen = _CHOSEN.format(ended=_ENDED, seconds=times.LOOKS_BACK, named=named)
    kinds = ", ".join(literal(kind) for kind in KINDS)
    asked = (
        "SELECT extract(epoch FROM clock_timestamp()) AS now",
        _RUNS.format(chosen=chosen),
        _TOLD.format(chosen=chosen, kinds=kinds),
        _POOLS,
        _SLOTS,
        _TICKS.format(seconds=times.LOOKS_BACK),
        _MATERIALISED.format(),
        _BEING_WRITTEN.format(ended=_ENDED),
    )
    lines = [f"SELECT coalesce(jsonb_agg(to_jsonb(answer)), '[]') FROM ({question}) AS answer;" for question in asked]
    return "\n".join([BEGIN, *lines, END]) + "\n"
