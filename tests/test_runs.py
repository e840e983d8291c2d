"""Promise: a month, then a year of flights lands in the lake and flows into another location's dbt models."""

import calendar
import json

import duckdb
import pytest

from tests.support.deployment import Deployment, lake_rows
from tests.support.flights import PARTITIONED, YEAR, source_table
from tests.support.graphql import GraphQL


@pytest.mark.needs("ingestion")
def test_a_month_lands_in_the_lake(deployment: Deployment, admin: GraphQL) -> None:
    january = [day for day in YEAR if day.startswith("2013-01")]
    assert len(january) == calendar.monthrange(2013, 1)[1]
    admin.backfill_to_the_end(["ingestion/raw/flights"], january, seconds=180)
    expected = len(source_table("flights").filter("month = 1"))
    found = lake_rows(deployment, "ingestion", "select count(*) as rows from ingestion.raw.flights where month = 1")
    assert found == [{"rows": expected}]


def test_a_year_is_one_run_and_every_row_is_there_once(deployment: Deployment, admin: GraphQL, year: list[str]) -> None:
    assert len(year) == 1
    query = "select count(*) as rows, count(distinct (year, month, day)) as days from ingestion.raw.flights"
    assert lake_rows(deployment, "ingestion", query) == [{"rows": 336_776, "days": 365}]
    weather = lake_rows(deployment, "ingestion", "select count(*) as rows from ingestion.raw.weather")
    assert weather == [{"rows": len(source_table("weather"))}]


def test_a_partition_that_is_run_again_is_replaced(deployment: Deployment, admin: GraphQL, year: list[str]) -> None:
    admin.backfill_to_the_end(["ingestion/raw/flights"], ["2013-03-01", "2013-03-02"], seconds=120)
    assert lake_rows(deployment, "ingestion", "select count(*) as rows from ingestion.raw.flights") == [
        {"rows": 336_776}
    ]


def test_partitions_and_tables_report_their_rows(admin: GraphQL, year: list[str]) -> None:
    query = """query Rows($key: AssetKeyInput!, $partitions: [String!]) {
      assetNodeOrError(assetKey: $key) { ... on AssetNode {
        assetMaterializations(partitions: $partitions, limit: 1) {
          metadataEntries { label ... on IntMetadataEntry { intValue } }
    } } } }"""
    answer = admin.ask(query, key={"path": PARTITIONED[0].split("/")}, partitions=["2013-12-25"])
    (materialisation,) = answer["assetNodeOrError"]["assetMaterializations"]
    rows = {entry["label"]: entry.get("intValue") for entry in materialisation["metadataEntries"]}
    flights = source_table("flights")
    assert rows["dagster/partition_row_count"] == len(flights.filter("month = 12 and day = 25"))


def test_every_partition_of_the_year_was_checked_and_passed(admin: GraphQL, year: list[str]) -> None:
    checks = [event["evaluation"] for event in admin.events(year[0]) if event.get("evaluation")]
    balances = [check for check in checks if check["checkName"] == "as_many_rows_as_the_source"]
    assert len(balances) == len(YEAR) * len(PARTITIONED)
    assert [check for check in checks if not check["success"]] == []


MEASURES = """
    count(*) as flights, count(*) filter (where dep_time is null) as cancelled_flights,
    count(*) filter (where dep_delay > 15) as delayed_departures,
    avg(dep_delay) as average_departure_delay_minutes, avg(arr_delay) as average_arrival_delay_minutes,
    max(dep_delay) as longest_departure_delay_minutes
"""
SAME_QUESTIONS = {
    "delays_by_carrier": f"select carrier as carrier_code, {MEASURES} from flights group by all",
    "delays_by_route": f"""
        select origin as origin_airport, dest as destination_airport, {MEASURES} from flights group by all""",
    "delays_by_day": f"select make_date(year, month, day) as flight_date, {MEASURES} from flights group by all",
    "delays_by_airport": """
        select airport, count(*) filter (where leaves) as departures, count(*) filter (where not leaves) as arrivals,
            avg(dep_delay) filter (where leaves) as average_departure_delay_minutes,
            avg(arr_delay) filter (where not leaves) as average_arrival_delay_minutes
        from (select origin as airport, true as leaves, * from flights
            union all select dest, false, * from flights)
        group by all""",
}


@pytest.mark.parametrize("mart", SAME_QUESTIONS)
def test_a_mart_equals_the_same_query_over_the_packages_own_data(deployment: Deployment, marts: str, mart: str) -> None:
    flights = source_table("flights")
    answer = duckdb.sql(SAME_QUESTIONS[mart])
    assert len(flights) == 336_776
    keys = [name for name in answer.columns if answer.types[answer.columns.index(name)].id in ("varchar", "date")]
    order = f"select {', '.join(answer.columns)} from {{}} order by {', '.join(keys)}"
    expected = [
        dict(zip(answer.columns, row, strict=True)) for row in answer.query("answer", order.format("answer")).fetchall()
    ]
    found = lake_rows(deployment, "analytics", order.format(f"analytics.marts.{mart}"))
    assert len(found) == len(expected) > 10
    for row, wanted in zip(found, expected, strict=True):
        for column, value in wanted.items():
            if isinstance(value, float):
                assert row[column] == pytest.approx(value, abs=1e-6), (mart, column, wanted)
            else:
                assert str(row[column]) == str(value), (mart, column, wanted)


def test_a_run_is_a_copy_of_its_locations_sandbox(deployment: Deployment, admin: GraphQL, marts: str) -> None:
    done = admin.launch("analytics", assets=["analytics/staging/stg_flights"])
    admin.wait_for(done, "SUCCESS")
    (name,) = deployment.run_containers(done)
    assert name == f"{deployment.name}-analytics-run-{done}"
    run, server = deployment.inspect(name), deployment.inspect(deployment.container("analytics"))

    def mounts(record: dict[str, object]) -> list[tuple[str, str, bool]]:
        return sorted((m["Type"], m["Source"], m["Destination"], m["RW"]) for m in record["Mounts"])

    assert mounts(run) == mounts(server)
    assert (
        set(run["NetworkSettings"]["Networks"])
        == set(server["NetworkSettings"]["Networks"])
        == {f"{deployment.name}_analytics"}
    )
    assert run["Config"]["User"] == server["Config"]["User"] == "10001:10001"
    assert run["Image"] == server["Image"]
    host = run["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["RestartPolicy"]["Name"] in ("", "no")
    assert host["Memory"] == host["MemorySwap"] == 1024**3
    aliases = run["NetworkSettings"]["Networks"][f"{deployment.name}_analytics"]["Aliases"] or []
    assert "analytics" not in aliases
    assert deployment.secret("analytics_database_password") not in json.dumps(run)
