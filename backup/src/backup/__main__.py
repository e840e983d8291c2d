"""`python3 -m backup …`: the service, and what ./stack asks of it. Answers in lines of JSON: steps, then one result."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from backup import serving, sets, settings, staging, swapping, take
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when all is well, 1 when something is to be done."""
    call = _parser().parse_args(arguments)
    try:
        here = settings.load()
        if call.verb == "health":
            return 0 if serving.healthy(here) else 1
        if call.verb == "serve":
            serving.serve(here, lambda line: print(f"backup: {line}", flush=True))
            return 0
        _tell({"result": _answer(here, call)})
    except BackupError as error:
        _tell({"error": error.as_dict()})
        return 1
    return 0


def _answer(here: Settings, call: argparse.Namespace) -> Any:
    def say(step: str) -> None:
        _tell({"step": step})

    if call.verb == "take":
        return serving.by_hand(here, "full" if call.full else "incremental", call.who, say, verify=call.verify)
    if call.verb == "swap":
        return swapping.swap(here.places)
    if call.verb == "discard":
        return swapping.discard(here.places)
    if call.verb == "finish":
        return swapping.finish(here.places)
    if call.verb == "occupied":
        return swapping.occupied(here.places)
    database, files = Database(), Files(here, reading=True)
    found = take.listed(here, database, files)
    if call.verb == "list":
        return {"repository": here.shown, "sets": [one.as_dict() for one in found]}
    at = sets.parse_time(call.at) if call.at else None
    if call.verb == "plan":
        return staging.plan(here, database, files, sets.choose(found, at, incomplete=call.incomplete))
    choice = sets.pinned(found, call.set, at)
    if call.verb == "record":
        return json.loads(files.text(choice.base.data, str(here.places.record)))
    return staging.Staging(here, database, files, say).stage(choice)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m backup")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("serve", "health", "list", "swap", "discard", "finish", "occupied"):
        verbs.add_parser(name)
    taking = verbs.add_parser("take")
    taking.add_argument("--full", action="store_true")
    taking.add_argument("--verify", action="store_true")
    taking.add_argument("--who", default="nobody")
    for name in ("plan", "stage", "record"):
        one = verbs.add_parser(name)
        one.add_argument("--at", default="")
        if name == "plan":
            one.add_argument("--incomplete", action="store_true")
        else:
            one.add_argument("--set", required=True)
    return parser


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
