"""Promise: Postgres elsewhere, lakes on S3 and compute logs on S3 by settings, all at once, and nobody gains by it.

The smallest deployment that shows it: a location that loads, one that reads and writes, the one that keeps order.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from operations.testing import object_store
from operations.testing.object_store import ObjectStore
from platform_kit.environment import Bucket, Secret
from platform_kit.lake import connection
from tests.support import elsewhere
from tests.support.deployment import Deployment, docker, lake_rows
from tests.support.elsewhere import ADMIN, ADMIN_PASSWORD, Server
from tests.support.flights import source_table
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.needs("ingestion", "analytics", "platform")]

KEPT = ("ingestion", "analytics", "platform")
JANUARY = {
    "dagster/asset_partition_range_start": "2013-01-01",
    "dagster/asset_partition_range_end": "2013-01-31",
}
FLIGHTS = "ingestion/raw/flights"
OVERLAYS = ("sample-source", "external-postgres", "s3-lake", "s3-logs")
CONTENTS = "SELECT count(*) AS rows, sum(hash(f) // 1024) AS checksum FROM ingestion.raw.flights AS f"
LOGS = "query($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"


def own(name: str) -> list[str]:
    return [f"{action}:lakes/prod/{name}/*" for action in ("Read", "Write", "List")]


def reads(name: str) -> list[str]:
    return [f"{action}:lakes/prod/{name}/*" for action in ("Read", "List")]


# The policy of docs/object-storage.md, as this server writes it.
RIGHTS = {
    "operator": ["Admin", "Read", "Write", "List"],
    "ingestion": own("ingestion"),
    "analytics": [*own("analytics"), *reads("ingestion")],
    "platform": own("platform"),
    "logs": [f"{action}:logs/prod/*" for action in ("Read", "Write", "List")],
}


@dataclass
class World:
    """The deployment, and what it finds elsewhere."""

    deployment: Deployment
    admin: GraphQL
    store: ObjectStore
    server: Server
    printed: str

    def objects(self, bucket: str) -> list[str]:
        return object_store.listing(self.store, bucket)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, name = tmp_path_factory.mktemp("elsewhere"), f"test-{uuid.uuid4().hex[:8]}"
    checkout = elsewhere.small_checkout(folder / "checkout", KEPT)
    (folder / "s3").mkdir()
    (folder / "postgres").mkdir()
    with (
        object_store.running(folder / "s3", elsewhere.bridge(), RIGHTS) as store,
        elsewhere.postgres(f"{name}-elsewhere", folder / "postgres") as server,
    ):
        for bucket in ("lakes", "logs"):
            object_store.empty(store, bucket)
        deployment = _deployment(name, checkout, store, server)
        try:
            printed = deployment.stack("up")
            yield World(deployment, deployment.user(), store, server, printed)
        finally:
            deployment.remove()


def _deployment(name: str, checkout: Path, store: ObjectStore, server: Server) -> Deployment:
    bucket = {"ENDPOINT": store.endpoint, "REGION": object_store.REGION, "PREFIX": "prod"}
    settings = {
        **{f"LAKE_S3_{key}": value for key, value in {**bucket, "BUCKET": "lakes"}.items()},
        **{f"LOGS_S3_{key}": value for key, value in {**bucket, "BUCKET": "logs"}.items()},
        **{"POSTGRES_HOST": server.host, "POSTGRES_PORT": str(server.port), "POSTGRES_ADMIN_USER": ADMIN},
        **{"POSTGRES_SSLMODE": "verify-full", "BACKUPS": "off"},
    }
    deployment = Deployment(name, root=checkout, **settings)
    overlays = (f"deploy/overlays/{overlay}.yml" for overlay in OVERLAYS)
    deployment.settings["COMPOSE_FILE"] = ":".join(["docker-compose.yml", *overlays])
    secrets = deployment.home / "secrets"
    secrets.mkdir(parents=True, mode=0o700)
    deployment.write_env()
    (secrets / "postgres_password").write_text(ADMIN_PASSWORD)
    (secrets / "postgres_authority").write_text(server.authority.read_text())
    for authority in ("lake_s3_authority", "logs_s3_authority"):
        (secrets / authority).write_text(store.authority.read_text())
    for who in (*KEPT, "logs"):
        (secrets / f"{who}_s3_key").write_text(store.keys[who].id)
        (secrets / f"{who}_s3_key_secret").write_text(store.keys[who].secret)
    return deployment


@pytest.fixture(scope="module")
def january(world: World) -> str:
    """A month of flights, loaded by one run."""
    run = world.admin.launch("ingestion", assets=[FLIGHTS], tags=JANUARY)
    world.admin.wait_for(run, "SUCCESS", seconds=240)
    return run


def attack(world: World, service: str, source: str) -> str:
    """What Python in a location's container does with the key that it has."""
    return world.deployment.python(service, CLIENT + source).strip()


