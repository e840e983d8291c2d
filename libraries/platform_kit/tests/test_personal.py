"""Personal columns: nothing of them is in the lake but seals; only who has the owner's key sees them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from platform_kit.environment import current
from platform_kit.lake import LakeError, LakeIOManager, LakeResource
from platform_kit.personal import PERSONAL, keys, sealing, tagged_columns
from platform_kit.personal.keys import PersonalDataError

KEY = dg.AssetKey(["ingestion", "raw", "contacts"])
TABLE = "ingestion.ada_raw.contacts"
CONTACTS = pl.DataFrame({
    "carrier": ["AA", "UA", "DL", "WN"],
    "name": ["Anna Smith", "Bo Lindqvist", "Anna Smith", None],
    "email": ["anna@aa.example", "bo@ua.example", "anna@aa.example", None],
    "born": [date(1980, 5, 17), None, date(1980, 5, 17), date(1999, 12, 31)],
    "called": [datetime(2013, 1, 1, 5, 0, 0, 7, tzinfo=UTC), None, None, datetime(2013, 1, 1, tzinfo=UTC)],
    "salary": [12345.67, 0.1, None, 1e300],
    "family": [3, None, 0, -1],
})  # fmt: skip
SECRET_COLUMNS = ("name", "email", "born", "called", "salary", "family")
CLEAR = (b"Anna", b"Smith", b"Lindqvist", b"anna@", b".example", b"1980-05-17", b"12345.67")


@pytest.fixture
def root(lake_root: Path) -> Path:
    return lake_root


@pytest.fixture
def stored(lake: LakeResource) -> LakeResource:
    """A lake with the contacts in it."""
    lake.replace(KEY, CONTACTS, personal=SECRET_COLUMNS)
    return lake


@pytest.fixture
def stranger(stored: LakeResource, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LakeResource]:
    """Another location that may read the lake, and has no key of it."""
    monkeypatch.setenv("CODE_LOCATION", "analytics")
    (root / "personal_data_key_ingestion").rename(root / "hidden")
    yield LakeResource()
    (root / "hidden").rename(root / "personal_data_key_ingestion")


def test_the_owner_reads_what_it_wrote_with_its_types(stored: LakeResource) -> None:
    assert stored.query(f"FROM {TABLE}").equals(CONTACTS)
    assert stored.query(f"FROM {TABLE}").schema == CONTACTS.schema


def test_no_file_of_the_lake_holds_a_value(stored: LakeResource, root: Path) -> None:
    # Parquet files, and the catalog with its statistics and rows that it keeps itself.
    files = [path for path in root.rglob("*") if path.is_file() and "key" not in path.name]
    assert {path.suffix for path in files} >= {".ducklake"}
    with stored.connect() as connection:
        connection.execute("CALL ducklake_flush_inlined_data('ingestion')")
    files = [path for path in root.rglob("*") if path.is_file() and "key" not in path.name]
    assert {path.suffix for path in files} >= {".ducklake", ".parquet"}
    for path in files:
        content = path.read_bytes()
        for value in CLEAR:
            assert value not in content, path


def test_no_statistics_of_the_catalog_hold_a_value(stored: LakeResource, root: Path) -> None:
    with duckdb.connect(str(root / "ingestion.ducklake"), read_only=True) as catalog:
        tables = [row[0] for row in catalog.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        assert "ducklake_file_column_stats" in tables
        told = str([catalog.execute(f'FROM "{name}"').fetchall() for name in tables])
    for value in CLEAR:
        assert value.decode() not in told


def test_a_stranger_reads_seals_and_no_error(stranger: LakeResource) -> None:
    frame = stranger.query(f"FROM {TABLE}", reads=["ingestion"])
    assert frame["carrier"].to_list() == CONTACTS["carrier"].to_list()
    for column in SECRET_COLUMNS:
        assert frame[column].null_count() == CONTACTS[column].null_count()
        assert all(value.startswith("personal:v1:ingestion:") for value in frame[column].drop_nulls())


def test_a_stranger_needs_no_package_for_it(stranger: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    assert stranger.query(f"SELECT email FROM {TABLE}", reads=["ingestion"]).height == 4


def test_a_stranger_counts_and_joins_what_it_cannot_read(stranger: LakeResource) -> None:
    query = f"SELECT count(DISTINCT email), count(*) FROM {TABLE} JOIN {TABLE} AS o USING (email)"
    assert stranger.query(query, reads=["ingestion"]).rows() == [(2, 5)]


def test_another_location_with_the_key_reads_in_clear(stored: LakeResource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODE_LOCATION", "reporting")
    assert LakeResource().query(f"FROM {TABLE}", reads=["ingestion"]).equals(CONTACTS)


def test_a_stranger_passes_seals_on_as_they_are(
    stranger: LakeResource, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = stranger.query(f"SELECT carrier, email FROM {TABLE}", reads=["ingestion"])
    stranger.replace(dg.AssetKey(["analytics", "marts", "copy"]), frame, personal=("email",))
    (root / "hidden").rename(root / "personal_data_key_ingestion")
    monkeypatch.setenv("CODE_LOCATION", "ingestion")
    copied = LakeResource().query("SELECT email FROM analytics.ada_marts.copy", reads=["analytics"])
    (root / "personal_data_key_ingestion").rename(root / "hidden")
    assert copied["email"].to_list() == CONTACTS["email"].to_list()


def test_seals_that_a_model_copied_are_opened_for_who_has_the_key(stored: LakeResource) -> None:
    with stored.connect() as connection:
        connection.execute("CREATE SCHEMA ingestion.ada_marts")
        connection.execute(f"CREATE TABLE ingestion.ada_marts.copied AS SELECT carrier, email FROM {TABLE}")

    @dg.asset(
        key=["ingestion", "marts", "reader"], ins={"copied": dg.AssetIn(dg.AssetKey(["ingestion", "marts", "copied"]))}
    )
    def reader(copied: pl.DataFrame) -> None:
        assert copied.equals(CONTACTS.select("carrier", "email"))

    copied = dg.AssetSpec(["ingestion", "marts", "copied"])
    assert dg.materialize([copied, reader], resources={"io_manager": LakeIOManager()}).success


def test_a_wrong_key_opens_nothing(stored: LakeResource, root: Path) -> None:
    (root / "personal_data_key_ingestion").write_text("A" * 43)
    assert all(sealing.is_seal(value) for value in stored.query(f"FROM {TABLE}")["email"].drop_nulls())


def test_a_seal_that_was_altered_or_moved_to_another_owner_is_not_opened(stored: LakeResource, root: Path) -> None:
    (root / "personal_data_key_other").write_text((root / "personal_data_key_ingestion").read_text())
    with stored.connect() as connection:
        seal = connection.execute(f"SELECT email FROM {TABLE} LIMIT 1").fetchall()[0][0]
    altered = seal[:-1] + ("A" if seal[-1] != "A" else "B")
    moved = seal.replace(":ingestion:", ":other:")
    later = seal.replace(":v1:", ":v2:")
    frame = pl.DataFrame({"x": [seal, altered, moved, later, "personal:v1:x", "personal:v1:ingestion:" + "A" * 40]})
    shown = sealing.opened(frame, current())["x"].to_list()
    assert shown == ["anna@aa.example", *frame["x"].to_list()[1:]]


def test_text_that_imitates_a_seal_is_sealed(lake: LakeResource) -> None:
    imitation = "personal:v1:ingestion:" + "A" * 40
    lake.replace(KEY, pl.DataFrame({"email": [imitation]}), personal=("email",))
    with lake.connect() as connection:
        assert connection.execute(f"SELECT email FROM {TABLE}").fetchall()[0][0] != imitation
    assert lake.query(f"FROM {TABLE}").item() == imitation


def test_a_new_key_seals_and_the_old_one_still_opens(stored: LakeResource, root: Path) -> None:
    with (root / "personal_data_key_ingestion").open("a") as file:
        file.write("B" * 43 + "\n")
    assert stored.query(f"FROM {TABLE}").equals(CONTACTS)
    stored.replace(KEY, CONTACTS)
    with stored.connect() as connection:
        kinds = connection.execute(f"SELECT DISTINCT email[:22] FROM {TABLE} WHERE email NOT NULL").fetchall()
    assert kinds == [("personal:v2:ingestion:",)]
    assert stored.query(f"FROM {TABLE}").equals(CONTACTS)


def test_a_sealed_column_stays_sealed_when_the_tag_is_forgotten(stored: LakeResource) -> None:
    stored.replace(KEY, CONTACTS)
    with stored.connect() as connection:
        assert sealing.is_seal(connection.execute(f"SELECT name FROM {TABLE} LIMIT 1").fetchall()[0][0])


def test_a_column_that_becomes_personal_is_not_half_sealed(lake: LakeResource) -> None:
    from platform_kit.lake.partitions import Partition, Partitions

    first, second = (Partitions("carrier", (Partition(key),)) for key in ("AA", "UA"))
    lake.replace(KEY, CONTACTS.head(1).select("carrier", "name"), first)
    with pytest.raises(LakeError, match=r"column name of .* became personal, but rows of other partitions hold it"):
        lake.replace(KEY, CONTACTS[1:2].select("carrier", "name"), second, personal=("name",))
    assert lake.query(f"FROM {TABLE}")["name"].to_list() == ["Anna Smith"]


def test_without_a_key_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPLOYMENT", "prod")
    monkeypatch.setattr(keys, "SECRETS", tmp_path)
    with pytest.raises(PersonalDataError, match=r"ingestion writes personal columns, but has no key: .*_ingestion"):
        sealing.seal(CONTACTS, ("email",), current())


@pytest.mark.parametrize("content", ["short", "%%%%", "A" * 43 + "\nshort\n", "A" * 44])
def test_a_broken_key_is_told_by_its_line_and_not_shown(root: Path, content: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "personal_data_key_ingestion").write_text(content)
    with pytest.raises(PersonalDataError, match=r"line [12] of .* is no key: expected 32 random bytes") as error:
        sealing.seal(CONTACTS, ("email",), current())
    assert "short" not in str(error.value).replace(str(root), "")


def test_a_laptop_makes_a_key_that_only_its_user_reads(stored: LakeResource, root: Path) -> None:
    assert (root / "personal_data_key_ingestion").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in root.glob(".personal*")] == []


def contacts_asset(frame: pl.DataFrame = CONTACTS) -> dg.AssetsDefinition:
    columns = [
        dg.TableColumn(name, "VARCHAR", tags=PERSONAL if name in SECRET_COLUMNS else None) for name in frame.columns
    ]

    @dg.asset(key=KEY, metadata={"dagster/column_schema": dg.TableSchema(columns)})
    def contacts() -> pl.DataFrame:
        return frame

    return contacts


@dg.asset(key=["ingestion", "marts", "eager"], ins={"contacts": dg.AssetIn(KEY)})
def eager(contacts: pl.DataFrame) -> None:
    assert contacts.equals(CONTACTS)


@dg.asset(key=["ingestion", "marts", "lazy"], ins={"contacts": dg.AssetIn(KEY)})
def lazy(contacts: pl.LazyFrame) -> None:
    assert contacts.collect_schema() == CONTACTS.schema
    found = contacts.filter(pl.col("born") > date(1990, 1, 1)).select("carrier", "email", "born").collect()
    assert found.rows() == [("WN", None, date(1999, 12, 31))]


@dg.asset(key=["ingestion", "marts", "unopened"], ins={"contacts": dg.AssetIn(KEY)})
def unopened(contacts: duckdb.DuckDBPyRelation) -> None:
    assert all(sealing.is_seal(row[0]) for row in contacts.select("email").filter("email NOT NULL").fetchall())


def test_the_tag_in_the_schema_is_enough(lake: LakeResource) -> None:
    assets = [contacts_asset(), eager, lazy, unopened]
    assert dg.materialize(assets, resources={"io_manager": LakeIOManager()}).success
    with lake.connect() as connection:
        assert sealing.is_seal(connection.execute(f"SELECT name FROM {TABLE} LIMIT 1").fetchall()[0][0])
    assert tagged_columns({"dagster/column_schema": dg.TableSchema([dg.TableColumn("a")])}) == ()


@pytest.mark.parametrize("frame", [CONTACTS, CONTACTS.clear(), CONTACTS.tail(1)])
def test_a_reader_gets_the_types_back_however_little_there_is(lake: LakeResource, frame: pl.DataFrame) -> None:
    @dg.asset(key=["ingestion", "marts", "reader"], ins={"contacts": dg.AssetIn(KEY)})
    def reader(contacts: pl.DataFrame) -> None:
        assert contacts.schema == CONTACTS.schema
        assert contacts.equals(frame)

    assert dg.materialize([contacts_asset(frame), reader], resources={"io_manager": LakeIOManager()}).success


def test_no_event_of_a_run_tells_a_value(lake: LakeResource) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([contacts_asset()], resources={"io_manager": LakeIOManager()}, instance=instance)
        told = str(instance.all_logs(result.run_id))
    (event,) = result.get_asset_materialization_events()
    preview = event.materialization.metadata["lake/preview"].value
    assert "| AA | (personal) | (personal) |" in preview
    assert "| WN |  |  | (personal) |" in preview
    for value in CLEAR:
        assert value.decode() not in told
    columns = event.materialization.metadata["dagster/column_schema"].value.columns
    assert [column.name for column in columns if "personal" in column.tags] == list(SECRET_COLUMNS)


PRINTS = """
import polars as pl, dagster as dg
from platform_kit.lake import LakeResource
lake, key = LakeResource(), dg.AssetKey(["ingestion", "raw", "contacts"])
lake.replace(key, pl.DataFrame({"name": ["Anna Smith"]}), personal=("name",))
print("wrote Anna Smith, read", lake.query("FROM ingestion.ada_raw.contacts").item())
print("read", "".join(["Bo", " ", "Lindqvist"]))
print(lake.query("FROM ingestion.ada_raw.others").item())
"""


def test_what_was_read_or_written_is_not_printed_in_a_container(lake: LakeResource) -> None:
    # A name matches no pattern: the process that redacts the output is told of it, by who reads and by who writes.
    lake.replace(dg.AssetKey(["ingestion", "raw", "others"]), pl.DataFrame({"name": ["Cy Young"]}), personal=("name",))
    library = Path(__file__).parents[2] / "redaction" / "src"
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from redaction.supervisor import main; main(sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1] / 'src'}:{library}"}
    command = [sys.executable, "-ISc", start, str(library), sys.executable, "-c", PRINTS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote [personal], read [personal]\nread Bo Lindqvist\n[personal]\n"


@pytest.mark.parametrize("kind", ["DATE", "DECIMAL(10,2)", "TIMESTAMP WITH TIME ZONE", "INTEGER[]", "BIGINT"])
def test_a_seal_says_which_type_its_value_had(kind: str) -> None:
    assert sealing._TYPE.fullmatch(kind)


@pytest.mark.parametrize(
    "kind", ["VARCHAR) || (SELECT content FROM read_text('/run/secrets/x')", "DATE; DROP", "a", ""]
)
def test_a_type_that_is_sql_is_no_type(kind: str) -> None:
    assert not sealing._TYPE.fullmatch(kind)
