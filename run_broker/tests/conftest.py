"""A real broker in front of a fake engine, and the means to talk to it as a caller."""

import contextlib
import io
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from run_broker.audit import Audit, Log, Metrics
from run_broker.broker import Broker
from run_broker.engine import Engine
from run_broker.identity import Identity
from run_broker.settings import Settings

# Tests are no package: what they share is found beside this file.
sys.path.insert(0, str(Path(__file__).parent))
from fake_engine import PROJECT, FakeEngine, code_server, serve_engine

RUN_ID = "0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"


@dataclass
class Answer:
    """What the broker answered."""

    status: int
    headers: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class World:
    """A broker, its engine, and the means to talk to it as a caller."""

    engine: FakeEngine
    settings: Settings
    stream: io.StringIO = field(default_factory=io.StringIO)
    identity: Identity = field(
        default_factory=lambda: Identity(PROJECT, frozenset({"prod_broker-daemon", "/opt/engine/docker.sock"}))
    )

    def __post_init__(self) -> None:
        self.restart(first=True)

    def restart(self, *, first: bool = False) -> None:
        """A new broker process, as far as its memory goes."""
        if not first:
            self.broker.stop()
        self.audit = Audit(Log(self.stream), Metrics())
        self.broker = Broker(Engine(self.engine.path, 30.0), self.identity, self.settings, self.audit)
        # Tests that are about warm containers look themselves; to all others the engine gets what they ask for alone.
        self.look, self.broker.keeper.look = self.broker.keeper.look, lambda: None  # type: ignore[method-assign]
        self.broker.start()

    def connect(self, caller: str = "daemon") -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(30)
        try:
            connection.connect(str(self.settings.sockets_dir / caller / "docker.sock"))
        except OSError:
            connection.close()
            raise
        return connection

    def raw(self, request: bytes, caller: str = "daemon") -> Answer:
        """Send bytes as they are and read the answer to its end."""
        with self.connect(caller) as connection:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(request)
            return self.read(connection)

    @staticmethod
    def read(connection: socket.socket) -> Answer:
        content = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                content += chunk
        head, _, body = content.partition(b"\r\n\r\n")
        return Answer(int(head.split(b" ")[1]), head.decode(), body)

    def ask(self, method: str, target: str, body: Any = None, caller: str = "daemon") -> Answer:
        """A well-formed request."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return self.raw(f"{head}Content-Length: {len(content)}\r\n\r\n".encode("latin-1") + content, caller)

    def create(self, **changes: Any) -> Answer:
        return self.ask("POST", "/v1.41/containers/create", create_body(**changes))

    def lines(self, event: str = "decision") -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.stream.getvalue().splitlines()) if line["event"] == event]


def create_body(run_id: str = RUN_ID, labels: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """What docker-py sends for a run: the meaningful part and its noise."""
    arguments = {"__class__": "ExecuteRunArgs", "instance_ref": None, "pipeline_run_id": run_id}
    return {
        "Hostname": None, "Domainname": None, "ExposedPorts": None, "User": None, "Tty": False, "OpenStdin": False,
        "StdinOnce": False, "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "Env": ["A=b"],
        "Cmd": ["dagster", "api", "execute_run", json.dumps(arguments)], "Image": "prod/ingestion:local",
        "Volumes": None, "NetworkDisabled": False, "Entrypoint": None, "WorkingDir": None,
        "HostConfig": {"NetworkMode": "default"}, "NetworkingConfig": None, "MacAddress": None,
        "Labels": {
            "dagster/run_id": run_id, "dagster/job_name": "__ASSET_JOB", "code-location": "ingestion", **(labels or {})
        },
        "StopSignal": None, "Healthcheck": None, "StopTimeout": None, "Runtime": None, **changes,
    }  # fmt: skip


@pytest.fixture
def body() -> Any:
    """Builds create bodies."""
    return create_body


@pytest.fixture
def server() -> Any:
    """Builds code servers."""
    return code_server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Small numbers, so that limits are reached quickly."""
    for caller in ("daemon", "webserver"):
        (tmp_path / "b" / caller).mkdir(parents=True)
    return Settings(
        engine_socket=tmp_path / "engine.sock",
        sockets_dir=tmp_path / "b",
        broker_workers=3,
        broker_backlog=4,
        broker_drain_timeout=20,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[FakeEngine]:
    """An engine with one location's code server and image."""
    fake = FakeEngine(settings.engine_socket)
    fake.add(code_server())
    fake.add_image("prod/ingestion:local", "ingestion", env=("PATH=/opt/venv/bin:/bin",))
    with serve_engine(fake):
        yield fake


@pytest.fixture
def world(engine: FakeEngine, settings: Settings) -> Iterator[World]:
    """A running broker in front of that engine."""
    made = World(engine, settings)
    yield made
    for gate in engine.gates.values():
        gate.set()
    assert made.broker.stop()
