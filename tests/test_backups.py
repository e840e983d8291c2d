"""Promise: a backup is whole or told not to be, and what is damaged replaces nothing."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.backups import compare, killed, state
from tests.support.deployment import ROOT, Deployment, docker
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("ingestion", "analytics")
BOGUS = """
insert into ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format,
    record_count, file_size_bytes)
select 999999999, 1, max(snapshot_id), 'not-there.parquet', true, 'parquet', 1, 1 from ducklake_snapshot"""
SMALL_DISK = """
import os
from pathlib import Path
from backup import room
from backup.errors import BackupError
from backup.file_backup import Files
from backup.settings import load

Path("/run/secrets/backup_passphrase").write_text("open")
settings, folder = load(), Path("/tmp/lake")
folder.mkdir()
files = Files(settings)
try:
    room.require(settings, "full", [], 0, first=False)
except BackupError as error:
    assert "MiB are free where the backups go" in error.found, error.found
    print("asked before: no room")
files.prepare()
(folder / "small").write_bytes(os.urandom(2**20))
good = files.copy([folder], ["data"])["snapshot_id"]
(folder / "large").write_bytes(os.urandom(2**25))
try:
    files.copy([folder], ["data"])
except BackupError as error:
    assert "the disk is full" in error.found, error.found
    print("found while writing: no room")
(folder / "large").unlink()
assert files.listing(good) == {"/tmp/lake/small": 2**20}
files.restore(good, "/tmp/lake", Path("/tmp/back"))
assert Path("/tmp/back/small").read_bytes() == (folder / "small").read_bytes()
print("the first one is whole")
"""


@pytest.fixture(scope="module")
def backed_up(deployment: Deployment, reference: str) -> None:
    """Data is loaded, and backed up."""
    assert "Brings back" in deployment.stack("backup", "--full")


@pytest.fixture
def repository(deployment: Deployment, backed_up: None, tmp_path: Path) -> Path:
    """A copy of the repository on the host, to be damaged."""
    docker("cp", f"{deployment.container('backup')}:/var/lib/backups/{deployment.name}", str(tmp_path))
    # Readable for the service's user, whoever runs the tests.
    above = [parent for parent in tmp_path.parents if parent.stat().st_uid == os.getuid()]
    for path in (*above, tmp_path, *tmp_path.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    return tmp_path / deployment.name


def flip(repository: Path) -> str:
    """A byte in the largest piece of the files."""
    largest = max(
        (repository / "files" / "data").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 3] ^= 0xFF
    largest.write_bytes(content)
    return "restic"


def cut(repository: Path) -> str:
    """The database's files of the first backup, on which the others build."""
    for path in (repository / "postgres" / "backup" / "main").rglob("*"):
        if path.is_file() and path.parent.name == "bundle":
            path.unlink()
    return "pgBackRest"


def forget(repository: Path) -> str:
    """The log between the backups and their end."""
    for path in (repository / "postgres" / "archive" / "main").rglob("*.zst"):
        path.unlink()
    return "restored database"


@pytest.mark.parametrize("damage", [flip, pytest.param(cut, marks=pytest.mark.long), forget])
def test_a_damaged_backup_replaces_nothing(deployment: Deployment, repository: Path, damage: object) -> None:
    before = state(deployment)
    assert callable(damage)
    words = damage(repository)
    started = deployment.inspect(deployment.container("postgres"))["State"]["StartedAt"]
    refused = deployment.stack("restore", "--from", str(repository), "--overwrite", "--yes", check=False)
    assert words in refused, refused
    assert "✗" in refused
    assert deployment.inspect(deployment.container("postgres"))["State"]["StartedAt"] == started
    compare(state(deployment), before)


def test_another_passphrase_opens_nothing(deployment: Deployment, repository: Path) -> None:
    other = Deployment(f"{deployment.name}-wrong")
    try:
        missing = other.stack("restore", "--from", str(repository), check=False)
        assert "backup_passphrase does not exist" in missing
        (other.home / "secrets").mkdir(parents=True, mode=0o700)
        (other.home / "secrets" / "backup_passphrase").write_text("a guess")
        refused = other.stack("restore", "--from", str(repository), check=False)
        assert "the passphrase does not open" in refused
        # Nothing stays that another try would take for somebody's own.
        assert not (other.home / ".env").exists()
        assert [path.name for path in (other.home / "secrets").iterdir()] == ["backup_passphrase"]
    finally:
        other.remove()
        docker("image", "rm", "--force", f"{other.name}/backup:local", check=False)


