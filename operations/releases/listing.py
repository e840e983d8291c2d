"""releases: what was deployed, by whom, and what runs now."""

import json
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from operations.context import Context
from operations.deployment import Deployment
from operations.releases import history, tags
from operations.releases.history import Release

STYLES = {history.DEPLOYED: "green", history.ROLLED_BACK: "yellow"}


def show(context: Context, *, as_json: bool) -> int:
    """All attempts, newest last; the ones in force are marked."""
    deployment = context.deployment
    releases = history.read(deployment)
    marked = in_force(deployment, releases)
    if as_json:
        told = [{**asdict(each), "in_force": each in marked} for each in releases]
        context.report.console.print_json(json.dumps(told), ensure_ascii=True)
        return 0
    if not releases:
        context.report.say(f"Nothing was deployed yet. {deployment.stack} deploy LOCATION makes the first release.")
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "LOCATION", "TAG", "COMMIT", "WHO", "WHEN", "RESULT"):
        table.add_column(column, overflow="fold")
    for each in releases:
        style = STYLES.get(each.result, "red")
        mark = "*" if each in marked else ""
        when = each.time[:16].replace("T", " ")
        row = [mark, each.location, each.tag, each.commit[:12], each.who, when]
        table.add_row(*map(escape, row), f"[{style}]{escape(each.result)}[/{style}]")
    context.report.show(table)
    context.report.say("* in force")
    return 0


def in_force(deployment: Deployment, releases: list[Release]) -> list[Release]:
    """Of each location the attempt that made what runs: the last that served with the tag that .env names, or, of an
    image that is built elsewhere, the last that served."""
    found = []
    for name in dict.fromkeys(each.location for each in releases):
        served = [each for each in releases if each.location == name and each.ok]
        tag = tags.in_force(deployment, name)
        own = [each for each in served if each.tag == tag or not tags.is_release(each.tag)]
        found += own[-1:]
    return found
