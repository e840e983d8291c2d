"""The verb reconcile on the command line."""

import contextlib
import json
from typing import Annotated

import typer

from operations import locks
from operations.calls import Json, context_of, end_with, locked
from operations.context import Context
from operations.errors import StackError
from operations.reconcile import reconciling, webhook
from operations.reconcile.reconciling import Outcome

app = typer.Typer()


@app.command()
def reconcile(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try a commit again that failed.")] = False,
    pause: Annotated[str | None, typer.Option("--pause", metavar="WHY", help="Change nothing until --resume.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="End a pause.")] = False,
    listen: Annotated[
        int | None, typer.Option("--listen", metavar="PORT", min=1, max=65535, help="Wait for a forge's webhooks.")
    ] = None,
    bind: Annotated[str, typer.Option("--bind", help="With --listen: the address of this machine.")] = "127.0.0.1",
    as_json: Json = False,
) -> None:
    """Make this machine equal to its branch of the repository. Changes nothing when nothing differs."""
    asked = [name for name, given in (("--dry-run", dry_run), ("--pause", pause is not None), ("--resume", resume),
                                      ("--listen", listen is not None), ("--retry", retry)) if given]  # fmt: skip
    if len(asked) > 1:
        raise StackError(f"{' and '.join(asked)} at once", "one of them", "leave one out")
    stack = context_of(context)
    stack.deployment.require_env()
    if listen is not None:
        webhook.serve(stack, bind, listen)
    elif pause is not None or resume:
        with locked(context, "reconcile", f"pause: {pause}" if pause is not None else "resume") as own:
            if pause is not None:
                reconciling.pause(own, locks.person(), pause)
            else:
                reconciling.resume(own)
    else:
        _reconcile(context, stack, dry_run=dry_run, retry=retry, as_json=as_json)


def _reconcile(context: typer.Context, stack: Context, *, dry_run: bool, retry: bool, as_json: bool) -> None:
    console = stack.report.console
    if as_json:
        # What is for people goes where errors go; the document stands alone.
        stack.report.console = stack.report.errors
    outcome = None if dry_run else reconciling.quick(stack, retry=retry)
    if outcome is None:
        outcome = _locked(context, dry_run=dry_run, retry=retry, as_json=as_json)
    if as_json:
        console.print_json(json.dumps(outcome.document(stack.deployment.name)), ensure_ascii=True)
    end_with(outcome.code)


def _locked(context: typer.Context, *, dry_run: bool, retry: bool, as_json: bool) -> Outcome:
    with contextlib.ExitStack() as held:
        own = held.enter_context(locked(context, "reconcile", "dry run" if dry_run else ""))
        if as_json:
            own.report.console = own.report.errors
        return reconciling.plan(own) if dry_run else reconciling.run(own, retry=retry)
