"""A copy of this checkout under git, from which releases of a running deployment are made."""

import os
import subprocess
from pathlib import Path

from tests.support import locations
from tests.support.checkout import copy_checkout
from tests.support.deployment import Deployment

PROBE = "tests/locations/probe"


class Repository:
    """Commits of the location `probe`, and ./stack on the deployment of the tests from here: the checkout stays."""

    def __init__(self, root: Path, deployment: Deployment) -> None:
        self.root, self.name = root, deployment.name
        copy_checkout(root)
        with (root / ".env.example").open("a") as example:
            example.write("\n# Image tag of the tests' location.\nPROBE_TAG=local\n")
        self.home = deployment.share_with(root)
        locations.write(self.home, root)
        overlay = self.home / "overlay.yml"
        overlay.write_text(overlay.read_text().replace("/probe:local", "/probe:${PROBE_TAG:-local}"))
        self.git("init", "--quiet")
        (root / ".git/info/exclude").write_text(".venv\n")
        self.source = root / PROBE / "src/probe/definitions.py"
        self._original = self.source.read_text()

    def commit(self, version: str, *, tested: str = "", loads: bool = True) -> None:
        """The probe with jobs that say this version; its test expects `tested`. One that does not load fails where its
        password is, as a location does whose database is not what it thinks."""
        added = ADDED.format(version=version)
        broken = (
            "" if loads else "\nif 'POSTGRES_PASSWORD' in os.environ:\n    raise RuntimeError('broken on purpose')\n"
        )
        jobs = "jobs=[attack, hang, exhaust_memory, crash, succeed, leak, now, hold, waiting])"
        head, _, _ = self._original.partition("\ndefs = ")
        self.source.write_text(f"{head}\n{added}{broken}\n\ndefs = dg.Definitions({jobs}\n")
        tests = self.root / PROBE / "tests"
        tests.mkdir(exist_ok=True)
        (tests / "test_version.py").write_text(TEST.format(version=tested or version))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", version)

    def git(self, *args: str) -> str:
        """Runs git and returns what it printed."""
        who = ["-c", "user.name=tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *who, *args], cwd=self.root, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def command(self, *args: str) -> list[str]:
        """The command line of this copy's ./stack."""
        return [str(self.root / "stack"), "--deployment", self.name, *args]

    @property
    def environment(self) -> dict[str, str]:
        """As a user's: nothing that overrules .env."""
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")},
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def stack(self, *args: str, code: int = 0) -> str:
        """Runs this copy's ./stack, which has to end with this code, and returns all it printed."""
        done = subprocess.run(
            self.command(*args), cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=600
        )
        printed = done.stdout + done.stderr
        assert done.returncode == code, f"./stack {' '.join(args)} exited {done.returncode}:\n{printed[-6000:]}"
        return printed

    def tag(self) -> str:
        """The tag in force."""
        return (self.home / ".env").read_text().partition("\nPROBE_TAG=")[2].split()[0]


TEST = """\
from probe.definitions import VERSION


def test_the_version_is_the_one_that_was_meant():
    assert VERSION == "{version}"
"""
ADDED = """
VERSION = "{version}"


@dg.op
def say_version(context: dg.OpExecutionContext) -> None:
    context.log_event(dg.AssetObservation("probe", metadata={{"printed": dg.MetadataValue.text(VERSION)}}))


@dg.op(pool="gate")
def say_version_behind_the_gate(context: dg.OpExecutionContext) -> None:
    context.log_event(dg.AssetObservation("probe", metadata={{"printed": dg.MetadataValue.text(VERSION)}}))


@dg.op(pool="gate")
def hold_the_gate() -> None:
    while True:
        time.sleep(1)


@dg.job(executor_def=dg.in_process_executor)
def now() -> None:
    say_version()


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    say_version_behind_the_gate()


@dg.job(executor_def=dg.in_process_executor)
def hold() -> None:
    hold_the_gate()
"""
