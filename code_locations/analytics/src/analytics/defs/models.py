"""All dbt models as assets, their tests as asset checks."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets

from analytics import project
from analytics.metadata import described
from analytics.resources import LakeDbt, make
from analytics.translator import LakeTranslator
from platform_kit.environment import current


# One build at a time: two would make the same temporary tables (the pool's limit is set in dagster.yaml).
@dbt_assets(manifest=project.manifest(), dagster_dbt_translator=LakeTranslator(), name="models", pool="analytics_lake")
def models(context: dg.AssetExecutionContext, dbt: LakeDbt) -> Iterator[Any]:
    """Build the selected models and run their tests; rows, columns and column lineage go with each materialisation."""
    with project.workspace() as folder:
        command = ["build", *project.arguments(current(project.LOCATION))]
        yield from described(dbt.cli(command, context=context, target_path=folder))


@dg.definitions
def resources() -> dg.Definitions:
    """dbt, for the target that is this environment."""
    return dg.Definitions(resources={"dbt": make(current(project.LOCATION).dbt_target)})
