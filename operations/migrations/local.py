"""A location's migrations on this machine: in the environment of its tests, which has a Postgres server as a wheel."""

import json
import re
from pathlib import Path
from typing import Any

from operations.context import Context
from operations.development.locations import Location, discover
from operations.errors import StackError
from operations.execute import Result
from operations.testing import environments
from operations.testing.suites import SHARED

SECONDS = 300
# It becomes the first line of a Python file, and its name.
MESSAGE = re.compile(r"[^\"\\]{1,200}")


def new(context: Context, name: str, message: str, *, empty: bool) -> int:
    """Write a revision, formatted as the project's files are."""
    if not MESSAGE.fullmatch(message) or not message.isprintable() or not message.strip():
        raise StackError(
            f"{message[:80]!r} says nothing that can head a migration",
            'one line of up to 200 characters, without " and \\',
            "say what changes in a few words",
        )
    told = _told(context, name, "new", *(["--empty"] if empty else []), "--", message)
    if told.get("file") is None:
        context.report.say("The models say nothing that the revisions do not make already; nothing was written.")
        return 0
    path = Path(told["file"])
    ruff = environments.directory(context.deployment.root, SHARED) / "bin" / "ruff"
    if ruff.is_file():
        context.executor.run([str(ruff), "format", "--quiet", str(path)], check=False, timeout=60)
    context.report.say(f"Wrote {context.deployment.shown(path)}")
    context.report.say(
        "Read it before you commit it: a column that was renamed looks like one that went and one that came."
    )
    return 0


def try_out(context: Context, name: str) -> int:
    """1 when models and revisions differ; each difference is told."""
    told = _told(context, name, "check")
    problems: list[str] = told.get("problems") or []
    for problem in problems:
        context.report.say(f"  {problem}")
    if problems:
        context.report.say(f"{name}: models and revisions differ; ./stack migration new {name} writes what is missing.")
        return 1
    agree = "models and revisions agree" if told.get("head") else "no migrations"
    context.report.say(f"{name}: {agree}.")
    return 0


def _told(context: Context, name: str, *arguments: str) -> dict[str, Any]:
    root = context.deployment.root
    (location,) = discover(root, [name])
    python = environments.provide(context, location.lock) / "bin" / "python"
    command = [str(python), "-m", "platform_kit.migrations", arguments[0], "--json", *arguments[1:]]
    result = context.executor.run(command, env=settings(location), check=False, timeout=SECONDS)
    try:
        told: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise StackError(
            _why(name, result), "platform_kit of 0.3.0 or later in its lock", "docs/migrations.md"
        ) from None
    if "error" in told:
        raise StackError(f"{name}: {told['error']}", "models and revisions that fit", "docs/migrations.md")
    return told


def settings(location: Location) -> dict[str, str]:
    """A laptop's: no server of anybody's is named, so one is made for the trial."""
    return {
        **{"CODE_LOCATION": location.name, "CODE_LOCATION_PACKAGE": location.package},
        **{"PYTHONPATH": str(location.source), "DEPLOYMENT": "", "POSTGRES_HOST": ""},
    }


def _why(name: str, result: Result) -> str:
    return f"the migrations of {name} cannot be asked: {result.last_words}"
