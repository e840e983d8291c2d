"""Flights and weather by day, against the package's own data."""

from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from platform_kit.embedded import EmbeddedDatabase
from platform_kit.lake import LakeResource

Data = Callable[[str], pl.DataFrame]
Run = Callable[..., dg.ExecuteInProcessResult]
FLIGHTS = "ingestion.ada_raw.flights"
WEATHER = "ingestion.ada_raw.weather"
MONTH = ("2013-12-01", "2013-12-31")
# Enough where the tests do something to single days; a run reports every day, so fewer are faster.
FIVE_DAYS = ("2013-12-05", "2013-12-09")


def partition_rows(result: dg.ExecuteInProcessResult, table: str) -> dict[str | None, int]:
    events = result.asset_materializations_for_node(f"ingestion__raw__{table}")
    return {event.partition: event.metadata["dagster/partition_row_count"].value for event in events}  # type: ignore[misc]


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str, str | None], bool]:
    return {(e.asset_key.path[-1], e.check_name, e.partition): e.passed for e in result.get_asset_check_evaluations()}


def failed(result: dg.ExecuteInProcessResult) -> set[tuple[str, str, str | None]]:
    return {key for key, passed in checks(result).items() if not passed}


def test_a_month_in_one_run_is_the_packages_month(run: Run, lake: LakeResource, data: Data) -> None:
    result = run("daily_flights", *MONTH)
    stored = lake.query(f"FROM {FLIGHTS}")
    assert stored.height == 28_135
    expected = data("flights").with_columns(flight_date=pl.date("year", "month", "day"))
    order = ["flight_date", "carrier", "flight", "origin"]
    assert stored.sort(order).equals(expected.select(stored.columns).sort(order))
    counted = expected.group_by("flight_date").len().rows()
    assert partition_rows(result, "flights") == {str(day): rows for day, rows in counted}
    assert len(counted) == 31


def test_a_day_without_weather_is_an_empty_partition(run: Run, lake: LakeResource) -> None:
    result = run("daily_flights", *MONTH)
    rows = partition_rows(result, "weather")
    assert (rows["2013-12-30"], rows["2013-12-31"], sum(rows.values())) == (57, 0, 2_144)
    assert lake.query(f"SELECT count(*) FROM {WEATHER}").item() == 2_144


def test_every_check_passes_on_real_data_and_the_balance_for_each_day(run: Run) -> None:
    found = checks(run("daily_flights", *MONTH))
    assert all(found.values())
    names = {(table, name) for table, name, _ in found}
    per_table = {"columns", "no_empty_values", "unique_key", "as_many_rows_as_the_source"}
    assert names == {(table, name) for table in ("flights", "weather") for name in per_table}
    days = [day for table, name, day in found if (table, name) == ("flights", "as_many_rows_as_the_source")]
    assert sorted(map(str, days)) == [f"2013-12-{day:02}" for day in range(1, 32)]


def test_a_run_that_is_repeated_and_one_over_a_part_change_nothing(run: Run, lake: LakeResource) -> None:
    order = "ORDER BY flight_date, carrier, flight, origin"
    run("daily_flights", *FIVE_DAYS)
    before = lake.query(f"FROM {FLIGHTS} {order}")
    run("daily_flights", *FIVE_DAYS)
    run("daily_flights", "2013-12-06", "2013-12-07")
    assert lake.query(f"FROM {FLIGHTS} {order}").equals(before)


def test_a_day_reads_that_day_alone(run: Run, lake: LakeResource, data: Data) -> None:
    result = run("daily_flights", "2013-12-24")
    expected = data("flights").filter(pl.col("day") == 24).height
    assert partition_rows(result, "flights") == {"2013-12-24": expected}
    assert lake.query(f"SELECT count(*), min(day), max(day) FROM {FLIGHTS}").row(0) == (expected, 24, 24)


def test_a_range_over_the_turn_of_a_month_is_whole(run: Run, source: EmbeddedDatabase) -> None:
    with source.connect() as connection:
        connection.execute(
            "INSERT INTO public.flights BY NAME SELECT * REPLACE (11 AS month, 30 AS day) FROM "
            "public.flights WHERE day = 1"
        )
    rows = partition_rows(run("daily_flights", "2013-11-30", "2013-12-01"), "flights")
    assert rows == {"2013-11-30": 987, "2013-12-01": 987}


@pytest.fixture
def check(location: Callable[..., dg.Definitions]) -> Callable[[], set[tuple[str, str, str | None]]]:
    """Run the checks of flights alone, as "Execute checks" in the UI does; the ones that fail."""

    def execute() -> set[tuple[str, str, str | None]]:
        selection = dg.AssetSelection.checks_for_assets(dg.AssetKey(["ingestion", "raw", "flights"]))
        job = dg.Definitions.merge(
            location(), dg.Definitions(jobs=[dg.define_asset_job("only_checks", selection=selection)])
        ).resolve_job_def("only_checks")
        tags = {"dagster/asset_partition_range_start": FIVE_DAYS[0], "dagster/asset_partition_range_end": FIVE_DAYS[1]}
        return failed(job.execute_in_process(tags=tags))

    return execute


def test_rows_that_come_late_to_the_source_fail_the_balance_of_their_day_alone(
    run: Run, check: Callable[[], set[object]], source: EmbeddedDatabase
) -> None:
    run("daily_flights", *FIVE_DAYS)
    assert check() == set()
    with source.connect() as connection:
        late = "SELECT * REPLACE (9999 AS flight) FROM public.flights WHERE day = 5 LIMIT 3"
        connection.execute(f"INSERT INTO public.flights {late}")
    assert check() == {("flights", "as_many_rows_as_the_source", "2013-12-05")}


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (f"DELETE FROM {FLIGHTS} WHERE day = 7", {("as_many_rows_as_the_source", "2013-12-07")}),
        (
            f"INSERT INTO {FLIGHTS} FROM {FLIGHTS} WHERE day = 8 LIMIT 1",
            {("unique_key", None), ("as_many_rows_as_the_source", "2013-12-08")},
        ),
        (f"UPDATE {FLIGHTS} SET dest = NULL WHERE day = 9 AND carrier = 'HA'", {("no_empty_values", None)}),
        (f"ALTER TABLE {FLIGHTS} ADD COLUMN passengers INTEGER", {("columns", None)}),
        (f"ALTER TABLE {FLIGHTS} ALTER flight TYPE BIGINT", {("columns", None)}),
    ],
    ids=["lost", "doubled", "emptied", "added", "retyped"],
)
def test_damage_in_the_lake_fails_its_check(
    run: Run, check: Callable[[], set[object]], lake: LakeResource, damage: str, expected: set[tuple[str, str | None]]
) -> None:
    run("daily_flights", *FIVE_DAYS)
    with lake.connect() as connection:
        connection.execute(damage)
    assert check() == {("flights", *found) for found in expected}
