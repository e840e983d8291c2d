"""Containers without a run, and runs without a container."""

import logging

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from daemon.launches import REMEMBERED_SECONDS, Launches
from daemon.sweep import INTERRUPTED, Sweep, sweep_once_safely
from run_launcher.broker import BrokerRefusalError, BrokerUnavailableError, RunContainer

ID_TAG = "docker/container_id"
STRANGER = "99999999-9999-9999-9999-999999999999"
STARTED_AT = "2026-01-01T00:00:00Z"


class FakeBroker:
    """Containers by id: their run, whether they live, what inspect adds."""

    def __init__(self):
        self.containers = {}
        self.stopped = []
        self.error = None

    def add(self, run, live=True, **state):
        identifier = f"{len(self.containers):064x}"
        self.containers[identifier] = (run if isinstance(run, str) else run.run_id, live, state)
        return identifier

    def runs(self):
        if self.error:
            raise self.error
        return [RunContainer(key, run, "ingestion", live) for key, (run, live, _) in self.containers.items()]

    def inspect(self, container, wait_seconds=None):
        if container not in self.containers:
            return None
        run_id, live, state = self.containers[container]
        return {
            "Id": container,
            "State": {"Running": live, "StartedAt": STARTED_AT, "ExitCode": 1, "OOMKilled": False, **state},
            "Config": {"Labels": {"dagster/run_id": run_id, "code-location": "ingestion"}},
            "HostConfig": {"Memory": 1 << 30},
        }

    def stop(self, container):
        self.stopped.append(container)
        return True

    def output(self, container, lines):
        return "last words\n"


@pytest.fixture(scope="module")
def shared_instance():
    launcher = {"run_launcher": {"module": "run_launcher.launcher", "class": "BrokeredRunLauncher"}}
    with DagsterInstance.local_temp(overrides=launcher) as instance:
        yield instance


@pytest.fixture
def instance(shared_instance):
    # The runs of former tests stay; their containers go with their broker.
    shared_instance.run_launcher.broker = FakeBroker()
    return shared_instance


@pytest.fixture
def broker(instance):
    return instance.run_launcher.broker


@pytest.fixture
def time():
    return [0.0]


@pytest.fixture
def launches(time):
    return Launches(clock=lambda: time[0])


@pytest.fixture
def sweep(instance, launches, time):
    return Sweep(instance, launches, grace_seconds=60, clock=lambda: time[0])


def make_run(instance, status, container=None):
    return create_run_for_test(instance, status=status, tags={ID_TAG: container} if container else {})


def make_launched_run(instance):
    """A run that came out of the queue."""
    server = GrpcServerCodeLocationOrigin(host="ingestion", port=4000, location_name="ingestion")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "daily")
    return create_run_for_test(instance, status=DagsterRunStatus.STARTING, remote_job_origin=origin)


def messages(instance, run):
    return "\n".join(entry.message for entry in instance.all_logs(run.run_id))


@pytest.mark.parametrize("status", [DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS])
def test_a_container_that_outlives_its_run_is_stopped_after_a_grace(sweep, instance, broker, time, status):
    run = make_run(instance, status)
    container = broker.add(run)
    sweep.once()
    time[0] = 59
    sweep.once()
    assert broker.stopped == []
    time[0] = 60
    sweep.once()
    assert broker.stopped == [container]
    assert f"its run had ended as {status.value}" in messages(instance, run)


def test_a_container_of_an_unknown_run_is_stopped_after_a_grace(sweep, broker, time):
    container = broker.add(STRANGER)
    sweep.once()
    time[0] = 61
    sweep.once()
    assert broker.stopped == [container]


@pytest.mark.parametrize(
    "status",
    [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING],
)
def test_the_container_of_a_run_that_goes_on_is_left_alone(sweep, instance, broker, time, status):
    broker.add(make_run(instance, status))
    for now in (0, 100, 1000):
        time[0] = now
        sweep.once()
    assert broker.stopped == []


def test_the_grace_begins_anew_for_a_run_that_was_taken_up_again(sweep, instance, broker, time):
    run = make_run(instance, DagsterRunStatus.STARTED)
    broker.add(run)
    sweep.once()
    time[0] = 1000
    instance.report_run_canceled(run)
    sweep.once()
    assert broker.stopped == []


def test_a_refused_stop_does_not_end_the_sweep_of_the_others(sweep, instance, broker, time, monkeypatch):
    first, second = broker.add(STRANGER), broker.add(STRANGER)
    stopped = []

    def stop(container):
        if container == first:
            raise BrokerRefusalError(403, "not a run of this project")
        stopped.append(container)

    monkeypatch.setattr(broker, "stop", stop)
    sweep.once()
    time[0] = 61
    sweep.once()
    assert stopped == [second]


