"""The table: each mutation of Dagster's GraphQL, and what of the deployment it touches.

A mutation that is not in the table is refused for everybody but admins, so a new version of Dagster brings no new
power unseen; a test compares the table with the schema.
"""

from collections.abc import Callable, Iterable
from typing import Any

from dagster._core.storage.tags import USER_TAG

from webserver import touched
from webserver.context import RequestContext
from webserver.refusals import RefusedError, run_id
from webserver.touched import Arguments, Touched

Rule = Callable[[RequestContext, Arguments], Touched]


def _everything(_context: RequestContext, _arguments: Arguments) -> Touched:
    return Touched(elsewhere=("the whole deployment",))


def _selector(name: str) -> Rule:
    return lambda _context, arguments: touched.location(arguments[name]["repositoryLocationName"])


def _named(name: str) -> Rule:
    return lambda _context, arguments: touched.location(arguments[name])


def _run(context: RequestContext, arguments: Arguments) -> Touched:
    return touched.run(context, run_id(arguments["runId"]))


def _delete_run(context: RequestContext, arguments: Arguments) -> Touched:
    found = context.instance.get_run_by_id(arguments["runId"])
    if found is not None and not found.is_finished:
        # Its container would go on with nothing left that could stop it.
        raise RefusedError(f"Run {arguments['runId']} is not finished: terminate it before it is deleted.")
    return _run(context, arguments)


def _runs(context: RequestContext, arguments: Arguments) -> Touched:
    return touched.together(touched.run(context, run_id(found)) for found in arguments["runIds"])


def _tags(container: Any, name: str) -> dict[str, str]:
    """The tags a client sends; a name it gives itself is dropped, since the webserver says who it is."""
    if not container or not container.get(name):
        return {}
    container[name] = [tag for tag in container[name] if tag["key"] != USER_TAG]
    return {tag["key"]: tag["value"] for tag in container[name]}


def _launch(context: RequestContext, parameters: Any) -> Touched:
    found = touched.location(parameters["selector"]["repositoryLocationName"])
    metadata = parameters.get("executionMetadata") or {}
    found += touched.references(context, _tags(metadata, "tags"))
    for name in ("parentRunId", "rootRunId"):
        if metadata.get(name):
            found += Touched(touched.run(context, run_id(metadata[name])).locations)
    return found


def _launch_one(context: RequestContext, arguments: Arguments) -> Touched:
    return _launch(context, arguments["executionParams"])


def _launch_many(context: RequestContext, arguments: Arguments) -> Touched:
    return touched.together(_launch(context, parameters) for parameters in arguments["executionParamsList"])


def _launch_again(context: RequestContext, arguments: Arguments) -> Touched:
    found = touched.NOTHING
    if arguments.get("executionParams"):
        found += _launch(context, arguments["executionParams"])
    if arguments.get("reexecutionParams"):
        parameters = arguments["reexecutionParams"]
        found += touched.run(context, run_id(parameters["parentRunId"]))
        found += touched.references(context, _tags(parameters, "extraTags"))
    return found


def _assets(context: RequestContext, keys: Iterable[Any]) -> Touched:
    return touched.asset_inputs(context, keys)


def _launch_backfill(context: RequestContext, arguments: Arguments) -> Touched:
    parameters = arguments["backfillParams"]
    if parameters.get("forceSynchronousSubmission"):
        raise RefusedError("forceSynchronousSubmission would launch all runs inside the webserver; leave it out.")
    found = touched.references(context, _tags(parameters, "tags"))
    if parameters.get("selector"):
        found += touched.location(parameters["selector"]["repositorySelector"]["repositoryLocationName"])
    found += _assets(context, parameters.get("assetSelection") or ())
    return found + _assets(context, [each["assetKey"] for each in parameters.get("partitionsByAssets") or () if each])


def _backfill(context: RequestContext, arguments: Arguments) -> Touched:
    return touched.backfill(context, arguments["backfillId"])


def _backfill_again(context: RequestContext, arguments: Arguments) -> Touched:
    parameters = arguments.get("reexecutionParams")
    return touched.backfill(context, parameters["parentRunId"]) if parameters else touched.NOTHING


def _reported(context: RequestContext, arguments: Arguments) -> Touched:
    return _assets(context, [arguments["eventParams"]["assetKey"]])


def _wiped(context: RequestContext, arguments: Arguments) -> Touched:
    return _assets(context, [each["assetKey"] for each in arguments["assetPartitionRanges"]])


def _dynamic_partitions(context: RequestContext, arguments: Arguments) -> Touched:
    own = touched.location(arguments["repositorySelector"]["repositoryLocationName"])
    return own + touched.dynamic_partitions(context, arguments["partitionsDefName"])


MUTATIONS: dict[str, Rule] = {
    "launchPipelineExecution": _launch_one,
    "launchRun": _launch_one,
    "launchMultipleRuns": _launch_many,
    "launchPipelineReexecution": _launch_again,
    "launchRunReexecution": _launch_again,
    "terminatePipelineExecution": _run,
    "terminateRun": _run,
    "terminateRuns": _runs,
    "deletePipelineRun": _delete_run,
    "deleteRun": _delete_run,
    "launchPartitionBackfill": _launch_backfill,
    "resumePartitionBackfill": _backfill,
    "cancelPartitionBackfill": _backfill,
    "reexecutePartitionBackfill": _backfill_again,
    "startSchedule": _selector("schedule_selector"),
    "resetSchedule": _selector("schedule_selector"),
    "stopRunningSchedule": touched.instigator,
    "startSensor": _selector("sensor_selector"),
    "resetSensor": _selector("sensor_selector"),
    "setSensorCursor": _selector("sensor_selector"),
    "stopSensor": touched.instigator,
    # A dry run executes the location's code with input of the caller.
    "scheduleDryRun": _selector("selector_data"),
    "sensorDryRun": _selector("selector_data"),
    "reloadRepositoryLocation": _named("repositoryLocationName"),
    "refreshComponentState": _named("locationName"),
    "setAppManagedComponent": _named("locationName"),
    "deleteAppManagedComponent": _named("locationName"),
    "wipeAssets": _wiped,
    "reportRunlessAssetEvents": _reported,
    "reportAssetCheckEvaluations": _reported,
    "addDynamicPartition": _dynamic_partitions,
    "deleteDynamicPartitions": _dynamic_partitions,
    # All locations at once, or a server that Compose keeps running.
    "reloadWorkspace": _everything,
    "shutdownRepositoryLocation": _everything,
    # Pools, their slots and declarative automation are the deployment's: one switch, one limit for all locations.
    "setAutoMaterializePaused": _everything,
    "setConcurrencyLimit": _everything,
    "deleteConcurrencyLimit": _everything,
    "freeConcurrencySlots": _everything,
    "freeConcurrencySlotsForRun": _everything,
    # Both write to the webserver's own files.
    "logTelemetry": _everything,
    "setNuxSeen": _everything,
}
