"""When the jobs start by themselves."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pytest
from ingestion import days
from ingestion.defs.jobs.daily import every_morning
from ingestion.defs.jobs.reference import new_reference_version


def tick(moment: datetime) -> dg.RunRequest | dg.SkipReason:
    return every_morning(dg.build_schedule_context(scheduled_execution_time=moment))  # type: ignore[return-value]


def test_every_morning_loads_the_day_of_2013_that_matches_the_date() -> None:
    request = tick(datetime(2026, 11, 21, 6, tzinfo=UTC))
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == ("2013-11-21", "2026-11-21")


def test_a_day_that_this_environment_does_not_have_is_skipped_with_the_reason() -> None:
    skipped = tick(datetime(2026, 5, 1, 6, tzinfo=UTC))
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "2013-05-01 is outside the 90 days of this environment"


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (date(2026, 1, 1), date(2013, 1, 1)),
        (date(2028, 2, 29), date(2013, 2, 28)),
        (date(2028, 12, 31), date(2013, 12, 31)),
    ],
)
def test_each_date_has_its_day_of_2013(today: date, expected: date) -> None:
    assert days.same_day_of_2013(today) == expected


def test_a_version_of_the_api_starts_one_run(package_api: Callable[..., Any]) -> None:
    def ask(cursor: str | None, version: str) -> object:
        context = dg.build_sensor_context(cursor=cursor)
        return new_reference_version(context, source_api=package_api(version=version))

    first = ask(None, "2013.1")
    assert isinstance(first, dg.SensorResult)
    assert first.cursor == "2013.1"
    assert [request.run_key for request in first.run_requests or []] == ["version 2013.1"]
    again = ask("2013.1", "2013.1")
    assert isinstance(again, dg.SkipReason)
    assert again.skip_message == "The API still has version 2013.1"
    later = ask("2013.1", "2013.2")
    assert isinstance(later, dg.SensorResult)
    assert later.cursor == "2013.2"
