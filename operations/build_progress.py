"""What a build is doing, read from BuildKit's plain output."""

import re
from collections.abc import Sequence

from operations.errors import StackError
from operations.execute import Executor
from operations.report import Step


class BuildProgress:
    """Follows BuildKit's plain output: which step is under way, how many were run, what the failing one said."""

    STEP = re.compile(r"#(\d+) \[([^\]]+)\] (.*)")
    WORD = re.compile(r"#(\d+) (CACHED|DONE|ERROR)\b")

    def __init__(self, step: Step) -> None:
        self._step = step
        self._titles: dict[str, str] = {}
        self._tail: list[str] = []
        self.built = self.cached = 0

    def line(self, line: str) -> None:
        """One line of output."""
        self._tail = [*self._tail[-39:], line]
        if match := self.STEP.match(line):
            self._titles[match[1]] = f"[{match[2]}] {match[3]}"
            self._step.update(self._titles[match[1]])
        elif (match := self.WORD.match(line)) and match[1] in self._titles:
            self.cached += match[2] == "CACHED"
            self.built += match[2] == "DONE"

    @property
    def told(self) -> str:
        """How much there was to do."""
        return f"{self.built} steps run, {self.cached} unchanged"

    def failure(self, otherwise: str) -> str:
        """The output of the step that failed."""
        return "\n".join(line for line in self._tail if line.strip()) or otherwise


def build(step: Step, executor: Executor, command: Sequence[str], expected: str, do: str) -> None:
    """Run a build, show what it is doing, and tell how much was done. Raises `StackError` with the words of the step
    that failed, what was expected and what to do about it."""
    progress = BuildProgress(step)
    result = executor.stream(command, progress.line, check=False)
    if not result.ok:
        raise StackError(f"the build failed: {progress.failure(result.last_words)}", expected, do)
    step.done(progress.told)
