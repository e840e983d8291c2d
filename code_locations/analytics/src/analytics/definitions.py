"""Everything in `defs/`, found without being listed here."""

from pathlib import Path

import dagster as dg

from analytics import without_dbt  # noqa: F401  before anything in defs/ imports dagster-dbt
from platform_kit.costs import measured


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this code location; a run does its steps in its own process (one container, one process)."""
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return measured(dg.Definitions.merge(found, dg.Definitions(executor=dg.in_process_executor)))
