"""location: add a code location, remove one, list them. All files that name it change together or not at all."""

import io
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from access import Access, AccessError, check_location_name, check_package_name, load
from operations import gateway
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Shell
from operations.locations import image, plan, scaffold
from operations.locations.draft import Draft, drafting
from operations.locations.scaffold import Wish
from operations.report import Report
from operations.verbs import check

# A digest says which image; a tag says which one somebody may replace tomorrow.
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"(?:[a-z0-9]+(?:[.-]+[a-z0-9]+)*(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
LONGEST = 300
GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def new(context: Context, wish: Wish) -> None:
    """Add a location."""
    root = context.deployment.root
    _require_sense(wish)
    with drafting(root) as draft:
        _require_known(root, wish.reads)
        plan.require_free(root, wish.name, draft.yaml(plan.COMPOSE))
        _check(context, context.deployment, "the repository as it is")
        plan.add(draft, wish)
        if not wish.image:
            draft.new_folder = f"code_locations/{wish.name}"
        draft.lay_out()
        if draft.new_folder:
            _fill(context, draft, wish)
        _check(context, replace(context.deployment, root=draft.tree), f"the repository with {wish.name}")
        _check_image(context, wish)
        draft.carry_over()
    _tell_new(context, wish)


def take(context: Context, name: str, reference: str) -> None:
    """Another image for a location that is built elsewhere: what its repository's CI asks for."""
    root = context.deployment.root
    _require_reference(reference)
    if "@" not in reference:
        raise StackError(
            f"{reference} names no digest",
            "REGISTRY/NAME@sha256:DIGEST: what is reviewed is then what runs",
            "give the digest that the push printed",
        )
    with drafting(root) as draft:
        _require_location(root, name)
        before = plan.take(draft, name, reference)
        if before == reference:
            context.report.say(f"{name} runs this image already.")
            return
        draft.lay_out()
        _check(context, replace(context.deployment, root=draft.tree), f"the repository with another image of {name}")
        _check_image(context, Wish(name, "image", reference))
        draft.carry_over()
    context.report.say(f"{name}: {reference} (before: {before})")
    context.report.say(f"  {context.deployment.stack} up    starts it; other locations and their runs go on")


def _require_sense(wish: Wish) -> None:
    """What can be said of the call itself, without looking anywhere."""
    try:
        check_location_name(wish.name)
        if not wish.image:
            check_package_name(wish.name)
    except ValueError as error:
        raise StackError(str(error), "such as sales or flight_data", "choose another name") from error
    if wish.like not in scaffold.patterns():
        raise StackError(
            f"--like {wish.like} is no pattern",
            f"one of {', '.join(scaffold.patterns())}",
            "docs/locations compares them",
        )
    if (wish.like == "image") != bool(wish.image):
        raise StackError(
            "--like image without --image" if not wish.image else f"--image with --like {wish.like}",
            "both or neither: a location built elsewhere is its image's reference",
            f"./stack location new {wish.name} --like image --image REGISTRY/NAME@sha256:DIGEST",
        )
    if wish.image:
        _require_reference(wish.image)
    if not GROUP.fullmatch(wish.team):
        raise StackError(f"{wish.team!r} is no name for a group", "letters, digits, - and _", "correct --owner")


def _require_reference(reference: str) -> None:
    if len(reference) > LONGEST or not REFERENCE.fullmatch(reference):
        raise StackError(f"{reference!r} is no reference of an image", "REGISTRY/NAME@sha256:DIGEST", "correct --image")


def _require_known(root: Path, wanted: tuple[str, ...]) -> None:
    known = plan.names(root)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise StackError(
            f"--reads {','.join(unknown)}: no such location", f"some of {', '.join(known)}", "correct --reads"
        )


def _fill(context: Context, draft: Draft, wish: Wish) -> None:
    folder = draft.tree / f"code_locations/{wish.name}"
    scaffold.write(folder, wish, draft.root)
    with context.report.step("Lock its dependencies") as step:
        scaffold.lock(context, folder)
        step.done(f"{(folder / 'requirements.lock').read_text(encoding='utf-8').count('==')} packages")


def _check(context: Context, deployment: Deployment, what: str) -> None:
    """The checks of `./stack check --fast`, on another tree where one is given; all they say is the error."""
    told = io.StringIO()
    report = Report(Console(file=told, width=200, highlight=False), context.report.errors, context.report.verbose)
    executor = Shell(deployment.root, context.report.log) if isinstance(context.executor, Shell) else context.executor
    with context.report.step(f"Check {what}"):
        if check.check(Context(deployment, executor, report, context.host), fast=True) == 0:
            return
    problems = "\n".join(line for line in told.getvalue().splitlines() if line.startswith("  "))
    raise StackError(
        f"{what} has problems:\n{problems}", "none", "correct what they name and repeat; nothing was changed"
    )


def _check_image(context: Context, wish: Wish) -> None:
    if not wish.image:
        return
    dagster = scaffold.deployments_pins(context.deployment.root)["dagster"]
    lacks = image.shortcomings(context, wish.name, wish.image, dagster)
    if lacks is None:
        context.report.warn(f"{wish.image} is not on this machine: ./stack check looks at it once it is pulled")
    elif lacks:
        raise StackError(
            "\n  ".join([f"{wish.image} does not keep to the contract of a location's image:", *lacks]),
            "docs/locations, An image built elsewhere",
            "have it built so, and repeat; nothing was changed",
        )
    if "@" not in wish.image:
        context.report.warn(f"{wish.image} names no digest: whoever may push that tag decides what runs here")


