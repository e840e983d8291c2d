"""Tables of the lake, written and read through the I/O manager as an asset does."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import dagster as dg
import duckdb
import polars as pl
import pytest

from platform_kit.lake import LakeError, LakeIOManager, LakeResource, connection

# Dagster calls the parameter beta since 1.5; one run for a backfill is what this library is fast at.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-02-01")
KEY = dg.AssetKey(["ingestion", "raw", "flights"])
TABLE = "ingestion.ada_raw.flights"


def flights(*days: int, rows: int = 2, note: str = "first") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "day": [date(2013, 1, day) for day in days for _ in range(rows)],
            "number": list(range(rows)) * len(days),
            "note": [note] * rows * len(days),
        },
        schema={"day": pl.Date, "number": pl.Int64, "note": pl.String},
    )


def asset_of(value: Callable[[], object], **arguments: Any) -> dg.AssetsDefinition:
    @dg.asset(key=KEY, **arguments)
    def some_asset() -> Any:
        return value()

    return some_asset


def daily(value: Callable[[], object], **metadata: Any) -> dg.AssetsDefinition:
    return asset_of(
        value,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        metadata={"partition_expr": "day", **metadata},
    )


def run(*assets: dg.AssetsDefinition | dg.AssetSpec, days: tuple[int, int] | None = None) -> dg.ExecuteInProcessResult:
    job = dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job("everything")],
        resources={"io_manager": LakeIOManager(), "lake": LakeResource()},
    ).resolve_job_def("everything")
    first, last = (f"2013-01-{day:02}" for day in days) if days else ("", "")
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last} if days else {}
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, tags=tags)


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str | None, dict[str, Any]]:
    events = result.asset_materializations_for_node("__".join(KEY.path))
    return {event.partition: {name: entry.value for name, entry in event.metadata.items()} for event in events}


def rows(lake: LakeResource, sql: str = f"FROM {TABLE} ORDER BY ALL") -> Sequence[tuple[Any, ...]]:
    return lake.query(sql).rows()


@pytest.mark.parametrize(
    "as_returned",
    [
        lambda frame: frame,
        lambda frame: frame.lazy(),
        lambda frame: duckdb.connect().from_arrow(_Arrow(frame)),
    ],
    ids=["DataFrame", "LazyFrame", "relation"],
)
def test_a_table_goes_in_as_what_an_asset_returns(lake: LakeResource, as_returned: Callable[..., object]) -> None:
    run(asset_of(lambda: as_returned(flights(1, 2))))
    assert rows(lake) == sorted(flights(1, 2).rows())


class _Arrow:
    """What pyarrow.Table and many others offer, and nothing else."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def test_a_table_goes_in_as_any_arrow_stream(lake: LakeResource) -> None:
    result = run(asset_of(lambda: _Arrow(flights(1))))
    assert rows(lake) == flights(1).rows()
    assert "| 2013-01-01 | 0 | first |" in metadata_of(result)[None]["lake/preview"]


def test_what_is_not_a_table_is_refused_by_its_type() -> None:
    with pytest.raises(LakeError, match="ingestion/raw/flights returned list: the lake stores a polars DataFrame"):
        run(asset_of(lambda: [1, 2]))


@pytest.mark.parametrize("wanted", [pl.DataFrame, pl.LazyFrame, duckdb.DuckDBPyRelation, Any])
def test_a_table_comes_out_as_the_type_of_the_input(wanted: Any) -> None:
    seen: list[Any] = []

    @dg.asset(key=["ingestion", "marts", "copy"], ins={"table": dg.AssetIn(KEY)})
    def copy(table: wanted) -> Any:  # type: ignore[valid-type]
        seen.append(type(table))
        return table

    run(asset_of(lambda: flights(1, 2)), copy)
    assert seen == [pl.DataFrame if wanted is Any else wanted]
    assert not connection._users, "the run has ended, so nothing holds the catalog"
    assert rows(LakeResource(), "FROM ingestion.ada_marts.copy ORDER BY ALL") == sorted(flights(1, 2).rows())


def test_a_lazy_frame_reads_only_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from platform_kit.lake import io_manager

    queries: list[str] = []
    select = LakeIOManager._select

    def recording(self: LakeIOManager, *arguments: Any) -> str:
        queries.append(select(self, *arguments))
        return queries[-1]

    monkeypatch.setattr(io_manager.LakeIOManager, "_select", recording)

    @dg.asset(key=["ingestion", "marts", "numbers"], ins={"table": dg.AssetIn(KEY)})
    def numbers(table: pl.LazyFrame) -> Any:
        return table.filter(pl.col("number") == 1).select("number").collect()

    run(asset_of(lambda: flights(1, 2)), numbers)
    assert rows(LakeResource(), "FROM ingestion.ada_marts.numbers") == [(1,), (1,)]
    assert queries[-1] == 'SELECT "number" FROM "ingestion"."ada_raw"."flights"'


