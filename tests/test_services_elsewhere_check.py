"""Promise: what is elsewhere is a file more in COMPOSE_FILE; the deployment it makes keeps every rule of the plain one.

The fast sample of test_external_services.py: nothing is started.
"""

import shutil
import uuid
from collections.abc import Iterator

import pytest

from tests.support.deployment import OVERLAYS, Deployment, docker

BUCKET = {"ENDPOINT": "s3.example.org", "BUCKET": "a-bucket", "REGION": "eu-central-1"}
SETTINGS = {f"{use}_S3_{key}": value for use in ("LAKE", "LOGS") for key, value in BUCKET.items()}


@pytest.fixture
def described() -> Iterator[Deployment]:
    """A deployment that is nothing but its settings."""
    deployment = Deployment(f"test-{uuid.uuid4().hex[:8]}", **SETTINGS)
    deployment.home.mkdir(parents=True)
    yield deployment
    shutil.rmtree(deployment.home)


def put(deployment: Deployment, *overlays: str) -> None:
    deployment.settings["COMPOSE_FILE"] = ":".join([*OVERLAYS, *(f"deploy/overlays/{each}.yml" for each in overlays)])
    deployment.write_env()


@pytest.mark.parametrize(
    "overlays",
    [("external-postgres",), ("s3-lake",), ("s3-logs",), ("external-postgres", "s3-lake", "s3-logs")],
    ids="+".join,
)
def test_an_overlay_keeps_to_the_rules(described: Deployment, overlays: tuple[str, ...]) -> None:
    put(described, *overlays)
    assert "no problems." in described.stack("check", "--fast")


def test_plain_deployments_carry_nothing_of_it(described: Deployment) -> None:
    put(described)
    files = [part for file in described.settings["COMPOSE_FILE"].split(":") for part in ("--file", file)]
    settings = ("--env-file", str(described.home / ".env"), "--project-name", described.name)
    resolved = docker("compose", *settings, *files, "config")
    assert [word for word in ("_S3_KEY", "s3_key", "LAKE_S3", "LOGS_S3", "authority") if word in resolved] == [
        # Those of the backups, which are part of it.
        "s3_key",
        "authority",
    ]


def test_a_setting_that_is_missing_is_one_clear_error(described: Deployment) -> None:
    described.settings["LAKE_S3_BUCKET"] = ""
    put(described, "s3-lake")
    code, printed = described.ask("check", "--fast")
    assert code == 1
    assert "LAKE_S3_BUCKET is the bucket of the lakes" in " ".join(printed.split())
