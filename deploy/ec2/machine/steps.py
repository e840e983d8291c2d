"""The steps of deploy/ec2/setup, each of which looks first and changes only what differs."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.ec2.machine import volume
from deploy.ec2.machine.host import Host, Wish, wish
from operations import environment_file, packages, secret_files
from operations.errors import StackError

USER = "stack"
# Fixed: the files on the data volume belong to a number, and the next instance has to give it the same name.
UID = 2048
HOME = f"{volume.MOUNT}/home"
CHECKOUT = f"{volume.MOUNT}/deployment"
# Where the bootstrap of cloud-init.yaml puts what the parameter store said; in memory.
PARAMETERS = "/run/stack/parameters"
TOOLS = ("git", "nftables", "openssh-client", "python3-venv", "unattended-upgrades")
ENGINE = {
    "data-root": f"{volume.MOUNT}/docker",
    # An update of Docker's package restarts the engine and, with it, no container.
    "live-restore": True,
    # Docker's own default is 31 networks, and a deployment with its branches has one for each location of each. This
    # range is reserved, and so in no VPC.
    "default-address-pools": [{"base": "198.18.0.0/15", "size": 24}],
}
AGENT = "https://s3.{region}.amazonaws.com/amazon-ssm-{region}/latest/debian_{architecture}/amazon-ssm-agent.deb"


def main() -> int:
    """Everything, in order; 0 when the deployment is up."""
    host = Host()
    try:
        if os.geteuid():
            raise StackError("this is not root", "root", "sudo deploy/ec2/setup")
        everything(host, wish(host))
    except StackError as error:
        print(f"setup: found: {error.found}\n  expected: {error.expected}\n  do: {error.do}", file=sys.stderr)
        return 1
    return 0


def everything(host: Host, wanted: Wish) -> None:
    """From a fresh instance to a deployment that answers."""
    volume.provide(host, wanted.data_volume)
    engine_settings(host)
    install_packages(host)
    session_manager(host)
    account(host, parameters(host))
    checkout(host, wanted)
    settings(host, parameters(host))
    forge_keys(host, parameters(host))
    start(host)


def parameters(host: Host) -> dict[str, str]:
    """By name, such as settings/SITE_ADDRESS."""
    folder = host.path(PARAMETERS)
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def engine_settings(host: Host) -> None:
    """Before Docker is installed, which starts it. What is set there already stays."""
    name = "/etc/docker/daemon.json"
    path = host.path(name)
    try:
        present = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise StackError(f"{name} is no JSON: {error}", "Docker's settings", "correct it") from error
    if present.get("data-root", ENGINE["data-root"]) != ENGINE["data-root"]:
        raise StackError(
            f"{name} keeps Docker's data in {present['data-root']}",
            f"{ENGINE['data-root']}, on the data volume",
            "move the data there (docs/ec2.md), or set up a fresh instance",
        )
    host.write(name, json.dumps({**ENGINE, **present}, indent=2) + "\n")
    # Without the data volume Docker would begin anew, on the root disk.
    if host.write("/etc/systemd/system/docker.service.d/stack.conf", f"[Unit]\nRequiresMountsFor={volume.MOUNT}\n"):
        host.run(["systemctl", "daemon-reload"])


def install_packages(host: Host) -> None:
    """The distribution's own: its security updates then come by themselves."""
    distribution = packages.distribution(host.path("/etc/os-release").read_text(encoding="utf-8"))
    if distribution.id not in ("debian", "ubuntu"):
        raise StackError("this is neither Debian nor Ubuntu", "Debian 13 or Ubuntu 24.04", "start such an image")
    docker = packages.PACKAGES[distribution.id]
    wanted = [*TOOLS, *(name for piece in ("engine", "compose", "buildx") for name in docker[piece])]
    missing = [name for name in wanted if not _installed(host, name)]
    if missing:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        host.run(["apt-get", "--quiet", "update"], env=quiet)
        host.run([*packages.apt_install(*missing)], env=quiet)
        host.said(f"installed {', '.join(missing)}")
    days = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'
    host.write("/etc/apt/apt.conf.d/20auto-upgrades", days)


def session_manager(host: Host) -> None:
    """Its agent, which Ubuntu's images bring and Debian's do not: the way in, for no port is open."""
    region = host.run(["cloud-init", "query", "region"], check=False).strip()
    if not region:
        host.said("no region: this is not EC2, and has no Session Manager")
        return
    if _installed(host, "amazon-ssm-agent") or host.code(["snap", "list", "amazon-ssm-agent"]) == 0:
        return
    file = host.path("/var/cache/stack/amazon-ssm-agent.deb")
    file.parent.mkdir(parents=True, exist_ok=True)
    architecture = host.run(["dpkg", "--print-architecture"]).strip()
    address = AGENT.format(region=region, architecture=architecture)
    host.run(["curl", "--silent", "--show-error", "--fail", "--proto", "=https", "--output", str(file), address])
    host.run(["dpkg", "--install", str(file)])
    host.said("installed the agent of Session Manager")


def _installed(host: Host, package: str) -> bool:
    found = host.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package], check=False)
    return found == "installed"


