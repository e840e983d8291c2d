"""Personal data of the sample: in the lake as seals, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl

from platform_kit.embedded import EmbeddedDatabase
from platform_kit.lake import LakeResource
from platform_kit.personal.sealing import is_seal

Run = Callable[..., dg.ExecuteInProcessResult]
Data = Callable[[str], pl.DataFrame]


def test_contacts_are_sealed_in_the_lake_and_kept_from_the_database(
    run: Run, lake: LakeResource, reference: EmbeddedDatabase, data: Data, tmp_path: Path
) -> None:
    result = run("reference_tables")
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())
    expected = data("airline_contacts")
    assert lake.query("FROM ingestion.ada_raw.airline_contacts").equals(expected)
    with lake.connect() as connection:
        rows = connection.execute(
            "SELECT contact_name, email, phone FROM ingestion.ada_raw.airline_contacts"
        ).fetchall()
    assert all(is_seal(value) for row in rows for value in row)
    tables = reference.query("SELECT table_name FROM information_schema.tables")["table_name"].to_list()
    assert "airlines" in tables
    assert "airline_contacts" not in tables
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        content = file.read_bytes()
        assert b".example" not in content, file
        assert b"Sampleton" not in content, file


def test_no_event_of_the_run_shows_a_contact(run: Run, data: Data) -> None:
    result = run("reference_tables")
    told = str(result.all_events)
    assert "(personal)" in told
    for value in data("airline_contacts").drop("carrier").iter_columns():
        assert not [text for text in value if text in told]
