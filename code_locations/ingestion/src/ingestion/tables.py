"""The tables of this location, said once: assets, checks and documentation are made from here."""

from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from platform_kit.personal import PERSONAL

OWNERS = ["team:data-engineers"]
# A daily schedule that is six hours late has failed.
FRESH_FOR = timedelta(hours=30)

_DATABASE = ("flight_operations", "public")
_API = ("flight_api",)


@dataclass(frozen=True)
class Column:
    """A column: its type in the lake, what it means, whether it may be empty, and whether it is about a person."""

    type: str
    description: str
    optional: bool = False
    personal: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the lake's schema `raw`."""

    name: str
    description: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    source: tuple[str, ...]
    day_column: str | None = None

    @property
    def lineage(self) -> dg.TableColumnLineage:
        """Each column comes from the source's of the same name; the day is put together from its parts."""
        parts = {self.day_column: ("year", "month", "day")} if self.day_column else {}
        return dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(self.source_key, part) for part in parts.get(name, (name,))]
                for name in self.columns
            }
        )

    @property
    def source_schema(self) -> dg.TableSchema:
        """The columns of the source that are read."""
        return dg.TableSchema(
            [
                dg.TableColumn(name, description=column.description)
                for name, column in self.columns.items()
                if name != self.day_column
            ]
        )

    @property
    def asset_key(self) -> dg.AssetKey:
        """The table's asset key: where it is in the lake."""
        return dg.AssetKey(["ingestion", "raw", self.name])

    @property
    def source_key(self) -> dg.AssetKey:
        """The asset key of what the table is read from."""
        return dg.AssetKey([*self.source, self.name])

    @property
    def schema(self) -> dg.TableSchema:
        """The columns as Dagster shows them."""
        return dg.TableSchema(
            columns=[
                dg.TableColumn(
                    *(name, c.type, c.description, dg.TableColumnConstraints(nullable=c.optional)),
                    tags=PERSONAL if c.personal else None,
                )
                for name, c in self.columns.items()
            ],
            constraints=dg.TableConstraints(other=[f"unique ({', '.join(self.key)})"]),
        )


def _text(description: str, *, optional: bool = False) -> Column:
    return Column("VARCHAR", description, optional)


def _integer(description: str, *, optional: bool = False) -> Column:
    return Column("INTEGER", description, optional)


def _number(description: str, *, optional: bool = False) -> Column:
    return Column("DOUBLE", description, optional)


_DAY = {
    "year": _integer("Year of departure"),
    "month": _integer("Month of departure"),
    "day": _integer("Day of departure"),
}
_HOUR = Column("TIMESTAMP WITH TIME ZONE", "The hour as a moment in time, for joining flights with weather")

FLIGHTS = Table(
    "flights",
    "Every flight that left a New York airport, by day of departure",
    {
        "flight_date": Column("DATE", "Day of departure, local time; the partition"),
        **_DAY,
        "dep_time": _integer("Departure, local time as HHMM; empty when cancelled", optional=True),
        "sched_dep_time": _integer("Scheduled departure, local time as HHMM"),
        "dep_delay": _integer("Departure delay in minutes, negative when early", optional=True),
        "arr_time": _integer("Arrival, local time as HHMM", optional=True),
        "sched_arr_time": _integer("Scheduled arrival, local time as HHMM"),
        "arr_delay": _integer("Arrival delay in minutes, negative when early", optional=True),
        "carrier": _text("Airline, two letters; see airlines"),
        "flight": _integer("Flight number"),
        "tailnum": _text("Aircraft; see planes", optional=True),
        "origin": _text("Airport of departure; see airports"),
        "dest": _text("Airport of arrival; see airports"),
        "air_time": _integer("Minutes in the air", optional=True),
        "distance": _integer("Miles between the airports"),
        "hour": _integer("Hour of the scheduled departure"),
        "minute": _integer("Minute of the scheduled departure"),
        "time_hour": _HOUR,
    },
    ("flight_date", "carrier", "flight", "origin"),
    _DATABASE,
    "flight_date",
)

WEATHER = Table(
    "weather",
    "Hourly weather at the New York airports, by day",
    {
        "observation_date": Column("DATE", "Day of the observation, local time; the partition"),
        "origin": _text("Airport of the observation"),
        "year": _integer("Year of the observation"),
        "month": _integer("Month of the observation"),
        "day": _integer("Day of the observation"),
        "hour": _integer("Hour of the observation, local time"),
        "temp": _number("Temperature in °F", optional=True),
        "dewp": _number("Dew point in °F", optional=True),
        "humid": _number("Relative humidity in per cent", optional=True),
        "wind_dir": _integer("Wind direction in degrees", optional=True),
        "wind_speed": _number("Wind speed in miles per hour", optional=True),
        "wind_gust": _number("Gust speed in miles per hour", optional=True),
        "precip": _number("Precipitation in inches"),
        "pressure": _number("Pressure at sea level in millibars", optional=True),
        "visib": _number("Visibility in miles"),
        "time_hour": _HOUR,
    },
    # The hour as a moment: in the night when the clocks go back, one local hour is there twice.
    ("origin", "time_hour"),
    _DATABASE,
    "observation_date",
)

AIRLINES = Table(
    "airlines",
    "Airlines by their two-letter code",
    {"carrier": _text("Two-letter code"), "name": _text("Full name")},
    ("carrier",),
    _API,
)

AIRPORTS = Table(
    "airports",
    "Airports of the United States",
    {
        "faa": _text("Three-letter code of the FAA"),
        "name": _text("Usual name"),
        "lat": _number("Latitude in degrees"),
        "lon": _number("Longitude in degrees"),
        "alt": _integer("Altitude in feet"),
        "tz": _integer("Hours from UTC"),
        "dst": _text("Daylight saving: A as in the United States, N none, U unknown"),
        "tzone": _text("Time zone by its IANA name", optional=True),
    },
    ("faa",),
    _API,
)

PLANES = Table(
    "planes",
    "Aircraft of the FAA's register",
    {
        "tailnum": _text("Tail number"),
        "year": _integer("Year of manufacture", optional=True),
        "type": _text("Type of aircraft"),
        "manufacturer": _text("Manufacturer"),
        "model": _text("Model"),
        "engines": _integer("Number of engines"),
        "seats": _integer("Number of seats"),
        "speed": _integer("Cruising speed in miles per hour", optional=True),
        "engine": _text("Type of engine"),
    },
    ("tailnum",),
    _API,
)

AIRLINE_CONTACTS = Table(
    "airline_contacts",
    "Whom to ask at an airline: people, so that name, e-mail and phone are kept sealed",
    {
        "carrier": _text("Airline, two letters; see airlines"),
        "contact_name": Column("VARCHAR", "Name of the person", personal=True),
        "email": Column("VARCHAR", "Where to write to", personal=True),
        "phone": Column("VARCHAR", "Where to call", personal=True),
    },
    ("carrier",),
    _API,
)

BY_DAY = (FLIGHTS, WEATHER)
# Also in the location's own database: a column here is a revision there (models.py, migrations/).
REFERENCE = (AIRLINES, AIRPORTS, PLANES)
REFERENCE_SCHEMA = "reference"
# All that the API has.
FROM_API = (*REFERENCE, AIRLINE_CONTACTS)
