"""Promise: git is the only source of truth: a machine becomes what its branch says, and bad commits leave it alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import docker
from tests.support.machine import Author, Machine

LOCATION = "demo"
SERVICES = {"postgres", "migrate", "run_broker", LOCATION, "webserver", "daemon", "gateway"}


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path, LOCATION)


@pytest.fixture
def machine(tmp_path: Path, author: Author, request: pytest.FixtureRequest) -> Iterator[Machine]:
    author.push("A deployment with one location")
    signers = tmp_path / "signers"
    signers.write_text(f"author {author.key.with_suffix('.pub').read_text()}")
    own = Machine(tmp_path, author, ("docker-compose.yml",), RECONCILE_SIGNERS=str(signers))
    failed = request.session.testsfailed
    try:
        yield own
    finally:
        if request.session.testsfailed > failed:
            own.keep_evidence()
        own.remove()


def test_a_machine_follows_its_branch(author: Author, machine: Machine) -> None:
    first = author.git("rev-parse", "HEAD")
    assert machine.reconcile() == 0, machine.told
    assert "Applied" in machine.told
    assert set(machine.services()) >= SERVICES
    before = machine.started()

    it_does_nothing_when_nothing_changed(machine)
    a_good_commit_replaces_one_container(author, machine, before)
    good, before = machine.head, machine.started()
    assert good != first

    a_broken_commit_leaves_the_old_one_serving(author, machine)
    an_unsigned_commit_is_refused(author, machine)
    assert machine.started() == before
    a_commit_that_fails_at_its_start_is_undone(author, machine)

    drift_is_told_and_mended(machine)
    a_pause_keeps_everything_as_it_is(author, machine)
    results = [json.loads(line)["result"] for line in (machine.state / "reconcile.jsonl").read_text().splitlines()]
    assert results == ["applied", "applied", "failed", "applied", "failed", "mended"]


def it_does_nothing_when_nothing_changed(machine: Machine) -> None:
    before = machine.started()
    assert machine.reconcile() == 0, machine.told
    assert "nothing to do" in machine.told
    assert machine.started() == before
    assert machine.metric("in_step") == 1
    assert machine.metric("last_duration_seconds") < 30


def a_good_commit_replaces_one_container(author: Author, machine: Machine, before: dict[str, tuple[str, str]]) -> None:
    commit = author.push("Say more", description=("description=", 'description="Told by the second commit. " '))
    assert machine.reconcile("--dry-run") == 2, machine.told
    assert f"{LOCATION} has other content" in machine.told
    assert machine.started() == before
    assert machine.reconcile() == 0, machine.told
    assert machine.head == commit
    after = machine.started()
    assert {name for name in after if after[name] != before.get(name)} == {LOCATION}
    image = machine.services()[LOCATION]["Config"]["Image"]
    assert image.startswith(f"{machine.name}/{LOCATION}:20")
    assert image.endswith(commit[:12])
    assert any("Told by the second commit" in each for each in machine.descriptions())


def a_broken_commit_leaves_the_old_one_serving(author: Author, machine: Machine) -> None:
    good, before = machine.head, machine.started()
    author.push("Break", broken=("description=", "no_such_argument=1, description="))
    assert machine.reconcile() == 1
    assert f"{LOCATION}" in machine.told
    assert "is not tried again by itself" in machine.told
    assert (machine.head, machine.started()) == (good, before)
    assert any("Told by the second commit" in each for each in machine.descriptions())
    assert machine.reconcile() == 1
    assert "is not tried again by itself" in machine.told
    assert machine.metric("in_step") == 0
    assert machine.metric("failures_total") == 1
    author.revert("Take it back")
    assert machine.reconcile() == 0, machine.told
    assert machine.started() == before


def an_unsigned_commit_is_refused(author: Author, machine: Machine) -> None:
    good = machine.head
    author.push("Not signed", signed=False, unsigned=("Told by", "Said by"))
    assert machine.reconcile() == 1
    assert "is not signed by one of" in machine.told
    assert machine.head == good
    author.git("reset", "--quiet", "--hard", "HEAD^")
    author.git("push", "--quiet", "--force", "origin", "main")


def a_commit_that_fails_at_its_start_is_undone(author: Author, machine: Machine) -> None:
    good, before = machine.head, machine.services()
    path = author.root / "daemon" / "src" / "migrate" / "__main__.py"
    path.write_text('raise SystemExit("the migration does not start")\n' + path.read_text())
    author.push("Break the migration")
    assert machine.reconcile() == 1
    assert "the migration does not start" in machine.told
    assert f"back at {good[:12]}" in machine.told
    after = machine.services()
    assert machine.head == good
    assert {name: each["Image"] for name, each in after.items()} == {n: each["Image"] for n, each in before.items()}
    # Nothing but the service that failed was touched, on the way there and back.
    assert {name for name in after if after[name]["Id"] != before[name]["Id"]} == {"migrate"}
    assert after["migrate"]["State"]["ExitCode"] == 0
    assert any("Told by the second commit" in each for each in machine.descriptions())


def drift_is_told_and_mended(machine: Machine) -> None:
    before = machine.started()
    docker("stop", before["gateway"][0])
    assert machine.reconcile("--dry-run") == 2
    assert "gateway has exited" in machine.told
    # The branch has a commit that failed: it is said so, and what is in force is mended all the same.
    assert machine.reconcile() == 1
    assert "is not tried again by itself" in machine.told
    after = machine.started()
    assert machine.services()["gateway"]["State"]["Running"]
    assert {name for name in after if after[name] != before[name]} == {"gateway"}


def a_pause_keeps_everything_as_it_is(author: Author, machine: Machine) -> None:
    good = machine.head
    author.revert("Take the migration back")
    author.push("Later", later=("Told by", "Said by"))
    machine.stack("reconcile", "--pause", "looking at something")
    assert machine.reconcile() == 4
    assert "looking at something" in machine.told
    assert machine.head == good
    machine.stack("reconcile", "--resume")
    assert machine.reconcile("--dry-run") == 2
