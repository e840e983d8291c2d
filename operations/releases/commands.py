"""The commands deploy, rollback and releases."""

from pathlib import Path
from typing import Annotated

import typer

from operations.calls import Json, context_of, end_with, locked
from operations.errors import StackError
from operations.releases import deployment, listing
from operations.releases import rollback as back

app = typer.Typer()


@app.command()
def deploy(
    context: typer.Context,
    locations: Annotated[list[str] | None, typer.Argument(help="Code locations.", show_default=False)] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Those that differ from what runs.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Another work tree of the repository to build from.", file_okay=False)
    ] = None,
    commit: Annotated[str | None, typer.Option("--commit", help="Another commit than the one checked out.")] = None,
) -> None:
    """Build, test and put in place code locations; what fails leaves the old version serving."""
    names = locations or []
    if not names and not changed:
        raise StackError("nothing is named to deploy", "LOCATION… or --changed", "./stack location list shows them")
    if source is not None and not source.is_dir():
        raise StackError(f"{source} is no folder", "a work tree of the repository", "git worktree add makes one")
    why = " ".join([*names, *(["--changed"] if changed else []), *([f"--commit {commit}"] if commit else [])])
    with locked(context, "deploy", why) as stack:
        source = source.resolve() if source else None
        deployment.deploy(stack, names, source=source, commit=commit, only_changed=changed)


@app.command()
def rollback(
    context: typer.Context,
    location: Annotated[str, typer.Argument(help="A code location.")],
    to: Annotated[str | None, typer.Option("--to", help="A release of it; by default the one before.")] = None,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Tables and columns may be dropped.")] = False,
) -> None:
    """Put a release that served before back in place. Nothing is built: it takes seconds."""
    with locked(
        context, "rollback", " ".join([location, *([to] if to else []), *(["--accept-loss"] if accept_loss else [])])
    ) as stack:
        back.rollback(stack, location, to, accept_loss=accept_loss)


@app.command()
def releases(context: typer.Context, as_json: Json = False) -> None:
    """List what was deployed, and what is in force."""
    stack = context_of(context)
    stack.deployment.require_env()
    end_with(listing.show(stack, as_json=as_json))
