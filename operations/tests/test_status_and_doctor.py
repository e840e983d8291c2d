import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operations import gateway
from operations.errors import StackError
from operations.tests.fakes import Machine, container
from operations.upgrades import journal as upgrade_journal
from operations.upgrades.release import FIRST, Release
from operations.verbs import doctor, status

SERVICES = {
    "migrate": {"restart": "no"},
    "ingestion": {"restart": "unless-stopped", "labels": {"code-location": "ingestion"}},
    "daemon": {"restart": "unless-stopped"},
    "gateway": {"restart": "unless-stopped"},
}
DONE = container("migrate", state="exited", health="")
ALL = [DONE, container("ingestion"), container("daemon"), container("gateway")]
RUN = {"run-broker.role": "run", "dagster/run_id": "r1", "com.docker.compose.oneoff": "True"}


class WellGateway:
    """A webserver that has nothing to complain about."""

    found = (gateway.Location("ingestion", loading=False),)
    statuses: tuple[gateway.Daemon, ...] = (gateway.Daemon("SENSOR", healthy=True),)
    states: dict[str, str] = {"r1": "STARTED"}  # noqa: RUF012
    ends: dict[str, float] = {}  # noqa: RUF012

    def locations(self) -> list[gateway.Location]:
        return list(self.found)

    def daemons(self) -> list[gateway.Daemon]:
        return list(self.statuses)

    def run_states(self, run_ids: list[str]) -> dict[str, str]:
        return {run_id: self.states[run_id] for run_id in run_ids if run_id in self.states}

    def run_ends(self, run_ids: list[str]) -> dict[str, float]:
        return {run_id: self.ends[run_id] for run_id in run_ids if run_id in self.ends}

    def run_counts(self) -> tuple[int, int]:
        return 3, 1


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> WellGateway:
    client = WellGateway()
    monkeypatch.setattr(gateway, "as_admin", lambda _: client)
    return client


@pytest.fixture
def well(machine: Machine, answers: WellGateway) -> Machine:
    machine.tools_are_there()
    machine.made_env()
    directory = machine.root / "secrets"
    directory.mkdir(mode=0o700)
    (directory / "gateway_token").write_text("x")
    (directory / "gateway_token").chmod(0o644)
    secrets = {"gateway_token": {"file": str(directory / "gateway_token")}}
    machine.executor.answer("config", "--format", "json", stdout=json.dumps({"services": SERVICES, "secrets": secrets}))
    machine.executor.answer("migrate", "check", stdout=json.dumps({"failing": {}}, indent=2))
    machine.executor.answer("ps", "--all", "--quiet", stdout="a\n")
    tell(machine, ALL)
    return machine


def tell(machine: Machine, containers: list[dict[str, Any]]) -> None:
    machine.executor.forget("inspect", "--type")
    machine.executor.answer("inspect", "--type", stdout=json.dumps(containers))


def found(machine: Machine, host: Any = None) -> list[str]:
    context = machine.context(host=host)
    return [f"{finding.subject}: {finding.what}" for finding in doctor.examine(context, quiet=True)]


def test_status_of_a_deployment_that_is_well(well: Machine) -> None:
    stats = "ingestion-id-0123456789 210MiB / 1GiB\n"
    well.executor.answer("docker", "stats", stdout=stats)
    assert status.status(well.context(), as_json=False) == 0
    told = well.out.getvalue()
    for part in ("210MiB / 1GiB", "Runs: 3 queued, 1 started, 0 containers", "Address: http://127.0.0.1:3000"):
        assert part in told
    assert "loaded" in told


def test_status_for_programs_is_one_document(well: Machine) -> None:
    tell(well, [*ALL, container("ingestion", name="prod-ingestion-run-r1", labels=RUN)])
    assert status.status(well.context(), as_json=True) == 0
    document = json.loads(well.out.getvalue())
    assert document["well"] is True
    assert [service["name"] for service in document["services"]] == list(SERVICES)
    assert document["run_containers"] == ["prod-ingestion-run-r1"]
    assert document["runs"] == {"queued": 3, "started": 1}


@pytest.mark.parametrize(
    ("containers", "state"),
    [
        ([DONE, container("ingestion"), container("gateway")], "missing"),
        ([DONE, container("ingestion"), container("daemon", health="unhealthy"), container("gateway")], "unhealthy"),
        ([DONE, container("ingestion"), container("daemon", state="exited"), container("gateway")], "exited with 0"),
    ],
)
def test_status_is_not_zero_when_a_service_is_away(well: Machine, containers: list[Any], state: str) -> None:
    tell(well, containers)
    assert status.status(well.context(), as_json=True) == 1
    document = json.loads(well.out.getvalue())
    assert [s["state"] for s in document["services"] if not s["well"]] == [state]


