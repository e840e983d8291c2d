"""Who may write what, at once or not; what must not be seen; what DuckDB may use."""

import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from dagster import AssetKey

from platform_kit.lake import LakeError, LakeResource, connection, limits
from platform_kit.lake.partitions import Partition, Partitions
from platform_kit.redaction import redact

KEY = AssetKey(["ingestion", "raw", "flights"])
TABLE = "ingestion.ada_raw.flights"
FIRST = Partitions(
    "day", (Partition("2013-01-01", datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC)),)
)

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_lake_access import write
for turn in range(5):
    write(f"{sys.argv[1]}-{turn}")
"""


def write(writer: str) -> None:
    frame = pl.DataFrame({"day": [date(2013, 1, 1)] * 50, "writer": [writer] * 50})
    LakeResource().replace(KEY, frame, FIRST)


def test_threads_that_write_one_partition_at_once_do_not_double_it(lake: LakeResource) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [str(number) for number in range(8)]))
    assert lake.query(f"SELECT count(*), count(DISTINCT writer) FROM {TABLE}").rows() == [(50, 1)]


def test_processes_that_write_one_partition_at_once_wait_for_each_other(lake: LakeResource) -> None:
    folder = str(Path(__file__).parent)
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, name, folder]) for name in ("a", "b")]
    assert [process.wait(90) for process in processes] == [0, 0]
    assert lake.query(f"SELECT count(*), count(DISTINCT writer) FROM {TABLE}").rows() == [(50, 1)]


def test_a_reader_of_one_table_may_write_another_at_once(lake: LakeResource) -> None:
    write("first")
    with lake.connect() as reading:
        relation = reading.sql(f"FROM {TABLE}")
        lake.replace(AssetKey(["ingestion", "marts", "copy"]), relation)
        assert relation.count("*").fetchall() == [(50,)]
    assert lake.query("SELECT count(*) FROM ingestion.ada_marts.copy").item() == 50


def test_a_conflict_is_tried_again() -> None:
    left = [1, 1, 0]

    def twice_in_conflict() -> str:
        if left.pop(0):
            raise duckdb.TransactionException("Failed to commit DuckLake transaction: Transaction conflict - ...")
        return "done"

    assert connection.retried(twice_in_conflict) == "done"


def test_a_conflict_without_end_is_given_up() -> None:
    def always() -> None:
        raise duckdb.IOException("Could not set lock on file 'x': Conflicting lock is held")

    with pytest.raises(LakeError, match="another writer was in the way for 0 seconds; run this again"):
        connection.retried(always, patience=0.2)


def test_what_is_no_conflict_is_not_tried_again() -> None:
    attempts: list[int] = []

    def wrong() -> None:
        attempts.append(1)
        raise duckdb.BinderException("no such column")

    with pytest.raises(duckdb.BinderException):
        connection.retried(wrong)
    assert len(attempts) == 1


def test_another_locations_lake_is_read_but_never_written(lake: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    write("owner")
    monkeypatch.setenv("CODE_LOCATION", "analytics")
    assert lake.query(f"SELECT count(*) FROM {TABLE}", reads=["ingestion"]).item() == 50
    with lake.connect(reads=["ingestion"]) as other:
        for statement in (f"DELETE FROM {TABLE}", f"DROP TABLE {TABLE}", "CREATE SCHEMA ingestion.mine"):
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                other.execute(statement)
    with pytest.raises(LakeError, match="a location writes its own lake only"):
        write("stranger")


def test_a_lake_that_is_not_there_is_named(lake: LakeResource) -> None:
    with pytest.raises(LakeError, match=r"there is no lake 'analytics' at .*analytics\.ducklake"):
        lake.query("SELECT 1", reads=["analytics"])


def test_a_lake_that_is_not_asked_for_is_not_attached(lake: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    write("owner")
    monkeypatch.setenv("CODE_LOCATION", "analytics")
    with pytest.raises(duckdb.Error, match="ingestion"):
        lake.query(f"FROM {TABLE}")


@pytest.mark.parametrize("path", [["flights"], ["raw", "flights"], ["ingestion", "raw", "a", "b"]])
def test_an_asset_key_that_is_no_table_is_refused(lake: LakeResource, path: list[str]) -> None:
    with pytest.raises(LakeError, match="expected catalog/schema/table"):
        lake.replace(AssetKey(path), pl.DataFrame({"a": [1]}))


def test_developers_tables_are_apart(lake: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    write("ada")
    monkeypatch.setenv("DEVELOPER", "grace")
    write("grace")
    assert lake.query("SELECT DISTINCT writer FROM ingestion.ada_raw.flights").item() == "ada"
    assert lake.query("SELECT DISTINCT writer FROM ingestion.grace_raw.flights").item() == "grace"


def test_a_catalog_that_does_not_answer_gives_no_password_away(
    lake: LakeResource, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {"DEPLOYMENT": "prod", "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1", "POSTGRES_USER": "ingestion"}
    for name, value in {**settings, "POSTGRES_PASSWORD": "hunter2 'quoted'"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((duckdb.Error, LakeError), match="Connection refused") as caught:
        lake.query("SELECT 1")
    seen = f"{''.join(traceback.format_exception(caught.value))} {caught.value!r} {capfd.readouterr()}"
    assert "hunter2" not in seen


@pytest.mark.parametrize(
    "text",
    [
        "Unable to connect to Postgres at host=db user=a password=hunter2 dbname=x",
        "PASSWORD 'hunter2'",
        "password: hunter2,",
        "could not open postgresql://ingestion:hunter2@db:5432/lake",
        "the token is hunter2",
    ],
)
def test_passwords_are_cut_out_of_messages(text: str) -> None:
    assert "hunter2" in text
    assert "hunter2" not in redact(text, "hunter2" if "token" in text else "")


def test_nothing_is_loaded_from_a_network(lake: LakeResource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # DuckDB looks below HOME for what somebody installed there.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(connection, "_instance", [])
    with lake.connect() as open_lake:
        connection._load(open_lake, "postgres_scanner")
        connection._load(open_lake, "httpfs")
        names = "('autoinstall_known_extensions', 'autoload_known_extensions')"
        settings = open_lake.execute(f"SELECT value FROM duckdb_settings() WHERE name IN {names}").fetchall()
        loaded = open_lake.execute(
            "SELECT install_mode FROM duckdb_extensions() WHERE loaded AND extension_name IN "
            "('ducklake', 'httpfs', 'postgres_scanner')"
        ).fetchall()
    assert settings == [("false",), ("false",)]
    # Loaded where the packages have them; installed would mean copied to the home folder.
    assert loaded == [("NOT_INSTALLED",)] * 3


def test_duckdb_stays_below_the_memory_of_its_container(lake: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory_bytes", lambda: 1 << 30)
    monkeypatch.setattr(limits, "cpus", lambda: 1)
    monkeypatch.setattr(connection, "_instance", [])
    with lake.connect() as open_lake:
        query = "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('temp_directory')"
        assert open_lake.execute(query).fetchall() == [("409.0 MiB", 1, "/tmp")]


@pytest.mark.parametrize(
    ("files", "megabytes"),
    [
        ({"memory.max": "536870912\n"}, 512),
        ({"memory/memory.limit_in_bytes": "268435456\n"}, 256),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_memory_limit_is_read_from_either_version_of_control_groups(
    tmp_path: Path, files: dict[str, str], megabytes: int | None
) -> None:
    _write(tmp_path, files)
    machine = limits.memory_bytes(tmp_path / "nothing")
    assert limits.memory_bytes(tmp_path) == (megabytes << 20 if megabytes else machine)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({}, 4),
    ],
)
def test_threads_follow_the_processors_of_the_container(
    tmp_path: Path, files: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3})
    _write(tmp_path, files)
    assert limits.cpus(tmp_path) == expected


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_definitions_load_without_the_heavy_libraries() -> None:
    heavy = "{'polars', 'duckdb', 'httpx', 'psycopg2', 'pyarrow', 'pandas'}"
    code = (
        "import sys, platform_kit.lake, platform_kit.postgres, platform_kit.http_api, platform_kit.embedded, "
        "platform_kit.checks, platform_kit.frame\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_environment_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport platform_kit.environment\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\nprint(new)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'platform_kit'}\n"
