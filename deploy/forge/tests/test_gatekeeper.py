"""The key of a forge: what it may ask for, and every way around that we could think of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FORGE = Path(__file__).resolve().parents[1]
SHA = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
CREATE = f"branch create 1523 --from {SHA}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose ./stack says with what it was called, and whose origin has one commit more than it."""
    root = tmp_path / "check out"
    (root / "deploy/forge").mkdir(parents=True)
    shutil.copy(FORGE / "gatekeeper", root / "deploy/forge/gatekeeper")
    stack = root / "stack"
    stack.write_text('#!/bin/sh\nprintf "%s\\n" "called" "$@"\npwd\nenv\nexit 3\n')
    stack.chmod(0o755)
    return root


def git(*args: str, at: Path) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", at, *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def ask(checkout: Path, request: str | None, *rights: str, **environment: str) -> subprocess.CompletedProcess[str]:
    asked = {} if request is None else {"SSH_ORIGINAL_COMMAND": request}
    return subprocess.run(
        [sys.executable, "-I", checkout / "deploy/forge/gatekeeper", *(rights or ("branch",))],
        env={"HOME": "/home/x", **asked, **environment},
        capture_output=True,
        text=True,
        cwd="/",
        timeout=30,
    )


def test_a_request_becomes_the_verb_with_its_exit_code(checkout: Path) -> None:
    done = ask(checkout, "branch delete 1523")
    assert done.stdout.splitlines()[:5] == ["called", "branch", "delete", "1523", "--yes"]
    assert str(checkout) in done.stdout
    assert done.returncode == 3


def test_it_waits_while_another_command_is_at_work(checkout: Path) -> None:
    gatekeeper = checkout / "deploy/forge/gatekeeper"
    gatekeeper.write_text(gatekeeper.read_text().replace("PATIENCE, PAUSE = 5, 3600, 15", "PATIENCE, PAUSE = 5, 20, 0"))
    # Busy twice, then its turn.
    (checkout / "stack").write_text('#!/bin/sh\necho x >>calls\n[ "$(wc -l <calls)" -ge 3 ] || exit 5\nexit 4\n')
    done = ask(checkout, "branch delete 1523")
    assert done.returncode == 4
    assert done.stderr.count("waiting for that") == 2


def test_a_verb_that_is_killed_has_failed(checkout: Path) -> None:
    (checkout / "stack").write_text("#!/bin/sh\nkill -9 $$\n")
    assert ask(checkout, "branch delete 1523").returncode == 137


def test_each_right_opens_its_own_requests_alone(checkout: Path) -> None:
    assert ask(checkout, "reconcile", "reconcile").stdout.splitlines()[:2] == ["called", "reconcile"]
    assert ask(checkout, "reconcile", "branch").returncode == 64
    assert ask(checkout, "branch delete 1", "reconcile").returncode == 64
    assert ask(checkout, "reconcile", "branch", "reconcile").returncode == 3


ATTACKS = [
    None,
    "",
    " ",
    "up",
    "down --delete-data --yes",
    "--deployment prod down",
    "user add mallory --group platform",
    "branch",
    "branch list",
    "branch create",
    "branch create 1523",
    f"branch create 1523 --from {SHA} --location ingestion",
    f"branch create 1523 --from {SHA};id",
    f"branch create 1523 --from {SHA}\nid",
    f"branch create 1523 --from {SHA}\n",
    f"branch create 1523 --from {SHA} ",
    f"branch  create 1523 --from {SHA}",
    f"branch\tcreate 1523 --from {SHA}",
    f"BRANCH create 1523 --from {SHA}",
    f"branch create $(id) --from {SHA}",
    f"branch create `id` --from {SHA}",
    f"branch create ../prod --from {SHA}",
    f"branch create -1 --from {SHA}",
    f"branch create 0 --from {SHA}",
    f"branch create 0001 --from {SHA}",
    f"branch create 12345678901 --from {SHA}",
    f"branch create \u0661\u0665 --from {SHA}",
    f"branch create 15\u200b23 --from {SHA}",
    "branch create 1523 --from main",
    "branch create 1523 --from HEAD",
    "branch create 1523 --from --upload-pack=id",
    f"branch create 1523 --from {SHA[:39]}",
    f"branch create 1523 --from {SHA}0",
    f"branch create 1523 --from {SHA.upper()}",
    f"branch create 1523 --from={SHA}",
    f"branch create 1523 --yes {SHA}",
    "branch delete 1523 --yes",
    "branch delete 1523 1524",
    "branch delete *",
    "branch delete prod",
    "sh -c id",
    "scp -t /",
    "internal-sftp",
    "branch delete 1523 && id",
    "branch delete 1523 || id",
    "branch delete 1523 | sh",
    "branch delete 1523 > /etc/passwd",
    "branch delete 1523 #",
    "branch delete 1523\r",
    "branch delete \x1b[2J",
    "branch delete '1523'",
    "x" * 100_000,
]


