"""The only layer that starts programs. Everything else builds argument lists and reads results."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from operations.errors import StackError

Line = Callable[[str], None]
# What a program has whose reader was interrupted: to end by itself, and then by request.
OWN_SECONDS, END_SECONDS = 10.0, 50.0


@dataclass(frozen=True)
class Result:
    """How a program ended and what it wrote."""

    args: tuple[str, ...]
    code: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ended with zero."""
        return self.code == 0

    @property
    def last_words(self) -> str:
        """The end of what it complained about, for an error."""
        lines = [line for line in (self.stderr.strip() or self.stdout.strip()).splitlines() if line.strip()]
        return "\n".join(lines[-5:]) or "no output"


class CommandError(StackError):
    """A program ended with an error that nobody expected."""

    def __init__(self, result: Result, do: str = "") -> None:
        super().__init__(
            found=f"`{shorten(result.args)}` ended with {result.code}: {result.last_words}",
            expected="the command to succeed",
            do=do or "repeat with --verbose to see every command and its output",
        )
        self.result = result


class Executor(Protocol):
    """What verbs need from the outside; tests give one that records argument lists."""

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        """Run a program to its end and return what it wrote; `check` turns failure into `CommandError`."""

    def stream(
        self, args: Sequence[str], on_line: Line, *, env: Mapping[str, str] | None = None, check: bool = True
    ) -> Result:
        """Run a program and hand over each line it writes, stderr included, as it comes."""


class Shell:
    """The real executor."""

    def __init__(self, cwd: Path, log: Line | None = None) -> None:
        self._cwd = cwd
        self._log = log or (lambda _: None)

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        """Run a program to its end; one that is not installed ends with 127, as in a shell."""
        self._log(f"$ {shorten(args, 2000)}")
        try:
            done = subprocess.run(
                list(args),
                # Without input given, none is inherited: no program may wait for a person who is not there.
                input=stdin or "",
                capture_output=True,
                text=True,
                errors="replace",
                cwd=self._cwd,
                env=_environment(env),
                timeout=timeout,
                check=False,
            )
            result = Result(tuple(args), done.returncode, done.stdout, done.stderr)
        except FileNotFoundError:
            result = Result(tuple(args), 127, "", f"{args[0]} is not installed")
        except subprocess.TimeoutExpired:
            result = Result(tuple(args), 124, "", f"no answer within {timeout:g} s")
        if result.stderr.strip():
            self._log(result.stderr.rstrip())
        if check and not result.ok:
            raise CommandError(result)
        return result

    def stream(
        self, args: Sequence[str], on_line: Line, *, env: Mapping[str, str] | None = None, check: bool = True
    ) -> Result:
        """Run a program and hand over each line it writes; the result's stderr holds the last 200."""
        self._log(f"$ {shorten(args, 2000)}")
        tail: list[str] = []
        try:
            process = subprocess.Popen(
                list(args),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd=self._cwd,
                env=_environment(env),
            )
        except FileNotFoundError:
            result = Result(tuple(args), 127, "", f"{args[0]} is not installed")
        else:
            try:
                for line in process.stdout or ():
                    tail = [*tail[-199:], line.rstrip("\n")]
                    self._log(tail[-1])
                    on_line(tail[-1])
            finally:
                if process.stdout:
                    process.stdout.close()
                code = _end(process)
            result = Result(tuple(args), code, "", "\n".join(tail))
        if check and not result.ok:
            raise CommandError(result)
        return result


def shorten(args: Sequence[str], limit: int = 160) -> str:
    """A command as one line for people; long ones are cut."""
    line = " ".join(args)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _end(process: "subprocess.Popen[str]") -> int:
    # After Ctrl-C the program has got the signal as well: it has time to end in its own way. After a signal to this
    # process alone it has not, and is told: killed at once, it would leave what it has started itself.
    for patience, then in ((OWN_SECONDS, process.terminate), (END_SECONDS, process.kill)):
        try:
            return process.wait(timeout=patience)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            then()
    return process.wait()


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    # Compose and uv colour and animate by the terminal they see; what is read by a program is plain.
    return {**os.environ, "NO_COLOR": "1", "DOCKER_CLI_HINTS": "false", **(extra or {})}