def test_a_run_whose_container_died_before_its_first_event_fails_at_once_and_says_why(sweep, instance, broker):
    run = make_run(instance, DagsterRunStatus.STARTING)
    instance.add_run_tags(run.run_id, {ID_TAG: broker.add(run, live=False, ExitCode=137, OOMKilled=True)})
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.FAILURE
    assert "out of memory" in messages(instance, run)
    assert "last words" in messages(instance, run)


def test_a_run_in_canceling_whose_container_is_gone_is_canceled(sweep, instance, broker):
    run = make_run(instance, DagsterRunStatus.CANCELING)
    instance.add_run_tags(run.run_id, {ID_TAG: broker.add(run, live=False)})
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.CANCELED


def test_a_run_whose_container_is_being_made_is_left_to_its_launch(sweep, instance, broker):
    run = make_run(instance, DagsterRunStatus.STARTING)
    created = broker.add(run, live=False, StartedAt="0001-01-01T00:00:00Z")
    instance.add_run_tags(run.run_id, {ID_TAG: created})
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.STARTING


@pytest.mark.parametrize("created", [False, True])
def test_a_run_that_nobody_launches_any_more_goes_back_to_the_queue_once(sweep, instance, broker, created):
    run = make_launched_run(instance)
    if created:
        container = broker.add(run, live=False, StartedAt="0001-01-01T00:00:00Z")
        instance.add_run_tags(run.run_id, {ID_TAG: container})
    sweep.once()
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.QUEUED
    assert messages(instance, run).count(INTERRUPTED) == 1


def test_a_launch_that_goes_on_or_has_just_ended_keeps_its_run(sweep, instance, launches, time):
    run = make_launched_run(instance)
    with launches.of(run.run_id):
        time[0] = 1000
        sweep.once()
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.STARTING
    time[0] += REMEMBERED_SECONDS
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.QUEUED


def test_a_launch_that_did_start_its_container_is_left_to_the_run(sweep, instance, broker):
    run = make_launched_run(instance)
    instance.add_run_tags(run.run_id, {ID_TAG: broker.add(run)})
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.STARTING


def test_a_run_that_was_ended_while_its_container_was_looked_for_stays_ended(sweep, instance, monkeypatch):
    run = make_launched_run(instance)

    def container_of(looked_for):
        if looked_for.run_id == run.run_id:
            instance.report_run_canceled(run)

    monkeypatch.setattr(instance.run_launcher, "container_of", container_of)
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.CANCELED


def test_a_launch_is_taken_up_when_the_broker_is_there_again(sweep, instance, broker):
    run = make_launched_run(instance)
    broker.error = BrokerUnavailableError("the broker is away")
    sweep_once_safely(sweep)
    broker.error = None
    sweep.once()
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.QUEUED


def test_a_retry_that_still_names_its_parents_dead_container_is_left_to_its_launch(sweep, instance, broker):
    parent = make_run(instance, DagsterRunStatus.FAILURE)
    retry = make_run(instance, DagsterRunStatus.STARTING, broker.add(parent, live=False))
    sweep.once()
    assert instance.get_run_by_id(retry.run_id).status == DagsterRunStatus.STARTING


def test_a_run_that_failed_because_one_of_its_processes_was_killed_is_told_so_once(sweep, instance, broker, launches):
    run = make_run(instance, DagsterRunStatus.STARTED)
    instance.add_run_tags(run.run_id, {ID_TAG: broker.add(run, live=False, OOMKilled=True)})
    instance.report_run_failed(run, "Steps failed: ['load'].")
    sweep.once()
    Sweep(instance, launches).once()
    assert messages(instance, run).count("out of memory") == 1
    assert "tag run.memory" in messages(instance, run)


def test_a_run_that_failed_for_another_reason_is_told_nothing(sweep, instance, broker):
    run = make_run(instance, DagsterRunStatus.STARTED)
    instance.add_run_tags(run.run_id, {ID_TAG: broker.add(run, live=False)})
    instance.report_run_failed(run, "Steps failed: ['load'].")
    sweep.once()
    assert "memory" not in messages(instance, run)


@pytest.mark.parametrize("error", [BrokerUnavailableError("the broker is away"), RuntimeError("a mistake")])
def test_a_failed_sweep_is_logged_and_does_not_end_the_daemon(sweep, broker, caplog, monkeypatch, error):
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", True)
    broker.error = error
    sweep_once_safely(sweep)
    assert str(error) in caplog.text


def test_a_launcher_that_is_not_the_brokers_is_an_error_at_the_start():
    with DagsterInstance.local_temp() as instance, pytest.raises(TypeError, match=r"dagster\.yaml names DefaultRun"):
        Sweep(instance, Launches())
