"""What is stored decides whose something is, and what concerns two locations needs both."""

from typing import TYPE_CHECKING, Any

import pytest
from dagster_shared.record import copy

if TYPE_CHECKING:
    from conftest import Server

TERMINATE = """mutation($r: [String!]!) { terminateRuns(runIds: $r) { __typename
  ... on TerminateRunsResult { terminateRunResults { __typename } } } }"""
STOP = """mutation($a: String, $b: String) { stopRunningSchedule(scheduleOriginId: $a, scheduleSelectorId: $b) {
  __typename ... on UnauthorizedError { message } ... on ScheduleStateResult { scheduleState { status } } } }"""
REPORT = "/report_asset_materialization/"


def test_a_run_of_another_location_is_not_terminated_along_with_ones_own(server: "Server") -> None:
    own, other = server.launch("ines", "ingestion"), server.launch("ana", "analytics")
    assert "editor of analytics" in server.mutate("ines", TERMINATE, r=[own, other])
    for run in (own, other):
        assert server.instance.get_run_by_id(run).status.value == "QUEUED"  # type: ignore[union-attr]
    ended = server.mutate("ines", TERMINATE, r=[own])
    assert ended["terminateRunResults"] == [{"__typename": "TerminateRunSuccess"}]


def test_a_run_that_is_not_known_is_an_admins(server: "Server") -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    assert "role admin" in server.mutate("ines", TERMINATE, r=[unknown])
    assert server.mutate("admin", TERMINATE, r=[unknown])["terminateRunResults"] == [{"__typename": "RunNotFoundError"}]
    assert "concerns no code location" in server.mutate("ines", TERMINATE, r=[])


def test_a_run_that_goes_on_is_not_deleted(server: "Server") -> None:
    run = server.launch("ines", "ingestion")
    document = "mutation($r: String!) { deleteRun(runId: $r) { __typename ... on UnauthorizedError { message } } }"
    for user in ("ines", "admin"):
        assert "terminate it before" in server.mutate(user, document, r=run)["message"]
    assert server.instance.has_run(run)


def test_a_launch_names_runs_and_backfills_of_ones_own_only(server: "Server") -> None:
    other, backfill = server.launch("ana", "analytics"), server.backfill("ana", "analytics")
    for metadata in (
        {"parentRunId": other},
        {"rootRunId": other},
        {"tags": [{"key": "dagster/parent_run_id", "value": other}]},
        {"tags": [{"key": "dagster/root_run_id", "value": other}]},
        {"tags": [{"key": "dagster/backfill", "value": backfill}]},
    ):
        assert "editor of analytics" in server.launch("ines", "ingestion", **metadata)["message"], metadata


def test_a_selection_of_several_launches_needs_all_their_locations(server: "Server") -> None:
    document = """mutation($p: [ExecutionParams!]!) { launchMultipleRuns(executionParamsList: $p) {
      ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename } } } }"""
    own, other = ({"selector": server.selector(name)} for name in ("ingestion", "analytics"))
    before = server.instance.get_runs_count()
    assert "editor of analytics" in server.mutate("ines", document, p=[own, other])
    assert server.instance.get_runs_count() == before
    assert len(server.mutate("admin", document, p=[own, other])["launchMultipleRunsResult"]) == 2


def test_a_backfill_over_two_locations_needs_both(server: "Server") -> None:
    for user, needed in (("ines", "analytics"), ("ana", "ingestion")):
        assert f"editor of {needed}" in server.backfill(user, "ingestion", "analytics")["message"]
    backfill = server.backfill("admin", "ingestion", "analytics")
    document = """mutation($b: String!) { cancelPartitionBackfill(backfillId: $b) {
      __typename ... on UnauthorizedError { message } } }"""
    for user in ("ines", "ana", "vera"):
        assert "editor of" in server.mutate(user, document, b=backfill)["message"]
    both = server.request(
        "both",
        "POST",
        "/graphql",
        groups="data-engineers,analysts",
        json={"query": document, "variables": {"b": backfill}},
    )
    assert both.json()["data"]["cancelPartitionBackfill"] == {"__typename": "CancelBackfillSuccess"}


