"""Runs through the launcher: what is asked for, what is ignored, what a run's event log says."""

import json

import pytest
from dagster import DagsterRunStatus
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from sqlalchemy.exc import OperationalError

from run_launcher.broker import BrokerRefusalError, BrokerUnavailableError
from run_launcher.launcher import BrokeredRunLauncher, LaunchRefusedError, create_request
from run_launcher.references import UnknownLocationError

ID_TAG = "docker/container_id"
CONTAINER = "c" * 64


class RecordingBroker:
    """Stands in for `Broker`; one container, whose state the test sets."""

    def __init__(self):
        self.calls = []
        self.created = {}
        self.attributes = None
        self.text = "last words\n"
        self.error = None
        self.grace_seconds = None
        self.on_stop = lambda: None

    def _note(self, *call):
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def create(self, image, command, labels):
        self._note("create")
        self.created = {"image": image, "command": command, "labels": labels}
        return CONTAINER

    def start(self, container):
        self._note("start", container)

    def inspect(self, container, wait_seconds=None):
        self._note("inspect", container)
        return self.attributes

    def stop(self, container, grace_seconds=None):
        self._note("stop", container)
        self.grace_seconds = grace_seconds
        self.on_stop()
        return self.attributes is not None

    def output(self, container, lines):
        self._note("output", container)
        return self.text


@pytest.fixture
def launcher(instance):
    launcher = BrokeredRunLauncher()
    launcher.register_instance(instance)
    launcher.broker = RecordingBroker()
    return launcher


def launch(launcher, run):
    launcher.launch_run(LaunchRunContext(run, workspace=None))


def test_a_launch_creates_and_starts_one_container_and_notes_it_on_the_run(launcher, instance, make_run):
    run = make_run()
    launch(launcher, run)
    assert launcher.broker.calls == [("create",), ("start", CONTAINER)]
    tags = instance.get_run_by_id(run.run_id).tags
    assert tags[ID_TAG] == CONTAINER
    assert tags["dagster/image"] == "prod/ingestion:1"


def test_the_location_is_the_workspaces_word_not_the_locations(launcher, make_run):
    run = make_run("ingestion", tags={"code-location": "analytics", "dagster/job_name": "other"})
    launch(launcher, run)
    assert launcher.broker.created["labels"] == {
        "dagster/run_id": run.run_id,
        "dagster/job_name": "load",
        "code-location": "ingestion",
    }


def test_a_locations_container_context_reaches_neither_the_broker_nor_the_run(launcher, make_run):
    wish = {"docker": {"container_kwargs": {"privileged": True, "pid_mode": "host"}, "env_vars": ["POSTGRES_PASSWORD"]}}
    launch(launcher, make_run(container_context=wish))
    assert "privileged" not in json.dumps(launcher.broker.created)
    assert launcher.get_container_context(make_run(container_context=wish)).container_kwargs == {}


def test_a_locations_entry_point_does_not_choose_the_program(launcher, make_run):
    launch(launcher, make_run(entry_point=["sh", "-c", "id"]))
    assert launcher.broker.created["command"][:3] == ["dagster", "api", "execute_run"]


def test_the_command_executes_this_run_and_exits_with_its_failure(launcher, make_run):
    run = make_run()
    launch(launcher, run)
    arguments = json.loads(launcher.broker.created["command"][3])
    assert arguments["__class__"] == "ExecuteRunArgs"
    assert arguments["pipeline_run_id"] == run.run_id
    assert arguments["set_exit_code_on_failure"] is True


def test_resources_are_asked_for_by_run_tags(launcher, make_run):
    launch(launcher, make_run(tags={"run.memory": "2g", "run.cpus": "2", "run.warm": "1"}))
    labels = launcher.broker.created["labels"]
    assert (labels["run.memory"], labels["run.cpus"]) == ("2g", "2")
    assert "run.warm" not in labels


def test_a_run_without_a_location_is_refused_with_a_reason(instance, make_run):
    run = make_run()._replace(remote_job_origin=None)
    with pytest.raises(UnknownLocationError, match=r"workspace\.yaml"):
        create_request(run, run.job_code_origin, instance.get_ref())


