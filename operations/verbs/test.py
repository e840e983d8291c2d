"""test: every test of the project, or the part that is asked for."""

from rich.table import Table

from operations import base_image, preflight
from operations.context import Context
from operations.errors import StackError
from operations.testing import browser, environments, runner, suites
from operations.testing.runner import Outcome


def test(context: Context, *, fast: bool, only: list[str], every: bool, extra: list[str]) -> int:
    """Run the suites; the last line counts all tests. 1 when one failed."""
    root = context.deployment.root
    chosen = suites.discover(root, fast=fast, every=every, only=only, extra=extra)
    if not chosen:
        names = ", ".join(suite.name for suite in suites.discover(root, fast=False, every=True, only=[], extra=[]))
        raise StackError(f"no suite matches {' '.join(only)}", f"a part of one of: {names}", "correct --only")
    if any(suite.kind == "end-to-end" for suite in chosen):
        browser.provide(context)
        # Once and before, for suites that run at the same time would both do it.
        preflight.require_tools(context)
        base_image.provide(context)
    places = {lock: environments.provide(context, lock) for lock in dict.fromkeys(s.environment for s in chosen)}
    outcomes = runner.run_all(context, chosen, places, lambda outcome: _tell(context, outcome))
    for outcome in outcomes:
        if not outcome.ok:
            context.report.say()
            context.report.say(f"--- {outcome.suite.name} " + "-" * 40)
            context.report.say("\n".join(outcome.output.splitlines()[-80:]))
    context.report.say()
    context.report.show(_table(outcomes))
    context.report.say()
    context.report.say(summary(outcomes))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def summary(outcomes: list[Outcome]) -> str:
    """The line that a program reads."""
    passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
    skipped = sum(o.skipped for o in outcomes)
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def _tell(context: Context, outcome: Outcome) -> None:
    counted = f"{outcome.passed} passed" + (f", {outcome.failed} failed" if outcome.failed else "")
    mark = "✓" if outcome.ok else "✗"
    context.report.say(f"{mark} {outcome.suite.name}: {counted} ({outcome.seconds:.1f} s)")


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("SUITE", "KIND", "PASSED", "FAILED", "SKIPPED", "SECONDS"):
        table.add_column(column, justify="left" if column in ("SUITE", "KIND") else "right")
    for outcome in outcomes:
        style = None if outcome.ok else "red"
        numbers = (outcome.passed, outcome.failed, outcome.skipped)
        cells = [outcome.suite.name, outcome.suite.kind, *map(str, numbers), f"{outcome.seconds:.1f}"]
        table.add_row(*cells, style=style)
    return table
