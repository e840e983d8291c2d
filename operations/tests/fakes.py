"""What tests give verbs instead of Docker, a machine and a terminal."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from operations import packages
from operations.context import Context
from operations.deployment import Deployment
from operations.execute import CommandError, Line, Result
from operations.host import Host
from operations.report import Report

EXAMPLE = """\
# Files of the deployment.
COMPOSE_FILE=docker-compose.yml

# Where people reach it.
SITE_ADDRESS=
GATEWAY_BIND=127.0.0.1
GATEWAY_PORT=3000

# Where secrets are.
SECRETS_DIR=./secrets

# What images are built from.
BASE_IMAGE=debian:trixie-slim
"""
WORKSPACE = """\
load_from:
  - grpc_server: {host: ingestion, port: 4000, location_name: ingestion}
  - grpc_server: {host: analytics, port: 4000, location_name: analytics}
"""
ACCESS = """\
people:
  admin: {users: [admin], groups: [platform]}
  editor:
    ingestion: {groups: [data-engineers]}
  viewer: {groups: [everyone]}
machines:
  analytics: {reads: [ingestion]}
"""


class FakeExecutor:
    """Records argument lists and gives prepared answers; the last that matches wins."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.stdins: list[str | None] = []
        self._answers: list[tuple[tuple[str, ...], list[Result]]] = []

    def answer(self, *words: str, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        """Answer commands that contain these words in a row. Given twice for the same words: one after the other."""
        result = Result((), code, stdout, stderr)
        for known, results in self._answers:
            if known == words:
                results.append(result)
                return
        self._answers.append((words, [result]))

    def forget(self, *words: str) -> None:
        """Take answers back."""
        self._answers = [(known, results) for known, results in self._answers if known != words]

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        self.calls.append(list(args))
        self.stdins.append(stdin)
        result = self._find(args)
        if check and not result.ok:
            raise CommandError(result)
        return result

    def stream(
        self, args: Sequence[str], on_line: Line, *, env: Mapping[str, str] | None = None, check: bool = True
    ) -> Result:
        return line_by_line(self.run(args, env=env, check=False), on_line, check=check)

    def ran(self, *words: str) -> list[list[str]]:
        """Calls that contain these words in a row."""
        return [call for call in self.calls if _contains(call, words)]

    def _find(self, args: Sequence[str]) -> Result:
        for words, results in reversed(self._answers):
            if _contains(args, words):
                found = results[0] if len(results) == 1 else results.pop(0)
                return Result(tuple(args), found.code, found.stdout, found.stderr)
        return Result(tuple(args), 0)


def line_by_line(result: Result, on_line: Line, *, check: bool) -> Result:
    """A result as it would have been streamed."""
    for line in (result.stdout + result.stderr).splitlines():
        on_line(line)
    if check and not result.ok:
        raise CommandError(result)
    return result


KILLED = 137


def killed(work: Callable[[], object]) -> bool:
    """Do this in a process of its own that ends as by kill -9: what it leaves is on the disk, and nothing tidies up.
    False when it came to its end before."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def _contains(args: Sequence[str], words: Sequence[str]) -> bool:
    return any(list(args[i : i + len(words)]) == list(words) for i in range(len(args) - len(words) + 1))


@dataclass(frozen=True)
class FakeHost(Host):
    """A machine with as much of everything as a test wants."""

    root_user: bool = True
    host: packages.Distribution = field(default_factory=lambda: packages.Distribution("debian", "trixie"))
    places: tuple[packages.Source, ...] = ()
    installed: tuple[str, ...] = ()
    memory: int | None = 16 * 1024**3
    disk: int | None = 100 * 1024**3
    taken: tuple[int, ...] = ()
    engine: bool = True

    @property
    def is_root(self) -> bool:
        return self.root_user

    def distribution(self) -> packages.Distribution:
        return self.host

    def apt_sources(self) -> list[packages.Source]:
        return list(self.places)

    def has_package(self, name: str) -> bool:
        return name in self.installed

    def has_engine(self) -> bool:
        return self.engine

    def free_memory(self) -> int | None:
        return self.memory

    def free_disk(self, path: str) -> int | None:
        return self.disk

    def port_problem(self, address: str, port: int) -> str | None:
        return f"port {port} of {address} is taken" if port in self.taken else None


class Machine:
    """A checkout in a temporary directory with everything that a verb needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".env.example").write_text(EXAMPLE)
        (root / "workspace.yaml").write_text(WORKSPACE)
        (root / "access.yaml").write_text(ACCESS)
        (root / "docker-compose.yml").write_text("services: {}\n")
        make_release(root)
        self.executor = FakeExecutor()
        self.host = FakeHost(slash=root / "slash")
        self.out, self.err = io.StringIO(), io.StringIO()

    def context(self, name: str = "prod", host: Host | None = None) -> Context:
        """A new call of ./stack on this checkout."""
        report = Report(
            Console(file=self.out, width=200, highlight=False), Console(file=self.err, width=200, highlight=False)
        )
        return Context(Deployment(self.root, name), self.executor, report, host or self.host)

    def tools_are_there(self) -> None:
        """Docker, Compose and Buildx as they should be."""
        self.executor.answer("docker", "--version", stdout="Docker version 26.1.5\n")
        self.executor.answer("version", "--format", "{{.Server.Version}}", stdout="20.10.24+dfsg1\n")
        self.executor.answer("compose", "version", "--short", stdout="2.26.1-4\n")
        self.executor.answer("buildx", "version", stdout="github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3\n")
        self.executor.answer("info", "--format", "{{.DockerRootDir}}", stdout="/var/lib/docker\n")

    def made_env(self, **changes: str) -> Path:
        """A .env as `up` makes it."""
        text = EXAMPLE
        for key, value in changes.items():
            lines = [f"{key}={value}" if line.startswith(f"{key}=") else line for line in text.splitlines()]
            text = "\n".join(lines) + "\n"
        path = self.root / ".env"
        path.write_text(text)
        return path


def make_release(root: Path, version: str = "0.2.0", dagster: str = "1.13.27", postgres: int = 17) -> None:
    """The files that say which release a checkout is."""
    for path, text in {
        "pyproject.toml": f'[project]\nversion = "{version}"\n',
        "daemon/requirements.lock": f"dagster=={dagster} \\\n",
        "postgres/Dockerfile": f"ARG POSTGRES_MAJOR={postgres}\n",
    }.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)


def container(service: str, **changes: Any) -> dict[str, Any]:
    """One container as `docker inspect` tells it."""
    state = {"Status": changes.get("state", "running"), "ExitCode": changes.get("exit_code", 0)}
    state["StartedAt"] = changes.get("started", "2026-01-01T00:00:00.123456789Z")
    if changes.get("health", "healthy"):
        state["Health"] = {"Status": changes.get("health", "healthy"), "Log": [{"Output": changes.get("probe", "")}]}
    labels = {
        "com.docker.compose.project": "prod",
        "com.docker.compose.service": service,
        "com.docker.compose.oneoff": "False",
    }
    ports = {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "3000"}]} if service == "gateway" else {}
    return {
        "Id": changes.get("id", f"{service}-id-0123456789"),
        "Name": f"/{changes.get('name', f'prod-{service}-1')}",
        "State": state,
        "RestartCount": changes.get("restarts", 0),
        "Config": {"Image": f"prod/{service}:local", "Labels": {**labels, **changes.get("labels", {})}},
        "NetworkSettings": {"Ports": ports, "Networks": dict.fromkeys(changes.get("networks", ()))},
    }