def test_status_shows_an_error_with_brackets_as_it_is(well: Machine, answers: WellGateway) -> None:
    answers.found = (gateway.Location("ingestion", loading=False, error="TypeError: list[/int] is no [bold]type"),)
    assert status.status(well.context(), as_json=False) == 1
    assert "TypeError: list[/int] is no [bold]type" in well.out.getvalue()


@pytest.mark.parametrize("gateways", [[], [container("gateway", state="exited")]])
def test_the_admins_password_is_not_sent_to_whoever_took_the_port(
    well: Machine, gateways: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # While the gateway is down, any user of the machine may listen there.
    asked: list[object] = []
    monkeypatch.setattr(gateway, "as_admin", asked.append)
    tell(well, [DONE, container("ingestion"), container("daemon"), *gateways])
    status.status(well.context(), as_json=False)
    found(well)
    assert asked == []
    assert "the gateway does not run" in well.err.getvalue()


def test_status_goes_on_when_graphql_does_not_answer(well: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise gateway.UnreachableError("connection refused")

    monkeypatch.setattr(gateway, "as_admin", away)
    assert status.status(well.context(), as_json=False) == 1
    assert "GraphQL does not answer: connection refused" in well.err.getvalue()
    assert "ingestion" in well.out.getvalue()


def test_doctor_finds_nothing_where_nothing_is(well: Machine) -> None:
    assert doctor.doctor(well.context(), as_json=False) == 0
    assert "Nothing found: the deployment is well." in well.out.getvalue()


def test_doctor_finds_an_engine_that_is_down_and_asks_nothing_else(well: Machine) -> None:
    asked = ("version", "--format", "{{.Server.Version}}")
    well.executor.forget(*asked)
    well.executor.answer(*asked, code=1, stderr="Cannot connect to the Docker daemon")
    assert found(well) == ["foundation: the Docker engine does not answer: Cannot connect to the Docker daemon"]


def test_doctor_finds_an_upgrade_that_has_not_ended(well: Machine) -> None:
    new = Release("0.2.0", "1.13.27", 17)
    upgrade_journal.write(well.context().deployment, upgrade_journal.Upgrade(FIRST, new, "", "", "today", ""))
    assert found(well) == ["upgrade: the upgrade to 0.2.0, begun today, has not ended"]


def test_doctor_finds_half_written_settings(well: Machine) -> None:
    (well.root / ".env").write_text("GATEWAY_BI")
    (only,) = found(well)
    assert ".env:1: 'GATEWAY_BI' has no value" in only


def test_doctor_finds_a_taken_port_and_a_short_disk(well: Machine) -> None:
    tell(well, [DONE, container("ingestion"), container("daemon")])
    host = replace(well.host, taken=(3000,), disk=1024**3)
    assert found(well, host) == [
        "disk: 1.0 GiB are free in /var/lib/docker",
        "port: port 3000 of 127.0.0.1 is taken",
        "gateway: has no container",
    ]


def test_doctor_finds_a_secret_that_no_longer_opens_the_database(well: Machine) -> None:
    well.executor.forget("migrate", "check")
    failing = {"ingestion": 'password authentication failed for user "ingestion"', "dagster": "no"}
    well.executor.answer("migrate", "check", code=1, stdout=json.dumps({"failing": failing}, indent=2))
    findings = list(doctor.examine(well.context(), quiet=True))
    assert [finding.what for finding in findings] == [
        "the role ingestion cannot sign in",
        "the role dagster cannot sign in",
    ]
    assert "password authentication failed" in findings[0].why
    assert "ingestion_database_password" in findings[0].do
    assert "dagster_password" in findings[1].do


def test_doctor_says_when_passwords_could_not_be_tried(well: Machine) -> None:
    well.executor.forget("migrate", "check")
    well.executor.answer("migrate", "check", code=1, stderr="migrate: the server does not answer")
    assert found(well) == ["database: the passwords could not be tried"]


def test_doctor_finds_a_location_that_does_not_load_with_its_error(well: Machine, answers: WellGateway) -> None:
    answers.found = (gateway.Location("ingestion", loading=False, error="ImportError: no flights"),)
    (finding,) = doctor.examine(well.context(), quiet=True)
    assert (finding.subject, finding.what) == ("location ingestion", "does not load")
    assert "ImportError: no flights" in finding.why


def test_doctor_finds_that_somebody_guesses_passwords(well: Machine) -> None:
    guess = json.dumps({"status": 401, "signs_in": "yes", "request": {"client_ip": "203.0.113.9"}}) + "\n"
    well.executor.answer("--since", "1h", "gateway", stdout=guess * 40)
    assert found(well) == ["sign-in: 40 failed in the last hour: 40 from 203.0.113.9"]


def test_doctor_finds_a_daemon_without_heartbeat(well: Machine, answers: WellGateway) -> None:
    answers.statuses = (gateway.Daemon("SCHEDULER", healthy=False), gateway.Daemon("SENSOR", False, "boom"))
    assert found(well) == ["daemon SCHEDULER: has no recent heartbeat", "daemon SENSOR: reports errors"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"r1": "STARTED"}, []),
        ({"r1": "CANCELING"}, []),
        ({"r1": "CANCELED"}, ["container prod-ingestion-run-r1: works for no run"]),
        ({}, ["container prod-ingestion-run-r1: works for no run"]),
    ],
)
def test_doctor_finds_a_run_container_without_a_run(
    well: Machine, answers: WellGateway, states: dict[str, str], expected: list[str]
) -> None:
    answers.states = states
    run = container("ingestion", name="prod-ingestion-run-r1", labels=RUN, health="")
    gone = container("ingestion", name="prod-ingestion-run-r0", labels=RUN, health="", state="exited")
    tell(well, [*ALL, run, gone])
    assert found(well) == expected