def test_a_backfill_by_ranges_is_checked_like_one_by_names(server: "Server") -> None:
    ranges = [
        {"assetKey": {"path": server.daily["analytics"]}, "partitions": {"range": {"start": "one", "end": "two"}}}
    ]
    result = server.backfill("ines", assetSelection=None, partitionNames=None, partitionsByAssets=ranges)
    assert "editor of analytics" in result["message"]


def test_a_backfill_of_a_job_belongs_to_the_jobs_location(server: "Server") -> None:
    chosen = {
        "partitionSetName": "own_job_partition_set",
        "repositorySelector": server.repository_selector("analytics"),
    }
    assert "editor of analytics" in server.backfill("ines", assetSelection=None, selector=chosen)["message"]
    assert isinstance(server.backfill("ana", assetSelection=None, selector=chosen), str)


def test_a_backfill_is_not_launched_inside_the_webserver(server: "Server") -> None:
    assert (
        "forceSynchronousSubmission"
        in server.backfill("admin", "ingestion", forceSynchronousSubmission=True)["message"]
    )


def schedule(server: "Server", location: str) -> Any:
    """The schedule of a location."""
    place = server.process.create_request_context().get_code_location(location)
    return place.get_repository(server.repository(location)).get_schedules()[0]


def test_a_schedule_is_not_stopped_under_the_name_of_ones_own(server: "Server") -> None:
    own, other = schedule(server, "ingestion"), schedule(server, "analytics")
    server.instance.start_schedule(other)
    # Dagster checks the first id and stores by the second.
    for first, second in (
        (own.get_remote_origin_id(), other.selector_id),
        (other.get_remote_origin_id(), own.selector_id),
        ("unknown", other.selector_id),
        (f"{own.get_remote_origin_id()}::{other.selector_id}", None),
        (f"{own.get_remote_origin_id()}:{other.selector_id}", None),
    ):
        result = server.mutate("ines", STOP, a=first, b=second)
        assert result["__typename"] == "UnauthorizedError", (first, second)
    state = server.instance.get_instigator_state(other.get_remote_origin_id(), other.selector_id)
    assert state is not None
    assert state.status.value == "RUNNING"
    stopped = server.mutate("ana", STOP, a=other.get_remote_origin_id(), b=other.selector_id)
    assert stopped["scheduleState"] == {"status": "STOPPED"}


def test_partitions_that_two_locations_share_need_both(server: "Server") -> None:
    document = """mutation($s: RepositorySelector!, $k: [String!]!) {
      deleteDynamicPartitions(repositorySelector: $s, partitionsDefName: "customers", partitionKeys: $k) {
        __typename ... on UnauthorizedError { message } } }"""
    server.instance.add_dynamic_partitions("customers", ["first"])
    selector = server.repository_selector("ingestion")
    assert "editor of analytics" in server.mutate("ines", document, s=selector, k=["first"])["message"]
    assert server.instance.get_dynamic_partitions("customers") == ["first"]
    assert server.mutate("admin", document, s=selector, k=["first"])["__typename"] == "DeleteDynamicPartitionsSuccess"


WIPE = """mutation($k: [String!]!) { wipeAssets(assetPartitionRanges: [{assetKey: {path: $k}}]) {
  __typename ... on UnauthorizedError { message } } }"""


def test_an_asset_that_is_only_referred_to_is_not_ones_own(server: "Server") -> None:
    # analytics declares ingestion's asset as external.
    assert "editor of ingestion" in server.mutate("ana", WIPE, k=server.daily["ingestion"])["message"]


def test_an_asset_stays_its_locations_while_that_is_down(server: "Server") -> None:
    workspace = server.process._current_workspace
    entry = workspace.code_location_entries["ingestion"]
    try:
        server.process._current_workspace = workspace.with_code_location("ingestion", copy(entry, code_location=None))
        assert "editor of ingestion" in server.mutate("ana", WIPE, k=server.daily["ingestion"])["message"]
        assert "role admin" in server.mutate("ana", WIPE, k=["ingestion", "raw", "own"])["message"]
        assert "editor of ingestion" in server.mutate("ana", REPORT_EVENT, k=server.daily["ingestion"])["message"]
    finally:
        server.process._current_workspace = workspace


