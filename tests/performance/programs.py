"""Programs that the benchmark starts, and what it says meanwhile."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def say(text: str = "") -> None:
    """A line for who waits."""
    print(text, flush=True)


def run(folder: Path, *command: str, env: Mapping[str, str] | None = None, seconds: float = 2400) -> str:
    """Runs a program, which has to succeed, and returns what it printed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    done = subprocess.run(
        list(command),
        cwd=folder,
        env={**inherited, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)[:300]} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def settings() -> dict[str, str]:
    """What ./stack bench hands over of the checkout's settings: what builds depend on, and the engine's socket."""
    names = ("BASE_IMAGE", "PACKAGE_INDEX", "DOCKER_SOCKET")
    return {name: os.environ[name] for name in names if os.environ.get(name)}
