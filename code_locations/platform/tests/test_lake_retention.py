"""Compaction and deletion in a lake: no row is lost, no file that somebody needs is deleted; on a real server."""

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from platform_location import clones, compaction, database, deployment
from platform_location.defs.retention.locations import retention
from platform_location.settings import LakeRetention

from .conftest import Server
from .lakes import contents, fill, lake, parquet

NOW = {"snapshot_days": 0, "file_days": 0, "small_files": 2}


pytestmark = pytest.mark.usefixtures("no_tables")


def keep(location: str = "ingestion", **config: Any) -> dict[str, Any]:
    """Materialises the lake's retention; its metadata."""
    key = dg.AssetKey(["platform", "retention", f"lake_{location}"])
    (asset,) = [one for one in retention().assets or [] if isinstance(one, dg.AssetsDefinition) and one.key == key]
    result = asset(dg.build_asset_context(), config=LakeRetention(**config))
    assert isinstance(result, dg.MaterializeResult)
    return dict(result.metadata or {})


def test_small_files_become_one_and_the_rows_stay(server: Server, settings: Path) -> None:
    root = settings / "lake" / "ingestion"
    with lake(server, settings) as connection:
        fill(connection)
        connection.execute("DELETE FROM lake.raw.events WHERE number % 7 = 0")
        before = contents(connection)
        assert len(parquet(root)) > 5
    found = keep(**NOW)
    assert (found["files_before"], found["files_after"]) == (6, 1)
    assert found["tables_compacted"] == ["raw.events"]
    assert found["files_deleted"] > 5
    assert found["bytes_freed"] > 0
    with lake(server, settings) as connection:
        assert contents(connection) == before
    assert len(parquet(root)) == 1
    again = keep(**NOW)
    assert (again["tables_compacted"], again["files_deleted"]) == ([], 0)


def test_time_travel_reaches_back_as_far_as_was_said_and_no_further(server: Server, settings: Path) -> None:
    with lake(server, settings) as connection:
        fill(connection)
        (middle,) = connection.execute("SELECT max(snapshot_id) - 3 FROM ducklake_snapshots('lake')").fetchall()[0]
        then = connection.execute(f"SELECT count(*) FROM lake.raw.events AT (VERSION => {middle})").fetchall()
    found = keep(snapshot_days=30, file_days=0, small_files=2)
    assert (found["snapshots_expired"], found["files_after"]) == (0, 1)
    with lake(server, settings) as connection:
        assert connection.execute(f"SELECT count(*) FROM lake.raw.events AT (VERSION => {middle})").fetchall() == then
    assert keep(**NOW)["snapshots_expired"] > 0
    with lake(server, settings) as connection, pytest.raises(duckdb.Error, match="No snapshot found"):
        connection.execute(f"SELECT count(*) FROM lake.raw.events AT (VERSION => {middle})").fetchall()


def test_a_dry_run_tells_and_changes_nothing(server: Server, settings: Path) -> None:
    with lake(server, settings) as connection:
        fill(connection)
        connection.execute("DELETE FROM lake.raw.events")
    files = parquet(settings)
    found = keep(**NOW, dry_run=True)
    assert found["snapshots_expired"] > 0
    assert parquet(settings) == files
    with lake(server, settings) as connection:
        assert connection.execute("SELECT count(*) FROM ducklake_snapshots('lake')").fetchall()[0][0] > 6


def test_files_younger_than_said_stay_for_who_reads_them_still(server: Server, settings: Path) -> None:
    with lake(server, settings) as connection:
        fill(connection)
        reader = connection.cursor()
        reader.execute("BEGIN")
        before = reader.execute("SELECT sum(number) FROM lake.raw.events").fetchall()
        found = keep(snapshot_days=0, file_days=1, small_files=2)
        assert (found["files_after"], found["files_deleted"]) == (1, 0)
        # In a transaction that began before the compaction: its snapshot's files are all there.
        assert reader.execute("SELECT sum(number) FROM lake.raw.events").fetchall() == before


def test_a_writer_of_the_kit_waits_for_the_compaction_and_not_the_other_way_round(
    server: Server, settings: Path
) -> None:
    with lake(server, settings) as connection:
        fill(connection)
    holder = server.connect("ingestion", "lake_ingestion")
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('lake ingestion.raw.events', 0))")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compaction, "_LOCK_PATIENCE_SECONDS", 1)
            with pytest.raises(Exception, match=r"another run has held 'lake ingestion\.raw\.events'"):
                keep(**NOW)
    holder.close()
    assert keep(**NOW)["files_after"] == 1


