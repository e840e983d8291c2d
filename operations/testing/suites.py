"""Which tests there are. Found by folder, so that a new location's or library's suite cannot be forgotten."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SHARED = "tests/requirements.lock"
TOOLS = "tests/tools.lock"
# Units whose tests run in the shared environment; all others bring their own lock.
OWN_LOCK = ("code_locations", "deploy")
TYPED = ("operations", "run_broker/src", "libraries/*/src")
# Tests of the running deployment, and those that make what they need themselves: they share nothing and run at once.
# Somebody's own arguments for pytest may leave one of the two without a test, so then they are one suite.
LANES = {"end-to-end": ("--lane=deployment",), "end-to-end apart": ("--lane=apart",)}
PRUNED = {"node_modules", "dbt_packages", "target", "__pycache__"}


@dataclass(frozen=True)
class Suite:
    """Tests or a linter that run as one command."""

    name: str
    kind: str
    args: tuple[str, ...]
    environment: str
    paths: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    @property
    def is_pytest(self) -> bool:
        """Whether it counts its own tests; a linter counts as one."""
        return self.kind in ("unit", "end-to-end", "performance")


def discover(root: Path, *, fast: bool, every: bool, only: list[str], extra: list[str]) -> list[Suite]:
    """All suites that are asked for, cheap ones first."""
    found = [*linters(root), *unit_suites(root, [*chosen(every), *extra])]
    if not fast:
        found += list(_end_to_end(root, extra, every=every))
    return [suite for suite in found if not only or any(pattern in suite.name for pattern in only)]


def chosen(every: bool) -> tuple[str, ...]:
    """Without what takes long and has a faster sample beside it."""
    return () if every else ("-m", "not long")


def linters(root: Path) -> list[Suite]:
    """Static checks of everything of their kind."""
    typed = [str(path.relative_to(root)) for pattern in TYPED for path in sorted(root.glob(pattern))]
    sources = [path for path in typed if path.endswith("/src")]
    suites = [
        Suite("ruff check", "lint", ("ruff", "check", "--quiet", "."), SHARED),
        Suite("ruff format", "lint", ("ruff", "format", "--check", "--quiet", "."), SHARED),
        Suite("mypy", "lint", ("mypy", *typed), SHARED, env={"MYPYPATH": ":".join([".", *sources])}),
    ]
    scripts = [str(path.relative_to(root)) for path in shell_scripts(root)]
    dockerfiles = [str(path.relative_to(root)) for path in files(root) if "Dockerfile" in path.name]
    if scripts:
        suites.append(Suite("shellcheck", "lint", ("shellcheck", *scripts), SHARED))
    if dockerfiles:
        suites.append(Suite("hadolint", "lint", ("hadolint", *dockerfiles), SHARED))
    workflows = [str(path.relative_to(root)) for path in files(root) if path.parts[-3:-1] == (".github", "workflows")]
    if workflows:
        # Offline: what it could ask a forge about differs from day to day, and a test may not.
        rules = ("--offline", "--persona", "pedantic", "--strict-collection", "--no-progress", "--quiet")
        suites.append(Suite("zizmor", "lint", ("zizmor", *rules, *workflows), SHARED))
    return suites


def unit_suites(root: Path, extra: list[str]) -> list[Suite]:
    """One suite for each unit that has a folder tests/."""
    suites = []
    libraries = [str(path.relative_to(root)) for path in sorted(root.glob("libraries/*/src"))]
    for tests in sorted(_test_folders(root)):
        unit = tests.parent.relative_to(root)
        own = unit.parts[0] in OWN_LOCK and (root / unit / "requirements.lock").exists()
        source = f"{unit}/src" if (root / unit / "src").is_dir() else "."
        # A location sees its own source and its lock, as in its image; a service sees the libraries.
        paths = (source,) if own else tuple(dict.fromkeys([source, ".", *libraries]))
        environment = f"{unit}/requirements.lock" if own else SHARED
        suites.append(Suite(str(unit), "unit", ("pytest", str(unit / "tests"), *extra), environment, paths))
    return suites


def _end_to_end(root: Path, extra: list[str], *, every: bool) -> Iterator[Suite]:
    libraries = [str(path.relative_to(root)) for path in sorted(root.glob("libraries/*/src"))]
    performance = "tests/performance"
    if any((root / "tests").glob("test_*.py")) or any((root / "tests").glob("*/test_*.py")):
        ignored = (f"--ignore={performance}", *chosen(every))
        for name, lane in LANES.items() if not extra else [("end-to-end", ())]:
            yield Suite(name, "end-to-end", ("pytest", "tests", *ignored, *lane, *extra), SHARED, (".", *libraries))
    if every and (root / performance).is_dir():
        yield Suite("performance", "performance", ("pytest", performance, *extra), SHARED, (".", *libraries))


def _test_folders(root: Path) -> list[Path]:
    patterns = ("*/tests", "libraries/*/tests", "code_locations/*/tests", "deploy/*/tests")
    found = (path for pattern in patterns for path in root.glob(pattern))
    return [path for path in found if not _hidden(path, root) and any(path.rglob("test_*.py"))]


def shell_scripts(root: Path) -> list[Path]:
    """Files that a shell runs: by their first line, since most have no suffix."""
    scripts = []
    for path in files(root):
        if path.suffix in ("", ".sh"):
            with path.open("rb") as file:
                first = file.readline(80)
            if first.startswith(b"#!") and first.split(b"/")[-1].split()[-1:] in ([b"sh"], [b"bash"], [b"dash"]):
                scripts.append(path)
    return scripts


def files(root: Path) -> Iterator[Path]:
    """All files of the project: no environments, caches or state."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in PRUNED and not _is_state(name))
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _is_state(name: str) -> bool:
    # These hidden folders are part of the project.
    return name.startswith(".") and name not in (".ci", ".github")


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
