"""The machine under work: its files, its programs, and what it is to become."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from operations.errors import StackError

T = TypeVar("T")
KEYS = {
    "REPOSITORY": "where git finds the deployment repository",
    "REF": "its branch (what reconcile then follows), tag or commit",
    "PARAMETERS": "path in Systems Manager's parameter store; empty: none",
    "DATA_VOLUME": "id of the data volume (vol-...), auto for the only empty one, empty for none",
}


@dataclass(frozen=True)
class Wish:
    """The content of machine.conf."""

    repository: str
    ref: str
    parameters: str = ""
    data_volume: str = ""


@dataclass
class Host:
    """Files below `slash`, programs by argument list."""

    slash: Path = Path("/")
    said: Callable[[str], None] = field(default=lambda line: print(f"setup: {line}", flush=True))

    def path(self, name: str) -> Path:
        """A file of the machine."""
        return self.slash / name.lstrip("/")

    def run(self, args: Sequence[str], *, check: bool = True, env: dict[str, str] | None = None) -> str:
        """What a program prints; its error is told as it is."""
        done = subprocess.run(
            list(args), capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, check=False
        )
        if check and done.returncode:
            last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
            raise StackError(f"{' '.join(args)} exited {done.returncode}: {last}", "success", "see above, then repeat")
        return done.stdout

    def code(self, args: Sequence[str]) -> int:
        """The exit code of a program, where that is its answer."""
        return subprocess.run(list(args), capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode

    def wait(self, found: Callable[[], T | None], seconds: float) -> T | None:
        """Ask until there is an answer, or the time is up."""
        deadline = time.monotonic() + seconds
        while (answer := found()) is None and time.monotonic() < deadline:
            time.sleep(2)
        return answer

    def write(self, name: str, text: str, mode: int = 0o644) -> bool:
        """Make a file be this; False when it was already."""
        path = self.path(name)
        if path.is_file() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.new")
        aside.touch(mode=0o600)
        aside.write_text(text, encoding="utf-8")
        aside.chmod(mode)
        aside.replace(path)
        self.said(f"wrote {name}")
        return True


def wish(host: Host, name: str = "/etc/stack/machine.conf") -> Wish:
    """Read machine.conf; raises `StackError` that names the line."""
    path = host.path(name)
    if not path.is_file():
        raise StackError(f"there is no {name}", f"lines {', '.join(f'{key}=...' for key in KEYS)}", "see docs/ec2.md")
    values: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals or key not in KEYS:
            raise StackError(f"{name}:{number}: {line!r}", f"one of {', '.join(KEYS)} with =", "correct that line")
        values[key] = value.strip()
    missing = [key for key in ("REPOSITORY", "REF") if not values.get(key)]
    if missing:
        raise StackError(f"{name} has no {', '.join(missing)}", KEYS[missing[0]], "add it")
    if values["REPOSITORY"].startswith("-") or values["REF"].startswith("-"):
        raise StackError(f"{name}: a value that begins with -", "an address and a branch, tag or commit", "correct it")
    return Wish(values["REPOSITORY"], values["REF"], values.get("PARAMETERS", ""), values.get("DATA_VOLUME", ""))
