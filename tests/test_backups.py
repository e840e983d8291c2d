"""Promise: what was backed up comes back, to the row and to the moment; and what is damaged replaces nothing."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, docker, lake_rows
from tests.support.flights import PARTITIONED
from tests.support.graphql import GraphQL

pytestmark = pytest.mark.needs("ingestion")
TABLES = """
select table_schema || '.' || table_name as name from information_schema.tables
where table_catalog = 'ingestion' and table_type = 'BASE TABLE' order by 1"""
FORGET = """
from platform_kit.lake import LakeResource
with LakeResource().connect() as lake:
    lake.execute("delete from ingestion.raw.flights where month = 12 and day in (29, 30)")
"""
DAYS = [f"2013-12-{day:02d}" for day in (28, 29, 30)]


@dataclass(frozen=True)
class State:
    """All that is compared."""

    tables: dict[str, tuple[int, str]]
    runs: dict[str, str]
    instigators: dict[str, str]


def state(deployment: Deployment) -> State:
    """Checksums of every table of the lake, all runs that ended, and which schedules and sensors are on."""
    names = [str(row["name"]) for row in lake_rows(deployment, "ingestion", TABLES)]
    query = " union all ".join(
        f"select '{name}' as name, count(*) as rows, bit_xor(hash(one)) as sum from ingestion.{name} as one"
        for name in names
    )
    rows = lake_rows(deployment, "ingestion", query)
    ended = deployment.sql("select run_id, status from runs where status in ('SUCCESS', 'FAILURE', 'CANCELED')")
    instigators = deployment.sql("select selector_id, status from instigators")
    return State(
        tables={str(row["name"]): (int(row["rows"]), str(row["sum"])) for row in rows},
        runs={row[0]: row[1] for row in ended},
        instigators={row[0]: row[1] for row in instigators},
    )


@dataclass(frozen=True)
class Story:
    """What was there at a moment, and at the last backup."""

    moment: str
    then: State
    last: State


@pytest.fixture(scope="module")
def story(deployment: Deployment, admin: GraphQL, reference: str) -> Story:
    """A day is loaded and backed up; another is loaded: the moment; a third, and the last backup."""
    admin.backfill_to_the_end(PARTITIONED, DAYS[:1], seconds=200)
    # Whoever came before may have loaded the others as well: what comes after the moment has to be new.
    deployment.python("ingestion", FORGET)
    assert "Brings back" in deployment.stack("backup", "--full")
    admin.backfill_to_the_end(PARTITIONED, DAYS[1:2], seconds=200)
    then = state(deployment)
    moment = datetime.now(UTC).isoformat()
    # What comes after the moment has a time that differs from it.
    time.sleep(0.01)
    admin.backfill_to_the_end(PARTITIONED, DAYS[2:], seconds=200)
    last = state(deployment)
    assert last.tables["raw.flights"] != then.tables["raw.flights"]
    deployment.stack("backup")
    # Goes on writing: none of this is in the backup.
    admin.wait_for(admin.launch("ingestion", assets=["ingestion/raw/airlines"]), "SUCCESS")
    return Story(moment, then, last)


@pytest.fixture(scope="module")
def copy(deployment: Deployment, story: Story) -> Iterator[Deployment]:
    """A deployment beside, restored to the moment."""
    own = Deployment(f"{deployment.name}-back")
    try:
        # It ends with 3, as up does: one location of the tests is broken on purpose.
        printed = own.stack("restore", "--from", deployment.name, "--at", story.moment, check=False)
        assert f"{own.name} is as it was at" in printed, printed
        assert "its later files come from" in printed
        yield _reached(own)
    finally:
        own.remove()


def _reached(own: Deployment) -> Deployment:
    """The port is one that restore has found."""
    own.port = int((own.home / ".env").read_text().partition("\nGATEWAY_PORT=")[2].split()[0])
    own.address = f"http://127.0.0.1:{own.port}"
    return own


def compare(found: State, expected: State) -> None:
    assert found.tables == expected.tables
    assert {run: found.runs.get(run) for run in expected.runs} == expected.runs
    assert found.instigators == expected.instigators


@pytest.mark.long
def test_a_moment_between_two_writes_comes_back_beside_what_runs(copy: Deployment, story: Story) -> None:
    compare(state(copy), story.then)
    # The same people, and their passwords; nothing starts by itself.
    assert "ingestion" in copy.user().locations()
    assert f"{copy.name}-daemon-1" not in copy.containers()


@pytest.mark.long
def test_the_last_backup_comes_back_over_it(copy: Deployment, deployment: Deployment, story: Story) -> None:
    refused = copy.stack("restore", "--from", deployment.name, check=False)
    assert f"{copy.name} has data" in refused
    compare(state(copy), story.then)
    printed = copy.stack("restore", "--from", deployment.name, "--overwrite", "--yes", check=False)
    assert "Rows, runs and schedules are those that the backup wrote down." in printed
    compare(state(copy), story.last)


@pytest.mark.long
def test_the_copy_writes_and_keeps_to_its_own_repository(copy: Deployment, deployment: Deployment) -> None:
    before = deployment.stack("backup", "list")
    printed = copy.stack("backup", "--full")
    assert f"/var/lib/backups/{copy.name}" in printed
    assert deployment.stack("backup", "list") == before


@pytest.fixture
def repository(deployment: Deployment, story: Story, tmp_path: Path) -> Path:
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


@pytest.mark.parametrize("damage", [flip, cut, forget])
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
    finally:
        other.remove()


def test_bad_moments_are_told_with_the_range(deployment: Deployment, story: Story) -> None:
    refused = deployment.stack("restore", "--at", "yesterday", "--overwrite", "--yes", check=False)
    assert "'yesterday' is no moment" in refused
    refused = deployment.stack("restore", "--at", "2013-01-01T00:00:00Z", "--overwrite", "--yes", check=False)
    assert "no backup reaches back to 2013-01-01" in refused


def test_two_at_once(deployment: Deployment, story: Story) -> None:
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


def test_the_platform_backs_up_by_asking(deployment: Deployment, admin: GraphQL, story: Story) -> None:
    run = admin.launch("platform", assets=["platform/backups/deployment"])
    admin.wait_for(run, "SUCCESS", seconds=200)
    asked = deployment.sql("select requested_by, state from provisioning.backup_requests order by id desc limit 1")
    assert asked == [["platform", "done"]]
