import json
from dataclasses import replace
from pathlib import Path

import pytest

from operations import docker
from operations.deployment import Deployment
from operations.tests.fakes import container

ROOT = Path("/srv/deployment")
COMPOSE = ["docker", "compose", "--project-directory", "/srv/deployment", "--env-file"]
# Without a .env, as here, Compose gets the documented settings.
BRANCH = [*COMPOSE, "/srv/deployment/.env.example", "--project-name", "branch-7"]


def test_every_command_names_project_directory_settings_and_project() -> None:
    deployment = Deployment(ROOT, "branch-7")
    assert docker.config(deployment) == [*BRANCH, "config", "--format", "json"]
    assert docker.build(deployment, ["webserver"]) == [*BRANCH, "--progress", "plain", "build", "webserver"]
    assert docker.logs(deployment, "daemon", 5) == [
        *(*BRANCH, "logs", "--no-color", "--no-log-prefix", "--tail", "5", "daemon"),
    ]


def test_a_start_waits_and_never_takes_live_runs_for_orphans() -> None:
    args = docker.start(Deployment(ROOT, "branch-7"), 600)
    assert args == [
        *(*BRANCH, "--progress", "plain"),
        *("up", "--detach", "--no-build", "--wait", "--wait-timeout", "600"),
    ]
    assert "--remove-orphans" not in args


def test_a_stop_takes_runs_along_and_data_only_when_told() -> None:
    deployment = Deployment(ROOT, "branch-7")
    plain = [*BRANCH, "--progress", "plain", "down", "--remove-orphans"]
    assert docker.stop(deployment, delete_data=False) == plain
    assert docker.stop(deployment, delete_data=True) == [*plain, "--volumes", "--rmi", "all"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.26.1-4", (2, 26)),
        ("v2.40.0", (2, 40)),
        ("github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3", (0, 13)),
        ("20.10.24+dfsg1", (20, 10)),
        ("dev", None),
        ("", None),
    ],
)
def test_versions_are_read_in_all_their_spellings(text: str, version: docker.Version | None) -> None:
    assert docker.parse_version(text) == version


def inspected(**changes: object) -> docker.Container:
    (found,) = docker.parse_inspect(json.dumps([container("ingestion", **changes)]))
    return found


@pytest.mark.parametrize(
    ("changes", "well"),
    [
        ({}, True),
        ({"health": ""}, True),
        ({"health": "starting"}, False),
        ({"health": "unhealthy"}, False),
        ({"state": "exited", "exit_code": 0}, True),
        ({"state": "exited", "exit_code": 1}, False),
        ({"state": "restarting"}, False),
        ({"state": "created", "health": ""}, False),
        ({"state": "paused"}, False),
    ],
)
def test_a_container_is_well_when_it_does_what_it_should(changes: dict[str, object], well: bool) -> None:
    assert inspected(**changes).is_well is well


def test_a_run_is_not_mistaken_for_the_code_server_it_copies() -> None:
    assert inspected().is_service
    run = inspected(labels={"run-broker.role": "run", "com.docker.compose.oneoff": "True"})
    assert run.is_run
    assert not run.is_service
    assert not inspected(labels={"com.docker.compose.oneoff": "True"}).is_service


def test_a_container_that_waits_is_a_run_when_it_has_one() -> None:
    labels = {"run-broker.role": "warm", "com.docker.compose.oneoff": "True"}
    run_id = "0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"
    service = inspected().service
    waiting = replace(inspected(labels=labels), name=f"prod-{service}-warm-{run_id}")
    assert (waiting.waits, waiting.is_run, waiting.is_service) == (True, False, False)
    for word in ("claimed", "run"):
        run = replace(waiting, name=f"prod-{service}-{word}-{run_id}")
        assert (run.waits, run.is_run, run.is_service, run.run_id) == (False, True, False, run_id)


def test_what_is_started_by_hand_from_an_image_of_ours_is_no_service() -> None:
    # Compose writes project and service on the images it builds, and `check` loads definitions in such containers.
    assert not inspected(labels={"com.docker.compose.oneoff": None}).is_service


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("0001-01-01T00:00:00Z", None), ("1970-01-01T00:01:00.123456789Z", 60), ("1970-01-01T00:00:07Z", 7)],
)
def test_the_engines_moments_are_read(text: str, seconds: float | None) -> None:
    assert docker.moment(text) == seconds
