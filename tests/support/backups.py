"""State of a deployment as a backup must bring it back, and commands that are killed."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.support.deployment import ROOT, Deployment
from tests.support.locations import shipped
from tests.support.waiting import wait_until

SUMS = """
import json
from platform_kit.lake import LakeResource
lake = {lake!r}
with LakeResource().connect() as connection:
    tables = connection.sql(
        "select table_schema || '.' || table_name from information_schema.tables "
        f"where table_catalog = '{{lake}}' and table_type = 'BASE TABLE' order by 1"
    ).fetchall()
    sums = {{}}
    for (name,) in tables:
        rows, total = connection.sql(f"select count(*), bit_xor(hash(one)) from {{lake}}.{{name}} as one").fetchone()
        sums[f"{{lake}}.{{name}}"] = [rows, str(total)]
print(json.dumps(sums))
"""


@dataclass(frozen=True)
class State:
    """All that is compared."""

    tables: dict[str, tuple[int, str]]
    runs: dict[str, str]
    instigators: dict[str, str]


def state(deployment: Deployment, locations: tuple[str, ...] = ("ingestion",)) -> State:
    """Checksums of every table of these lakes, all runs that ended, and which schedules and sensors are on."""
    with ThreadPoolExecutor(len(locations)) as pool:
        found = list(pool.map(lambda location: sums(deployment, location), locations))
    tables = {name: both for one in found for name, both in one.items()}
    ended = deployment.sql("select run_id, status from runs where status in ('SUCCESS', 'FAILURE', 'CANCELED')")
    instigators = deployment.sql("select selector_id, status from instigators")
    return State(tables, {row[0]: row[1] for row in ended}, {row[0]: row[1] for row in instigators})


def sums(deployment: Deployment, location: str) -> dict[str, tuple[int, str]]:
    """Rows and checksum of each table of one lake, as its location reads them."""
    printed = deployment.python(location, SUMS.format(lake=location)).splitlines()[-1]
    return {name: (rows, total) for name, (rows, total) in json.loads(printed).items()}


def everything(deployment: Deployment) -> State:
    """The state of all lakes that are shipped."""
    return state(deployment, shipped())


def compare(found: State, expected: State, *, runs: bool = True) -> None:
    assert found.tables == expected.tables
    assert {run: found.runs.get(run) for run in expected.runs} == expected.runs
    assert not runs or found.instigators == expected.instigators


def killed(deployment: Deployment, verb: tuple[str, ...], when: Callable[[], object]) -> None:
    """kill -9 of ./stack and of what it started, but not of what Docker runs for it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
    process = subprocess.Popen(
        [str(ROOT / "stack"), "--deployment", deployment.name, *verb],
        cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(
            lambda: when() or process.poll() is not None, seconds=300, what=f"{verb[0]} to come so far", every=0.1
        )
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