@pytest.mark.parametrize("name", ["../../etc", "Ingestion", "a" * 40, "ingestion\n"])
def test_a_location_name_that_is_no_name_never_becomes_a_path(make_run, instance, name):
    run = make_run(location=name)
    with pytest.raises(UnknownLocationError):
        create_request(run, run.job_code_origin, instance.get_ref())


def test_a_location_that_does_not_say_its_image_is_told_how(launcher, make_run):
    with pytest.raises(LaunchRefusedError, match="DAGSTER_CURRENT_IMAGE in the environment of the service ingestion"):
        launch(launcher, make_run(image=None))


def test_a_refusal_of_the_broker_is_in_the_event_log(launcher, instance, make_run, engine):
    run = make_run()
    launcher.broker.error = BrokerRefusalError(400, "run.memory 8g is above the cap 2g")
    with pytest.raises(LaunchRefusedError, match="above the cap 2g"):
        launch(launcher, run)
    assert "run.memory 8g is above the cap 2g" in engine.messages(instance, run)


def test_a_broker_that_stays_away_sends_the_run_back_to_the_queue_and_says_so(launcher, instance, make_run, engine):
    run = make_run()
    launcher.broker.error = BrokerUnavailableError("The run broker could not create a container for 60 s.")
    with pytest.raises(BrokerUnavailableError):
        launch(launcher, run)
    assert "for 60 s. The run goes back to the queue." in engine.messages(instance, run)


@pytest.mark.parametrize("written", ["add_run_tags", "report_engine_event"])
def test_a_run_whose_container_could_not_be_written_down_is_not_started_and_goes_back_to_the_queue(
    launcher, make_run, instance, monkeypatch, written
):
    def away(*_, **__):
        raise OperationalError("insert", {}, Exception("server closed the connection unexpectedly"))

    run = make_run()
    monkeypatch.setattr(instance, written, away)
    with pytest.raises(DagsterUserCodeUnreachableError, match="was not started"):
        launch(launcher, run)
    assert launcher.broker.calls == [("create",)]


def test_a_run_launched_again_while_it_goes_on_is_left_alone(launcher, make_run, engine):
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    launch(launcher, run)
    assert launcher.broker.calls == [("inspect", CONTAINER)]


def test_a_run_launched_again_after_it_ended_is_explained_not_repeated(launcher, make_run, engine):
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **{**engine.ENDED, "ExitCode": 3})
    with pytest.raises(LaunchRefusedError, match="exit code 3"):
        launch(launcher, run)
    assert ("create",) not in launcher.broker.calls


def test_a_retried_run_does_not_take_its_parents_container_for_its_own(launcher, make_run, engine):
    parent = make_run()
    run = make_run(tags={ID_TAG: CONTAINER}, parent_run_id=parent.run_id)
    launcher.broker.attributes = engine.container(parent.run_id, **{**engine.ENDED, "ExitCode": 137})
    launch(launcher, run)
    assert ("start", CONTAINER) in launcher.broker.calls


