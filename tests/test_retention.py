"""Promise: what is old goes, by schedule, and nothing that somebody needs goes with it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployment import Deployment, lake_rows
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("platform", "ingestion", "analytics")

RETENTION = "platform/retention"
CLONE = "lake_ingestion_of_a_branch"
CONTENTS = "select count(*) as rows, sum(hash(f) // 1024) as checksum from ingestion.raw.flights as f"
NOW = {"snapshot_days": 0, "file_days": 0, "small_files": 2}
METADATA = """query Metadata($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: 1) { runId metadataEntries { label
    ... on IntMetadataEntry { intValue } ... on JsonMetadataEntry { jsonString } } } } } }"""


def shown(admin: GraphQL, asset: str) -> dict[str, Any]:
    """The run of an asset's latest materialisation, and its numbers."""
    node = admin.ask(METADATA, key={"path": asset.split("/")})["assetNodeOrError"]
    (made,) = node["assetMaterializations"]
    return {"run": made["runId"], **{one["label"]: one.get("intValue") for one in made["metadataEntries"]}}


def keep(admin: GraphQL, asset: str, **config: object) -> dict[str, Any]:
    """Materialises one asset of the retention now."""
    name = f"{RETENTION}/{asset}"
    run = admin.launch("platform", assets=[name], config={"ops": {name.replace("/", "__"): {"config": config}}})
    admin.wait_for(run, "SUCCESS", seconds=240)
    return shown(admin, name)


def files(deployment: Deployment) -> int:
    """The data files in the volume."""
    source = "import pathlib; print(len(list(pathlib.Path('/var/lib/lake/ingestion').rglob('*.parquet'))))"
    return int(deployment.python("ingestion", source))


@pytest.fixture
def clone(deployment: Deployment, year: list[str]) -> Iterator[str]:
    """A copy of the catalog that shares the lake's files, as a branch's: registered first, then copied."""
    deployment.sql(f"insert into provisioning.lake_clones (lake, clone) values ('lake_ingestion', '{CLONE}')")
    others = "select count(*) from pg_stat_activity where datname = 'lake_ingestion'"
    wait_until(lambda: deployment.sql(others) == [["0"]], seconds=60, what="the catalog to be at rest")
    deployment.sql(f"create database {CLONE} template lake_ingestion owner ingestion", "postgres")
    for table in ("data_file", "delete_file"):
        deployment.sql(
            f"""update ducklake_{table} as f set path_is_relative = false,
                path = '/var/lib/lake/ingestion/' || s.path || t.path || f.path
                from ducklake_table as t join ducklake_schema as s using (schema_id) where t.table_id = f.table_id""",
            CLONE,
        )
    deployment.sql("update ducklake_metadata set value = '/tmp/branch/ingestion/' where key = 'data_path'", CLONE)
    deployment.sql("delete from ducklake_files_scheduled_for_deletion", CLONE)
    yield CLONE
    deployment.sql(f"drop database if exists {CLONE} with (force)", "postgres")
    deployment.sql("delete from provisioning.lake_clones")


def rows_of_clone(deployment: Deployment) -> str:
    """What the clone's reader finds: the kit, told of the other database and of a folder of its own."""
    return deployment.python(
        "ingestion",
        f"""
import os
os.environ["LAKE_ROOT"] = "/tmp/branch"
from platform_kit import environment
environment.catalog_database = lambda name: "{CLONE}"
from platform_kit.lake import LakeResource
with LakeResource().connect() as lake:
    print(lake.sql({CONTENTS!r}).fetchall())
""",
    )


