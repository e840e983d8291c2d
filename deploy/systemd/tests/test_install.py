"""The installer of the units, on a folder in the place of /etc/systemd/system and with a systemctl that takes notes."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1]
UNITS = sorted(path.name for kind in ("service", "timer", "path") for path in FOLDER.glob(f"*.{kind}"))
USER = getpass.getuser()


class Machine:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.checkout = place / "srv/deployment"
        self.units = place / "units"
        self.units.mkdir()
        shutil.copytree(FOLDER, self.checkout / "deploy/systemd", ignore=shutil.ignore_patterns("tests"))
        systemctl = place / "bin/systemctl"
        systemctl.parent.mkdir()
        systemctl.write_text('#!/bin/sh\necho "$@" >>"$NOTES"\n')
        systemctl.chmod(0o755)
        (place / "notes").touch()

    def install(self, *args: str) -> subprocess.CompletedProcess[str]:
        (self.place / "notes").write_text("")
        return subprocess.run(
            [self.checkout / "deploy/systemd/install", *args],
            env={
                "PATH": f"{self.place / 'bin'}:/usr/bin:/bin",
                "SYSTEMD_UNITS": str(self.units),
                "NOTES": str(self.place / "notes"),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def notes(self) -> list[str]:
        return (self.place / "notes").read_text().splitlines()

    @property
    def installed(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.units.iterdir())}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_all_units_are_installed_for_the_checkout_and_its_user(machine: Machine) -> None:
    done = machine.install("--user", USER)
    assert done.returncode == 0, done.stderr
    assert list(machine.installed) == UNITS
    for text in machine.installed.values():
        assert text.startswith("# Installed from ")
        assert "@CHECKOUT@" not in text
        assert "@USER@" not in text
    stack = machine.installed["stack.service"]
    assert f"ExecStart={machine.checkout}/stack up\n" in stack
    assert f"User={USER}\n" in stack
    assert machine.notes[0] == "daemon-reload"
    enabled = machine.notes[1].split()
    assert enabled[:2] == ["enable", "--quiet"]
    can = [name for name in UNITS if "\n[Install]" in (FOLDER / name).read_text()]
    assert sorted(enabled[2:]) == sorted(can)
    assert {"stack.service", "stack-metadata.service"} <= set(can)
    # Nothing starts unasked: the first start builds all images.
    assert len(machine.notes) == 2


def test_a_second_time_changes_nothing_and_an_edit_changes_one(machine: Machine) -> None:
    machine.install("--user", USER)
    before = {path.name: path.stat().st_mtime_ns for path in machine.units.iterdir()}
    done = machine.install("--user", USER)
    assert done.stdout == ""
    assert {path.name: path.stat().st_mtime_ns for path in machine.units.iterdir()} == before
    assert [note.split()[0] for note in machine.notes] == ["enable"]
    with (machine.checkout / "deploy/systemd/stack.service").open("a") as file:
        file.write("# edited\n")
    assert machine.install("--user", USER).stdout == "installed stack.service\n"
    assert machine.notes[0] == "daemon-reload"


def test_a_unit_that_the_repository_gave_up_goes_and_others_stay(machine: Machine) -> None:
    old = machine.checkout / "deploy/systemd/old.timer"
    old.write_text("[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n")
    machine.install("--user", USER)
    (machine.units / "theirs.timer").write_text("[Timer]\n")
    old.unlink()
    assert machine.install("--user", USER).stdout == "removed old.timer\n"
    assert machine.notes[0] == "disable --quiet --now old.timer"
    assert "theirs.timer" in machine.installed


def test_removing_leaves_what_is_not_from_here(machine: Machine) -> None:
    machine.install("--user", USER)
    (machine.units / "theirs.service").write_text("[Service]\n")
    assert machine.install("--remove").returncode == 0
    assert list(machine.installed) == ["theirs.service"]
    assert machine.install("--remove").stdout == ""


def test_now_starts_what_is_enabled(machine: Machine) -> None:
    machine.install("--user", USER, "--now")
    enabled, started = machine.notes[-2:]
    assert enabled.removeprefix("enable --quiet ") == started.removeprefix("start ")


def test_the_metadata_rules_can_be_left_out(machine: Machine) -> None:
    machine.install("--user", USER, "--no-metadata")
    assert "stack-metadata.service" not in machine.installed


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "no --user"),
        (["--user"], "--user without a name"),
        (["--user", "no|such/e"], "the user 'no|such/e'"),
        (["--user", "-x"], "the user '-x'"),
        (["--user", "nobody" if USER != "nobody" else "daemon"], f"belongs to {USER}"),
        (["--sure"], "the argument '--sure'"),
    ],
)
def test_a_call_that_makes_no_sense_changes_nothing(machine: Machine, args: list[str], said: str) -> None:
    done = machine.install(*args)
    assert done.returncode == 64
    assert said in done.stderr
    assert machine.installed == {}
    assert machine.notes == []


def test_somebody_elses_unit_is_not_overwritten(machine: Machine) -> None:
    (machine.units / "stack.service").write_text("[Service]\n")
    done = machine.install("--user", USER)
    assert done.returncode == 64
    assert "which is not from here" in done.stderr
    assert machine.installed == {"stack.service": "[Service]\n"}


def test_a_path_that_units_would_take_apart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "with space").mkdir()
    machine = Machine(tmp_path / "with space")
    assert "the checkout's path" in machine.install("--user", USER).stderr
    assert machine.installed == {}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_understands_every_unit(machine: Machine) -> None:
    machine.install("--user", "root" if USER == "root" else USER)
    # Only there: whether this very machine has Docker, nft or a docker.service is not the question.
    (machine.units / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    (machine.checkout / "stack").write_text("#!/bin/sh\n")
    (machine.checkout / "stack").chmod(0o755)
    for unit in UNITS:
        text = (machine.units / unit).read_text().replace("/usr/sbin/nft", "/bin/true")
        (machine.units / unit).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(machine.units / unit) for unit in UNITS)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{machine.units}:"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert str(machine.units) not in done.stderr


def test_every_unit_says_what_it_needs() -> None:
    for name in UNITS:
        text = (FOLDER / name).read_text()
        assert "Description=" in text
        if name.endswith(".service") and "ExecStart=@CHECKOUT@/stack" in text:
            assert "User=@USER@" in text
            assert "WorkingDirectory=@CHECKOUT@" in text
