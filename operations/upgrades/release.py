"""A release of this deployment: its version, and the versions of Dagster and Postgres that it brings."""

import re
from dataclasses import dataclass
from pathlib import Path

from operations.errors import StackError

NOTES = "docs/releases.md"
# The last release before there was a record of what a deployment's state was brought to.
_FIRST = ("0.1.0", "1.13.27", 17)
_HEADING = re.compile(r"^## (\d+\.\d+\.\d+)", re.MULTILINE)
_MAJOR = r"^ARG POSTGRES_MAJOR=(\d+)$"
_ACTION = "- Operator: "


@dataclass(frozen=True)
class Release:
    """Three versions that decide together whether the state of a deployment suits its code."""

    version: str
    dagster: str
    postgres: int

    def __str__(self) -> str:
        """As people are told."""
        return f"{self.version} (Dagster {self.dagster}, Postgres {self.postgres})"

    @property
    def line(self) -> tuple[tuple[int, ...], ...]:
        """What an upgrade is needed for: another minor version of release or Dagster, another major one of Postgres.
        What differs behind that needs new containers only, which `up` makes."""
        return numbers(self.version)[:2], numbers(self.dagster)[:2], (self.postgres,)

    def is_newer_than(self, other: "Release") -> bool:
        """Whether the step to this one is an upgrade in any part."""
        return any(mine > theirs for mine, theirs in zip(self.line, other.line, strict=True))

    def is_older_than(self, other: "Release") -> bool:
        """Whether any part would go backwards, down to the patch: what wrote the state may have known more."""
        return any(
            mine < theirs
            for mine, theirs in (
                (numbers(self.version), numbers(other.version)),
                (numbers(self.dagster), numbers(other.dagster)),
                ((self.postgres,), (other.postgres,)),
            )
        )


FIRST = Release(*_FIRST)


def numbers(version: str) -> tuple[int, ...]:
    """A version to compare by."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def of(root: Path) -> Release:
    """The release that a tree of the repository is. Raises `StackError` where the tree does not say."""
    if not re.search(_MAJOR, _text(root / "postgres" / "Dockerfile"), re.MULTILINE):
        # A tree of before there were releases.
        return FIRST
    version = _find(root / "pyproject.toml", r'^version = "(\d+\.\d+\.\d+)"$')
    dagster = _find(root / "daemon" / "requirements.lock", r"^dagster==([\d.]+)")
    postgres = _find(root / "postgres" / "Dockerfile", _MAJOR)
    return Release(version, dagster, int(postgres))


def actions(root: Path, former: Release, wanted: Release) -> list[str]:
    """What the notes of the releases after `former`, up to `wanted`, ask of an operator."""
    return [
        f"{version}: {line.removeprefix(_ACTION)}"
        for version, text in _sections(root).items()
        if numbers(former.version) < numbers(version) <= numbers(wanted.version)
        for line in text.splitlines()
        if line.startswith(_ACTION)
    ]


def commit_of(root: Path, version: str) -> str:
    """The commit of a past release, as the notes have it; "" where they have none."""
    found = re.search(r"^Commit `([0-9a-f]{40})`", _sections(root).get(version, ""), re.MULTILINE)
    return found[1] if found else ""


def _sections(root: Path) -> dict[str, str]:
    """The notes of each release, by its version."""
    _, *parts = _HEADING.split(_text(root / NOTES))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _find(path: Path, pattern: str) -> str:
    found = re.search(pattern, _text(path), re.MULTILINE)
    if not found:
        raise StackError(f"{path} has no line {pattern}", "the version of this release", "take it over from git")
    return found[1]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}", "a whole checkout", "git status") from error