# DuckDB with the location's own key for whatever address.
CLIENT = """
import duckdb
from platform_kit.environment import lake_bucket
from platform_kit.lake import LakeResource

def tried(statement):
    bucket = lake_bucket()
    with LakeResource().connect() as lake:
        lake.execute(f"CREATE OR REPLACE SECRET wide (TYPE s3, KEY_ID '{bucket.key.reveal()}', "
            f"SECRET '{bucket.key_secret.reveal()}', ENDPOINT '{bucket.endpoint}', REGION '{bucket.region}', "
            "URL_STYLE 'path', SCOPE 's3://')")
        try:
            return "did " + str(lake.execute(statement).fetchall())
        except duckdb.Error as error:
            return "refused" if "403" in str(error) or "AccessDenied" in str(error) else f"otherwise: {error}"
"""


def test_it_comes_up_without_a_database_of_its_own(world: World) -> None:
    services = {docker("inspect", name, "--format", '{{index .Config.Labels "com.docker.compose.service"}}').strip()
                for name in world.deployment.containers()}  # fmt: skip
    assert services & {"postgres", "backup"} == set()
    assert set(KEPT) <= services
    assert not [name for name in world.deployment.leftovers()["volumes"] if name.endswith(("_postgres", "_backups"))]
    # What is short on the machine of the tests is none of the deployment's.
    found = [one for one in world.deployment.findings() if one["subject"] not in ("memory", "disk", "networks")]
    assert found == []


def test_it_speaks_to_that_server_over_tls_alone_and_as_no_superuser(world: World) -> None:
    plain = "SELECT count(*) FROM pg_stat_ssl AS s JOIN pg_stat_activity AS a USING (pid) WHERE client_addr IS NOT NULL"
    assert world.server.sql(f"{plain} AND NOT s.ssl") == [["0"]]
    assert int(world.server.sql(plain)[0][0]) > 0
    assert world.server.sql("SELECT rolsuper FROM pg_roles WHERE rolname <> 'cloud_root' AND rolsuper") == []
    owners = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE datname LIKE 'lake%' ORDER BY 1"
    assert world.server.sql(owners) == [[f"lake_{name}", name] for name in sorted(KEPT)]


def test_a_server_whose_certificate_is_anothers_is_not_spoken_to(world: World, tmp_path: Path) -> None:
    object_store.certificates(tmp_path, world.server.host)
    wrong = (tmp_path / "authority.pem").read_text()
    source = f"""
import os, psycopg2
open("/tmp/wrong.pem", "w").write({wrong!r})
os.environ["PGSSLROOTCERT"] = "/tmp/wrong.pem"
try:
    psycopg2.connect(host=os.environ["POSTGRES_HOST"], port=os.environ["POSTGRES_PORT"], user="ingestion",
                     password=os.environ["POSTGRES_PASSWORD"], dbname="dagster")
except psycopg2.OperationalError as error:
    print("refused:", error)
"""
    # Of another authority, or of another of the same name.
    assert re.search("certificate verify failed|SSL error", world.deployment.python("ingestion", source))


def test_real_data_lands_below_the_locations_prefix_and_nowhere_on_this_machine(world: World, january: str) -> None:
    expected = source_table("flights").filter("month = 1").count("*").fetchall()[0][0]
    (found,) = lake_rows(world.deployment, "ingestion", CONTENTS)
    assert (expected, found["rows"]) == (27_004, 27_004)
    files = [name for name in world.objects("lakes") if "/raw/flights/" in name]
    assert files
    assert all(name.startswith("prod/ingestion/raw/flights/") and name.endswith(".parquet") for name in files)
    local = "import pathlib; print([str(p) for p in pathlib.Path('/var/lib/lake').rglob('*.parquet')])"
    assert world.deployment.python("ingestion", local).strip() == "[]"