@pytest.mark.parametrize("request_", ATTACKS, ids=lambda value: repr(value)[:60])
def test_anything_else_is_refused_and_starts_nothing(checkout: Path, request_: str | None) -> None:
    done = ask(checkout, request_, "branch")
    assert done.returncode == 64
    assert done.stdout == ""
    assert "expected: branch create NUMBER --from COMMIT; branch delete NUMBER" in done.stderr
    # What a terminal or a log would obey comes back spelled out, in one short line.
    assert done.stderr.count("\n") == 1
    assert done.stderr.strip("\n").isprintable()
    assert len(done.stderr) < 600


@pytest.mark.parametrize("rights", [["all"], ["branch", "up"], [""]])
def test_a_mistake_in_authorized_keys_opens_nothing(checkout: Path, rights: list[str]) -> None:
    done = ask(checkout, "branch delete 1523", *rights)
    assert (done.returncode, done.stdout) == (64, "")
    assert "in authorized_keys" in done.stderr


def test_nothing_of_the_clients_environment_reaches_the_verb(checkout: Path, tmp_path: Path) -> None:
    evil = tmp_path / "sitecustomize.py"
    evil.write_text("print('hijacked')\n")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": str(evil),
        "PATH": str(tmp_path),
        "COMPOSE_FILE": "/tmp/evil.yml",
        "DOCKER_HOST": "tcp://evil",
        "GIT_SSH_COMMAND": "id",
        "BASH_ENV": str(evil),
        "ENV": str(evil),
        "SSH_CLIENT": "192.0.2.1 1 22",
        "SUDO_USER": "somebody-else",
    }
    done = ask(checkout, "branch delete 1523", **hostile)
    seen = dict(line.partition("=")[::2] for line in done.stdout.splitlines() if "=" in line)
    assert "hijacked" not in done.stdout
    assert seen["PATH"].startswith("/usr/local/sbin:")
    assert seen["HOME"] == "/home/x"
    assert seen["SUDO_USER"] == "forge"
    assert not {"PYTHONPATH", "COMPOSE_FILE", "DOCKER_HOST", "GIT_SSH_COMMAND", "BASH_ENV", "ENV"} & set(seen)
    assert "SSH_ORIGINAL_COMMAND" not in seen


def test_the_commit_of_a_pull_request_is_fetched_into_no_branch(checkout: Path, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", origin], check=True)
    git("commit", "--quiet", "--allow-empty", "-m", "first", at=origin)
    git("init", "--quiet", at=checkout)
    git("remote", "add", "origin", str(origin), at=checkout)
    git("fetch", "--quiet", "origin", at=checkout)
    git("switch", "--quiet", "--orphan", "topic", at=origin)
    git("commit", "--quiet", "--allow-empty", "-m", "second", at=origin)
    commit = git("rev-parse", "HEAD", at=origin)
    # As a forge has it: reachable from refs/pull/1523/head, of no branch.
    git("update-ref", "refs/pull/1523/head", commit, at=origin)
    git("switch", "--quiet", "main", at=origin)
    git("branch", "--quiet", "-D", "topic", at=origin)
    before = git("for-each-ref", at=checkout)
    done = ask(checkout, f"branch create 1523 --from {commit}")
    # A pull request that moves on gets its branch anew.
    assert done.stdout.splitlines()[:7] == ["called", "branch", "create", "1523", "--from", commit, "--replace"]
    assert git("cat-file", "-t", commit, at=checkout) == "commit"
    assert git("for-each-ref", at=checkout) == before
    # A second time nothing is fetched: origin may be away.
    shutil.rmtree(origin)
    assert ask(checkout, f"branch create 1523 --from {commit}").returncode == 3


def test_a_commit_that_origin_does_not_have_is_named(checkout: Path, tmp_path: Path) -> None:
    git("init", "--quiet", at=checkout)
    git("remote", "add", "origin", str(tmp_path / "nowhere"), at=checkout)
    done = ask(checkout, CREATE)
    assert done.returncode == 64
    assert f"origin does not give the commit {SHA}" in done.stderr
    assert "called" not in done.stdout


def test_it_is_what_the_documents_call() -> None:
    assert os.access(FORGE / "gatekeeper", os.X_OK)
    assert (FORGE / "gatekeeper").read_text().startswith("#!/usr/bin/python3 -I\n")
