"""What the migration says to the server, as text."""

import pytest
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from provisioning import statements
from provisioning.plan import (
    LOCATION_DELETES,
    LOCATION_INSERTS,
    LOCATION_UPDATES,
    Lake,
    Role,
    make_plan,
)
from psycopg2.sql import SQL, Composed, Identifier, Literal


def text(one):
    """A statement as the server would read it (psycopg2 itself needs a connection for that)."""
    if isinstance(one, Composed):
        return "".join(text(part) for part in one.seq)
    if isinstance(one, Identifier):
        return ".".join('"' + name.replace('"', '""') + '"' for name in one.strings)
    if isinstance(one, Literal):
        return repr(one.wrapped)
    assert isinstance(one, SQL)
    return one.string


def texts(many):
    return [text(one) for one in many]


LAKE = Lake("ingestion", ("analytics",))
# Dagster's tables, with their columns.
COLUMNS = {"alembic_version": ["version_num"]} | {
    name: [column.name for column in table.columns]
    for metadata in (SqlEventLogStorageMetadata, RunStorageSqlMetadata, ScheduleStorageSqlMetadata)
    for name, table in metadata.tables.items()
}


def test_a_role_begins_without_a_login():
    assert text(statements.create_role("ingestion")) == 'CREATE ROLE "ingestion" NOLOGIN'


def test_a_superuser_takes_every_power_from_a_role():
    (alter,) = texts(statements.alter_role(Role("ingestion", 100), "SCRAM-SHA-256$x", superuser=True))
    assert alter == (
        'ALTER ROLE "ingestion" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS '
        "CONNECTION LIMIT 100 PASSWORD 'SCRAM-SHA-256$x'"
    )


def test_an_administrator_who_is_no_superuser_says_nothing_he_may_not():
    (alter,) = texts(statements.alter_role(Role("ingestion", 100), "SCRAM-SHA-256$x", superuser=False))
    assert alter == "ALTER ROLE \"ingestion\" WITH LOGIN CONNECTION LIMIT 100 PASSWORD 'SCRAM-SHA-256$x'"


def test_settings_are_made_for_each_database():
    role = Role("ingestion", 1, {"dagster": {"statement_timeout": "5min"}})
    assert texts(statements.role_settings(role)) == [
        """ALTER ROLE "ingestion" IN DATABASE "dagster" SET "statement_timeout" = '5min'"""
    ]


@pytest.mark.parametrize(("version", "strategy"), [(140010, ""), (150000, " STRATEGY FILE_COPY")])
def test_a_database_is_made_for_its_owner_by_copying_files(version, strategy):
    assert text(statements.create_database("lake_ingestion", "ingestion", version)) == (
        f'CREATE DATABASE "lake_ingestion" OWNER "ingestion" TEMPLATE template0 ENCODING \'UTF8\'{strategy}'
    )


def test_a_database_is_closed_to_everybody_but_those_who_are_let_in():
    assert text(statements.close_database("lake_ingestion")) == 'REVOKE ALL ON DATABASE "lake_ingestion" FROM PUBLIC'
    assert texts(statements.connect("lake_ingestion", ["analytics"])) == [
        'GRANT CONNECT ON DATABASE "lake_ingestion" TO "analytics"'
    ]


@pytest.mark.parametrize(("version", "count"), [(140010, 2), (150000, 1), (170000, 1)])
def test_before_version_15_the_schema_is_taken_over_first(version, count):
    made = texts(statements.close_schema("dagster_owner", version))
    assert len(made) == count
    assert made[-1] == "REVOKE ALL ON SCHEMA public FROM PUBLIC"


def test_a_reader_sees_what_is_there_and_what_will_be_and_nothing_else():
    assert texts(statements.grant_reader(LAKE, "analytics")) == [
        'GRANT USAGE ON SCHEMA public TO "analytics"',
        'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "analytics"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "ingestion" IN SCHEMA public GRANT SELECT ON TABLES TO "analytics"',
    ]


def test_all_that_a_reader_got_is_taken_back():
    assert texts(statements.revoke_reader(LAKE, "analytics")) == [
        'ALTER DEFAULT PRIVILEGES FOR ROLE "ingestion" IN SCHEMA public REVOKE ALL ON TABLES FROM "analytics"',
        'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "analytics"',
        'REVOKE ALL ON SCHEMA public FROM "analytics"',
        'REVOKE ALL ON DATABASE "lake_ingestion" FROM "analytics"',
    ]


def test_each_right_on_a_table_is_taken_back_before_it_is_given():
    # Else what an older release granted would stay.
    made = texts(statements.grant_dagster(["dagster", "ingestion"], ["runs", "run_tags"]))
    assert made == [
        'GRANT USAGE ON SCHEMA public TO "dagster"',
        'REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM "dagster"',
        'GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO "dagster"',
        'REVOKE ALL ON "public"."run_tags" FROM "dagster"',
        'GRANT SELECT, INSERT, UPDATE, DELETE ON "public"."run_tags" TO "dagster"',
        'REVOKE ALL ON "public"."runs" FROM "dagster"',
        'GRANT SELECT, INSERT, UPDATE, DELETE ON "public"."runs" TO "dagster"',
        'GRANT USAGE ON SCHEMA public TO "ingestion"',
        'REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM "ingestion"',
        'REVOKE ALL ON "public"."run_tags" FROM "ingestion"',
        'GRANT SELECT, INSERT ("key", "run_id", "value"), UPDATE ("value") ON "public"."run_tags" TO "ingestion"',
        'GRANT USAGE, SELECT ON SEQUENCE "public"."run_tags_id_seq" TO "ingestion"',
        'REVOKE ALL ON "public"."runs" FROM "ingestion"',
        'GRANT SELECT, UPDATE ("end_time", "partition", "partition_set", "run_body", "start_time", "status", '
        '"update_timestamp") ON "public"."runs" TO "ingestion"',
    ]


