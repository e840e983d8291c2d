"""Promise: backups go to a bucket as to a directory, by TLS with an authority of one's own; damage in it is found."""

import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.deployment import Deployment, docker, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

# In a container of the service's image: a database of its own, and what the service does with it.
STORY = """
import subprocess, sys, time
from pathlib import Path
from backup import postgres
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
    assert files.snapshots() == []
    print("all of it", settings.shown)
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


def certificates(folder: Path, address: str) -> None:
    """An authority, and a server's certificate by it."""
    now, keys = datetime.datetime.now(datetime.UTC), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority of the tests", "s3")]
    for key, name, file, extension in (
        (keys[0], names[0], "authority", x509.BasicConstraints(ca=True, path_length=None)),
        (keys[1], names[1], "server", x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])),
    ):
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=file == "authority")
            .sign(keys[0], hashes.SHA256())
        )
        (folder / f"{file}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(keys[1].private_bytes(serialization.Encoding.PEM, *private))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """SeaweedFS with TLS, one key, and no bucket yet."""
    folder = tmp_path_factory.mktemp("s3")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    address, port, ports = bridge(), free_port(), [str(free_port()) for _ in range(3)]
    certificates(folder, address)
    credentials = {"accessKey": "key-of-the-tests", "secretKey": "secret-of-the-tests"}
    identity = {"name": "backup", "credentials": [credentials], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    command = [
        *(str(Path(sys.prefix) / "bin" / "weed"), "server", "-s3", f"-dir={folder / 'data'}", "-ip=127.0.0.1"),
        *("-ip.bind=0.0.0.0", f"-master.port={ports[0]}", f"-volume.port={ports[1]}", f"-filer.port={ports[2]}"),
        *(f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", f"-s3.key.file={folder / 'server.key'}"),
        *(f"-s3.cert.file={folder / 'server.pem'}", "-volume.max=20", "-master.volumeSizeLimitMB=64"),
    ]
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o755)
    (secrets / "backup_passphrase").write_text("a passphrase of the tests")
    (secrets / "backup_s3_key").write_text(credentials["accessKey"])
    (secrets / "backup_s3_key_secret").write_text(credentials["secretKey"])
    (secrets / "backup_s3_authority").write_bytes((folder / "authority.pem").read_bytes())
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            authority = ssl.create_default_context(cafile=str(folder / "authority.pem"))

            def answers() -> bool:
                try:
                    return httpx.get(f"https://{address}:{port}/", verify=authority).status_code < 500
                except httpx.HTTPError:
                    return False

            wait_until(answers, seconds=60, what=f"the server of S3, whose log is {folder / 'log'}")
            yield Bucket(f"{address}:{port}", secrets)
        finally:
            server.terminate()


def story(deployment: Deployment, bucket: Bucket, secrets: Path) -> str:
    """What the service's image does with that bucket."""
    environment = {
        "BACKUP_NAME": deployment.name,
        "BACKUP_S3_ENDPOINT": bucket.endpoint,
        "BACKUP_S3_BUCKET": "backups",
        "BACKUP_S3_REGION": "us-east-1",
    }
    settings = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
    confined = ("--user", "10001:10001", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")
    mounts = ("--volume", f"{secrets}:/run/secrets:ro")
    image = f"{deployment.name}/backup:local"
    return docker("run", "--rm", "-i", *confined, *mounts, *settings, image, "python3", "-", stdin=STORY)


def test_database_and_files_go_to_a_bucket_and_come_back(deployment: Deployment, bucket: Bucket) -> None:
    assert story(deployment, bucket, bucket.secrets).splitlines()[-1] == f"all of it s3://backups/{deployment.name}"


def test_a_key_that_the_bucket_does_not_know_is_refused(deployment: Deployment, bucket: Bucket) -> None:
    secrets = bucket.secrets.with_name("another-key")
    secrets.mkdir(mode=0o755)
    for path in bucket.secrets.iterdir():
        (secrets / path.name).write_bytes(path.read_bytes())
    (secrets / "backup_s3_key_secret").write_text("a guess")
    (refused,) = [line for line in story(deployment, bucket, secrets).splitlines() if line.startswith("refused:")]
    assert "Access Denied" in refused
