"""Attacks from inside a run, the real enemy: its code is somebody else's. Each tries what its name says."""

import pytest

from tests.support.deployment import Deployment
from tests.support.graphql import GraphQL
from tests.support.locations import shipped

# A location that the attacker is not.
OTHER = shipped()[0]
CONNECT = """
import socket
def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=4).close()
        print("REACHED", host, port)
    except OSError as error:
        print("refused", host, port, type(error).__name__)
"""
POSTGRES = """
import os, psycopg2
def attempt(database, sql, user=None, password=None):
    try:
        connection = psycopg2.connect(host=os.environ["POSTGRES_HOST"], dbname=database, connect_timeout=5,
            user=user or os.environ["POSTGRES_USER"], password=password or os.environ["POSTGRES_PASSWORD"])
        cursor = connection.cursor()
        cursor.execute(sql)
        connection.commit()
        print("REACHED", sql)
    except psycopg2.Error as error:
        print("refused", sql, error.pgcode, str(error).split(chr(10))[0])
"""


def address(deployment: Deployment, service: str, network: str) -> str:
    """A service's address on one network."""
    networks = deployment.inspect(deployment.container(service))["NetworkSettings"]["Networks"]
    return str(networks[f"{deployment.name}_{network}"]["IPAddress"])


def attack(admin: GraphQL, source: str) -> list[str]:
    """Runs the source inside a run of the location "probe" and returns the lines it printed."""
    run = admin.launch("probe", "attack", config={"ops": {"run_python": {"config": {"code": source}}}})
    admin.wait_for(run, "SUCCESS", seconds=120)
    return admin.printed(run).splitlines()


def assert_refused(lines: list[str], attempts: int) -> None:
    """Every attempt was made, and none succeeded."""
    assert not [line for line in lines if line.startswith("REACHED")], lines
    assert len([line for line in lines if line.startswith("refused")]) == attempts, lines


def test_the_network_shows_nothing_but_the_database_and_its_own_server(deployment: Deployment, admin: GraphQL) -> None:
    targets = [
        *((name, 4000) for name in shipped()),
        *((address(deployment, name, name), 4000) for name in shipped()),
        ("broken", 4000), ("run_broker", 80), ("gateway", 3000),
        (address(deployment, "postgres", OTHER), 5432),
        ("webserver", 3000), ("daemon", 3000),
        (address(deployment, "webserver", "probe"), 3000),
        (address(deployment, "webserver", "edge"), 3000),
        (address(deployment, "gateway", "edge"), 3000),
        ("sample_flight_operations", 5432), ("sample_flight_api", 8000),
    ]  # fmt: skip
    lines = attack(admin, CONNECT + f"for host, port in {targets!r}: reach(host, port)\nreach('postgres', 5432)")
    assert lines[-1] == "REACHED postgres 5432"
    assert_refused(lines[:-1], len(targets))


def test_no_engine_and_no_broker(admin: GraphQL) -> None:
    lines = attack(
        admin,
        """
import os
for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/broker", "/run/brokers",
             "/run/containerd/containerd.sock"]:
    print("REACHED" if os.path.exists(path) else "refused", path)
print("REACHED" if any("DOCKER" in name for name in os.environ) else "refused", "DOCKER_HOST")
""",
    )
    assert_refused(lines, 6)


def test_no_file_of_another_location(deployment: Deployment, admin: GraphQL) -> None:
    lines = attack(
        admin,
        """
import os
mounts = [line.split()[1] for line in open("/proc/mounts")]
mine = {"/var/lib/lake/probe", "/var/lib/dagster/logs"}
for path in mounts:
    if path.startswith(("/var/lib/lake", "/var/lib/dagster", "/run/secrets", "/opt/dagster")):
        if path not in mine and path != "/run/secrets/database_password":
            print("REACHED", path)
for path in ["/var/lib/lake/OTHER", "/var/lib/lake/broken", "/run/secrets/postgres_password",
             "/run/secrets/gateway_token", "/run/secrets/source_database_password", "/opt/dagster/home/dagster.yaml"]:
    print("REACHED" if os.path.exists(path) else "refused", path)
logs = os.listdir("/var/lib/dagster/logs")
print("REACHED" if {"OTHER", "broken"} & set(logs) else "refused", "logs")
""".replace("OTHER", OTHER),
    )
    assert_refused(lines, 7)


def test_nothing_outside_its_volumes_can_be_written(admin: GraphQL) -> None:
    lines = attack(
        admin,
        """
import os
for path in ["/x", "/app/src/probe/definitions.py", "/opt/venv/x", "/etc/passwd", "/usr/local/bin/entrypoint",
             "/run/secrets/database_password", "/proc/sysrq-trigger", "/sys/kernel/x"]:
    try:
        open(path, "a").close()
        print("REACHED", path)
    except OSError as error:
        print("refused", path, error.errno)
""",
    )
    assert_refused(lines, 8)


def test_no_privilege_can_be_gained(admin: GraphQL) -> None:
    lines = attack(
        admin,
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("refused" if int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0 else "REACHED", "capabilities")
print("refused" if status["NoNewPrivs"].strip() == "1" else "REACHED", "new privileges")
print("refused" if status["Seccomp"].strip() == "2" else "REACHED", "seccomp")
for what, call in {"root": lambda: os.setuid(0), "chroot": lambda: os.chroot("/tmp"),
                   "mknod": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))}.items():
    try:
        call()
        print("REACHED", what)
    except OSError:
        print("refused", what)
