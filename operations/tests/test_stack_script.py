"""The shell script, with a Python that pretends: no network, no real environment."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from operations import calls

# Answers what the script asks. "-m venv DIR" makes DIR/bin/python another copy; pip may be told to fail.
PYTHON = """#!/bin/sh
case "$*" in
    *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python"; echo made >>"$LOG" ;;
    *"-m pip"*) echo "pip $*" >>"$LOG"; exit "${PIP_CODE:-0}" ;;
    *"-m operations"*) echo "operations $* PYTHONPATH=$PYTHONPATH" ;;
    *"import typer"*) exit "${BROKEN:-0}" ;;
    *"import ensurepip"*) exit "${NO_PIP:-0}" ;;
    *"version_info[:2]"*) echo python3.12-venv ;;
    *version_info*) exit "${TOO_OLD:-0}" ;;
    *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a checkout"
    root.mkdir()
    shutil.copy(calls.ROOT / "stack", root / "stack")
    (root / "requirements.lock").write_text("typer==1\n")
    return root


@pytest.fixture
def run(tmp_path: Path) -> Run:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").write_text(PYTHON)
    (tools / "python3").chmod(0o755)
    for name in ("sh", "dirname", "readlink", "cat", "sha256sum", "mkdir", "rm", "mv", "cp", "flock", "id"):
        (tools / name).symlink_to(str(shutil.which(name)))

    def call(root: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {"PATH": str(tools), "LOG": str(tmp_path / "log"), **environment}
        return subprocess.run(
            [str(root / "stack"), *arguments],
            capture_output=True,
            text=True,
            env=variables,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    return call


def log(tmp_path: Path) -> list[str]:
    path = tmp_path / "log"
    return path.read_text().splitlines() if path.exists() else []


def test_the_first_call_makes_the_environment_and_the_next_ones_use_it(
    checkout: Path, run: Run, tmp_path: Path
) -> None:
    for _ in range(3):
        result = run(checkout, "up", "--deployment", "a b")
        assert result.returncode == 0, result.stderr
        assert result.stdout == (
            f"operations -P -m operations up --deployment a b PYTHONPATH={checkout}:{checkout}/libraries/access/src\n"
        )
    made, installed = log(tmp_path)
    assert made == "made"
    assert "--require-hashes" in installed


def test_a_changed_lock_makes_it_again(checkout: Path, run: Run, tmp_path: Path) -> None:
    run(checkout)
    (checkout / "requirements.lock").write_text("typer==2\n")
    run(checkout)
    assert log(tmp_path).count("made") == 2


def test_an_environment_that_no_longer_works_is_made_again(checkout: Path, run: Run, tmp_path: Path) -> None:
    run(checkout)
    # As after an upgrade of the distribution's Python.
    run(checkout, BROKEN="1")
    assert log(tmp_path).count("made") == 2


def test_a_failed_creation_leaves_no_half_environment(checkout: Path, run: Run, tmp_path: Path) -> None:
    result = run(checkout, PIP_CODE="1")
    assert result.returncode == 1
    assert "requirements.lock could not be installed" in result.stderr
    assert not (checkout / ".venv").exists()
    assert run(checkout).returncode == 0


def test_a_failed_renewal_leaves_the_working_environment(checkout: Path, run: Run) -> None:
    run(checkout)
    before = (checkout / ".venv/lock.sha256").read_text()
    (checkout / "requirements.lock").write_text("typer==2\n")
    assert run(checkout, PIP_CODE="1").returncode == 1
    assert (checkout / ".venv/lock.sha256").read_text() == before


def test_a_left_over_of_an_interrupted_creation_is_no_obstacle(checkout: Path, run: Run) -> None:
    half = checkout / ".stack/venv.new/bin"
    half.mkdir(parents=True)
    (half / "python").write_text("half")
    (checkout / ".venv").mkdir()
    assert run(checkout).returncode == 0


def test_a_moved_checkout_works_without_making_anything(checkout: Path, run: Run, tmp_path: Path) -> None:
    run(checkout)
    moved = tmp_path / "elsewhere"
    checkout.rename(moved)
    result = run(moved, "status")
    assert f"PYTHONPATH={moved}:" in result.stdout
    assert log(tmp_path).count("made") == 1


def test_a_link_to_the_command_finds_its_checkout(checkout: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "stack").symlink_to(checkout / "stack")
    assert f"PYTHONPATH={checkout}:" in run(folder, "status").stdout


def test_two_first_calls_at_once_make_it_once(checkout: Path, run: Run, tmp_path: Path) -> None:
    variables = {"PATH": str(tmp_path / "bin"), "LOG": str(tmp_path / "log")}
    both = [subprocess.Popen([str(checkout / "stack")], env=variables, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(output.startswith(b"operations") for output in outputs)
    assert log(tmp_path).count("made") == 1


def test_an_old_python_is_told_with_what_to_install(checkout: Path, run: Run) -> None:
    result = run(checkout, TOO_OLD="1")
    assert result.returncode == 1
    assert "Python 3.11 or newer was not found" in result.stderr
    assert "apt-get install python3 python3-venv" in result.stderr


def test_a_python_without_pip_is_told_with_the_very_package(checkout: Path, run: Run) -> None:
    result = run(checkout, NO_PIP="1")
    assert result.returncode == 1
    assert "apt-get install python3.12-venv" in result.stderr
