"""Runs suites and reads their results: two at a time; those that start containers after all others."""

import os
import shutil
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from operations.context import Context
from operations.testing.suites import Suite

AT_ONCE = 2
BYTECODE = "bytecode"


@dataclass(frozen=True)
class Outcome:
    """What came out of a suite."""

    suite: Suite
    passed: int
    failed: int
    skipped: int
    seconds: float
    output: str

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.failed == 0


def run_all(
    context: Context, suites: list[Suite], environments: dict[str, Path], told: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run everything; each outcome is told as soon as it is there."""
    results = context.deployment.root / ".stack" / "test"
    results.mkdir(parents=True, exist_ok=True)
    # Of sources that tests wrote into temporary folders: no later run has the same.
    for folder in (results / BYTECODE / Path(tempfile.gettempdir()).relative_to("/")).glob("pytest-of-*"):
        shutil.rmtree(folder, ignore_errors=True)

    def one(suite: Suite) -> Outcome:
        outcome = run(context, suite, environments[suite.environment], results)
        told(outcome)
        return outcome

    # Tests have time limits, so what needs processors and what starts containers do not compete: containers' tests wait
    # for much, and two of their suites at once fill a machine that one leaves idle.
    outcomes: list[Outcome] = []
    for kinds in (("lint", "unit"), ("end-to-end",)):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes += pool.map(one, [suite for suite in suites if suite.kind in kinds])
    return outcomes + [one(suite) for suite in suites if suite.kind == "performance"]


def run(context: Context, suite: Suite, environment: Path, results: Path) -> Outcome:
    """Run one suite. Slow ones show their lines as they come."""
    root = context.deployment.root
    report = results / f"{suite.name.replace('/', '-').replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    begin = time.monotonic()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if suite.kind in ("end-to-end", "performance") and not context.report.verbose:
            context.report.say(f"  {line}")

    result = context.executor.stream(
        command(suite, environment, root, report), on_line, env=variables(suite, root, environment), check=False
    )
    seconds = time.monotonic() - begin
    output = "\n".join(lines) or result.stderr
    report.with_suffix(".log").write_text(output + "\n", encoding="utf-8")
    passed, failed, skipped = counts(report) if suite.is_pytest else (int(result.ok), int(not result.ok), 0)
    # A crash, a broken collection or an empty suite is a failure too, whatever the report counted.
    if not result.ok and failed == 0:
        failed = 1
    return Outcome(suite, passed, failed, skipped, seconds, output)


def command(suite: Suite, environment: Path, root: Path, report: Path) -> list[str]:
    """The argument list of a suite in its environment."""
    program, *rest = suite.args
    # As a module: the environment's own Python, whatever its scripts' first lines say after a move.
    if suite.is_pytest:
        # The root directory is the unit: seen from above, the folder run_broker/ hides the package run_broker in it.
        folder = root / suite.args[1] if suite.kind != "unit" else (root / suite.args[1]).parent
        config = ["-c", f"{root}/pyproject.toml", "--rootdir", f"{folder}", "-o", f"cache_dir={report.parent}/cache"]
        # What is slow is in the suite's log, for whoever wants it faster.
        told = (f"--junit-xml={report}", "--durations=25", "--durations-min=1", "-q")
        return [str(environment / "bin" / "python"), "-m", "pytest", *config, *told, *rest]
    return [str(environment / "bin" / program), *rest]


def variables(suite: Suite, root: Path, environment: Path) -> dict[str, str]:
    """Sources are found by path, as in the images; there is no installation step."""
    python_path = ":".join(str((root / path).resolve()) for path in suite.paths)
    return {
        "PYTHONPATH": python_path,
        "VIRTUAL_ENV": str(environment),
        # Apart from the sources, which stay clean. With none at all, each process compiles Dagster anew: 1.2 s of 3.
        "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", str(root / ".stack" / "test" / BYTECODE)),
        # Who exports this one wants clean sources, and has them.
        "PYTHONDONTWRITEBYTECODE": "",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        **suite.env,
    }


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a JUnit report; nothing passed where there is none."""
    try:
        # Written by pytest a moment ago, so not from a stranger.
        suites = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314
    except (OSError, ElementTree.ParseError):
        return 0, 0, 0
    total = failed = skipped = 0
    for suite in suites:
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return max(total - failed - skipped, 0), failed, skipped
