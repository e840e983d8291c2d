"""bench: this deployment beside Dagster's own example, measured in one go."""

from pathlib import Path

from operations import base_image, preflight
from operations.benchmark import MEASURES, REPORT
from operations.context import Context
from operations.errors import StackError
from operations.testing import environments
from operations.testing.suites import SHARED

# What both sides are built with, and the engine's socket, as in the settings of this checkout.
HANDED_OVER = ("BASE_IMAGE", "PACKAGE_INDEX", "DOCKER_SOCKET")


def bench(context: Context, *, only: list[str], rounds: int, keep: bool) -> int:
    """Measure and write docs/performance.md; 1 when something could not be measured."""
    known = [*MEASURES, REPORT]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise StackError(f"--only {' '.join(unknown)}: no such measurement", f"of {', '.join(known)}", "correct --only")
    if only != [REPORT]:
        preflight.require_tools(context)
        base_image.provide(context)
    environment = environments.provide(context, SHARED)
    result = context.executor.stream(
        command(environment, only, rounds, keep=keep), context.report.say, env=variables(context), check=False
    )
    return result.code


def command(environment: Path, only: list[str], rounds: int, *, keep: bool) -> list[str]:
    """The program that measures, in the environment of the tests, whose helpers it uses."""
    chosen = [part for name in only for part in ("--only", name)]
    options = [*chosen, "--rounds", str(rounds), *(["--keep"] if keep else [])]
    return [str(environment / "bin" / "python"), "-m", "tests.performance", *options]


def variables(context: Context) -> dict[str, str]:
    """Sources are found by path, as in ./stack test."""
    root, settings = context.deployment.root, context.deployment.settings()
    paths = [str(root), *(str(path) for path in sorted(root.glob("libraries/*/src")))]
    handed = {name: settings[name] for name in HANDED_OVER if settings.get(name)}
    return {
        "PYTHONPATH": ":".join(paths),
        "PYTHONPYCACHEPREFIX": str(root / ".stack" / "test" / "bytecode"),
        "VIRTUAL_ENV": str(environments.directory(root, SHARED)),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        **handed,
    }
