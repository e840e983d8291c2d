"""The commands migration new and migration try."""

from typing import Annotated

import typer

from operations.calls import context_of, end_with
from operations.migrations import local

app = typer.Typer()
group = typer.Typer(help="Migrations of a code location's tables.", no_args_is_help=True)
app.add_typer(group, name="migration")
Name = Annotated[str, typer.Argument(help="A code location.")]


@group.command("new")
def new(
    context: typer.Context,
    location: Name,
    message: Annotated[str, typer.Argument(help="What changes, in a few words.")],
    empty: Annotated[bool, typer.Option("--empty", help="For what models do not say: rows, triggers, views.")] = False,
) -> None:
    """Write the revision that leads to the models as they are now."""
    end_with(local.new(context_of(context), location, message, empty=empty))


@group.command("try")
def try_out(context: typer.Context, location: Name) -> None:
    """Apply all revisions on an empty database of this machine's, and compare the result with the models."""
    end_with(local.try_out(context_of(context), location))
