"""Drift in the server is named, with what was found and what was expected, and mended; on a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from platform_location import deployment, provisioning_of
from platform_location.defs.provisioning.locations import CHECK, provisioning

from .conftest import Server

TELLS = "INSERT (asset_key, dagster_event_type, event, partition, run_id, step_key, timestamp)"
REPORTS = "UPDATE (end_time, partition, partition_set, run_body, start_time, status, update_timestamp)"
DRIFT = {
    "a connection limit": (
        "dagster",
        "ALTER ROLE ingestion CONNECTION LIMIT 7",
        "role ingestion: connection limit: found 7, expected 100",
    ),
    "a login taken": ("dagster", "ALTER ROLE ingestion NOLOGIN", "role ingestion: login: found no, expected yes"),
    "a power given": ("dagster", "ALTER ROLE ingestion CREATEDB", "role ingestion: createdb: found yes, expected no"),
    "a superuser": ("dagster", "ALTER ROLE ingestion SUPERUSER", "role ingestion: superuser: found yes, expected no"),
    "a role lent": (
        "dagster",
        "GRANT analytics TO ingestion",
        "role ingestion: member of: found analytics, expected nothing",
    ),
    "a setting": (
        "dagster",
        "ALTER ROLE ingestion IN DATABASE dagster SET statement_timeout = '1d'",
        "role ingestion: statement_timeout in dagster: found 1d, expected 5min",
    ),
    "a right in Dagster's tables given": (
        "dagster",
        "GRANT DELETE ON event_logs TO ingestion",
        f"table event_logs of dagster: rights of ingestion: found DELETE, {TELLS}, SELECT, expected {TELLS}, SELECT",
    ),
    "a right on more columns given": (
        "dagster",
        "GRANT INSERT (id), UPDATE (event) ON event_logs TO ingestion",
        "table event_logs of dagster: rights of ingestion: found INSERT (asset_key, dagster_event_type, event, id, "
        f"partition, run_id, step_key, timestamp), SELECT, UPDATE (event), expected {TELLS}, SELECT",
    ),
    "a right on a column taken": (
        "dagster",
        "REVOKE UPDATE (value) ON run_tags FROM ingestion",
        "table run_tags of dagster: rights of ingestion: found INSERT (key, run_id, value), SELECT, "
        "expected INSERT (key, run_id, value), SELECT, UPDATE (value)",
    ),
    "a right on the whole of a table where columns are expected": (
        "dagster",
        "GRANT UPDATE ON run_tags TO ingestion",
        "table run_tags of dagster: rights of ingestion: found INSERT (key, run_id, value), SELECT, UPDATE, "
        "expected INSERT (key, run_id, value), SELECT, UPDATE (value)",
    ),
    "numbers that may be set": (
        "dagster",
        "GRANT UPDATE ON SEQUENCE event_logs_id_seq TO ingestion",
        "sequence event_logs_id_seq of dagster: rights of ingestion: found SELECT, UPDATE, USAGE, "
        "expected SELECT, USAGE",
    ),
    "numbers of a table that only the services write": (
        "dagster",
        "GRANT USAGE ON SEQUENCE job_ticks_id_seq TO ingestion",
        "sequence job_ticks_id_seq of dagster: rights of ingestion: found USAGE, expected nothing",
    ),
    "a right in Dagster's tables taken": (
        "dagster",
        "REVOKE SELECT ON runs FROM ingestion",
        f"table runs of dagster: rights of ingestion: found {REPORTS}, expected SELECT, {REPORTS}",
    ),
    "no way into Dagster's database": (
        "dagster",
        "REVOKE CONNECT ON DATABASE dagster FROM ingestion",
        "database dagster: rights of ingestion: found nothing, expected CONNECT",
    ),
    "a lake that somebody else owns": (
        "dagster",
        "ALTER DATABASE lake_ingestion OWNER TO dagster_owner",
        "database lake_ingestion: owner: found dagster_owner, expected ingestion",
    ),
    "a lake that is open to all": (
        "dagster",
        "GRANT CONNECT ON DATABASE lake_ingestion TO PUBLIC",
        "database lake_ingestion: rights of PUBLIC: found CONNECT, expected nothing",
    ),
    "a reader too many": (
        "dagster",
        "GRANT CONNECT ON DATABASE lake_ingestion TO platform",
        "database lake_ingestion: rights of platform: found CONNECT, expected nothing",
    ),
    "a reader shut out": (
        "dagster",
        "REVOKE CONNECT ON DATABASE lake_ingestion FROM analytics",
        "database lake_ingestion: rights of analytics: found nothing, expected CONNECT",
    ),
    "a table that a reader cannot read": (
        "lake_ingestion",
        "REVOKE SELECT ON ducklake_snapshot FROM analytics",
        "table ducklake_snapshot of lake_ingestion: rights of analytics: found nothing, expected SELECT",
    ),
    "a table that a reader can write": (
        "lake_ingestion",
        "GRANT INSERT ON ducklake_snapshot TO analytics",
        "table ducklake_snapshot of lake_ingestion: rights of analytics: found INSERT, SELECT, expected SELECT",
    ),
    "a column that a reader can write": (
        "lake_ingestion",
        "GRANT UPDATE (snapshot_id) ON ducklake_snapshot TO analytics",
        "table ducklake_snapshot of lake_ingestion: rights of analytics: found SELECT, UPDATE (snapshot_id), "
        "expected SELECT",
    ),
    "a table that all read": (
        "lake_ingestion",
        "GRANT SELECT ON ducklake_snapshot TO PUBLIC",
        "table ducklake_snapshot of lake_ingestion: rights of PUBLIC: found SELECT, expected nothing",
    ),
    "tables to come that a reader cannot read": (
        "lake_ingestion",
        "ALTER DEFAULT PRIVILEGES FOR ROLE ingestion IN SCHEMA public REVOKE SELECT ON TABLES FROM analytics",
        "new tables of lake_ingestion: rights of analytics: found nothing, expected SELECT",
    ),
}


@pytest.fixture
def catalog(server: Server) -> Iterator[None]:
    """A table in the lake's catalog, as DuckLake would make."""
    server.sql("CREATE TABLE ducklake_snapshot (snapshot_id bigint)", user="ingestion", database="lake_ingestion")
    yield
    server.sql("DROP TABLE ducklake_snapshot", database="lake_ingestion")


