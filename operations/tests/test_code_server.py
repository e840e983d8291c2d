"""What a code server serves: its definitions when its tables are known to be right, in every other case the reason."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/images/code-server"
REASON = Path("/tmp/migrations-refused.txt")
# Dagster's command says what it was asked; whatever else Python is started for goes on as given.
PYTHON = """#!/bin/sh
case "$*" in "-m lean_dagster api grpc "*) echo "$@" ;; *) {otherwise} ;; esac
"""
REFUSED, SERVED = "platform_kit.migrations.refused", "sales.definitions"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A location with migrations, and a library whose check ends as a test says."""
    for name in ("sales", "platform_kit"):
        (tmp_path / name / "migrations").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(0)\n" if name == "sales" else "")
        (tmp_path / name / "migrations/__init__.py").touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").write_text(PYTHON.format(otherwise=f'exec {sys.executable} "$@"'))
    (programs / "python").chmod(0o755)
    return tmp_path


def served(image: Path, ends: str = "") -> str:
    """The module that is served when the check does this."""
    if ends:
        (image / "platform_kit/migrations/__main__.py").write_text(f"import os, sys\n{ends}\n")
    own = {"PATH": f"{image}/programs:{os.environ['PATH']}", "PYTHONPATH": str(image), "CODE_LOCATION_PACKAGE": "sales"}
    done = subprocess.run(
        ["sh", str(SCRIPT)], capture_output=True, text=True, timeout=60, check=True, cwd=image, env=own
    )
    return done.stdout.split()[-1]


def test_tables_that_are_as_needed_are_served(image: Path) -> None:
    assert served(image, "sys.exit(0)") == SERVED


@pytest.mark.parametrize(
    "ends",
    ["sys.exit(1)", "sys.exit(2)", "sys.exit(4)", "raise MemoryError", "os.kill(os.getpid(), 9)", "import no_such"],
)
def test_a_check_that_crashes_is_no_permission(image: Path, ends: str) -> None:
    REASON.unlink(missing_ok=True)
    try:
        assert served(image, ends) == REFUSED
        assert "the check of its tables ended with" in REASON.read_text()
    finally:
        REASON.unlink(missing_ok=True)


def test_the_reason_of_a_refusal_is_the_checks_own(image: Path) -> None:
    try:
        assert served(image, f"open('{REASON}', 'w').write('mine'); sys.exit(3)") == REFUSED
        assert REASON.read_text() == "mine"
    finally:
        REASON.unlink(missing_ok=True)


def test_an_interpreter_that_crashes_is_no_permission(image: Path) -> None:
    (image / "programs/python").write_text(PYTHON.format(otherwise="kill -9 $$"))
    try:
        assert served(image) == REFUSED
    finally:
        REASON.unlink(missing_ok=True)


@pytest.mark.parametrize("without", ["sales", "platform_kit"])
def test_a_location_without_migrations_of_the_library_has_none_to_check(image: Path, without: str) -> None:
    (image / without / "migrations/__init__.py").unlink()
    assert served(image, "sys.exit(1)") == SERVED
