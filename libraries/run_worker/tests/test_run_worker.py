"""A warm process against a real instance: it waits, executes the run it is told, and no other, as Dagster would."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lean_dagster
import pytest
import run_worker
import yaml
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.dagster_run import DagsterRun
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value
from dagster._utils.hosted_user_process import recon_job_from_origin
from run_worker.orders import read_order, read_start

SOURCES = f"{Path(run_worker.__file__).parents[1]}:{Path(lean_dagster.__file__).parents[1]}"

DEFINITIONS = """
import os, sys
import dagster as dg

with open(os.environ["LOADED"], "a") as file:
    file.write("loaded\\n")


@dg.op
def look(context) -> None:
    context.log.info("job " + os.environ.get("DAGSTER_RUN_JOB_NAME", ""))
    context.log.info(f"input {sys.stdin.read()!r}")
    context.log.info(f"colours {'rich' in sys.modules}")


@dg.op
def stumble() -> None:
    raise ValueError("as asked")


@dg.op
def wait() -> None:
    import time

    open(os.environ["LOADED"] + ".waiting", "w").close()
    time.sleep(60)


@dg.op
def leave() -> None:
    import atexit, threading, time

    def later():
        time.sleep(0.3)
        print("the thread is done")

    print("printed without an end of line", end=" ")
    atexit.register(lambda: print("the exit was told"))
    threading.Thread(target=later).start()


@dg.job
def leaving():
    leave()


@dg.job
def good():
    look()


@dg.job
def bad():
    stumble()


@dg.job
def long():
    wait()


with open(os.environ["LOADED"], "a") as file:
    file.write("defined\\n")
