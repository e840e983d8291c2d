"""A retry waits for its location, is made once, and is given up when it will never be.

A real code server comes and goes; runs fail as the run monitor lets them fail.
"""

import time

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.events import RunFailureReason
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, RETRY_STRATEGY_TAG, RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import InterfaceError, OperationalError

from daemon.retries import LOOK_BACK_SECONDS, PATIENCE_SECONDS, RECORD_SECONDS, RetryDaemon

JOB = """import dagster as dg

@dg.op
def say(): ...

@dg.job
def count(): say()

defs = dg.Definitions(jobs=[count])
"""
pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:Error loading repository location", "ignore:The 'warn' method"),
]


@pytest.fixture
def instance():
    coordinator = {"module": "dagster._core.test_utils", "class": "MockedRunCoordinator"}
    retries = {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    with DagsterInstance.local_temp(overrides={"run_coordinator": coordinator, "run_retries": retries}) as made:
        yield made


@pytest.fixture
def context(instance, workspace):
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as made:
        yield made


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def daemon(instance, clock):
    return begun(RetryDaemon(5, clock=lambda: clock[0]), instance)


def begun(daemon, instance):
    """Dagster's cursor begins where a new deployment's first look is."""
    context = type("Context", (), {"instance": instance})()
    list(daemon.run_iteration(context))
    return daemon


def crash(instance, server, job="count", location="sales", recorded=True):
    """A run whose container died, as the run monitor ends it."""
    origin = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=server.port, location_name=location)
    remote = RemoteJobOrigin(RemoteRepositoryOrigin(origin, "__repository__"), job)
    # The run has no plan stored from whose failure to go on.
    tags = {RUN_FAILURE_REASON_TAG: RunFailureReason.UNEXPECTED_TERMINATION.value, RETRY_STRATEGY_TAG: "ALL_STEPS"}
    run = create_run_for_test(instance, job, status=DagsterRunStatus.STARTED, remote_job_origin=remote, tags=tags)
    instance.report_run_failed(run, "its container died")
    assert not recorded or instance.get_run_by_id(run.run_id).tags[WILL_RETRY_TAG] == "true"
    return run.run_id


def look(daemon, context):
    list(daemon.run_iteration(context))


def retries_of(instance, run_id):
    return [run for run in instance.get_runs() if run.parent_run_id == run_id]


def look_until(daemon, context, condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        look(daemon, context)
        time.sleep(0.1)


def messages(instance, run_id):
    return [event.message for event in instance.all_logs(run_id)]


def test_it_waits_for_its_location_and_is_made_once(instance, context, daemon, server):
    run = crash(instance, server)
    look(daemon, context)
    look(daemon, context)
    assert not retries_of(instance, run)
    assert instance.get_run_by_id(run).tags[WILL_RETRY_TAG] == "true"
    assert len([each for each in messages(instance, run) if "waits until the code server of sales" in each]) == 1

    server.serve("sales:1", JOB)
    look_until(daemon, context, lambda: retries_of(instance, run))
    look(daemon, context)
    (retry,) = retries_of(instance, run)
    assert instance.get_run_by_id(run).tags[AUTO_RETRY_RUN_ID_TAG] == retry.run_id
    assert retry.tags["dagster/retry_number"] == "1"


def test_a_daemon_that_ends_while_it_waits_leaves_it_to_the_next(instance, context, daemon, server):
    run = crash(instance, server)
    look(daemon, context)
    server.serve("sales:1", JOB)
    following = RetryDaemon(5)
    look_until(following, context, lambda: retries_of(instance, run))
    look(RetryDaemon(5), context)
    assert len(retries_of(instance, run)) == 1


def test_a_retry_that_somebody_deleted_is_not_made_again(instance, context, daemon, server):
    server.serve("sales:1", JOB)
    run = crash(instance, server)
    look_until(daemon, context, lambda: retries_of(instance, run))
    instance.delete_run(retries_of(instance, run)[0].run_id)
    look(RetryDaemon(5), context)
    assert not retries_of(instance, run)


def test_it_is_given_up_after_an_hour(instance, context, daemon, server, clock):
    run = crash(instance, server)
    look(daemon, context)
    clock[0] += PATIENCE_SECONDS - 1
    look(daemon, context)
    assert instance.get_run_by_id(run).tags[WILL_RETRY_TAG] == "true"
    clock[0] += 1
    look(daemon, context)
    assert instance.get_run_by_id(run).tags[WILL_RETRY_TAG] == "false"
    assert "Failed to retry run" in messages(instance, run)


def test_one_of_a_location_that_is_gone_is_given_up_at_once_and_holds_no_other(instance, context, daemon, server):
    server.serve("sales:1", JOB)
    gone = crash(instance, server, location="removed")
    run = crash(instance, server)
    look_until(daemon, context, lambda: retries_of(instance, run))
    assert instance.get_run_by_id(gone).tags[WILL_RETRY_TAG] == "false"
    assert not retries_of(instance, gone)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("select", {}, Exception("the server closed the connection")),
        InterfaceError("select", {}, Exception("connection already closed")),
        DagsterPostgresException("too many retries for DB connection"),
    ],
    ids=["breaks off", "is closed", "does not answer"],
)
def test_it_outlives_a_database_that_is_away(instance, context, daemon, server, monkeypatch, error):
    server.serve("sales:1", JOB)
    run = crash(instance, server)
    failures = [error, error]

    def away(*_):
        raise failures.pop()

    with monkeypatch.context() as patch:
        patch.setattr("daemon.retries.should_retry", away)
        look(daemon, context)
        look(daemon, context)
    assert not failures
    look_until(daemon, context, lambda: retries_of(instance, run))


