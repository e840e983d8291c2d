"""Reference tables, against the package's own data."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl
import pytest

from platform_kit.embedded import EmbeddedDatabase
from platform_kit.lake import LakeResource

Run = Callable[..., dg.ExecuteInProcessResult]
Data = Callable[[str], pl.DataFrame]
Api = Callable[..., Any]
KEYS = {"airlines": "carrier", "airports": "faa", "planes": "tailnum"}


@pytest.mark.parametrize("table", KEYS)
def test_a_table_of_the_api_is_in_the_lake_and_in_the_database(
    run: Run, lake: LakeResource, reference: EmbeddedDatabase, data: Data, table: str
) -> None:
    result = run("reference_tables")
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())
    expected, key = data(table), KEYS[table]
    assert lake.query(f"FROM ingestion.ada_raw.{table}").sort(key).equals(expected.sort(key))
    assert reference.query(f"SELECT * FROM reference.{table}").sort(key).equals(expected.sort(key))
    metadata = result.asset_materializations_for_node(f"ingestion__raw__{table}")[0].metadata
    assert metadata["dagster/row_count"].value == metadata["postgres/row_count"].value == expected.height


def test_loading_again_changes_nothing(run: Run, lake: LakeResource, reference: EmbeddedDatabase) -> None:
    for _ in range(2):
        run("reference_tables")
    assert lake.query("SELECT count(*) FROM ingestion.ada_raw.airports").item() == 1_458
    assert reference.query("SELECT count(*) FROM reference.airports").item() == 1_458


def test_rows_lost_on_the_way_fail_the_balance(run: Run, package_api: Api) -> None:
    result = run("reference_tables", source_api=package_api(lost=7))
    found = {e.asset_key.path[-1]: e.description for e in result.get_asset_check_evaluations() if not e.passed}
    assert found == {
        "airlines": "The source has 16 rows, the lake 9.",
        "airline_contacts": "The source has 16 rows, the lake 9.",
        "airports": "The source has 1458 rows, the lake 1451.",
        "planes": "The source has 3322 rows, the lake 3315.",
    }


def test_an_api_that_has_changed_is_named_and_nothing_is_stored(
    run: Run, reference: EmbeddedDatabase, package_api: Api
) -> None:
    with pytest.raises(dg.Failure, match=r"has the fields \[.*'new_name'.*\], expected .*: the API has changed"):
        run("reference_tables", source_api=package_api(renamed="name"))
    assert reference.query("SELECT count(*) FROM information_schema.tables WHERE table_name = 'airlines'").item() == 0
