"""What keeps a location to its own runs: that the guard knows a stored run's form, and is made once."""

import json

import pytest
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import CODE_LOCATION_TAG, USER_TAG
from dagster._serdes import serialize_value
from migrate.guard import GUARDS, LOCATION_PATH, guard_runs
from provisioning.plan import KEPT_TAGS, RUN_STATES
from psycopg2.sql import Identifier


@pytest.fixture
def stored():
    """A run as webserver and daemon store it."""
    server = GrpcServerCodeLocationOrigin(host="ingestion", port=4000, location_name="ingestion")
    pointer = ModuleCodePointer("ingestion.definitions", "defs")
    run = DagsterRun(
        job_name="daily",
        status=DagsterRunStatus.STARTED,
        tags={"a": "b"},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "daily"),
        job_code_origin=JobPythonOrigin("daily", RepositoryPythonOrigin("python", pointer, "prod/ingestion:1")),
    )
    return json.loads(serialize_value(run))


def test_the_location_of_a_stored_run_is_where_the_guard_looks(stored):
    # A later Dagster that stores it elsewhere would have every run refused: better here than there.
    found = stored
    for key in LOCATION_PATH.strip("{}").split(","):
        found = found[key]
    assert found == "ingestion"


def test_status_and_tags_of_a_stored_run_are_what_the_guard_replaces(stored):
    kind, _, state = stored["status"]["__enum__"].partition(".")
    assert list(stored["status"]) == ["__enum__"]
    assert kind
    assert state == "STARTED"
    assert stored["tags"] == {"a": "b"}


def test_a_run_reports_the_states_that_dagster_has_and_never_that_it_is_queued():
    assert set(RUN_STATES) <= {status.value for status in DagsterRunStatus}
    assert not {"QUEUED", "NOT_STARTED", "STARTING"} & set(RUN_STATES)


def test_a_run_keeps_its_location_and_its_user():
    assert set(KEPT_TAGS) == {CODE_LOCATION_TAG, USER_TAG}


def test_a_trigger_that_is_there_is_not_made_again():
    # Making it waits for all that is under way in the table, and everything else waits behind it.
    names = [guard.name for guard in GUARDS]
    assert len(guard_runs([])) == 10
    assert len(guard_runs(names[:1])) == 9
    assert len(guard_runs(names)) == 5


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_functions_are_made_anew_each_time(guard):
    made = guard_runs([each.name for each in GUARDS])
    assert sum(Identifier("public", guard.name) in statement.seq for statement in made) == 1
    assert all(statement.seq[0].string.startswith("\nCREATE OR REPLACE FUNCTION ") for statement in made)
