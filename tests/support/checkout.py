"""Copies of this checkout, as it is, in which ./stack may change files."""

import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support import locations
from tests.support.deployment import ROOT


def copy_checkout(to: Path) -> None:
    """What git knows and what is not committed yet, with the environment of ./stack, which need not be made again."""
    copy_files(to)
    (to / ".venv").symlink_to(ROOT / ".venv")


def copy_files(to: Path) -> None:
    """The files alone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def remove_locations(root: Path, names: Iterable[str], stack: Callable[..., object]) -> None:
    """Have the copy's `stack` remove code locations as a user would: whoever reads a lake goes before whose it is."""
    waiting = list(names)
    while waiting:
        reads = locations.reads(root)
        unread = [name for name in waiting if not any(name in others for others in reads.values())]
        assert unread, reads
        for name in unread:
            stack("location", "remove", name, "--yes")
            waiting.remove(name)
