"""Promise: a location is deployed and taken back without fear: what is broken never serves, and nobody else notices."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.deployment import Deployment, docker, running
from tests.support.graphql import GraphQL
from tests.support.repository import Repository
from tests.support.waiting import wait_until

GATE = 'mutation Gate($limit: Int!) { setConcurrencyLimit(concurrencyKey: "gate", limit: $limit) }'
NO_GATE = 'mutation { deleteConcurrencyLimit(concurrencyKey: "gate") }'


@pytest.fixture(scope="module")
def repository(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Whatever becomes of the tests, others find the deployment of the checkout."""
    made = Repository(tmp_path_factory.mktemp("repository"), deployment)
    yield made
    deployment.stack("up", check=False)
    tags = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{deployment.name}/probe*").split()
    docker("image", "rm", "--force", *(tag for tag in tags if not tag.endswith("/probe:local")), check=False)


@pytest.fixture
def gate(admin: GraphQL) -> Iterator[None]:
    """One run at a time of those that want through."""
    assert admin.ask(GATE, limit=1)["setConcurrencyLimit"]
    yield
    admin.ask(NO_GATE)


def started(deployment: Deployment) -> dict[str, str]:
    """When each service's container was started."""
    return {name: deployment.inspect(name)["State"]["StartedAt"] for name in running(deployment)}


def image(deployment: Deployment) -> str:
    return str(deployment.inspect(deployment.container("probe"))["Config"]["Image"])


def version(admin: GraphQL) -> str:
    run = admin.launch("probe", "now")
    admin.wait_for(run, "SUCCESS")
    return admin.printed(run)


@pytest.mark.usefixtures("gate")
def test_deploy_break_deploy_and_roll_back_while_runs_go_on(
    deployment: Deployment, admin: GraphQL, repository: Repository
) -> None:
    repository.commit("v1")
    printed = repository.stack("deploy", "probe")
    assert "Test probe in its new image: 1 passed" in printed
    first = repository.tag()
    assert first.endswith(repository.git("rev-parse", "HEAD")[:12])
    assert version(admin) == "v1"
    before = started(deployment)

    # Its tests fail: refused, and nothing was touched.
    repository.commit("v2", tested="v1")
    printed = repository.stack("deploy", "probe", "--changed", code=1)
    assert "the tests of probe fail in its new image" in printed
    assert (repository.tag(), started(deployment)) == (first, before)

    holding, waiting = admin.launch("probe", "hold"), ""
    try:
        admin.wait_for(holding, "STARTED")
        waiting = admin.launch("probe", "waiting")
        repository.commit("v3")
        repository.stack("deploy", "probe")
        third = repository.tag()
        assert version(admin) == "v3"
        probe = deployment.container("probe")
        now = started(deployment)
        assert {name: when for name, when in now.items() if name != probe} == {
            name: when for name, when in before.items() if name != probe
        }
        # One run went on meanwhile; the other is in the queue still, and keeps the image it was queued with.
        assert admin.run(holding)["status"] == "STARTED"
        assert admin.run(waiting)["status"] == "QUEUED"
        assert f"{deployment.name}/probe:{first}" in deployment.python("daemon", IMAGES)
    finally:
        admin.terminate(holding)
    admin.wait_for(holding, "CANCELED")
    admin.wait_for(waiting, "SUCCESS")
    assert admin.printed(waiting) == "v1"
    assert admin.tags(waiting)["dagster/image"] == f"{deployment.name}/probe:{first}"

    killed_in_the_middle(deployment, repository, third)

    begin = time.monotonic()
    repository.stack("rollback", "probe")
    assert time.monotonic() - begin < 60
    assert (repository.tag(), version(admin)) == (first, "v1")
    history_tells_all(repository, first)


def history_tells_all(repository: Repository, first: str) -> None:
    told = json.loads(repository.stack("releases", "--json"))
    kinds = [each["result"].partition(":")[0] for each in told]
    assert kinds == ["deployed", "failed", "deployed", "failed", "rolled back"]
    assert [each["tag"] for each in told if each["in_force"]] == [first]
    assert "release" in repository.stack("audit")


def killed_in_the_middle(deployment: Deployment, repository: Repository, third: str) -> None:
    """kill -9 while the container is being swapped: the next ./stack, whatever it is, puts things back."""
    journal = repository.root / ".stack" / deployment.name / "deploying.json"
    process = subprocess.Popen(
        repository.command("rollback", "probe"), cwd=repository.root, env=repository.environment,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(
        lambda: journal.exists() and not image(deployment).endswith(third), seconds=60, what="the swap", every=0.05
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    assert journal.exists()
    printed = repository.stack("rollback", "probe", "--to", "20200101T000000Z-000000000000", code=1)
    assert "a deployment of probe was interrupted: putting it back" in printed
    assert "probe has no release 20200101T000000Z-000000000000" in printed
    assert image(deployment) == f"{deployment.name}/probe:{third}"
    assert not journal.exists()


IMAGES = """
import sys
from daemon.__main__ import main
sys.exit(main(["images"]))
"""


def test_what_loads_in_the_sandbox_and_not_for_real_is_put_back(
    deployment: Deployment, admin: GraphQL, repository: Repository
) -> None:
    before = image(deployment)
    repository.commit("v4", loads=False)
    printed = repository.stack("deploy", "probe", code=1)
    assert "probe does not load in the webserver" in printed
    assert "broken on purpose" in printed
    assert image(deployment) == before
    assert admin.locations()["probe"] == "RepositoryLocation"
    assert version(admin) == "v1"


def test_bad_input_is_said_and_changes_nothing(deployment: Deployment, repository: Repository) -> None:
    before = started(deployment)
    assert "there is no location prob" in repository.stack("deploy", "prob", code=1)
    repository.source.write_text(repository.source.read_text() + "\n# Not committed.\n")
    assert "tests/locations/probe/src/probe/definitions.py" in repository.stack("deploy", "probe", code=1)
    repository.git("checkout", "--quiet", "--", ".")
    assert "nothing is named to deploy" in repository.stack("deploy", code=1)
    assert started(deployment) == before
