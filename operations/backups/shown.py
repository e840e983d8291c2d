"""Backups and restores as people read them."""

from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from operations.backups import journal
from operations.context import Context

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def moment(text: str) -> str:
    """A time as ISO, to the second."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: float) -> str:
    """Bytes in a unit that suits them."""
    for unit in UNITS:
        if count < 1024 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def taken(context: Context, result: dict[str, Any]) -> None:
    """A backup that was just taken."""
    say = context.report.say
    database, files = result["database_bytes"], result["file_bytes"]
    say(f"  Backup:      {result['set']}, {result['kind']}")
    say(f"  Brings back: {moment(result['point'])}")
    say(f"  Database:    {size(database)}, {size(result['database_bytes_stored'])} stored")
    say(f"  Files:       {size(files)} in {result['files']} files of {result['tables']} tables, "
        f"{size(result['file_bytes_stored'])} stored")  # fmt: skip
    say(f"  Verified:    {'every byte read again' if result['everything_read_again'] else 'structure and log'}")
    say(f"  Repository:  {result['repository']}")
    if result.get("without"):
        say(f"  Not in it:   {', '.join(result['without'])}")
    if result.get("left_out"):
        context.report.warn(
            f"without files: {', '.join(result['left_out'])}, whose code location has left; its data stays where it is"
            " until it is deleted (docs/operations/location.md)"
        )


def listing(sets: list[dict[str, Any]]) -> Table:
    """All backups, oldest first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("BACKUP", "KIND", "BRINGS BACK", "READ AGAIN", "COMPLETE"):
        table.add_column(column)
    for each in sets:
        complete = "yes" if not each["incomplete"] else f"no: {', '.join(each['incomplete'])}"
        verified = "every byte" if each["verified"] else "structure"
        table.add_row(each["name"], each["kind"], moment(each["point"]), verified, complete)
    return table


def report(context: Context, entry: journal.Entry) -> None:
    """What came back."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("LAKE", "SNAPSHOT", "TABLE", "ROWS"):
        table.add_column(column)
    for lake in entry.staged["lakes"]:
        for number, (name, rows) in enumerate(sorted(lake["tables"].items())):
            first = (lake["database"], str(lake["snapshot"])) if number == 0 else ("", "")
            table.add_row(*first, name, f"{rows:,}")
    context.report.say()
    context.report.show(table)
    context.report.say(f"Runs: {entry.staged['history'].get('runs', 0)}")
    if entry.at and entry.staged["since"]:
        context.report.say(f"Changed between the backup {entry.set} and the moment:")
        for line in entry.staged["since"][:20]:
            context.report.say(f"  {line}")
    elif not entry.at:
        context.report.say("Rows, runs and schedules are those that the backup wrote down.")
    for lake, problem in sorted(entry.staged["problems"].items()):
        context.report.warn(f"{lake} is not whole: {problem}")
    if entry.staged.get("without"):
        context.report.say(
            f"No backup has, and so this deployment begins without: {', '.join(entry.staged['without'])}"
        )
    context.report.say(f"{context.deployment.name} is as it was at {moment(entry.staged['moment'])}.")
