"""Two code locations with one of everything that people act on."""

from typing import Any

import dagster as dg

DAYS = dg.StaticPartitionsDefinition(["one", "two"])


@dg.op
def nothing() -> None:
    """Do nothing."""


def _definitions(*prefix: str, external: dg.AssetSpec | None = None) -> dg.Definitions:
    @dg.asset(key=[*prefix, "daily"], partitions_def=DAYS)
    def daily() -> None:
        pass

    # Both locations use the same name: the keys of dynamic partitions are shared by name.
    @dg.asset(key=[*prefix, "customers"], partitions_def=dg.DynamicPartitionsDefinition(name="customers"))
    def customers() -> None:
        pass

    @dg.asset(key=[*prefix, "own"], partitions_def=dg.DynamicPartitionsDefinition(name=f"{prefix[0]}_own"))
    def own() -> None:
        pass

    @dg.job(partitions_def=DAYS)
    def own_job() -> None:
        nothing()

    @dg.job
    def plain_job() -> None:
        nothing()

    @dg.schedule(job=plain_job, cron_schedule="0 0 1 1 *", execution_timezone="UTC")
    def own_schedule() -> Any:
        return dg.SkipReason("never")

    @dg.sensor(job=plain_job)
    def own_sensor() -> Any:
        return dg.SkipReason("never")

    assets: list[Any] = [daily, customers, own, *([external] if external else [])]
    return dg.Definitions(assets=assets, jobs=[own_job, plain_job], schedules=[own_schedule], sensors=[own_sensor])


ingestion = _definitions("ingestion", "raw")
# As in life, a location declares what it reads from another.
analytics = _definitions("analytics", "marts", external=dg.AssetSpec(["ingestion", "raw", "daily"]))