@pytest.mark.parametrize(
    ("seconds_ago", "expected"), [(1, []), (600, ["container prod-ingestion-run-r1: works for no run"])]
)
def test_a_run_that_has_just_ended_may_still_have_its_container(
    well: Machine, answers: WellGateway, seconds_ago: float, expected: list[str]
) -> None:
    answers.states, answers.ends = {"r1": "SUCCESS"}, {"r1": time.time() - seconds_ago}
    tell(well, [*ALL, container("ingestion", name="prod-ingestion-run-r1", labels=RUN, health="")])
    assert found(well) == expected


def test_doctor_finds_an_unhealthy_service_with_probe_and_last_lines(well: Machine) -> None:
    tell(well, [*ALL[:2], container("daemon", health="unhealthy", probe="no heartbeat for 90 s"), ALL[3]])
    well.executor.answer("logs", stdout="one\ntwo\n")
    (finding,) = doctor.examine(well.context(), quiet=True)
    assert (finding.subject, finding.what) == ("daemon", "is running, unhealthy")
    assert "no heartbeat for 90 s" in finding.why
    assert "    two" in finding.why


@pytest.mark.parametrize(
    ("service", "minutes", "expected"),
    [
        ("daemon", 4, ["daemon: ended by itself and was started again, last 4 min ago"]),
        ("daemon", 61, []),
        # It ends to read its definitions anew.
        ("ingestion", 4, []),
    ],
)
def test_doctor_tells_for_an_hour_that_a_service_crashed(
    well: Machine, service: str, minutes: int, expected: list[str]
) -> None:
    started = (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    tell(well, [*ALL, container(service, restarts=2, started=started)])
    assert found(well) == expected


def test_doctor_finds_open_and_missing_secrets(well: Machine) -> None:
    (well.root / "secrets").chmod(0o755)
    (well.root / "secrets/gateway_token").chmod(0o600)
    assert found(well) == [
        "secrets: other users may enter secrets",
        "secrets: gateway_token is closed to the containers",
    ]
    (well.root / "secrets").chmod(0o700)
    (well.root / "secrets/gateway_token").unlink()
    assert found(well) == ["secrets: gateway_token has no file"]


def test_one_examination_that_fails_does_not_hide_the_others(well: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise gateway.RefusedError("the gateway refuses the admin's password")

    monkeypatch.setattr(gateway, "as_admin", away)
    tell(well, [ALL[0], ALL[1], container("daemon", state="restarting", health=""), ALL[3]])
    subjects = [line.split(":")[0] for line in found(well)]
    assert subjects == ["daemon", "Code locations", "Daemons", "Run containers"]


def test_doctor_changes_nothing(well: Machine) -> None:
    doctor.doctor(well.context(), as_json=False)
    words = {word for call in well.executor.calls for word in call}
    assert not words & {"up", "down", "restart", "stop", "kill", "start", "create", "build", "prune"}


def test_verbs_on_a_deployment_that_does_not_exist_are_refused(machine: Machine) -> None:
    with pytest.raises(StackError, match="there is no deployment 'prod'"):
        status.status(machine.context(), as_json=False)
    assert found(machine)[0].startswith("foundation: there is no deployment 'prod'")
