"""The location on a laptop: a lake in a temporary folder, sources that hold the package's own data."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from ingestion.definitions import definitions

from platform_kit.embedded import EmbeddedDatabase
from platform_kit.lake import LakeResource

# Before a test imports the location's modules: its partitions follow from where it runs.
for _name in ("DEPLOYMENT", "POSTGRES_HOST", "CODE_LOCATION"):
    os.environ.pop(_name, None)

DATA = Path(__file__).parent / "data"


# Assets, jobs and checks hold no state; only the resources are each test's own.
_definitions = cache(definitions)


def _data(name: str) -> pl.DataFrame:
    return pl.read_parquet(DATA / f"{name}.parquet")


class PackageApi(dg.ConfigurableResource[Any]):
    """What the assets use of the API, answered from the package's data; or with less, or other fields, than it says."""

    version: str = "2013.1"
    lost: int = 0
    renamed: str = ""

    def items(self, path: str) -> list[dict[str, Any]]:
        frame = _data(path.removeprefix("/"))
        frame = frame.rename({self.renamed: f"new_{self.renamed}"} if self.renamed else {}, strict=False)
        return frame.slice(self.lost).to_dicts()

    def get(self, path: str, **parameters: int) -> dict[str, Any]:
        if path == "/version":
            return {"version": self.version}
        return {"items": [], "page": 1, "pages": 1, "total": _data(path.removeprefix("/")).height}


@pytest.fixture
def data() -> Callable[[str], pl.DataFrame]:
    """A table as the package has it."""
    return _data


@pytest.fixture
def package_api() -> type[PackageApi]:
    return PackageApi


@pytest.fixture(autouse=True)
def lake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LakeResource:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("DEVELOPER", "ada")
    return LakeResource(code_location="ingestion")


@pytest.fixture
def source(tmp_path: Path) -> EmbeddedDatabase:
    database = EmbeddedDatabase(path=str(tmp_path / "source.duckdb"))
    with database.connect() as connection:
        connection.execute("CREATE SCHEMA public")
        for name in ("flights", "weather"):
            connection.execute(f"CREATE TABLE public.{name} AS FROM '{DATA / name}.parquet'")
    return database


@pytest.fixture
def reference(tmp_path: Path) -> EmbeddedDatabase:
    return EmbeddedDatabase(path=str(tmp_path / "reference.duckdb"))


@pytest.fixture
def location(source: EmbeddedDatabase, reference: EmbeddedDatabase) -> Callable[..., dg.Definitions]:
    """The location's own definitions with these sources; arguments replace further resources."""

    def make(**resources: Any) -> dg.Definitions:
        found = _definitions()
        swapped = {"source_database": source, "source_api": PackageApi(), "reference_database": reference}
        return dg.Definitions(
            assets=found.assets,
            asset_checks=found.asset_checks,
            jobs=found.jobs,
            schedules=found.schedules,
            sensors=found.sensors,
            executor=found.executor,
            resources={**(found.resources or {}), **swapped, **resources},
        )

    return make


@pytest.fixture
def run(location: Callable[..., dg.Definitions]) -> Callable[..., dg.ExecuteInProcessResult]:
    """Run a job, over a range of days where it has them; a failed check does not fail the run."""

    def execute(job: str, first: str = "", last: str = "", **resources: Any) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        with dg.DagsterInstance.ephemeral() as instance:
            resolved = location(**resources).resolve_job_def(job)
            return resolved.execute_in_process(instance=instance, tags=tags if first else {})

    return execute
