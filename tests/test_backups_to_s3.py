"""Promise: backups go to a bucket as to a directory, by TLS with an authority of one's own; damage in it is found."""

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from operations.testing import object_store
from tests.support.deployment import Deployment, docker

pytestmark = pytest.mark.long

# In a container of the service's image: a database of its own, and what the service does with it.
STORY = """
import subprocess, sys, time
from pathlib import Path
from backup import owner, postgres
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.settings import load

data, sockets = "/var/lib/postgresql/17/data", Path("/var/run/postgresql")
subprocess.run(["initdb", "-D", data, "-U", "postgres", "-A", "trust"], check=True, stdout=subprocess.DEVNULL)
configuration = [f"-c{key}_file=/etc/postgres/{name}" for key, name in
                 (("config", "postgresql.conf"), ("hba", "pg_hba.conf"), ("ident", "pg_ident.conf"))]
server = subprocess.Popen(["postgres", "-D", data, *configuration], stderr=subprocess.DEVNULL)
while subprocess.run(["pg_isready", "--quiet"]).returncode:
    time.sleep(0.2)
settings = load()
files, database = Files(settings), Database()
try:
    files.prepare()
    database.prepare()
    owner.require(settings, files, take_over=False)
    copy = database.copy("full")
    database.require_log()
    database.verify()
    snapshot = files.copy([Path("/etc/postgres")], ["data"])["snapshot_id"]
    files.check(everything=True)
    listing = files.listing(snapshot)
    assert "/etc/postgres/pg_hba.conf" in listing, listing
    into = Path("/tmp/back")
    files.restore(snapshot, "/etc/postgres", into)
    assert (into / "pg_hba.conf").read_text() == Path("/etc/postgres/pg_hba.conf").read_text()
    restored = Path(data + ".restored")
    database.restore(copy.label, ["--type=immediate"], restored)
    assert (restored / "PG_VERSION").read_text() == "17\\n"
    files.forget([snapshot])
    assert [one["tags"][0] for one in files.snapshots()] == ["owner"]
    print("all of it", settings.shown)
except BackupError as error:
    print("refused:", error.found)
"""


OWNER = """
from backup import owner
from backup.errors import BackupError
from backup.file_backup import Files
from backup.settings import load

files = Files(load())
try:
    files.prepare()
    owner.require(load(), files, take_over=False)
except BackupError as error:
    print("refused:", error.found)
"""


@dataclass(frozen=True)
class Bucket:
    """A server of S3 on this machine, and what opens it."""

    endpoint: str
    secrets: Path


def bridge() -> str:
    """Where containers reach this machine."""
    # Its gateway is the network's first address; not every engine says so.
    subnet = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}").strip()
    return str(next(ipaddress.ip_network(subnet).hosts()))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """SeaweedFS with TLS, one key, and no bucket yet."""
    folder = tmp_path_factory.mktemp("s3")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    with object_store.running(folder, bridge(), {"backup": ("Admin", "Read", "Write", "List")}) as store:
        secrets = folder / "secrets"
        secrets.mkdir(mode=0o755)
        (secrets / "backup_passphrase").write_text("a passphrase of the tests")
        (secrets / "backup_owner").write_text("the-first-machine")
        (secrets / "backup_s3_key").write_text(store.keys["backup"].id)
        (secrets / "backup_s3_key_secret").write_text(store.keys["backup"].secret)
        (secrets / "backup_s3_authority").write_bytes(store.authority.read_bytes())
        yield Bucket(store.endpoint, secrets)


def story(deployment: Deployment, bucket: Bucket, secrets: Path, *, name: str = "", only_owner: bool = False) -> str:
    """What the service's image does with that bucket."""
    environment = {
        "BACKUP_NAME": name or deployment.name,
        "BACKUP_S3_ENDPOINT": bucket.endpoint,
        "BACKUP_S3_BUCKET": "backups",
        "BACKUP_S3_REGION": "us-east-1",
    }
    settings = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
    confined = ("--user", "10001:10001", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")
    mounts = ("--volume", f"{secrets}:/run/secrets:ro")
    image = f"{deployment.name}/backup:local"
    return docker(
        "run", "--rm", "-i", *confined, *mounts, *settings, image, "python3", "-", stdin=OWNER if only_owner else STORY
    )


def test_database_and_files_go_to_a_bucket_and_come_back(deployment: Deployment, bucket: Bucket) -> None:
    assert story(deployment, bucket, bucket.secrets).splitlines()[-1] == f"all of it s3://backups/{deployment.name}"


def test_a_key_that_the_bucket_does_not_know_is_refused(deployment: Deployment, bucket: Bucket) -> None:
    secrets = bucket.secrets.with_name("another-key")
    secrets.mkdir(mode=0o755)
    for path in bucket.secrets.iterdir():
        (secrets / path.name).write_bytes(path.read_bytes())
    (secrets / "backup_s3_key_secret").write_text("a guess")
    assert "Access Denied" in refused(story(deployment, bucket, secrets))


def test_a_second_machine_is_refused(deployment: Deployment, bucket: Bucket) -> None:
    secrets = bucket.secrets.with_name("second-machine")
    secrets.mkdir(mode=0o755)
    for path in bucket.secrets.iterdir():
        (secrets / path.name).write_bytes(path.read_bytes())
    (secrets / "backup_owner").write_text("the-second-machine")
    # Under another name, for the cluster of each story is another one, which pgBackRest refuses first.
    assert "all of it" in story(deployment, bucket, bucket.secrets, name="twice")
    assert "belongs to another machine" in refused(story(deployment, bucket, secrets, name="twice", only_owner=True))


def refused(printed: str) -> str:
    """What the service found."""
    (line,) = [line for line in printed.splitlines() if line.startswith("refused:")]
    return line
