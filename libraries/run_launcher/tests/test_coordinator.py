"""Who a run is attributed to, whatever a client or a location's code claims."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from dagster import DagsterRunStatus, QueuedRunCoordinator
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.workspace.context import WorkspaceRequestContext

from run_launcher.coordinator import AttributingRunCoordinator, attribution


@pytest.fixture
def submit(instance):
    coordinator = AttributingRunCoordinator()
    coordinator.register_instance(instance)

    def submit(run, **headers):
        workspace = object.__new__(WorkspaceRequestContext)
        workspace._source = SimpleNamespace(headers=headers) if headers else None
        coordinator.submit_run(SubmitRunContext(run, workspace))
        return instance.get_run_by_id(run.run_id)

    return submit


@pytest.fixture
def queued(make_run):
    return lambda **values: make_run(status=DagsterRunStatus.NOT_STARTED, **values)


def test_a_run_launched_in_the_ui_names_the_signed_in_user_and_is_queued(submit, queued):
    run = submit(queued(), **{"X-Forwarded-User": "ann"})
    assert run.tags["user"] == "ann"
    assert run.status == DagsterRunStatus.QUEUED


def test_the_daemon_is_told_when_the_run_is_in_the_queue(submit, queued, instance, monkeypatch):
    told, run, connect = [], queued(), instance.run_storage.connect

    @contextmanager
    def listening():
        with connect() as connection:
            execute = connection.execute

            def noted(statement, *values):
                if "NOTIFY" not in str(statement):
                    return execute(statement, *values)
                told.append((str(statement), instance.get_run_by_id(run.run_id).status))
                return None

            connection.execute = noted
            yield connection

    monkeypatch.setattr(instance.run_storage, "connect", listening)
    submit(run)
    assert told == [("NOTIFY dagster_run_queued", DagsterRunStatus.QUEUED)]


def test_a_daemon_that_cannot_be_told_costs_the_run_nothing(submit, queued, caplog):
    # This instance is not in Postgres, which alone can tell.
    assert submit(queued()).status == DagsterRunStatus.QUEUED
    assert "could not be told" in caplog.text


def test_a_client_cannot_launch_in_another_users_name(submit, queued):
    assert submit(queued(tags={"user": "mallory"}), **{"X-Forwarded-User": "ann"}).tags["user"] == "ann"


def test_a_scheduled_run_names_nobody(submit, queued):
    assert "user" not in submit(queued(tags={"dagster/schedule_name": "daily"})).tags


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"dagster/schedule_name": "daily"},
        {"dagster/sensor_name": "watch"},
        {"dagster/parent_run_id": "00000000-0000-0000-0000-000000000000"},
        {"dagster/backfill": "nosuch"},
    ],
)
def test_a_locations_code_cannot_put_a_user_on_its_runs(submit, queued, tags):
    assert submit(queued(tags={"user": "ann", **tags})).tags["user"] == "unknown"


def test_a_sensor_cannot_borrow_a_user_by_naming_a_backfill_of_hers(submit, queued, instance):
    instance.add_backfill(backfill("anns"))
    run = queued(tags={"user": "ann", "dagster/sensor_name": "watch", "dagster/backfill": "anns"})
    assert submit(run).tags["user"] == "unknown"


def test_a_backfills_runs_name_the_user_of_the_backfill(submit, queued, instance):
    instance.add_backfill(backfill("annsown"))
    assert submit(queued(tags={"dagster/backfill": "annsown"})).tags["user"] == "ann"


def test_a_retry_names_the_user_of_the_run_it_repeats(submit, queued):
    parent = submit(queued(), **{"X-Forwarded-User": "ann"})
    retried = submit(queued(tags=dict(parent.tags), parent_run_id=parent.run_id))
    assert retried.tags["user"] == "ann"


def test_the_daemon_takes_it_for_the_queue_it_is():
    assert isinstance(AttributingRunCoordinator(), QueuedRunCoordinator)


@pytest.mark.parametrize(
    ("tags", "user", "added"),
    [
        ({}, None, {}),
        ({}, "", {}),
        ({"user": "ann"}, "ann", {}),
        ({"user": "unknown"}, None, {}),
        ({"user": "ann"}, "", {"user": "unknown"}),
    ],
)
def test_tags_are_added_only_where_they_change_something(tags, user, added):
    assert attribution(tags, user) == added


def backfill(name):
    return PartitionBackfill(
        backfill_id=name,
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={"user": "ann"},
        backfill_timestamp=0.0,
    )
