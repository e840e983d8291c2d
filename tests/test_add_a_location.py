"""Promise: a code location is added to a running deployment, and taken away, and nobody else notices."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import locations
from tests.support.checkout import copy_checkout, remove_locations
from tests.support.deployment import Deployment, docker, lake_rows, running
from tests.support.graphql import GraphQL

# These join and leave networks, or get another mount, and hold no state: they are replaced.
REPLACED = {"webserver", "daemon", "migrate", "platform", "backup"}


class Checkout:
    """A copy of this checkout, in which ./stack may change files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        copy_checkout(root)

    def stack(self, *args: str) -> str:
        """Runs this copy's ./stack and returns all it printed."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_")}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        done = subprocess.run(
            [str(self.root / "stack"), *args],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=self.root,
            env=environment,
        )
        assert done.returncode in (0, 3), f"./stack {' '.join(args)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def files(self) -> dict[str, bytes]:
        """Everything but what ./stack itself keeps."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and path.relative_to(self.root).parts[0] not in (".stack", ".venv", ".deployments")
        }


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def started(deployment: Deployment) -> dict[str, str]:
    """When each service that holds state, or runs somebody's code, was started."""
    records = [deployment.inspect(name) for name in running(deployment)]
    services = {record["Config"]["Labels"].get("com.docker.compose.service"): record for record in records}
    return {name: record["State"]["StartedAt"] for name, record in services.items() if name not in REPLACED}


@pytest.fixture
def long_run(deployment: Deployment, admin: GraphQL) -> Iterator[str]:
    """A run that goes on while others come and go."""
    run = admin.launch("probe", "hang")
    admin.wait_for(run, "STARTED")
    yield run
    admin.terminate(run)
    admin.wait_for(run, "CANCELED")


@pytest.fixture
def as_before(deployment: Deployment) -> Iterator[None]:
    """Whatever becomes of the test, others find the deployment of this checkout."""
    yield
    if deployment.containers("label=com.docker.compose.service=demo"):
        deployment.stack("up", check=False)


@pytest.mark.usefixtures("as_before")
def test_a_location_is_added_used_and_removed_while_everybody_goes_on(
    deployment: Deployment, admin: GraphQL, checkout: Checkout, long_run: str
) -> None:
    home = deployment.share_with(checkout.root)
    files, before = checkout.files(), started(deployment)
    read = locations.shipped()[0]

    checkout.stack("location", "new", "demo", "--reads", read)
    locations.write(home, checkout.root)
    checkout.stack("--deployment", deployment.name, "up")
    assert admin.locations()["demo"] == "RepositoryLocation"
    run = admin.launch("demo", "daily")
    admin.wait_for(run, "SUCCESS")
    assert lake_rows(deployment, "demo", "select count(*) as days from demo.raw.calendar") == [{"days": 365}]
    assert {name: when for name, when in started(deployment).items() if name != "demo"} == before
    assert admin.run(long_run)["status"] == "STARTED"

    told = checkout.stack("location", "remove", "demo", "--yes")
    assert checkout.files() == files
    deployment.stack("up", check=False)
    assert "demo" not in admin.locations()
    assert started(deployment) == before
    assert admin.run(long_run)["status"] == "STARTED"
    assert docker("network", "ls", "--quiet", "--filter", f"name=^{deployment.name}_demo$") == ""
    delete_data(deployment, told)


def delete_data(deployment: Deployment, told: str) -> None:
    """Does what `remove` said, for this deployment instead of prod; each step fails where nothing was left."""
    volumes = re.findall(r"prod_(\S+-demo)", told)
    docker("volume", "rm", *(f"{deployment.name}_{name}" for name in volumes))
    steps = re.findall(r"\\c (\w+)\n +(DROP .*);", told)
    assert len(steps) == 4, told
    for database, statement in steps:
        deployment.sql(statement, database)
    assert deployment.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'demo'") == [["0"]]
    (deployment.home / "secrets" / "demo_database_password").unlink()


def test_without_the_samples_a_new_location_stands_alone(checkout: Checkout) -> None:
    checkout.stack("location", "new", "demo")
    remove_locations(checkout.root, locations.shipped(), checkout.stack)
    assert "no problems." in checkout.stack("check", "--fast")
    left = (checkout.root / "docker-compose.yml").read_text()
    assert [name for name in locations.shipped() if f"lake-{name}" in left or f"{name}_database" in left] == []
    assert [path.name for path in (checkout.root / "code_locations").iterdir() if path.is_dir()] == ["demo"]
