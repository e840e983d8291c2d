"""Promise: whatever dies under load, runs end truly, their work is done once, and nobody has to do anything.

Each fault comes while a queue of short runs of two locations goes on, at moments that runs which have ended count off;
what is random comes from a seed. Everything at once is tests/test_reboot.py; faults
that need a deployment made for them are in tests/test_faults_apart.py.
"""

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support import faults
from tests.support.deployment import Deployment, docker
from tests.support.engine import standing_between
from tests.support.graphql import GraphQL
from tests.support.load import Load, make_table, one_tick_a_moment, schedule
from tests.support.locations import shipped
from tests.support.waiting import wait_until

SEED = 20130101
# Runs in the queue: of the fast sample, of each long test; and how many of these are left at each crash of many.
SAMPLE, FULL, LEFT = 24, 200, 40
# Until all of them have ended: on a slow machine they take ten minutes without a fault.
LONG = 1500

Loading = Callable[..., Load]


@pytest.fixture
def load(deployment: Deployment) -> Iterator[Loading]:
    """Begins a load beside a schedule that ticks each minute; ends both."""
    make_table(deployment)
    begun: list[Load] = []

    def begin(count: int) -> Load:
        begun.append(Load(deployment, count, SEED, flights="ingestion" in shipped()))
        return begun[-1]

    with schedule(deployment):
        try:
            yield begin
        finally:
            for one in begun:
                one.close()


def all_is_well(deployment: Deployment, load: Load, seconds: float) -> None:
    """What must be true after any fault, without anybody's help."""
    over = time.time()
    load.settle(seconds)
    load.verify()
    one_tick_a_moment(deployment, since=over)
    assert deployment.findings("--invariants") == []
    assert [finding for finding in deployment.findings() if not _is_expected(finding)] == []


def _is_expected(finding: dict[str, str]) -> bool:
    # The location that is broken on purpose; what the doctor says of a service that crashed; a machine under tests,
    # other ones of which guess passwords.
    machine = finding["subject"] in ("memory", "disk", "networks", "sign-in")
    return machine or finding["what"].startswith("ended by itself") or "on purpose" in json.dumps(finding)


def crash_a_run(deployment: Deployment, load: Load) -> str:
    """kill -9 of a run that is under way; its container."""

    def crashed() -> str:
        container = load.some_run()
        try:
            faults.crash(deployment, container)
        except AssertionError:
            return ""  # It ended by itself in between: another one.
        return container if deployment.inspect(container)["State"]["ExitCode"] == 137 else ""

    return wait_until(crashed, seconds=120, what="a run to crash")


def test_broker_run_code_server_and_daemon_crash_and_nobody_does_anything(
    deployment: Deployment, load: Loading, admin: GraphQL
) -> None:
    own = load(SAMPLE)
    own.wait_for_ended(2)
    # Under load, and well: what the checker says here would be a false alarm.
    assert deployment.findings("--invariants") == []
    faults.crash(deployment, deployment.container("run_broker"))
    # In the midst of its work, where the others are too short to be met.
    crashed = own.mark(f"{own.id}-crashed", seconds=25)
    own.client.wait_for(crashed, "STARTED", seconds=300)
    faults.crash(deployment, *deployment.run_containers(crashed))
    faults.crash(deployment, deployment.container("probe"))
    own.wait_for_ended(12)
    faults.crash(deployment, deployment.container("daemon"))
    for service in ("run_broker", "probe", "daemon"):
        faults.comes_back(deployment, service)
    said = {finding["subject"]: finding["what"] for finding in deployment.findings()}
    for service in ("run_broker", "daemon"):
        assert said.get(service, "").startswith("ended by itself"), said
    all_is_well(deployment, own, seconds=600)
    # A crash says what it was, and was retried.
    assert admin.run(crashed)["status"] == "FAILURE"
    assert "exit code 137" in "\n".join(admin.messages(crashed))
    assert "dagster/auto_retry_run_id" in admin.tags(crashed)


SERVICES = ("postgres", "daemon", "webserver", "run_broker", "probe", "ingestion", "gateway", "a run")


@pytest.mark.long
@pytest.mark.timeout(3600, func_only=True)
@pytest.mark.needs("ingestion")
def test_every_container_crashes_twice_at_random_moments(deployment: Deployment, load: Loading) -> None:
    order = [*SERVICES, *SERVICES]
    chosen = random.Random(SEED)
    chosen.shuffle(order)
    moments = sorted(chosen.sample(range(2, FULL - LEFT), len(order)))
    own = load(FULL)
    for moment, victim in zip(moments, order, strict=True):
        own.wait_for_ended(moment)
        # A service takes up to a minute to be well again: the queue must not be empty before the last has crashed.
        own.keep_up(LEFT)
        if victim == "a run":
            crash_a_run(deployment, own)
        else:
            faults.crash(deployment, deployment.container(victim))
            faults.comes_back(deployment, victim)
    all_is_well(deployment, own, LONG)