def account(host: Host, given: Mapping[str, str]) -> None:
    """The user that runs ./stack. The group docker makes it as mighty as root: nobody signs in as it but keys that
    can do one thing."""
    if host.code(["getent", "passwd", USER]):
        host.run(["useradd", "--uid", str(UID), "--user-group", "--home-dir", HOME, "--shell", "/bin/sh", USER])
    host.run(["usermod", "--append", "--groups", "docker", USER])
    _directory(host, HOME)
    _directory(host, f"{HOME}/.ssh")
    for name, file in (("repository/deploy_key", "id_deployment"), ("repository/known_hosts", "known_hosts")):
        if name in given:
            _own_file(host, f"{HOME}/.ssh/{file}", given[name])
    if "repository/deploy_key" in given:
        _own_file(host, f"{HOME}/.ssh/config", f"Host *\n    IdentityFile {HOME}/.ssh/id_deployment\n")


def checkout(host: Host, wanted: Wish) -> None:
    """Once; from then on it is what reconcile, or somebody, makes it."""
    path = host.path(CHECKOUT)
    if (path / ".git").is_dir():
        return
    aside = f"{CHECKOUT}.new"
    shutil.rmtree(host.path(aside), ignore_errors=True)
    _directory(host, volume.MOUNT)
    as_user = ["runuser", "--user", USER, "--", "env", f"HOME={HOME}", "GIT_TERMINAL_PROMPT=0"]
    host.run([*as_user, "git", "clone", "--quiet", "--no-checkout", "--", wanted.repository, aside])
    # A branch of the remote becomes one here that follows it; a tag or a commit is checked out by itself.
    host.run([*as_user, "git", "-C", aside, "checkout", "--quiet", wanted.ref, "--"])
    host.path(aside).rename(path)
    host.said(f"cloned {wanted.ref} to {CHECKOUT}")


def settings(host: Host, given: Mapping[str, str]) -> None:
    """.env and secrets, where there are none: later changes are made there."""
    path = host.path(CHECKOUT)
    values = {name.partition("/")[2]: text.strip() for name, text in given.items() if name.startswith("settings/")}
    known = environment_file.parse((path / ".env.example").read_text(encoding="utf-8"), ".env.example")
    unknown = [name for name in values if name not in known]
    if unknown:
        raise StackError(
            f"the parameter store has the settings {', '.join(unknown)}", "keys of .env.example", "correct their names"
        )
    if environment_file.create(path / ".env", path / ".env.example", values):
        _belongs_to_user(host, path / ".env")
        host.said(f"made .env with {', '.join(values) or 'the documented values'}")
    folder = path / "secrets"
    secret_files.make_directory(folder)
    made = [folder]
    for name, text in given.items():
        kind, _, secret = name.partition("/")
        if kind == "secrets" and "/" not in secret and secret_files.create(folder / secret, text.rstrip("\n")):
            made.append(folder / secret)
            host.said(f"made secrets/{secret}")
    for each in made:
        _belongs_to_user(host, each)


def forge_keys(host: Host, given: Mapping[str, str]) -> None:
    """Keys of a forge, each tied to what deploy/forge/gatekeeper lets it ask for."""
    rights = {"forge/pull_requests_key": "branch", "forge/main_key": "branch reconcile"}
    lines = [
        f'restrict,command="{CHECKOUT}/deploy/forge/gatekeeper {right}" {_public_key(name, given[name])}\n'
        for name, right in rights.items()
        if name in given
    ]
    if lines:
        _own_file(host, f"{HOME}/.ssh/authorized_keys", "".join(lines))


def _public_key(name: str, text: str) -> str:
    line = text.strip()
    # Two lines would be two keys, and the second without the command.
    if "\n" in line or not line.startswith(("ssh-ed25519 ", "ecdsa-", "ssh-rsa ", "sk-")):
        raise StackError(f"the parameter {name} is no public key", "one line: ssh-ed25519 AAAA...", "correct it")
    return line


def start(host: Host) -> None:
    """The units, then the deployment by the very unit that starts it at boot."""
    installer = f"{CHECKOUT}/deploy/systemd/install"
    host.run([installer, "--user", USER])
    host.run(["systemctl", "start", "stack-metadata.service", "docker.service"])
    host.said("starting: systemctl start stack.service (./stack up; the first time it builds all images)")
    try:
        host.run(["systemctl", "start", "stack.service"])
    except StackError as error:
        log = host.run(["journalctl", "--unit", "stack.service", "--lines", "40", "--output", "cat"], check=False)
        raise StackError(f"./stack up failed:\n{log}", "a deployment that answers", "correct it and repeat") from error
    host.run([installer, "--user", USER, "--now"])
    host.said("the deployment is up")


def _directory(host: Host, name: str) -> None:
    path = host.path(name)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The gateway to all that is on the volume stays open for Docker's own processes.
    path.chmod(0o755 if name == volume.MOUNT else 0o700)
    _belongs_to_user(host, path)


def _own_file(host: Host, name: str, text: str) -> None:
    host.write(name, text.rstrip("\n") + "\n", 0o600)
    _belongs_to_user(host, host.path(name))


def _belongs_to_user(host: Host, path: Path) -> None:
    host.run(["chown", f"{USER}:{USER}", str(path)])
