"""The verb `upgrade` of the command line."""

import sys
from typing import Annotated

import typer

from operations.calls import context_of, locked
from operations.deployment import Deployment
from operations.errors import StackError
from operations.upgrades import upgrading

app = typer.Typer()


@app.command()
def upgrade(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait_minutes: Annotated[
        float, typer.Option("--wait-minutes", min=0, help="How long runs under way may take to end.")
    ] = 15,
    without_backup: Annotated[bool, typer.Option("--without-backup", help="You have one, by your own means.")] = False,
) -> None:
    """Bring the deployment to the release that is checked out."""
    wish = upgrading.Wish(dry_run, without_backup, wait_minutes)
    if dry_run:
        stack = context_of(context)
        stack.deployment.require_env()
        upgrading.upgrade(stack, wish, lambda: None)
        return
    with locked(context, "upgrade") as stack:
        upgrading.upgrade(stack, wish, lambda: None if yes else _confirm(stack.deployment))


def _confirm(deployment: Deployment) -> None:
    if not sys.stdin.isatty():
        raise StackError(
            f"the plan for {deployment.name} is above, and there is nobody to ask",
            "--yes, where no terminal is attached",
            f"{deployment.stack} upgrade --yes",
        )
    if input(f"Type {deployment.name} to upgrade it: ").strip() != deployment.name:
        raise StackError("not confirmed", f"{deployment.name}", "nothing was changed")
