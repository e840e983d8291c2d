"""Starts each run as a copy of its code location's container, by way of the run broker."""

from collections.abc import Mapping
from typing import Any

from dagster import Field, IntSource
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin
from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus
from dagster._core.storage.tags import DOCKER_IMAGE_TAG
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext
from dagster_docker.docker_run_launcher import DOCKER_CONTAINER_ID_TAG

from run_launcher.broker import Broker, BrokerRefusalError, BrokerUnavailableError, is_live, was_started
from run_launcher.endings import TAIL_LINES, explain, quote
from run_launcher.references import location_of, location_reference

# What a run asks for, by tags; the broker holds it against the caps in the labels of the location's code server.
RESOURCE_TAGS = ("run.memory", "run.cpus")
# A look at a run that seems healthy is repeated at the next poll anyway, and each waits for the one before.
HEALTH_WAIT_SECONDS = 5
# A run that has not begun has nothing to put away; and whoever waits for its end looks after all other runs, too.
LATE_GRACE_SECONDS = 20
LATE = "The run took too long to start: its container is stopped, for it might begin yet, beside a retry of this run."
_NOT_BEGUN = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)


class LaunchRefusedError(Exception):
    """A run that cannot be started; the message says why and is shown in the run's event log."""


class LaunchNotWrittenError(DagsterUserCodeUnreachableError):
    """The database went away in the middle of a launch. Of a type that Dagster's queue puts back into the queue."""


