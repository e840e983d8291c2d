"""Every report in `defs/`, found without being listed here. The only Python of this location."""

from pathlib import Path

import dagster as dg

from platform_kit.costs import measured

# Makes reports that say `after_sources`. Running from the start, as analytics' own: what is new upstream shall be seen.
NEW_SOURCES = dg.AutomationConditionSensorDefinition(
    "new_sources",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Makes the reports whose sources have changed, where their file says after_sources.",
)


@dg.definitions
def definitions() -> dg.Definitions:
    """What the code server serves; each materialisation says what it cost."""
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    # A step in the run's own process: another Python for each step costs seconds and holds the data twice.
    own = dg.Definitions(executor=dg.in_process_executor, sensors=[NEW_SOURCES])
    return measured(dg.Definitions.merge(found, own))
