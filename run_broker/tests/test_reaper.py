"""What is removed, what is kept as evidence, and what is never touched."""

import json
import uuid

import pytest

from run_broker.engine import Engine
from run_broker.reaper import Reaper

NOW = 1_767_312_000.0  # 2026-01-02T00:00:00Z
AGES = {"1m": "2026-01-01T23:59:00Z", "11m": "2026-01-01T23:49:00.987654321Z", "25h": "2025-12-31T23:00:00Z"}


@pytest.fixture
def reaper(world):
    """A reaper that is run by hand at a fixed time, with the settings' defaults."""
    return Reaper(Engine(world.engine.path, 30.0), world.broker.runs, world.audit, world.settings, lambda: NOW)


@pytest.fixture
def add(world):
    """Adds a run's container in a state."""

    def make(status, age, exit_code=0, oom=False):
        identifier = world.create(run_id=str(uuid.uuid4())).json["Id"]
        container = world.engine.containers[identifier]
        container["Created"] = AGES[age]
        if status != "created":
            container["State"] |= {"StartedAt": AGES["25h"], "FinishedAt": AGES[age]}
        container["State"] |= {
            "Status": status,
            "Running": status == "running",
            "ExitCode": exit_code,
            "OOMKilled": oom,
        }
        return identifier

    return make


CASES = {
    "succeeded-just-now": (("exited", "1m"), None),
    "succeeded-a-while-ago": (("exited", "11m"), "succeeded"),
    "failed-a-while-ago": (("exited", "11m", 1), None),
    "failed-yesterday": (("exited", "25h", 1), "failed"),
    "killed-for-memory-but-exit-0": (("exited", "11m", 0, True), None),
    "killed-for-memory-yesterday": (("exited", "25h", 137, True), "failed"),
    "created-just-now": (("created", "1m"), None),
    "never-started": (("created", "11m"), "never-started"),
    "running-for-a-day": (("running", "25h"), None),
    "paused-for-a-day": (("paused", "25h"), None),
    "restarting": (("restarting", "25h"), None),
    "dead": (("dead", "25h"), "failed"),
}


@pytest.mark.parametrize(("state", "reason"), CASES.values(), ids=CASES)
def test_a_container_is_removed_when_its_evidence_has_had_its_time(world, reaper, add, state, reason):
    identifier = add(*state)
    reaper.reap()
    assert (identifier not in world.engine.containers) == bool(reason)
    assert [line["reason"] for line in world.lines("reap")] == ([reason] if reason else [])
    if reason:
        assert world.audit.metrics.value("run_broker_reaped_total", reason=reason) == 1


def test_nothing_but_runs_of_this_project_is_ever_removed(world, reaper, server):
    for name, labels in {
        "prod-ingestion-2": {},
        "prod-ingestion-run-1a2b": {"com.docker.compose.oneoff": "True"},
        "other-ingestion-run-x": {"com.docker.compose.oneoff": "True", "com.docker.compose.project": "other"},
    }.items():
        foreign = world.engine.add(server())
        foreign["Name"] = f"/{name}"
        foreign["State"] = {"Status": "exited", "ExitCode": 0, "FinishedAt": AGES["25h"], "StartedAt": AGES["25h"]}
        # As an image with these labels would make it.
        foreign["Config"]["Labels"] |= {"run-broker.role": "run", **labels}
    reaper.reap()
    assert len(world.engine.containers) == 4
    assert world.engine.changes() == []


def test_beyond_a_number_the_oldest_go_first(world, reaper, add):
    world.settings = world.settings.model_copy(update={"run_keep_max": 1})
    reaper._settings = world.settings
    old, new = add("exited", "11m", 1), add("exited", "1m", 1)
    unstarted = add("created", "1m")
    reaper.reap()
    assert old not in world.engine.containers
    assert {new, unstarted} <= world.engine.containers.keys()
    assert [line["reason"] for line in world.lines("reap")] == ["too-many"]


def test_removal_is_never_forced_and_takes_anonymous_volumes_along(world, reaper, add):
    identifier = add("exited", "11m")
    reaper.reap()
    assert world.engine.changes()[-1][:2] == ("DELETE", f"/v1.41/containers/{identifier}?v=1")


def test_a_container_that_started_after_the_look_stays(world, reaper, add):
    identifier = add("created", "11m")
    world.engine.failures["DELETE", identifier] = (409, "You cannot remove a running container")
    other = add("exited", "11m")
    reaper.reap()
    assert identifier in world.engine.containers
    assert other not in world.engine.containers
    assert {line["decision"] for line in world.lines("reap")} == {"failed", "removed"}


def test_a_container_that_somebody_else_removed_is_no_failure(world, reaper, add):
    world.engine.failures["DELETE", add("exited", "11m")] = (404, "No such container")
    reaper.reap()
    assert world.lines("reap") == []


def test_the_runs_are_counted_by_state(world, reaper, add):
    add("running", "1m")
    add("exited", "1m")
    reaper.reap()
    text = world.ask("GET", "/metrics").body.decode()
    assert 'run_broker_runs{state="running"} 1' in text
    assert 'run_broker_runs{state="paused"} 0' in text


def test_an_engine_that_is_away_does_not_end_the_reaper(world, add):
    with_reaper = world.settings.model_copy(update={"broker_reap_interval": 0.01})
    identifier = add("exited", "11m")
    world.engine.failures["GET", "/containers/json"] = (500, "away")
    reaper = Reaper(Engine(world.engine.path, 30.0), world.broker.runs, world.audit, with_reaper, lambda: NOW)
    reaper.start()
    try:
        while not world.lines("reap"):
            assert reaper._thread.is_alive()
        world.engine.failures.clear()
        while identifier in world.engine.containers:
            assert reaper._thread.is_alive()
    finally:
        reaper.stop()
    assert json.dumps(world.lines("reap")[0]).count("away")
