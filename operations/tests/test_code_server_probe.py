"""The health check of code servers, as docker-compose.yml says it: what hangs is ended, what still loads is not."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
TIMES = 10
# In the place of tini: has one child, the server, and ends as it does.
INIT = "import subprocess, sys; sys.exit(abs(subprocess.run([sys.executable, *sys.argv[1:]]).returncode))"


class Container:
    """What stands in for one: a first process, its server's address, and the place for files of its own."""

    def __init__(self, folder: Path) -> None:
        self.silent, self.log, self.port = folder / "silent", folder / "log", folder / "port"
        with self.log.open("w") as log:
            self.init = subprocess.Popen([sys.executable, "-c", INIT, __file__, str(self.port)], stderr=log)

    def servers(self) -> list[int]:
        """The process that serves, once it is there and until it has ended."""
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()
            ]
        except FileNotFoundError:
            return []

    def signal(self, number: signal.Signals) -> None:
        """Send it to the process that serves."""
        (server,) = self.servers()
        os.kill(server, number)

    def probe(self) -> subprocess.CompletedProcess[str]:
        """The check as Compose has it, with this container's places and less patience for one answer."""
        service = yaml.safe_load(COMPOSE.read_text())["services"]["ingestion"]
        (*command, text) = service["healthcheck"]["test"]
        assert command == ["CMD", "python", "-ISc"]
        # Port 0 is nobody's, as any port is before the server has begun.
        port = self.port.read_text() if self.port.exists() else "0"
        for what, ours in (
            ("init, address, silent = 1,", f"init, address, silent = {self.init.pid},"),
            ('"127.0.0.1", 4000', f'"127.0.0.1", {port}'),
            ("/tmp/code-server-silent", str(self.silent)),
            ("timeout=8", "timeout=0.5"),
        ):
            assert text.count(what) == 1, what
            text = text.replace(what, ours)
        return subprocess.run([sys.executable, "-ISc", text], capture_output=True, text=True, timeout=60, check=False)

    def probe_until_it_answers(self) -> None:
        """As Compose does while it starts."""
        until = time.monotonic() + 60
        while self.probe().returncode:
            assert time.monotonic() < until
            assert self.init.poll() is None


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    for process in (*made.servers(), made.init.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    made.init.wait(timeout=60)


def hang(container: Container) -> None:
    container.probe_until_it_answers()
    container.signal(signal.SIGSTOP)


def test_a_server_that_hangs_is_ended_after_ten_failures_in_a_row_and_not_before(container: Container) -> None:
    hang(container)
    for times in range(1, TIMES):
        failed = container.probe()
        assert failed.returncode == 1
        assert f"timed out, {times} times in a row" in failed.stderr
    assert container.init.poll() is None
    assert container.probe().returncode == 1
    assert container.init.wait(timeout=60) == signal.SIGKILL
    assert "the code server is ended, to be started anew" in container.log.read_text()
    # The next one has not answered yet, whatever became of the folder.
    assert not container.silent.exists()


def test_one_answer_in_between_begins_anew(container: Container) -> None:
    hang(container)
    for _ in range(TIMES - 1):
        container.probe()
    container.signal(signal.SIGCONT)
    container.probe_until_it_answers()
    assert container.silent.read_text() == "0"
    container.signal(signal.SIGSTOP)
    assert "timed out, 1 times in a row" in container.probe().stderr
    assert container.init.poll() is None


def test_a_server_that_has_not_answered_yet_is_left_to_load(container: Container) -> None:
    hang(container)
    container.silent.unlink()
    for _ in range(TIMES + 2):
        assert "it has not answered yet" in container.probe().stderr
    assert container.init.poll() is None


def test_a_server_that_says_that_it_does_not_serve_is_not_well_and_is_no_hung_one(container: Container) -> None:
    container.probe_until_it_answers()
    container.signal(signal.SIGUSR1)
    until = time.monotonic() + 60
    while not (failed := container.probe()).returncode:
        assert time.monotonic() < until
    assert "it answered, and not that it serves" in failed.stderr
    assert container.silent.read_text() == "0"


def serve(port: Path) -> None:
    """A server that says that it serves, as Dagster's does, until SIGUSR1; where it listens is in the file."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("DagsterApi", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    signal.signal(signal.SIGUSR1, lambda *_: servicer.set("DagsterApi", not_serving))
    found = server.add_insecure_port("127.0.0.1:0")
    server.start()
    port.with_suffix(".new").write_text(str(found))
    port.with_suffix(".new").replace(port)
    server.wait_for_termination()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
