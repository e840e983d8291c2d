"""Promise: much of everything starves nobody: runs in the queue, assets in a location.

What a long history costs is measured by ./stack bench (docs/performance.md), in the same sizes.
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.deployment import Deployment, docker
from tests.support.graphql import FINAL, GraphQL
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800, func_only=True)]
QUEUED, OTHERS = 500, 3
# dagster.yaml: runs at once, and of one location.
AT_ONCE, OF_ONE = 12, 8
UNDER_WAY = """{ runsOrError(filter: {statuses: [STARTING, STARTED, CANCELING]}) { ... on Runs {
    results { runId status repositoryOrigin { repositoryLocationName } } } } }"""
STATUSES = (
    """select status, count(*) from runs where run_id in (select run_id from run_tags where key = 'crowd') group by 1"""
)
CANCEL = """mutation Cancel($ids: [String!]!) {
    terminateRuns(runIds: $ids, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }"""
# Each tenth of them depends on others, each has metadata and a group: as of a warehouse of dbt models.
MANY = """
import json, resource, time
began = time.process_time()
import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value
imported = time.process_time() - began

def make(number):
    deps = [f"model_{number - step}" for step in (1, 10) if number % 10 == 0 and number >= step]
    @dg.asset(name=f"model_{number}", deps=deps, group_name=f"group_{number % 20}", tags={"kind": "model"},
              metadata={"columns": dg.TableSchema(columns=[dg.TableColumn(f"c{n}", "text") for n in range(20)])})
    def one() -> None: ...
    return one

began = time.process_time()
defs = dg.Definitions(assets=[make(n) for n in range(1000)])
repository = defs.get_repository_def()
size = len(serialize_value(RepositorySnap.from_def(repository)))
print(json.dumps({"imported": imported, "loaded": time.process_time() - began, "bytes": size,
                  "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


@pytest.mark.needs("ingestion")
def test_five_hundred_queued_runs_of_one_location_hold_up_no_other(deployment: Deployment, admin: GraphQL) -> None:
    with ThreadPoolExecutor(4) as launching:
        crowd = list(launching.map(lambda _: admin.launch("probe", "succeed", tags={"crowd": "yes"}), range(QUEUED)))
    try:
        others = [admin.launch("ingestion", assets=["ingestion/raw/airlines"]) for _ in range(OTHERS)]

        def are_done() -> bool:
            _limits_hold(admin)
            return all(admin.run(run)["status"] in FINAL for run in others)

        wait_until(are_done, seconds=300, what="the other location's runs", every=1)
        assert {admin.run(run)["status"] for run in others} == {"SUCCESS"}
        left = dict(deployment.sql(STATUSES))
        assert int(left.get("QUEUED", 0)) > QUEUED / 2, f"the others waited for the crowd: {left}"
        assert "FAILURE" not in left
    finally:
        _cancel(admin, crowd)
    wait_until(lambda: {status for status, _ in deployment.sql(STATUSES)} <= FINAL, seconds=120, what="the queue's end")
    containers = "label=com.docker.compose.oneoff=True"
    wait_until(
        lambda: not [name for name in docker("ps", "--format", "{{.Names}}", "--filter", containers).split()
                     if name[-36:] in crowd],
        seconds=150, what="the crowd's containers to end", every=2,
    )  # fmt: skip
    assert deployment.findings("--invariants") == []


def _cancel(admin: GraphQL, runs: list[str]) -> None:
    # The newest first, for those still wait: one that is under way takes its time to end, and another takes its place.
    # In pieces, for an answer comes when the last of them has ended.
    last = runs[::-1]
    pieces = [last[start : start + AT_ONCE] for start in range(0, len(last), AT_ONCE)]
    with ThreadPoolExecutor(4) as canceling:
        list(canceling.map(lambda ids: admin.ask(CANCEL, ids=ids), pieces))


def _limits_hold(admin: GraphQL) -> None:
    runs = admin.ask(UNDER_WAY)["runsOrError"]["results"]
    counted = Counter(run["repositoryOrigin"]["repositoryLocationName"] for run in runs)
    assert counted["probe"] <= OF_ONE, counted
    assert counted.total() <= AT_ONCE, counted


def test_a_thousand_assets_load_within_a_code_servers_memory_and_time(deployment: Deployment) -> None:
    server = deployment.inspect(deployment.container("probe"))
    printed = docker("exec", "-i", deployment.container("probe"), "entrypoint", "python", "-", stdin=MANY)
    found = json.loads(printed.splitlines()[-1])
    print(found)
    # What webserver and daemon wait for a location (DAGSTER_GRPC_TIMEOUT_SECONDS' default), on a busy machine.
    assert found["loaded"] < 60 / 3
    assert found["megabytes"] * 1024**2 < server["HostConfig"]["Memory"] / 2
    # A message of gRPC is no larger, unless somebody says so.
    assert found["bytes"] < 50 * 1000**2
