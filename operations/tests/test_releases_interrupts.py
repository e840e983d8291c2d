"""Ctrl-C, SIGTERM and kill -9 at every single step of deploy and rollback: all is consistent, and it can be repeated.

The steps are counted on an undisturbed call; each is then the one that is interrupted, in a world of its own.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from operations import signals
from operations.context import Context
from operations.releases import deployment, history, journal, rollback, tags
from operations.tests.fakes import Machine
from operations.tests.releases_world import KilledError, World, consistent, make

Verb = Callable[[Context], None]


def deploy_both(context: Context) -> None:
    deployment.deploy(context, ["ingestion", "analytics"])


def roll_back(context: Context) -> None:
    rollback.rollback(context, "ingestion")


def prepared(root: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch) -> tuple[Machine, World]:
    """A deployment with two releases of ingestion, each with tables of its own, before a third or a way back."""
    root.mkdir()
    machine = Machine(root)
    world = make(machine, monkeypatch)
    world.heads = {"local": "r0", f"{1:012x}": "r1", f"{2:012x}": "r2", f"{3:012x}": "r3"}
    world.tables = {"ingestion": "r0", "analytics": "r0"}
    times = iter(range(60))
    monkeypatch.setattr(tags, "new", lambda commit: f"20261121T1200{next(times):02d}Z-{commit[:12]}")
    for number in (1, 2):
        world.commit = f"{number:012x}" + "0" * 28
        deployment.deploy(machine.context(), ["ingestion"])
    world.commit = f"{3:012x}" + "0" * 28
    consistent(world, machine.context())
    return machine, world


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def steps_of(verb: Verb, tmp_path: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        machine, world = prepared(tmp_path / "undisturbed", verb, patch)
        world.interrupt_at(None)
        verb(machine.context())
        return world.steps


@pytest.mark.parametrize("kill", [False, True], ids=["interrupt", "kill"])
@pytest.mark.parametrize("verb", [deploy_both, roll_back])
def test_at_every_step(verb: Verb, kill: bool, tmp_path: Path) -> None:
    steps = steps_of(verb, tmp_path)
    assert steps > 20
    outcomes = set()
    for step in range(1, steps + 1):
        with pytest.MonkeyPatch.context() as patch:
            machine, world = prepared(tmp_path / f"step-{step}", verb, patch)
            before = world.image("ingestion")
            world.interrupt_at(step, kill=kill)
            with pytest.raises((KeyboardInterrupt, KilledError)):
                verb(machine.context())
            where = world.trace[step - 1]
            world.interrupt_at(None)
            if kill:
                # What the next verb does first.
                journal.finish(machine.context(), "user add")
            try:
                consistent(world, machine.context())
            except AssertionError as error:
                raise AssertionError(f"after step {step}, {where}: {error}") from error
            outcomes.add(world.image("ingestion") == before)
            # It can be run again; a rollback that took effect would go one further.
            deploy_both(machine.context())
            consistent(world, machine.context())
            assert [image for image in world.images if "-tests" in image] == []
    # Interrupted early nothing has changed, and interrupted late it is done.
    assert outcomes == {True, False}


def test_an_interrupt_is_noted_as_a_failed_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, world = prepared(tmp_path / "x", deploy_both, monkeypatch)
    world.interrupt_at(None)
    real = world._start

    def interrupted(name: str, image: str) -> None:
        world._start = real  # type: ignore[method-assign]
        raise KeyboardInterrupt

    world._start = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        deploy_both(machine.context())
    assert history.read(machine.context().deployment)[-1].result == "failed: interrupted"


def test_a_journal_waits_until_the_deployment_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, world = prepared(tmp_path / "x", deploy_both, monkeypatch)
    world.interrupt_at(None)
    deploy_both(machine.context())
    total = world.steps
    machine, world = prepared(tmp_path / "y", deploy_both, monkeypatch)
    at = next(i for i in range(total) if _stops_with_journal(machine, world, i))
    assert at
    gone = world.containers.pop("gateway")
    journal.finish(machine.context(), "user add")
    assert "it is put back when all is up again" in machine.err.getvalue()
    assert journal.read(machine.context().deployment) is not None
    journal.finish(machine.context(), "down")
    world.containers["gateway"] = gone
    journal.finish(machine.context(), "user add")
    consistent(world, machine.context())


def _stops_with_journal(machine: Machine, world: World, step: int) -> bool:
    world.interrupt_at(step + 1, kill=True)
    with pytest.raises(KilledError):
        deploy_both(machine.context())
    world.interrupt_at(None)
    return journal.path(machine.context().deployment).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_of_the_system_end_it_in_order(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals.as_interrupts():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
