"""Tables of lakes in a bucket of a real server of S3, over TLS, each location by a key of its own."""

import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from operations.testing import object_store
from operations.testing.object_store import ObjectStore
from platform_kit.environment import SettingError, lake_bucket
from platform_kit.lake import LakeError, LakeIOManager, LakeResource, connection
from platform_kit.lake.partitions import Partition, Partitions

RIGHTS = {
    "operator": ["Admin", "Read", "Write", "List"],
    "ingestion": [f"{action}:lakes/prod/ingestion/*" for action in ("Read", "Write", "List")],
    "reporting": [
        *(f"{action}:lakes/prod/reporting/*" for action in ("Read", "Write", "List")),
        *(f"{action}:lakes/prod/ingestion/*" for action in ("Read", "List")),
    ],
}

KEY = dg.AssetKey(["ingestion", "raw", "flights"])
TABLE = "ingestion.ada_raw.flights"
FIRST = Partitions(
    "day", (Partition("2013-01-01", datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC)),)
)
Location = Callable[[str], LakeResource]


def write(writer: str) -> None:
    frame = pl.DataFrame({"day": [date(2013, 1, 1)] * 50, "writer": [writer] * 50})
    LakeResource().replace(KEY, frame, FIRST)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store.running(tmp_path_factory.mktemp("s3"), "127.0.0.1", RIGHTS) as server:
        yield server


@pytest.fixture
def location(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, lake_root: Path) -> Iterator[Location]:
    """Makes this process one of that location's; the bucket is empty at first."""
    object_store.empty(store, "lakes")

    def become(name: str, key: str = "") -> LakeResource:
        bucket = {"BUCKET": "lakes", "PREFIX": "prod", "ENDPOINT": store.endpoint, "REGION": object_store.REGION}
        opened = {"KEY": store.keys[key or name].id, "KEY_SECRET": store.keys[key or name].secret}
        for setting, value in {**bucket, **opened, "AUTHORITY": str(store.authority)}.items():
            monkeypatch.setenv(f"LAKE_S3_{setting}", value)
        monkeypatch.setenv("CODE_LOCATION", name)
        return LakeResource()

    yield become
    # The next test's certificate may be by another authority: DuckDB keeps what it was told.
    connection._instance.clear()


