"""`python3 -m backup …`: the service, and what ./stack asks of it. Answers in lines of JSON: steps, then one result."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from backup import counting, owner, serving, sets, settings, staging, swapping, take
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when all is well, 1 when something is to be done."""
    call = _parser().parse_args(arguments)
    try:
        here = settings.load()
        if call.verb == "serve":
            serving.serve(here, lambda line: print(f"backup: {line}", flush=True))
            return 0
        _tell({"result": _answer(here, call)})
    except BackupError as error:
        _tell({"error": error.as_dict()})
        return 1
    return 0


def _answer(here: Settings, call: argparse.Namespace) -> Any:
    places = here.places
    of_this_place: dict[str, Callable[[], Any]] = {
        "take": lambda: _take(here, call),
        "stop": lambda: serving.stop(places.work),
        "swap": lambda: swapping.swap(places),
        "discard": lambda: swapping.discard(places),
        "finish": lambda: swapping.finish(places),
        "occupied": lambda: swapping.occupied(places),
        "count": lambda: counting.count(places, json.load(sys.stdin) if call.since else None),
        "follow": lambda: Database().follow(),
    }
    return of_this_place[call.verb]() if call.verb in of_this_place else _of_the_repository(here, call)


def _take(here: Settings, call: argparse.Namespace) -> Any:
    kind = "full" if call.full else "incremental"
    return serving.by_hand(here, kind, call.who, _say, verify=call.verify, take_over=call.take_over)


def _of_the_repository(here: Settings, call: argparse.Namespace) -> Any:
    database, files = Database(), Files(here, reading=True)
    found = take.listed(here, database, files)
    if call.verb == "list":
        return {"repository": here.shown, "sets": [one.as_dict() for one in found]}
    at = sets.parse_time(call.at) if call.at else None
    if call.verb == "plan":
        owned = owner.of(files.snapshots())
        return staging.plan(here, database, files, sets.choose(found, at), owned.fingerprint if owned else "")
    choice = sets.pinned(found, call.set, at)
    if call.verb == "record":
        return json.loads(files.text(choice.base.data, str(here.places.record)))
    one = staging.Staging(here, database, files, _say)
    return one.lay(choice, call.lake) if call.verb == "lay" else one.stage(choice, incomplete=call.incomplete)


def _say(step: str) -> None:
    _tell({"step": step})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m backup")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("serve", "stop", "list", "swap", "discard", "finish", "occupied", "follow"):
        verbs.add_parser(name)
    verbs.add_parser("count").add_argument("--since", action="store_true", help="a former count, by stdin")
    taking = verbs.add_parser("take")
    taking.add_argument("--full", action="store_true")
    taking.add_argument("--verify", action="store_true")
    taking.add_argument("--take-over", action="store_true")
    taking.add_argument("--who", default="nobody")
    for name in ("plan", "lay", "stage", "record"):
        one = verbs.add_parser(name)
        one.add_argument("--at", default="")
        if name != "plan":
            one.add_argument("--set", required=True)
        if name == "lay":
            one.add_argument("--lake", required=True)
        if name == "stage":
            one.add_argument("--incomplete", action="store_true")
    return parser


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
