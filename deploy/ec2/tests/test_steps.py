"""What setup makes of a machine, and what it leaves alone the second time. tests/test_ec2.py runs it for real."""

import json
from pathlib import Path

import pytest

from deploy.ec2.machine import host as machine_host
from deploy.ec2.machine import steps
from deploy.ec2.machine.host import Wish
from deploy.ec2.tests.fakes import FakeHost
from operations.errors import StackError

KEY = "ssh-ed25519 AAAAC3 forge\n"


@pytest.fixture
def machine(host: FakeHost) -> FakeHost:
    host.path("/etc").mkdir()
    host.path("/etc/os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
    host.path(steps.CHECKOUT).mkdir(parents=True)
    host.path(f"{steps.CHECKOUT}/.git").mkdir()
    host.path(f"{steps.CHECKOUT}/.env.example").write_text("# A name.\nSITE_ADDRESS=\n# A port.\nGATEWAY_PORT=3000\n")
    host.answers["dpkg-query"] = (0, "installed")
    host.answers["cloud-init query region"] = (0, "eu-central-1\n")
    return host


def given(host: FakeHost, **values: str) -> None:
    for name, text in values.items():
        path = host.path(steps.PARAMETERS) / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_everything_twice_is_everything_once(machine: FakeHost) -> None:
    given(
        machine,
        settings__SITE_ADDRESS="data.example.com\n",
        secrets__smtp_password="hidden\n",
        repository__deploy_key="-----BEGIN-----\n",
        repository__known_hosts="forge.example ssh-ed25519 AAAA\n",
        forge__pull_requests_key=KEY,
    )
    steps.everything(machine, Wish("https://forge.example/x.git", "main"))
    first, lines = machine.tree(), len(machine.lines)
    steps.everything(machine, Wish("https://forge.example/x.git", "main"))
    assert machine.tree() == first
    assert [line for line in machine.lines[lines:] if line.startswith(("wrote", "made", "installed", "cloned"))] == []
    assert machine.ran("apt-get") == machine.ran("clone") == []


def test_docker_keeps_its_data_on_the_volume_and_containers_outlive_its_updates(machine: FakeHost) -> None:
    machine.path("/etc/docker").mkdir()
    machine.path("/etc/docker/daemon.json").write_text('{"log-level": "warn"}')
    steps.engine_settings(machine)
    assert json.loads(machine.path("/etc/docker/daemon.json").read_text()) == {
        **{"data-root": "/srv/stack/docker", "live-restore": True},
        "default-address-pools": [{"base": "198.18.0.0/15", "size": 24}],
        "log-level": "warn",
    }
    drop_in = machine.path("/etc/systemd/system/docker.service.d/stack.conf").read_text()
    assert "RequiresMountsFor=/srv/stack\n" in drop_in


@pytest.mark.parametrize(
    ("text", "said"), [('{"data-root": "/mnt"}', "keeps Docker's data in /mnt"), ("{", "is no JSON")]
)
def test_docker_settings_of_somebody_else_are_not_overwritten(machine: FakeHost, text: str, said: str) -> None:
    machine.path("/etc/docker").mkdir()
    machine.path("/etc/docker/daemon.json").write_text(text)
    with pytest.raises(StackError, match=said):
        steps.engine_settings(machine)
    assert machine.path("/etc/docker/daemon.json").read_text() == text


@pytest.mark.parametrize(("release", "compose"), [("debian", "docker-compose"), ("ubuntu", "docker-compose-v2")])
def test_packages_are_the_distributions(machine: FakeHost, release: str, compose: str) -> None:
    machine.path("/etc/os-release").write_text(f"ID={release}\nVERSION_CODENAME=x\n")
    machine.answers["dpkg-query"] = (1, "")
    steps.install_packages(machine)
    (call,) = machine.ran("install")
    assert {"docker.io", compose, "docker-buildx", "nftables", "unattended-upgrades", "python3-venv"} <= set(call)
    assert "Unattended-Upgrade" in machine.path("/etc/apt/apt.conf.d/20auto-upgrades").read_text()


def test_another_distribution_is_refused(machine: FakeHost) -> None:
    machine.path("/etc/os-release").write_text("ID=fedora\n")
    with pytest.raises(StackError, match="neither Debian nor Ubuntu"):
        steps.install_packages(machine)


def test_the_agent_of_session_manager_comes_where_it_is_missing(machine: FakeHost) -> None:
    machine.answers["dpkg-query"] = (1, "")
    machine.answers["snap list"] = (1, "")
    machine.answers["--print-architecture"] = (0, "arm64\n")
    steps.session_manager(machine)
    (call,) = machine.ran("curl")
    assert call[-1] == (
        "https://s3.eu-central-1.amazonaws.com/amazon-ssm-eu-central-1/latest/debian_arm64/amazon-ssm-agent.deb"
    )
    assert machine.ran("dpkg", "--install")
    machine.calls.clear()
    machine.answers["snap list"] = (0, "")  # Ubuntu's images
    steps.session_manager(machine)
    machine.answers["cloud-init query region"] = (1, "")  # elsewhere
    steps.session_manager(machine)
    assert machine.ran("curl") == []


def test_settings_and_secrets_are_made_once_and_then_the_machines_own(machine: FakeHost) -> None:
    given(machine, settings__SITE_ADDRESS="data.example.com\n", secrets__smtp_password="hidden\n")
    steps.settings(machine, steps.parameters(machine))
    env, secret = (machine.path(f"{steps.CHECKOUT}/{name}") for name in (".env", "secrets/smtp_password"))
    assert "SITE_ADDRESS=data.example.com\n" in env.read_text()
    assert secret.read_text() == "hidden"
    assert env.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    assert machine.ran("chown", "stack:stack", str(secret))
    given(machine, settings__SITE_ADDRESS="other\n", secrets__smtp_password="other\n")
    steps.settings(machine, steps.parameters(machine))
    assert "SITE_ADDRESS=data.example.com\n" in env.read_text()
    assert secret.read_text() == "hidden"


def test_a_setting_that_does_not_exist_is_named_before_anything_is_made(machine: FakeHost) -> None:
    given(machine, settings__SITE_ADRESS="x")
    with pytest.raises(StackError, match="settings SITE_ADRESS"):
        steps.settings(machine, steps.parameters(machine))
    assert not machine.path(f"{steps.CHECKOUT}/.env").exists()


def test_each_key_of_a_forge_is_tied_to_its_requests(machine: FakeHost) -> None:
    given(machine, forge__pull_requests_key=KEY, forge__main_key="ssh-ed25519 BBBB main")
    machine.path(f"{steps.HOME}/.ssh").mkdir(parents=True)
    steps.forge_keys(machine, steps.parameters(machine))
    file = machine.path(f"{steps.HOME}/.ssh/authorized_keys")
    gatekeeper = "/srv/stack/deployment/deploy/forge/gatekeeper"
    assert file.read_text().splitlines() == [
        f'restrict,command="{gatekeeper} branch" ssh-ed25519 AAAAC3 forge',
        f'restrict,command="{gatekeeper} branch reconcile" ssh-ed25519 BBBB main',
    ]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["AAAA", "ssh-ed25519 A\nssh-ed25519 B", 'command="sh" ssh-ed25519 A', "", "-----BEGIN"]
)
def test_what_is_no_single_public_key_gets_no_way_in(machine: FakeHost, text: str) -> None:
    given(machine, forge__main_key=text)
    with pytest.raises(StackError, match="is no public key"):
        steps.forge_keys(machine, steps.parameters(machine))
    assert not machine.path(f"{steps.HOME}/.ssh/authorized_keys").exists()


