"""The command line: verbs, options, and the one place where errors become a message and an exit code."""

import sys
from typing import Annotated

import typer

from operations.backups import commands as backup_commands
from operations.branches import commands as branch_commands
from operations.calls import Call, Json, context_of, end_with, locked
from operations.deployment import PROD, Deployment
from operations.errors import StackError
from operations.locations.scaffold import Wish
from operations.migrations import commands as migration_commands
from operations.reconcile import commands as reconcile_commands
from operations.releases import commands as release_commands
from operations.report import Report
from operations.upgrades import commands as upgrade_commands
from operations.upgrades import ending as upgrade_ending
from operations.verbs import audit as audit_verb
from operations.verbs import bench as bench_verb
from operations.verbs import check as check_verb
from operations.verbs import dev as dev_verb
from operations.verbs import doctor as doctor_verb
from operations.verbs import down as down_verb
from operations.verbs import library as library_verb
from operations.verbs import lineage as lineage_verb
from operations.verbs import location as location_verb
from operations.verbs import status as status_verb
from operations.verbs import test as test_verb
from operations.verbs import up as up_verb
from operations.verbs import user as user_verb

app = typer.Typer(
    name="stack",
    help="One command for a Dagster deployment on Docker Compose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
user_app = typer.Typer(help="Who may sign in.", no_args_is_help=True)
app.add_typer(user_app, name="user")
location_app = typer.Typer(help="Which code locations there are.", no_args_is_help=True)
app.add_typer(location_app, name="location")
library_app = typer.Typer(help="Releases of the library that code locations share.", no_args_is_help=True)
app.add_typer(library_app, name="library")
app.add_typer(release_commands.app)
app.add_typer(branch_commands.app)
app.add_typer(reconcile_commands.app)
app.add_typer(backup_commands.app)
app.add_typer(migration_commands.app)
app.add_typer(upgrade_commands.app)


@app.callback()
def options(
    context: typer.Context,
    deployment: Annotated[str, typer.Option("--deployment", "-d", help="Which Compose project.")] = PROD,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every command, and tracebacks.")] = False,
) -> None:
    """Options of every verb."""
    context.obj = Call(deployment, verbose)


@app.command()
def up(context: typer.Context) -> None:
    """Start everything, install what is missing, wait until it answers. Changes nothing when nothing changed."""
    with locked(context, "up") as stack:
        upgrade_ending.recover(stack, starts=True)
        code = up_verb.up(stack)
        upgrade_ending.recover(stack)
        end_with(code)


@app.command()
def down(
    context: typer.Context,
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Volumes, images and secrets as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop and remove the containers, live runs included. The data stays unless told otherwise."""
    if delete_data and not yes:
        _confirm(context_of(context).deployment)
    with locked(context, "down", "with all data" if delete_data else "") as stack:
        down_verb.down(stack, delete_data=delete_data)


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Show services, code locations and runs."""
    end_with(status_verb.status(context_of(context), as_json=as_json))


@app.command()
def doctor(
    context: typer.Context,
    as_json: Json = False,
    invariants: Annotated[
        bool, typer.Option("--invariants", help="What runs, containers, events, pools and lakes say of each other.")
    ] = False,
) -> None:
    """Find what is wrong, why, and what to do."""
    end_with(doctor_verb.doctor(context_of(context), as_json=as_json, invariants=invariants))


@app.command()
def check(
    context: typer.Context,
    fast: Annotated[bool, typer.Option("--fast", help="Files only: build and load nothing.")] = False,
) -> None:
    """Validate the whole description without starting it."""
    with locked(context, "check") as stack:
        end_with(check_verb.check(stack, fast=fast))


@app.command()
def lineage(context: typer.Context) -> None:
    """Write docs/lineage.md, the asset graph of the running deployment."""
    with locked(context, "lineage") as stack:
        end_with(lineage_verb.write(stack))


@app.command()
def audit(
    context: typer.Context,
    since: Annotated[str, typer.Option("--since", help="30m, 12h, 7d, or a date.")] = "7d",
    user: Annotated[str, typer.Option("--user", help="What this one did alone.")] = "",
    as_json: Json = False,
) -> None:
    """Show who launched, changed and deployed."""
    end_with(audit_verb.show(context_of(context), since, user, as_json=as_json))


@app.command("test", context_settings={"allow_extra_args": True})
def run_tests(
    context: typer.Context,
    fast: Annotated[bool, typer.Option("--fast", help="Linters and unit tests only.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="Suites whose name contains this.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Performance tests as well.")] = False,
) -> None:
    """Run every test: linters, unit suites, end to end. Arguments after -- go to pytest."""
    end_with(test_verb.test(context_of(context), fast=fast, only=only or [], every=every, extra=context.args))


@app.command()
def bench(
    context: typer.Context,
    only: Annotated[list[str] | None, typer.Option("--only", help="This measurement; may be given again.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each run of the ladder is repeated.")] = 10,
    keep: Annotated[bool, typer.Option("--keep", help="Leave both deployments up.")] = False,
) -> None:
    """Measure this deployment beside Dagster's own example and write docs/performance.md."""
    end_with(bench_verb.bench(context_of(context), only=only or [], rounds=rounds, keep=keep))


@app.command()
def dev(
    context: typer.Context,
    locations: Annotated[list[str] | None, typer.Argument(help="Code locations; all of them unless named.")] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of the webserver, on this machine.")] = 3000,
) -> None:
    """Run code locations on this machine, without Docker, until Ctrl-C."""
    end_with(dev_verb.dev(context_of(context), locations or [], port))


@library_app.command("release")
def library_release(
    context: typer.Context,
    version: Annotated[str | None, typer.Option("--version", help="By default the one in pyproject.toml.")] = None,
    bump: Annotated[str | None, typer.Option("--bump", help="major, minor or patch: one more than the last.")] = None,
    into: Annotated[list[str] | None, typer.Option("--into", help="Locations that take it, if it suits them.")] = None,
) -> None:
    """Build a version of platform_kit into libraries/index, once its tests pass."""
    with locked(context, "library release", version or bump or "") as stack:
        end_with(library_verb.publish(stack, version, bump, into or []))


@user_app.command("add")
def user_add(
    context: typer.Context,
    name: str,
    group: Annotated[list[str] | None, typer.Option("--group", help="May be given several times.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read it from stdin.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Change a user that exists.")] = False,
) -> None:
    """Add a user; without --password-stdin a password is made and shown once."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    with locked(context, f"user add {name}") as stack:
        user_verb.add(stack, name, group or [], password, replace=replace)


@user_app.command("remove")
def user_remove(context: typer.Context, name: str) -> None:
    """Remove a user."""
    with locked(context, f"user remove {name}") as stack:
        user_verb.remove(stack, name)


@user_app.command("list")
def user_list(context: typer.Context) -> None:
    """List users, groups and roles."""
    user_verb.show(context_of(context))


@location_app.command("new")
def location_new(
    context: typer.Context,
    name: str,
    like: Annotated[str, typer.Option("--like", help="team, dbt, components or image.")] = "team",
    image: Annotated[str, typer.Option("--image", help="With --like image: its reference, best with a digest.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="The group of its editors; its own name unless given.")] = "",
    reads: Annotated[str, typer.Option("--reads", help="Locations whose lakes it reads: a,b.")] = "",
    internet: Annotated[bool, typer.Option("--internet", help="Let it reach what this machine reaches.")] = False,
) -> None:
    """Add a code location: its folder, its block, and its name in every file that needs it."""
    wish = Wish(name, like, image, owner, tuple(filter(None, reads.split(","))), internet)
    with locked(context, "location new", name) as stack:
        location_verb.new(stack, wish)


@location_app.command("remove")
def location_remove(
    context: typer.Context,
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a code location from every file that names it. Its data stays."""
    with locked(context, "location remove", name) as stack:
        location_verb.remove(stack, name, yes=yes)


@location_app.command("image")
def location_image(
    context: typer.Context,
    name: str,
    image: Annotated[str, typer.Option("--image", help="REGISTRY/NAME@sha256:DIGEST.")],
) -> None:
    """Let a location that is built elsewhere run another image."""
    with locked(context, "location image", name) as stack:
        location_verb.take(stack, name, image)


@location_app.command("list")
def location_list(context: typer.Context) -> None:
    """List code locations: pattern, image, what they read, who edits them."""
    location_verb.show(context_of(context))


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; the only place that catches."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verbose = "--verbose" in arguments
    report = Report(verbose=verbose)
    try:
        app(arguments, prog_name="./stack", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except StackError as error:
        if verbose:
            report.errors.print_exception()
        report.problem(error.found, error.expected, error.do)
        return error.code
    except KeyboardInterrupt:
        report.problem("interrupted", "", "repeat the command: it takes up where it was")
        return 130
    except Exception as error:
        if verbose:
            report.errors.print_exception()
        report.problem(f"unexpected: {type(error).__name__}: {error}", "", "repeat with --verbose for the traceback")
        return 1
    return 0


def _confirm(deployment: Deployment) -> None:
    if not sys.stdin.isatty():
        raise StackError(
            f"--delete-data removes all data of {deployment.name}, and there is nobody to ask",
            "--yes, where no terminal is attached",
            f"{deployment.stack} down --delete-data --yes",
        )
    typed = input(f"This deletes the database, the lake and the secrets of {deployment.name}. Type its name to go on: ")
    if typed.strip() != deployment.name:
        raise StackError("not confirmed", f"{deployment.name}", "nothing was removed")
