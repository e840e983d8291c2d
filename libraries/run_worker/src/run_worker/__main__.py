"""`python -m run_worker ARGUMENTS`, which are those of some run of this location (`dagster api execute_run`).

Two lines of JSON come over standard input, from the run broker: first the arguments of the run that this process is
for, then word to start. Until then nothing is written anywhere, and no connection is open.
"""

import sys

from run_worker.orders import read_order, read_start


def main(arguments: list[str]) -> int:
    """Get ready, wait, execute one run; its exit code. Without a run (end of input) nothing is executed."""
    if len(arguments) != 1:
        print("usage: python -m run_worker ARGUMENTS", file=sys.stderr)
        return 2
    # Here and not above: what takes two seconds is what this process is for.
    from run_worker.worker import Worker

    worker = Worker(arguments[0])
    order = read_order(sys.stdin.buffer)
    if order is None:
        return 0
    worker.look_at(order)
    return worker.execute(order) if read_start(sys.stdin.buffer) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
