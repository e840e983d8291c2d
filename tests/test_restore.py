"""Promise: what was backed up comes back beside what runs and over it, to the row and to the moment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.support.backups import State, compare, everything, killed, state
from tests.support.deployment import ROOT, Deployment, docker
from tests.support.flights import PARTITIONED
from tests.support.graphql import GraphQL

# Two deployments and a year of data: tests/test_backups.py has the quick part.
pytestmark = [pytest.mark.needs("ingestion", "analytics"), pytest.mark.long]
FORGET = """
from platform_kit.lake import LakeResource
with LakeResource().connect() as lake:
    lake.execute("delete from ingestion.raw.flights where month = 12 and day in (29, 30)")
"""
DAYS = ["2013-12-29", "2013-12-30"]


@dataclass(frozen=True)
class Story:
    """What was there at a moment, and at the last backup."""

    moment: str
    then: State
    last: State


@pytest.fixture(scope="module")
def story(deployment: Deployment, admin: GraphQL, reference: str) -> Story:
    """A full backup; then a day is loaded: the moment; another, and the last backup."""
    # Whoever came before may have loaded these days as well: what comes after the moment has to be new.
    deployment.python("ingestion", FORGET, check=False)
    assert "Brings back" in deployment.stack("backup", "--full")
    admin.backfill_to_the_end(PARTITIONED, DAYS[:1], seconds=200)
    then, moment = settled(deployment, lambda: datetime.now(UTC).isoformat())
    admin.backfill_to_the_end(PARTITIONED, DAYS[1:], seconds=200)
    last, _ = settled(deployment, lambda: deployment.stack("backup"))
    assert last.tables["ingestion.raw.flights"] != then.tables["ingestion.raw.flights"]
    # Goes on writing: none of this is in the backup.
    admin.wait_for(admin.launch("ingestion", assets=["ingestion/raw/airlines"]), "SUCCESS")
    return Story(moment, then, last)


def settled(deployment: Deployment, act: Callable[[], str]) -> tuple[State, str]:
    """The state in which something was done: what follows new data by itself has come to its end."""
    for _ in range(10):
        before = everything(deployment)
        done = act()
        if everything(deployment).tables == before.tables:
            return before, done
    raise AssertionError("the lakes do not come to rest")


@pytest.fixture(scope="module")
def copy(deployment: Deployment, story: Story) -> Iterator[Deployment]:
    """A deployment beside, restored to the moment."""
    own = Deployment(f"{deployment.name}-back")
    try:
        # It ends with 3, as up does: one location of the tests is broken on purpose.
        printed = own.stack("restore", "--from", deployment.name, "--at", story.moment, check=False)
        assert f"{own.name} is as it was at" in printed, printed
        assert "its later files come from" in printed
        yield _reached(own)
    finally:
        own.remove()


def _reached(own: Deployment) -> Deployment:
    """The port is one that restore has found."""
    own.port = int((own.home / ".env").read_text().partition("\nGATEWAY_PORT=")[2].split()[0])
    own.address = f"http://127.0.0.1:{own.port}"
    return own


def test_a_moment_between_two_writes_comes_back_beside_what_runs(copy: Deployment, story: Story) -> None:
    compare(everything(copy), story.then)
    # The same people, and their passwords; nothing starts by itself.
    assert "ingestion" in copy.user().locations()
    assert f"{copy.name}-daemon-1" not in copy.containers()


def test_the_last_backup_comes_back_over_it_though_it_is_killed_twice(
    copy: Deployment, deployment: Deployment, story: Story
) -> None:
    refused = copy.stack("restore", "--from", deployment.name, check=False)
    assert f"{copy.name} has data" in refused
    again = ("restore", "--from", deployment.name, "--overwrite", "--yes")

    # While all is laid down beside: nothing has changed, and the next try is not met by what the first had asked.
    asked = ("--filter", f"label=com.docker.compose.project={copy.name}", "--format", "{{.Command}}")
    staging = lambda: " lay " in docker("ps", "--no-trunc", *asked)  # noqa: E731
    killed(copy, again, staging)
    compare(state(copy), State({k: v for k, v in story.then.tables.items() if "ingestion." in k}, {}, {}), runs=False)

    # While it takes its place: there is a way forward only.
    journal = ROOT / ".stack" / copy.name / "restore.json"
    killed(copy, again, journal.exists)
    printed = copy.stack("restore", check=False)
    assert "Takes up the restore" in printed
    assert "Rows, runs and schedules are those that the backup wrote down." in printed
    assert not journal.exists()
    compare(everything(copy), story.last)


def test_the_copy_writes_and_keeps_to_its_own_repository(copy: Deployment, deployment: Deployment) -> None:
    before = deployment.stack("backup", "list")
    printed = copy.stack("backup", "--full")
    assert f"/var/lib/backups/{copy.name}" in printed
    assert deployment.stack("backup", "list") == before
