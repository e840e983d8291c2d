"""What several of these tests use: a code server that comes and goes."""

import os
import socket
import subprocess
import sys

import pytest


class CodeServer:
    """A real code server, of one image after the other on the same port, as a deployment replaces it."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.process = folder, None

    def serve(self, image, source="import dagster as dg\ndefs = dg.Definitions()\n"):
        self.end()
        (self.folder / "definitions.py").write_text(source)
        command = ["-m", "dagster", "api", "grpc", "--lazy-load-user-code", "-h", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, *command, "-f", str(self.folder / "definitions.py")],
            env={**os.environ, "DAGSTER_CURRENT_IMAGE": image, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self):
        if self.process:
            # It would first wait for its callers, half a minute and more: Compose ends it so after a while.
            self.process.kill()
            self.process.wait(timeout=60)


@pytest.fixture
def server(tmp_path):
    made = CodeServer(tmp_path)
    yield made
    made.end()


@pytest.fixture
def workspace(server, tmp_path):
    """The file of a workspace whose one location, sales, that server serves."""
    file = tmp_path / "workspace.yaml"
    file.write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {server.port}, location_name: sales}}\n")
    return file
