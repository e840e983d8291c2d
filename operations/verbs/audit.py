"""audit: who launched, changed and deployed, from all trails, by time."""

import json

from rich.markup import escape
from rich.table import Table

from operations import audit, docker, gateway
from operations.context import Context
from operations.errors import StackError


def show(context: Context, begin: str, user: str, *, as_json: bool) -> int:
    """Show the entries since then; 1 when a trail could not be read, which is said."""
    deployment = context.deployment
    deployment.require_env()
    try:
        start = audit.since(begin)
    except (ValueError, OverflowError) as error:
        raise StackError(
            f"--since {begin} is no time", "such as 30m, 12h, 7d, or a date like 2026-11-21", "repeat with one of these"
        ) from error
    entries = list(audit.of_verbs(deployment.state / "audit.jsonl"))
    missing = []
    read = context.executor.run(docker.execute(deployment, "webserver", *audit.READ_LOG), check=False, timeout=60)
    if read.ok:
        entries += audit.of_webserver(read.stdout)
    else:
        missing.append(f"the webserver's audit log: {read.last_words}")
    try:
        if not gateway.runs(context.containers()):
            raise gateway.UnreachableError("the gateway does not run")
        entries += audit.of_runs(gateway.as_admin(deployment).launches())
    except gateway.UnreachableError as error:
        missing.append(f"what schedules and sensors launched: {error}")
    wanted = sorted(entry for entry in entries if entry.time >= start and user in ("", entry.who))
    if as_json:
        context.report.console.print_json(json.dumps([entry.as_dict() for entry in wanted]), ensure_ascii=True)
    else:
        context.report.show(_table(wanted))
    for trail in missing:
        context.report.warn(f"not read: {trail}")
    return 1 if missing else 0


def _table(entries: list[audit.Entry]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("time (UTC)", "who", "where", "what", "about", "result"):
        table.add_column(heading)
    for entry in entries:
        time = entry.time[:19].replace("T", " ")
        table.add_row(time, *(escape(text) for text in (entry.who, entry.where, entry.what, entry.about, entry.result)))
    return table