def test_a_start_that_fails_shows_what_stack_said(machine: FakeHost) -> None:
    machine.answers["start stack.service"] = (1, "")
    machine.answers["journalctl"] = (0, "stack: the build failed\n")
    with pytest.raises(StackError, match="the build failed"):
        steps.start(machine)
    assert machine.ran("--now") == []


def test_a_clone_that_fails_leaves_no_half_checkout(machine: FakeHost) -> None:
    machine.path(f"{steps.CHECKOUT}/.git").rmdir()
    machine.path(f"{steps.CHECKOUT}/.env.example").unlink()
    machine.path(steps.CHECKOUT).rmdir()
    machine.answers["git clone"] = (128, "no such repository")
    with pytest.raises(StackError, match="no such repository"):
        steps.checkout(machine, Wish("https://forge.example/x.git", "main"))
    assert not machine.path(steps.CHECKOUT).exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("REPOSITORY=x\n", "has no REF"),
        ("REPOSITORY=x\nREF=main\nBRANCH=y\n", "machine.conf:3: 'BRANCH=y'"),
        ("REPOSITORY\n", "machine.conf:1"),
        ("REPOSITORY=x\nREF=--upload-pack=id\n", "begins with -"),
    ],
)
def test_a_mistake_in_machine_conf_is_told_with_its_line(machine: FakeHost, text: str, said: str) -> None:
    machine.path("/etc/stack").mkdir()
    machine.path("/etc/stack/machine.conf").write_text(text)
    with pytest.raises(StackError, match=said):
        machine_host.wish(machine)


def test_no_machine_conf_is_told(machine: FakeHost) -> None:
    with pytest.raises(StackError, match=r"there is no /etc/stack/machine\.conf"):
        machine_host.wish(machine)


def test_programs_really_run_and_their_errors_are_told(tmp_path: Path) -> None:
    real = machine_host.Host(tmp_path)
    assert real.run(["echo", "a"]) == "a\n"
    assert real.code(["false"]) == 1
    with pytest.raises(StackError, match="sh -c echo sad >&2; exit 3 exited 3: sad"):
        real.run(["sh", "-c", "echo sad >&2; exit 3"])
    assert real.wait(lambda: 1, 0) == 1
    assert real.write("/a/b", "x", 0o600) is True
    assert real.write("/a/b", "x", 0o600) is False
    assert real.write("/a/b", "x", 0o644) is True
