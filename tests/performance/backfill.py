"""A year of real data in one backfill, and the dbt models on top. Plain has nothing to compare it with."""

import time
from typing import Any

from tests.performance.comparison import Both
from tests.performance.programs import say
from tests.support.deployment import lake_rows
from tests.support.flights import PARTITIONED, REFERENCE, YEAR

FLIGHTS, WEATHER = PARTITIONED
SECONDS = 900


def measure(both: Both) -> dict[str, Any]:
    """Everything that the models read is there before; flights and models are what is measured."""
    client, deployment = both.stack.client, both.stack.deployment
    if "ingestion" not in both.stack.samples:
        say("  skipped: this checkout has no code location ingestion")
        return {}
    say("  loading reference tables and weather")
    client.wait_for(client.launch("ingestion", assets=REFERENCE), "SUCCESS", seconds=SECONDS)
    client.backfill_to_the_end([WEATHER], YEAR, seconds=SECONDS)
    begin = time.monotonic()
    runs = client.backfill_to_the_end([FLIGHTS], YEAR, seconds=SECONDS)
    year = time.monotonic() - begin
    checks = [event["evaluation"]["success"] for run in runs for event in client.events(run) if event.get("evaluation")]
    (row,) = lake_rows(deployment, "ingestion", "select count(*) as rows from ingestion.raw.flights")
    found = {
        "year": year,
        "partitions": len(YEAR),
        "rows": row["rows"],
        "checks": checks.count(True),
        "checks_failed": checks.count(False),
    }
    say(f"  {row['rows']:,} rows in {len(YEAR)} partitions, {checks.count(True)} checks passed, after {year:.1f} s")
    if "analytics" in both.stack.samples:
        found["marts"] = _marts(both)
        say(f"  dbt models after {found['marts']:.1f} s")
    return found


def _marts(both: Both) -> float:
    client = both.stack.client
    begin = time.monotonic()
    client.wait_for(client.launch("analytics", "build_all"), "SUCCESS", seconds=SECONDS)
    return time.monotonic() - begin
