"""What both sides run: a step that returns at once, so all time is the deployment's; and an asset, for the history."""

import dagster as dg

# Changed by the benchmark, which then waits until the UI shows it.
VERSION = "first"


@dg.op
def nothing() -> None:
    """Return at once."""


@dg.job
def quick() -> None:
    """One step."""
    nothing()


@dg.asset(description=VERSION)
def table() -> None:
    """No table at all, but its events."""


defs = dg.Definitions(assets=[table], jobs=[quick])