def _tell_new(context: Context, wish: Wish) -> None:
    where = f"code_locations/{wish.name}" if not wish.image else f"the image {wish.image}"
    context.report.say(f"Added {wish.name} ({wish.like}) from {where}; its editors are the group {wish.team}.")
    if not wish.image:
        context.report.say(f"  ./stack test --only code_locations/{wish.name}    its tests")
    context.report.say(f"  {context.deployment.stack} up    starts it; other locations and their runs go on")
    context.report.say(f"  {context.deployment.stack} lineage    draws its assets into docs/lineage.md")


def remove(context: Context, name: str, *, yes: bool) -> None:
    """Take a location away; its data stays."""
    root = context.deployment.root
    with drafting(root) as draft:
        _require_removable(draft, name)
        gone = plan.remove(draft, name)
        what = [*([gone.folder] if gone.folder else []), *gone.overlays]
        if what and not yes:
            _confirm(name, what)
        draft.lay_out()
        _check(context, replace(context.deployment, root=draft.tree), f"the repository without {name}")
        draft.carry_over()
    context.report.say(f"Removed {name}" + (f" with {', '.join(what)}." if what else "."))
    context.report.say(f"  {context.deployment.stack} up    ends its container; others and their runs go on")
    _tell_left(context, name, gone)


def _require_removable(draft: Draft, name: str) -> None:
    known = _require_location(draft.root, name)
    if known == [name]:
        raise StackError(f"{name} is the only location", "at least one", "add yours first: ./stack location new NAME")
    if readers := plan.readers(draft, name):
        raise StackError(
            f"{', '.join(readers)} read{'s' if len(readers) == 1 else ''} the lake of {name}",
            "a location whose lake nobody reads",
            f"remove {' and '.join(readers)} first, or take {name} from what they read: `reads` in access.yaml, and"
            f" the mount of lake-{name} in docker-compose.yml",
        )


def _require_location(root: Path, name: str) -> list[str]:
    known = plan.names(root)
    if name not in known:
        raise StackError(f"there is no location {name}", f"one of {', '.join(known)}", "./stack location list")
    return known


def _confirm(name: str, what: list[str]) -> None:
    if not sys.stdin.isatty():
        raise StackError(
            f"removing {name} deletes {', '.join(what)}, and there is nobody to ask",
            "--yes, where no terminal is attached",
            f"./stack location remove {name} --yes",
        )
    if input(f"This deletes {', '.join(what)}. Type {name} to go on: ").strip() != name:
        raise StackError("not confirmed", name, "nothing was removed")


def _tell_left(context: Context, name: str, gone: plan.Removal) -> None:
    """Data is deleted by hand: nothing that is typed in a hurry may take the only copy."""
    project, say = context.deployment.name, context.report.say
    secret = context.deployment.shown(context.deployment.secrets() / f"{name}_database_password")
    # A role goes when nothing refers to it any more: rights in its own database, in Dagster's, in those it read.
    steps = [("dagster", f"DATABASE lake_{name}"), *((f"lake_{lake}", f"OWNED BY {name}") for lake in gone.read)]
    steps += [("dagster", f"OWNED BY {name}"), ("dagster", f"ROLE {name}")]
    say(f"Its data stays; a location of the same name finds it again. After that up, this deletes it from {project}:")
    say(f"  docker volume rm {project}_lake-{name} {project}_logs-{name}")
    say(
        f"  docker exec -it {project}-postgres-1 psql -h 127.0.0.1 -U postgres    (password: secrets/postgres_password)"
    )
    for database, what in steps:
        say(f"    \\c {database}\n    DROP {what};")
    say(f"  rm {secret}")
    if any("sample" in overlay for overlay in gone.overlays):
        say("deploy/sample_source served this location alone, and may be deleted as well.")


def show(context: Context) -> None:
    """List the locations."""
    root = context.deployment.root
    names = plan.names(root)
    try:
        access = load(root / "access.yaml", names)
    except AccessError as error:
        raise StackError(str(error), "a valid access.yaml", "./stack check --fast") from error
    loaded = _loaded(context)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("LOCATION", "PATTERN", "IMAGE", "READS", "EDITORS", "STATE"):
        table.add_column(column, overflow="fold")
    for name in names:
        spec = context.config["services"].get(name) or {}
        reads = ", ".join(access.machines[name].reads)
        cells = [name, pattern(root, name, spec), spec.get("image", "missing"), reads, _editors(access, name)]
        table.add_row(*map(escape, cells), loaded.get(name, "not running"))
    context.report.show(table)


def pattern(root: Path, name: str, spec: dict[str, object]) -> str:
    """Which of the patterns of docs/locations a location follows, by what is in its folder."""
    if not spec.get("build"):
        return "image"
    folder = root / "code_locations" / name
    if "dagster-dbt" in (folder / "pyproject.toml").read_text(encoding="utf-8"):
        return "dbt"
    return "components" if any((folder / "src").rglob("defs.yaml")) else "team"


def _editors(access: Access, name: str) -> str:
    members = access.people.editor.get(name)
    return ", ".join([*members.groups, *members.users]) if members else ""


def _loaded(context: Context) -> dict[str, str]:
    """The state of each location; nothing where the deployment does not run."""
    try:
        if not shutil.which("docker") or not gateway.runs(context.containers()):
            return {}
        found = gateway.as_admin(context.deployment).locations()
    except (gateway.UnreachableError, StackError):
        return {}
    return {each.name: "loading" if each.loading else "error" if each.error else "loaded" for each in found}
