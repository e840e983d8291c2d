"""Another location's table, looked at from outside; on a real catalog and a real event log."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from platform_location import external
from platform_location.defs.external import tables

from .conftest import Server
from .lakes import fill, lake

pytestmark = pytest.mark.usefixtures("no_tables")

KEY = dg.AssetKey(["ingestion", "raw", "flights"])


def look(instance: dg.DagsterInstance, watched: external.Watched) -> dict[str, dg.AssetCheckEvaluation]:
    checks = [tables._rows(watched)]
    if watched.max_age_hours:
        checks.append(tables._fresh(watched, watched.max_age_hours))
    done = dg.Definitions(asset_checks=checks, jobs=[dg.define_asset_job("now", dg.AssetSelection.checks(*checks))])
    result = done.resolve_job_def("now").execute_in_process(instance=instance)
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def told(instance: dg.DagsterInstance, **metadata: Any) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, metadata=metadata))


def test_rows_that_went_unseen_are_told_from_outside(server: Server, settings: Path) -> None:
    watched = external.Watched(asset="ingestion/raw/flights", max_age_hours=1)
    with dg.DagsterInstance.ephemeral() as instance:
        found = look(instance, watched)
        assert found["rows_as_reported"].passed
        assert found["materialised_lately"].description == "It was never materialised; expected at most 1."
        told(instance, **{external.ROWS: 100})
        told(instance)  # a later partition, which says nothing of the table
        with lake(server, settings) as connection:
            assert look(instance, watched)["rows_as_reported"].description == (
                "The lake has no such table; the last materialisation told of 100."
            )
            fill(connection, "raw.flights", commits=2)
            assert all(evaluation.passed for evaluation in look(instance, watched).values())
            connection.execute("DELETE FROM lake.raw.flights WHERE number < 3")
        (only,) = [evaluation for evaluation in look(instance, watched).values() if not evaluation.passed]
        assert only.description == "The lake has 97 rows; the last materialisation told of 100."
        assert only.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- asset: ingestion/flights", "String should match pattern"),
        ("- {asset: a/b/c, max_age: 3}", "Extra inputs are not permitted"),
        ("- {asset: a/b/c, max_age_hours: 0}", "greater than 0"),
        ("asset: a/b/c", "valid list"),
    ],
)
def test_a_wrong_line_is_refused_with_what_is_legal(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        external.read(text)


def test_tables_of_locations_that_are_no_more_are_passed_over(server: Server) -> None:
    specs = tables.tables().resolve_all_asset_specs()
    locations = {dep.asset_key.path[0] for spec in specs for dep in spec.deps}
    assert locations == {"ingestion", "analytics"}


def test_no_check_is_on_an_asset_of_another_location_whose_backfills_would_fail(server: Server) -> None:
    checks = tables.tables().asset_checks or []
    keys = [key.asset_key.path for check in checks for key in check.check_keys]  # type: ignore[union-attr]
    assert keys
    assert {key[0] for key in keys} == {"platform"}
