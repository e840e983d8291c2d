"""backup and restore as commands: what is asked in which order, and what is refused before anything happens."""

import json
from pathlib import Path
from typing import Any

import pytest

from operations import base_image, docker, prepare
from operations.backups import apart, asking, attempt, journal, record, restoring, source, target
from operations.backups.restoring import Wish
from operations.backups.source import Source
from operations.deployment import Deployment
from operations.errors import StackError
from operations.tests.fakes import Machine, container
from operations.upgrades import gate
from operations.verbs import up as up_verb

CONFIG: dict[str, Any] = {
    "services": {
        "backup": {
            "image": "prod/backup:local",
            "user": "10001:10001",
            "read_only": True,
            "cap_drop": ["ALL"],
            "environment": {"BACKUP_NAME": "prod", "BACKUPS": "on"},
            "secrets": [{"source": "backup_passphrase"}, {"source": "deployment_record"}],
            "networks": {"backup": None},
            "volumes": [
                {"type": "volume", "source": "postgres", "target": "/var/lib/postgresql/17", "read_only": True},
                {"type": "volume", "source": "postgres-socket", "target": "/var/run/postgresql", "read_only": True},
                {"type": "volume", "source": "backups", "target": "/var/lib/backups"},
                {"type": "volume", "source": "lake-eta", "target": "/var/lib/lake/eta", "read_only": True},
            ],
        },
        "daemon": {"image": "prod/daemon:local"},
    },
    "volumes": {
        name: {"name": f"prod_{name}"} for name in ("postgres", "postgres-socket", "backups", "lake-eta", "audit")
    },
    "networks": {"backup": {"name": "prod_backup"}, "edge": {}},
    "secrets": {
        "backup_passphrase": {"file": "/secrets/backup_passphrase"},
        "deployment_record": {"file": "/secrets/deployment_record"},
        "postgres_password": {"file": "/secrets/postgres_password"},
    },
}
SET = {
    "name": "20261121T120000Z",
    "kind": "full",
    "point": "2026-11-21T12:00:00+00:00",
    "incomplete": [],
    "verified": True,
}
PLAN = {
    "base": SET,
    "at": None,
    "later": None,
    "moment": "2026-11-21T12:00:00+00:00",
    "remark": "",
    "repository": "/var/lib/backups/prod",
    "bytes": 1000,
    "deployment": "prod",
    "lakes": ["lake_eta"],
    "occupied": [],
}
STAGED = {
    "moment": "2026-11-21T12:00:00+00:00",
    "lakes": [
        {"database": "lake_eta", "snapshot": 4, "tables": {"model.rows": 5}, "files": 2, "bytes": 10, "problem": ""}
    ],
    "history": {"runs": 3},
    "since": [],
    "problems": {},
}
THIS_RELEASE = json.dumps(
    {"release": {"version": "0.2.0", "dagster": "1.13.27", "postgres": 17}, "commit": "", "at": ""}
)
RECORD = {
    "version": 1,
    "deployment": "prod",
    "commit": "",
    "changed_files": [],
    "settings": "",
    "secrets": {"admin_password": "theirs", "gateway_users": "admin:hash"},
    "state": {"release.json": THIS_RELEASE},
}


def result(value: Any) -> str:
    return json.dumps({"result": value}) + "\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.tools_are_there()
    made.executor.answer("config", "--format", "json", stdout=json.dumps(CONFIG))
    return made


@pytest.fixture
def secrets(machine: Machine) -> Path:
    directory = machine.root / "secrets"
    directory.mkdir(mode=0o700)
    (directory / "backup_passphrase").write_text("open")
    return directory


def questions(machine: Machine) -> list[str]:
    """What the service was asked, in order."""
    return [call[call.index("-m") + 2] for call in machine.executor.ran("python3", "-m", "backup")]


