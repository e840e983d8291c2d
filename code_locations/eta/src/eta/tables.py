"""The tables of this location, said once: columns, what they mean, and from which columns of which table they come."""

from dataclasses import dataclass
from typing import Literal

import dagster as dg

OWNERS = ["team:data-scientists"]

FLIGHTS = dg.AssetKey(["ingestion", "raw", "flights"])
WEATHER = dg.AssetKey(["ingestion", "raw", "weather"])
BY_DAY = dg.AssetKey(["analytics", "marts", "delays_by_day"])

Source = tuple[dg.AssetKey, str]


@dataclass(frozen=True)
class Column:
    """A column of the lake. `role` says what the model does with it: a category, a number, or nothing."""

    type: str
    description: str
    sources: tuple[Source, ...] = ()
    role: Literal["category", "number", ""] = ""
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A table of this location's lake, [eta, schema, name]."""

    schema: str
    name: str
    columns: dict[str, Column]

    @property
    def asset_key(self) -> dg.AssetKey:
        """The table's asset key: where it is in the lake."""
        return dg.AssetKey(["eta", self.schema, self.name])

    @property
    def metadata(self) -> dict[str, dg.TableSchema | dg.TableColumnLineage]:
        """The columns as Dagster shows them and, where rows come from other tables, their lineage."""
        columns = [
            dg.TableColumn(name, c.type, c.description, dg.TableColumnConstraints(nullable=c.optional))
            for name, c in self.columns.items()
        ]
        schema: dict[str, dg.TableSchema | dg.TableColumnLineage] = {"dagster/column_schema": dg.TableSchema(columns)}
        return {**schema, "dagster/column_lineage": self.lineage} if self.lineage.deps_by_column else schema

    @property
    def lineage(self) -> dg.TableColumnLineage:
        """From which columns each column is made."""
        return dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(asset_key=key, column_name=source) for key, source in column.sources]
                for name, column in self.columns.items()
                if column.sources
            }
        )

    def of_role(self, role: str) -> list[str]:
        """The columns that the model uses in this role, in order."""
        return [name for name, column in self.columns.items() if column.role == role]


def _flights(*names: str) -> tuple[Source, ...]:
    return tuple((FLIGHTS, name) for name in names)


def _weather(name: str, description: str) -> Column:
    # An observation is found by airport and hour, so these two decide each value as well.
    sources = ((WEATHER, name), (WEATHER, "origin"), (WEATHER, "time_hour"), *_flights("origin", "time_hour"))
    return Column("DOUBLE", f"{description}, in the hour before the scheduled one", sources, "number", optional=True)


FEATURES = Table(
    "features",
    "flights",
    {
        "flight_date": Column("DATE", "Day of departure, local time; the partition", _flights("flight_date")),
        "flight": Column("INTEGER", "Flight number", _flights("flight")),
        "carrier": Column("VARCHAR", "Airline, two letters", _flights("carrier"), "category"),
        "origin": Column("VARCHAR", "Airport of departure", _flights("origin"), "category"),
        "dest": Column("VARCHAR", "Airport of arrival", _flights("dest"), "category"),
        "dep_delay": Column(
            "DOUBLE", "Minutes late at departure; empty when cancelled", _flights("dep_delay"), "number", optional=True
        ),
        "sched_dep_minute": Column(
            "DOUBLE", "Scheduled departure, minute of the day", _flights("hour", "minute"), "number"
        ),
        "sched_minutes": Column(
            "DOUBLE",
            "Scheduled minutes from departure to arrival, by the clocks of the two airports",
            _flights("hour", "minute", "sched_arr_time"),
            "number",
        ),
        "distance": Column("DOUBLE", "Miles between the airports", _flights("distance"), "number"),
        "day_of_week": Column("DOUBLE", "1 is Monday", _flights("flight_date"), "number"),
        "temp": _weather("temp", "Temperature in °F"),
        "wind_dir": _weather("wind_dir", "Wind direction in degrees"),
        "wind_speed": _weather("wind_speed", "Wind speed in miles per hour"),
        "precip": _weather("precip", "Precipitation in inches"),
        "pressure": _weather("pressure", "Pressure at sea level in millibars"),
        "visib": _weather("visib", "Visibility in miles"),
        "recent_minutes_lost": Column(
            "DOUBLE",
            "Minutes that flights lost under way two days before, on average: the winds aloft",
            (
                (BY_DAY, "flight_date"),
                (BY_DAY, "average_arrival_delay_minutes"),
                (BY_DAY, "average_departure_delay_minutes"),
                *_flights("flight_date"),
            ),
            "number",
            optional=True,
        ),
        "arr_delay": Column(
            "DOUBLE",
            "Minutes late on arrival: what is predicted, no feature; empty when cancelled or diverted",
            _flights("arr_delay"),
            optional=True,
        ),
    },
)
CATEGORIES, NUMBERS = FEATURES.of_role("category"), FEATURES.of_role("number")
KEY = ["flight_date", "carrier", "flight", "origin"]
IN_ORDER = ", ".join(KEY)