defs = dg.Definitions(jobs=[good, bad, long, leaving], executor=dg.in_process_executor)
"""


class World:
    """An instance, a location's module, and a process that waits."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.loaded = folder, folder / "loaded"
        (folder / "home").mkdir()
        (folder / "home" / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}}))
        (folder / "demo_definitions.py").write_text(DEFINITIONS)
        self.instance = DagsterInstance.from_config(str(folder / "home"))
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, name: str) -> DagsterRun:
        origin = JobPythonOrigin(
            job_name=name,
            repository_origin=RepositoryPythonOrigin(
                executable_path=sys.executable,
                code_pointer=ModuleCodePointer("demo_definitions", "defs", str(self.folder)),
            ),
        )

        made = recon_job_from_origin(origin).get_definition()
        return self.instance.create_run_for_job(made, status=DagsterRunStatus.STARTING, job_code_origin=origin)

    def arguments(self, run: DagsterRun) -> str:
        assert run.job_code_origin is not None
        return serialize_value(ExecuteRunArgs(run.job_code_origin, run.run_id, self.instance.get_ref(), True))

    def start(self, example: DagsterRun, *options: str) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "run_worker", *options, self.arguments(example)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder,
            env={**os.environ, "LOADED": str(self.loaded), "PYTHONPATH": f"{self.folder}:{SOURCES}"},
        )  # fmt: skip
        return self.process

    def tell(self, **values: object) -> None:
        assert self.process
        assert self.process.stdin
        self.process.stdin.write(json.dumps(values).encode() + b"\n")
        self.process.stdin.flush()

    def order(self, run: DagsterRun) -> None:
        self.tell(arguments=self.arguments(run), job_name=run.job_name)

    def end(self) -> int:
        assert self.process
        self.output = self.process.communicate(timeout=60)[0].decode()
        return self.process.returncode

    def status(self, run: DagsterRun) -> DagsterRunStatus:
        found = self.instance.get_run_by_id(run.run_id)
        assert found
        return found.status

    def messages(self, run: DagsterRun) -> list[str]:
        return [entry.user_message for entry in self.instance.all_logs(run.run_id)]

    def until(self, path: Path) -> None:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # The tests load the definitions as well, as a code server does, and leave their mark elsewhere.
    monkeypatch.setenv("LOADED", str(tmp_path / "server"))
    monkeypatch.delitem(sys.modules, "demo_definitions", raising=False)
    made = World(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.communicate()
    made.instance.dispose()


def test_it_executes_the_run_it_is_told_and_not_its_example(world: World) -> None:
    example, run = world.run("good"), world.run("good")
    world.start(example)
    world.order(run)
    world.tell(start=True)
    assert world.end() == 0, world.output
    assert world.status(run) == DagsterRunStatus.SUCCESS
    assert world.status(example) == DagsterRunStatus.STARTING
    messages = world.messages(run)
    assert "job good" in messages
    assert "input ''" in messages, "a run's input is at its end, as in any other run's process"
    assert "colours False" in messages


def test_the_definitions_are_loaded_before_the_run_is_known_and_once(world: World) -> None:
    example, run = world.run("good"), world.run("bad")
    world.start(example)
    world.until(world.loaded)
    world.order(run)
    world.tell(start=True)
    assert world.end() == 1, "a failed run leaves a failed container"
    assert world.status(run) == DagsterRunStatus.FAILURE
    assert world.loaded.read_text().split() == ["loaded", "defined"]


def test_an_order_that_comes_twice_is_executed_once(world: World) -> None:
    run = world.run("good")
    world.start(run)
    world.order(run)
    world.order(run)
    world.tell(start=True)
    world.tell(start=True)
    assert world.end() == 0, world.output
    assert world.messages(run).count("job good") == 1


@pytest.mark.parametrize("ordered", [False, True])
def test_nothing_is_executed_when_the_input_ends(world: World, ordered: bool) -> None:
    run = world.run("good")
    world.start(run)
    if ordered:
        world.order(run)
    assert world.end() == 0, world.output
    assert world.status(run) == DagsterRunStatus.STARTING
    assert world.messages(run) == []


def test_a_run_that_is_stopped_ends_as_canceled(world: World) -> None:
    run = world.run("long")
    process = world.start(run)
    world.order(run)
    world.tell(start=True)
    world.until(Path(f"{world.loaded}.waiting"))
    world.instance.report_run_canceling(run)
    process.terminate()
    world.end()
    assert world.status(run) == DagsterRunStatus.CANCELED


def test_one_that_waits_ends_at_once(world: World) -> None:
    process = world.start(world.run("good"))
    world.until(world.loaded)
    process.terminate()
    began = time.monotonic()
    assert world.end() == -15
    assert time.monotonic() - began < 5


def test_definitions_that_do_not_load_end_it_with_the_reason(world: World) -> None:
    run = world.run("good")
    (world.folder / "demo_definitions.py").write_text("raise RuntimeError('no such thing')")
    world.start(run)
    assert world.end() == 1
    assert "no such thing" in world.output


@pytest.mark.parametrize(("job", "code", "status"), [("good", 0, "SUCCESS"), ("bad", 1, "FAILURE")])
def test_a_cold_run_is_executed_at_once(world: World, job: str, code: int, status: str) -> None:
    run = world.run(job)
    world.start(run, "--now")
    assert world.end() == code, world.output
    assert world.status(run) == DagsterRunStatus(status)


def test_a_cold_run_that_is_stopped_ends_as_canceled(world: World) -> None:
    run = world.run("long")
    process = world.start(run, "--now")
    world.until(Path(f"{world.loaded}.waiting"))
    world.instance.report_run_canceling(run)
    process.terminate()
    world.end()
    assert world.status(run) == DagsterRunStatus.CANCELED


@pytest.mark.parametrize("options", [("--now",), ()], ids=["cold", "warm"])
def test_its_end_is_quick_and_loses_nothing(world: World, options: tuple[str, ...]) -> None:
    run = world.run("leaving")
    world.start(run, *options)
    if not options:
        world.order(run)
        world.tell(start=True)
    assert world.end() == 0, world.output
    for expected in ("printed without an end of line", "the thread is done", "the exit was told"):
        assert expected in world.output


def test_without_an_example_it_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-m", "run_worker"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python -m run_worker [--now] ARGUMENTS\n")


def test_what_is_no_order_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"hello\n")
    with (tmp_path / "input").open("rb") as stream, pytest.raises(ValueError, match="Expecting value"):
        read_order(stream)


def test_the_word_to_start_may_come_after_the_order_again(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b'{"arguments": "a", "job_name": "b"}\n{"start": true}\n')
    with (tmp_path / "input").open("rb") as stream:
        assert read_start(stream)
        assert not read_start(stream)
