"""A machine in a folder: files below it, programs that answer what a test says and are written down."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.ec2.machine.host import Host
from operations.errors import StackError

SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class FakeHost(Host):
    calls: list[list[str]] = field(default_factory=list)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    real: tuple[str, ...] = ()
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.said = self.lines.append

    def run(self, args: Sequence[str], *, check: bool = True, env: dict[str, str] | None = None) -> str:
        code, out = self._answer(args)
        if check and code:
            raise StackError(f"{' '.join(args)} exited {code}: {out}", "success", "see above, then repeat")
        return out

    def code(self, args: Sequence[str]) -> int:
        return self._answer(args)[0]

    def wait(self, found, seconds):  # type: ignore[no-untyped-def]
        return found()

    def _answer(self, args: Sequence[str]) -> tuple[int, str]:
        self.calls.append(list(args))
        if args[0] in self.real:
            done = subprocess.run(
                [*args[:-1], str(self.path(args[-1]))], env={"PATH": SYSTEM}, capture_output=True, text=True
            )
            return done.returncode, done.stdout
        line = " ".join(args)
        # The last one that fits, so that a test may say more than its fixture did.
        return next((answer for words, answer in reversed(self.answers.items()) if words in line), (0, ""))

    def ran(self, *words: str) -> list[list[str]]:
        return [call for call in self.calls if all(word in call for word in words)]

    def tree(self) -> dict[str, tuple[int, str]]:
        """Every file with its mode and content, links and folders too."""
        return {
            str(path.relative_to(self.slash)): (
                path.stat().st_mode,
                path.read_bytes().hex()[:4096] if path.is_file() else "",
            )
            for path in sorted(self.slash.rglob("*"))
        }
