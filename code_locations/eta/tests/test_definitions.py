"""What the code server serves."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
from eta import days
from eta.definitions import definitions
from eta.defs.jobs.daily import every_morning

UNIT = Path(__file__).parents[1]
OWN = {
    "eta/features/flights",
    "eta/model/delay_model",
    "eta/model/evaluation",
    "eta/model/accepted_model",
    "eta/predictions/arrival_delays",
}
SUMMARY = """
import sys
from eta.definitions import definitions
from eta.days import DAYS
definitions()
print(len(DAYS.get_partition_keys()), DAYS.get_first_partition_key(), DAYS.get_last_partition_key())
print(sorted({"polars", "pandas", "numpy", "sklearn", "scipy", "matplotlib", "duckdb", "skops"} & set(sys.modules)))
"""


def serve(**settings: str) -> list[str]:
    """A new process that loads the definitions, as the code server and each run do."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPYCACHEPREFIX") if name in os.environ}
    path = os.pathsep.join([str(UNIT / "src"), *(entry for entry in sys.path if entry)])
    done = subprocess.run(
        [sys.executable, "-c", SUMMARY],
        env={**kept, **settings, "CODE_LOCATION": "eta", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_production_has_the_whole_year_and_loads_without_the_libraries_of_the_model() -> None:
    year, heavy = serve(DEPLOYMENT="prod")
    assert year == "365 2013-01-01 2013-12-31"
    assert heavy == "[]", "definitions load fast because these are imported where they are used"


@pytest.fixture(scope="module")
def nodes() -> dict[str, dg.AssetSpec]:
    specs = definitions().resolve_all_asset_specs()
    return {spec.key.to_user_string(): spec for spec in specs if spec.key.to_user_string() in OWN}


def test_every_asset_says_what_it_is_and_whose(nodes: dict[str, dg.AssetSpec]) -> None:
    assert nodes.keys() == OWN
    for spec in nodes.values():
        assert spec.owners == ["team:data-scientists"]
        assert spec.description
        assert spec.group_name == spec.key.path[1]
        assert "ducklake" in spec.kinds
        assert all(column.description for column in spec.metadata["dagster/column_schema"].columns)


def test_lineage_runs_from_the_raw_tables_and_a_mart_to_the_predictions(nodes: dict[str, dg.AssetSpec]) -> None:
    upstream = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in nodes.items()}
    assert upstream == {
        "eta/features/flights": {"ingestion/raw/flights", "ingestion/raw/weather", "analytics/marts/delays_by_day"},
        "eta/model/delay_model": {"eta/features/flights"},
        "eta/model/evaluation": {"eta/features/flights", "eta/model/delay_model"},
        "eta/model/accepted_model": {"eta/model/delay_model", "eta/model/evaluation"},
        "eta/predictions/arrival_delays": {"eta/features/flights", "eta/model/accepted_model"},
    }


def test_column_lineage_names_columns_that_exist_of_assets_that_are_read(nodes: dict[str, dg.AssetSpec]) -> None:
    columns = {
        name: {column.name for column in spec.metadata["dagster/column_schema"].columns} for name, spec in nodes.items()
    }
    for name, spec in nodes.items():
        for column, deps in spec.metadata["dagster/column_lineage"].deps_by_column.items():
            assert column in columns[name]
            for dep in deps:
                assert dep.asset_key in {each.asset_key for each in spec.deps}
                assert dep.column_name in columns.get(dep.asset_key.to_user_string(), {dep.column_name})


def test_the_gate_blocks_what_comes_after_it() -> None:
    graph = definitions().resolve_asset_graph()
    key = dg.AssetCheckKey(dg.AssetKey(["eta", "model", "evaluation"]), "release_gate")
    assert graph.get(key).blocking


def test_days_are_those_of_flights_and_backfill_in_one_run() -> None:
    graph = definitions().resolve_asset_graph()
    for name in ("eta/features/flights", "eta/predictions/arrival_delays"):
        node = graph.get(dg.AssetKey(name.split("/")))
        assert node.partitions_def == days.DAYS
        assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_what_starts_by_itself_is_off_until_somebody_turns_it_on() -> None:
    schedules = definitions().schedules or []
    own = {item.name: item for item in schedules if item.name in ("every_morning", "every_month")}
    assert {name: (item.cron_schedule, item.default_status.value) for name, item in own.items()} == {
        "every_morning": ("0 7 * * *", "STOPPED"),
        "every_month": ("30 7 1 * *", "STOPPED"),
    }


def test_every_morning_predicts_the_day_that_ingestion_loads() -> None:
    def tick(month: int) -> object:
        moment = datetime(2026, month, 21, 7, tzinfo=UTC)
        return every_morning(dg.build_schedule_context(scheduled_execution_time=moment))

    request = tick(11)
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == ("2013-11-21", "2026-11-21")
    skipped = tick(5)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "2013-05-21 is outside the 90 days of this environment"
    assert days.same_day_of_2013(date(2028, 2, 29)) == date(2013, 2, 28)
