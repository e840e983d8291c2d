"""What a deployment finds elsewhere: a database server like a cloud's, a small checkout that uses it."""

import ipaddress
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operations.testing import object_store
from tests.support import locations
from tests.support.checkout import copy_checkout, remove_locations
from tests.support.deployment import ROOT, docker, free_port
from tests.support.waiting import wait_until

ADMIN, ADMIN_PASSWORD = "cloud_admin", "password-of-the-administrator"

# As RDS: nobody gets in but over TLS and by password, the administrator is no superuser, and others' data is there.
SERVER = r"""
set -eu
export PGDATA=/tmp/data
initdb --username=cloud_root --auth=reject --auth-local=trust >/dev/null
install -m 600 /elsewhere/server.key /elsewhere/server.pem /tmp
printf 'local all all trust\nhostssl all all all scram-sha-256\n' > /tmp/data/pg_hba.conf
pg_ctl start -w -s -o '-c listen_addresses= -c unix_socket_directories=/tmp'
psql -q -h /tmp -U cloud_root -d postgres -v ON_ERROR_STOP=1 <<'SQL'
CREATE ROLE cloud_admin LOGIN CREATEROLE CREATEDB NOSUPERUSER PASSWORD 'password-of-the-administrator';
CREATE ROLE payroll LOGIN PASSWORD 'password-of-payroll';
CREATE DATABASE payroll OWNER payroll;
\c payroll
SET ROLE payroll;
CREATE TABLE salaries AS SELECT n AS person, n * 1000 AS salary FROM generate_series(1, 100) AS n;
SQL
pg_ctl stop -s -m fast
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c ssl=on -c max_connections=200 \
  -c ssl_cert_file=/tmp/server.pem -c ssl_key_file=/tmp/server.key
"""


@dataclass(frozen=True)
class Server:
    """A Postgres server outside the deployment's project."""

    name: str
    host: str
    port: int
    authority: Path

    def sql(self, query: str, database: str = "postgres") -> list[list[str]]:
        """Asks as the cloud's own superuser, whom the deployment does not know."""
        ask = ("psql", "-h", "/tmp", "-U", "cloud_root", "-AtF", "|", "-d", database, "-c", query)
        return [line.split("|") for line in docker("exec", self.name, *ask).splitlines()]


def bridge() -> str:
    """Where containers reach this machine."""
    # Its gateway is the network's first address; not every engine says so.
    subnet = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}").strip()
    return str(next(ipaddress.ip_network(subnet).hosts()))


@contextmanager
def postgres(name: str, folder: Path) -> Iterator[Server]:
    """The server, in a container of the deployment's own image for Postgres."""
    host, port, image = bridge(), free_port(), f"{name}:local"
    object_store.certificates(folder, host)
    open_to_containers(folder)
    subprocess.run(
        ["docker", "buildx", "build", "--quiet", "--load", "--target", "server", "--tag", image,
         "--file", "postgres/Dockerfile", "."], cwd=ROOT, check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    docker(
        *("run", "--detach", "--name", name, "--user", "10001:10001", "--cap-drop", "ALL", "--entrypoint", "sh"),
        *("--tmpfs", "/tmp:mode=1777,size=1g", "--publish", f"{host}:{port}:5432"),
        *("--volume", f"{folder}:/elsewhere:ro", image, "-c", SERVER),
    )
    server = Server(name, host, port, folder / "authority.pem")
    try:
        probe = ("exec", name, "pg_isready", "--quiet", "--host", "127.0.0.1")
        wait_until(
            lambda: subprocess.run(["docker", *probe], capture_output=True, timeout=30).returncode == 0,
            *(), seconds=90, what=f"the server {name}: {docker('logs', name, check=False)[-500:]}",
        )  # fmt: skip
        yield server
    finally:
        docker("rm", "--force", "--volumes", name, check=False)
        docker("rmi", "--force", image, check=False)


def open_to_containers(folder: Path) -> None:
    """pytest's folders are closed to other users, which those in containers are."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o001)
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode | 0o044)


def small_checkout(folder: Path, keep: tuple[str, ...]) -> Path:
    """A copy of this checkout with these locations alone, the others removed as a user would."""
    copy_checkout(folder)
    left = [name for name in locations.shipped(folder) if name not in keep]
    remove_locations(
        folder, left, lambda *args: subprocess.run([str(folder / "stack"), *args], cwd=folder, check=True, timeout=120)
    )
    return folder
