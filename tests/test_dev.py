"""Promise: ./stack dev runs the same assets without Docker, each developer's own, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_kit.lake import LakeResource
from tests.support.deployment import ROOT, free_port
from tests.support.flights import REFERENCE, source_table
from tests.support.graphql import GraphQL
from tests.support.locations import shipped
from tests.support.waiting import wait_until

DAYS = [f"2013-10-{day}" for day in range(10, 15)]
RANGE = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
LOCATIONS = shipped()
pytestmark = pytest.mark.needs("ingestion", "analytics")
STARTERS = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  sensors { name state: sensorState { status } } schedules { name state: scheduleState { status } } } } } }"""
START = "mutation Start($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"


class Dev:
    """A copy of this checkout in which a developer works: the tests change its files."""

    def __init__(self, folder: Path) -> None:
        self.root, self.port = folder / "checkout", free_port()
        self.printed = folder / "printed.txt"
        _copy(self.root)
        _programs_but_docker(folder / "bin")
        environment = {name: value for name, value in os.environ.items() if name != "DEPLOYMENT"}
        self._environment = {
            **environment,
            "PATH": str(folder / "bin"),
            "DOCKER_HOST": "unix:///nowhere",
            "DEVELOPER": "Ada Lovelace",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.graphql = GraphQL(f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        with self.printed.open("wb") as output:
            self.process = subprocess.Popen(
                [str(self.root / "stack"), "dev", "--port", str(self.port)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                # Python looks in the working directory first: there it would find the operations of another checkout.
                cwd=self.root,
            )

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.printed.read_text()
            return "Ready in" in self.printed.read_text()

        wait_until(ready, seconds=420, what="./stack dev")

    def processes(self) -> list[str]:
        """Whatever was started in this checkout and still runs, wherever it has gone to."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes()
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.root).encode() in environment:
                found.append(command)
        return found


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    own = Dev(tmp_path_factory.mktemp("dev"))
    own.start()
    yield own
    own.graphql.http.close()
    if own.process is not None and own.process.poll() is None:
        own.process.send_signal(signal.SIGINT)
        own.process.wait(timeout=60)


@pytest.fixture
def lake(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> LakeResource:
    """The developer's lakes, as a script of hers would read them."""
    for name in ("DEPLOYMENT", "POSTGRES_HOST", "CODE_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEVELOPER", "ada_lovelace")
    monkeypatch.setenv("LAKE_ROOT", str(dev.root / ".stack/dev/ada_lovelace/lake"))
    return LakeResource(code_location="analytics")


@pytest.fixture(scope="module")
def materialised(dev: Dev) -> list[str]:
    """Some days of flights and a mart of them; two runs at once that want one lake are both done."""
    raw = dev.graphql.launch("ingestion", assets=["ingestion/raw/flights"], tags=RANGE)
    dev.graphql.wait_for(raw, "SUCCESS", seconds=300)
    # Launched together: the one reads the catalog that the other one writes.
    both = [
        dev.graphql.launch("analytics", assets=["analytics/staging/stg_flights", "analytics/marts/delays_by_day"]),
        dev.graphql.launch("ingestion", assets=REFERENCE),
    ]
    for run in both:
        dev.graphql.wait_for(run, "SUCCESS", seconds=300)
    return [raw, *both]


def test_every_location_loads_without_docker(dev: Dev) -> None:
    assert dev.graphql.locations() == dict.fromkeys(LOCATIONS, "RepositoryLocation"), dev.printed.read_text()


def test_nothing_starts_by_itself(dev: Dev) -> None:
    starters = {name: starter["state"]["status"] for name, starter in _starters(dev).items()}
    assert "new_raw_data" in starters  # it runs from the start in production
    assert set(starters.values()) == {"STOPPED"}


def test_only_the_last_ninety_days_are_worked_on(dev: Dev) -> None:
    flights = 'assetNodeOrError(assetKey: {path: ["ingestion", "raw", "flights"]})'
    keys = dev.graphql.ask(f"{{ {flights} {{ ... on AssetNode {{ partitionKeys }} }} }}")
    keys = keys["assetNodeOrError"]["partitionKeys"]
    assert (len(keys), keys[0], keys[-1]) == (90, "2013-10-03", "2013-12-31")


def test_each_day_has_the_rows_of_the_source(dev: Dev, materialised: list[str], lake: LakeResource) -> None:
    source = source_table("flights")
    expected = dict(
        source.aggregate("make_date(year, month, day)::varchar AS day, count(*)")
        .filter(f"day BETWEEN '{DAYS[0]}' AND '{DAYS[-1]}'")
        .fetchall()
    )
    counted = "SELECT flight_date::varchar, count(*) FROM ingestion.ada_lovelace_raw.flights GROUP BY ALL"
    assert dict(lake.query(counted, reads=["ingestion"]).rows()) == expected
    assert sorted(expected) == DAYS


def test_the_api_is_read_without_docker(dev: Dev, materialised: list[str], lake: LakeResource) -> None:
    tables = [key.rpartition("/")[2] for key in REFERENCE]
    counts = [f"SELECT '{name}', count(*) FROM ingestion.ada_lovelace_raw.{name}" for name in tables]
    found = dict(lake.query(" UNION ALL ".join(counts), reads=["ingestion"]).rows())
    assert found == {"airlines": 16, "airports": 1458, "planes": 3322}


def test_the_marts_are_in_the_developers_schema(dev: Dev, materialised: list[str], lake: LakeResource) -> None:
    query = "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_catalog = 'analytics'"
    assert {row[0] for row in lake.query(query).rows()} == {"ada_lovelace_staging", "ada_lovelace_marts"}
    flights = lake.query("SELECT sum(flights) FROM analytics.ada_lovelace_marts.delays_by_day").item()
    raw = lake.query("SELECT count(*) FROM ingestion.ada_lovelace_raw.flights", reads=["ingestion"]).item()
    assert flights == raw > 0


def test_changed_code_is_loaded_and_broken_code_stops_only_itself(dev: Dev, materialised: list[str]) -> None:
    sensor = {
        "repositoryLocationName": "ingestion",
        "repositoryName": "__repository__",
        "sensorName": "new_reference_version",
    }
    dev.graphql.ask(START, sensor=sensor)
    file = dev.root / "code_locations/ingestion/src/ingestion/defs/jobs/dropped_in.py"
    file.write_text(
        'import dagster as dg\n\n\n@dg.asset(key=["ingestion", "raw", "dropped_in"])\ndef dropped_in(): ...\n'
    )
    wait_until(lambda: "ingestion/raw/dropped_in" in _materialisable(dev), seconds=150, what="the new asset")
    file.write_text("this is no Python\n")
    wait_until(lambda: "SyntaxError" in dev.graphql.locations()["ingestion"], seconds=150, what="the error")
    assert dev.graphql.locations()["analytics"] == "RepositoryLocation"
    file.unlink()
    wait_until(
        lambda: dev.graphql.locations()["ingestion"] == "RepositoryLocation", seconds=150, what="ingestion to be mended"
    )
    assert "ingestion/raw/dropped_in" not in _materialisable(dev)
    # What the developer has started goes on.
    assert _starters(dev)["new_reference_version"]["state"]["status"] == "RUNNING"


def test_ctrl_c_in_the_middle_of_a_run_leaves_no_process(dev: Dev, materialised: list[str]) -> None:
    run = dev.graphql.launch("analytics", assets=["analytics/staging/stg_flights"])
    dev.graphql.wait_for(run, "STARTED", seconds=60)
    assert len(dev.processes()) > len(LOCATIONS) + 3
    assert dev.process is not None
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(timeout=60) == 0, dev.printed.read_text()
    assert dev.processes() == []


def _starters(dev: Dev) -> dict[str, dict[str, Any]]:
    """All schedules and sensors."""
    nodes = dev.graphql.ask(STARTERS)["repositoriesOrError"]["nodes"]
    return {each["name"]: each for node in nodes for each in node["sensors"] + node["schedules"]}


def _materialisable(dev: Dev) -> list[str]:
    nodes = dev.graphql.ask("{ assetNodes { assetKey { path } isMaterializable } }")["assetNodes"]
    return ["/".join(node["assetKey"]["path"]) for node in nodes if node["isMaterializable"]]


def _copy(target: Path) -> None:
    """The project's files; environments are this checkout's, which are made from the same locks."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    (ROOT / ".stack/environments").mkdir(parents=True, exist_ok=True)
    (target / ".stack").mkdir()
    (target / ".stack/environments").symlink_to(ROOT / ".stack/environments")
    if (ROOT / ".venv").is_dir():
        (target / ".venv").symlink_to(ROOT / ".venv")


def _programs_but_docker(folder: Path) -> None:
    """A PATH with everything of this machine except Docker."""
    folder.mkdir()
    for place in ("/usr/local/bin", "/usr/bin", "/bin", str(Path(sys.executable).parent)):
        for program in Path(place).iterdir():
            if not program.name.startswith("docker") and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
