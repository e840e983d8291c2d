"""Promise: a location's tables are migrated with its code, wholly or not at all, and back where that goes."""

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from operations.checking import migrations
from operations.context import Context
from operations.deployment import Deployment as StackDeployment
from operations.execute import Shell
from operations.releases import way_back
from operations.report import Report
from tests.support.deployment import ROOT, Deployment, docker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("ingestion", "analytics")

COPY = "/tmp/migrations-of-the-test"
VERSION = "SELECT version_num FROM migrations.alembic_version"
COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'reference' AND table_name = 'airlines'"
)
MODEL = '\nmetadata.tables["reference.airlines"].append_column(sa.Column("country", sa.Text))\n'
REVISION = """
import sqlalchemy as sa
from alembic import op
from platform_kit.migrations import IrreversibleError

revision = "of_the_test"
down_revision = "{head}"

def upgrade():
    op.execute("SELECT pg_sleep(1)")
    op.add_column("airlines", sa.Column("country", sa.Text), schema="reference")

def downgrade():
    {down}
"""
DOWN = 'op.drop_column("airlines", "country", schema="reference")'
NO_WAY_DOWN = 'raise IrreversibleError("countries are nowhere else")'
ASK = """
import json
from dagster._grpc.client import DagsterGrpcClient

def messages(error):
    while error:
        yield error["message"]
        error = error.get("cause")

print(json.dumps(list(messages(json.loads(DagsterGrpcClient(port=4000, host="127.0.0.1").list_repositories())))))
"""


class Next:
    """The next version of ingestion: its code with one revision more, beside the running one, on the same database."""

    def __init__(self, deployment: Deployment) -> None:
        self.container = deployment.container("ingestion")
        self.head = self.command("heads", source="/app/src")["head"]
        docker("exec", self.container, "sh", "-c", f"rm -rf {COPY} && cp -r /app/src {COPY}")

    def write(self, down: str) -> None:
        """Put the revision there, and the model."""
        versions = f"{COPY}/ingestion/migrations/versions"
        script = f"cat > {versions}/of_the_test.py"
        docker("exec", "-i", self.container, "sh", "-c", script, stdin=REVISION.format(head=self.head, down=down))
        source = f"cp /app/src/ingestion/models.py {COPY}/ingestion/models.py && cat >> {COPY}/ingestion/models.py"
        docker("exec", "-i", self.container, "sh", "-c", source, stdin=MODEL)

    def call(self, *arguments: str, source: str = COPY) -> list[str]:
        """docker's arguments for a command of the migrations."""
        path = f"PYTHONPATH={source}:/opt/libraries"
        command = ["entrypoint", "python", "-m", "platform_kit.migrations", *arguments, "--json"]
        return ["exec", "--env", path, "--env", "PYTHONDONTWRITEBYTECODE=1", self.container, *command]

    def command(self, *arguments: str, source: str = COPY) -> dict[str, Any]:
        """Run it, and what it says."""
        told: dict[str, Any] = json.loads(docker(*self.call(*arguments, source=source), check=False).splitlines()[-1])
        return told


@pytest.fixture
def following(deployment: Deployment) -> Iterator[Next]:
    following = Next(deployment)
    following.write(DOWN)
    try:
        yield following
    finally:
        following.write(DOWN)
        assert following.command("downgrade", "--to", following.head)["to"] == following.head
        docker("exec", following.container, "rm", "-rf", COPY)


def columns(deployment: Deployment) -> list[str]:
    return sorted(name for (name,) in deployment.sql(COLUMNS, "lake_ingestion"))


def test_a_first_start_has_applied_the_newest_revision(deployment: Deployment) -> None:
    head = json.loads(docker(*Next(deployment).call("heads", source="/app/src")))["head"]
    assert deployment.sql(VERSION, "lake_ingestion") == [[head]]
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('reference', 'migrations')"
    assert deployment.sql(owners, "lake_ingestion") == [["ingestion"]]
    # Who reads the lake has no right in its owner's further tables.
    readers = "SELECT has_schema_privilege('analytics', nspname, 'USAGE') FROM pg_namespace WHERE nspname = 'reference'"
    assert deployment.sql(readers, "lake_ingestion") == [["f"]]


def test_a_run_stores_rows_in_the_tables_that_migrations_made(deployment: Deployment, reference: str) -> None:
    assert deployment.sql("SELECT count(*) FROM reference.airlines", "lake_ingestion") == [["16"]]
    assert columns(deployment) == ["carrier", "name"]


