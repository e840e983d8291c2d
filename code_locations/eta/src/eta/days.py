"""The days of 2013, one partition each, and how they are split: what a model learns from, and what it is judged by."""

from datetime import date

import dagster as dg

from platform_kit import environment

FIRST, END = date(2013, 1, 1), date(2014, 1, 1)
# A model learns from the days before, and how long to learn is chosen on the days from here on.
VALIDATION = date(2013, 11, 1)
# From here on no model has seen anything: its error in this month is the one that the release gate looks at.
HELD_OUT = date(2013, 12, 1)

HERE = environment.current("eta")

# As in ingestion: in production the whole year; on a branch or a laptop its last 90 days.
DAYS = dg.DailyPartitionsDefinition(start_date=HERE.first_day(FIRST, END).isoformat(), end_date=END.isoformat())

# One run for a backfill, however long: a year is one query of the lakes and one transaction in ours.
IN_ONE_RUN = dg.BackfillPolicy.single_run()


def same_day_of_2013(today: date) -> date:
    """The sample's stand-in for "today": the day of 2013 with its month and day (28 February for the 29th)."""
    is_leap_day = (today.month, today.day) == (2, 29)
    return date(2013, 2, 28) if is_leap_day else today.replace(year=2013)
