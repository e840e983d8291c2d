"""The location's own reports, each made on the real flights of 2013."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

UNIT = Path(__file__).parents[1]
REPORTS = sorted(file.parent.name for file in UNIT.glob("src/reporting/defs/**/defs.yaml"))

SAME_BY_HAND = {
    "delays_by_carrier_and_month": """
        SELECT name, strftime(make_date(year, month, 1), '%m %b') AS m, count(*), count(*) - count(dep_time),
               round(avg(arr_delay), 1),
               round(100.0 * sum(CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END) / count(arr_delay), 1)
        FROM flights, airlines WHERE flights.carrier = airlines.carrier GROUP BY name, m HAVING count(*) > 19""",
    "worst_routes": """
        SELECT origin || ' – ' || coalesce(name, dest), origin, min(distance), count(*),
               round(100.0 * sum(CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END) / count(*), 1) AS late,
               round(avg(arr_delay), 1)
        FROM flights LEFT JOIN airports ON faa = dest GROUP BY origin, dest, name HAVING count(*) >= 52
        ORDER BY late DESC, 1 LIMIT 20""",
    "weather_and_delay": """
        SELECT f.origin, CAST(floor(visib) AS INT) AS v, count(*), round(avg(dep_delay), 1),
               round(100.0 * (count(*) - count(dep_time)) / count(*), 1)
        FROM flights f, weather w WHERE f.origin = w.origin AND f.time_hour = w.time_hour AND visib IS NOT NULL
        GROUP BY 1, v""",
    "model_error": """
        SELECT 'departure_delay', hour, count(*), round(avg(abs(arr_delay - dep_delay)), 2),
               round(avg(dep_delay - arr_delay), 2) FROM flights WHERE month = 12 GROUP BY hour""",
}


@pytest.fixture(scope="session")
def results(lakes: None, definitions: dg.Definitions) -> dict[str, dg.ExecuteInProcessResult]:
    """A run of each report's job."""
    with dg.DagsterInstance.ephemeral() as instance:
        return {
            name: definitions.resolve_job_def(f"report_{name}").execute_in_process(instance=instance)
            for name in REPORTS
        }


def test_there_is_a_query_by_hand_for_each_report() -> None:
    assert SAME_BY_HAND.keys() == set(REPORTS)


@pytest.mark.parametrize("name", REPORTS)
def test_its_rows_are_those_of_the_same_question_to_the_source(
    results: dict[str, dg.ExecuteInProcessResult],
    rows: Callable[..., list[tuple[Any, ...]]],
    source: duckdb.DuckDBPyConnection,
    name: str,
) -> None:
    assert results[name].success
    found = rows(f"FROM reporting.ada_reports.{name}")
    expected = source.execute(SAME_BY_HAND[name]).fetchall()
    assert len(found) > 10
    assert words(found) == words(expected)
    # One of them rounds 0.05 up, the other one down.
    assert numbers(found) == pytest.approx(numbers(expected), abs=0.11)


def words(table: list[tuple[Any, ...]]) -> list[Any]:
    return [value for row in sorted(table, key=str) for value in row if isinstance(value, str)]


def numbers(table: list[tuple[Any, ...]]) -> list[Any]:
    return [value for row in sorted(table, key=str) for value in row if not isinstance(value, str)]


@pytest.mark.parametrize("name", REPORTS)
def test_its_checks_pass_and_its_columns_are_described(
    results: dict[str, dg.ExecuteInProcessResult], name: str
) -> None:
    evaluations = results[name].get_asset_check_evaluations()
    assert evaluations
    assert all(evaluation.passed for evaluation in evaluations)
    (event,) = results[name].get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    schema = metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert all(column.description for column in schema.columns)
    lineage = metadata["dagster/column_lineage"].value
    assert isinstance(lineage, dg.TableColumnLineage)
    # A count of all rows comes from no column; everything else is traced.
    assert {column.name for column in schema.columns} - lineage.deps_by_column.keys() <= {"flights"}
    page = Path(str(metadata["report/page"].value))
    assert page.name == f"{name}.html"
    assert "<svg role=" in page.read_text(encoding="utf-8")


def test_each_says_what_it_is_and_whose(definitions: dg.Definitions) -> None:
    specs = {
        spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[0] == "reporting"
    }
    assert specs.keys() == set(REPORTS)
    for spec in specs.values():
        assert spec.key.path[:2] == ["reporting", "reports"]
        assert spec.description
        assert spec.owners == ["team:analysts"]
        assert spec.group_name in ("punctuality", "models")


def test_lineage_crosses_to_the_other_locations(definitions: dg.Definitions) -> None:
    upstream = {dep.asset_key.to_user_string() for spec in definitions.resolve_all_asset_specs() for dep in spec.deps}
    assert {key.split("/")[0] for key in upstream} == {"ingestion", "analytics", "eta"}


SERVE = """
import sys
from reporting.definitions import definitions
found = definitions()
print(sorted({"polars", "pandas", "altair", "vl_convert", "sqlglot"} & set(sys.modules)))
print("/".join(sorted(spec.key.path[-1] for spec in found.resolve_all_asset_specs())))
"""


def serve(source: Path) -> list[str]:
    """A new process that loads the definitions, as the code server and each run do."""
    path = ":".join([str(source), *(entry for entry in sys.path if entry and "code_locations" not in entry)])
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        env={"PYTHONPATH": path, "DEPLOYMENT": "prod"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_file_that_is_dropped_in_is_a_report_and_loading_needs_nothing_heavy(tmp_path: Path) -> None:
    shutil.copytree(UNIT, tmp_path / "unit", ignore=shutil.ignore_patterns("tests", "__pycache__", ".*"))
    defs = tmp_path / "unit/src/reporting/defs"
    shutil.copytree(defs / "weather_and_delay", defs / "dropped_in")
    heavy, names = serve(tmp_path / "unit" / "src")
    assert "dropped_in" in names.split("/")
    assert heavy == "[]", "definitions load fast because these are imported where they are used"


def test_the_location_is_yaml_but_for_one_file() -> None:
    python = [file.name for file in UNIT.glob("src/**/*.py")]
    assert sorted(python) == ["__init__.py", "definitions.py"]
