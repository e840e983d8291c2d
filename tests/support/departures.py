"""The code that the story releases: a location that reads flights of another's lake and counts the late ones."""

from pathlib import Path

from tests.support.flights import source_table

LOCATION = "punctuality"
ASSET = f"{LOCATION}/marts/late_departures"
DAYS = ["2013-12-24", "2013-12-25", "2013-12-26"]

_ASSET = '''\
"""How often each carrier departs late, from ingestion's flights."""

import dagster as dg
from punctuality.late import by_carrier

from platform_kit.frame import Frame
from platform_kit.lake import LakeResource

FLIGHTS = dg.AssetKey(["ingestion", "raw", "flights"])


@dg.asset(
    key=["punctuality", "marts", "late_departures"],
    description="Flights of each carrier, and how many of them departed late",
    deps=[FLIGHTS],
    group_name="departures",
    owners=["team:punctuality"],
    kinds={"polars", "ducklake"},
)
def late_departures(lake: LakeResource) -> Frame:
    """One row for each carrier."""
    flights = lake.query(f"SELECT carrier, dep_delay FROM {lake.table(FLIGHTS).sql}", reads=["ingestion"])  # noqa: S608
    return by_carrier(flights)
'''
_LATE = '''\
"""What late means."""

import polars as pl

# Minutes after the scheduled departure.
LATE_AFTER = {minutes}


def by_carrier(flights: pl.DataFrame) -> pl.DataFrame:
    """One row for each carrier: its flights, and those that departed late; a cancelled one is not late."""
    late = (pl.col("{column}") > LATE_AFTER).sum().alias("late")
    return flights.group_by("carrier").agg(pl.len().alias("flights"), late).sort("carrier")
'''
_TEST = '''\
"""Late is later than the limit."""

import polars as pl
from punctuality.late import LATE_AFTER, by_carrier


def test_those_later_than_the_limit_are_counted() -> None:
    delays = [None, -5, LATE_AFTER, LATE_AFTER + 1]
    flights = pl.DataFrame({"carrier": ["UA"] * 4, "dep_delay": delays})
    assert by_carrier(flights).rows() == [("UA", 4, 1)]
'''


def write(root: Path, minutes: int, column: str = "dep_delay") -> None:
    """The location with this limit; with a column that is not there it does not work, and its own test says so."""
    folder = root / "code_locations" / LOCATION
    source = folder / "src" / LOCATION
    for old in ("assets/calendar.py", "checks/calendar.py"):
        (source / "defs" / old).unlink(missing_ok=True)
    (folder / "tests" / "test_calendar.py").unlink(missing_ok=True)
    (source / "defs" / "assets" / "late_departures.py").write_text(_ASSET)
    (source / "late.py").write_text(_LATE.format(minutes=minutes, column=column))
    (folder / "tests" / "test_late.py").write_text(_TEST)


def allow_reading(root: Path) -> None:
    """The two lines by which a location reads another's lake: the right, and the files."""
    for file, old, new in (
        ("access.yaml", "machines: {}\n", f"machines:\n  {LOCATION}: {{reads: [ingestion]}}\n"),
        (
            "docker-compose.yml",
            f'volumes: ["lake-{LOCATION}:/var/lib/lake/{LOCATION}", ',
            f'volumes: ["lake-{LOCATION}:/var/lib/lake/{LOCATION}", "lake-ingestion:/var/lib/lake/ingestion:ro", ',
        ),
    ):
        text = (root / file).read_text()
        assert text.count(old) == 1, file
        (root / file).write_text(text.replace(old, new))


def truth(minutes: int) -> list[tuple[str, int, int]]:
    """The same from the package's own file, by another engine."""
    return sorted(
        source_table("flights")
        .filter(f"make_date(year, month, day) between '{DAYS[0]}' and '{DAYS[-1]}'")
        .aggregate(f"carrier, count(*), count(*) filter (dep_delay > {minutes})")
        .fetchall()
    )
