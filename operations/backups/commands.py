"""The verbs `backup` and `restore` of the command line."""

import sys
from typing import Annotated

import typer

from operations.backups import restoring, taking
from operations.calls import Json, context_of, end_with, locked
from operations.deployment import Deployment
from operations.errors import StackError

app = typer.Typer()
backup_app = typer.Typer(help="Copy database, lakes and settings into the repository; list what is there.")
app.add_typer(backup_app, name="backup")


@backup_app.callback(invoke_without_command=True)
def backup(
    context: typer.Context,
    full: Annotated[
        bool, typer.Option("--full", help="Everything, not only what changed; read again as a whole.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte of the repository again.")] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Of a repository of another machine, which is off and stays off.")
    ] = False,
) -> None:
    """Take a backup now."""
    if context.invoked_subcommand is None:
        with locked(context, "backup", "full" if full else "") as stack:
            taking.take(stack, full=full, verify=verify, take_over=take_over)


@backup_app.command("list")
def backup_list(context: typer.Context, as_json: Json = False) -> None:
    """List backups and the moments that can be restored."""
    taking.show(context_of(context), as_json=as_json)


@app.command()
def restore(
    context: typer.Context,
    at: Annotated[str, typer.Option("--at", help="A moment with its zone, such as 2026-11-21T12:00:00Z.")] = "",
    origin: Annotated[str, typer.Option("--from", help="Another deployment's name, or a folder with backups.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace data that is there.")] = False,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Although a location's lake is not whole; all others are.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Bring database, lakes, settings and secrets back, into an empty machine or beside what runs."""
    if overwrite and not yes:
        _confirm(context_of(context).deployment)
    with locked(context, "restore", " ".join(filter(None, (at, origin)))) as stack:
        end_with(restoring.restore(stack, restoring.Wish(at, origin, overwrite, incomplete)))


def _confirm(deployment: Deployment) -> None:
    if not sys.stdin.isatty():
        raise StackError(
            f"--overwrite replaces all data of {deployment.name}, and there is nobody to ask",
            "--yes, where no terminal is attached",
            f"{deployment.stack} restore --overwrite --yes",
        )
    typed = input(f"This replaces the database and the lakes of {deployment.name}. Type its name to go on: ")
    if typed.strip() != deployment.name:
        raise StackError("not confirmed", f"{deployment.name}", "nothing was touched")
