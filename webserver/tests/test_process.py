"""The service as it is started: what it needs, where it listens, how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from webserver.__main__ import main, resolve
from webserver.settings import Settings, SettingsError, from_environment

TOKEN = "a-secret-of-the-gateway"
WORKSPACE = """\
load_from:
  - grpc_server: {host: nowhere_at_all, port: 4000, location_name: nowhere_at_all}
"""
ACCESS = "people: {viewer: {users: [vera]}}\n"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the service is given; its one code location is down."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    (tmp_path / "workspace.yaml").write_text(WORKSPACE, encoding="utf-8")
    (tmp_path / "access.yaml").write_text(ACCESS, encoding="utf-8")
    return {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPYCACHEPREFIX") if name in os.environ},
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DAGSTER_HOME": str(home),
        "GATEWAY_TOKEN": TOKEN,
        "WEBSERVER_HOST": "localhost",
        "WEBSERVER_PORT": "0",
        "WORKSPACE_FILE": str(tmp_path / "workspace.yaml"),
        "ACCESS_FILE": str(tmp_path / "access.yaml"),
        "AUDIT_LOG": str(tmp_path / "audit" / "audit.jsonl"),
    }


@contextmanager
def started(environment: dict[str, str], port: int) -> Iterator["subprocess.Popen[str]"]:
    """The service, as soon as it says that it serves."""
    command = [sys.executable, "-m", "webserver"]
    given = {**environment, "WEBSERVER_PORT": str(port)}
    with subprocess.Popen(command, env=given, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "serving on" in line:
                    break
            assert any(f"serving on http://127.0.0.1:{port}" in line for line in lines), "".join(lines)
            yield process
        finally:
            process.kill()
            process.communicate()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_it_serves_while_a_code_location_is_down_and_ends_with_sigterm(environment: dict[str, str]) -> None:
    port = free_port()
    transport = httpx.HTTPTransport(retries=5)
    with started(environment, port) as process, httpx.Client(transport=transport, timeout=60) as client:
        assert client.get(f"http://127.0.0.1:{port}/server_info").status_code == 200
        headers = {"X-Gateway-Token": TOKEN, "X-Forwarded-User": "vera"}
        document = (
            "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
        )
        answer = client.post(f"http://127.0.0.1:{port}/graphql", json={"query": document}, headers=headers).json()
        entries = answer["data"]["workspaceOrError"]["locationEntries"]
        assert entries == [{"locationOrLoadError": {"__typename": "PythonError"}}]
        for address in others():
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, port), timeout=5).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def others() -> set[str]:
    """Other addresses of this machine."""
    return {"127.0.0.2", *socket.gethostbyname_ex(socket.gethostname())[2]} - {"127.0.0.1"}


WRONG = {
    "no token": ({"GATEWAY_TOKEN": ""}, "GATEWAY_TOKEN has 0 characters"),
    "a short token": ({"GATEWAY_TOKEN": "short"}, "GATEWAY_TOKEN has 5 characters"),
    "a port that is none": ({"WEBSERVER_PORT": "x"}, "WEBSERVER_PORT is 'x'"),
    "an unknown host": ({"WEBSERVER_HOST": "nowhere.invalid"}, "does not resolve"),
    "all addresses": ({"WEBSERVER_HOST": "0.0.0.0"}, "expected one address"),
    "another machine": ({"WEBSERVER_HOST": "192.0.2.1"}, "192.0.2.1:0 cannot be served: Cannot assign"),
    "no access file": ({"ACCESS_FILE": "/nowhere"}, "/nowhere: cannot be read"),
    "no workspace": ({"WORKSPACE_FILE": "/nowhere"}, "/nowhere: cannot be read"),
    "an audit log nobody can write": ({"AUDIT_LOG": "/proc/audit.jsonl"}, "/proc/audit.jsonl"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_it_does_not_start_with_a_wrong_setting(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, str],
    message: str,
) -> None:
    for name, value in {**environment, **change}.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main() == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    (record,) = [record for record in caplog.records if record.name == "webserver"]
    assert message in record.getMessage()
    assert record.exc_info is None


def test_settings_are_read_and_the_secret_is_not_shown() -> None:
    settings = from_environment({"GATEWAY_TOKEN": f"{TOKEN}\n", "WEBSERVER_PORT": "8080", "AUDIT_LOG": "/a/b"})
    assert (settings.gateway_token, settings.port, settings.audit_log) == (TOKEN, 8080, Path("/a/b"))
    assert settings.host == "webserver-edge"
    assert TOKEN not in repr(settings)
    with pytest.raises(SettingsError):
        from_environment({})


def test_nothing_but_the_settings_reads_the_environment() -> None:
    source = Path(Settings.__module__.replace(".", "/")).parent
    for file in (Path(__file__).parents[1] / "src" / source).glob("*.py"):
        found = re.search(r"os\.environ|getenv", file.read_text(encoding="utf-8"))
        assert (found is None) == (file.name != "settings.py"), file


def test_a_name_of_two_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("10.0.0.2", "10.0.0.3")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    with pytest.raises(SettingsError, match=r"is 10\.0\.0\.2, 10\.0\.0\.3; expected one address"):
        resolve("webserver-edge")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found[:1] * 3)
    assert resolve("webserver-edge") == "10.0.0.2"
