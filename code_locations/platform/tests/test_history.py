"""Old events and runs go, and Dagster shows of each asset what it showed before; in Dagster's own Postgres storage."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from platform_location import database, history
from platform_location.defs.retention.history import events, runs

from .conftest import Server, password

DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday", "wednesday"])


class Flaky(dg.Config):
    """Whether the run fails."""

    fails: bool = False


@dg.asset(partitions_def=DAYS)
def daily(context: dg.AssetExecutionContext, config: Flaky) -> dg.MaterializeResult[Any]:
    if config.fails:
        raise dg.Failure("on purpose")
    return dg.MaterializeResult(metadata={"dagster/row_count": 7}, data_version=dg.DataVersion(context.run.run_id))


@dg.asset(deps=[daily])
def whole() -> None: ...


@dg.asset_check(asset=whole)
def check_whole() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


SOURCE = dg.AssetKey("source")

DEFINITIONS = dg.Definitions(
    [daily, whole],
    asset_checks=[check_whole],
    jobs=[
        dg.define_asset_job("days", dg.AssetSelection.assets(daily)),
        dg.define_asset_job("whole_job", dg.AssetSelection.assets(whole)),
    ],
)


def instance_of(server: Server, role: str, folder: Any) -> dg.DagsterInstance:
    place = {"username": role, "hostname": "127.0.0.1", "port": server.port, "db_name": "dagster"}
    place["password"] = password(role if role == "dagster" else f"{role}_database")
    storage = {"postgres": {"postgres_db": place, "should_autocreate_tables": False}}
    (folder / role).mkdir()
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder / role), overrides={"storage": storage}))


@pytest.fixture
def service(server: Server, settings: Any) -> Iterator[dg.DagsterInstance]:
    """The instance as webserver and daemon have it; its history is this test's own, before and after."""
    forget(server)
    with instance_of(server, "dagster", settings) as instance:
        yield instance
    forget(server)


def forget(server: Server) -> None:
    for table in ("event_logs", "asset_keys", "asset_check_executions", "asset_event_tags", "runs"):
        server.sql(f"DELETE FROM {table}", user="dagster")


@pytest.fixture
def maintainer(server: Server, settings: Any) -> Iterator[dg.DagsterInstance]:
    """The instance as a run of this location has it."""
    with instance_of(server, "platform", settings) as instance:
        yield instance


def run(instance: dg.DagsterInstance, job: str, *, fails: bool = False, **how: Any) -> None:
    config = {"ops": {"daily": {"config": {"fails": fails}}}} if job == "days" else {}
    done = DEFINITIONS.resolve_job_def(job).execute_in_process(
        instance=instance, run_config=config, raise_on_error=not fails, **how
    )
    assert done.success is not fails


def past(server: Server) -> None:
    """Everything until now was 400 days ago."""
    server.sql("UPDATE event_logs SET timestamp = timestamp - interval '400 days'")
    server.sql("UPDATE asset_check_executions SET create_timestamp = create_timestamp - interval '400 days'")
    server.sql("ALTER TABLE runs DISABLE TRIGGER guard_runs")
    server.sql("UPDATE runs SET update_timestamp = update_timestamp - interval '400 days'")
    server.sql("ALTER TABLE runs ENABLE TRIGGER guard_runs")


@pytest.fixture
def old(server: Server, service: dg.DagsterInstance) -> dg.DagsterInstance:
    """A history of 400 days ago in which much was done again, and a partition failed last."""
    for _ in range(2):
        for day in ("monday", "tuesday"):
            run(service, "days", partition_key=day)
        run(service, "whole_job")
        service.report_runless_asset_event(dg.AssetObservation(SOURCE))
    run(service, "days", partition_key="wednesday", fails=True)
    run(service, "days", partition_key="tuesday", fails=True)
    past(server)
    return service


