"""Faults as they come: from outside a container, so that the engine sees a crash and not somebody's wish to stop it."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.support.deployment import Deployment, docker
from tests.support.waiting import wait_until

# Interfaces down, or up again; a connection that is open stays open, and hears nothing.
SWITCH = """
import fcntl, socket, struct, sys
wanted = sys.argv[1] == "up"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for _, name in socket.if_nameindex():
        if name != "lo":
            asked = struct.pack("16sh22x", name.encode(), 0)
            flags = struct.unpack("16sh22x", fcntl.ioctl(s, 0x8913, asked))[1]
            flags = flags | 1 if wanted else flags & ~1
            fcntl.ioctl(s, 0x8914, struct.pack("16sh22x", name.encode(), flags))
"""


def signal(deployment: Deployment, container: str, name: str) -> None:
    """Sends a signal to all processes of a container. `docker kill` would tell the engine not to start it again."""
    rows = docker("top", container, "-eo", "pid").split()[1:]
    # From the machine's own process namespace: the first process of a container hears no SIGKILL from inside.
    helper = ("run", "--rm", "--pid", "host", "--user", "0:0", "--network", "none", "--entrypoint", "sh")
    image = f"{deployment.name}/postgres:local"
    # One that has ended in between is no matter.
    docker(*helper, image, "-c", f"for pid in {' '.join(rows)}; do kill -{name} $pid 2>/dev/null || true; done")


def crash(deployment: Deployment, container: str) -> None:
    """kill -9 of all that is in a container."""
    before = deployment.inspect(container)["State"]["StartedAt"]
    signal(deployment, container, "KILL")

    def over() -> bool:
        state = deployment.inspect(container)["State"]
        return not state["Running"] or state["StartedAt"] != before

    wait_until(over, seconds=30, what=f"{container} to have crashed")


def comes_back(deployment: Deployment, service: str, seconds: float = 180) -> None:
    """Waits until the engine has started a service again and its health check says that it is well."""

    def well() -> bool:
        state = deployment.inspect(deployment.container(service))["State"]
        return bool(state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy")

    wait_until(well, seconds=seconds, what=f"{service} to be well again", every=1)


@contextmanager
def hung(deployment: Deployment, container: str) -> Iterator[None]:
    """All processes of a container stand still; to the engine it runs."""
    signal(deployment, container, "STOP")
    try:
        yield
    finally:
        signal(deployment, container, "CONT")


def network_cut(deployment: Deployment, container: str, seconds: float) -> None:
    """For so long nothing leaves a container and nothing reaches it."""
    for wanted in ("down", "up"):
        helper = ("run", "--rm", "--network", f"container:{container}", "--cap-add", "NET_ADMIN", "--user", "0:0")
        docker(*helper, "--entrypoint", "python3", f"{deployment.name}/daemon:local", "-c", SWITCH, wanted)
        if wanted == "down":
            # The fault is its length.
            time.sleep(seconds)


@contextmanager
def no_connections_left(deployment: Deployment, *roles: str) -> Iterator[None]:
    """The server takes no further session of these roles, and ends those that are idle."""
    limits = {row[0]: row[1] for row in deployment.sql("select rolname, rolconnlimit from pg_roles")}
    names = ", ".join(f"'{role}'" for role in roles)
    for role in roles:
        deployment.sql(f"alter role {role} connection limit 0")
    deployment.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where usename in ({names})")
    try:
        yield
    finally:
        for role in roles:
            deployment.sql(f"alter role {role} connection limit {limits[role]}")


@contextmanager
def locked(deployment: Deployment, table: str) -> Iterator[None]:
    """Whoever writes to one of Dagster's tables waits until the block ends; reading goes on."""
    held = f"select pid from pg_locks where relation = '{table}'::regclass and mode = 'ExclusiveLock' and granted"
    with ThreadPoolExecutor(1) as beside:
        # Its session is ended, which is an error to whoever asked; the time is for a test that is killed itself.
        beside.submit(deployment.sql, f"lock table {table} in exclusive mode; select pg_sleep(300)")
        try:
            wait_until(lambda: deployment.sql(held), seconds=30, what=f"the lock on {table}")
            yield
        finally:
            deployment.sql(f"select pg_terminate_backend(pid) from ({held}) as holder")


@contextmanager
def full(deployment: Deployment, volume: str) -> Iterator[None]:
    """A volume without a byte left, until the block ends. Whoever has it may be down: so by a container of its own."""
    mounted = ("run", "--rm", "--network", "none", "--user", "0:0", "--volume", f"{deployment.name}_{volume}:/volume")
    helper = (*mounted, "--entrypoint", "sh", f"{deployment.name}/postgres:local", "-c")
    # Ends when there is no room for more: that is its purpose, and its exit code says so.
    docker(*helper, "cat /dev/zero > /volume/ballast", check=False)
    try:
        left = docker(*helper, "df --output=avail /volume").split()[-1]
        assert int(left) == 0, f"{left} KiB are left in {volume}"
        yield
    finally:
        docker(*helper, "rm /volume/ballast")