print("refused" if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) else "REACHED", "mount")
print("refused" if libc.unshare(0x20000000) else "REACHED", "new pid namespace")
""",
    )
    assert_refused(lines, 8)


def test_other_databases_and_roles_are_closed(deployment: Deployment, admin: GraphQL) -> None:
    lines = attack(
        admin,
        POSTGRES
        + """
attempt("lake_OTHER", "select 1")
attempt("lake_broken", "select 1")
attempt("postgres", "select 1")
attempt("template1", "select 1")
attempt("dagster", "select 1", user="dagster")
attempt("dagster", "select 1", user="dagster_owner")
attempt("dagster", "select 1", user="postgres", password="postgres")
attempt("lake_OTHER", "select 1", user="OTHER")
""".replace("OTHER", OTHER),
    )
    assert_refused(lines, 8)


def test_history_cannot_be_dropped_emptied_or_rewritten_in_bulk(admin: GraphQL) -> None:
    lines = attack(
        admin,
        POSTGRES
        + """
attempt("dagster", "drop table runs")
attempt("dagster", "truncate event_logs")
attempt("dagster", "delete from event_logs")
attempt("dagster", "delete from runs")
attempt("dagster", "alter table runs add column x int")
attempt("dagster", "create table x (y int)")
attempt("dagster", "create role x superuser")
attempt("dagster", "set role dagster_owner")
attempt("dagster", "copy runs to program 'sh'")
attempt("dagster", "select pg_read_file('/etc/passwd')")
attempt("dagster", "create extension dblink")
attempt("dagster", "select * from pg_authid")
""",
    )
    assert_refused(lines, 12)


def test_no_run_makes_the_daemon_execute_something_in_another_location(
    deployment: Deployment, admin: GraphQL, reference: str
) -> None:
    # A stored run says where it is executed, which code of it, with which configuration.
    lines = attack(
        admin,
        POSTGRES
        + f"""
other = "run_id = '{reference}'"
body = "replace(run_body, '\\"ingestion\\"', '\\"probe\\"')"
attempt("dagster", "insert into runs (run_id, run_body, status) values ('x', '{{}}', 'QUEUED')")
attempt("dagster", "update runs set status = 'QUEUED' where " + other)
attempt("dagster", "update runs set run_body = " + body + " where " + other)
attempt("dagster", "update runs set status = 'QUEUED' where run_body like '%probe%'")
attempt("dagster", "alter table runs disable trigger all")
attempt("dagster", "drop function guard_runs() cascade")
attempt("dagster", "set session_replication_role = replica")
attempt("dagster", "insert into kvs (key, value) values ('ASSET_DAEMON_PAUSED', 'true')")
""",
    )
    assert_refused(lines, 8)


@pytest.mark.needs("analytics")
def test_a_reader_of_a_lake_cannot_write_it(deployment: Deployment, reference: str) -> None:
    source = (
        POSTGRES
        + """
attempt("lake_ingestion", "delete from ducklake_snapshot")
attempt("lake_ingestion", "drop table ducklake_snapshot")
attempt("lake_ingestion", "create table x (y int)")
try:
    open("/var/lib/lake/ingestion/x", "w")
    print("REACHED")
except OSError:
    print("refused")
attempt("lake_ingestion", "select count(*) from ducklake_snapshot")
"""
    )
    lines = deployment.python("analytics", source).splitlines()
    assert lines[-1].startswith("REACHED select")
    assert_refused(lines[:-1], 4)


@pytest.mark.parametrize("kind", ["processes", "disk"])
def test_a_bomb_stays_in_its_run(deployment: Deployment, admin: GraphQL, kind: str) -> None:
    bombs = {
        # Of small processes: copies of this one would be killed for their memory before they are too many.
        "processes": """
import os
children = []
try:
    while len(children) < 2000:
        children.append(os.posix_spawn("/usr/bin/sleep", ["sleep", "60"], {}))
    print("REACHED", len(children))
except OSError:
    print("refused after", len(children))
for pid in children: os.kill(pid, 9); os.waitpid(pid, 0)
""",
        "disk": """
import os
try:
    with open("/tmp/bomb", "wb") as file:
        for _ in range(1024): file.write(bytes(1 << 20))
    print("REACHED")
except OSError as error:
    print("refused", error.errno)
os.unlink("/tmp/bomb")
""",
    }
    assert_refused(attack(admin, bombs[kind]), 1)
    assert admin.locations()["probe"] == "RepositoryLocation"


def test_a_lying_container_context_changes_nothing(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch(
        "probe", "succeed",
        tags={"docker/container_kwargs": '{"privileged": true}', "dagster/image": f"{deployment.name}/{OTHER}:local"},
    )  # fmt: skip
    admin.wait_for(run)
    for name in deployment.run_containers(run):
        record = deployment.inspect(name)
        assert not record["HostConfig"]["Privileged"]
        assert record["Image"] == deployment.inspect(deployment.container("probe"))["Image"]