def test_one_whose_record_is_written_after_its_last_event_is_not_overlooked(
    instance, context, daemon, server, monkeypatch
):
    server.serve("sales:1", JOB)
    late = []
    with monkeypatch.context() as patch:
        patch.setattr(instance.run_storage, "handle_run_event", lambda *args: late.append(args))
        patch.setattr(instance.run_storage, "add_run_tags", lambda *_: None)
        run = crash(instance, server, recorded=False)
        look(daemon, context)
    (ending,) = late
    instance.run_storage.handle_run_event(*ending)
    look(daemon, context)
    assert WILL_RETRY_TAG not in instance.get_run_by_id(run).tags, "what the run itself is about to write"
    assert not retries_of(instance, run)
    instance.add_run_tags(run, {WILL_RETRY_TAG: "true"})
    look_until(daemon, context, lambda: retries_of(instance, run))
    assert len(retries_of(instance, run)) == 1


def test_one_whose_event_was_passed_over_is_found_within_a_minute(
    instance, context, daemon, server, clock, monkeypatch
):
    server.serve("sales:1", JOB)
    with monkeypatch.context() as patch:
        # The cursor goes on, and nobody hears of the event.
        patch.setattr(daemon, "_note", lambda *_: iter([None]))
        run = crash(instance, server)
        look(daemon, context)
    look(daemon, context)
    assert daemon._since == {}
    clock[0] += LOOK_BACK_SECONDS
    look_until(daemon, context, lambda: retries_of(instance, run))
    clock[0] += LOOK_BACK_SECONDS
    look(daemon, context)
    assert len(retries_of(instance, run)) == 1


def test_one_whose_record_is_never_completed_is_looked_at_no_more(
    instance, context, daemon, server, clock, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(instance.run_storage, "handle_run_event", lambda *_: None)
        run = crash(instance, server, recorded=False)
    look(daemon, context)
    assert daemon._since == {run: 0.0}
    clock[0] = RECORD_SECONDS
    look(daemon, context)
    assert daemon._since == {}


def test_a_run_that_succeeded_or_failed_by_its_code_is_none_of_its(instance, context, daemon, server):
    server.serve("sales:1", JOB)
    good = create_run_for_test(instance, "count", status=DagsterRunStatus.STARTED)
    instance.report_dagster_event(_success(good), good.run_id)
    bad = create_run_for_test(
        instance,
        "count",
        status=DagsterRunStatus.STARTED,
        tags={RUN_FAILURE_REASON_TAG: RunFailureReason.STEP_FAILURE.value},
    )
    instance.report_run_failed(bad, "a step failed")
    look(daemon, context)
    assert len(instance.get_runs()) == 2
    assert daemon._since == {}


def _success(run):
    from dagster._core.events import DagsterEvent, DagsterEventType

    return DagsterEvent(DagsterEventType.RUN_SUCCESS.value, run.job_name, message="done")
