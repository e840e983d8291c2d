"""What a build is doing, read from BuildKit's plain output."""

import re

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

    def failure(self, otherwise: str) -> str:
        """The output of the step that failed."""
        return "\n".join(line for line in self._tail if line.strip()) or otherwise