def answers(machine: Machine, **changes: Any) -> None:
    known = {"plan": PLAN, "stage": STAGED, "record": RECORD, "swap": None, "discard": None, "finish": None}
    for word, value in known.items():
        machine.executor.answer("backup", word, stdout=result(changes.get(word, value)))


def fails(machine: Machine, word: str, error: dict[str, str] | None = None) -> None:
    """From now on, the service does not do this."""
    machine.executor.forget("backup", word)
    machine.executor.answer("backup", word, code=1, stdout=json.dumps({"error": error}) if error else "")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`up` has its own tests."""
    calls: list[str] = []

    def up(_: Any) -> int:
        calls.append("up")
        return 0

    monkeypatch.setattr(up_verb, "up", up)
    monkeypatch.setattr(base_image, "provide", lambda _: None)
    monkeypatch.setattr(prepare, "make_secrets", lambda _: None)
    return calls


def test_a_passphrase_that_is_missing_is_asked_for_before_one_is_drawn(machine: Machine) -> None:
    with pytest.raises(StackError, match="backup_passphrase does not exist"):
        restoring.restore(machine.context(), Wish())
    assert not (machine.root / "secrets").exists()
    assert questions(machine) == []


def test_into_an_empty_machine(machine: Machine, secrets: Path, started: list[str]) -> None:
    answers(machine)
    assert restoring.restore(machine.context(), Wish()) == 0
    assert questions(machine) == ["plan", "record", "stage", "swap", "finish"]
    assert started == ["up"]
    assert (secrets / "admin_password").read_text() == "theirs"
    assert journal.read(Deployment(machine.root)) is None
    assert "prod is as it was at 2026-11-21 12:00:00 UTC" in machine.out.getvalue()


@pytest.mark.parametrize("version", ["", "0.1.9", "0.3.0"])
def test_data_of_another_release_touches_nothing(
    version: str, machine: Machine, secrets: Path, started: list[str]
) -> None:
    """Its schema is one that this code does not know, or has to make first."""
    (machine.root / "docs").mkdir()
    (machine.root / "docs/releases.md").write_text("# Releases\n")
    state = {"release.json": THIS_RELEASE.replace("0.2.0", version)} if version else {}
    answers(machine, record={**RECORD, "state": state, "commit": "abc123"})
    with pytest.raises(StackError, match="the backup is of") as caught:
        restoring.restore(machine.context(), Wish())
    assert "git checkout abc123" in caught.value.do
    assert "stage" not in questions(machine)
    assert started == []


@pytest.mark.parametrize("before", ["", "prod_postgres\n"])
def test_a_try_that_fails_leaves_no_volumes_that_count_as_data(
    before: str, machine: Machine, secrets: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(machine)
    fails(machine, "plan")
    found = iter([before.split(), ["prod_postgres"]])
    monkeypatch.setattr(attempt, "_volumes", lambda _: next(found))
    with pytest.raises(StackError):
        restoring.restore(machine.context(), Wish())
    assert bool(machine.executor.ran("docker", "volume", "rm")) is not bool(before)


def test_a_commit_to_check_out_is_that_of_the_backups_release(machine: Machine) -> None:
    (machine.root / "docs").mkdir(exist_ok=True)
    (machine.root / "docs/releases.md").write_text(f"# Releases\n## 0.1.0\nCommit `{'a' * 40}`.\n")
    with pytest.raises(StackError) as caught:
        gate.require_backup(machine.context(), {"state": {}, "commit": "b" * 40})
    assert f"git checkout {'a' * 40}" in caught.value.do


def test_data_that_is_there_is_not_replaced_unasked(machine: Machine, secrets: Path, started: list[str]) -> None:
    answers(machine, plan={**PLAN, "occupied": ["postgres"]})
    with pytest.raises(StackError, match="prod has data: postgres") as caught:
        restoring.restore(machine.context(), Wish())
    assert "--deployment restored restore --from prod" in caught.value.do
    assert questions(machine) == ["plan"]


def test_over_data_its_settings_stay_and_the_old_is_stopped_last(
    machine: Machine, secrets: Path, started: list[str]
) -> None:
    machine.made_env()
    (secrets / "admin_password").write_text("mine")
    machine.executor.answer("ps", "--all", stdout="one\n")
    machine.executor.answer("inspect", "--type", stdout=json.dumps([container("postgres")]))
    answers(machine, plan={**PLAN, "occupied": ["postgres"]})
    assert restoring.restore(machine.context(), Wish(overwrite=True)) == 0
    assert (secrets / "admin_password").read_text() == "mine"
    assert (secrets / "gateway_users").read_text() == "admin:hash"
    calls = [" ".join(call) for call in machine.executor.calls]
    order = [next(i for i, call in enumerate(calls) if word in call) for word in (" stage ", " down ", "backup swap")]
    assert order == sorted(order)
    # What a killed upgrade left at work on the files that are replaced.
    left = next(i for i, call in enumerate(calls) if "rm --force prod-former-postgres prod-upgrade-cluster" in call)
    assert left < order[-1]


def test_what_is_damaged_touches_nothing(machine: Machine, secrets: Path, started: list[str]) -> None:
    answers(machine)
    fails(machine, "stage", {"found": "restic: ciphertext verification failed", "expected": "whole", "do": "look"})
    with pytest.raises(StackError, match="ciphertext verification failed"):
        restoring.restore(machine.context(), Wish())
    assert questions(machine) == ["plan", "record", "stage", "discard"]
    assert not machine.executor.ran("down")
    assert started == []


def test_no_room_is_said_before_anything_is_laid_down(machine: Machine, secrets: Path, started: list[str]) -> None:
    answers(machine, plan={**PLAN, "bytes": 500 * 1024**3})
    with pytest.raises(StackError, match="are free in /var/lib/docker"):
        restoring.restore(machine.context(), Wish())
    assert questions(machine) == ["plan"]


@pytest.mark.parametrize("step", ["swap", "finish"])
def test_an_interrupt_while_it_takes_over_goes_on_at_the_next_try(
    machine: Machine, secrets: Path, started: list[str], step: str
) -> None:
    answers(machine)
    fails(machine, step)
    with pytest.raises(StackError, match="broke off"):
        restoring.restore(machine.context(), Wish())
    assert journal.read(Deployment(machine.root)) is not None
    machine.executor.forget("backup", step)
    machine.executor.answer("backup", step, stdout=result(None))
    machine.executor.calls.clear()
    assert restoring.restore(machine.context(), Wish()) == 0
    assert questions(machine) == ["swap", "finish"]
    assert "Takes up the restore" in machine.out.getvalue()
    assert journal.read(Deployment(machine.root)) is None


def test_a_copy_sends_nothing_and_starts_nothing_by_itself(machine: Machine, secrets: Path) -> None:
    env = machine.made_env()
    recorded = env.read_text().replace("GATEWAY_PORT=3000", "GATEWAY_PORT=443")
    copy = Deployment(machine.root, "restored")
    copy.home.mkdir(parents=True)
    copy.env_file.write_text(env.read_text().replace("GATEWAY_PORT=3000", "GATEWAY_PORT=3005"))
    chosen = target.settings(copy, {"settings": recorded}, copy=True)
    assert chosen["GATEWAY_PORT"] == "3005"
    assert chosen["COMPOSE_FILE"].endswith(f":{target.PAUSED}")
    same = target.settings(Deployment(machine.root), {"settings": recorded}, copy=False)
    assert same["GATEWAY_PORT"] == "443"


def test_apart_it_may_write_volumes_and_not_the_repository() -> None:
    made = apart.content(CONFIG, Source("prod", "prod_backups", Path("/elsewhere")))
    service = made["services"]["backup"]
    mounts = {mount["target"]: mount for mount in service["volumes"]}
    assert mounts["/var/lib/backups"] == {
        "type": "volume", "source": "restore-source", "target": "/var/lib/backups", "read_only": True,
    }  # fmt: skip
    assert not mounts["/var/lib/postgresql/17"]["read_only"]
    assert "/var/run/postgresql" not in mounts
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert made["volumes"]["restore-source"] == {"external": True, "name": "prod_backups"}
    assert set(made["secrets"]) == {"backup_passphrase", "deployment_record"}
    assert set(made["networks"]) == {"backup"}


def test_where_files_are_laid_down_no_other_volume_is_in_reach_of_a_link() -> None:
    service = CONFIG["services"]["backup"]
    other = {"type": "volume", "source": "lake-ingestion", "target": "/var/lib/lake/ingestion", "read_only": True}
    config = {**CONFIG, "services": {"backup": {**service, "volumes": [*service["volumes"], other]}}}
    made = apart.content(config, Source("prod", "prod_backups", Path("/elsewhere")), "eta")
    writable = [one["target"] for one in made["services"]["backup"]["volumes"] if not one["read_only"]]
    assert writable == ["/var/lib/lake/eta"]
    assert {one["target"] for one in made["services"]["backup"]["volumes"]} == {*writable, "/var/lib/backups"}
    assert apart.lakes(config) == {"eta", "ingestion"}


def test_a_lake_without_a_volume_is_told_before_anything_is_laid_down(
    machine: Machine, secrets: Path, started: list[str]
) -> None:
    answers(machine, plan={**PLAN, "folders": ["eta", "sales"]})
    with pytest.raises(StackError, match="no volume: sales"):
        restoring.restore(machine.context(), Wish())
    assert questions(machine) == ["plan", "record"]


LACKING = {**PLAN, "incomplete": ["lake_eta"], "failed": {"lake_eta": "1 of 2 files are missing: x.parquet"}}


def test_a_lake_that_lacks_files_holds_no_other_up_and_is_told(
    machine: Machine, secrets: Path, started: list[str]
) -> None:
    answers(machine, plan=LACKING, stage={**STAGED, "problems": {"lake_eta": "1 of 2 files are not in the backup"}})
    assert restoring.restore(machine.context(), Wish()) == restoring.NOT_WHOLE
    told = machine.err.getvalue()
    assert "lake_eta lacks files in this backup: 1 of 2 files are missing" in " ".join(told.split())
    assert "lake_eta is not whole" in told


def test_over_data_a_backup_that_lacks_files_is_taken_on_demand_alone(
    machine: Machine, secrets: Path, started: list[str]
) -> None:
    machine.made_env()
    answers(machine, plan={**LACKING, "occupied": ["postgres"]})
    with pytest.raises(StackError, match="lacks files of lake_eta, and there is data") as caught:
        restoring.restore(machine.context(), Wish(overwrite=True))
    assert questions(machine) == ["plan"]
    assert "--incomplete" in caught.value.do
    assert restoring.restore(machine.context(), Wish(overwrite=True, incomplete=True)) == 0
    assert any("--incomplete" in call for call in machine.executor.ran("backup", "stage"))


def test_apart_from_a_folder(tmp_path: Path) -> None:
    made = apart.content(CONFIG, Source("prod", "/mnt/disk", tmp_path))
    (mount,) = [one for one in made["services"]["backup"]["volumes"] if one["target"] == "/var/lib/backups"]
    assert (mount["type"], mount["source"]) == ("bind", "/mnt/disk")


def test_from_a_folder_or_the_folder_above(machine: Machine, secrets: Path, tmp_path: Path) -> None:
    for name in source.INSIDE:
        (tmp_path / "disk" / "prod" / name).mkdir(parents=True)
    deployment = Deployment(machine.root)
    for wanted in ("disk", "disk/prod"):
        found = source.resolve(deployment, str(tmp_path / wanted))
        assert (found.name, found.mount) == ("prod", str(tmp_path / "disk"))
    with pytest.raises(StackError, match="holds no backups"):
        source.resolve(deployment, str(tmp_path / "disk" / "prod" / "files"))


def test_a_deployment_beside_does_not_try_prods_passphrase(machine: Machine, secrets: Path, tmp_path: Path) -> None:
    for name in source.INSIDE:
        (tmp_path / "disk" / "prod" / name).mkdir(parents=True)
    with pytest.raises(StackError, match="restored/secrets/backup_passphrase does not exist"):
        source.resolve(Deployment(machine.root, "restored"), str(tmp_path / "disk"))


def test_a_try_beside_prod_that_fails_keeps_the_passphrase_that_somebody_put_there(machine: Machine) -> None:
    context = machine.context("restored")
    own = machine.root / ".deployments/restored/secrets"
    own.mkdir(parents=True)
    (own / "backup_passphrase").write_text("a copy, and perhaps the last")
    machine.executor.answer("docker", "volume", "ls", stdout="")

    def tried() -> None:
        with attempt.undone_on_failure(context):
            prepare.settings(context)
            (own / "gateway_token").write_text("drawn")
            raise StackError("the passphrase does not open it", "the right one", "look")

    with pytest.raises(StackError):
        tried()
    assert not context.deployment.env_file.exists()
    assert [path.name for path in own.iterdir()] == ["backup_passphrase"]


def test_from_another_deployment_with_its_own_passphrase(machine: Machine, secrets: Path) -> None:
    machine.made_env(SECRETS_DIR="./secrets")
    found = source.resolve(Deployment(machine.root, "restored"), "prod")
    assert (found.name, found.mount, found.secrets) == ("prod", "prod_backups", secrets.resolve())


def test_the_record_keeps_what_cannot_be_drawn_anew(machine: Machine, secrets: Path) -> None:
    machine.made_env()
    for name in ("admin_password", "personal_data_key_ingestion", "postgres_password", "eta_database_password"):
        (secrets / name).write_text(name)
    machine.executor.answer("git", "rev-parse", "HEAD", stdout="abc\n")
    assert record.write(machine.context())
    written = json.loads((secrets / record.NAME).read_text())
    assert set(written["secrets"]) == {"admin_password", "personal_data_key_ingestion"}
    assert written["commit"] == "abc"
    assert "GATEWAY_PORT" in written["settings"]
    inode = (secrets / record.NAME).stat().st_ino
    (secrets / "admin_password").write_text("another")
    assert record.write(machine.context())
    # Containers mount the file itself.
    assert (secrets / record.NAME).stat().st_ino == inode
    assert "another" in (secrets / record.NAME).read_text()


def test_a_secret_that_comes_back_stays_in_its_folder(tmp_path: Path) -> None:
    names = {"../outside": "x", "postgres_password": "x", "smtp_password": "x"}
    assert target.write_secrets(tmp_path / "secrets", names, overwrite=True) == ["smtp_password"]
    assert not (tmp_path / "outside").exists()


def test_a_deployment_that_is_down_cannot_be_backed_up(machine: Machine) -> None:
    machine.made_env()
    with pytest.raises(StackError, match="the service backup of prod does not run"):
        asking.running(machine.context(), "take")


def test_two_backups_at_once(machine: Machine) -> None:
    machine.made_env()
    machine.executor.answer("ps", "--all", stdout="one\n")
    machine.executor.answer("inspect", "--type", stdout=json.dumps([container("backup")]))
    error = {"found": "another backup is at work in this deployment", "expected": "one at a time", "do": "wait"}
    machine.executor.answer("backup", "take", code=1, stdout=json.dumps({"error": error}) + "\n")
    with pytest.raises(StackError, match="another backup is at work"):
        asking.running(machine.context(), "take")
    assert machine.executor.ran(*docker.execute(Deployment(machine.root), "backup")[-3:])