def found() -> list[str]:
    return [str(one) for one in provisioning_of.drift(deployment.current().plan, "ingestion")]


@pytest.mark.parametrize("name", ["ingestion", "analytics", "platform"])
def test_what_the_migration_leaves_is_what_is_expected(server: Server, name: str) -> None:
    assert provisioning_of.drift(deployment.current().plan, name) == []


@pytest.mark.parametrize(("database", "statement", "message"), DRIFT.values(), ids=DRIFT.keys())
def test_drift_is_named_and_mended(server: Server, catalog: None, database: str, statement: str, message: str) -> None:
    assert found() == []
    server.sql(statement, database=database)
    assert message in found()
    provisioning_of.mend(deployment.current().plan, "ingestion")
    assert found() == []


def test_what_an_owner_sets_for_its_sessions_neither_blinds_nor_stops_us(server: Server, catalog: None) -> None:
    mine = "ALTER ROLE ingestion IN DATABASE lake_ingestion"
    for setting in ("search_path = evil", "lock_timeout = 1", "default_transaction_read_only = on"):
        server.sql(f"{mine} SET {setting}", user="ingestion", database="lake_ingestion")
    try:
        server.sql("REVOKE SELECT ON ducklake_snapshot FROM analytics", database="lake_ingestion")
        assert len(found()) == 1
        provisioning_of.mend(deployment.current().plan, "ingestion")
        assert found() == []
    finally:
        for name in ("search_path", "default_transaction_read_only", "lock_timeout"):
            server.sql(f"{mine} RESET {name}")


def test_a_dashboards_role_that_an_operator_let_in_is_left_alone(server: Server, catalog: None) -> None:
    server.sql("CREATE ROLE dashboard; GRANT CONNECT ON DATABASE lake_ingestion TO dashboard")
    try:
        assert found() == []
        provisioning_of.mend(deployment.current().plan, "ingestion")
        rights = server.sql("SELECT has_database_privilege('dashboard', 'lake_ingestion', 'CONNECT')")
        assert rights == [(True,)]
    finally:
        server.sql("DROP OWNED BY dashboard; DROP ROLE dashboard")


@pytest.mark.parametrize("guard", ["guard_runs", "guard_run_deletes"])
@pytest.mark.parametrize("how", ["DISABLE", "ENABLE REPLICA"])
def test_a_guard_that_was_switched_off_is_named_and_mended(server: Server, guard: str, how: str) -> None:
    server.sql(f"ALTER TABLE runs {how} TRIGGER {guard}")
    assert found() == [f"trigger {guard} of dagster: state: found disabled, expected enabled"]
    provisioning_of.mend(deployment.current().plan, "ingestion")
    assert found() == []


def test_a_lost_password_is_named_without_the_password(server: Server, files: Path) -> None:
    secret = files / "secrets" / "ingestion_database_password"
    right = secret.read_text()
    secret.write_text("another")
    try:
        (only,) = found()
    finally:
        secret.write_text(right)
    assert only.startswith("role ingestion: login to lake_ingestion: found ")
    assert "password authentication failed" in only
    assert "another" not in only


def execute(selection: dg.AssetSelection, **how: Any) -> dg.ExecuteInProcessResult:
    now = dg.Definitions(jobs=[dg.define_asset_job("now", selection)])
    return dg.Definitions.merge(provisioning(), now).resolve_job_def("now").execute_in_process(**how)


INGESTION = dg.AssetSelection.assets(["platform", "provisioning", "ingestion"])


def test_the_check_fails_and_names_it_and_materialising_mends_it(server: Server) -> None:
    server.sql("ALTER ROLE ingestion CONNECTION LIMIT 7")
    checked = execute(INGESTION - INGESTION.without_checks())
    (evaluation,) = checked.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.check_name == CHECK
    assert "role ingestion: connection limit: found 7, expected 100; materialise this asset" in str(
        evaluation.description
    )
    mended = execute(INGESTION)
    (evaluation,) = mended.get_asset_check_evaluations()
    assert evaluation.passed
    (made,) = mended.asset_materializations_for_node("platform__provisioning__ingestion")
    assert made.metadata["mended"].value == 1


def test_a_role_that_is_not_there_is_the_migrations_to_make(server: Server, files: Path) -> None:
    plan = deployment.current().plan
    server.sql("ALTER ROLE ingestion RENAME TO elsewhere")
    try:
        assert provisioning_of.missing(provisioning_of.drift(plan, "ingestion"))
        result = execute(INGESTION.without_checks(), raise_on_error=False)
        (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
        assert "run ./stack up" in str(failure.event_specific_data.user_failure_data)  # type: ignore[union-attr]
    finally:
        server.sql("ALTER ROLE elsewhere RENAME TO ingestion")
        # Renaming forgets no verifier of SCRAM, and no right.
    assert provisioning_of.drift(plan, "ingestion") == []
