"""Real processes under the real entry point of the images."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "libraries" / "redaction" / "src"
START = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from redaction.supervisor import main
main(sys.argv[1:])
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command as a container does; whatever still runs at the end is ended."""
    processes = []

    def begin(*command: str, **environment: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", START, str(SOURCE), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start: Start) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """Runs a command to its end."""

    def to_the_end(*command: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
        process = start(*command, **environment)
        out, err = process.communicate(timeout=110)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return to_the_end