class BrokeredRunLauncher(DockerRunLauncher):
    """`DockerRunLauncher` that leaves to the broker what a container may be, and names the location to it.

    The location's own container context (environment, mounts, networks, registry) is ignored: through it a location's
    code could ask for anything the engine has. What its runs get stands in docker-compose.yml.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, broker_wait_seconds: int = 60) -> None:
        super().__init__(inst_data=inst_data)
        self.broker = Broker(broker_wait_seconds)

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """The settings under run_launcher.config in dagster.yaml."""
        return {"broker_wait_seconds": Field(IntSource, is_required=False, default_value=60)}

    def get_container_context(self, dagster_run: DagsterRun) -> DockerContainerContext:  # noqa: ARG002
        """Nothing, whatever the run's location asks for."""
        return DockerContainerContext()

    @property
    def supports_resume_run(self) -> bool:
        """A run whose container is gone is retried as a new run, never resumed in a new container."""
        return False

    def launch_run(self, context: LaunchRunContext) -> None:
        """Create the run's container and start it.

        Raises `LaunchRefusedError`; `BrokerUnavailableError` or `LaunchNotWrittenError` for what passes.
        """
        run = context.dagster_run
        if self._goes_on_already(run):
            return
        image, command, labels = create_request(run, context.job_code_origin, self._instance.get_ref())
        try:
            container = self.broker.create(image, command, labels)
            self._write_down(run, container, image, labels["code-location"])
            self.broker.start(container)
        except BrokerUnavailableError as error:
            # The queue's own event blames the code server, and keeps this text where few people look.
            self._instance.report_engine_event(f"{error} The run goes back to the queue.", run, cls=self.__class__)
            raise
        except BrokerRefusalError as error:
            message = f"The run broker refused to start this run: {error.explanation}"
            self._instance.report_engine_event(message, run, cls=self.__class__)
            raise LaunchRefusedError(message) from error

    def _write_down(self, run: DagsterRun, container: str, image: str, location: str) -> None:
        """Tell the run its container before that starts: one that nobody knows of would be started twice."""
        try:
            self._instance.add_run_tags(run.run_id, {DOCKER_CONTAINER_ID_TAG: container, DOCKER_IMAGE_TAG: image})
            message = f"Starting the run in container {container[:12]} of {location}, image {image}"
            self._instance.report_engine_event(message, run, cls=self.__class__)
        except Exception as error:
            raise LaunchNotWrittenError(
                f"The run's container {container[:12]} was not started, for the database did not take down which it is."
            ) from error

    def _goes_on_already(self, run: DagsterRun) -> bool:
        """Whether an earlier launch did start the run, and only its answer was lost with the broker."""
        attributes = self.container_of(run)
        if attributes is None or not was_started(attributes):
            return False
        if not is_live(attributes):
            raise LaunchRefusedError(self.explain(attributes))
        return True

    def container_of(self, run: DagsterRun, wait_seconds: float | None = None) -> Mapping[str, Any] | None:
        """The engine's record of a run's own container. A retried run has its parent's in its tags until its launch."""
        container = run.tags.get(DOCKER_CONTAINER_ID_TAG)
        attributes = self.broker.inspect(container, wait_seconds) if container else None
        if attributes is None or (attributes["Config"].get("Labels") or {}).get("dagster/run_id") != run.run_id:
            return None
        return attributes

    def terminate(self, run_id: str) -> bool:
        """Stop a run's container and report the run as canceled, unless its own process did."""
        record = self._instance.get_run_record_by_id(run_id)
        if record is None or record.dagster_run.is_finished:
            return False
        run = record.dagster_run
        if run.status != DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        try:
            attributes = self.container_of(run)
            if attributes is not None:
                self.broker.stop(attributes["Id"])
        except (BrokerRefusalError, BrokerUnavailableError) as error:
            return self._not_now(run, f"The run's container could not be stopped: {error}")
        if attributes is None and record.start_time is None:
            return self._not_now(run, "The run has no container yet.")
        self._report_canceled(run_id, existed=attributes is not None)
        return True

    def _not_now(self, run: DagsterRun, reason: str) -> bool:
        message = f"{reason} Run monitoring ends the run in a moment; the daemon then stops what is left of it."
        self._instance.report_engine_event(message, run, cls=self.__class__)
        return False

    def _report_canceled(self, run_id: str, *, existed: bool) -> None:
        """Give a run its end when its process had no time to: nobody else will, for the process is gone."""
        run = self._instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            how = "was killed after its grace period" if existed else "was gone already"
            self._instance.report_run_canceled(run, f"Canceled: the run's container {how}.")

    def end_before_start(self, run_id: str) -> bool:
        """End a run that took too long to start; whether it has not begun after all, nor told its own end.

        Its container might begin at any moment, and do the work beside its retry. Raises while the broker is away: then
        nobody knows, and the next look tries again.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.status not in _NOT_BEGUN:
            return False
        attributes = self.container_of(run, HEALTH_WAIT_SECONDS)
        if attributes is not None and is_live(attributes):
            self._instance.report_engine_event(LATE, run, cls=self.__class__)
            self.broker.stop(attributes["Id"], LATE_GRACE_SECONDS)
            run = self._instance.get_run_by_id(run_id)
        return run is not None and run.status in _NOT_BEGUN

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether a run's container goes on; if not, why it ended. Raises while the broker is away: unknown."""
        attributes = self.container_of(run, HEALTH_WAIT_SECONDS)
        if attributes is None:
            message = "The run's container is gone: somebody removed it, or the machine was rebuilt."
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, msg=message)
        if is_live(attributes):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, msg=self.explain(attributes))

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What is known of a run that did not start or end in time. The health check above has said it already."""
        if not include_container_logs:
            return None
        attributes = self.container_of(run, HEALTH_WAIT_SECONDS)
        if attributes is None:
            return "It has no container."
        if is_live(attributes):
            return "Its container still runs." + quote(self._output(attributes["Id"]))
        return self.explain(attributes)

    def explain(self, attributes: Mapping[str, Any]) -> str:
        """Why a run's container ended, with its last output."""
        return explain(attributes, self._output(attributes["Id"]))

    def _output(self, container: str) -> str | None:
        try:
            return self.broker.output(container, TAIL_LINES)
        except (BrokerRefusalError, BrokerUnavailableError):
            # Half an explanation is worth more than none.
            return None


def create_request(
    run: DagsterRun, origin: JobPythonOrigin | None, reference: Any
) -> tuple[str, list[str], dict[str, str]]:
    """What is asked of the broker for a run: image, command and labels. Pure."""
    location = location_of(run)
    image = origin.repository_origin.container_image if origin else None
    if origin is None or not image:
        raise LaunchRefusedError(
            f"The code server of {location} does not say which image its runs use: "
            f"set DAGSTER_CURRENT_IMAGE in the environment of the service {location} in docker-compose.yml."
        )
    # Of the origin a run needs its code pointer alone. Its context is the location's wish list for containers, and its
    # entry point would be the location's choice of a program: the command is written here.
    plain = origin._replace(
        repository_origin=origin.repository_origin._replace(container_context=None, entry_point=None)
    )
    arguments = ExecuteRunArgs(
        job_origin=plain,
        run_id=run.run_id,
        instance_ref=location_reference(reference),
        # A failed run leaves a failed container, which the broker keeps longer.
        set_exit_code_on_failure=True,
    )
    labels = {"dagster/run_id": run.run_id, "dagster/job_name": run.job_name, "code-location": location}
    labels.update({tag: run.tags[tag] for tag in RESOURCE_TAGS if tag in run.tags})
    return image, ["dagster", "api", "execute_run", serialize_value(arguments)], labels