REPORT_EVENT = """mutation($k: [String!]!) { reportRunlessAssetEvents(eventParams:
  {eventType: ASSET_MATERIALIZATION, assetKey: {path: $k}}) { __typename ... on UnauthorizedError { message } } }"""


def test_an_asset_that_no_location_has_is_an_admins(server: "Server") -> None:
    assert "role admin" in server.mutate("ines", REPORT_EVENT, k=["ingestion", "raw", "unknown"])["message"]


@pytest.mark.parametrize("endpoint", ["report_asset_materialization", "report_asset_check", "report_asset_observation"])
@pytest.mark.parametrize("how", ["path", "body", "query"])
def test_events_are_reported_for_ones_own_assets_only(server: "Server", endpoint: str, how: str) -> None:
    def report(user: str, location: str) -> int:
        key = server.daily[location]
        path, body = f"/{endpoint}/", {"passed": True, "check_name": "x", "severity": "ERROR"}
        if how == "path":
            path += "/".join(key)
        elif how == "query":
            path += '?asset_key=["' + '","'.join(key) + '"]'
        given = {**body, "asset_key": key} if how == "body" else body
        return server.request(user, "POST", path, json=given).status_code

    assert [report(user, "ingestion") for user in ("vera", "ana", "ines", "admin")] == [403, 403, 200, 200]
    lines = [(line["user"], line["operation"], line["decision"]) for line in server.audit()]
    assert lines == [
        ("vera", endpoint, "denied"),
        ("ana", endpoint, "denied"),
        ("ines", endpoint, "allowed"),
        ("admin", endpoint, "allowed"),
    ]


def test_a_key_in_the_path_wins_over_one_in_the_body(server: "Server") -> None:
    path = REPORT + "/".join(server.daily["analytics"])
    assert server.request("ines", "POST", path, json={"asset_key": server.daily["ingestion"]}).status_code == 403
    body = {"asset_key": server.daily["analytics"]}
    query = '?asset_key=["ingestion","raw","daily"]'
    assert server.request("ines", "POST", REPORT + query, json=body).status_code == 403


@pytest.mark.parametrize(
    "body", [[], "x", 1, None, {}, {"asset_key": 1}, {"asset_key": []}, {"asset_key": [1]}, {"asset_key": {}}]
)
def test_a_report_that_names_no_asset_is_refused(server: "Server", body: Any) -> None:
    assert server.request("admin", "POST", REPORT, json=body).status_code == 400


def test_a_reported_event_says_who_reported_it(server: "Server") -> None:
    from dagster import AssetKey

    user = "someone@example.com"
    path = REPORT + "/".join(server.daily["ingestion"])
    assert server.request(user, "POST", path, groups="data-engineers", json={}).status_code == 200
    event = server.instance.get_latest_materialization_event(AssetKey(server.daily["ingestion"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.tags == {"dagster/reporting_user": user}


def test_the_instances_configuration_is_an_admins(server: "Server") -> None:
    document = "{ instance { info } }"
    assert "run_coordinator" in server.graphql("admin", document)["data"]["instance"]["info"]
    for user in ("ines", "vera"):
        assert server.graphql(user, document)["data"]["instance"]["info"] is None


def test_the_buttons_of_the_page_follow_the_role(server: "Server") -> None:
    document = "{ workspaceOrError { ... on Workspace { locationEntries { name permissions { permission value } } } } }"
    for user, expected in (
        ("vera", set()),
        ("ines", {"ingestion"}),
        ("ana", {"analytics"}),
        ("admin", {"ingestion", "analytics"}),
    ):
        entries = server.graphql(user, document)["data"]["workspaceOrError"]["locationEntries"]
        launch = {"permission": "launch_pipeline_execution", "value": True}
        assert {entry["name"] for entry in entries if launch in entry["permissions"]} == expected