def _features(*names: str) -> tuple[Source, ...]:
    return tuple((FEATURES.asset_key, name) for name in names)


_MODEL_SEES = _features(*CATEGORIES, *NUMBERS)
_LEARNED_FROM = (*_MODEL_SEES, *_features("arr_delay", "flight_date"))

MODEL = Table(
    "model",
    "delay_model",
    {
        "version": Column("VARCHAR", "A hash of the model: the same data gives the same version", _LEARNED_FROM),
        "file": Column("VARCHAR", "Where its file is, named by the version", _LEARNED_FROM),
        "trained_from": Column("DATE", "First day it learned from", _features("flight_date")),
        "trained_until": Column("DATE", "Last day it learned from", _features("flight_date")),
        "flights": Column("BIGINT", "Flights it learned from", _features("flight_date", "arr_delay")),
        "trees": Column("BIGINT", "Trees, as many as served the validation month best", _LEARNED_FROM),
        "libraries": Column("VARCHAR", "Versions of the libraries that made it, which alone may read it"),
    },
)

_ERROR = ((MODEL.asset_key, "version"), *_MODEL_SEES, *_features("arr_delay"))

EVALUATION = Table(
    "model",
    "evaluation",
    {
        "version": Column("VARCHAR", "The model that was judged", ((MODEL.asset_key, "version"),)),
        "predictor": Column("VARCHAR", "Whose error: candidate, accepted (the model in force) or a baseline"),
        "hour": Column(
            "BIGINT", "Hour of scheduled departure; empty for all hours", _features("sched_dep_minute"), optional=True
        ),
        "flights": Column("BIGINT", "Flights that arrived", _features("flight_date", "arr_delay")),
        "mae": Column("DOUBLE", "Mean absolute error, minutes", _ERROR),
        "rmse": Column("DOUBLE", "Root of the mean squared error, minutes", _ERROR, optional=True),
        "bias": Column("DOUBLE", "Mean of predicted less real, minutes", _ERROR, optional=True),
    },
)

ACCEPTED = Table(
    "model",
    "accepted_model",
    {
        **{
            name: Column(column.type, column.description, ((MODEL.asset_key, name),))
            for name, column in MODEL.columns.items()
        },
        "mae": Column("DOUBLE", "Its error when it was accepted, minutes", ((EVALUATION.asset_key, "mae"),)),
        "created_at": Column("TIMESTAMP WITH TIME ZONE", "When it passed the gate; the latest is in force"),
    },
)

PREDICTIONS = Table(
    "predictions",
    "arrival_delays",
    {
        **{
            name: Column(FEATURES.columns[name].type, FEATURES.columns[name].description, _features(name))
            for name in ("flight_date", "carrier", "flight", "origin", "dest")
        },
        "predicted_arr_delay": Column(
            "DOUBLE",
            "Minutes late on arrival, as expected at departure; empty for a flight that never left",
            (*_MODEL_SEES, (ACCEPTED.asset_key, "version")),
            optional=True,
        ),
        "model_version": Column("VARCHAR", "The model that was in force", ((ACCEPTED.asset_key, "version"),)),
    },
)
