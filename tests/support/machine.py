"""A deployment repository of the tests' own and a machine that is a clone of it: as a team has them."""

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

from tests.support import locations
from tests.support.checkout import copy_files, remove_locations
from tests.support.deployment import ROOT, SERVICES_ALONE, Deployment, docker


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        list(command), cwd=folder, env=environment, capture_output=True, text=True, timeout=840, check=False
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done


class Author:
    """Who writes the deployment repository: a small location is in it, and of the samples those that are kept."""

    def __init__(self, folder: Path, location: str, keep: tuple[str, ...] = ()) -> None:
        self.location, self.keep = location, keep
        self.asset = f"code_locations/{location}/src/{location}/defs/assets/calendar.py"
        self.root, self.remote, self.key = folder / "author", folder / "remote.git", folder / "key"
        self.root.mkdir()
        self.take_files()
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        run(folder, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        run(folder, "git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", str(self.remote))
        # A link, which .gitignore's line for the folder does not mean.
        (self.root / ".git" / "info" / "exclude").write_text("/.venv\n")
        self._cut_down()

    def take_files(self) -> None:
        """The files of this checkout, as they are."""
        copy_files(self.root)

    def _cut_down(self) -> None:
        run(self.root, "./stack", "location", "new", self.location)
        left = [name for name in locations.shipped() if name not in self.keep]
        remove_locations(self.root, left, lambda *args: run(self.root, "./stack", *args))

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=author", "-c", "user.email=author@example.org")
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key}")
        return run(self.root, "git", *who, *signing, *args).stdout.strip()

    def push(self, subject: str, *, signed: bool = True, **replacing: tuple[str, str]) -> str:
        """A commit on the branch; `replacing` gives words of the asset and what takes their place."""
        path = self.root / self.asset
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


class Machine(Deployment):
    """A clone of the repository, with settings and secrets of its own, that can be lost and made again."""

    def __init__(self, folder: Path, author: Author, overlays: tuple[str, ...], **settings: str) -> None:
        name = f"test-{uuid.uuid4().hex[:8]}"
        super().__init__(name, overlays, root=folder / "vm", **settings)
        self.settings["COMPOSE_FILE"] = ":".join(overlays)
        self.author, self.state, self.told = author, self.root / ".stack" / name, ""
        self.clone()
        self.write_env()

    def clone(self) -> None:
        """The repository as its branch is, on a machine without settings, secrets or state."""
        run(self.root.parent, "git", "clone", "--quiet", str(self.author.remote), str(self.root))
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        # A link, which .gitignore's line for the folder does not mean.
        (self.root / ".git" / "info" / "exclude").write_text("/.venv\n")
        self.home.mkdir(parents=True)

    def pull(self) -> str:
        """The repository as its branch is now; its commit."""
        run(self.root, "git", "pull", "--quiet", "--ff-only")
        return self.head

    def ask(self, *args: str, stdin: str | None = None, seconds: float = 840) -> tuple[int, str]:
        """Runs the clone's ./stack; what it printed is kept as evidence."""
        code, self.told = super().ask(*args, stdin=stdin, seconds=seconds)
        return code, self.told

    def reconcile(self, *args: str) -> int:
        return self.ask("reconcile", *args)[0]

    @property
    def head(self) -> str:
        return run(self.root, "git", "rev-parse", "HEAD").stdout.strip()

    def services(self) -> dict[str, dict[str, Any]]:
        """Docker's record of each service's container."""
        # Runs, and what waits for one, come and go in between.
        names = self.containers(SERVICES_ALONE)
        found = json.loads(docker("inspect", *names)) if names else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def started(self) -> dict[str, tuple[str, str]]:
        return {name: (each["Id"], each["State"]["StartedAt"]) for name, each in self.services().items()}

    def metric(self, name: str) -> float:
        text = (self.state / "metrics" / "reconcile.prom").read_text()
        return float(text.partition(f'stack_reconcile_{name}{{deployment="{self.name}"}} ')[2].split()[0])

    def descriptions(self) -> list[str]:
        """What the webserver shows of the location's assets."""
        return [str(node["description"]) for node in self.user().ask("{ assetNodes { description } }")["assetNodes"]]

    def keep_evidence(self) -> Path:
        folder = super().keep_evidence()
        (folder / "told.log").write_text(self.told)
        return folder

    def remove(self) -> None:
        super().remove()
        images = docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        own = [name for name in images if name.startswith(f"{self.name}/")]
        if own:
            docker("rmi", "--force", *own, check=False)
