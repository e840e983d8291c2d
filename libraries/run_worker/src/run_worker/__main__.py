"""`python -m run_worker ARGUMENTS`, which are those of some run of this location (`dagster api execute_run`).

Two lines of JSON come over standard input, from the run broker: first the arguments of the run that this process is
for, then word to start. Until then nothing is written anywhere, and no connection is open.

`python -m run_worker --now ARGUMENTS` executes that run at once, as `dagster api execute_run` does, and ends sooner.
"""

import sys

from lean_dagster import without_colours

from run_worker.ending import end
from run_worker.orders import read_order, read_start


def main(arguments: list[str]) -> int:
    """Execute one run; its exit code. Without a run (end of input) nothing is executed."""
    match arguments:
        case ["--now", run]:
            return now(run)
        case [example] if not example.startswith("-"):
            return wait(example)
    print("usage: python -m run_worker [--now] ARGUMENTS", file=sys.stderr)
    return 2


def now(arguments: str) -> int:
    """Execute the run of these arguments."""
    from dagster._cli.api import execute_run_command

    try:
        execute_run_command.callback(arguments, None)  # type: ignore[misc]
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def wait(example: str) -> int:
    """Get ready for a run such as the example, wait for it, execute it."""
    # Here and not above: what takes two seconds is what this process is for.
    from run_worker.worker import Worker

    worker = Worker(example)
    order = read_order(sys.stdin.buffer)
    if order is None:
        return 0
    worker.look_at(order)
    return worker.execute(order) if read_start(sys.stdin.buffer) else 0


if __name__ == "__main__":
    without_colours()
    end(main(sys.argv[1:]))