def test_a_live_container_is_healthy(launcher, make_run, engine):
    run = make_run(status=DagsterRunStatus.STARTED, tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_a_dead_container_is_explained_with_its_last_output(launcher, make_run, engine):
    run = make_run(status=DagsterRunStatus.STARTED, tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **{**engine.ENDED, "ExitCode": 137, "OOMKilled": True})
    result = launcher.check_run_worker_health(run)
    assert result.status == WorkerStatus.FAILED
    assert "out of memory" in result.msg
    assert "last words" in result.msg


def test_a_removed_container_is_told_apart(launcher, make_run):
    run = make_run(status=DagsterRunStatus.STARTED, tags={ID_TAG: CONTAINER})
    result = launcher.check_run_worker_health(run)
    assert result.status == WorkerStatus.NOT_FOUND
    assert "gone" in result.msg


def test_a_broker_that_is_away_makes_no_run_unhealthy(launcher, make_run):
    # An answer, whatever it says, would fail the run; an exception leaves it for the next look.
    run = make_run(status=DagsterRunStatus.STARTED, tags={ID_TAG: CONTAINER})
    launcher.broker.error = BrokerUnavailableError("away")
    with pytest.raises(BrokerUnavailableError):
        launcher.check_run_worker_health(run)


def test_terminating_stops_the_container_and_ends_a_run_whose_process_had_no_time_to(
    launcher, instance, make_run, engine
):
    run = make_run(status=DagsterRunStatus.STARTED, tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    assert launcher.terminate(run.run_id) is True
    assert ("stop", CONTAINER) in launcher.broker.calls
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.CANCELED
    assert "killed after its grace period" in engine.messages(instance, run)


def test_a_run_that_reports_its_own_end_is_not_reported_twice(launcher, instance, make_run, engine):
    run = make_run(status=DagsterRunStatus.STARTED, tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    launcher.broker.stop = lambda _: instance.report_run_canceled(run, "by itself")
    assert launcher.terminate(run.run_id) is True
    assert "grace period" not in engine.messages(instance, run)


def test_terminating_while_the_broker_is_away_says_what_happens_next(launcher, instance, make_run, engine):
    run = make_run(status=DagsterRunStatus.STARTED, tags={ID_TAG: CONTAINER})
    launcher.broker.error = BrokerUnavailableError("the broker is away.")
    assert launcher.terminate(run.run_id) is False
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.CANCELING
    assert "could not be stopped" in engine.messages(instance, run)


def test_terminating_a_retry_before_its_launch_does_not_touch_its_parents_container(
    launcher, instance, make_run, engine
):
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container("00000000-0000-0000-0000-000000000000", **engine.RUNNING)
    assert launcher.terminate(run.run_id) is False
    assert ("stop", CONTAINER) not in launcher.broker.calls
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.CANCELING


def test_a_finished_run_is_not_terminated(launcher, make_run):
    run = make_run(status=DagsterRunStatus.SUCCESS)
    assert launcher.terminate(run.run_id) is False
    assert launcher.broker.calls == []


def test_a_run_that_did_not_start_in_time_shows_what_its_container_says(launcher, make_run, engine):
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    assert "last words" in launcher.get_run_worker_debug_info(run)
    assert launcher.get_run_worker_debug_info(run, include_container_logs=False) is None


def test_a_run_is_never_resumed_in_a_new_container(launcher):
    assert launcher.supports_resume_run is False


def test_a_run_that_took_too_long_to_start_is_ended_before_it_is_given_up(launcher, instance, make_run, engine):
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    assert launcher.end_before_start(run.run_id) is True
    assert launcher.broker.calls[-1] == ("stop", CONTAINER)
    assert launcher.broker.grace_seconds == 20
    assert "its container is stopped" in engine.messages(instance, run)


@pytest.mark.parametrize("end", ["report_run_failed", "report_run_canceled"])
def test_a_late_run_that_tells_its_own_end_is_not_told_another(launcher, instance, make_run, engine, end):
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    launcher.broker.on_stop = lambda: getattr(instance, end)(run)
    assert launcher.end_before_start(run.run_id) is False


@pytest.mark.parametrize("status", [DagsterRunStatus.STARTED, DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELING])
def test_a_late_run_that_has_begun_meanwhile_is_left_alone(launcher, make_run, engine, status):
    run = make_run(status=status, tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.RUNNING)
    assert launcher.end_before_start(run.run_id) is False
    assert launcher.broker.calls == []


def test_a_late_run_without_a_live_container_is_given_up(launcher, make_run, engine):
    run = make_run()
    assert launcher.end_before_start(run.run_id) is True
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.attributes = engine.container(run.run_id, **engine.ENDED)
    assert launcher.end_before_start(run.run_id) is True
    assert ("stop", CONTAINER) not in launcher.broker.calls


def test_a_late_run_is_not_given_up_while_the_broker_is_away(launcher, make_run):
    run = make_run(tags={ID_TAG: CONTAINER})
    launcher.broker.error = BrokerUnavailableError("away")
    with pytest.raises(BrokerUnavailableError):
        launcher.end_before_start(run.run_id)