def test_an_input_of_another_type_is_refused() -> None:
    @dg.asset(key=["ingestion", "marts", "copy"], ins={"table": dg.AssetIn(KEY)})
    def copy(table: dict) -> None:  # type: ignore[type-arg]
        raise AssertionError("not reached")

    with pytest.raises(LakeError, match=r"annotated with .*dict.*: the lake gives polars\.DataFrame, polars"):
        run(asset_of(lambda: flights(1)), copy)


def test_a_table_that_is_not_there_is_named() -> None:
    @dg.asset(key=["ingestion", "marts", "copy"], ins={"table": dg.AssetIn(KEY)})
    def copy(table: Any) -> None:
        raise AssertionError("not reached")

    with pytest.raises(LakeError, match=r"ada_raw\.flights does not exist: materialise ingestion/raw/flights"):
        run(dg.AssetSpec(KEY), copy)


def test_a_partition_is_replaced_and_the_others_stay(lake: LakeResource) -> None:
    run(daily(lambda: flights(1, 2, 3)), days=(1, 3))
    run(daily(lambda: flights(2, rows=1, note="second")), days=(2, 2))
    assert rows(lake, f"SELECT day::VARCHAR, note, count(*) FROM {TABLE} GROUP BY ALL ORDER BY ALL") == [
        ("2013-01-01", "first", 2),
        ("2013-01-02", "second", 1),
        ("2013-01-03", "first", 2),
    ]


def test_a_run_that_is_repeated_leaves_the_same_rows(lake: LakeResource) -> None:
    for _ in range(3):
        run(daily(lambda: flights(*range(1, 32))), days=(1, 31))
    assert rows(lake) == sorted(flights(*range(1, 32)).rows())


def test_each_partition_of_a_backfill_in_one_run_tells_its_own_rows() -> None:
    frame = pl.concat([flights(1, rows=1), flights(2, rows=5), flights(4, rows=3)])
    found = metadata_of(run(daily(lambda: frame), days=(1, 4)))
    counts = {day: entries["dagster/partition_row_count"] for day, entries in found.items()}
    assert counts == {"2013-01-01": 1, "2013-01-02": 5, "2013-01-03": 0, "2013-01-04": 3}
    # The table's own facts are told once, so that a year's events stay small.
    assert [day for day, entries in found.items() if "dagster/row_count" in entries] == ["2013-01-04"]
    assert found["2013-01-04"]["dagster/row_count"] == 9
    assert {entries["dagster/table_name"] for entries in found.values()} == {TABLE}


def test_an_empty_partition_is_stored_as_such(lake: LakeResource) -> None:
    run(daily(lambda: flights(1)), days=(1, 1))
    found = metadata_of(run(daily(lambda: flights()), days=(1, 1)))
    assert found["2013-01-01"]["dagster/partition_row_count"] == 0
    assert rows(lake) == []


def test_rows_of_another_partition_are_refused_and_nothing_is_written(lake: LakeResource) -> None:
    run(daily(lambda: flights(1, 2)), days=(1, 2))
    with pytest.raises(LakeError, match=r"2 rows for ingestion.ada_raw.flights are not of the partitions of this run"):
        run(daily(lambda: flights(1, 3, note="wrong")), days=(1, 2))
    assert rows(lake) == sorted(flights(1, 2).rows())


def test_rows_without_a_partition_are_refused(lake: LakeResource) -> None:
    frame = flights(1).with_columns(day=pl.lit(None, pl.Date))
    with pytest.raises(LakeError, match=r"their day is from None to None, or NULL"):
        run(daily(lambda: frame), days=(1, 1))


def test_a_partitioned_asset_must_say_by_what() -> None:
    with pytest.raises(LakeError, match="is partitioned, but does not say by what: give the asset metadata="):
        run(asset_of(lambda: flights(1), partitions_def=DAYS), days=(1, 1))


def test_an_input_is_of_the_partitions_of_the_run() -> None:
    seen: list[int] = []

    @dg.asset(
        key=["ingestion", "marts", "counted"],
        ins={"table": dg.AssetIn(KEY)},
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        metadata={"partition_expr": "day"},
    )
    def counted(table: Any) -> Any:
        seen.append(table.height)
        return table

    source = daily(lambda: flights(1, 2, 3))
    run(source, days=(1, 3))
    run(counted, daily(lambda: flights(2)), days=(2, 2))
    assert seen == [2]
    assert rows(LakeResource(), "SELECT DISTINCT day FROM ingestion.ada_marts.counted") == [(date(2013, 1, 2),)]