def test_two_upgrades_at_once_are_one_after_the_other(deployment: Deployment, following: Next) -> None:
    command = ["docker", *following.call("upgrade")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sorted(len(one["steps"]) for one in told) == [0, 1]
    assert columns(deployment) == ["carrier", "country", "name"]
    assert following.command("downgrade", "--to", following.head)["to"] == following.head
    assert columns(deployment) == ["carrier", "name"]


def test_a_way_back_that_does_not_exist_is_refused(deployment: Deployment, following: Next) -> None:
    following.write(NO_WAY_DOWN)
    assert following.command("upgrade")["to"] == "of_the_test"
    told = following.command("downgrade", "--to", following.head)
    assert told["error"].startswith(f"cannot go back to {following.head}, nothing was changed: of_the_test")
    assert told["error"].endswith("countries are nowhere else")
    assert deployment.sql(VERSION, "lake_ingestion") == [["of_the_test"]]
    # The version in force does not know that revision, and leaves it alone.
    assert "which is no revision of this image" in following.command("upgrade", source="/app/src")["error"]


def test_what_a_way_back_takes_is_read_before_it_is_gone(following: Next) -> None:
    def told(newer: str) -> str:
        path = ("--env", f"PYTHONPATH={COPY}:/opt/libraries", "--env", "PYTHONDONTWRITEBYTECODE=1")
        asked = ("exec", "-i", *path, following.container, "python", "-", "ingestion", newer, following.head)
        return docker(*asked, check=False, stdin=way_back.SCRIPT.read_text())

    found = json.loads(told("of_the_test"))
    (dropped,) = found["takes"]
    assert dropped.startswith("of_the_test")
    assert dropped.endswith("drop_column('airlines', 'country', schema='reference')")
    assert found["no_way"] == []
    following.write(NO_WAY_DOWN)
    (reason,) = json.loads(told("of_the_test"))["no_way"]
    assert "countries are nowhere else" in reason
    assert told("unknown") == ""


@pytest.fixture
def build(deployment: Deployment) -> Iterator[Any]:
    """Makes an image of ingestion with something appended to one of its files."""
    made = []

    def make(file: str, text: str) -> str:
        image = f"{deployment.name}/ingestion:of-the-test-{len(made)}"
        content = base64.b64encode(text.encode()).decode()
        lines = [
            f"FROM {deployment.inspect(deployment.container('ingestion'))['Config']['Image']}",
            *("USER 0:0", f"RUN echo {content} | base64 -d >> /app/src/ingestion/{file}", "USER 10001:10001"),
        ]
        docker("build", "--quiet", "--tag", image, "-", stdin="\n".join(lines))
        made.append(image)
        return image

    yield make
    for image in made:
        docker("image", "rm", "--force", image, check=False)


def test_check_finds_a_model_without_its_migration(deployment: Deployment, build: Any) -> None:
    own = StackDeployment(ROOT, deployment.name)

    def problems(image: str) -> list[str]:
        context = Context(own, Shell(ROOT), Report())
        context.config["services"]["ingestion"]["image"] = image
        return [problem.message for problem in migrations.check(context, ["ingestion"])]

    assert problems(f"{deployment.name}/ingestion:local") == []
    assert problems(build("models.py", MODEL)) == [
        "ingestion: reference.airlines: column country is in the models, not in the database"
    ]


def test_a_migration_that_fails_is_why_a_location_does_not_load_and_changes_nothing(
    deployment: Deployment, build: Any
) -> None:
    head = Next(deployment).head
    text = f'revision = "broken"\ndown_revision = "{head}"\ndef upgrade():\n    raise ValueError("no such thing")\n'
    image = build("migrations/versions/broken.py", text)
    name, password = f"{deployment.name}-of-the-test", deployment.secret("ingestion_database_password")
    settings = {"DEPLOYMENT": "prod", "POSTGRES_HOST": "postgres", "POSTGRES_USER": "ingestion"}
    settings |= {"POSTGRES_PASSWORD": password, "DAGSTER_CURRENT_IMAGE": f"{deployment.name}/ingestion:local"}
    try:
        docker(
            *("run", "--detach", "--name", name, "--network", f"{deployment.name}_ingestion", "--read-only"),
            *("--tmpfs", "/tmp:mode=1777,size=64m"),
            *(part for key, value in settings.items() for part in ("--env", f"{key}={value}")),
            image,
        )
        ask = ("exec", "-i", name, "python", "-")
        answer = wait_until(lambda: docker(*ask, check=False, stdin=ASK), seconds=90, what="a code server", every=2)
        assert "nothing was changed: broken.py:4: ValueError: no such thing" in json.loads(answer)[-1]
    finally:
        docker("rm", "--force", "--volumes", name, check=False)
    assert deployment.sql(VERSION, "lake_ingestion") == [[head]]