@contextmanager
def own_connection(store: ObjectStore, name: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A location's code may use its key otherwise than the library does: for every address."""
    values = f"KEY_ID '{store.keys[name].id}', SECRET '{store.keys[name].secret}'"
    server = f"ENDPOINT '{store.endpoint}', REGION '{object_store.REGION}', URL_STYLE 'path'"
    with LakeResource().connect() as lake:
        lake.execute(f"CREATE OR REPLACE SECRET wide (TYPE s3, {values}, {server}, SCOPE 's3://')")
        try:
            yield lake
        finally:
            lake.execute("DROP SECRET wide")


def files(store: ObjectStore) -> list[str]:
    return object_store.listing(store, "lakes")


def test_a_table_is_written_to_the_locations_prefix_and_read_back(location: Location, store: ObjectStore) -> None:
    lake = location("ingestion")
    write("first")
    write("second")
    assert lake.query(f"SELECT count(*), min(writer) FROM {TABLE}").rows() == [(50, "second")]
    found = files(store)
    assert len(found) == 2
    assert all(name.startswith("prod/ingestion/ada_raw/flights/ducklake-") for name in found)
    assert not [path for path in lake.environment.lake_data_path().rglob("*") if path.is_file()]


def test_a_materialisation_says_where_the_table_is(location: Location) -> None:
    location("ingestion")

    @dg.asset(key=KEY)
    def flights() -> pl.DataFrame:
        return pl.DataFrame({"day": [date(2013, 1, 1)]})

    result = dg.materialize([flights], resources={"io_manager": LakeIOManager()})
    (event,) = result.asset_materializations_for_node("__".join(KEY.path))
    assert event.metadata["dagster/uri"].value == "s3://lakes/prod/ingestion/ada_raw/flights"


def test_another_location_reads_and_the_server_refuses_its_writes(location: Location, store: ObjectStore) -> None:
    location("ingestion")
    write("owner")
    before = files(store)
    reader = location("reporting")
    assert reader.query(f"SELECT count(*) FROM {TABLE}", reads=["ingestion"]).item() == 50
    with reader.connect(reads=["ingestion"]) as other:
        for name in ("x.parquet", Path(before[0]).name):
            with pytest.raises(duckdb.Error, match="AccessDenied"):
                other.execute(f"COPY (SELECT 1) TO 's3://lakes/prod/ingestion/ada_raw/flights/{name}' (FORMAT parquet)")
    assert files(store) == before


@pytest.mark.parametrize(
    "place",
    [
        "s3://lakes/prod/reporting/x.parquet",
        "s3://lakes/prod/ingestion2/x.parquet",
        "s3://lakes/prod/x.parquet",
        "s3://lakes/staging/ingestion/x.parquet",
        "s3://lakes/prod/ingestion/../reporting/x.parquet",
        "s3://lakes/x.parquet",
        "s3://another-bucket/prod/ingestion/x.parquet",
    ],
)
def test_a_key_writes_nowhere_but_below_its_own_prefix(location: Location, store: ObjectStore, place: str) -> None:
    location("ingestion")
    write("owner")
    before = files(store)
    with (
        own_connection(store, "ingestion") as lake,
        pytest.raises(duckdb.Error, match=r"40[03]|AccessDenied|Forbidden|Bad Request"),
    ):
        lake.execute(f"COPY (SELECT 1 AS one) TO '{place}' (FORMAT parquet)")
    assert files(store) == before


@pytest.mark.parametrize("place", ["prod/reporting/secret.parquet", "staging/ingestion/secret.parquet"])
def test_a_key_reads_nothing_that_it_was_not_given(location: Location, store: ObjectStore, place: str) -> None:
    location("ingestion")
    write("owner")
    object_store.put(store, "lakes", place, b"not a table, and none of theirs")
    with own_connection(store, "ingestion") as lake, pytest.raises(duckdb.Error, match=r"403|AccessDenied|Forbidden"):
        lake.execute(f"FROM read_text('s3://lakes/{place}')")


def test_the_key_goes_to_no_other_bucket(location: Location) -> None:
    location("ingestion")
    write("owner")
    with LakeResource().connect() as lake:
        found = lake.execute("SELECT name FROM which_secret('s3://elsewhere/prod/ingestion/x', 's3')").fetchall()
    assert found == []


def test_a_lake_that_was_in_a_folder_is_not_silently_continued_on_s3(
    location: Location, lake_root: Path, store: ObjectStore
) -> None:
    write("in a folder")
    location("ingestion")
    with pytest.raises(LakeError, match=r"made elsewhere than in s3://lakes/prod/ingestion/.*docs/object-storage"):
        write("on S3")
    assert files(store) == []
    shutil.rmtree(lake_root)


def test_a_server_whose_certificate_is_anothers_is_not_spoken_to(
    location: Location, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.certificates(tmp_path, "127.0.0.1")
    location("ingestion")
    monkeypatch.setenv("LAKE_S3_AUTHORITY", str(tmp_path / "authority.pem"))
    with pytest.raises(duckdb.Error, match="SSL peer certificate"):
        write("trusting")
    assert files(store) == []


def test_a_wrong_key_is_refused_and_not_shown(
    location: Location, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    location("ingestion")
    monkeypatch.setenv("LAKE_S3_KEY_SECRET", "hunter2 'quoted'")
    with pytest.raises((duckdb.Error, LakeError), match="403") as caught:
        write("guessing")
    seen = f"{''.join(traceback.format_exception(caught.value))} {caught.value!r} {capfd.readouterr()}"
    assert "hunter2" not in seen


@pytest.mark.parametrize("missing", ["PREFIX", "ENDPOINT", "REGION", "KEY", "KEY_SECRET"])
def test_settings_that_are_half_there_are_named(
    location: Location, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    location("ingestion")
    monkeypatch.setenv(f"LAKE_S3_{missing}", "")
    with pytest.raises(SettingError, match=f"LAKE_S3_{missing} is not set"):
        write("half")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("BUCKET", "lakes/prod"),
        ("BUCKET", "s3://lakes"),
        ("PREFIX", "/prod"),
        ("PREFIX", "prod/"),
        ("PREFIX", "prod/../staging"),
        ("PREFIX", "prod*"),
        ("ENDPOINT", "http://127.0.0.1:1"),
    ],
)
def test_settings_that_would_lead_elsewhere_are_refused(
    location: Location, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    location("ingestion")
    monkeypatch.setenv(f"LAKE_S3_{setting}", value)
    with pytest.raises(SettingError, match=f"LAKE_S3_{setting} is "):
        lake_bucket()


def test_an_image_without_the_extension_says_what_to_pin(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    location("ingestion")
    monkeypatch.setattr(connection, "find_spec", lambda name: None if name.endswith("httpfs") else name)
    with pytest.raises(LakeError, match=r"no duckdb-extension-httpfs: pin platform_kit\[s3\]"):
        LakeResource().replace(KEY, pl.DataFrame({"day": [date(2013, 1, 1)]}), FIRST)
