"""`python -m platform_kit.migrations COMMAND`: the migrations of the code location that this process belongs to."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from platform_kit import environment
from platform_kit.environment import Environment, PostgresCatalog, SettingError
from platform_kit.migrations import MigrationError, place

# A code server that may not serve: another code than 1, which is Python's for a module that is not there.
REFUSED = 3
Told = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when all is well, 1 when something is to be done, 3 when a code server must not serve."""
    asked = _parser().parse_args(arguments)
    told: Told = {"location": None}
    try:
        here = environment.current()
        told["location"] = here.code_location
        problems = _do(asked, here, told)
    except (MigrationError, SettingError) as error:
        return _failed(asked, told, str(error))
    if asked.json:
        print(json.dumps(told))
    for problem in problems:
        _say(problem, error=True)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m platform_kit.migrations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in {
        "current": "the revision that the tables are at",
        "heads": "the newest revision of this image",
        "upgrade": "bring the tables to the newest revision, or to --to REVISION",
        "downgrade": "bring them back to --to REVISION, or to `base`",
        "check": "try all revisions, compare the result with the models, change nothing",
        "new": "write the revision that leads to the models as they are now",
        "start": "what a code server does before it serves",
    }.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--json", action="store_true", help="one line of JSON on standard output, for programs")
        if name in ("upgrade", "downgrade"):
            command.add_argument("--to", metavar="REVISION", required=name == "downgrade")
        if name in ("upgrade", "downgrade", "check"):
            command.add_argument("--wait", type=int, metavar="SECONDS", help="for another migration (120)")
            command.add_argument("--table-wait", type=int, metavar="SECONDS", help="for a table that is in use (10)")
        if name == "new":
            command.add_argument("message", help="what changes, in a few words")
            command.add_argument("--empty", action="store_true", help="for what models do not say: data, triggers")
    return parser


def _do(asked: argparse.Namespace, here: Environment, told: Told) -> list[str]:
    if place.folder(here.code_location) is None:
        told["head"] = None
        if asked.command == "new":
            raise MigrationError(
                f"there is no package {place.package_of(here.code_location)}.migrations on Python's path: "
                "docs/migrations.md says how to begin"
            )
        _tell(asked, f"{here.code_location} has no migrations")
        return []
    # Not before it is known that there is something to do: Alembic and SQLAlchemy take half a second to import.
    from platform_kit.migrations.chain import find

    found = find(here.code_location)
    assert found is not None  # noqa: S101  it is there
    told["head"] = found.head
    if asked.command == "heads":
        _tell(asked, f"{here.code_location}: {found.head or 'no revision'}")
        return []
    with _database(asked, here) as catalog:
        if catalog is None:
            _tell(asked, f"{here.code_location}: no Postgres here (POSTGRES_HOST is not set), nothing to migrate")
            return []
        told["database"] = catalog.database
        return _on_database(asked, here, found, catalog, told)


@contextmanager
def _database(asked: argparse.Namespace, here: Environment) -> Iterator[PostgresCatalog | None]:
    """The location's own; on a laptop without Postgres none, or an empty one to try revisions on."""
    catalog = here.lake_catalog()
    if isinstance(catalog, PostgresCatalog):
        yield catalog
    elif asked.command in ("check", "new"):
        from platform_kit.migrations import scratch

        with scratch.database() as empty:
            yield empty
    else:
        yield None


def _on_database(
    asked: argparse.Namespace, here: Environment, found: Any, catalog: PostgresCatalog, told: Told
) -> list[str]:
    from platform_kit.migrations import moving, starting, writing
    from platform_kit.migrations.database import revision_of, transaction

    if asked.command == "current":
        with transaction(catalog) as connection:
            told["current"] = revision_of(connection)
        _tell(asked, f"{here.code_location}: {told['current'] or 'nothing applied'} (newest: {found.head})")
    elif asked.command == "check":
        told["problems"] = moving.trial(found, catalog, _patience(asked))
        count = len(found.revisions())
        if not told["problems"]:
            _tell(asked, f"{here.code_location}: models and {count} {'revision' if count == 1 else 'revisions'} agree")
        return list(told["problems"])
    elif asked.command == "new":
        path = writing.write(found, catalog, asked.message, empty=asked.empty)
        told["file"] = str(path) if path else None
        _tell(
            asked,
            f"wrote {path}: read it, for a renamed column looks like two" if path else "the models say nothing new",
        )
    else:
        if asked.command == "start":
            moved = starting.start(found, here, catalog, _say)
        elif asked.command == "upgrade":
            moved = moving.upgrade(found, catalog, asked.to, _patience(asked))
        else:
            moved = moving.downgrade(found, catalog, asked.to, _patience(asked))
        told |= {"from": moved.before, "to": moved.after, "steps": moved.steps, "differences": moved.differences}
        for step in moved.steps:
            _tell(asked, f"{here.code_location}: {'undid' if asked.command == 'downgrade' else 'applied'} {step}")
        _tell(asked, f"{here.code_location}: at {moved.after or 'base'}")
        for difference in moved.differences:
            _say(f"WARNING: {difference}", error=True)
    return []


def _patience(asked: argparse.Namespace) -> Any:
    from platform_kit.migrations.moving import PATIENCE_SECONDS, TABLE_PATIENCE_SECONDS, Patience

    return Patience(asked.wait or PATIENCE_SECONDS, asked.table_wait or TABLE_PATIENCE_SECONDS)


def _failed(asked: argparse.Namespace, told: Told, reason: str) -> int:
    _say(reason, error=True)
    if asked.json:
        print(json.dumps({**told, "error": reason}))
    if asked.command != "start":
        return 1
    from platform_kit.migrations import starting

    starting.keep_reason(reason)
    return REFUSED


def _tell(asked: argparse.Namespace, line: str) -> None:
    if not asked.json:
        _say(line)


def _say(line: str, *, error: bool = False) -> None:
    print(f"migrations: {line}", file=sys.stderr if error else sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
