"""Giving a code location another version of the library: its pin and lock, kept only when its own tests pass."""

import re
from dataclasses import dataclass
from pathlib import Path

from operations.context import Context
from operations.errors import StackError
from operations.library import index
from operations.locations.scaffold import LOCK
from operations.testing import environments, runner, suites

PIN = re.compile(r"(?P<name>platform[-_]kit(?:\[[^\]]*\])?)==(?P<version>[0-9][0-9A-Za-z.]*)")


@dataclass(frozen=True)
class Result:
    """What came of one location; `why` is empty when it has the version now."""

    location: str
    before: str
    why: str = ""
    passed: int = 0


def pinned(folder: Path) -> str:
    """The version that a location pins."""
    path = folder / "pyproject.toml"
    found = PIN.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    if found is None:
        raise StackError(
            f"{path} pins no version of platform_kit",
            "a code location of this checkout with platform_kit==X among its dependencies",
            "correct --into, or add the pin",
        )
    return found["version"]


def adopt(context: Context, location: str, version: str) -> Result:
    """Pin and lock the version and run the location's tests; puts both files back when they fail."""
    folder = context.deployment.root / "code_locations" / location
    before = pinned(folder)
    files = {path: path.read_bytes() for path in (folder / "pyproject.toml", folder / "requirements.lock")}
    kept = False
    try:
        why, passed = _try(context, location, folder, version)
        kept = not why
    finally:
        if not kept:
            for path, content in files.items():
                path.write_bytes(content)
    return Result(location, before, why, passed)


def _try(context: Context, location: str, folder: Path, version: str) -> tuple[str, int]:
    path = folder / "pyproject.toml"
    path.write_text(PIN.sub(rf"\g<name>=={version}", path.read_text(encoding="utf-8")), encoding="utf-8")
    with context.report.step(f"Lock {location} with platform_kit {version}"):
        # Without --upgrade-package uv keeps the hash that the lock has; without the variable the header of the lock has
        # paths of this machine.
        options = [*LOCK.split()[1:], "--quiet", "--upgrade-package", "platform-kit"]
        command = [environments.uv(), "--directory", str(folder), *options]
        env = {**environments.UV, **index.variables(context.deployment), "UV_CUSTOM_COMPILE_COMMAND": LOCK}
        locked = context.executor.run(command, env=env, timeout=300, check=False)
    if not locked.ok:
        return f"its other pins do not go with it: {locked.last_words}", 0
    found = suites.discover(
        context.deployment.root, fast=True, every=False, only=[f"code_locations/{location}"], extra=[]
    )
    results = context.deployment.root / ".stack" / "test"
    results.mkdir(parents=True, exist_ok=True)
    passed = 0
    for suite in (suite for suite in found if suite.name == f"code_locations/{location}"):
        place = environments.provide(context, suite.environment)
        with context.report.step(f"Test {location}") as step:
            outcome = runner.run(context, suite, place, results)
            step.done(f"{outcome.passed} passed, {outcome.failed} failed")
        passed += outcome.passed
        if not outcome.ok:
            words = "\n".join(f"    {line}" for line in outcome.output.splitlines()[-12:])
            return f"{outcome.failed} of its tests fail:\n{words}", passed
    if not passed:
        return "it has no tests, and nothing else says whether it still works", 0
    return "", passed
