"""A deployment of the tests' own: its Compose project, port, secrets and volumes, gone when the tests end."""

import json
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testcontainers.compose import DockerCompose

from tests.support import locations
from tests.support.graphql import GraphQL

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "tests" / "artifacts"
SAMPLE_SOURCE = "deploy/overlays/sample-source.yml"
OVERLAYS = ("docker-compose.yml", *([SAMPLE_SOURCE] if (ROOT / SAMPLE_SOURCE).exists() else []))
PASSWORD = "a-password-of-the-tests"
# A filter: neither runs nor what waits for one, which come and go while somebody looks.
SERVICES_ALONE = "label=com.docker.compose.oneoff=False"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def docker(*args: str, check: bool = True, stdin: str | None = None) -> str:
    """Runs docker and returns what it printed."""
    done = subprocess.run(["docker", *args], capture_output=True, text=True, input=stdin, timeout=300)
    assert not check or done.returncode == 0, f"docker {' '.join(args)}: {done.stderr or done.stdout}"
    return done.stdout


class Deployment:
    """One deployment of a checkout, handled as a user would: through ./stack, Compose and the gateway."""

    def __init__(self, name: str, overlays: tuple[str, ...] = OVERLAYS, *, root: Path = ROOT, **settings: str) -> None:
        self.name = name
        self.root = root
        self.home = root / ".deployments" / name
        self.port = free_port()
        self.first_up = ""
        self._clients: dict[tuple[str, str], GraphQL] = {}
        self.address = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "COMPOSE_FILE": ":".join([*overlays, f".deployments/{name}/overlay.yml"]),
            "SECRETS_DIR": f"./.deployments/{name}/secrets",
            "GATEWAY_PORT": str(self.port),
            **settings,
        }

    @classmethod
    def existing(cls, name: str) -> "Deployment":
        """One that an earlier session of the tests left up."""
        own = cls(name)
        own.reached()
        own.settings["GATEWAY_PORT"] = str(own.port)
        own.write_settings()
        own.first_up = own.stack("up", check=False)
        return own

    def reached(self) -> None:
        """Whoever made the settings has chosen the port."""
        self.port = int((self.home / ".env").read_text().partition("\nGATEWAY_PORT=")[2].split()[0])
        self.address = f"http://127.0.0.1:{self.port}"

    def share_with(self, root: Path) -> Path:
        """Let another checkout handle this deployment: its settings and secrets, and which release its data is of."""
        home, state = root / ".deployments" / self.name, root / ".stack" / self.name
        home.mkdir(parents=True)
        state.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.home / ".env", home / ".env")
        (home / "secrets").symlink_to(self.home / "secrets")
        shutil.copy2(self.root / ".stack" / self.name / "release.json", state)
        return home

    @classmethod
    def fresh(cls, overlays: tuple[str, ...] = OVERLAYS, **settings: str) -> "Deployment":
        """A deployment with a name nobody has."""
        return cls(f"test-{uuid.uuid4().hex[:8]}", overlays, **settings)

    def write_settings(self) -> None:
        """Makes .env as a user would, .env.example with some values changed, and puts the tests' locations on top."""
        self.home.mkdir(parents=True, exist_ok=True)
        locations.write(self.home)
        self.write_env()

    def write_env(self) -> None:
        """Makes .env alone."""
        lines = []
        for line in (self.root / ".env.example").read_text().splitlines():
            key = line.partition("=")[0]
            lines.append(f"{key}={self.settings[key]}" if key in self.settings else line)
        (self.home / ".env").write_text("\n".join(lines) + "\n")

    def ask(self, *args: str, stdin: str | None = None, seconds: float = 1800) -> tuple[int, str]:
        """Runs ./stack on this deployment and returns its exit code and all it printed."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_")}
        done = subprocess.run(
            [str(self.root / "stack"), "--deployment", self.name, *args],
            capture_output=True, text=True, input=stdin, timeout=seconds, cwd=self.root, env=environment,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def stack(self, *args: str, check: bool = True, stdin: str | None = None, seconds: float = 1800) -> str:
        """Runs ./stack on this deployment, which has to succeed, and returns all it printed."""
        code, printed = self.ask(*args, stdin=stdin, seconds=seconds)
        assert not check or code == 0, f"./stack {' '.join(args)} exited {code}:\n{printed[-6000:]}"
        return printed

    def findings(self, *options: str) -> list[dict[str, str]]:
        """What ./stack doctor finds."""
        done = subprocess.run(
            [str(self.root / "stack"), "--deployment", self.name, "doctor", "--json", *options],
            capture_output=True, text=True, timeout=300, cwd=self.root,
        )  # fmt: skip
        found: list[dict[str, str]] = json.loads(done.stdout)
        assert done.returncode == (1 if found else 0), done.stderr
        return found

    def compose(self) -> DockerCompose:
        """testcontainers' handle on the same project; it takes the project's name from the environment alone."""
        os.environ["COMPOSE_PROJECT_NAME"] = self.name
        return DockerCompose(
            self.root,
            compose_file_name=list(self.settings["COMPOSE_FILE"].split(":")),
            env_file=str(self.home / ".env"),
        )

    def secret(self, name: str) -> str:
        """The content of a file in the deployment's secrets."""
        return (self.home / "secrets" / name).read_text().strip()

    def user(self, name: str = "admin", password: str | None = None) -> GraphQL:
        """GraphQL as one user; one connection a user, closed when the deployment is removed."""
        password = password or (self.secret("admin_password") if name == "admin" else PASSWORD)
        if (name, password) not in self._clients:
            self._clients[name, password] = GraphQL(self.address, name, password)
        return self._clients[name, password]

    def container(self, service: str) -> str:
        """The container of a service."""
        return f"{self.name}-{service}-1"

    def inspect(self, container: str) -> dict[str, Any]:
        """Docker's record of a container."""
        found: dict[str, Any] = json.loads(docker("inspect", container))[0]
        return found

    def containers(self, *filters: str) -> list[str]:
        """Names of the project's containers, stopped ones included."""
        chosen = [
            part for text in (f"label=com.docker.compose.project={self.name}", *filters) for part in ("--filter", text)
        ]
        return docker("ps", "--all", "--format", "{{.Names}}", *chosen).split()

    def run_containers(self, run_id: str) -> list[str]:
        """The containers of one run, by the names that stay theirs; there should be one at most."""
        return [name for name in self.containers(f"name={run_id}") if "-claimed-" not in name]

    def logs(self, service: str) -> str:
        """What a service's container printed."""
        done = subprocess.run(["docker", "logs", self.container(service)], capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def python(self, service: str, source: str, check: bool = True) -> str:
        """Runs Python in a service's container, with its secrets, and returns what it printed."""
        return docker("exec", "-i", self.container(service), "entrypoint", "python", "-", check=check, stdin=source)

    def sql(self, query: str, database: str = "dagster") -> list[list[str]]:
        """Asks Postgres as its superuser."""
        ask = 'exec psql -h 127.0.0.1 -U postgres -AtF "|" -d "$0" -c "$1"'
        script = f"PGPASSWORD=$(cat /run/secrets/postgres_password) {ask}"
        printed = docker("exec", self.container("postgres"), "sh", "-c", script, database, query)
        return [line.split("|") for line in printed.splitlines()]

    def leftovers(self) -> dict[str, list[str]]:
        """What Docker still has of this project."""
        label = f"label=com.docker.compose.project={self.name}"
        return {
            "containers": docker("ps", "--all", "--quiet", "--filter", label).split(),
            "volumes": docker("volume", "ls", "--quiet", "--filter", label).split(),
            "networks": docker("network", "ls", "--quiet", "--filter", label).split(),
            "images": [
                n for n in docker("images", "--format", "{{.Repository}}").split() if n.startswith(f"{self.name}/")
            ],
        }

    def keep_evidence(self) -> Path:
        """Writes logs and inspect output of all containers to tests/artifacts."""
        folder = ARTIFACTS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.containers():
            done = subprocess.run(["docker", "logs", "--timestamps", name], capture_output=True, text=True, timeout=60)
            (folder / f"{name}.log").write_text(done.stdout + done.stderr)
            (folder / f"{name}.json").write_text(docker("inspect", name, check=False))
        return folder

    def close(self) -> None:
        """Ends the connections of all users; an open one is a warning at the end of the session."""
        for client in self._clients.values():
            client.http.close()
        self._clients.clear()

    def remove(self) -> None:
        """Takes all of it away, however far it came."""
        self.close()
        if (self.home / ".env").exists():
            self.stack("down", "--delete-data", "--yes", check=False)
        for name in self.containers():
            docker("rm", "--force", "--volumes", name, check=False)
        left = self.leftovers()
        for volume in left["volumes"]:
            docker("volume", "rm", "--force", volume, check=False)
        for network in left["networks"]:
            docker("network", "rm", network, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def lake_rows(deployment: Deployment, service: str, query: str, reads: tuple[str, ...] = ()) -> list[Mapping[str, Any]]:
    """Asks a location's lake, and those it reads, from its container and through its own credentials."""
    source = f"""
import json
from platform_kit.lake import LakeResource
with LakeResource().connect({reads!r}) as lake:
    answer = lake.sql({query!r})
    print(json.dumps([dict(zip(answer.columns, row)) for row in answer.fetchall()], default=str))
"""
    rows: list[Mapping[str, Any]] = json.loads(deployment.python(service, source).splitlines()[-1])
    return rows


def running(deployment: Deployment) -> Iterator[str]:
    """Names of the services' own containers."""
    yield from deployment.containers(SERVICES_ALONE)
