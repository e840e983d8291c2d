"""What the code server serves."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from ingestion.definitions import definitions

UNIT = Path(__file__).parents[1]
DEPLOYED = {"DEPLOYMENT": "prod", "CODE_LOCATION": "ingestion"}
TABLES = {"flights", "weather", "airlines", "airports", "planes", "airline_contacts"}

SUMMARY = """
import sys
from ingestion.definitions import definitions
from ingestion.days import DAYS
found = definitions()
print(len(DAYS.get_partition_keys()), DAYS.get_first_partition_key(), DAYS.get_last_partition_key())
print(type(found.resources["reference_database"]).__name__)
print(sorted({"polars", "duckdb", "httpx", "psycopg2", "pandas"} & set(sys.modules)))
print("/".join(sorted(key.path[-1] for key in found.resolve_asset_graph().get_all_asset_keys())))
"""


def serve(source: Path = UNIT / "src", **settings: str) -> list[str]:
    """A new process that loads the definitions, as the code server and each run do."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LAKE_ROOT", "PYTHONPYCACHEPREFIX") if name in os.environ
    }
    path = os.pathsep.join([str(source), *(entry for entry in sys.path if entry and "ingestion" not in entry)])
    done = subprocess.run(
        [sys.executable, "-c", SUMMARY],
        env={**kept, **settings, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_production_has_the_whole_year_and_needs_no_secret_to_load() -> None:
    days, database, heavy, _ = serve(**DEPLOYED)
    assert days == "365 2013-01-01 2013-12-31"
    assert database == "PostgresResource"
    assert heavy == "[]", "definitions load fast because these are imported where they are used"


def test_a_branch_has_the_last_90_days() -> None:
    assert serve(**{**DEPLOYED, "DEPLOYMENT": "branch-1523"})[0] == "90 2013-10-03 2013-12-31"


def test_a_file_that_is_dropped_in_is_found_without_wiring(tmp_path: Path) -> None:
    shutil.copytree(UNIT, tmp_path / "unit", ignore=shutil.ignore_patterns("tests", "__pycache__", ".*"))
    new = tmp_path / "unit/src/ingestion/defs/assets/dropped.py"
    new.write_text(
        'import dagster as dg\n\n\n@dg.asset(key=["ingestion", "raw", "dropped_in"])\ndef x() -> None: ...\n'
    )
    assert "dropped_in" in serve(tmp_path / "unit" / "src", **DEPLOYED)[3].split("/")
    new.unlink()
    assert "dropped_in" not in serve(tmp_path / "unit" / "src", **DEPLOYED)[3].split("/")


@pytest.fixture
def nodes() -> dict[str, dg.AssetSpec]:
    specs = definitions().resolve_all_asset_specs()
    return {spec.key.path[-1]: spec for spec in specs if spec.key.path[0] == "ingestion"}


def test_every_asset_says_what_it_is_and_whose(nodes: dict[str, dg.AssetSpec]) -> None:
    assert nodes.keys() == TABLES
    for name, spec in nodes.items():
        assert spec.key.path == ["ingestion", "raw", name]
        assert spec.group_name in ("flights", "reference")
        assert spec.owners == ["team:data-engineers"]
        assert spec.description
        assert "ducklake" in spec.kinds
        columns = spec.metadata["dagster/column_schema"].columns
        assert all(column.description for column in columns)


def test_lineage_begins_at_the_sources(nodes: dict[str, dg.AssetSpec]) -> None:
    upstream = {name: [dep.asset_key.to_user_string() for dep in spec.deps] for name, spec in nodes.items()}
    assert upstream["flights"] == ["flight_operations/public/flights"]
    assert upstream["planes"] == ["flight_api/planes"]
    external = {spec.key for spec in definitions().resolve_all_asset_specs() if spec.key.path[0] != "ingestion"}
    assert external == {dep.asset_key for spec in nodes.values() for dep in spec.deps}


def test_every_table_has_its_four_checks() -> None:
    keys = definitions().resolve_asset_graph().asset_check_keys
    names = {"columns", "no_empty_values", "unique_key", "as_many_rows_as_the_source"}
    assert {(key.asset_key.path[-1], key.name) for key in keys} == {(table, name) for table in TABLES for name in names}


def test_what_comes_by_day_has_a_freshness_policy_and_backfills_in_one_run() -> None:
    graph = definitions().resolve_asset_graph()
    for table in ("flights", "weather"):
        node = graph.get(dg.AssetKey(["ingestion", "raw", table]))
        assert node.freshness_policy is not None
        assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_a_step_runs_in_the_runs_own_process(location: Callable[..., dg.Definitions]) -> None:
    assert location().resolve_job_def("daily_flights").executor_def.name == "in_process"


def test_what_starts_by_itself_is_off_until_somebody_turns_it_on() -> None:
    found = definitions()
    automatic = [*(found.schedules or []), *(found.sensors or [])]
    names = {"every_morning", "refresh_source_tables_schedule", "new_reference_version"}
    assert {item.name for item in automatic} == names
    assert {item.default_status.value for item in automatic} == {"STOPPED"}