def rights(table, **how):
    return {right.verb: right.columns for right in statements.table_rights("ingestion", table, **how)}


@pytest.mark.parametrize("table", sorted(set(COLUMNS) - {*LOCATION_INSERTS, *LOCATION_UPDATES}))
def test_a_location_cannot_write_what_only_the_daemon_writes(table):
    # Writing there, it could switch off another's schedules, start backfills of its assets, move the daemon's cursors,
    # or claim that a dead daemon lives.
    assert rights(table) == {"SELECT": ()}


def test_what_only_the_daemon_writes_is_most_of_it():
    assert {"instigators", "jobs", "bulk_actions", "daemon_heartbeats", "kvs", "alembic_version", "snapshots"} <= (
        set(COLUMNS) - {*LOCATION_INSERTS, *LOCATION_UPDATES}
    )


@pytest.mark.parametrize("table", ["event_logs", "runs", "run_tags", "asset_keys", "asset_check_executions"])
def test_history_is_append_only_for_a_location(table):
    assert "DELETE" not in rights(table)


@pytest.mark.parametrize("table", LOCATION_DELETES)
def test_a_location_gives_pool_slots_and_dynamic_partitions_back(table):
    assert "DELETE" in rights(table)


def test_what_a_location_has_told_stays_as_it_was_told():
    # With UPDATE it could date back, or hide, what another location's run has said.
    assert sorted(rights("event_logs")) == ["INSERT", "SELECT"]


def test_only_the_services_say_that_there_is_a_run():
    # A run that a location adds could name another location, and code of its choice.
    assert sorted(rights("runs")) == ["SELECT", "UPDATE"]
    assert [right.verb for right in statements.table_rights("dagster", "runs")] == [
        "SELECT", "INSERT", "UPDATE", "DELETE"]  # fmt: skip


def test_only_the_services_wipe_an_asset():
    assert not [column for columns in rights("asset_keys").values() for column in columns if "wipe" in column]
    assert "asset_details" not in rights("asset_keys")["UPDATE"]


@pytest.mark.parametrize("table", COLUMNS)
def test_a_location_writes_no_whole_table(table):
    # With a right on all of it, it could lock the table, and choose the numbers of rows.
    assert [verb for verb, columns in rights(table).items() if not columns and verb not in ("SELECT", "DELETE")] == []


# What the server fills in by itself, and what webserver and daemon say.
LEFT_OUT = {"id", "create_timestamp", "update_timestamp", "cached_status_data", "tags", "asset_details",
            "wipe_timestamp"}  # fmt: skip


@pytest.mark.parametrize("table", LOCATION_INSERTS)
def test_the_columns_named_here_are_dagsters(table):
    # One that Dagster adds or renames would break every run, or be nobody's to write.
    assert set(COLUMNS[table]) - LEFT_OUT == set(LOCATION_INSERTS[table]) - LEFT_OUT == set(LOCATION_INSERTS[table])
    assert set(LOCATION_UPDATES.get(table, ())) <= set(COLUMNS[table])


def test_the_services_cannot_change_the_schemas_version():
    assert statements.table_rights("dagster", "alembic_version") == (statements.Right("SELECT"),)


def test_the_tables_named_here_are_dagsters():
    # A table that Dagster renames would silently become one that locations only read.
    assert {*LOCATION_DELETES, *LOCATION_INSERTS, *LOCATION_UPDATES} <= set(COLUMNS)
    assert set(LOCATION_UPDATES["runs"]) <= set(COLUMNS["runs"])


@pytest.mark.parametrize("name", ['a"; DROP DATABASE dagster; --', "a'b", "a b"])
def test_a_name_cannot_become_sql(name):
    quoted = '"' + name.replace('"', '""') + '"'
    assert text(statements.create_role(name)) == f"CREATE ROLE {quoted} NOLOGIN"


def test_the_plan_lets_each_location_read_what_access_yaml_names():
    plan = make_plan({"analytics": ["ingestion"], "ingestion": []})
    assert plan.lakes == (Lake("analytics"), Lake("ingestion", ("analytics",)))
    assert [role.name for role in plan.roles] == ["dagster_owner", "dagster", "analytics", "ingestion"]


def test_a_large_load_may_hold_its_lakes_transaction_open():
    # The server's own limit is ten minutes, which a year of data takes to write.
    (role,) = [role for role in make_plan({"ingestion": []}).roles if role.name == "ingestion"]
    assert role.settings["lake_ingestion"]["idle_in_transaction_session_timeout"] == "12h"
    assert role.settings["dagster"]["idle_in_transaction_session_timeout"] == "2min"


def test_one_location_leaves_connections_to_others_and_to_dagster():
    limits = {role.name: role.connections for role in make_plan({"ingestion": [], "analytics": []}).roles}
    assert all(limit > 0 for limit in limits.values())
    assert sum(limits.values()) <= 300 - 5