def test_it_is_read_back_from_s3_by_duckdb_outside(world: World, january: str) -> None:
    secret = "ingestion_database_password"
    bucket = Bucket(
        *("lakes", "prod", world.store.endpoint, object_store.REGION, world.store.authority),
        Secret(world.store.keys["operator"].id),
        Secret(world.store.keys["operator"].secret),
    )
    with duckdb.connect() as reader:
        connection._load(reader, "ducklake")
        connection._load(reader, "postgres_scanner")
        connection.remember_bucket(reader, bucket)
        place = f"host={world.server.host} port={world.server.port} dbname=lake_ingestion user=ingestion"
        tls = f"sslmode=verify-full sslrootcert={world.server.authority}"
        password = world.deployment.secret(secret)
        reader.execute(f"ATTACH 'ducklake:postgres:{place} {tls} password={password}' AS ingestion (READ_ONLY)")
        assert reader.execute("SELECT count(*) FROM ingestion.raw.flights").fetchall() == [(27_004,)]


def test_another_location_builds_on_it_in_its_own_prefix(world: World, january: str) -> None:
    run = world.admin.launch("analytics", assets=["analytics/staging/stg_flights", "analytics/marts/delays_by_route"])
    world.admin.wait_for(run, "SUCCESS", seconds=300)
    # dbt builds beside and renames; the files keep the name that the table had.
    assert [name for name in world.objects("lakes") if name.startswith("prod/analytics/marts/delays_by_route")]
    read, built = json.loads(world.deployment.python("analytics", READ_BY_DBT).strip().splitlines()[-1])
    assert read == 27_004
    assert built > 100


# As dbt reads, in a session of its own.
READ_BY_DBT = """
import json, duckdb
from analytics import lake_session
from dbt.adapters.duckdb.credentials import Attachment, DuckDBCredentials
attach = [
    Attachment(alias=name, path="ducklake:postgres:", read_only=True, options={"meta_secret": f"catalog_{name}"})
    for name in ("ingestion", "analytics")
]
session = duckdb.connect()
lake_session.Plugin("lake_session", {}, DuckDBCredentials(schema="main", attach=attach)).configure_connection(session)
for one in attach:
    session.execute(one.to_sql())
counts = [session.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
          for table in ("ingestion.raw.flights", "analytics.marts.delays_by_route")]
print(json.dumps(counts))
"""


@pytest.mark.parametrize(
    "place",
    [
        "s3://lakes/prod/analytics/raw/flights/x.parquet",
        "s3://lakes/prod/platform/x.parquet",
        "s3://lakes/prod/ingestion2/x.parquet",
        "s3://lakes/x.parquet",
        "s3://logs/prod/storage/x.parquet",
    ],
)
def test_the_server_refuses_what_a_location_writes_into_anothers_prefix(world: World, january: str, place: str) -> None:
    before = world.objects("lakes"), world.objects("logs")
    statement = f"COPY (SELECT 1 AS one) TO '{place}' (FORMAT parquet)"
    assert attack(world, "ingestion", f"print(tried({statement!r}))") == "refused"
    assert world.objects("lakes") == before[0]
    assert set(before[1]) <= set(world.objects("logs"))
    assert not [name for name in world.objects("logs") if name.endswith("x.parquet")]


@pytest.mark.parametrize("place", ["prod/analytics/secret.txt", "prod/platform/secret.txt"])
def test_the_server_refuses_what_a_location_reads_unasked(world: World, january: str, place: str) -> None:
    object_store.put(world.store, "lakes", place, b"hush")
    statement = f"FROM read_text('s3://lakes/{place}')"
    assert attack(world, "ingestion", f"print(tried({statement!r}))") == "refused"


def test_a_key_is_in_its_locations_containers_alone(world: World, january: str) -> None:
    for service in ("ingestion", "webserver", "daemon"):
        for name in ("analytics", "ingestion"):
            if name != service:
                secret = world.store.keys[name].secret
                source = (
                    "import os, pathlib; files = [p for p in pathlib.Path('/run/secrets').rglob('*') if p.is_file()]; "
                    f"print(any({secret!r} in p.read_text() for p in files) or {secret!r} in str(os.environ))"
                )
                assert world.deployment.python(service, source).strip() == "False", (service, name)
    for container in world.deployment.containers():
        told = docker("inspect", container)
        assert not [key for key in world.store.keys.values() if key.secret in told], container


