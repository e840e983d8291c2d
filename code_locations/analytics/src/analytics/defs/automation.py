"""New raw data flows on by itself."""

import dagster as dg

# Running from the start: the first flights that are ingested are to be seen in the marts without another click, and an
# update upstream that nobody passes on is stale data that looks fine. Stop it in the UI, under Automation.
new_raw_data = dg.AutomationConditionSensorDefinition(
    "new_raw_data",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Builds the models whose sources or parents have changed.",
)
