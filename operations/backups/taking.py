"""backup: take one now, and list those there are."""

import json
from contextlib import suppress

from operations import locks
from operations.backups import asking, record, shown
from operations.context import Context
from operations.errors import StackError
from operations.signals import as_interrupts


def take(context: Context, *, full: bool, verify: bool, take_over: bool = False) -> None:
    """Take a backup with the settings and secrets as they are. `take_over` takes another machine's repository."""
    context.deployment.require_env()
    record.write(context)
    chosen = {"--full": full, "--verify": verify, "--take-over": take_over}
    options = [name for name, wanted in chosen.items() if wanted]
    with as_interrupts(), context.report.step("Back up") as step:
        try:
            result = asking.running(context, "take", "--who", locks.person(), *options, on_step=step.update)
        except KeyboardInterrupt:
            # It runs in the service's container, where no signal of ours gets to.
            with suppress(StackError):
                asking.running(context, "stop")
            raise
    shown.taken(context, result)


def show(context: Context, *, as_json: bool) -> None:
    """List them."""
    context.deployment.require_env()
    answer = asking.running(context, "list")
    if as_json:
        context.report.console.print_json(json.dumps(answer), ensure_ascii=True)
        return
    context.report.show(shown.listing(answer["sets"]))
    if answer["sets"]:
        first, last = (shown.moment(answer["sets"][index]["point"]) for index in (0, -1))
        context.report.say(f"Any moment from {first} to {last} can be restored.")
    context.report.say(f"Repository: {answer['repository']}")
