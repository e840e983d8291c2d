"""The command line of branches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from operations import locks
from operations.branches import create as creating
from operations.branches import delete as deleting
from operations.branches import listing, record
from operations.calls import Json, context_of, end_with
from operations.context import Context
from operations.errors import StackError
from operations.signals import as_interrupts
from operations.upgrades import journal as upgrade_journal

app = typer.Typer()
branch_app = typer.Typer(help="Mirrors of production for a change that is under review.", no_args_is_help=True)
app.add_typer(branch_app, name="branch")


@branch_app.command("create")
def create(
    context: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Such as a pull request's number.")],
    location: Annotated[list[str] | None, typer.Option("--location", help="Build this one; else what differs.")] = None,
    source: Annotated[str, typer.Option("--from", help="A work tree or a commit; else this checkout.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="One of this id goes first, with its data.")] = False,
) -> None:
    """Make a branch: production's images and a zero-copy clone of its lakes, with the changed locations built anew."""
    origin = context_of(context)
    origin.deployment.require_env()
    with held(origin, identifier, "branch create") as branch:
        wish = creating.Wish(identifier, tuple(location or ()), source, replace)
        end_with(creating.create(origin, branch, wish))


@branch_app.command("list")
def show(context: typer.Context, as_json: Json = False) -> None:
    """List branches: address, commit, what was rebuilt, age, size, when they expire."""
    origin = context_of(context)
    origin.deployment.require_env()
    end_with(listing.show(origin, as_json=as_json))


@branch_app.command("delete")
def delete(
    context: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id.")] = "",
    expired: Annotated[bool, typer.Option("--expired", help="All that nobody has used for BRANCH_DAYS.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a branch with its clone, volumes and images. Production's files stay as they are."""
    origin = context_of(context)
    origin.deployment.require_env()
    if bool(identifier) == expired:
        raise StackError("branch delete with an id and --expired, or neither", "one of them", "name one")
    if expired:
        _delete_expired(origin)
        return
    branch = record.deployment(origin.deployment.root, identifier)
    if not yes:
        confirm(branch.name)
    with held(origin, identifier, "branch delete") as found:
        deleting.delete(origin, found)


def _delete_expired(origin: Context) -> None:
    """By a timer: one that cannot be removed keeps no other."""
    failed: list[StackError] = []
    ids = listing.expired(origin)
    for identifier in ids:
        try:
            with held(origin, identifier, "branch delete", "expired") as branch:
                deleting.delete(origin, branch)
        except StackError as error:
            origin.report.problem(error.found, error.expected, error.do)
            failed.append(error)
    if not ids:
        origin.report.say("No branch has expired.")
    if failed:
        raise StackError(f"{len(failed)} of {len(ids)} expired branches are not removed", "", "see above; repeat")


@contextmanager
def held(origin: Context, identifier: str, verb: str, why: str = "") -> Iterator[Context]:
    """The branch, for one command at a time. Production's own lock stays free: a deployment need not wait for a
    branch's build. What became of it is written into production's audit log, which outlives the branch."""
    deployment = record.deployment(origin.deployment.root, identifier)
    lock = origin.deployment.state / f"{deployment.name}.lock"
    about = f"{identifier}{f' ({why})' if why else ''}"
    with locks.hold(lock, f"./stack {verb}", about) as note, as_interrupts():
        if note:
            origin.report.warn(note)
        # A branch is made of what production is, and is registered in its database.
        upgrade_journal.require_none(origin.deployment, verb)
        yield Context(deployment, origin.executor, origin.report, origin.host)


def confirm(name: str) -> None:
    """Ask, where there is somebody to ask."""
    if not sys.stdin.isatty():
        raise StackError(
            f"all that is in {name} goes, and there is nobody to ask",
            "--yes, where no terminal is attached",
            f"./stack branch delete {name.removeprefix(record.PREFIX)} --yes",
        )
    typed = input(f"This deletes all that was done in {name}. Type its name to go on: ")
    if typed.strip() != name:
        raise StackError("not confirmed", name, "nothing was removed")
