"""What the model may know of a flight, and when."""

from collections.abc import Callable
from datetime import date, timedelta
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest
from eta.features import of_flights
from eta.tables import CATEGORIES, FEATURES, KEY, NUMBERS

from platform_kit.lake import LakeResource

Frames = dict[str, pl.DataFrame]
Run = Callable[..., dg.ExecuteInProcessResult]


def made_of(frames: Frames) -> pl.DataFrame:
    return of_flights(frames["flights"], frames["weather"], frames["delays_by_day"])


def changed(values: pl.Series) -> pl.Series:
    """Other values everywhere."""
    if values.dtype == pl.String:
        return values + "x"
    if values.dtype in (pl.Date, pl.Datetime):
        return values.dt.offset_by("3d")
    return values + 61


@pytest.fixture(scope="module")
def week(raw: Frames) -> Frames:
    """The raw tables of a week with rain and snow."""
    return {
        "flights": raw["flights"].filter(pl.col("flight_date").is_between(date(2013, 12, 5), date(2013, 12, 11))),
        "weather": raw["weather"].filter(pl.col("observation_date").is_between(date(2013, 12, 5), date(2013, 12, 11))),
        "delays_by_day": raw["delays_by_day"],
    }


def test_lineage_says_which_columns_change_when_a_source_does_and_no_others(week: Frames) -> None:
    before = made_of(week)
    for table, frame in week.items():
        for column in frame.columns:
            after = made_of({**week, table: frame.with_columns(changed(frame[column]))})
            found = {name for name in before.columns if not after[name].equals(before[name])}
            declared = {
                name
                for name, deps in FEATURES.lineage.deps_by_column.items()
                if (table, column) in {(dep.asset_key.path[-1], dep.column_name) for dep in deps}
            }
            assert found == declared, f"{table}.{column}"


def test_what_becomes_known_after_the_departure_is_in_no_feature(week: Frames) -> None:
    later = ["arr_time", "arr_delay", "air_time"]
    flights = week["flights"].with_columns(changed(week["flights"][name]) for name in later)
    used = [*CATEGORIES, *NUMBERS]
    assert {*KEY, *used, "arr_delay"} == set(FEATURES.columns)
    assert made_of({**week, "flights": flights}).select(used).equals(made_of(week).select(used))


def test_the_mart_tells_a_flight_nothing_of_the_day_before_its_own_or_later(week: Frames) -> None:
    """The mart covers all days there are: what it says of the held-out month must not reach the months before it."""
    before, mart = made_of(week), week["delays_by_day"]
    for day in before["flight_date"].unique():
        unknown = pl.col("flight_date") >= day - timedelta(days=1)
        spoilt = mart.with_columns(
            pl.when(unknown).then(9_999.0).otherwise(pl.col(name)).alias(name) for name in mart.columns[1:]
        )
        own = pl.col("flight_date") == day
        assert made_of({**week, "delays_by_day": spoilt}).filter(own).equals(before.filter(own))


def test_the_slowest_departure_of_a_day_is_known_before_the_day_after_the_next_begins(raw: Frames) -> None:
    """Why the mart is read two days late: with one, a flight would know of departures that come after its own."""
    minutes = raw["flights"].select(
        left=pl.col("hour") * 60 + pl.col("minute") + pl.col("dep_delay"),
    )["left"]
    assert 24 * 60 < minutes.max() < 2 * 24 * 60  # type: ignore[operator]


def test_weather_is_that_of_the_hour_before(week: Frames) -> None:
    found = made_of(week)
    sample = week["flights"].with_row_index().sample(50, seed=1)
    for index, origin, hour in sample.select("index", "origin", "time_hour").rows():
        earlier = week["weather"].filter(origin=origin, time_hour=hour - timedelta(hours=1))
        assert found["temp"][index] == (earlier["temp"].item() if earlier.height else None)
        assert found["wind_speed"][index] == (earlier["wind_speed"].item() if earlier.height else None)


def test_each_flight_has_one_row_with_its_own_values(week: Frames) -> None:
    found, flights = made_of(week), week["flights"]
    assert found.select(KEY).equals(flights.select(KEY))
    assert found["dep_delay"].equals(flights["dep_delay"].cast(pl.Float64))
    overnight = found.filter(flights["sched_arr_time"] < flights["sched_dep_time"])
    assert overnight.height == 86
    assert overnight["sched_minutes"].is_between(1, 24 * 60 - 1).all()
    assert found.filter(flight_date=date(2013, 12, 9))["day_of_week"].unique().to_list() == [1]


@pytest.mark.usefixtures("sources")
def test_days_are_stored_as_their_partitions_and_again_without_a_change(
    run: Run, keys: SimpleNamespace, lake: LakeResource, features: pl.DataFrame
) -> None:
    first = run(keys.features, first="2013-12-05", last="2013-12-07")
    assert first.success
    run(keys.features, first="2013-12-06")
    stored = lake.query("FROM eta.ada_features.flights").sort(KEY)
    expected = features.filter(pl.col("flight_date").is_between(date(2013, 12, 5), date(2013, 12, 7)))
    # One thing differs: nobody knows the weather of the night before, and no flight left in the first hour.
    assert stored.equals(expected)
    events = first.asset_materializations_for_node("eta__features__flights")
    rows = {event.partition: event.metadata["dagster/partition_row_count"].value for event in events}
    assert rows == {str(day): count for day, count in expected.group_by("flight_date").len().rows()}
    assert "dagster/column_lineage" in events[-1].metadata
