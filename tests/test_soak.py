"""Promise: a quarter of an hour of work and faults leaves nothing behind: no run, no container, no memory, no file.

Waves of short runs of two locations beside a schedule. In the first half a random service or run is killed in each,
in the second half runs alone, so that every service lives long enough to show what it gathers. The plot is
tests/artifacts/soak.svg.
"""

import os
import random
import time

import pytest

from tests.support import faults
from tests.support.deployment import ARTIFACTS, Deployment
from tests.support.growth import Growth
from tests.support.load import Load, make_table, one_tick_a_moment, schedule
from tests.support.locations import shipped

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600, func_only=True), pytest.mark.needs("ingestion")]
SEED = 20130101
SECONDS = float(os.environ.get("SOAK_SECONDS", "900"))
WAVE = 16
# What a service needs after its start: imports, first connections, the first look at each table.
CALM = 120.0
SERVICES = ("run_broker", "daemon", "probe", "ingestion", "webserver", "postgres", "gateway")
# A service may hold so much more at the end than after its start; what leaks once a run would be more by far.
MEGABYTES, FACTOR, FILES, THREADS = 30.0, 1.2, 15, 8


def test_a_quarter_of_an_hour_of_load_and_faults_leaves_nothing_behind(deployment: Deployment) -> None:
    make_table(deployment)
    chosen = random.Random(SEED)
    killed: list[tuple[float, str]] = []
    began = time.monotonic()
    with Growth(deployment) as growth, schedule(deployment):
        try:
            while (passed := time.monotonic() - began) < SECONDS:
                victims = (*SERVICES, "a run") if passed < SECONDS / 2 else ("a run", "nothing")
                wave = Load(deployment, WAVE, SEED + len(killed), flights="ingestion" in shipped())
                try:
                    wave.wait_for_ended(chosen.randrange(1, WAVE // 2))
                    killed.append((growth.now(), chosen.choice(victims)))
                    _kill(deployment, wave, killed[-1][1])
                    wave.settle(600)
                    wave.verify()
                finally:
                    wave.close()
            one_tick_a_moment(deployment, since=time.time())
        finally:
            growth.draw(ARTIFACTS / "soak.svg", killed)
    assert deployment.findings("--invariants") == []
    _nothing_grew(growth, killed)


def _kill(deployment: Deployment, wave: Load, victim: str) -> None:
    if victim == "a run":
        faults.crash(deployment, wave.some_run())
    elif victim != "nothing":
        faults.crash(deployment, deployment.container(victim))
        faults.comes_back(deployment, victim)


def _nothing_grew(growth: Growth, killed: list[tuple[float, str]]) -> None:
    calm = max([at for at, victim in killed if victim in SERVICES], default=0.0) + CALM
    for kind, room in (("memory", MEGABYTES), ("files", FILES), ("threads", THREADS)):
        grown = growth.grown(kind, calm)
        assert set(SERVICES) <= set(grown), grown
        for service, (early, late) in grown.items():
            most = max(early + room, early * FACTOR if kind == "memory" else 0)
            assert late <= most, f"{service}: {kind} grew from {early:g} to {late:g}"
