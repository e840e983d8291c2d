"""Dagster's GraphQL through the gateway, as a script of a user would call it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx

from tests.support.waiting import wait_until

FINAL = {"SUCCESS", "FAILURE", "CANCELED"}

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId tags { key value } } }
    ... on PythonError { message stack }
    ... on UnauthorizedError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""

BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message stack }
    ... on UnauthorizedError { message }
  }
}"""

TERMINATE = """
mutation Terminate($runId: String!) {
  terminateRun(runId: $runId) {
    __typename
    ... on TerminateRunFailure { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}"""

RUN = """
query Run($runId: ID!) {
  runOrError(runId: $runId) {
    __typename
    ... on Run { runId status tags { key value } startTime endTime }
  }
}"""

EVENTS = """
query Events($runId: ID!, $after: String) {
  logsForRun(runId: $runId, afterCursor: $after, limit: 1000) {
    __typename
    ... on EventConnection {
      cursor hasMore
      events {
        __typename
        ... on MessageEvent { message timestamp }
        ... on ObservationEvent { metadataEntries { label ... on TextMetadataEntry { text } } }
        ... on AssetCheckEvaluationEvent { evaluation { checkName success } }
        ... on EngineEvent { error { message errorChain { error { message } } } }
        ... on ExecutionStepFailureEvent { error { message errorChain { error { message } } } }
        ... on RunFailureEvent { error { message errorChain { error { message } } } }
      }
    }
  }
}"""

BACKFILL_RUNS = """
query BackfillRuns($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status error { message } runs(limit: 100) { runId status } }
  }
}"""

LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus
    locationOrLoadError { __typename ... on PythonError { message errorChain { error { message } } } }
} } } }"""


class GraphQL:
    """One user's view of a deployment."""

    def __init__(self, address: str, user: str | None = None, password: str | None = None) -> None:
        auth = (user, password or "") if user else None
        self.http = httpx.Client(base_url=address, auth=auth, timeout=60)

    def answer(self, query: str, **variables: Any) -> httpx.Response:
        """The raw answer, whatever its status."""
        return self.http.post("/graphql", json={"query": query, "variables": variables})

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer that must be good."""
        answer = self.answer(query, **variables)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:2000]}"
        body = answer.json()
        assert not body.get("errors"), body["errors"]
        return body["data"]

    def locations(self) -> dict[str, str]:
        """What each location is: the type of its entry, or the message of its error."""
        entries = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        found = {}
        for entry in entries:
            what = entry["locationOrLoadError"] or {"__typename": entry["loadStatus"]}
            causes = [cause["error"]["message"] for cause in what.get("errorChain") or []]
            found[entry["name"]] = "\n".join([what.get("message") or what["__typename"], *causes])
        return found

    def try_launch(
        self,
        location: str,
        job: str = "__ASSET_JOB",
        *,
        assets: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Launches a job or assets of one location and returns the mutation's answer."""
        selector: dict[str, Any] = {
            "repositoryLocationName": location,
            "repositoryName": "__repository__",
            "jobName": job,
        }
        if assets:
            selector["assetSelection"] = [{"path": key.split("/")} for key in assets]
        params = {
            "selector": selector,
            "runConfigData": dict(config or {}),
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in (tags or {}).items()]},
        }
        return self.ask(LAUNCH, params=params)["launchRun"]

    def launch(self, location: str, job: str = "__ASSET_JOB", **how: Any) -> str:
        """Launches and returns the run's id."""
        launched = self.try_launch(location, job, **how)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Launches a backfill of the assets' partitions and returns its id."""
        params = {"assetSelection": [{"path": key.split("/")} for key in assets], "partitionNames": list(partitions)}
        launched = self.ask(BACKFILL, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def backfill_state(self, backfill: str) -> dict[str, Any]:
        """Status and runs of a backfill."""
        return self.ask(BACKFILL_RUNS, id=backfill)["partitionBackfillOrError"]

    def backfill_to_the_end(self, assets: Sequence[str], partitions: Sequence[str], *, seconds: float) -> list[str]:
        """Launches a backfill, waits for its success and returns its runs."""
        backfill = self.backfill(assets, partitions)

        def ended() -> dict[str, Any] | None:
            state = self.backfill_state(backfill)
            assert state["status"] not in ("FAILED", "CANCELED", "COMPLETED_FAILED"), state
            return state if state["status"] == "COMPLETED_SUCCESS" else None

        state = wait_until(ended, seconds=seconds, what=f"the backfill {backfill}")
        assert state is not None
        return [run["runId"] for run in state["runs"]]

    def run(self, run_id: str) -> dict[str, Any]:
        """Status, tags and times of a run."""
        return self.ask(RUN, runId=run_id)["runOrError"]

    def tags(self, run_id: str) -> dict[str, str]:
        """A run's tags."""
        return {tag["key"]: tag["value"] for tag in self.run(run_id)["tags"]}

    def terminate(self, run_id: str) -> dict[str, Any]:
        """Asks for a run's end and returns the mutation's answer."""
        return self.ask(TERMINATE, runId=run_id)["terminateRun"]

    def wait_for(self, run_id: str, *statuses: str, seconds: float = 120) -> str:
        """Waits until the run has one of the statuses (any final one when none is named)."""
        wanted = set(statuses) or FINAL

        def reached() -> str | None:
            status = self.run(run_id)["status"]
            assert status in wanted or status not in FINAL, (
                f"run {run_id} ended as {status}, expected {sorted(wanted)}:\n" + "\n".join(self.messages(run_id)[-15:])
            )
            return status if status in wanted else None

        return str(wait_until(reached, seconds=seconds, what=f"run {run_id} to be {sorted(wanted)}"))

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """All events of a run."""
        events: list[dict[str, Any]] = []
        after = None
        while True:
            page = self.ask(EVENTS, runId=run_id, after=after)["logsForRun"]
            events += page["events"]
            after = page["cursor"]
            if not page["hasMore"]:
                return events

    def messages(self, run_id: str) -> list[str]:
        """The text of all events of a run, errors and their causes included."""
        return [
            " ".join(filter(None, [event.get("message"), *_told(event.get("error"))])) for event in self.events(run_id)
        ]

    def printed(self, run_id: str) -> str:
        """What the source given to the probe's job "attack" printed."""
        for event in self.events(run_id):
            if event["__typename"] == "ObservationEvent":
                for entry in event["metadataEntries"]:
                    if entry["label"] == "printed":
                        return str(entry["text"])
        raise AssertionError("the run printed nothing:\n" + "\n".join(self.messages(run_id)[-15:]))


def _told(error: Mapping[str, Any] | None) -> list[str]:
    """What an error says, and what it came from: of a full disk the innermost alone tells."""
    if error is None:
        return []
    return [error["message"], *(cause["error"]["message"] for cause in error["errorChain"])]
