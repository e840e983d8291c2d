"""What the UI asks for, when it has years of history to look through."""

import time
from typing import Any

from tests.performance.comparison import Both
from tests.performance.ladder import RUN_SECONDS
from tests.performance.plain import LOCATION, Plain
from tests.performance.programs import say
from tests.performance.stack import COLD, Stack
from tests.support.graphql import GraphQL

RUNS = 20_000
TIMES = 20
ASSET = "table"

# A run and its events, copied with other ids and earlier times: one run each 20 minutes is most of a year.
COPIES = """
create temp table copies as
  select n, gen_random_uuid()::text as copy, n * interval '20 minutes' as ago from generate_series(1, {runs}) as n;
insert into runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, partition, partition_set,
                  create_timestamp, update_timestamp, start_time, end_time, backfill_id)
  select copy, snapshot_id, pipeline_name, mode, status, replace(run_body, run_id, copy), partition, partition_set,
         create_timestamp - ago, update_timestamp - ago, start_time - extract(epoch from ago),
         end_time - extract(epoch from ago), backfill_id
  from runs, copies where run_id = '{run}' order by n desc;
insert into run_tags (run_id, key, value)
  select copy, key, value from run_tags, copies where run_id = '{run}';
insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
  select copy, replace(event, run_id, copy), dagster_event_type, timestamp - ago, step_key, asset_key, partition
  from event_logs, copies where run_id = '{run}' order by n desc, event_logs.id;
analyze runs; analyze run_tags; analyze event_logs;
select count(*) from event_logs;
"""

TAGS = "tags { key value }"
QUERIES = {
    "runs page": f"""{{
      runsFeedOrError(limit: 30, view: ROOTS) {{ ... on RunsFeedConnection {{ cursor hasMore results {{
        id runStatus creationTime startTime endTime jobName {TAGS} assetSelection {{ path }} }} }} }}
      runsFeedCountOrError(view: ROOTS) {{ ... on RunsFeedCount {{ count }} }}
    }}""",
    "runs page, failed ones": f"""{{
      runsFeedOrError(limit: 30, view: ROOTS, filter: {{statuses: [FAILURE]}}) {{ ... on RunsFeedConnection {{
        cursor hasMore results {{ id runStatus creationTime jobName {TAGS} }} }} }}
    }}""",
    "asset page": """{
      assetNodeOrError(assetKey: {path: ["table"]}) { ... on AssetNode {
        id description assetMaterializations(limit: 1) { timestamp runId } } }
      assetsLatestInfo(assetKeys: [{path: ["table"]}]) { id latestRun { id status } }
      assetOrError(assetKey: {path: ["table"]}) { ... on Asset {
        assetEventHistory(limit: 50, eventTypeSelectors: [MATERIALIZATION, OBSERVATION, FAILED_TO_MATERIALIZE]) {
          cursor results { __typename ... on MaterializationEvent {
            timestamp runId runOrError { ... on Run { id status } } } } } } }
    }""",
}


def measure(both: Both) -> dict[str, Any]:
    """The same history in both databases, then the same queries in turn."""
    found: dict[str, Any] = {"runs": RUNS, "events": 0}
    clients: dict[str, GraphQL] = {"plain": both.plain.client, "stack": both.stack.client}
    for side, deployment, location in (("plain", both.plain, LOCATION), ("stack", both.stack, COLD)):
        say(f"  filling the history of {side}")
        found["events"] = max(found["events"], fill(deployment, clients[side], location))
        found[side] = {name: [] for name in QUERIES}
    for number in range(TIMES):
        for side, client in clients.items():
            for name, query in QUERIES.items():
                begin = time.monotonic()
                client.ask(query)
                # The first of each fills caches that are full on any other day.
                if number:
                    found[side][name].append(1000 * (time.monotonic() - begin))
    for name in QUERIES:
        middle = {side: sorted(found[side][name])[len(found[side][name]) // 2] for side in clients}
        say(f"  {name}: " + ", ".join(f"{side} {value:.0f} ms" for side, value in middle.items()))
    return found


def fill(deployment: Plain | Stack, client: GraphQL, location: str) -> int:
    """Copies of one real run that materialised the asset; how many events there are then."""
    run = client.launch(location, assets=[ASSET])
    client.wait_for(run, "SUCCESS", seconds=RUN_SECONDS)
    return int(deployment.sql(COPIES.format(runs=RUNS, run=run)).split()[-1])
