"""What pgBackRest and restic are asked, and what becomes of their answers."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.programs import Done
from backup.settings import S3, Places, Settings

from backup import health, recovery, serving, settings

INFO = [
    {
        "repo": [{"status": {"code": 0, "message": "ok"}}],
        "backup": [
            {
                "label": "20261121-120000F",
                "type": "full",
                "error": False,
                "timestamp": {"start": 1795262400, "stop": 1795262410},
                "info": {"size": 100, "repository": {"delta": 10}},
            },
            {"label": "bad", "type": "incr", "error": True, "timestamp": {}, "info": {}},
        ],
    }
]


class Programs:
    """Answers by the first word of a command that it knows."""

    def __init__(self, **answers: Done) -> None:
        self.answers = answers
        self.calls: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(self, args: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: str = "") -> Done:
        self.calls.append(list(args))
        self.environments.append(dict(environment or {}))
        return next((done for word, done in self.answers.items() if word in args), Done(0, "", ""))


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    places = Places(secrets=tmp_path / "secrets", repository=tmp_path / "repository", work=tmp_path)
    places.secrets.mkdir()
    return Settings("prod", places=places)


class Repository(Programs):
    """Lists a copy once it was asked to take one."""

    def __init__(self, after: list[dict[str, object]]) -> None:
        super().__init__(info=Done(0, json.dumps([{**INFO[0], "backup": []}]), ""))
        self.after = after

    def __call__(self, args: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: str = "") -> Done:
        done = super().__call__(args, environment=environment, stdin=stdin)
        if "backup" in args:
            self.answers["info"] = Done(0, json.dumps([{**INFO[0], "backup": self.after}]), "")
        return done


GOOD, BAD = INFO[0]["backup"]


def test_a_copy_of_the_database_by_its_kind() -> None:
    programs = Repository([GOOD])
    copy = Database(programs).copy("incremental")
    assert programs.calls[1] == ["pgbackrest-repository", "backup", "--type=incr", "--no-expire-auto"]
    assert (copy.label, copy.kind, copy.size, copy.stored) == ("20261121-120000F", "full", 100, 10)


@pytest.mark.parametrize("after", [[BAD], []])
def test_a_copy_with_damaged_pages_is_none_though_the_program_ends_well(after: list[dict[str, object]]) -> None:
    with pytest.raises(BackupError, match="copy of the database has errors"):
        Database(Repository(after)).copy("full")


def test_copies_that_are_marked_are_not_offered() -> None:
    found = Database(Programs(info=Done(0, json.dumps(INFO), ""))).copies()
    assert [copy.label for copy in found] == ["20261121-120000F"]


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Done(50, "", "ERROR: [050]: unable to acquire lock"), "another backup is at work"),
        (Done(31, "", "ERROR: [031]: unable to flush"), "passphrase does not open"),
        (Done(39, "", "ERROR: [039]: No space left on device"), "the disk is full"),
    ],
)
def test_what_the_database_copy_complains_about(done: Done, words: str) -> None:
    with pytest.raises(BackupError, match=words):
        Database(Programs(backup=done)).copy("full")


@pytest.mark.parametrize("printed", ["stanza: main\nstatus: error\n  checksum invalid: 1", ""])
def test_damage_in_the_database_copy_is_found_though_the_program_ends_well(printed: str) -> None:
    with pytest.raises(BackupError, match="found damage"):
        Database(Programs(verify=Done(0, printed, ""))).verify()
    Database(Programs(verify=Done(0, "stanza: main\nstatus: ok\n", ""))).verify()


def test_a_repository_of_another_database_is_left_alone() -> None:
    programs = Programs(**{"stanza-create": Done(28, "", "do not match")})
    with pytest.raises(BackupError, match="backups of another database"):
        Database(programs).prepare()
    assert len(programs.calls) == 1


def test_a_repository_that_cannot_be_read_is_no_empty_one() -> None:
    broken = '[{"repo": [{"status": {"code": 99, "message": "unable to decrypt \x01\n"}}], "backup": []}]'
    with pytest.raises(BackupError, match="unable to decrypt"):
        Database(Programs(info=Done(0, broken, ""))).copies()


@pytest.mark.parametrize(
    ("code", "words"),
    [(10, "there are no backups in"), (12, "passphrase does not open"), (11, "in use by another"), (1, "no route")],
)
def test_what_restic_complains_about(here: Settings, code: int, words: str) -> None:
    with pytest.raises(BackupError, match=words):
        Files(here, Programs(snapshots=Done(code, "", "Fatal: no route to host"))).snapshots()


def test_damage_is_called_damage(here: Settings) -> None:
    with pytest.raises(BackupError, match="found damage: pack 12ab"):
        Files(here, Programs(check=Done(1, "", "pack 12ab: does not match"))).check(everything=True)


SUMMARY = json.dumps({"message_type": "summary", "snapshot_id": "aa"})


@pytest.mark.parametrize(
    ("complaint", "paths"),
    [
        ('{"message_type":"error","error":{},"item":"/var/lib/lake/eta/x"}\nnot json', ["/var/lib/lake/eta/x"]),
        ("permission denied", [""]),
    ],
)
def test_what_cannot_be_read_is_told_by_its_path(here: Settings, complaint: str, paths: list[str]) -> None:
    programs = Programs(backup=Done(3, SUMMARY, complaint))
    assert Files(here, programs).copy([Path("/var/lib/lake")], ["data"])["unreadable"] == paths


def test_a_full_disk_is_called_so(here: Settings) -> None:
    with pytest.raises(BackupError, match="the disk is full: restic") as caught:
        Files(here, Programs(backup=Done(1, "", "write: no space left on device"))).copy([Path("/x")], ["data"])
    assert "BACKUP_KEEP_DAYS" in caught.value.do


def test_a_new_repository_is_made_and_an_old_one_opened(here: Settings) -> None:
    new = Programs(config=Done(10, "", ""))
    Files(here, new).prepare()
    assert new.calls[-1][-1] == "init"
    old = Programs()
    Files(here, old).prepare()
    # Whose locks are in it is not known yet.
    assert [call[-2:] for call in old.calls] == [["cat", "config"]]


def test_a_reader_leaves_no_lock(here: Settings) -> None:
    programs = Programs()
    Files(here, programs, reading=True).snapshots()
    assert programs.calls[0][:3] == ["restic", "--no-cache", "--no-lock"]


def test_a_bucket_by_tls_with_keys_and_an_authority(here: Settings) -> None:
    for name in ("backup_s3_key", "backup_s3_key_secret", "backup_s3_authority"):
        (here.places.secrets / name).write_text(f"{name} of mine\n")
    programs = Programs()
    s3 = Settings("prod", S3("storage.internal:8333", "backups", "eu-central-1"), places=here.places)
    Files(s3, programs).snapshots()
    environment = programs.environments[0]
    assert environment["RESTIC_REPOSITORY"] == "s3:https://storage.internal:8333/backups/prod/files"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "backup_s3_key_secret of mine"
    assert programs.calls[0][-5:-3] == ["--cacert", str(here.places.secrets / "backup_s3_authority")]
    assert not any("of mine" in part for part in programs.calls[0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"BACKUP_NAME": ""}, "BACKUP_NAME"),
        ({"BACKUP_S3_ENDPOINT": "s3.example.org"}, "BACKUP_S3_BUCKET"),
        ({"BACKUP_S3_ENDPOINT": "https://s3.example.org", "BACKUP_S3_BUCKET": "b"}, "without a scheme"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, str], words: str) -> None:
    with pytest.raises(BackupError) as caught:
        settings.load({"BACKUP_NAME": "prod", **values})
    assert words in caught.value.found + caught.value.expected


@pytest.mark.parametrize(
    ("values", "on"), [({}, True), ({"BACKUPS": "off"}, False), ({"DEPLOYMENT": "branch-7"}, False)]
)
def test_backups_are_for_production(values: dict[str, str], on: bool) -> None:
    assert settings.load({"BACKUP_NAME": "prod", **values}).on is on


def test_one_at_a_time(here: Settings) -> None:
    with (
        serving.alone(here.places.work),
        pytest.raises(BackupError, match="another backup"),
        serving.alone(here.places.work),
    ):
        pass


def test_by_hand_waits_for_a_look_and_not_for_a_backup(here: Settings) -> None:
    looking = threading.Event()

    def look() -> None:
        with serving.alone(here.places.work):
            looking.set()
            time.sleep(0.3)

    thread = threading.Thread(target=look)
    thread.start()
    assert looking.wait(5)
    with serving.alone(here.places.work, 20):
        pass
    thread.join()
    begun = time.monotonic()
    with (
        serving.alone(here.places.work),
        pytest.raises(BackupError, match="another backup"),
        serving.alone(here.places.work, 0.3),
    ):
        pass
    assert time.monotonic() - begun > 0.3


def test_only_a_backup_by_hand_is_stopped_from_outside(here: Settings) -> None:
    assert not serving.stop(here.places.work)
    with serving.alone(here.places.work):
        # This process is no `python3 -m backup take`.
        assert not serving.stop(here.places.work)
    hold = (
        "import signal, sys; from pathlib import Path; from backup import serving\n"
        # Ignored where the tests run in the background of a shell, and inherited.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with serving.alone(Path(sys.argv[2])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, "take", str(here.places.work)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "held\n"
        assert serving.stop(here.places.work)
        assert "KeyboardInterrupt" in holder.communicate()[1]
    with serving.alone(here.places.work):
        pass


def test_it_is_well_while_its_loop_turns_or_a_backup_takes_hours(here: Settings) -> None:
    assert not health.healthy(here.places.work)
    with serving.alone(here.places.work):
        assert health.healthy(here.places.work)
    (here.places.work / "heartbeat").touch()
    assert health.healthy(here.places.work)


def test_a_restored_cluster_forgets_where_it_stopped(tmp_path: Path) -> None:
    kept = "# Do not edit\nwork_mem = '4MB'\n"
    (tmp_path / "postgresql.auto.conf").write_text(
        kept + "restore_command = 'pgbackrest archive-get %f \"%p\"'\nrecovery_target_name = 'x'\n"
        "recovery_target_action = 'promote'\n"
    )
    recovery.forget_target(tmp_path)
    assert (tmp_path / "postgresql.auto.conf").read_text() == kept
