"""Promise: a machine becomes the deployment by its user data alone, twice is once, and a forge's key opens one door.

The machine is a container. Real are cloud-init's own judgement of the user data, everything in it and behind it (clone,
formatting, users, checkout, units, keys, rules), sshd and the kernel's filter. Not real are AWS, systemd, apt and
Docker inside of it: programs in their place take notes, and systemctl starts what the unit says.
"""

import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from operations import base_image
from operations.context import Context
from operations.deployment import Deployment
from operations.execute import Shell
from operations.report import Report
from tests.support.deployment import ROOT, docker

IMAGE = "test-ec2-machine"
PACKAGES = "cloud-init e2fsprogs git nftables openssh-server openssh-client python3 systemd curl iproute2"
DOCKERFILE = f"""
FROM debian:trixie-slim
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install --yes --no-install-recommends {PACKAGES} && rm -rf /var/lib/apt/lists/* \\
 && groupadd docker && git config --system safe.directory '*' && rm -f /etc/ssh/ssh_host_*
"""
STUBS = {
    # The unit's own command, as its user, where systemd would start it.
    "/usr/local/sbin/systemctl": """#!/bin/sh
echo "systemctl $*" >>/notes
case "$*" in
    "start stack.service")
        unit=/etc/systemd/system/stack.service
        cd "$(sed -n 's/^WorkingDirectory=//p' $unit)"
        runuser --user "$(sed -n 's/^User=//p' $unit)" -- "$(sed -n 's/^ExecStart=//p' $unit | cut -d' ' -f1)" up
        ;;
esac
""",
    "/usr/local/sbin/apt-get": '#!/bin/sh\necho "apt-get $*" >>/notes\ntouch /installed\n',
    "/usr/local/sbin/dpkg-query": "#!/bin/sh\n[ ! -e /installed ] || printf installed\n",
    "/usr/local/sbin/cloud-init": '#!/bin/sh\n[ "$*" = "query region" ] && echo eu-central-1\n',
    "/usr/local/sbin/findmnt": "#!/bin/sh\ntest -e /mounted\n",
    "/usr/local/sbin/mount": '#!/bin/sh\necho "mount $*" >>/notes\ntouch /mounted\n',
    "/usr/local/sbin/lsblk": """#!/bin/sh
type=$(blkid --probe --match-tag TYPE --output value /dev/nvme1n1) && type='"'$type'"' || type=null
label=$(blkid --probe --match-tag LABEL --output value /dev/nvme1n1) && label='"'$label'"' || label=null
printf '{"blockdevices": [{"path": "/dev/nvme1n1", "type": "disk", "fstype": %s, "label": %s, "serial": "vol0abc",
"model": "Amazon Elastic Block Store", "mountpoints": [null]}]}' "$type" "$label"
""",
    "/usr/local/lib/python3.13/dist-packages/boto3.py": """
import json
class client:
    def __init__(self, service, region_name):
        assert (service, region_name) == ("ssm", "eu-central-1")
    def get_paginator(self, name):
        assert name == "get_parameters_by_path"
        return self
    def paginate(self, Path, Recursive, WithDecryption):
        assert (Path, Recursive, WithDecryption) == ("/stack/prod", True, True)
        for name, value in json.load(open("/parameters.json")).items():
            yield {"Parameters": [{"Name": f"/stack/prod/{name}", "Value": value}]}
""",
}
STACK = '#!/bin/sh\ntouch .stack-was-here\necho "stack $*, as $(id -un) in $(pwd)"\n[ "$1" != reconcile ] || exit 3\n'


