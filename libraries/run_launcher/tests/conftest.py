"""A broker on a unix socket that answers as a test says, and a Dagster instance with runs of a location."""

import gc
import json
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

NEVER = "0001-01-01T00:00:00Z"
Answer = tuple[int, Any]


class FakeBroker:
    """Records requests; `answers` holds what each (method, path without version and query) gets, one after another."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.requests: list[tuple[str, str, Any]] = []
        self.answers: dict[str, list[Answer]] = {}
        self._server: socketserver.UnixStreamServer | None = None

    def start(self) -> None:
        broker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                path = self.path.split("?")[0].removeprefix("/v1.41")
                broker.requests.append((self.command, self.path, json.loads(body) if body else None))
                answers = broker.answers.get(f"{self.command} {path}", [(404, {"message": "no such thing"})])
                status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if status == 0:
                    # A broker that dies after it has acted: the caller never learns what became of it.
                    self.close_connection = True
                    return
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer  # noqa: N815 - named by the standard library

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return "socket"

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def handle_error(self, request: Any, address: Any) -> None:
                # A caller that gave up is what some tests are about.
                if not isinstance(sys.exception(), BrokenPipeError):
                    super().handle_error(request, address)

        self._server = Server(str(self.socket), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self.socket.unlink()

    def paths(self) -> list[str]:
        return [f"{method} {path.split('?')[0].removeprefix('/v1.41')}" for method, path, _ in self.requests]


@pytest.fixture
def fake_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    socket = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    broker = FakeBroker(socket)
    broker.start()
    yield broker
    broker.stop()
    # Sockets that docker-py left behind are warned of here, in the test that expects it, not in a later one.
    gc.collect()


def inspect_answer(run_id: str = "", **state: Any) -> dict[str, Any]:
    """What the engine says of a container."""
    full = {"Running": False, "StartedAt": NEVER, "ExitCode": 0, "OOMKilled": False, "Error": "", **state}
    labels = {"dagster/run_id": run_id, "code-location": "ingestion"}
    return {
        "Id": "c" * 64,
        "State": full,
        "Config": {"Labels": labels, "Tty": False},
        "HostConfig": {"Memory": 1 << 30},
    }


def output_frame(text: str) -> bytes:
    """The engine's form of a container's standard output."""
    data = text.encode()
    return struct.pack(">BxxxL", 1, len(data)) + data


def messages(instance: DagsterInstance, run: DagsterRun) -> str:
    """Everything in a run's event log."""
    return "\n".join(entry.message for entry in instance.all_logs(run.run_id))


class Engine:
    """Answers of an engine, and how runs look in Dagster: what every test here needs."""

    RUNNING: ClassVar = {"Running": True, "StartedAt": "2026-01-01T00:00:00Z"}
    ENDED: ClassVar = {"Running": False, "StartedAt": "2026-01-01T00:00:00Z"}
    container = staticmethod(inspect_answer)
    output = staticmethod(output_frame)
    messages = staticmethod(messages)


@pytest.fixture
def engine() -> type[Engine]:
    return Engine


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp() as instance:
        yield instance


def origins(
    location: str = "ingestion", image: str | None = "prod/ingestion:1", **repository: Any
) -> tuple[RemoteJobOrigin, JobPythonOrigin]:
    """What webserver or daemon write of a run (the first) and what the code server says of itself (the second)."""
    server = GrpcServerCodeLocationOrigin(host=location, port=4000, location_name=location)
    remote = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "load")
    said = {"entry_point": ["dagster"], "container_context": None, **repository}
    code = RepositoryPythonOrigin("/usr/bin/python", ModuleCodePointer("ingestion.definitions", "defs"), image, **said)
    return remote, JobPythonOrigin("load", code)


@pytest.fixture
def make_run(instance: DagsterInstance) -> Callable[..., DagsterRun]:
    def make(
        location: str = "ingestion",
        image: str | None = "prod/ingestion:1",
        status: DagsterRunStatus = DagsterRunStatus.STARTING,
        tags: dict[str, str] | None = None,
        parent_run_id: str | None = None,
        **repository: Any,
    ) -> DagsterRun:
        remote, code = origins(location, image, **repository)
        return create_run_for_test(
            instance,
            "load",
            status=status,
            tags=tags or {},
            remote_job_origin=remote,
            job_code_origin=code,
            parent_run_id=parent_run_id,
            root_run_id=parent_run_id,
        )

    return make
