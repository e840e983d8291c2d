"""Jobs that misbehave on purpose, for the end-to-end tests."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psycopg2


class PythonConfig(dg.Config):
    """Python source that the run executes, as hostile code of a location would."""

    code: str


@dg.op
def run_python(context: dg.OpExecutionContext, config: PythonConfig) -> None:
    """Executes the given source and reports what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(config.code, {"__name__": "attack"})
    context.log_event(dg.AssetObservation("probe", metadata={"printed": dg.MetadataValue.text(printed.getvalue())}))


@dg.job(executor_def=dg.in_process_executor)
def attack() -> None:
    """Whatever a hostile location might try from inside a run."""
    run_python()


@dg.op
def wait_forever() -> None:
    """Never ends by itself."""
    while True:
        time.sleep(1)


@dg.job(executor_def=dg.in_process_executor)
def hang() -> None:
    """Runs until somebody terminates it."""
    wait_forever()


@dg.op
def take_all_memory() -> None:
    """Asks for memory until the limit ends the process."""
    print("takes memory until it is stopped", flush=True)
    taken = []
    while True:
        taken.append(os.urandom(1 << 20) * 16)


@dg.job(executor_def=dg.in_process_executor)
def exhaust_memory() -> None:
    """Ends by the kernel's hand."""
    take_all_memory()


@dg.op
def die() -> None:
    """Ends the process without a word to Dagster."""
    print("the last words before the crash", flush=True)
    os._exit(42)


@dg.job(executor_def=dg.in_process_executor)
def crash() -> None:
    """Ends with exit code 42."""
    die()


@dg.op
def quick() -> None:
    """Writes where it was, and ends."""
    print(f"hello from {Path('/proc/self/cgroup').exists()}", flush=True)


@dg.job(executor_def=dg.in_process_executor)
def succeed() -> None:
    """The shortest run there is."""
    quick()


class LeakConfig(dg.Config):
    """Whether the run fails with what it knows in its error, or waits to be looked at."""

    fail: bool = False


@dg.op
def print_personal_data(context: dg.OpExecutionContext, config: LeakConfig) -> None:
    """Prints what no log may hold, in every way there is. Put together here, so that no record of the run has it."""
    email, phone, card = (
        "@".join(["anna.smith", "example.com"]),
        "+1 415" + " 555 2671",
        " ".join(["4111", *["1111"] * 3]),
    )
    token, secret = "ghp_" + "a1B2c3D4" * 5, os.environ["POSTGRES_PASSWORD"]
    everything = f"{email} | {phone} | {card} | {token} | password={secret[::-1]} | {secret}"
    print("print", everything)
    sys.stderr.write(f"stderr {everything}\n")
    os.write(1, f"write {everything}\n".encode())
    logging.getLogger("somebody").warning("logging %s", everything)
    subprocess.run(["sh", "-c", 'echo "child $0"; echo "child $0" >&2', everything], check=True)
    context.log.info(f"context {everything}")
    for half in (email[:12], email[12:] + "\n"):
        os.write(1, half.encode())
        time.sleep(0.5)
    if config.fail:
        raise ValueError(f"error {everything}")
    print("all is printed", flush=True)
    while True:
        time.sleep(1)


@dg.job(executor_def=dg.in_process_executor)
def leak() -> None:
    """What careless code does with personal data and secrets."""
    print_personal_data()


@dg.op
def refuse_to_end() -> None:
    """Hears no request to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    print("hears nothing from now on", flush=True)
    while True:
        time.sleep(1)


@dg.job(executor_def=dg.in_process_executor)
def deaf() -> None:
    """Ends by the engine's hand alone."""
    refuse_to_end()


class MarkConfig(dg.Config):
    """What the mark is called, how much is said on the way, and how long that takes."""

    name: str
    lines: int = 10
    seconds: float = 1


@dg.op(retry_policy=dg.RetryPolicy(max_retries=3, delay=5))
def leave_mark(context: dg.OpExecutionContext, config: MarkConfig) -> None:
    """Work that can be counted: one row, and lines of which none may be missing. Repeated, it leaves another row."""
    for number in range(config.lines):
        if number == config.lines // 2:
            _insert(config.name, context.run_id)
        context.log.info(f"line {number} of {config.lines}")
        time.sleep(config.seconds / config.lines)


def _insert(name: str, run_id: str) -> None:
    e = os.environ
    connection = psycopg2.connect(
        host=e["POSTGRES_HOST"], port=e["POSTGRES_PORT"], user=e["POSTGRES_USER"], password=e["POSTGRES_PASSWORD"],
        dbname="lake_probe", connect_timeout=10,
    )  # fmt: skip
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO faults.marks (name, run_id) VALUES (%s, %s)", (name, run_id))


@dg.job(executor_def=dg.in_process_executor)
def mark() -> None:
    """Short work, the same as a thousand others."""
    leave_mark()


@dg.schedule(job=mark, cron_schedule="* * * * *", execution_timezone="UTC")
def every_minute(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One mark a minute, called after its moment."""
    moment = context.scheduled_execution_time.isoformat()
    config = {"ops": {"leave_mark": {"config": {"name": moment}}}}
    return dg.RunRequest(run_key=moment, run_config=config, tags={"fault": "schedule"})


defs = dg.Definitions(jobs=[attack, hang, exhaust_memory, crash, succeed, leak, deaf, mark], schedules=[every_minute])