def shown(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the pages of the assets are made of."""
    storage = instance.event_log_storage
    keys = [daily.key, whole.key]
    latest = {key.to_string(): instance.get_latest_materialization_event(key) for key in keys}
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(daily.key)
    cache = get_and_update_asset_status_cache_value(instance, daily.key, DAYS)
    (check_key,) = check_whole.check_keys
    checks = storage.get_latest_asset_check_execution_by_key([check_key], None)
    return {
        "materialisations": {key: (event.run_id, event.timestamp) for key, event in latest.items() if event},
        "partitions": sorted(storage.get_materialized_partitions(daily.key)),
        "latest of partitions": storage.get_latest_storage_id_by_partition(
            daily.key, dg.DagsterEventType.ASSET_MATERIALIZATION
        ),
        "failed": {partition: run_id for partition, (run_id, _) in attempts.items()},
        "cache": (cache.serialized_materialized_partition_subset, cache.serialized_failed_partition_subset)
        if cache
        else None,
        "check": {key.name: (record.status, record.run_id) for key, record in checks.items()},
        "observation": storage.get_latest_storage_id_by_partition(SOURCE, dg.DagsterEventType.ASSET_OBSERVATION),
        "versions": instance.get_latest_materialization_code_versions(keys),
        "data versions": {
            key.to_string(): record.event_log_entry.run_id
            for key in keys
            if (record := instance.get_latest_data_version_record(key))
        },
    }


def counts(server: Server) -> dict[str, int]:
    tables = ("event_logs", "runs", "asset_check_executions")
    of_runs = "WHERE run_id IN (SELECT run_id FROM runs)"  # some events are of no run
    return {table: server.sql(f"SELECT count(*) FROM {table} {of_runs}")[0][0] for table in tables}


def test_events_go_and_what_dagster_shows_of_assets_stays(
    server: Server, old: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rows = shown(old), counts(server)
    assert before["failed"]
    monkeypatch.setattr(history, "_AT_ONCE", 20)
    with database.dagster() as dagster:
        counted = history.prune_events(dagster, 180, dry_run=True)
        removed = history.prune_events(dagster, 180, dry_run=False)
    assert removed == counted
    after = counts(server)
    assert removed["event_logs"].rows == rows["event_logs"] - after["event_logs"] + 1 > 50  # one of no run
    assert removed["asset_check_executions"].rows == 1
    assert removed["event_logs"].bytes > 10_000
    assert shown(old) == before
    orphans = "SELECT count(*) FROM asset_event_tags WHERE event_id NOT IN (SELECT id FROM event_logs)"
    assert server.sql(orphans) == [(0,)]


def test_runs_go_but_those_that_made_what_is_the_last(
    server: Server, old: dg.DagsterInstance, maintainer: dg.DagsterInstance
) -> None:
    before, rows = shown(old), counts(server)
    with database.dagster() as dagster:
        count, removed = history.delete_runs(maintainer, dagster, 365, dry_run=False)
    assert count == rows["runs"] - counts(server)["runs"] == 3  # monday's, tuesday's and whole's first
    assert removed.rows == rows["event_logs"] - counts(server)["event_logs"] > 10
    assert shown(old) == before


def test_what_is_done_again_lets_the_former_go(
    server: Server, old: dg.DagsterInstance, maintainer: dg.DagsterInstance
) -> None:
    for day in DAYS.get_partition_keys():
        run(old, "days", partition_key=day)
    run(old, "whole_job")
    before = shown(old)
    assert before["failed"] == {}
    with database.dagster() as dagster:
        count, _ = history.delete_runs(maintainer, dagster, 365, dry_run=False)
        history.prune_events(dagster, 180, dry_run=False)
    assert count >= 5
    assert shown(old) == before


def test_young_events_and_runs_stay(
    server: Server, service: dg.DagsterInstance, maintainer: dg.DagsterInstance
) -> None:
    for _ in range(2):
        run(service, "whole_job")
    rows = counts(server)
    with database.dagster() as dagster:
        assert history.delete_runs(maintainer, dagster, 365, dry_run=False)[0] == 0
        assert history.prune_events(dagster, 180, dry_run=False)["event_logs"].rows == 0
    assert counts(server) == rows


def test_of_a_run_or_a_backfill_that_goes_on_nothing_goes(
    server: Server, old: dg.DagsterInstance, maintainer: dg.DagsterInstance
) -> None:
    rows = counts(server)
    for status in ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"):
        server.sql(f"UPDATE runs SET status = '{status}'", user="dagster")
        with database.dagster() as dagster:
            assert history.delete_runs(maintainer, dagster, 0, dry_run=False)[0] == 0
            history.prune_events(dagster, 0, dry_run=False)
            assert len(history.unfinished_runs(dagster)) == rows["runs"]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            server.sql("DELETE FROM runs", user="platform")
        assert counts(server) == rows
    # They have ended, and the backfill that they belong to goes on.
    server.sql("UPDATE runs SET status = 'SUCCESS'", user="dagster")
    server.sql("INSERT INTO bulk_actions (key, status, timestamp) VALUES ('abcdefgh', 'REQUESTED', now())")
    server.sql("INSERT INTO run_tags (run_id, key, value) SELECT run_id, 'dagster/backfill', 'abcdefgh' FROM runs")
    with database.dagster() as dagster:
        assert history.delete_runs(maintainer, dagster, 0, dry_run=False)[0] == 0
        server.sql("DELETE FROM bulk_actions")
        assert history.delete_runs(maintainer, dagster, 0, dry_run=True)[0] > 0


def test_a_dry_run_counts_what_would_go(
    server: Server, old: dg.DagsterInstance, maintainer: dg.DagsterInstance
) -> None:
    rows = counts(server)
    config = {"config": {"dry_run": True}}
    jobs = {"ops": {"platform__retention__runs": config, "platform__retention__events": config}}
    done = dg.materialize([runs, events], run_config=jobs, instance=old)
    (made,) = done.asset_materializations_for_node("platform__retention__runs")
    assert (made.metadata["runs_deleted"].value, made.metadata["dry_run"].value) == (3, True)
    (made,) = done.asset_materializations_for_node("platform__retention__events")
    assert int(str(made.metadata["rows_deleted"].value)) > 50
    assert counts(server)["event_logs"] > rows["event_logs"]


def test_final_states_are_dagsters() -> None:
    from dagster._core.storage.dagster_run import FINISHED_STATUSES

    assert {status.value for status in FINISHED_STATUSES} == set(history.FINAL_STATES)
    assert DagsterRunStatus.QUEUED not in FINISHED_STATUSES
