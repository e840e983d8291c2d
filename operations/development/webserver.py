"""GraphQL of the developer's own webserver: locations, runs, and what starts by itself."""

from typing import Any

from operations.gateway import Gateway

RELOAD = (
    """mutation Reload($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"""
)
RUNS = """query Runs($filter: RunsFilter) { runsOrError(filter: $filter) {
  ... on Runs { results { runId } } ... on PythonError { message } } }"""
FORGET = """mutation Forget($ids: [String!]!) {
  terminateRuns(runIds: $ids, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }"""
STARTERS = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  sensors { name canReset state: sensorState { id status } }
  schedules { name canReset state: scheduleState { id status } } } } } }"""
STOP = {
    "sensors": "mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }",
    "schedules": "mutation Stop($id: String!) { stopRunningSchedule(id: $id) { __typename } }",
}
UNDER_WAY = ["STARTING", "STARTED", "CANCELING"]


class Webserver(Gateway):
    """Dagster's own webserver on this machine, with nobody to sign in to."""

    # A reload is answered when the location is loaded, which takes dbt half a minute where it has to parse its project.
    seconds = 180.0

    def __init__(self, port: int) -> None:
        super().__init__({"GATEWAY_PORT": str(port)}, "nobody", "")

    def reload(self, location: str) -> None:
        """Load a location's definitions anew from its code server."""
        self._ask(RELOAD, {"name": location})

    def under_way(self, location: str | None = None) -> list[str]:
        """Ids of the runs that are being executed, of one location or of all."""
        tags = [{"key": "dagster/code_location", "value": location}] if location else []
        answer = self._ask(RUNS, {"filter": {"statuses": UNDER_WAY, "tags": tags}})
        return [run["runId"] for run in answer["runsOrError"].get("results", ())]

    def forget_runs(self) -> int:
        """Mark as cancelled the runs that an earlier call, which was killed, has left "started"; how many there were.

        Nothing executes them, and each would hold the one place in the queue for ever.
        """
        left = self.under_way()
        if left:
            self._ask(FORGET, {"ids": left})
        return len(left)

    def stop_starters(self) -> list[str]:
        """Stop schedules and sensors that run unless told otherwise; those that the developer started go on."""
        stopped = []
        for repository in self._ask(STARTERS)["repositoriesOrError"].get("nodes", ()):
            for kind, mutation in STOP.items():
                for starter in repository[kind]:
                    if _starts_by_itself(starter):
                        self._ask(mutation, {"id": starter["state"]["id"]})
                        stopped.append(str(starter["name"]))
        return stopped


def _starts_by_itself(starter: dict[str, Any]) -> bool:
    # What can be reset was started or stopped by somebody, and is left as it is.
    return starter["state"]["status"] == "RUNNING" and not starter["canReset"]
