from dataclasses import replace
from pathlib import Path

import pytest

from operations import base_image
from operations.errors import StackError
from operations.packages import Distribution, Source
from operations.tests.fakes import Machine

MAIN = Source(
    "http://mirror.example/debian", ("bookworm", "bookworm-updates", "bookworm-backports"), ("main",), "/k.gpg"
)
SECURITY = Source("http://mirror.example/debian-security", ("bookworm-security",), ("main",), "/k.gpg")
OTHER = Source("http://other.example/apt", ("nodistro",), ("main",))
BOOKWORM = Distribution("debian", "bookworm")


def no_registry(machine: Machine) -> None:
    machine.executor.answer("docker", "image", "inspect", code=1)
    machine.executor.answer("docker", "pull", code=1, stderr="Get https://registry/v2/: no such host")


def test_an_image_that_is_there_is_not_pulled_again(machine: Machine) -> None:
    base_image.provide(machine.context())
    assert machine.executor.calls == [["docker", "image", "inspect", "--format", "ok", "debian:trixie-slim"]]


def test_where_a_registry_answers_the_image_is_pulled(machine: Machine) -> None:
    machine.made_env(BASE_IMAGE="registry.example/base/debian:trixie-slim")
    machine.executor.answer("docker", "image", "inspect", code=1)
    base_image.provide(machine.context())
    assert machine.executor.calls[-1] == ["docker", "pull", "registry.example/base/debian:trixie-slim"]


def test_without_a_registry_the_image_is_made_from_this_machines_mirrors(machine: Machine) -> None:
    no_registry(machine)
    trust = machine.host.slash / "etc/ssl/certs/ca-certificates.crt"
    trust.parent.mkdir(parents=True)
    trust.write_text("certificates")
    base_image.provide(machine.context(host=replace(machine.host, host=BOOKWORM, places=(MAIN, SECURITY, OTHER))))
    archive = machine.root / ".stack/prod/base-image.tar"
    (made,) = machine.executor.ran("mmdebstrap", "--variant=minbase")
    assert f"--customize-hook=upload {trust} /etc/ssl/certs/ca-certificates.crt" in made
    assert made[-5:] == [
        "trixie",
        str(archive),
        "deb [signed-by=/k.gpg] http://mirror.example/debian trixie main",
        "deb [signed-by=/k.gpg] http://mirror.example/debian trixie-updates main",
        "deb [signed-by=/k.gpg] http://mirror.example/debian-security trixie-security main",
    ]
    assert machine.executor.calls[-1] == [
        *("docker", "import", "--change", 'CMD ["bash"]', str(archive), "debian:trixie-slim"),
    ]


def test_on_another_distribution_mmdebstrap_chooses_the_mirror() -> None:
    assert base_image.mirror_lines([MAIN], Distribution("ubuntu", "noble"), "trixie") == []
    assert base_image.bootstrap("trixie", Path("/x.tar"), [], None)[-2:] == ["trixie", "/x.tar"]


def test_mmdebstrap_is_installed_where_root_asks(machine: Machine) -> None:
    no_registry(machine)
    machine.executor.answer("mmdebstrap", "--version", code=127)
    base_image.provide(machine.context())
    assert machine.executor.ran("apt-get")[-1][-2:] == ["mmdebstrap", "debian-archive-keyring"]


def test_who_is_not_root_is_told_to_install_mmdebstrap(machine: Machine) -> None:
    no_registry(machine)
    machine.executor.answer("mmdebstrap", "--version", code=127)
    with pytest.raises(StackError, match="mmdebstrap, which could make it, is not installed"):
        base_image.provide(machine.context(host=replace(machine.host, root_user=False)))
    assert machine.executor.ran("docker", "import") == []


def test_an_image_of_somebody_elses_is_not_imitated(machine: Machine) -> None:
    machine.made_env(BASE_IMAGE="registry.example/hardened:12")
    no_registry(machine)
    with pytest.raises(StackError) as error:
        base_image.provide(machine.context())
    assert "no such host" in error.value.found
    assert "BASE_IMAGE" in error.value.do
    assert machine.executor.ran("mmdebstrap") == []


def test_a_failed_build_leaves_no_archive_behind(machine: Machine) -> None:
    no_registry(machine)
    archive = machine.root / ".stack/prod/base-image.tar"
    archive.parent.mkdir(parents=True)
    archive.write_text("half")
    machine.executor.answer("mmdebstrap", "--variant=minbase", code=25, stderr="E: run_download failed")
    with pytest.raises(StackError, match="run_download failed"):
        base_image.provide(machine.context())
    assert not archive.exists()