def test_the_retention_keeps_a_lake_on_s3_and_its_rows(world: World, january: str) -> None:
    again = world.admin.launch("ingestion", assets=[FLIGHTS], tags=JANUARY)
    world.admin.wait_for(again, "SUCCESS", seconds=240)
    before = [name for name in world.objects("lakes") if "/raw/flights/" in name]
    (rows,) = lake_rows(world.deployment, "ingestion", CONTENTS)
    orphan = "prod/ingestion/raw/flights/ducklake-01a1feb2-0000-7000-8000-000000000000.parquet"
    object_store.put(world.store, "lakes", orphan, b"what a write left that was killed")
    name = "platform/retention/lake_ingestion"
    config = {"snapshot_days": 0, "file_days": 0, "small_files": 2}
    run = world.admin.launch("platform", assets=[name], config={"ops": {name.replace("/", "__"): {"config": config}}})
    world.admin.wait_for(run, "SUCCESS", seconds=300)
    after = [name for name in world.objects("lakes") if "/raw/flights/" in name]
    assert set(before) - set(after), "what the first load wrote is given up"
    # Younger than a day: it may be of a write that is under way.
    assert orphan in after
    assert lake_rows(world.deployment, "ingestion", CONTENTS) == [rows]


@pytest.mark.usefixtures("january")
def test_logs_are_copied_redacted_and_shown_when_their_files_are_gone(world: World) -> None:
    # One that has just ended: what is written after its logs were copied is not.
    ended = world.admin.launch("ingestion", assets=["ingestion/raw/airlines"])
    world.admin.wait_for(ended, "SUCCESS")
    folder = f"/var/lib/dagster/logs/{ended}/compute_logs"
    (step,) = {
        name.rpartition(".")[0]
        for name in docker("exec", world.deployment.container("ingestion"), "ls", folder).split()
    }
    raw = "mail ada.sampleton@9e.example\n"
    written = f"import pathlib; pathlib.Path('{folder}/raw.out').write_text({raw!r})"
    world.deployment.python("ingestion", written)
    prefix = f"prod/storage/{ended}"
    wait_until(lambda: f"{prefix}/shipped" in world.objects("logs"), seconds=180, what="the logs to be copied")
    assert object_store.get(world.store, "logs", f"{prefix}/compute_logs/raw.out") == b"mail [email]\n"
    key = [ended, "compute_logs", step]
    shown = world.admin.ask(LOGS, key=key)["capturedLogs"]
    assert shown["stderr"]
    remove = f"import shutil; shutil.rmtree('/var/lib/dagster/logs/{ended}')"
    world.deployment.python("ingestion", remove)
    assert world.admin.ask(LOGS, key=key)["capturedLogs"] == shown
    downloaded = world.admin.http.get(f"{world.deployment.address}/logs/{'/'.join(key)}/err")
    assert downloaded.text == shown["stderr"]


def test_a_verb_that_needs_the_bundled_database_says_so(world: World) -> None:
    for verb in (("backup",), ("backup", "list")):
        code, printed = world.deployment.ask(*verb)
        assert code == 1
        assert f"its database is {world.server.host}:{world.server.port}" in " ".join(printed.split())
    for verb in (("restore",), ("branch", "create", "1523")):
        code, printed = world.deployment.ask(*verb)
        assert code == 1
        assert "Traceback" not in printed


def test_down_takes_nothing_away_that_is_elsewhere(world: World, january: str) -> None:
    before = world.objects("lakes"), world.objects("logs")
    databases = "SELECT datname FROM pg_database ORDER BY 1"
    there = world.server.sql(databases)
    printed = " ".join(world.deployment.stack("down", "--delete-data", "--yes").split())
    assert f"dagster and lake_* and their roles on {world.server.host}:{world.server.port}" in printed
    assert "s3://lakes/prod/, the lakes" in printed
    assert world.deployment.leftovers()["volumes"] == []
    assert (world.objects("lakes"), world.objects("logs")) == before
    assert world.server.sql(databases) == there
    assert world.server.sql("SELECT count(*), sum(salary) FROM salaries", "payroll") == [["100", "5050000"]]