def test_rows_that_would_change_change_nothing(server: Server, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lake(server, settings) as connection:
        fill(connection)
    counts = iter([300, 299])
    monkeypatch.setattr(compaction, "_rows", lambda *_: next(counts))
    with pytest.raises(compaction.RowsChangedError, match=r"raw\.events: 300 rows, and 299 in larger files"):
        keep(**NOW)
    with database.lake("ingestion") as catalog:
        assert compaction.file_count(catalog) == 6


# --- clones ---------------------------------------------------------------------------------------------------------


def clone(server: Server, settings: Path, name: str = "lake_ingestion_branch_7", *, register: bool = True) -> None:
    """A copy as a branch will make it: registered first, then copied, then its files are named where they are."""
    if register:
        server.sql(f"INSERT INTO provisioning.lake_clones (lake, clone) VALUES ('lake_ingestion', '{name}')")
    server.sql(f"CREATE DATABASE {name} TEMPLATE lake_ingestion OWNER ingestion", database="postgres")
    root = settings / "lake" / "ingestion"
    for table in ("data_file", "delete_file"):
        server.sql(
            f"""UPDATE ducklake_{table} AS f SET path_is_relative = false,
                path = '{root}/' || s.path || t.path || f.path
                FROM ducklake_table AS t JOIN ducklake_schema AS s USING (schema_id) WHERE t.table_id = f.table_id""",
            database=name,
        )
    server.sql(f"UPDATE ducklake_metadata SET value = '{settings}/branch/' WHERE key = 'data_path'", database=name)
    server.sql("DELETE FROM ducklake_files_scheduled_for_deletion", database=name)


def test_a_clones_files_survive_until_it_is_gone(server: Server, settings: Path) -> None:
    name = "lake_ingestion_branch_7"
    with lake(server, settings) as connection:
        fill(connection)
        before = contents(connection)
    clone(server, settings, name)
    try:
        with lake(server, settings) as connection:
            connection.execute("DELETE FROM lake.raw.events WHERE number < 100")
        found = keep(**NOW)
        assert (found["files_after"], found["files_deleted"], found["clones"]) == (1, 0, [name])
        with lake(server, settings, database=name, data=settings / "branch") as connection:
            assert contents(connection) == before
            connection.execute("INSERT INTO lake.raw.events VALUES ('2014-01-01', 1, 'of the branch')")
        assert len(parquet(settings / "branch")) == 1
    finally:
        server.sql(f"DROP DATABASE {name}", database="postgres")
    assert keep(**NOW)["files_deleted"] == 0  # the entry says that it may be elsewhere still
    server.sql("DELETE FROM provisioning.lake_clones")
    assert keep(**NOW)["files_deleted"] > 5
    assert len(parquet(settings / "lake" / "ingestion")) == 1


def test_while_a_database_may_be_a_clone_nothing_is_deleted(server: Server, settings: Path) -> None:
    with lake(server, settings) as connection:
        fill(connection)
    files = parquet(settings)
    clone(server, settings, "lake_unknown", register=False)
    try:
        with pytest.raises(
            clones.UnknownCloneError, match=r"database lake_unknown of ingestion is neither .* Nothing was"
        ):
            keep(**NOW)
        assert parquet(settings) == files
    finally:
        server.sql("DROP DATABASE lake_unknown", database="postgres")


def test_the_lake_of_a_location_that_was_removed_is_no_clone(server: Server, settings: Path) -> None:
    server.sql("CREATE ROLE sales", database="postgres")
    server.sql("CREATE DATABASE lake_sales OWNER sales", database="postgres")
    try:
        with lake(server, settings) as connection:
            fill(connection)
        assert keep(**NOW)["files_after"] == 1
    finally:
        server.sql("DROP DATABASE lake_sales", database="postgres")
        server.sql("DROP ROLE sales", database="postgres")


def test_where_clones_cannot_be_read_nothing_is_deleted(server: Server, settings: Path) -> None:
    with lake(server, settings) as connection:
        fill(connection)
    files = parquet(settings)
    server.sql("REVOKE SELECT ON provisioning.lake_clones FROM platform")
    try:
        with pytest.raises(Exception, match="permission denied for table lake_clones"):
            keep(**NOW)
        assert parquet(settings) == files
    finally:
        server.sql("GRANT SELECT ON provisioning.lake_clones TO platform")


# --- what a location might plant ------------------------------------------------------------------------------------


@pytest.fixture
def both(server: Server, settings: Path) -> Path:
    """Two lakes; ingestion's owner means no good."""
    for name in ("ingestion", "analytics"):
        with lake(server, settings, name) as connection:
            fill(connection)
    return settings / "lake" / "analytics"


def plant(server: Server, statement: str) -> None:
    server.sql(statement, user="ingestion", database="lake_ingestion")


@pytest.mark.parametrize("how", ["absolute", "dots", "link"])
def test_a_location_cannot_have_another_lakes_files_deleted(
    server: Server, settings: Path, both: Path, how: str
) -> None:
    victim = next(iter(parquet(both)))
    (settings / "lake" / "ingestion" / "door").symlink_to(both)
    path = {"absolute": f"{both}/{victim}", "dots": f"../analytics/{victim}", "link": f"door/{victim}"}[how]
    plant(
        server,
        "INSERT INTO ducklake_files_scheduled_for_deletion VALUES "
        f"(9999, '{path}', {how != 'absolute'}, now() - interval '9 days')",
    )
    before = parquet(both)
    if how == "link":
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            keep(**NOW)
    else:
        assert keep(**NOW)["held"] == 1
    assert parquet(both) == before


def test_a_location_cannot_have_its_own_files_in_use_deleted_by_a_false_word(server: Server, settings: Path) -> None:
    with lake(server, settings) as connection:
        fill(connection, commits=1)
    (used,) = parquet(settings / "lake" / "ingestion")
    plant(
        server,
        f"INSERT INTO ducklake_files_scheduled_for_deletion VALUES (9999, '{used}', true, now() - interval '9 days')",
    )
    assert keep(**NOW)["held"] == 1
    with lake(server, settings) as connection:
        assert contents(connection)[0] == 50


@pytest.mark.parametrize("how", ["absolute", "dots", "link"])
def test_a_location_cannot_have_another_lakes_rows_written_into_its_own(
    server: Server, settings: Path, both: Path, how: str
) -> None:
    (settings / "lake" / "ingestion" / "door").symlink_to(both)
    place = {"absolute": f"{both}/raw/events/", "dots": "../analytics/raw/events/", "link": "door/raw/events/"}[how]
    theirs = sorted(parquet(both))
    with lake(server, settings) as connection:
        ours = connection.execute("SELECT data_file FROM ducklake_list_files('lake', 'events', schema => 'raw')")
        assert len(ours.fetchall()) == 6
    files = server.sql("SELECT data_file_id FROM ducklake_data_file ORDER BY 1", database="lake_ingestion")
    for (number,), name in zip(files, theirs, strict=True):
        plant(
            server,
            f"UPDATE ducklake_data_file SET path = '{place}{Path(name).name}', path_is_relative = false "
            f"WHERE data_file_id = {number}",
        )
        if how != "absolute":
            plant(
                server,
                f"UPDATE ducklake_data_file SET path = 'lake://files/{place}{Path(name).name}' "
                f"WHERE data_file_id = {number}",
            )
    with pytest.raises(
        Exception, match=r"LocalFileSystem has been disabled|is no path of a file|Not a directory|No such"
    ):
        keep(**NOW)
    with database.lake("ingestion") as catalog:
        assert compaction.file_count(catalog) == 6


def test_a_location_cannot_have_files_written_outside_its_lake(server: Server, settings: Path, both: Path) -> None:
    before = parquet(settings)
    plant(server, f"UPDATE ducklake_table SET path = '{both}/', path_is_relative = false")
    with pytest.raises(Exception, match="LocalFileSystem has been disabled"):
        keep(**NOW)
    assert parquet(settings) == before


def test_what_a_location_planted_on_its_catalog_runs_as_nobody_but_itself(
    server: Server, settings: Path, both: Path
) -> None:
    """Triggers run with the rights of who writes: were that the maintainer, its password would be the attacker's."""
    plant(server, "CREATE TABLE seen (who text, origin text)")
    plant(
        server,
        """CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.seen VALUES (current_user, session_user); RETURN NULL; END $$""",
    )
    for table in ("ducklake_snapshot", "ducklake_data_file", "ducklake_files_scheduled_for_deletion"):
        plant(server, f"CREATE TRIGGER spy AFTER INSERT OR DELETE ON {table} EXECUTE FUNCTION spy()")
    keep(**NOW)
    assert server.sql("SELECT DISTINCT who, origin FROM seen", database="lake_ingestion") == [
        ("ingestion", "ingestion")
    ]


def test_nobody_but_the_owner_ever_works_in_a_lakes_database(server: Server, settings: Path, both: Path) -> None:
    plan = deployment.current().plan
    from platform_location import provisioning_of

    provisioning_of.mend(plan, "ingestion")
    keep(**NOW)
    with database.lake("ingestion") as catalog:
        assert catalog.ask("SELECT current_user::text, session_user::text") == [("ingestion", "ingestion")]


# --- any history of writes ------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(1, 40)),
        st.tuples(st.just("delete"), st.integers(2, 9)),
        st.tuples(st.just("update"), st.integers(2, 9)),
        st.tuples(st.just("keep"), st.integers(0, 1)),
    ),
    min_size=4,
    max_size=7,
)


@hypothesis_settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_was_written_before_and_between_the_rows_stay(
    server: Server, settings: Path, steps: list[tuple[str, int]]
) -> None:
    with lake(server, settings) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS lake.raw; DROP TABLE IF EXISTS lake.raw.any_table")
        connection.execute("CREATE TABLE lake.raw.any_table (day date, number integer, note varchar)")
        for step, number in steps:
            if step == "insert":
                connection.execute(
                    f"INSERT INTO lake.raw.any_table SELECT DATE '2013-01-01', range::integer, 'x' FROM range({number})"
                )
            elif step == "delete":
                connection.execute(f"DELETE FROM lake.raw.any_table WHERE number % {number} = 0")
            elif step == "update":
                connection.execute(f"UPDATE lake.raw.any_table SET note = note || 'y' WHERE number % {number} = 1")
            else:
                before = contents(connection, "raw.any_table")
                keep(snapshot_days=number, file_days=0, small_files=2)
                assert contents(connection, "raw.any_table") == before
        before = contents(connection, "raw.any_table")
        keep(**NOW)
        assert contents(connection, "raw.any_table") == before
