import socket
from pathlib import Path

import pytest

from operations.host import Host


def test_a_busy_port_is_found_and_a_free_one_is_free() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert Host().port_problem("127.0.0.1", port) == f"port {port} of 127.0.0.1 is taken"
        assert Host().port_problem("0.0.0.0", port) == f"port {port} of 0.0.0.0 is taken"
    assert Host().port_problem("127.0.0.1", port) is None


def test_an_address_of_another_machine_is_told() -> None:
    assert Host().port_problem("192.0.2.1", 3000) == "192.0.2.1 is no address of this machine"
    assert Host().port_problem("no.such.host.invalid", 3000) == "no.such.host.invalid is no address"


def test_a_port_that_only_root_may_bind_is_asked_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(socket.socket, "bind", forbidden)
        assert Host().port_problem("127.0.0.1", port) == f"port {port} of 127.0.0.1 is taken"
    assert Host().port_problem("127.0.0.1", port) is None


def test_free_memory_is_what_can_be_had_without_swapping(tmp_path: Path) -> None:
    assert Host(tmp_path).free_memory() is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert Host(tmp_path).free_memory() == 2048 * 1024


def test_an_engine_is_known_by_its_program_or_by_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert not Host(tmp_path).has_engine()
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/dockerd").touch()
    assert Host(tmp_path).has_engine()
    monkeypatch.setenv("DOCKER_HOST", "ssh://elsewhere")
    assert Host(tmp_path / "empty").has_engine()


def test_apt_sources_of_both_places_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text("deb http://a.example/debian trixie main\n")
    (folder / "b.sources").write_text("Types: deb\nURIs: http://b.example/\nSuites: trixie\nComponents: main\n")
    assert {source.uri for source in Host(tmp_path).apt_sources()} == {"http://a.example/debian", "http://b.example/"}