def test_small_files_go_and_no_row_and_no_clone_with_them(
    deployment: Deployment, admin: GraphQL, year: list[str], clone: str
) -> None:
    admin.backfill_to_the_end(["ingestion/raw/flights"], ["2013-03-01", "2013-03-03", "2013-03-05"], seconds=180)
    before, branch = lake_rows(deployment, "ingestion", CONTENTS), rows_of_clone(deployment)
    there = files(deployment)
    travel = "select count(*) as rows from ingestion.raw.flights at (version => {})"
    ((first,),) = deployment.sql("select min(snapshot_id) from ducklake_snapshot", "lake_ingestion")

    held = keep(admin, "lake_ingestion", **NOW)
    assert held["files_after"] < held["files_before"]
    assert held["snapshots_expired"] > 0
    assert held["files_deleted"] == 0
    assert files(deployment) > there  # the new ones, and all the old ones
    assert rows_of_clone(deployment) == branch
    assert lake_rows(deployment, "ingestion", CONTENTS) == before
    with pytest.raises(AssertionError, match="No snapshot found"):
        lake_rows(deployment, "ingestion", travel.format(first))

    deployment.sql(f"drop database {clone} with (force)", "postgres")
    deployment.sql("delete from provisioning.lake_clones")
    freed = keep(admin, "lake_ingestion", **NOW)
    assert freed["files_deleted"] > 0
    assert freed["bytes_freed"] > 0
    assert files(deployment) < there
    assert lake_rows(deployment, "ingestion", CONTENTS) == before


def test_a_database_that_may_be_a_clone_keeps_everything(
    deployment: Deployment, admin: GraphQL, year: list[str]
) -> None:
    deployment.sql("create database lake_unknown owner dagster_owner", "postgres")
    try:
        run = admin.launch("platform", assets=[f"{RETENTION}/lake_ingestion"])
        admin.wait_for(run, "FAILURE", seconds=180)
        why = "event like '%lake_unknown of dagster_owner is neither%'"
        assert deployment.sql(f"select count(*) > 0 from event_logs where run_id = '{run}' and {why}") == [["t"]]
    finally:
        deployment.sql("drop database lake_unknown", "postgres")


def test_old_runs_go_and_the_last_materialisation_is_shown_still(deployment: Deployment, admin: GraphQL) -> None:
    asset = "ingestion/raw/airlines"
    runs = [admin.launch("ingestion", assets=[asset]) for _ in range(1)]
    admin.wait_for(runs[0], "SUCCESS")
    runs.append(admin.launch("ingestion", assets=[asset]))
    admin.wait_for(runs[1], "SUCCESS")
    assert shown(admin, asset)["run"] == runs[1]
    rows = shown(admin, asset)
    which = f"run_id in ('{runs[0]}', '{runs[1]}')"
    deployment.sql(f"update event_logs set timestamp = timestamp - interval '400 days' where {which}")
    deployment.sql(
        f"update asset_check_executions set create_timestamp = create_timestamp - interval '400 days' where {which}"
    )
    deployment.sql(f"update runs set update_timestamp = update_timestamp - interval '400 days' where {which}")
    events = len(admin.events(runs[1]))

    assert keep(admin, "runs")["runs_deleted"] == 1
    assert keep(admin, "events")["rows_deleted"] > 0
    assert admin.run(runs[0])["__typename"] == "RunNotFoundError"
    assert admin.run(runs[1])["status"] == "SUCCESS"
    assert 0 < len(admin.events(runs[1])) < events
    assert shown(admin, asset) == rows


def test_old_logs_go_and_a_link_among_them_leads_nowhere(deployment: Deployment, admin: GraphQL) -> None:
    precious = "/var/lib/lake/analytics/precious.txt"
    deployment.python(
        "analytics", f"import os; open({precious!r}, 'w').write('rows'); os.utime({precious!r}, (10**9, 10**9))"
    )
    plant = """
import os
logs = "/var/lib/dagster/logs"
os.makedirs(f"{logs}/old/compute_logs", exist_ok=True)
open(f"{logs}/old/compute_logs/step.out", "w").write("printed long ago")
open(f"{logs}/young.out", "w").write("printed now")
os.symlink("/var/lib/lake/analytics", f"{logs}/door")
for path in (f"{logs}/old/compute_logs/step.out", f"{logs}/old/compute_logs", f"{logs}/old", f"{logs}/door"):
    os.utime(path, (10**9, 10**9), follow_symlinks=False)
"""
    deployment.python("ingestion", plant)
    assert keep(admin, "compute_logs_ingestion")["files_deleted"] == 2
    left = deployment.python("ingestion", "import os; print(os.listdir('/var/lib/dagster/logs'))")
    assert "young.out" in left
    assert "'old'" not in left
    assert "'door'" not in left
    read = f"import os; print(open({precious!r}).read()); os.remove({precious!r})"
    assert deployment.python("analytics", read).strip() == "rows"
