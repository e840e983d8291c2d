"""What every verb of the command line does before and after its work: which deployment, the lock, the exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from operations import locks
from operations.backups import record
from operations.context import Context
from operations.deployment import PROD, Deployment
from operations.errors import StackError
from operations.execute import Shell
from operations.locations import draft
from operations.releases import journal
from operations.report import Report
from operations.upgrades import journal as upgrade_journal

ROOT = Path(__file__).resolve().parents[1]
# Verbs that need no deployment that was started before.
MAY_BE_FIRST = ("up", "check", "location new", "location remove", "location image", "library release", "restore")
Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")]


@dataclass
class Call:
    """The options that come before the verb."""

    deployment: str = PROD
    verbose: bool = False


def context_of(context: typer.Context) -> Context:
    """The deployment that the options before the verb name."""
    call: Call = context.find_object(Call) or Call()
    report = Report(verbose=call.verbose)
    return Context(Deployment(ROOT, call.deployment), Shell(ROOT, report.log), report)


@contextmanager
def locked(context: typer.Context, verb: str, why: str = "") -> Iterator[Context]:
    """The deployment, for a verb that changes something: one at a time, and written down."""
    stack = context_of(context)
    if verb not in MAY_BE_FIRST:
        # Before the lock: a mistyped name leaves no file behind.
        stack.deployment.require_env()
    with locks.hold(stack.deployment.state / "lock", f"./stack {verb}", why) as note:
        if note:
            stack.report.warn(note)
        upgrade_journal.require_none(stack.deployment, verb)
        draft.finish(ROOT)
        journal.finish(stack, verb)
        try:
            yield stack
        finally:
            # What the verb changed of settings and secrets is part of the next backup.
            try:
                record.write(stack)
            except (OSError, ValueError, StackError) as error:
                stack.report.warn(f"settings and secrets of the next backup are as they were before: {error}")


def end_with(code: int) -> None:
    """End with this exit code, when it is not zero."""
    if code:
        raise typer.Exit(code)
