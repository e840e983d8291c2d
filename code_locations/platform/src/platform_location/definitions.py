"""All definitions of this code location: whatever is in `defs/` is found, nothing is wired here."""

from pathlib import Path

import dagster as dg

from platform_kit.costs import measured


@dg.definitions
def definitions() -> dg.Definitions:
    """What the code server serves; each materialisation says what it cost."""
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    # A step in the run's own process: another Python for each step costs seconds and holds the data twice.
    return measured(dg.Definitions.merge(found, dg.Definitions(executor=dg.in_process_executor)))