def test_hourly_partitions_of_a_time_zone_are_cut_at_its_hours(lake: LakeResource) -> None:
    hours = dg.HourlyPartitionsDefinition("2013-03-10-00:00", end_date="2013-03-11-00:00", timezone="America/New_York")
    moments = pl.DataFrame({"moment": [datetime(2013, 3, 10, 6, 30), datetime(2013, 3, 10, 7, 0)]})
    frame = moments.with_columns(pl.col("moment").dt.replace_time_zone("UTC"))
    asset = asset_of(
        lambda: frame,
        partitions_def=hours,
        metadata={"partition_expr": "moment"},
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    job = dg.Definitions(
        assets=[asset], jobs=[dg.define_asset_job("all")], resources={"io_manager": LakeIOManager()}
    ).resolve_job_def("all")
    # The clock goes from 01:59 to 03:00: 06:30 UTC is in the hour of 01:00, 07:00 UTC in that of 03:00.
    tags = {
        "dagster/asset_partition_range_start": "2013-03-10-01:00",
        "dagster/asset_partition_range_end": "2013-03-10-03:00",
    }
    found = metadata_of(job.execute_in_process(tags=tags))
    counts = {key: entries["dagster/partition_row_count"] for key, entries in found.items()}
    assert counts == {"2013-03-10-01:00": 1, "2013-03-10-03:00": 1}


def test_partitions_that_are_not_of_time_are_values_of_the_expression(lake: LakeResource) -> None:
    carriers = dg.StaticPartitionsDefinition(["AA", "it's"])
    frame = pl.DataFrame({"carrier": ["AA", "it's", "it's"]})
    asset = asset_of(
        lambda: frame,
        partitions_def=carriers,
        metadata={"partition_expr": "carrier"},
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    job = dg.Definitions(
        assets=[asset], jobs=[dg.define_asset_job("all")], resources={"io_manager": LakeIOManager()}
    ).resolve_job_def("all")
    both = {"dagster/asset_partition_range_start": "AA", "dagster/asset_partition_range_end": "it's"}
    for _ in range(2):
        found = metadata_of(job.execute_in_process(tags=both))
    assert {key: entries["dagster/partition_row_count"] for key, entries in found.items()} == {"AA": 1, "it's": 2}
    with pytest.raises(LakeError, match=r"2 rows for .* are not of the partitions of this run .AA."):
        job.execute_in_process(partition_key="AA")


def test_a_materialisation_tells_what_the_table_holds() -> None:
    schema = dg.TableSchema([dg.TableColumn("number", "integer", "Number of the flight"), dg.TableColumn("gone")])
    result = run(asset_of(lambda: flights(1, 2, rows=50), metadata={"dagster/column_schema": schema}))
    found = metadata_of(result)[None]
    assert found["dagster/row_count"] == found["lake/rows_written"] == 100
    assert found["dagster/table_name"] == TABLE
    assert found["lake/snapshot"] >= 1
    assert found["lake/bytes"] > 100
    columns = {column.name: (column.type, column.description) for column in found["dagster/column_schema"].columns}
    assert columns == {"day": ("DATE", None), "number": ("BIGINT", "Number of the flight"), "note": ("VARCHAR", None)}
    assert found["lake/preview"].splitlines()[:3] == [
        "| day | number | note |",
        "| --- | --- | --- |",
        "| 2013-01-01 | 0 | first |",
    ]


def test_a_materialisation_leads_to_the_tables_files(lake_root: Path) -> None:
    found = metadata_of(run(asset_of(lambda: flights(1, rows=50))))[None]
    folder = Path(urlparse(found["dagster/uri"]).path)
    assert folder.is_relative_to(lake_root)
    assert list(folder.rglob("*.parquet"))
    assert found["lake/environment"] == "local"


def test_a_preview_can_be_left_out_where_rows_are_personal() -> None:
    result = run(asset_of(lambda: flights(1), metadata={"preview": False}))
    assert "lake/preview" not in metadata_of(result)[None]


def test_moments_come_out_in_utc_whatever_the_machines_time_zone_is(
    lake: LakeResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.setattr("platform_kit.lake.connection._instance", [])
    moments = pl.DataFrame({"moment": [datetime(2013, 1, 1, 12, tzinfo=UTC)]})
    run(asset_of(lambda: moments))
    assert lake.query(f"FROM {TABLE}").equals(moments)


def test_partitioned_by_lays_out_the_files(lake: LakeResource) -> None:
    # More rows than DuckLake keeps in the catalog itself.
    frame = flights(1, rows=100).with_columns(day=pl.Series([date(2013, 1, 1), date(2013, 2, 1)] * 50))
    run(asset_of(lambda: frame, metadata={"partitioned_by": ["year(day)", "month(day)"]}))
    files = lake.query("SELECT data_file FROM ducklake_list_files('ingestion', 'flights', schema => 'ada_raw')")
    assert len(files) == 2
