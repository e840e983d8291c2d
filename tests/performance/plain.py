"""The yardstick: Dagster's example for Docker with its defaults, in a Compose project of its own."""

import shutil
from pathlib import Path

from tests.performance import programs
from tests.support.deployment import ROOT, docker, free_port
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

FILES = ROOT / "tests" / "performance" / "plain"
# The same pins as the stack's: of its locks, this one has all that is needed.
LOCK = ROOT / "webserver" / "requirements.lock"
LOCATION = "quick"
SERVICES = ("postgres", "user_code", "webserver", "daemon")


class Plain:
    """Up, down, and what it is asked."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.port = free_port()
        self.client = GraphQL(f"http://127.0.0.1:{self.port}")
        shutil.copytree(FILES, folder)
        shutil.copy2(LOCK, folder / "requirements.lock")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *args: str) -> str:
        """Compose on this project, whose settings are variables."""
        own = {"COMPOSE_PROJECT_NAME": self.name, "PORT": str(self.port), "STACK_ROOT": str(ROOT)}
        command = ("docker", "compose", "--project-directory", str(self.folder), "--progress", "plain", *args)
        return programs.run(self.folder, *command, env={**programs.settings(), **own})

    def build(self) -> None:
        self.compose("build")

    def up(self) -> None:
        """Until the webserver has loaded the definitions."""
        self.compose("up", "--detach", "--no-build")
        wait_until(self._loaded, seconds=300, what="the plain deployment to load its definitions", every=0.5)

    def _loaded(self) -> bool:
        try:
            return self.client.locations().get(LOCATION) == "RepositoryLocation"
        except Exception:
            # Not there yet, in one of the many ways that a webserver has while it starts.
            return False

    def services(self) -> tuple[str, ...]:
        """Those whose memory counts."""
        return SERVICES

    def sql(self, statement: str) -> str:
        """Has Postgres do something."""
        ask = ("psql", "-U", "postgres_user", "-h", "127.0.0.1", "-d", "postgres_db", "-Atq", "-v", "ON_ERROR_STOP=1")
        name = f"{self.name}-postgres-1"
        return docker("exec", "-i", "-e", "PGPASSWORD=postgres_password", name, *ask, stdin=statement)

    def remove(self) -> None:
        """Takes all of it away. Runs carry no label of the project: they are found by its network."""
        self.client.http.close()
        remove(self.name, f"network={self.name}_default")


def remove(name: str, *also: str) -> None:
    """Containers, volumes, networks and images of a project, however far it came; killed, for nothing is to be kept."""
    label = f"label=com.docker.compose.project={name}"
    found = {one for by in (label, *also) for one in docker("ps", "--all", "--quiet", "--filter", by).split()}
    for kind, listed in (
        (("rm", "--force", "--volumes"), sorted(found)),
        (("volume", "rm", "--force"), docker("volume", "ls", "--quiet", "--filter", label).split()),
        (("network", "rm"), docker("network", "ls", "--quiet", "--filter", label).split()),
        (("image", "rm", "--force"), _images(name, label)),
    ):
        if listed:
            docker(*kind, *listed, check=False)


def _images(name: str, label: str) -> list[str]:
    """By name, and by Compose's label: an image that a later build took the name from has no name any more."""
    listed = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    nameless = docker("image", "ls", "--quiet", "--filter", label, "--filter", "dangling=true").split()
    return [*(image for image in listed if image.startswith(f"{name}/")), *nameless]
