"""What the location serves: keys, owners, automation; and that serving it needs no database."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from analytics import project
from analytics.translator import LakeTranslator

OWN = {
    *(("analytics", "staging", f"stg_{name}") for name in ("flights", "weather", "airlines", "airports", "planes")),
    *(("analytics", "marts", f"delays_by_{name}") for name in ("carrier", "route", "airport", "day", "weather")),
}
UPSTREAM = {("ingestion", "raw", name) for name in ("flights", "weather", "airlines", "airports", "planes")}
SOURCES = Path(project.__file__).parent


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[tuple[str, ...], dg.AssetSpec]:
    return {tuple(spec.key.path): spec for spec in definitions.resolve_all_asset_specs()}


def test_own_assets_are_keyed_by_catalog_schema_table(specs: dict[tuple[str, ...], dg.AssetSpec]) -> None:
    assert set(specs) - UPSTREAM == OWN


def test_sources_meet_the_assets_of_ingestion_by_key(specs: dict[tuple[str, ...], dg.AssetSpec]) -> None:
    depended_on = {tuple(dep.asset_key.path) for key in OWN for dep in specs[key].deps}
    assert depended_on - OWN == UPSTREAM


@pytest.mark.parametrize("key", sorted(OWN))
def test_every_asset_has_owner_group_kinds_and_description(
    specs: dict[tuple[str, ...], dg.AssetSpec], key: tuple[str, ...]
) -> None:
    spec = specs[key]
    assert spec.owners == ["team:analysts"]
    assert spec.group_name == key[1]
    assert {"dbt", "duckdb", "view" if key[1] == "staging" else "table"} <= spec.kinds
    assert spec.description
    assert spec.automation_condition


def test_a_developers_prefix_is_in_the_schema_but_not_in_the_key(manifest: dict[str, Any]) -> None:
    model = manifest["nodes"]["model.analytics.delays_by_day"]
    raw = manifest["sources"]["source.analytics.raw.flights"]
    assert model["relation_name"] == '"analytics"."ada_l_marts"."delays_by_day"'
    assert raw["relation_name"] == '"ingestion"."ada_l_raw"."flights"'
    translator = LakeTranslator()
    assert translator.get_asset_key(model).path == ["analytics", "marts", "delays_by_day"]
    assert translator.get_asset_key(raw).path == ["ingestion", "raw", "flights"]


def test_staging_does_not_wait_for_every_day_of_the_year(specs: dict[tuple[str, ...], dg.AssetSpec]) -> None:
    staging = specs["analytics", "staging", "stg_flights"].automation_condition
    mart = specs["analytics", "marts", "delays_by_day"].automation_condition
    assert isinstance(staging, dg.AutomationCondition)
    assert isinstance(mart, dg.AutomationCondition)
    assert "any_deps_missing" not in str(staging)
    assert "any_deps_missing" in str(mart)


def test_new_raw_data_asks_for_staging_and_marts_together(definitions: dg.Definitions) -> None:
    days = dg.DailyPartitionsDefinition("2013-01-01", end_date="2014-01-01")

    def upstream(name: str) -> dg.AssetsDefinition:
        partitions = days if name in ("flights", "weather") else None

        @dg.asset(key=["ingestion", "raw", name], partitions_def=partitions)
        def raw() -> None: ...

        return raw

    raw = {name: upstream(name) for _, _, name in UPSTREAM}
    both = dg.Definitions.merge(definitions, dg.Definitions(assets=list(raw.values())))
    instance = dg.DagsterInstance.ephemeral()
    first = dg.evaluate_automation_conditions(both, instance)
    assert first.total_requested == 0

    for name, asset in raw.items():
        partition = "2013-01-01" if name in ("flights", "weather") else None
        assert dg.materialize([asset], instance=instance, partition_key=partition).success
    second = dg.evaluate_automation_conditions(both, instance, cursor=first.cursor)
    asked = {tuple(key.path) for key in OWN_KEYS if second.get_num_requested(key)}
    assert asked == OWN


OWN_KEYS = [dg.AssetKey(list(key)) for key in sorted(OWN)]


def test_job_schedule_and_sensor_are_found_without_wiring(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert repository.has_job("build_all")
    schedule = repository.get_schedule_def("build_every_morning")
    sensor = repository.get_sensor_def("new_raw_data")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_a_run_does_its_steps_in_its_own_process(definitions: dg.Definitions) -> None:
    assert definitions.resolve_job_def("build_all").executor_def is dg.in_process_executor


LOAD = """
import socket, subprocess
import dagster, dagster_dbt
def refuse(*args, **kwargs): raise AssertionError("loading the definitions must not reach for anything")
socket.socket.connect = refuse
subprocess.Popen.__init__ = refuse
from analytics import project
project.PREPARED = __import__("pathlib").Path(%r)
from analytics.definitions import defs
print(len(defs().resolve_asset_graph().get_all_asset_keys()))
"""
LOADED = """
import sys
from analytics import project
project.PREPARED = __import__("pathlib").Path(%r)
from analytics.definitions import defs
defs().resolve_asset_graph()
print(*({name.partition(".")[0] for name in sys.modules} & {"dagster_dbt", "dbt", "duckdb", "sqlglot"}))
from dbt.version import __version__
from dagster_dbt.core import dbt_cli_event as later
assert later.exp.Table.__module__.startswith("sqlglot")
assert later.parse_one("select 1", dialect="duckdb").sql() == "SELECT 1"
"""


def in_production(source: str, prepared: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("POSTGRES", "DEVELOPER"))}
    environment.update(DEPLOYMENT="prod", CODE_LOCATION="analytics")
    return subprocess.run(
        [sys.executable, "-c", source % str(prepared)], env=environment, capture_output=True, text=True, check=False
    )


def test_definitions_load_in_production_without_database_network_or_secret(prepared: Path) -> None:
    done = in_production(LOAD, prepared)
    assert done.stdout.strip() == "15", done.stderr


def test_a_code_server_holds_neither_dbt_nor_duckdb_nor_sqlglot_which_it_never_uses(prepared: Path) -> None:
    done = in_production(LOADED, prepared)
    assert (done.returncode, done.stdout.split()) == (0, ["dagster_dbt"]), done.stderr


def test_the_environment_is_read_by_the_platform_kit_alone() -> None:
    readers = [
        path.name for path in SOURCES.rglob("*.py") if "environ" in path.read_text(encoding="utf-8").split("import")
    ]
    direct = [path.name for path in SOURCES.rglob("*.py") if "os.environ" in path.read_text(encoding="utf-8")]
    templates = [path.name for path in project.DIRECTORY.glob("*.yml") if "env_var" in path.read_text(encoding="utf-8")]
    assert (readers, direct, templates) == ([], [], [])
