"""Promise: a deployment of the last release is brought to this one, with its data, and one that fails is put back.

The last release is taken from the history of this repository: its containers, its schema, its ./stack. That takes
minutes to build; tests/test_story.py ends with an upgrade to a release made for it, as the sample in each run of the
tests.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from operations.upgrades import release
from tests.support.deployment import ROOT, Deployment, docker, lake_rows
from tests.support.machine import Author, Machine, run

LOCATION, ASSET = "demo", "demo/raw/calendar"
FROM = release.FIRST.version
SCHEDULE = {
    "repositoryLocationName": LOCATION,
    "repositoryName": "__repository__",
    "scheduleName": "every_morning",
}
START = "mutation Start($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename } }"
SUM = f"select count(*) as n, bit_xor(hash(one)) as s from {ASSET.replace('/', '.')} as one"
BREAK = 'raise SystemExit("the new release does not migrate")\n'


def commit_of_the_last_release() -> str:
    """Skips where the history does not reach that far, as in a shallow clone."""
    sha = release.commit_of(ROOT, FROM)
    known = subprocess.run(["git", "cat-file", "-e", f"{sha}^{{commit}}"], cwd=ROOT, capture_output=True)
    if known.returncode:
        pytest.skip(f"release {FROM}, commit {sha}, is not in this clone's history: git fetch --unshallow")
    return sha


class Owner(Author):
    """Who has a repository of their own since the last release, and takes this one over."""

    def __init__(self, folder: Path) -> None:
        self.before = commit_of_the_last_release()
        super().__init__(folder, LOCATION)

    def take_files(self) -> None:
        archive = self.root.with_suffix(".tar")
        run(ROOT, "git", "archive", "--output", str(archive), self.before)
        run(self.root, "tar", "--extract", "--file", str(archive))
        archive.unlink()

    def take_release(self) -> None:
        """Merge, as far as files go: all that is not of this repository's stays, here the location."""
        for entry in self.root.iterdir():
            if entry.name not in (".git", ".venv", ".stack"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        Author.take_files(self)
        self._cut_down()


@dataclass(frozen=True)
class State:
    """What has to be there afterwards."""

    rows: list[list[str]]
    runs: list[list[str]]
    schedules: list[list[str]]
    events: int
    env: str


def state(machine: Deployment) -> State:
    (rows,) = lake_rows(machine, LOCATION, SUM)
    return State(
        [[str(value) for value in rows.values()]],
        machine.sql("select run_id, status, run_body from runs order by id"),
        machine.sql("select selector_id, status from instigators order by 1"),
        int(machine.sql("select count(*) from event_logs")[0][0]),
        (machine.home / ".env").read_text(),
    )


@pytest.fixture
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    owner = Owner(tmp_path)
    owner.push(f"Our deployment, of release {FROM}")
    own = Machine(tmp_path, owner, ("docker-compose.yml",))
    failed = request.session.testsfailed
    try:
        yield own
    finally:
        if request.session.testsfailed > failed:
            own.keep_evidence()
        own.remove()


@pytest.mark.long
@pytest.mark.timeout(1200, func_only=True)
def test_the_last_release_is_brought_to_this_one(machine: Machine) -> None:
    before = data_is_made_with_the_last_release(machine)
    take(machine.author)
    machine.author.push("Take the new release over")
    machine.pull()
    another_release_is_not_just_started(machine, before)
    it_is_upgraded(machine, before)
    backups_go_on(machine)


@pytest.mark.long
@pytest.mark.timeout(1200, func_only=True)
def test_a_release_that_fails_is_put_back_and_can_be_taken_again(machine: Machine) -> None:
    before = data_is_made_with_the_last_release(machine)
    take(machine.author)
    migration = machine.author.root / "daemon" / "src" / "migrate" / "__main__.py"
    whole = migration.read_text()
    migration.write_text(BREAK + whole)
    machine.author.push("Take the new release over, and break its migration")
    machine.pull()
    one_that_fails_is_put_back(machine, before)
    migration.write_text(whole)
    machine.author.push("Mend the migration")
    machine.pull()
    it_is_upgraded(machine, before)
    backups_go_on(machine)


def take(author: Author) -> None:
    assert isinstance(author, Owner)
    author.take_release()


def data_is_made_with_the_last_release(machine: Machine) -> State:
    machine.stack("up")
    user = machine.user()
    user.wait_for(user.launch(LOCATION, assets=[ASSET]), "SUCCESS")
    assert user.ask(START, s=SCHEDULE)["startSchedule"]["__typename"] == "ScheduleStateResult"
    assert not (machine.state / "release.json").exists()
    return state(machine)


def images(machine: Machine) -> str:
    """Its own alone: others make theirs meanwhile."""
    return docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", f"{machine.name}/*")


def another_release_is_not_just_started(machine: Machine, before: State) -> None:
    containers = machine.started()
    code, printed = machine.ask("up")
    assert code == 1
    assert "upgrade" in printed
    assert FROM in printed
    before_it = images(machine)
    files = {path: path.stat().st_mtime_ns for path in (machine.home, machine.home / ".env", machine.state)}
    printed = machine.stack("upgrade", "--dry-run")
    version = str(release.of(ROOT).version)
    for words in (FROM, version, "GiB needed", "What an operator has to do", "Settings that are appended"):
        assert words in printed
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert images(machine) == before_it
    assert machine.started() == containers
    assert state(machine) == before


def one_that_fails_is_put_back(machine: Machine, before: State) -> None:
    images = {name: each["Image"] for name, each in machine.services().items()}
    code, printed = machine.ask("upgrade", "--yes")
    assert code == 1
    assert "the new release does not migrate" in printed
    assert f"{FROM} is back and serves" in printed
    assert {name: each["Image"] for name, each in machine.services().items()} == images
    machine.reached()
    assert state(machine) == before
    assert not (machine.state / "release.json").exists()
    user = machine.user()
    user.wait_for(user.launch(LOCATION, assets=[ASSET]), "SUCCESS")


def it_is_upgraded(machine: Machine, before: State) -> None:
    printed = machine.stack("upgrade", "--yes")
    machine.reached()
    now = state(machine)
    assert now.rows == before.rows
    assert now.runs[: len(before.runs)] == before.runs
    assert now.schedules == before.schedules
    assert now.events >= before.events
    assert now.env.startswith(before.env.rstrip("\n"))
    stamp = json.loads((machine.state / "release.json").read_text())
    assert stamp["release"]["version"] == release.of(ROOT).version
    assert stamp["commit"] == machine.head
    assert "is release" in printed
    assert "Nothing to upgrade" in machine.stack("upgrade")
    # Nothing of the way back is left.
    data = docker("exec", machine.container("postgres"), "sh", "-c", 'ls "${PGDATA%/*}"').split()
    assert data == ["data"]
    assert not list((machine.state / "former").iterdir())
    tags = docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"{machine.name}/*").split()
    # The container of a run that has ended is kept for a while, with the image that it ran.
    used = {machine.inspect(each)["Image"] for run in before.runs for each in machine.run_containers(run[0])}
    left = [tag for tag in tags if not tag.endswith(":local")]
    assert not [tag for tag in left if json.loads(docker("image", "inspect", tag))[0]["Id"] not in used]
    user = machine.user()
    user.wait_for(user.launch(LOCATION, assets=[ASSET]), "SUCCESS")


def backups_go_on(machine: Machine) -> None:
    """The log of before and after the upgrade is one: pgBackRest would refuse another's."""
    assert "Verified:" in machine.stack("backup")
    assert "started" not in machine.stack("up")
