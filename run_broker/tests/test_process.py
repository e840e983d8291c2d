"""The broker as a process: start, health, stop, settings."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from run_broker import health as health_check
from run_broker.__main__ import main
from run_broker.engine import Engine
from run_broker.identity import IdentityError, find_identity
from run_broker.settings import Settings, SettingsError
from run_broker.units import parse_cpus, parse_duration, parse_memory, parse_timestamp, show_cpus, show_memory


@pytest.fixture
def environment(engine, settings):
    """The environment of a broker as a process of its own."""
    return {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPYCACHEPREFIX") if name in os.environ},
        "PYTHONPATH": str(Path(sys.modules["run_broker"].__path__[0]).parent),
        "PYTHONUNBUFFERED": "1",
        "PROJECT": "prod",
        "ENGINE_SOCKET": str(engine.path),
        "SOCKETS_DIR": str(settings.sockets_dir),
    }


@pytest.fixture
def process(environment):
    """That process, once it serves."""
    with subprocess.Popen([sys.executable, "-m", "run_broker"], env=environment, stdout=subprocess.PIPE) as started:
        events = []
        while not events or events[-1]["event"] != "started":
            events.append(json.loads(started.stdout.readline()))
        assert [event["event"] for event in events] == ["policy", "started"]
        yield started
        started.kill()


def health(environment):
    return subprocess.run([sys.executable, "-Sm", "run_broker.health"], env=environment, capture_output=True, text=True)


def test_a_stop_lets_the_requests_under_way_finish(process, engine, settings, body):
    def ask(method, path, content=b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(settings.sockets_dir / "daemon" / "docker.sock"))
            head = (
                f"{method} {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            connection.sendall(head.encode() + content)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    created = ask("POST", "/containers/create", json.dumps(body()).encode())
    identifier = json.loads(created.partition(b"\r\n\r\n")[2])["Id"]
    ask("POST", f"/containers/{identifier}/start")
    gate = engine.gates["/stop"] = threading.Event()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask("POST", f"/containers/{identifier}/stop")))
    thread.start()
    assert engine.waiting.acquire(timeout=20)
    process.send_signal(signal.SIGTERM)
    path = str(settings.sockets_dir / "daemon" / "docker.sock")
    refused = False
    while not refused:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            refused = connection.connect_ex(path) != 0
    assert process.poll() is None
    gate.set()
    thread.join(20)
    assert answers[0].startswith(b"HTTP/1.1 204 ")
    assert process.wait(20) == 0
    assert json.loads(process.stdout.read().splitlines()[-1])["finished"] is True


def test_the_health_check_fails_without_broker_and_without_engine(process, environment, engine):
    assert health(environment).returncode == 0
    engine.failures["GET", "/_ping"] = (500, "broken")
    assert "the engine answered HTTP/1.0 500" in health(environment).stderr
    assert health({**environment, "ENGINE_SOCKET": "/nonexistent"}).returncode == 1
    engine.failures.clear()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    found = health(environment)
    assert (found.returncode, "ConnectionRefusedError" in found.stderr) == (1, True)


def test_health_needs_every_socket(world):
    check = partial(health_check.check, world.settings.engine_socket, world.settings.sockets_dir)
    assert check() == ""
    (world.settings.sockets_dir / "webserver" / "docker.sock").unlink()
    assert "webserver" in check()


def test_a_socket_that_an_earlier_broker_left_is_replaced_and_open_to_all_users(world):
    path = world.settings.sockets_dir / "daemon" / "docker.sock"
    assert path.exists()
    world.restart()
    assert world.ask("GET", "/version").status == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_the_broker_finds_its_project_and_its_own_mounts_by_its_own_container(engine, server):
    own = server("run_broker", "branch-1")
    own["Mounts"] = [
        {"Type": "bind", "Source": "/opt/docker/docker.sock"},
        {"Type": "volume", "Name": "branch-1_broker-daemon", "Source": "/var/lib/docker/volumes/x/_data"},
    ]
    engine.add(own)
    identity = find_identity(Engine(engine.path, 5.0), "", own["Id"][:12])
    assert identity.project == "branch-1"
    assert {"/opt/docker/docker.sock", "branch-1_broker-daemon"} <= identity.own_mounts


def test_a_broker_that_does_not_know_its_project_does_not_start(engine, server):
    with pytest.raises(IdentityError, match="set PROJECT"):
        find_identity(Engine(engine.path, 5.0), "", "f" * 12)
    nameless = server()
    del nameless["Config"]["Labels"]["com.docker.compose.project"]
    engine.add(nameless)
    with pytest.raises(IdentityError, match="Compose project"):
        find_identity(Engine(engine.path, 5.0), "", nameless["Id"])


@pytest.mark.parametrize("project", ["Prod", "a b", "-x", "a/b", "x" * 64])
def test_a_project_that_compose_would_not_have_is_refused(engine, project):
    with pytest.raises(IdentityError):
        find_identity(Engine(engine.path, 5.0), project, "")


def test_settings_come_from_the_environment_and_empty_means_default():
    settings = Settings.from_environment({"RUN_KEEP_FAILED": "2d", "RUN_DEFAULT_MEMORY": "512m", "RUN_MAX_LIVE": ""})
    assert (settings.run_keep_failed, settings.run_default_memory, settings.run_max_live) == (
        172800.0,
        512 * 1024**2,
        100,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUN_KEEP_SUCCEEDED", "soon"),
        ("RUN_KEEP_SUCCEEDED", "0"),
        ("RUN_DEFAULT_MEMORY", "-1"),
        ("RUN_DEFAULT_CPUS", "all"),
        ("RUN_STOP_TIMEOUT", "5"),
        ("RUN_MAX_LIVE", "0"),
        ("BROKER_WORKERS", "many"),
    ],
)
def test_an_unusable_setting_is_named_and_stops_the_start(monkeypatch, capsys, name, value):
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        Settings.from_environment({name: value})
    monkeypatch.setenv(name, value)
    assert main([]) == 2
    assert name in capsys.readouterr().err


def test_an_unknown_command_is_refused(capsys):
    assert main(["help"]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64m", 64 << 20),
        ("1g", 1 << 30),
        ("1.5G", 3 << 29),
        ("512MiB", 512 << 20),
        ("33554432", 32 << 20),
        ("1t", 1 << 40),
    ],
)
def test_a_size_is_read_as_docker_reads_it(text, size):
    assert parse_memory(text) == size


def test_sizes_and_processors_are_shown_as_people_write_them():
    assert [show_memory(size) for size in (1 << 30, 3 << 29, 1000)] == ["1g", "1536m", "1000b"]
    assert [show_cpus(parse_cpus(text)) for text in ("1", "0.50", "2.25")] == ["1", "0.5", "2.25"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("10m", 600), ("24h", 86400), ("1d", 86400), ("250ms", 0.25)]
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T00:00:01.123456789Z", 1.123456),
        ("1970-01-01T01:00:01+01:00", 1.0),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_an_engines_timestamp_is_read(text, seconds):
    assert parse_timestamp(text) == seconds
