"""What the assets use: the lakes."""

import dagster as dg

from eta.days import HERE
from platform_kit.lake import LakeIOManager, LakeResource


@dg.definitions
def resources() -> dg.Definitions:
    """The lake stores what assets return; it also reads those of ingestion and analytics."""
    return dg.Definitions(
        resources={
            "io_manager": LakeIOManager(code_location=HERE.code_location),
            "lake": LakeResource(code_location=HERE.code_location),
        }
    )