def test_bad_moments_are_told_with_the_range(deployment: Deployment, backed_up: None) -> None:
    refused = deployment.stack("restore", "--at", "yesterday", "--overwrite", "--yes", check=False)
    assert "'yesterday' is no moment" in refused
    refused = deployment.stack("restore", "--at", "2013-01-01T00:00:00Z", "--overwrite", "--yes", check=False)
    assert "no backup reaches back to 2013-01-01" in refused


def test_two_at_once(deployment: Deployment, backed_up: None) -> None:
    hold = (
        "import sys; from pathlib import Path; from backup import serving\n"
        "with serving.alone(Path('/tmp')): print('held', flush=True); sys.stdin.read()"
    )
    command = ["docker", "exec", "--interactive", deployment.container("backup"), "python3", "-c", hold]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = deployment.stack("backup", check=False)
        holder.communicate()
    assert "another backup is at work" in refused


def test_the_platform_backs_up_by_asking(deployment: Deployment, admin: GraphQL, backed_up: None) -> None:
    run = admin.launch("platform", assets=["platform/backups/deployment"])
    admin.wait_for(run, "SUCCESS", seconds=200)
    asked = deployment.sql("select requested_by, state from provisioning.backup_requests order by id desc limit 1")
    assert asked == [["platform", "done"]]


def test_a_second_machine_with_the_same_name_is_refused(deployment: Deployment, backed_up: None) -> None:
    secret = deployment.home / "secrets" / "backup_owner"
    mine, listed = secret.read_text(), deployment.stack("backup", "list")
    try:
        secret.write_text("another-machine-by-its-secret-of-as-many-letters\n")
        refused = deployment.stack("backup", check=False)
        assert "belongs to another machine" in refused
        assert "--take-over" in refused
        assert deployment.stack("backup", "list") == listed
    finally:
        secret.write_text(mine)
    assert "Brings back" in deployment.stack("backup")


def test_a_bad_lake_is_told_and_all_others_are_backed_up(deployment: Deployment, backed_up: None) -> None:
    """A location writes in its own catalog what it likes: here, a file that is not there."""
    deployment.python("analytics", "from platform_kit.lake import LakeResource\nLakeResource().connect().__enter__()")
    deployment.sql(BOGUS, "lake_analytics")
    try:
        told = deployment.stack("backup", check=False)
        assert "was taken and is whole but for lake_analytics" in told
        newest = json.loads(deployment.stack("backup", "list", "--json"))["sets"][-1]
        assert newest["incomplete"] == ["lake_analytics"]
    finally:
        deployment.sql("delete from ducklake_data_file where data_file_id = 999999999", "lake_analytics")
    assert "Brings back" in deployment.stack("backup")


def test_a_backup_that_is_killed_or_interrupted_leaves_what_is_there(deployment: Deployment, backed_up: None) -> None:
    listed = deployment.stack("backup", "list")
    at_work = lambda: " take " in docker("top", deployment.container("backup"))  # noqa: E731
    killed(deployment, ("backup", "--full"), at_work)
    # It goes on in its container: the next one is refused, or comes after its end.
    wait_until(lambda: not at_work(), seconds=120, what="the backup that nobody waits for to end")
    before = json.loads(deployment.stack("backup", "list", "--json"))["sets"]

    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    process = subprocess.Popen(
        [str(ROOT / "stack"), "--deployment", deployment.name, "backup", "--full"],
        cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_until(at_work, seconds=60, what="the backup", every=0.1)
    # As Ctrl-C, which a shell lets its background jobs ignore.
    os.killpg(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130, printed
    wait_until(lambda: not at_work(), seconds=20, what="the backup to end in its container")
    assert json.loads(deployment.stack("backup", "list", "--json"))["sets"] == before
    assert deployment.sql("select * from provisioning.lake_clones where clone = 'backup'") == []
    assert all(line in deployment.stack("backup", "list") for line in listed.splitlines()[:-2])
    assert "Brings back" in deployment.stack("backup")


def test_no_room_is_told_and_what_is_there_stays_whole(deployment: Deployment) -> None:
    """The service's image with a small disk for the repository."""
    confined = (
        "--user",
        "10001:10001",
        "--cap-drop",
        "ALL",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--env",
        "BACKUP_NAME=x",
    )
    disk = ("--tmpfs", "/var/lib/backups:size=24m,uid=10001", "--tmpfs", "/run/secrets:uid=10001")
    image = f"{deployment.name}/backup:local"
    printed = docker("run", "--rm", "-i", *confined, *disk, image, "python3", "-", stdin=SMALL_DISK)
    assert printed.splitlines() == ["asked before: no room", "found while writing: no room", "the first one is whole"]
