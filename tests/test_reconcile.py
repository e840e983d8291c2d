"""Promise: git is the only source of truth: a machine becomes what its branch says, and bad commits leave it alone."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import locations
from tests.support.deployment import ARTIFACTS, ROOT, docker, free_port
from tests.support.graphql import GraphQL

LOCATION = "demo"
ASSET = f"code_locations/{LOCATION}/src/{LOCATION}/defs/assets/calendar.py"
SERVICES = {"postgres", "migrate", "run_broker", LOCATION, "webserver", "daemon", "gateway"}


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        list(command), cwd=folder, env=environment, capture_output=True, text=True, timeout=840, check=False
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done


class Author:
    """Who writes the deployment repository: the samples are removed, one small location is in it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.remote, self.key = folder / "author", folder / "remote.git", folder / "key"
        listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        run(folder, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        run(folder, "git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", str(self.remote))
        # A link, which .gitignore's line for the folder does not mean.
        (self.root / ".git" / "info" / "exclude").write_text("/.venv\n")
        self._cut_down()

    def _cut_down(self) -> None:
        run(self.root, "./stack", "location", "new", LOCATION)
        waiting = list(locations.shipped())
        while waiting:
            reads = locations.reads(self.root)
            unread = [name for name in waiting if not any(name in others for others in reads.values())]
            assert unread, reads
            for name in unread:
                run(self.root, "./stack", "location", "remove", name, "--yes")
                waiting.remove(name)

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=author", "-c", "user.email=author@example.org")
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key}")
        return run(self.root, "git", *who, *signing, *args).stdout.strip()

    def push(self, subject: str, *, signed: bool = True, **replacing: tuple[str, str]) -> str:
        """A commit on the branch; `replacing` gives words of the asset and what takes their place."""
        path = self.root / ASSET
        text = path.read_text() if path.exists() else ""
        for old, new in replacing.values():
            assert old in text
            text = text.replace(old, new)
        if replacing:
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", *(["-S"] if signed else ["--no-gpg-sign"]), "-m", subject)
        self.git("push", "--quiet", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def revert(self, subject: str) -> str:
        """Take the newest commit back, as one does on a shared branch."""
        self.git("revert", "--no-commit", "HEAD")
        return self.push(subject)


class Machine:
    """A clone of the repository, with settings and secrets of its own."""

    def __init__(self, folder: Path, author: Author) -> None:
        self.name, self.root = f"test-{uuid.uuid4().hex[:8]}", folder / "vm"
        run(folder, "git", "clone", "--quiet", str(author.remote), str(self.root))
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        self.home = self.root / ".deployments" / self.name
        self.home.mkdir(parents=True)
        signers = folder / "signers"
        signers.write_text(f"author {author.key.with_suffix('.pub').read_text()}")
        self.port = free_port()
        changed = {
            "COMPOSE_FILE": "docker-compose.yml",
            "GATEWAY_PORT": str(self.port),
            "SECRETS_DIR": f"./.deployments/{self.name}/secrets",
            "RECONCILE_SIGNERS": str(signers),
        }
        lines = []
        for line in (self.root / ".env.example").read_text().splitlines():
            key = line.partition("=")[0]
            lines.append(f"{key}={changed[key]}" if key in changed else line)
        (self.home / ".env").write_text("\n".join(lines) + "\n")
        self.state = self.root / ".stack" / self.name
        self.told = ""

    def stack(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = run(self.root, "./stack", "--deployment", self.name, *args, check=check)
        self.told = done.stdout + done.stderr
        return done

    def reconcile(self, *args: str) -> int:
        return self.stack("reconcile", *args, check=False).returncode

    @property
    def head(self) -> str:
        return run(self.root, "git", "rev-parse", "HEAD").stdout.strip()

    def containers(self) -> dict[str, dict[str, Any]]:
        ids = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def started(self) -> dict[str, tuple[str, str]]:
        return {name: (each["Id"], each["State"]["StartedAt"]) for name, each in self.containers().items()}

    def metric(self, name: str) -> float:
        text = (self.state / "metrics" / "reconcile.prom").read_text()
        return float(text.partition(f'stack_reconcile_{name}{{deployment="{self.name}"}} ')[2].split()[0])

    def descriptions(self) -> list[str]:
        """What the webserver shows of the location's assets."""
        secret = (self.home / "secrets" / "admin_password").read_text().strip()
        client = GraphQL(f"http://127.0.0.1:{self.port}", "admin", secret)
        try:
            return [str(node["description"]) for node in client.ask("{ assetNodes { description } }")["assetNodes"]]
        finally:
            client.http.close()

    def keep_evidence(self) -> None:
        folder = ARTIFACTS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "told.log").write_text(self.told)
        for name, each in self.containers().items():
            done = subprocess.run(["docker", "logs", "--timestamps", each["Id"]], capture_output=True, text=True)
            (folder / f"{name}.log").write_text(done.stdout + done.stderr)
            (folder / f"{name}.json").write_text(json.dumps(each, indent=1))

    def remove(self) -> None:
        self.stack("down", "--delete-data", "--yes", check=False)
        for each in self.containers().values():
            docker("rm", "--force", "--volumes", each["Id"], check=False)
        images = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        own = [name for name in images if name.startswith(f"{self.name}/")]
        if own:
            docker("rmi", "--force", *own, check=False)


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path)


@pytest.fixture
def machine(tmp_path: Path, author: Author, request: pytest.FixtureRequest) -> Iterator[Machine]:
    author.push("A deployment with one location")
    own = Machine(tmp_path, author)
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
    assert set(machine.containers()) >= SERVICES
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
    image = machine.containers()[LOCATION]["Config"]["Image"]
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
    good, before = machine.head, machine.containers()
    path = author.root / "daemon" / "src" / "migrate" / "__main__.py"
    path.write_text('raise SystemExit("the migration does not start")\n' + path.read_text())
    author.push("Break the migration")
    assert machine.reconcile() == 1
    assert "the migration does not start" in machine.told
    assert f"back at {good[:12]}" in machine.told
    after = machine.containers()
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
    assert machine.containers()["gateway"]["State"]["Running"]
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
