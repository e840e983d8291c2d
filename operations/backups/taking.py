"""backup: take one now, and list those there are."""

import json

from operations import locks
from operations.backups import asking, record, shown
from operations.context import Context


def take(context: Context, *, full: bool, verify: bool) -> None:
    """Take a backup with the settings and secrets as they are."""
    context.deployment.require_env()
    record.write(context)
    options = [*(["--full"] if full else []), *(["--verify"] if verify else [])]
    with context.report.step("Back up") as step:
        result = asking.running(context, "take", "--who", locks.person(), *options, on_step=step.update)
    shown.taken(context, result)


def show(context: Context, *, as_json: bool) -> None:
    """List them."""
    context.deployment.require_env()
    answer = asking.running(context, "list")
    if as_json:
        context.report.console.print_json(json.dumps(answer))
        return
    context.report.show(shown.listing(answer["sets"]))
    if answer["sets"]:
        first, last = (shown.moment(answer["sets"][index]["point"]) for index in (0, -1))
        context.report.say(f"Any moment from {first} to {last} can be restored.")
    context.report.say(f"Repository: {answer['repository']}")
