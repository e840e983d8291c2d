"""A release of platform_kit: checks first, then the version and its wheel."""

import hashlib
import re
import shutil
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from operations.context import Context
from operations.errors import StackError
from operations.library import index
from operations.testing import environments, runner, suites

LIBRARY = "libraries/platform_kit"
# About the release itself: it fails until the release is there.
OF_RELEASES = f"--ignore={LIBRARY}/tests/test_release.py"
# The time that files in a wheel have: the same source gives the same wheel, whoever builds it and when.
EPOCH = "1735689600"
VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})")
BUMPS = ("major", "minor", "patch")


@dataclass(frozen=True)
class Library:
    """The library's source in this checkout and the index of its wheels."""

    root: Path

    @property
    def folder(self) -> Path:
        """Its source."""
        return self.root / LIBRARY

    @property
    def index(self) -> Path:
        """The released wheels, which never change."""
        return self.root / "libraries" / "index"

    @property
    def version(self) -> str:
        """What its pyproject.toml says."""
        return str(tomllib.loads(self._pyproject.read_text(encoding="utf-8"))["project"]["version"])

    def wheel(self, version: str) -> Path:
        """Where the wheel of a version is, or would be."""
        return self.index / f"platform_kit-{version}-py3-none-any.whl"

    def released(self) -> list[str]:
        """All versions with a wheel, oldest first."""
        names = (path.name.split("-")[1] for path in self.index.glob("platform_kit-*.whl"))
        return sorted((name for name in names if VERSION.fullmatch(name)), key=_ordered)

    def say_version(self, version: str) -> None:
        """Write a version into pyproject.toml, and nothing else."""
        text = self._pyproject.read_text(encoding="utf-8")
        line = re.compile(r'^version = "[^"]*"$', re.MULTILINE)
        self._pyproject.write_text(line.sub(f'version = "{version}"', text, count=1), encoding="utf-8")

    @property
    def _pyproject(self) -> Path:
        return self.folder / "pyproject.toml"


def chosen(library: Library, version: str | None, bump: str | None) -> str:
    """The version that is asked for; without being asked, the one in pyproject.toml."""
    if version and bump:
        raise StackError("--version and --bump were both given", "one of them", "leave one out")
    if bump and bump not in BUMPS:
        raise StackError(f"--bump {bump}", f"one of {', '.join(BUMPS)}", "correct it")
    if bump:
        last = library.released()[-1] if library.released() else "0.0.0"
        parts = list(_ordered(last))
        at = BUMPS.index(bump)
        return ".".join(map(str, [*parts[:at], parts[at] + 1, *([0] * (2 - at))]))
    wanted = version or library.version
    if not VERSION.fullmatch(wanted):
        raise StackError(f"{wanted!r} is no version", "three numbers, as in 1.4.0", "correct it")
    return wanted


def release(context: Context, library: Library, version: str) -> Path:
    """Build the wheel of a version that is not released; changes nothing when something speaks against it."""
    _refuse_older(library, version)
    _refuse_uncommitted(context, library)
    _refuse_failing(context)
    before = library.version
    with context.report.step(f"Build platform_kit {version}"), tempfile.TemporaryDirectory() as aside:
        library.say_version(version)
        try:
            context.executor.run(
                [
                    environments.uv(),
                    "build",
                    "--wheel",
                    "--no-create-gitignore",
                    "--out-dir",
                    aside,
                    str(library.folder),
                ],
                env={**environments.UV, **index.variables(context.deployment), "SOURCE_DATE_EPOCH": EPOCH},
                timeout=300,
            )
            made = Path(aside) / library.wheel(version).name
            library.index.mkdir(exist_ok=True)
            # Beside its place first: an index with half a wheel would be worse than none.
            shutil.copy(made, library.index / f".{made.name}")
            (library.index / f".{made.name}").rename(library.wheel(version))
        except BaseException:
            library.say_version(before)
            raise
    return library.wheel(version)


def checksum(path: Path) -> str:
    """As locks have it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_older(library: Library, version: str) -> None:
    released = library.released()
    if version in released:
        raise StackError(
            f"platform_kit {version} is released: {library.wheel(version).name} is in libraries/index",
            "a new version; a released one never changes, because locks hold its hash",
            "./stack library release --bump patch (a mend), minor (something new) or major (something breaks); "
            "or --into LOCATION, which gives a location the released version",
        )
    if released and _ordered(version) < _ordered(released[-1]):
        raise StackError(
            f"platform_kit {version} is older than {released[-1]}, which is released",
            f"a version after {released[-1]}",
            "choose another --version",
        )


def _refuse_uncommitted(context: Context, library: Library) -> None:
    status = context.executor.run(["git", "status", "--porcelain", "--", str(library.folder)], check=False)
    if not status.ok:
        raise StackError(
            f"git does not tell what has changed: {status.last_words}", "a git checkout", "release from one"
        )
    if status.stdout.strip():
        changed = ", ".join(line[3:] for line in status.stdout.splitlines()[:5])
        raise StackError(
            f"{LIBRARY} has changes that are not committed: {changed}",
            "a commit that says what the version is made of",
            "commit them (or put them aside with git stash) and repeat",
        )


def _refuse_failing(context: Context) -> None:
    root = context.deployment.root
    found = suites.discover(root, fast=True, every=False, only=[LIBRARY], extra=[OF_RELEASES])
    for suite in (suite for suite in found if suite.is_pytest):
        place = environments.provide(context, suite.environment)
        with context.report.step(f"Test {suite.name}") as step:
            outcome = runner.run(context, suite, place, _results(root))
            step.done(f"{outcome.passed} passed, {outcome.failed} failed")
        if not outcome.ok:
            raise StackError(
                f"the tests of {suite.name} fail:\n" + "\n".join(outcome.output.splitlines()[-15:]),
                "a library whose own tests pass",
                f"./stack test --only {LIBRARY} shows all of it; mend it, commit, and repeat",
            )


def _results(root: Path) -> Path:
    results = root / ".stack" / "test"
    results.mkdir(parents=True, exist_ok=True)
    return results


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
