"""What reconcile remembers between calls, in files below `.stack/<deployment>/`.

`reconcile.json` has the last good commit and the one that failed, `reconcile.jsonl` one line for each attempt that did
something, `reconcile-under-way.json` the way back of an attempt that has not ended, `paused` who paused it and why.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from operations import whole_file
from operations.deployment import Deployment
from operations.errors import StackError

T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """A commit that is not tried again by itself."""

    commit: str
    at: str
    why: str


@dataclass
class Memory:
    """What is known of the past. `contents` tells what each code location was built from at the good commit."""

    good: str = ""
    good_at: str = ""
    contents: dict[str, str] = field(default_factory=dict)
    failed: Failed | None = None
    failures: int = 0


@dataclass
class Journal:
    """The way back of an attempt: written before its first effect, gone when it has ended well or is undone."""

    start: str
    target: str
    since: str
    images: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    # What the target makes of .env.
    values: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    # From here on the checkout may be at the target, and containers with it.
    moved: bool = False
    # The target has failed, and the way back had begun.
    returning: bool = False


@dataclass(frozen=True)
class Pause:
    """Who wants nothing changed, since when and why."""

    who: str
    at: str
    why: str


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Records:
    """The files of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._folder = deployment.state
        self._shown = deployment.shown
        self.candidate = self._folder / "candidate"
        self.env_before = self._folder / "reconcile-env-before"
        self.wanted = self._folder / "wanted"
        self.mounted = self._folder / "mounted.json"
        self.metrics = self._folder / "metrics" / "reconcile.prom"
        self._memory = self._folder / "reconcile.json"
        self._journal = self._folder / "reconcile-under-way.json"
        self._history = self._folder / "reconcile.jsonl"
        self._pause = self._folder / "paused"

    def memory(self) -> Memory:
        """The past; nothing at the first call."""
        found = self._read(self._memory)
        if found is None:
            return Memory()
        failed = found.pop("failed", None)
        return self._made(self._memory, lambda: Memory(**found, failed=Failed(**failed) if failed else None))

    def remember(self, memory: Memory) -> None:
        """Write the past down."""
        whole_file.replace(self._memory, _text(asdict(memory)))

    def journal(self) -> Journal | None:
        """The attempt that has not ended, if there is one."""
        found = self._read(self._journal)
        return None if found is None else self._made(self._journal, lambda: Journal(**found))

    def write_journal(self, journal: Journal) -> None:
        """Write the way back down, before the effect that needs it."""
        whole_file.replace(self._journal, _text(asdict(journal)))

    def end_journal(self) -> None:
        """The attempt has ended; its way back is not needed any more."""
        self._journal.unlink(missing_ok=True)
        self.env_before.unlink(missing_ok=True)

    def pause(self) -> Pause | None:
        """Who paused reconcile; None when nobody did."""
        found = self._read(self._pause)
        return None if found is None else self._made(self._pause, lambda: Pause(**found))

    def write_pause(self, pause: Pause) -> None:
        """Pause from now on."""
        whole_file.replace(self._pause, _text(asdict(pause)))

    def end_pause(self) -> bool:
        """Go on; whether there was a pause at all."""
        there = self._pause.exists()
        self._pause.unlink(missing_ok=True)
        return there

    def tell(self, entry: Mapping[str, Any]) -> None:
        """Append to the history."""
        self._history.parent.mkdir(parents=True, exist_ok=True)
        with self._history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(entry)) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """All attempts that did something, the oldest first."""
        if not self._history.is_file():
            return []
        return [json.loads(line) for line in self._history.read_text(encoding="utf-8").splitlines()]

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return self._made(path, lambda: dict(json.loads(text)))

    def _made(self, path: Path, make: Callable[[], T]) -> T:
        try:
            return make()
        except (ValueError, TypeError, KeyError) as error:
            raise StackError(
                f"{self._shown(path)} is not what reconcile wrote: {error}",
                "a JSON document of this version",
                f"move it away and repeat: reconcile then looks at everything anew (mv {self._shown(path)} /tmp/)",
            ) from error


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"
