"""A problem with its place, and places in YAML files that were merged by others."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a file."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        """As editors and people read it."""
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class Places:
    """Finds the line of a key in one of several Compose files: what Compose resolved no longer says where it was."""

    def __init__(self, root: Path, files: Iterable[str]) -> None:
        self._root = root
        self._trees = {name: _tree(root / name) for name in files}

    def problem(self, message: str, *path: str) -> Problem:
        """A problem at the deepest part of the path that a file has; the first file with the most of it."""
        best: tuple[int, str, int | None] = (0, next(iter(self._trees), "docker-compose.yml"), None)
        for name, tree in self._trees.items():
            depth, line = _find(tree, path)
            if depth > best[0]:
                best = (depth, name, line)
        return Problem(best[1], best[2], message)


def _tree(path: Path) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        # Compose has its own words for files that cannot be read; here only lines are looked for.
        return None
    return node


def _find(node: yaml.Node | None, path: tuple[str, ...]) -> tuple[int, int | None]:
    line = None
    for depth, part in enumerate(path):
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        pair = next(((key, value) for key, value in pairs if key.value == part), None)
        if pair is None:
            return depth, line
        line, node = pair[0].start_mark.line + 1, pair[1]
    return len(path), line
