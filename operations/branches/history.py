"""What Dagster shows of assets: the branch's UI says of its clone what production's says of the lake.

Copied are rows of Dagster's tables, in one consistent snapshot: the last materialisation and observation of each asset
and partition, the last result of each check, dynamic partitions, and the runs that made them, so that links lead
somewhere. Not copied are logs, runs that go on, the queue, schedules' and sensors' state, backfills.
"""

from operations.branches import postgres
from operations.context import Context

DATABASE = "dagster"
# Rows keep their ids: asset_event_tags and checks refer to events by them.
KEPT = """
CREATE TEMP TABLE kept_events ON COMMIT DROP AS
SELECT max(id) AS id FROM event_logs
WHERE asset_key IS NOT NULL AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
GROUP BY asset_key, dagster_event_type, partition;
CREATE TEMP TABLE kept_checks ON COMMIT DROP AS
SELECT max(id) AS id FROM asset_check_executions WHERE execution_status IN ('SUCCEEDED', 'FAILED')
GROUP BY asset_key, check_name, partition;
INSERT INTO kept_events
SELECT evaluation_event_storage_id FROM asset_check_executions JOIN kept_checks USING (id)
WHERE evaluation_event_storage_id IS NOT NULL
EXCEPT SELECT id FROM kept_events;
CREATE TEMP TABLE kept_runs ON COMMIT DROP AS
SELECT id, run_id, snapshot_id, run_body::json ->> 'execution_plan_snapshot_id' AS plan_id FROM runs
WHERE status IN ('SUCCESS', 'FAILURE', 'CANCELED')
AND run_id IN (SELECT run_id FROM event_logs JOIN kept_events USING (id));
"""
# In the order of their foreign keys.
TABLES = {
    "snapshots": "snapshot_id IN (SELECT snapshot_id FROM kept_runs UNION SELECT plan_id FROM kept_runs)",
    "runs": "id IN (SELECT id FROM kept_runs)",
    "run_tags": "run_id IN (SELECT run_id FROM kept_runs)",
    "event_logs": "id IN (SELECT id FROM kept_events)",
    "asset_event_tags": "event_id IN (SELECT id FROM kept_events)",
    "asset_keys": "true",
    "asset_check_executions": "id IN (SELECT id FROM kept_checks)",
    "dynamic_partitions": "true",
}
COLUMNS = """
SELECT table_name, string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name IN ({tables}) GROUP BY table_name;
"""
# A cache of partitions by the former definitions, which a branch's data window makes others.
AFTERWARDS = "UPDATE asset_keys SET cached_status_data = NULL;"
SEQUENCE = "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}));"


def copy(branch: Context, source: str, target: str) -> int:
    """Copy it from one Postgres to another, whose tables are empty; returns how many materialisations that were."""
    names = ", ".join(postgres.literal(table) for table in TABLES)
    # By name: an older database has the same columns in another order.
    columns = dict(row for row in postgres.ask(branch, source, DATABASE, COLUMNS.format(tables=names)) if len(row) == 2)
    take = postgres.psql(source, DATABASE)
    put = postgres.psql(target, DATABASE, "--single-transaction")
    branch.executor.run(postgres.pipe(take, put), stdin=script(columns))
    count = "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION';"
    rows = postgres.ask(branch, target, DATABASE, count)
    return int(rows[0][0]) if rows else 0


def script(columns: dict[str, str]) -> str:
    """SQL for production's psql that prints SQL for the branch's."""
    lines = ["BEGIN ISOLATION LEVEL REPEATABLE READ;", KEPT]
    for table, condition in TABLES.items():
        if table in columns:
            named = columns[table]
            lines += [
                _say(f"COPY {table} ({named}) FROM STDIN;"),
                f"COPY (SELECT {named} FROM {table} WHERE {condition}) TO STDOUT;",  # noqa: S608 - Dagster's own names
                _say("\\\\."),
            ]
    after = [SEQUENCE.format(table=table) for table in columns if table in TABLES]
    return "\n".join([*lines, "COMMIT;", *map(_say, [*after, AFTERWARDS])]) + "\n"


def _say(line: str) -> str:
    """A line for the other end; psql takes a backslash in quotes as the beginning of an escape."""
    return f"\\echo {postgres.literal(line)}"
