"""The days of 2013, one partition each, and what a run over some of them reads."""

from datetime import date

import dagster as dg

from platform_kit import environment

FIRST, END = date(2013, 1, 1), date(2014, 1, 1)
HERE = environment.current("ingestion")

# In production the whole year; on a branch or a laptop its last 90 days.
DAYS = dg.DailyPartitionsDefinition(start_date=HERE.first_day(FIRST, END).isoformat(), end_date=END.isoformat())

# One run for a backfill, however long: a year is one query of the source and one transaction in the lake.
IN_ONE_RUN = dg.BackfillPolicy.single_run()

# Flights and weather have no date, but its three parts, with an index on them, which a row comparison uses.
OF_THE_RUN = """
    (year, month, day) >= (%(from_year)s, %(from_month)s, %(from_day)s)
    AND (year, month, day) < (%(to_year)s, %(to_month)s, %(to_day)s)
"""


def parameters(window: dg.TimeWindow) -> dict[str, object]:
    """The values of OF_THE_RUN for the partitions of a run."""
    start, end = window.start, window.end
    return {
        **{"from_year": start.year, "from_month": start.month, "from_day": start.day},
        **{"to_year": end.year, "to_month": end.month, "to_day": end.day},
    }


def same_day_of_2013(today: date) -> date:
    """The sample's stand-in for "yesterday": the day of 2013 with today's month and day (28 February for the 29th)."""
    is_leap_day = (today.month, today.day) == (2, 29)
    return date(2013, 2, 28) if is_leap_day else today.replace(year=2013)
