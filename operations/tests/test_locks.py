import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from operations import locks
from operations.errors import StackError

HOLDER = """
import sys, pathlib
from operations import locks
with locks.hold(pathlib.Path(sys.argv[1]), "./stack up", "first start"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "lock"


def hold_elsewhere(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate()


def test_a_second_verb_is_refused_and_told_who_when_and_why(path: Path) -> None:
    process = hold_elsewhere(path)
    with pytest.raises(StackError) as error, locks.hold(path, "./stack down"):
        pytest.fail("two held the lock")
    end(process)
    for part in ("`./stack up` (first start)", f"process {process.pid}", "since 20", "UTC"):
        assert part in error.value.found


def test_the_lock_is_free_after_its_verb(path: Path) -> None:
    for verb in ("./stack up", "./stack down"):
        with locks.hold(path, verb) as note:
            assert note is None
            assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.read_text() == ""


def test_the_lock_of_a_killed_verb_is_taken_over_and_said_so(path: Path) -> None:
    process = hold_elsewhere(path)
    process.send_signal(signal.SIGKILL)
    end(process)
    with locks.hold(path, "./stack down") as note:
        assert note is not None
        assert f"process {process.pid}" in note


def test_a_refused_verb_does_not_erase_who_holds_the_lock(path: Path) -> None:
    process = hold_elsewhere(path)
    for _ in range(2):
        with pytest.raises(StackError, match=r"`\./stack up`"), locks.hold(path, "./stack down"):
            pytest.fail("two held the lock")
    end(process)