@pytest.mark.long
@pytest.mark.timeout(3600, func_only=True)
@pytest.mark.parametrize("service", ["postgres", "webserver", "gateway"])
def test_a_service_crashes_under_load(deployment: Deployment, load: Loading, service: str) -> None:
    own = load(FULL)
    for moment in (3, 9):
        own.wait_for_ended(moment)
        faults.crash(deployment, deployment.container(service))
        faults.comes_back(deployment, service)
    all_is_well(deployment, own, LONG)


@pytest.mark.long
@pytest.mark.timeout(3600, func_only=True)
def test_a_run_without_its_database_for_half_a_minute_goes_on(deployment: Deployment, load: Loading) -> None:
    own = load(FULL)
    run = own.mark(f"{own.id}-cut", seconds=60, lines=120)
    own.client.wait_for(run, "STARTED", seconds=300)
    (container,) = deployment.run_containers(run)
    faults.network_cut(deployment, container, 30)
    all_is_well(deployment, own, LONG)
    assert len(own.chains()[run]) == 1, "a cut of 30 s cost the run a retry"


@pytest.mark.long
@pytest.mark.timeout(3600, func_only=True)
def test_a_database_out_of_connections_delays_runs_and_loses_none(deployment: Deployment, load: Loading) -> None:
    own = load(FULL)
    own.wait_for_ended(3)
    with faults.no_connections_left(deployment, "dagster", "probe", "ingestion"):
        said = wait_until(lambda: _findings_of(deployment, "database"), seconds=60, what="the doctor to find it")
        assert "too many connections" in json.dumps(said)
    all_is_well(deployment, own, LONG)


def _findings_of(deployment: Deployment, subject: str) -> list[dict[str, str]]:
    return [finding for finding in deployment.findings() if finding["subject"] == subject]


@pytest.mark.long
@pytest.mark.timeout(3600, func_only=True)
def test_a_run_that_does_not_hear_is_ended_and_one_that_takes_all_memory_says_so(
    deployment: Deployment, load: Loading, admin: GraphQL
) -> None:
    own = load(FULL)
    deaf = admin.launch("probe", "deaf")
    greedy = admin.launch("probe", "exhaust_memory")
    admin.wait_for(deaf, "STARTED", seconds=300)
    (container,) = deployment.run_containers(deaf)
    wait_until(lambda: "hears nothing" in docker("logs", container), seconds=60, what="the run to be deaf")
    began = time.monotonic()
    # The answer comes when the container has ended, which takes its whole grace period.
    with contextlib.suppress(httpx.TimeoutException):
        admin.terminate(deaf)
    admin.wait_for(deaf, "CANCELED", seconds=240)
    # The documented time, and a moment for a machine under load.
    assert time.monotonic() - began < 120 + 60
    assert not deployment.inspect(container)["State"]["Running"]
    admin.wait_for(greedy, "FAILURE", seconds=600)
    assert "out of memory" in "\n".join(admin.messages(greedy))
    all_is_well(deployment, own, LONG)


@pytest.mark.long
@pytest.mark.timeout(3600, func_only=True)
@pytest.mark.needs("ingestion")
def test_a_code_server_that_hangs_holds_up_its_own_location_alone(deployment: Deployment, load: Loading) -> None:
    own = load(FULL)
    with faults.hung(deployment, deployment.container("probe")):

        def others_go_on() -> bool:
            chains = own.chains()
            return all(chains[root][-1]["status"] == "SUCCESS" for root in own.days)

        wait_until(others_go_on, seconds=LONG, what="the other location's runs", every=2)
        said = wait_until(lambda: _findings_of(deployment, "probe"), seconds=180, what="the doctor to find it")
        assert "unhealthy" in said[0]["what"]
    all_is_well(deployment, own, LONG)


@pytest.mark.long
@pytest.mark.timeout(3600, func_only=True)
def test_an_engine_that_hangs_or_fails_delays_runs(deployment: Deployment, load: Loading) -> None:
    path = deployment.home / "engine.sock"
    usual = dict(deployment.settings)
    with standing_between(path) as engine:
        _use_engine(deployment, str(path))
        try:
            own = load(FULL)
            for number, (mode, word) in enumerate(
                (("500", "/start"), ("hang", "/containers/create"), ("500", "/json"))
            ):
                own.wait_for_ended(3 + 8 * number)
                with engine.failing(mode, word) as met:
                    wait_until(lambda met=met: len(met) >= 2, seconds=300, what=f"calls that get {mode}")
            all_is_well(deployment, own, LONG)
        finally:
            deployment.settings = usual
            _use_engine(deployment, "/var/run/docker.sock")


def _use_engine(deployment: Deployment, path: str) -> None:
    deployment.settings["DOCKER_SOCKET"] = path
    deployment.write_env()
    deployment.stack("up", check=False)
    mounts = deployment.inspect(deployment.container("run_broker"))["Mounts"]
    assert path in {mount["Source"] for mount in mounts}
