"""Promise: roles, limits and grants are what the files say; drift made by hand is named and mended."""

import pytest

from tests.support.deployment import Deployment
from tests.support.graphql import GraphQL

pytestmark = pytest.mark.needs("platform", "ingestion", "analytics")

EVALUATIONS = """query Evaluations($runId: ID!) {
  logsForRun(runId: $runId, limit: 1000) { ... on EventConnection { events {
    ... on AssetCheckEvaluationEvent { evaluation { success description assetKey { path } } }
} } } }"""
ASSET = "platform/provisioning/ingestion"
TELLS = "INSERT (asset_key, dagster_event_type, event, partition, run_id, step_key, timestamp)"
# Where, what somebody does by hand, and what the check says of it.
DRIFT = [
    ("dagster", "alter role ingestion connection limit 7", "role ingestion: connection limit: found 7, expected 100"),
    (
        "lake_ingestion",
        "revoke select on ducklake_snapshot from analytics",
        "table ducklake_snapshot of lake_ingestion: rights of analytics: found nothing, expected SELECT",
    ),
    (
        "dagster",
        "grant delete on event_logs to ingestion",
        f"table event_logs of dagster: rights of ingestion: found DELETE, {TELLS}, SELECT, expected {TELLS}, SELECT",
    ),
    (
        "dagster",
        "grant update (wipe_timestamp) on asset_keys to ingestion",
        "table asset_keys of dagster: rights of ingestion: found INSERT (asset_key, last_materialization, "
        "last_materialization_timestamp, last_run_id), SELECT, UPDATE (cached_status_data, last_materialization, "
        "last_materialization_timestamp, last_run_id, wipe_timestamp), expected INSERT",
    ),
]


def evaluations(admin: GraphQL, run: str) -> dict[str, tuple[bool, str]]:
    """Of each asset that a run checked: whether it passed, and what was found."""
    admin.wait_for(run, "SUCCESS", seconds=240)
    events = admin.ask(EVALUATIONS, runId=run)["logsForRun"]["events"]
    found = [event["evaluation"] for event in events if event.get("evaluation")]
    return {"/".join(one["assetKey"]["path"]): (one["success"], one["description"] or "") for one in found}


def compare(admin: GraphQL) -> dict[str, tuple[bool, str]]:
    """The daily job, now."""
    return evaluations(admin, admin.launch("platform", "compare_provisioning"))


def test_drift_made_by_hand_is_named_and_mended(deployment: Deployment, admin: GraphQL, reference: str) -> None:
    before = compare(admin)
    assert {ASSET, "platform/provisioning/analytics"} <= set(before)
    assert [one for one in before.values() if not one[0]] == []
    try:
        for database, statement, _ in DRIFT:
            deployment.sql(statement, database)
        found = compare(admin)
        passed, description = found.pop(ASSET)
        assert not passed
        assert [message for _, _, message in DRIFT if message not in description] == []
        assert [one for one in found.values() if not one[0]] == []
        mended = evaluations(admin, admin.launch("platform", assets=[ASSET]))
        assert mended == {ASSET: (True, "")}
    finally:
        deployment.sql("alter role ingestion connection limit 100")
    assert deployment.sql("select rolconnlimit from pg_roles where rolname = 'ingestion'") == [["100"]]
    assert deployment.sql("select has_table_privilege('ingestion', 'event_logs', 'DELETE')") == [["f"]]
    wipes = "select has_column_privilege('ingestion', 'asset_keys', 'wipe_timestamp', 'UPDATE')"
    assert deployment.sql(wipes) == [["f"]]
    readable = "select has_table_privilege('analytics', 'ducklake_snapshot', 'SELECT')"
    assert deployment.sql(readable, "lake_ingestion") == [["t"]]


def test_the_location_that_mends_has_no_power_of_its_own(deployment: Deployment) -> None:
    query = "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles where rolname = 'platform'"
    assert deployment.sql(query) == [["f", "f", "f", "f"]]
    memberships = "select count(*) from pg_auth_members where member = 'platform'::regrole"
    assert deployment.sql(memberships) == [["0"]]
    secrets = deployment.python("platform", "import os; print(sorted(os.listdir('/run/secrets')))")
    assert "postgres_password" not in secrets
    assert "dagster" not in secrets
    assert "gateway" not in secrets


@pytest.mark.parametrize("location", ["ingestion", "analytics"])
def test_no_other_location_has_what_it_mends_with(deployment: Deployment, location: str) -> None:
    allowed = f"select has_function_privilege('{location}', 'provisioning.mend(text)', 'EXECUTE')"
    assert deployment.sql(allowed) == [["f"]]
    assert deployment.sql(f"select pg_has_role('{location}', 'platform', 'MEMBER')") == [["f"]]
    assert deployment.sql(f"select has_table_privilege('{location}', 'event_logs', 'DELETE')") == [["f"]]
    secrets = deployment.python(location, "import os; print(*os.listdir('/run/secrets'))").split()
    # Platform's copies of others' passwords are named after the location.
    assert not [name for name in secrets if name.endswith("_database_password") and name != "source_database_password"]
