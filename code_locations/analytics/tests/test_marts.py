"""Each mart equals the same question asked of the data package's own files, and failing data fails its check."""

import math
from typing import Any

import dagster as dg
import duckdb
import pytest

RAW = "ingestion.ada_l_raw"
# A build starts dbt: seconds of processor time, minutes on a machine that is busy with other suites.
pytestmark = pytest.mark.timeout(400)
MEASURES = """
    count(*),
    count(*) filter (where dep_time is null),
    count(*) filter (where dep_delay > 15),
    count(*) filter (where arr_delay > 15),
    avg(dep_delay),
    avg(arr_delay),
    max(dep_delay)
"""
WEATHER = """
    case
        when w.origin is null then 'not observed'
        when w.visib < 3 then 'low visibility'
        when w.precip > 0 then 'rain or snow'
        when w.wind_speed >= 25 then 'strong wind'
        else 'calm'
    end
"""
SAME_QUESTION = {
    "delays_by_carrier": f"select f.carrier, a.name, {MEASURES} from flights f"
    " join airlines a using (carrier) group by all",
    "delays_by_route": f"select origin, dest, min(distance), {MEASURES} from flights group by all",
    "delays_by_day": f"select make_date(year, month, day), {MEASURES} from flights group by all",
    "delays_by_weather": f"select {WEATHER}, {MEASURES} from flights f left join weather w"
    " on w.origin = f.origin and w.time_hour = f.time_hour group by all",
    "delays_by_airport": """
        select airport, (select name from airports where faa = airport), sum(left_it), sum(reached_it),
            sum(dep_delay) / nullif(sum(departed), 0), sum(arr_delay) / nullif(sum(arrived), 0)
        from (
            select origin as airport, 1 as left_it, 0 as reached_it, dep_delay, 0 as arr_delay,
                (dep_delay is not null)::int as departed, 0 as arrived from flights
            union all
            select dest, 0, 1, 0, arr_delay, 0, (arr_delay is not null)::int from flights
        ) group by airport
    """,
}
ROWS = {
    "delays_by_carrier": 16,
    "delays_by_route": 224,
    "delays_by_airport": 107,
    "delays_by_day": 365,
    "delays_by_weather": 5,
}


def comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sorted by key, averages to nine digits: they are sums of floats in another order."""
    short = [tuple(float(f"{v:.9g}") if isinstance(v, float) and not math.isnan(v) else v for v in row) for row in rows]
    return sorted(short, key=lambda row: tuple(str(value) for value in row[:2]))


@pytest.mark.parametrize("mart", SAME_QUESTION)
def test_a_mart_equals_the_same_query_over_the_source(
    built: dg.ExecuteInProcessResult, lake: Any, source: duckdb.DuckDBPyConnection, mart: str
) -> None:
    assert built.success
    found = comparable(lake.execute(f"from analytics.ada_l_marts.{mart}"))
    assert len(found) == ROWS[mart]
    assert found == comparable(source.execute(SAME_QUESTION[mart]).fetchall())


def test_all_336776_flights_are_in_every_mart(built: dg.ExecuteInProcessResult, lake: Any) -> None:
    assert built.success
    for mart in ("delays_by_carrier", "delays_by_route", "delays_by_day", "delays_by_weather"):
        assert lake.execute(f"select sum(flights) from analytics.ada_l_marts.{mart}") == [(336_776,)]


def test_rows_are_reported_with_each_mart(built: dg.ExecuteInProcessResult) -> None:
    metadata = {
        event.materialization.asset_key.path[-1]: event.materialization.metadata for event in materializations(built)
    }
    assert {mart: metadata[mart]["dagster/row_count"].value for mart in ROWS} == ROWS


def test_column_lineage_reaches_back_to_the_raw_tables(built: dg.ExecuteInProcessResult) -> None:
    lineage = {
        tuple(event.materialization.asset_key.path): event.materialization.metadata[
            "dagster/column_lineage"
        ].value.deps_by_column
        for event in materializations(built)
    }
    assert len(lineage) == 10
    delay = lineage["analytics", "marts", "delays_by_carrier"]["average_departure_delay_minutes"]
    assert [(dep.asset_key.path, dep.column_name) for dep in delay] == [
        (["analytics", "staging", "stg_flights"], "departure_delay_minutes")
    ]
    raw = lineage["analytics", "staging", "stg_flights"]["departure_delay_minutes"]
    assert [(dep.asset_key.path, dep.column_name) for dep in raw] == [(["ingestion", "raw", "flights"], "dep_delay")]


def test_every_test_of_dbt_is_an_asset_check_and_passes(
    built: dg.ExecuteInProcessResult, manifest: dict[str, Any]
) -> None:
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    checks = built.get_asset_check_evaluations()
    assert len(checks) == len(tests) > 50
    assert [check.check_name for check in checks if not check.passed] == []


def test_a_second_build_replaces_and_adds_nothing(
    built: dg.ExecuteInProcessResult, lake: Any, definitions: dg.Definitions
) -> None:
    assert built.success
    selection = [dg.AssetKey(["analytics", "marts", "delays_by_day"])]
    before = lake.execute("from analytics.ada_l_marts.delays_by_day order by all")
    assert definitions.resolve_job_def("build_all").execute_in_process(asset_selection=selection).success
    assert lake.execute("from analytics.ada_l_marts.delays_by_day order by all") == before
    tables = lake.execute("select table_name from duckdb_tables() where database_name = 'analytics' order by all")
    assert [name for (name,) in tables] == sorted(ROWS)


def test_failing_data_fails_its_check_and_stops_before_the_marts(
    built: dg.ExecuteInProcessResult, lake: Any, definitions: dg.Definitions
) -> None:
    assert built.success
    before = lake.execute("from analytics.ada_l_marts.delays_by_day order by all")
    lake.execute(f"insert into {RAW}.flights from {RAW}.flights where flight_date = date '2013-02-28' limit 3")
    try:
        run = definitions.resolve_job_def("build_all").execute_in_process(
            asset_selection=[
                dg.AssetKey(["analytics", "staging", "stg_flights"]),
                dg.AssetKey(["analytics", "marts", "delays_by_day"]),
            ],
            raise_on_error=False,
        )
    finally:
        restore_flights(lake)
    failed = {check.check_name: check for check in run.get_asset_check_evaluations() if not check.passed}
    assert not run.success
    assert list(failed) == ["unique_stg_flights_flight_id"]
    assert failed["unique_stg_flights_flight_id"].asset_key.path == ["analytics", "staging", "stg_flights"]
    built_assets = [event.materialization.asset_key.path[-1] for event in materializations(run)]
    assert built_assets == ["stg_flights"]
    assert lake.execute("from analytics.ada_l_marts.delays_by_day order by all") == before


def restore_flights(lake: Any) -> None:
    lake.execute(
        f"create or replace table {RAW}.flights as"
        f" select make_date(year, month, day) as flight_date, * from read_parquet('{lake.root}/flights.parquet')"
    )
    assert lake.execute(f"select count(*) from {RAW}.flights") == [(336_776,)]


def materializations(run: dg.ExecuteInProcessResult) -> list[Any]:
    return [event.step_materialization_data for event in run.get_asset_materialization_events()]


def test_a_model_built_alone_asks_for_no_model_that_may_not_exist_yet(
    built: dg.ExecuteInProcessResult, definitions: dg.Definitions
) -> None:
    job = definitions.resolve_job_def("build_all")
    result = job.execute_in_process(asset_selection=[dg.AssetKey(["analytics", "staging", "stg_airlines"])])
    assert result.success
    # A test that dbt adds by itself is no check of the selection, and is reported as an observation.
    assert [event.event_specific_data for event in result.all_events if event.is_asset_observation] == []
