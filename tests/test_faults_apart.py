"""Promise: a full volume, or a clock that jumps, fails what it must, and that truly; the rest goes on by itself.

In a deployment of its own: its volumes are small, and its daemon's clock is a file.
"""

import json
import time
from collections.abc import Iterator

import pytest

from tests.support import faults
from tests.support.deployment import OVERLAYS, Deployment, docker
from tests.support.load import Load, gave_up, make_table, one_tick_a_moment, schedule
from tests.support.waiting import wait_until

SEED, RUNS = 20130101, 24
OVERLAY = """\
# Volumes that can be filled without filling the machine, and a clock that can be set for one service.
volumes:
  postgres: {driver_opts: {type: tmpfs, device: tmpfs, o: "size=768m,uid=10001,gid=10001,mode=0700"}}
  lake-ingestion: {driver_opts: {type: tmpfs, device: tmpfs, o: "size=32m,uid=10001,gid=10001"}}
services:
  migrate: {build: {args: {SYSTEM_PACKAGES: libfaketime}}}
  daemon:
    environment:
      LD_PRELOAD: libfaketime.so.1
      LD_LIBRARY_PATH: /usr/lib/x86_64-linux-gnu/faketime:/usr/lib/aarch64-linux-gnu/faketime
      FAKETIME_TIMESTAMP_FILE: /tmp/clock
      FAKETIME_CACHE_DURATION: "1"
      DONT_FAKE_MONOTONIC: "1"
"""


@pytest.fixture(scope="module")
def small() -> Iterator[Deployment]:
    """A deployment whose database and lake have little room. What is on tmpfs is memory of its container."""
    own = Deployment.fresh(POSTGRES_MEMORY="2g")
    home = own.home.relative_to(own.root)
    own.settings["COMPOSE_FILE"] = ":".join([*OVERLAYS, f"{home}/overlay.yml", f"{home}/small.yml"])
    own.write_settings()
    (own.home / "small.yml").write_text(OVERLAY)
    try:
        own.stack("up", check=False)
        make_table(own)
        yield own
    finally:
        own.remove()


@pytest.fixture
def load(small: Deployment) -> Iterator[Load]:
    own = Load(small, RUNS, SEED)
    try:
        yield own
    finally:
        own.close()


def launch_again(load: Load) -> None:
    """What has failed for good: that a disk was full is somebody's to mend, and then to say so."""

    def at_rest() -> bool:
        # One that failed has two retries still to come.
        chains = load.chains().values()
        return all(chain[-1]["status"] == "SUCCESS" or gave_up(chain) for chain in chains)

    wait_until(at_rest, seconds=600, what="all runs to have ended", every=2)
    for root, chain in load.chains().items():
        if gave_up(chain):
            load.again(root)


@pytest.mark.long
@pytest.mark.timeout(1800, func_only=True)
@pytest.mark.needs("ingestion")
def test_a_full_lake_fails_its_runs_and_no_other_and_leaves_no_half(small: Deployment, load: Load) -> None:
    with faults.full(small, "lake-ingestion"):
        wait_until(lambda: _failed(load), seconds=300, what="a run that finds no room", every=2)
        assert "No space left" in "\n".join(load.client.messages(_failed(load)[0]))
        assert small.findings("--invariants") == []
        assert not set(_failed(load)) & set(load.marks)
    launch_again(load)
    load.settle(600)
    load.verify()
    assert small.findings("--invariants") == []


def _failed(load: Load) -> list[str]:
    return [run["runId"] for run in load.runs().values() if run["status"] == "FAILURE"]


@pytest.mark.long
@pytest.mark.timeout(1800, func_only=True)
def test_a_full_database_comes_back_by_itself_when_there_is_room(small: Deployment, load: Load) -> None:
    load.wait_for_ended(3)
    with faults.full(small, "postgres"):
        said = wait_until(lambda: _of_database(small), seconds=180, what="the doctor to find it", every=2)
        assert "No space left" in json.dumps(said)
    faults.comes_back(small, "postgres")
    launch_again(load)
    load.settle(900)
    load.verify()
    assert small.findings("--invariants") == []


def _of_database(deployment: Deployment) -> list[dict[str, str]]:
    return [finding for finding in deployment.findings() if finding["subject"] in ("postgres", "database")]


@pytest.mark.long
@pytest.mark.timeout(1800, func_only=True)
def test_a_clock_that_jumps_for_the_daemon_ends_no_run_for_good_and_doubles_no_tick(
    small: Deployment, load: Load
) -> None:
    with schedule(small):
        for offset in ("+20m", "-20m", "+0"):
            ended = len([run for run in load.runs().values() if run["status"] in ("SUCCESS", "FAILURE")])
            set_clock(small, offset)
            load.wait_for_ended(min(ended + 6, RUNS))
        over = time.time()
        load.settle(900)
        load.verify()
        one_tick_a_moment(small, since=over)
    assert small.findings("--invariants") == []


def set_clock(deployment: Deployment, offset: str) -> None:
    """Moves the daemon's clock, and sees that it has moved."""
    daemon = deployment.container("daemon")
    docker("exec", daemon, "sh", "-c", f"echo '{offset}' > /tmp/clock.new && mv /tmp/clock.new /tmp/clock")
    minutes = int(offset.rstrip("m"))
    shown = int(docker("exec", daemon, "python", "-c", "import time; print(int(time.time()))"))
    assert abs(shown - time.time() - minutes * 60) < 30
