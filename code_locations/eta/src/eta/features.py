"""What is known of a flight when it departs, and nothing that becomes known later."""

from typing import TYPE_CHECKING

from eta.tables import FEATURES

if TYPE_CHECKING:
    import polars

OBSERVATIONS = ("temp", "wind_dir", "wind_speed", "precip", "pressure", "visib")
# Of the mart's days, the youngest that a flight may know. The longest delays are above twenty hours: some flights of
# yesterday have not departed when today begins, but all of the day before yesterday have.
DAYS_UNTIL_KNOWN = 2


def of_flights(
    flights: "polars.DataFrame", weather: "polars.DataFrame", by_day: "polars.DataFrame"
) -> "polars.DataFrame":
    """One row a flight with the columns of `FEATURES`.

    `flights` and `weather` are raw tables of ingestion, `by_day` is the mart `delays_by_day` of analytics. Of the
    marts, this is the one that can be cut in time. The others (by carrier, by route) are means over all days there are:
    the held-out month would be in the features of every other month, and a flight's own delay in its own features.
    """
    import polars as pl

    departure = pl.col("hour") * 60 + pl.col("minute")
    arrival = pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100
    observed = weather.select(
        "origin", pl.col("time_hour").dt.offset_by("1h"), *(pl.col(name).cast(pl.Float64) for name in OBSERVATIONS)
    )
    known = by_day.select(
        pl.col("flight_date").dt.offset_by(f"{DAYS_UNTIL_KNOWN}d"),
        recent_minutes_lost=pl.col("average_arrival_delay_minutes") - pl.col("average_departure_delay_minutes"),
    )
    # An observation of the scheduled hour may be made after the departure; the one of the hour before is not.
    joined = flights.join(observed, ["origin", "time_hour"], "left", validate="m:1", maintain_order="left")
    joined = joined.join(known, "flight_date", "left", validate="m:1", maintain_order="left")
    return joined.with_columns(
        sched_dep_minute=departure,
        sched_minutes=(arrival - departure) % (24 * 60),
        day_of_week=pl.col("flight_date").dt.weekday(),
    ).select(
        pl.col(name).cast(pl.Float64) if column.type == "DOUBLE" else pl.col(name)
        for name, column in FEATURES.columns.items()
    )