class Machine:
    """A container that is to become the machine of a deployment."""

    def __init__(self, keys: Path) -> None:
        self.name = f"test-ec2-{uuid.uuid4().hex[:8]}"
        self.keys = keys
        options = ["--detach", "--cap-add", "NET_ADMIN", "--publish", "127.0.0.1::22", "--name", self.name]
        docker("run", *options, IMAGE, "sleep", "infinity")

    def sh(self, script: str, check: bool = True, user: str = "root") -> str:
        return docker("exec", "--interactive", "--user", user, self.name, "sh", "-eu", check=check, stdin=script)

    def put(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        content = text.encode() if isinstance(text, str) else text
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
        subprocess.run(["docker", "cp", "-", f"{self.name}:/"], input=archive.getvalue(), check=True, timeout=60)

    def put_repository(self) -> None:
        """The files of this checkout as they are, with a ./stack that says how it was called, as a repository."""
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "deploy", "operations"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in (*names, ".env.example"):
                if (ROOT / name).exists():
                    tar.add(ROOT / name, f"repo/{name}", filter=_plain)
        subprocess.run(["docker", "cp", "-", f"{self.name}:/"], input=archive.getvalue(), check=True, timeout=60)
        self.put("/repo/stack", STACK, 0o755)
        identity = "-c user.name=x -c user.email=x@example.com"
        self.sh(
            f"cd /repo; printf '/.stack-was-here\\n/.env\\n/secrets/\\n' >.gitignore; git init -q -b main; git add .;"
            f" git {identity} commit -qm first"
        )

    def ask(self, key: str, *request: str) -> subprocess.CompletedProcess[str]:
        """As a job of a forge would."""
        port = docker("port", self.name, "22/tcp").split(":")[-1].strip()
        return subprocess.run(
            [ROOT / "deploy/forge/ask", *request],
            env={
                "PATH": os.environ["PATH"],
                "DEPLOY_HOST": f"stack@127.0.0.1:{port}",
                "DEPLOY_KEY": (self.keys / key).read_text(),
                "DEPLOY_HOST_KEY": self.sh("cat /etc/ssh/ssh_host_ed25519_key.pub").strip(),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    def fingerprint(self) -> str:
        """Names, owners, modes and contents of all that setup is about."""
        return self.sh(
            "find /etc /srv/stack -xdev -path '*/.git/*' -prune -o -printf '%p %u %m\\n' | sort;"
            " find /etc /srv/stack -xdev -path '*/.git/*' -prune -o -type f -exec md5sum {} + | sort;"
            " md5sum /dev/nvme1n1"
        )


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which nothing has happened yet."""
    report = Report()
    base_image.provide(Context(Deployment(ROOT), Shell(ROOT, report.log), report))
    docker("build", "--quiet", "--tag", IMAGE, "-", stdin=DOCKERFILE)
    keys = tmp_path_factory.mktemp("keys")
    for name in ("pull_requests", "main", "strange"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", keys / name], check=True)
    machine = Machine(keys)
    try:
        yield machine
    finally:
        docker("rm", "--force", "--volumes", machine.name, check=False)
        docker("rmi", IMAGE, check=False)


@pytest.fixture(scope="module")
def machine(bare: Machine) -> Machine:
    """After its first start."""
    bare.put("/cloud-init.yaml", (ROOT / "deploy/ec2/cloud-init.yaml").read_text())
    for path, text in STUBS.items():
        bare.put(path, text, 0o755)
    bare.put_repository()
    parameters = {
        "settings/SITE_ADDRESS": "data.example.com",
        "secrets/smtp_password": "hidden",
        "forge/pull_requests_key": (bare.keys / "pull_requests.pub").read_text(),
        "forge/main_key": (bare.keys / "main.pub").read_text(),
    }
    bare.put("/parameters.json", json.dumps(parameters), 0o600)
    for file in yaml.safe_load((ROOT / "deploy/ec2/cloud-init.yaml").read_text())["write_files"]:
        bare.put(file["path"], file["content"], int(file["permissions"], 8))
    bare.sh("sed -i 's|^REPOSITORY=.*|REPOSITORY=/repo|' /etc/stack/machine.conf; truncate -s 48M /dev/nvme1n1")
    bare.first = bare.sh("/usr/local/sbin/stack-bootstrap 2>&1")  # type: ignore[attr-defined]
    return bare


def test_cloud_init_accepts_the_user_data(bare: Machine) -> None:
    bare.put("/cloud-init.yaml", (ROOT / "deploy/ec2/cloud-init.yaml").read_text())
    bare.put("/wrong.yaml", "#cloud-config\nruncmd: 3\nwrite_files: [{content: no path}]\n")
    assert "Valid schema" in bare.sh("/usr/bin/cloud-init schema --config-file /cloud-init.yaml 2>&1")
    # So that the line above means something.
    assert "Valid schema" not in bare.sh("/usr/bin/cloud-init schema --config-file /wrong.yaml 2>&1", check=False)


def test_a_fresh_machine_ends_with_stack_up(machine: Machine) -> None:
    said = machine.first  # type: ignore[attr-defined]
    assert "formatted /dev/nvme1n1, which had nothing on it" in said
    assert said.rstrip().endswith("the deployment is up")
    machine.sh("test -e /srv/stack/deployment/.stack-was-here")
    assert machine.sh(
        "stat -c '%U %a' /srv/stack/deployment /srv/stack/deployment/.env /srv/stack/deployment/secrets"
    ).split("\n")[:3] == ["stack 755", "stack 600", "stack 700"]
    assert "SITE_ADDRESS=data.example.com\n" in machine.sh("cat /srv/stack/deployment/.env")
    assert machine.sh("cat /srv/stack/deployment/secrets/smtp_password") == "hidden"
    assert machine.sh("git -C /srv/stack/deployment rev-parse --abbrev-ref '@{upstream}'") == "origin/main\n"
    assert "docker" in machine.sh("id stack")
    notes = machine.sh("cat /notes").splitlines()
    order = [
        *("mount /srv/stack", "systemctl start stack-metadata.service docker.service"),
        "systemctl start stack.service",
    ]
    assert [note for note in notes if note in order] == order


def test_systemd_understands_what_was_installed(machine: Machine) -> None:
    machine.sh("printf '[Service]\\nExecStart=/bin/true\\n' >/run/docker.service")
    said = machine.sh(
        "SYSTEMD_UNIT_PATH=/etc/systemd/system:/run: systemd-analyze verify --man=no $(grep -ls 'Installed from'"
        " /etc/systemd/system/*.service /etc/systemd/system/*.timer /etc/systemd/system/*.path) 2>&1"
    )
    assert "/etc/systemd/system/" not in said, said


def test_a_second_time_changes_nothing(machine: Machine) -> None:
    before = machine.fingerprint()
    assert "/srv/stack/deployment/stack" in before
    said = machine.sh("/usr/local/sbin/stack-bootstrap 2>&1")
    assert "formatted" not in said
    assert machine.fingerprint() == before


def test_another_instance_with_the_same_volume_is_the_same_deployment(machine: Machine) -> None:
    """What is not on the volume is gone; what is on it, is taken as it is."""
    keep = machine.sh("cat /srv/stack/deployment/.env; md5sum /srv/stack/deployment/secrets/*; ls -ln /srv/stack")
    machine.sh(
        "userdel stack; rm -rf /mounted /etc/fstab /etc/docker /var/lib/stack /run/stack; mv /srv/stack /volume;"
        # As the real mount would: the volume's files appear.
        " printf '#!/bin/sh\\nrmdir /srv/stack; mv /volume /srv/stack; touch /mounted\\n' >/usr/local/sbin/mount"
    )
    said = machine.sh("/usr/local/sbin/stack-bootstrap 2>&1")
    assert "formatted" not in said
    assert "cloned" not in said
    assert (
        machine.sh("cat /srv/stack/deployment/.env; md5sum /srv/stack/deployment/secrets/*; ls -ln /srv/stack") == keep
    )
    assert machine.sh("stat -c %U /srv/stack/deployment") == "stack\n"


@pytest.fixture(scope="module")
def listening(machine: Machine) -> Machine:
    machine.sh("ssh-keygen -q -A; mkdir -p /run/sshd; /usr/sbin/sshd; git -C /repo tag -f tip >/dev/null")
    return machine


def test_a_forges_key_asks_for_its_verbs_and_for_nothing_else(listening: Machine) -> None:
    head = listening.sh("git -C /repo rev-parse HEAD").strip()
    done = listening.ask("pull_requests", "branch", "create", "7", "--from", head)
    assert done.stdout == f"stack branch create 7 --from {head} --replace, as stack in /srv/stack/deployment\n", (
        done.stderr
    )
    assert listening.ask("pull_requests", "branch", "delete", "7").stdout.startswith("stack branch delete 7 --yes, as")
    refused = listening.ask("pull_requests", "reconcile")
    assert (refused.returncode, refused.stdout) == (64, "")
    assert "nothing that this key may ask for" in refused.stderr
    done = listening.ask("main", "reconcile")
    assert (done.returncode, done.stdout) == (3, "stack reconcile, as stack in /srv/stack/deployment\n")
    for attempt in ("sh", "cat /srv/stack/deployment/.env", "down --delete-data --yes", "branch delete 7; id"):
        assert listening.ask("main", attempt).returncode == 64
    assert listening.ask("strange", "reconcile").returncode == 255


def test_the_same_key_opens_no_tunnel_no_terminal_and_no_file(listening: Machine) -> None:
    key = listening.sh("install -m 600 /dev/stdin /tmp/key <<'END'\n" + (listening.keys / "main").read_text() + "END\n")
    assert key == ""
    options = (
        "-F none -i /tmp/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        " -o LogLevel=ERROR"
    )
    for how in (
        f"ssh {options} -tt stack@127.0.0.1",
        f"scp {options} stack@127.0.0.1:/srv/stack/deployment/.env /tmp/stolen",
        f"ssh {options} -W 127.0.0.1:22 stack@127.0.0.1",
        # Would stay open, and end by timeout's own code, 124.
        f"ssh {options} -o ExitOnForwardFailure=yes -N -R 2222:127.0.0.1:22 stack@127.0.0.1",
    ):
        code = listening.sh(f"timeout 10 {how} </dev/null >/tmp/said 2>&1 && echo 0 || echo $?").strip()
        assert code not in ("0", "124"), f"{how}: {code}"
    listening.sh("test ! -e /tmp/stolen")


def test_the_metadata_service_answers_root_alone(machine: Machine) -> None:
    serve = "from http.server import *; HTTPServer(('169.254.169.254', 8080), SimpleHTTPRequestHandler).serve_forever()"
    machine.sh("ip addr add 169.254.169.254/32 dev lo")
    docker("exec", "--detach", machine.name, "python3", "-c", serve)
    ask = "curl --silent --output /dev/null --max-time 5 --retry 5 --retry-connrefused http://169.254.169.254:8080/"
    machine.sh(ask, user="nobody")
    for _ in range(2):
        machine.sh("nft --file /srv/stack/deployment/deploy/systemd/metadata.nft")
    machine.sh(ask)
    refused = machine.sh(f"{ask.replace('--retry 5 --retry-connrefused', '')} && echo answered || true", user="nobody")
    assert "answered" not in refused
    rules = machine.sh("nft list table inet stack_metadata")
    assert rules.count("169.254.169.254 counter") == 2
    assert rules.count("fd00:ec2::254 counter") == 2
