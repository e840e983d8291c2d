"""The long-lived programs of ./stack dev: each with its log, all of them ended with it."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
# Dagster lets a run note that it was stopped; then nothing is waited for.
PATIENCE_SECONDS = 10.0


class Program:
    """A program with its descendants, in a process group of its own: Ctrl-C in the terminal reaches only ./stack."""

    def __init__(
        self, name: str, args: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, files: Sequence[int] = ()
    ) -> None:
        self.name, self.log = name, log
        self._args, self._env, self._cwd, self._files = list(args), dict(env), cwd, tuple(files)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its log begins anew."""
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._args,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                pass_fds=self._files,
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """To it and its descendants."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def is_gone(self) -> bool:
        """Whether neither it nor a descendant in its group is left."""
        if self._process is None:
            return True
        if self._process.poll() is None:
            return False
        with suppress(ChildProcessError):
            # Orphans of the group have become ours (see `adopting`); they stay as long as nobody asks for them.
            while os.waitpid(-self._process.pid, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def last_words(self, lines: int = 12) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(line for line in text.splitlines()[-lines:] if line.strip())


def end(programs: Sequence[Program]) -> None:
    """End programs and all that they started: asked first, then made to."""
    for program in programs:
        program.signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := [program for program in programs if not program.is_gone()]:
        if time.monotonic() > deadline:
            for program in left:
                program.signal(signal.SIGKILL)
        time.sleep(0.05)


@contextmanager
def adopting() -> Iterator[None]:
    """Whatever descendant loses its parent becomes ours (on Linux), and ends with us even in a group of its own."""
    if not sys.platform.startswith("linux"):
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _children() -> Iterator[int]:
    # Ending one hands us its own children: asked again until there are none.
    mine = Path(f"/proc/self/task/{os.getpid()}/children")
    while numbers := mine.read_text(encoding="ascii").split():
        yield from map(int, numbers)
