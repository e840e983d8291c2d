"""What the UI asks for, and what a run takes, when there are years of history to look through."""

import time
from typing import Any

from operations.benchmark.numbers import FIRST_STEP
from tests.performance.comparison import Both
from tests.performance.ladder import RUN_SECONDS, one_run
from tests.performance.plain import LOCATION, Plain
from tests.performance.programs import say
from tests.performance.stack import COLD, Stack
from tests.support.graphql import GraphQL

RUNS, EVENTS = 20_000, 1_000_000
# What a page shows is there; it is as good as empty.
FEW = 100
TIMES, RUNS_TIMES = 20, 5
ASSET = "table"

# A run and its events, copied with other ids and earlier times: one run each 20 minutes is most of a year. What a run
# that says more would have written is copied from one of its events. Rows that came in months are vacuumed.
COPIES = """
create temp table copies as
  select n, gen_random_uuid()::text as copy, n * interval '20 minutes' as ago
  from generate_series({first}, {last}) as n;
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
insert into event_logs (run_id, event, dagster_event_type, timestamp, step_key)
  select copy, replace(event, run_id, copy), dagster_event_type, timestamp - ago, step_key
  from (select * from event_logs where run_id = '{run}' and asset_key is null order by id limit 1) as one,
       copies, generate_series(1, {events} / {runs} - (select count(*) from event_logs where run_id = '{run}'));
vacuum analyze runs; vacuum analyze run_tags; vacuum analyze event_logs;
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


WAITS, WRITES = "a cold run until its first step", "a cold run from its first step to its end"


def measure(both: Both) -> dict[str, Any]:
    """The stack with a page of history, then both with the same long one: the same queries in turn."""
    clients: dict[str, GraphQL] = {"plain": both.plain.client, "stack": both.stack.client}
    places = {"plain": (both.plain, LOCATION), "stack": (both.stack, COLD)}
    runs = {side: materialise(clients[side], location) for side, (_, location) in places.items()}
    for side, (deployment, _) in places.items():
        fill(deployment, runs[side], 1, FEW)
    found: dict[str, Any] = {"runs": RUNS, "events": 0}
    found["few"] = ask({"stack": both.stack.client})["stack"] | time_runs(both.stack.client)
    for side, (deployment, _) in places.items():
        say(f"  filling the history of {side}")
        found["events"] = max(found["events"], fill(deployment, runs[side], FEW + 1, RUNS))
    found |= ask(clients)
    found["stack"] |= time_runs(both.stack.client)
    for name in found["stack"]:
        shown = [
            f"{side} {_middle(found[side][name]):.0f} ms" for side in ("few", "plain", "stack") if found[side].get(name)
        ]
        say(f"  {name}: {', '.join(shown)}")
    return found


def ask(clients: dict[str, GraphQL]) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each query, by side."""
    found: dict[str, dict[str, list[float]]] = {side: {name: [] for name in QUERIES} for side in clients}
    for number in range(TIMES):
        for side, client in clients.items():
            for name, query in QUERIES.items():
                begin = time.monotonic()
                client.ask(query)
                # The first of each fills caches that are full on any other day.
                if number:
                    found[side][name].append(1000 * (time.monotonic() - begin))
    return found


def time_runs(client: GraphQL) -> dict[str, list[float]]:
    """Milliseconds that runs wait and write."""
    waits: list[float] = []
    writes: list[float] = []
    for _ in range(RUNS_TIMES):
        reached = one_run(client, COLD)
        waits.append(1000 * reached[FIRST_STEP])
        writes.append(1000 * (reached["success"] - reached[FIRST_STEP]))
    return {WAITS: waits, WRITES: writes}


def materialise(client: GraphQL, location: str) -> str:
    """A real run of the asset, to be copied."""
    run = client.launch(location, assets=[ASSET])
    client.wait_for(run, "SUCCESS", seconds=RUN_SECONDS)
    return run


def fill(deployment: Plain | Stack, run: str, first: int, last: int) -> int:
    """Copies of that run; how many events there are then."""
    statement = COPIES.format(runs=RUNS, events=EVENTS, run=run, first=first, last=last)
    return int(deployment.sql(statement).split()[-1])


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
