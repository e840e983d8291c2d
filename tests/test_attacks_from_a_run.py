"""Attacks from inside a run, each with its name: none reaches what is not its location's.

tests/test_sandbox.py has the first of them; here are the many. One run makes all that are alike, one test reads what
each came to. What an attack is, and what counts as refused, is in tests/support/attacks_in_a_run.py.
"""

import hashlib
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import attacks_in_a_run as attacks
from tests.support.deployment import ROOT, Deployment, docker
from tests.support.graphql import GraphQL
from tests.support.locations import OWN, shipped
from tests.support.waiting import wait_until

RANGE = "{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}"
OWN_SECRET = "probe_database_password"
ON_THE_NETWORK = {**attacks.network(shipped()), **attacks.MACHINE}
IN_THE_DATABASE = attacks.database(shipped())
IN_THE_MACHINE = {**attacks.ENGINE, **attacks.KERNEL, **attacks.LIMITS}
SECRETS = attacks.secrets(
    sorted({*yaml.safe_load((ROOT / "docker-compose.yml").read_text())["secrets"], "broken_database_password",
            "admin_password", "source_database_password"})
)  # fmt: skip
ALL = {**ON_THE_NETWORK, **IN_THE_DATABASE, **IN_THE_MACHINE, **SECRETS}


def networks(deployment: Deployment) -> dict[str, dict[str, str]]:
    """The deployment's networks, each with its range and the machine's address on it."""
    found = {}
    for name in docker("network", "ls", "--format", "{{.Name}}", "--filter", f"name={deployment.name}_").split():
        subnet, gateway = docker("network", "inspect", name, "--format", RANGE).split()
        found[name.removeprefix(f"{deployment.name}_")] = {"subnet": subnet, "gateway": gateway}
    return found


def addresses(deployment: Deployment, service: str) -> dict[str, str]:
    """A service's address on each of its networks."""
    found = deployment.inspect(deployment.container(service))["NetworkSettings"]["Networks"]
    return {name.removeprefix(f"{deployment.name}_"): network["IPAddress"] for name, network in found.items()}


def targets(deployment: Deployment) -> dict[str, Any]:
    """What the attacks are aimed at: where everything is, and what a secret would be known by."""
    services = [*shipped(), *OWN, "postgres", "webserver", "daemon", "gateway", "backup"]
    found = {name: addresses(deployment, name) for name in services}
    files = [file for file in (deployment.home / "secrets").iterdir() if file.is_file()]
    values = {file.name: file.read_text().strip() for file in files}
    return {
        "networks": networks(deployment),
        "services": found,
        "postgres": found["postgres"],
        "addresses": [address for each in found.values() for address in each.values()],
        "published": deployment.port,
        "secrets": {name: hashlib.sha256(value.encode()).hexdigest() for name, value in values.items() if value},
    }


def carried_out(deployment: Deployment, admin: GraphQL, what: Mapping[str, str]) -> dict[str, str]:
    """What each of these came to, in one run."""
    code = attacks.source(what, targets(deployment))
    run = admin.launch("probe", "attack", config={"ops": {"run_python": {"config": {"code": code}}}})
    admin.wait_for(run, "SUCCESS", seconds=400)
    return attacks.verdicts(admin.printed(run).splitlines(), what)


@pytest.fixture(scope="module")
def verdicts(deployment: Deployment, admin: GraphQL) -> dict[str, str]:
    """What all attacks came to that need nothing beside the deployment."""
    return carried_out(deployment, admin, {**ALL, **attacks.CONTROLS})


@pytest.fixture(scope="module")
def forged(deployment: Deployment, admin: GraphQL, reference: str) -> dict[str, str]:
    """What all attacks came to on the history of another location's run."""
    return carried_out(deployment, admin, attacks.forged(reference))


def answers_here(host: str, port: int) -> bool:
    """Whether the machine itself reaches this."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def listens_everywhere(port: int) -> bool:
    """Whether something of the machine's owner listens on all of its addresses at this port."""
    lines = [line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]]
    listening = {line[1] for line in lines if line[3] == "0A"}
    return any(
        int(address.split(":")[1], 16) == port and not address.strip("0:" + address[-4:]) for address in listening
    )


@pytest.mark.parametrize("name", attacks.CONTROLS)
def test_what_a_run_may_do_is_not_taken_for_an_attack(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name].startswith("REACHED"), verdicts[name]


@pytest.mark.parametrize("name", attacks.network(shipped()))
def test_nobody_else_is_met_on_the_network(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name].startswith("refused"), verdicts[name]


@pytest.mark.parametrize("name", attacks.MACHINE)
def test_the_machine_does_not_answer(verdicts: dict[str, str], name: str) -> None:
    if verdicts[name].startswith("REACHED"):
        port = re.search(r"port (\d+)$", name)
        if port and listens_everywhere(int(port[1])):
            pytest.skip("the machine's owner has something listen there on all addresses")
        if not port and answers_here(*attacks.METADATA[name.removeprefix("reach ")]):
            pytest.skip("the machine reaches it, and deploy/systemd's rules are not in force (docs/ec2.md)")
    assert verdicts[name].startswith("refused"), verdicts[name]


@pytest.mark.parametrize("name", IN_THE_DATABASE)
def test_the_database_refuses(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name].startswith("refused"), verdicts[name]


@pytest.mark.parametrize("name", IN_THE_MACHINE)
def test_the_container_holds(verdicts: dict[str, str], name: str) -> None:
    assert verdicts[name].startswith("refused"), verdicts[name]


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_of_others_is_there(deployment: Deployment, verdicts: dict[str, str], name: str) -> None:
    file = deployment.home / "secrets" / name.removeprefix("have the secret ")
    if not file.is_file() or not file.read_text().strip():
        pytest.skip("it is empty in this deployment: nothing that could be found")
    assert verdicts[name].startswith("refused"), verdicts[name]


@pytest.mark.parametrize("name", attacks.FORGED)
def test_another_locations_history_stays_as_it_was_told(forged: dict[str, str], name: str) -> None:
    assert forged[name].startswith("refused"), forged[name]


@pytest.mark.parametrize("name", attacks.FORGING_CONTROLS)
def test_a_run_tells_its_own_history(forged: dict[str, str], name: str) -> None:
    assert forged[name].startswith("REACHED"), forged[name]


# What a location leaves where its logs are, and the webserver, which mounts them, reads.
PLANTED = {
    "a link to the gateway's secret": "os.symlink('/run/secrets/gateway_token', name)",
    "a link to the webserver's password": "os.symlink('/run/secrets/database_password', name)",
    "a link to the webserver's environment": "os.symlink('/proc/self/environ', name)",
    "a link to the webserver's settings": "os.symlink('/opt/dagster/access.yaml', name)",
    "a link to the audit log": "os.symlink('/var/lib/dagster/audit/audit.jsonl', name)",
    "a link to itself": "os.symlink(name, name)",
    "a link to another location's logs": "os.symlink('/var/lib/dagster/logs/ingestion', name)",
    "a link by a relative path": "os.symlink('../' * 9 + 'run/secrets/gateway_token', name)",
    "a folder": "os.mkdir(name)",
    "a pipe that nobody writes": "os.mkfifo(name)",
    "a socket": "socket.socket(socket.AF_UNIX).bind(name)",
    "a file that nobody may read": "os.close(os.open(name, os.O_CREAT, 0))",
    "a file of a terabyte": "os.truncate(os.open(name, os.O_CREAT | os.O_WRONLY), 1 << 40)",
}
MARK = "nothing else is here"
CAPTURED = "query Logs($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"
LEFT = ("../../../../run/secrets/gateway_token", "..", ".", "", "a/b", "a\nb", "a\x00b", "/etc/passwd", "a" * 5000)


@pytest.fixture(scope="module")
def planted(deployment: Deployment, admin: GraphQL) -> Iterator[str]:
    """The run in whose folder all of it is, and a plain log beside it; gone when the tests have ended."""
    run = admin.launch("probe", "succeed")
    admin.wait_for(run, "SUCCESS")
    folder = f"/var/lib/dagster/logs/{run}/compute_logs"
    lines = [f"import os, socket\nos.makedirs({folder!r}, exist_ok=True)\nos.chdir({folder!r})",
             f"open('plain.out', 'w').write({MARK!r})"]  # fmt: skip
    for number, how in enumerate(PLANTED.values()):
        lines.append(f"for name in ('{number}.out', '{number}.err'): {how}")
    lines.append("os.mkdir('lines\\nin a name.out')\nos.symlink('/run', 'through')")
    deployment.python("probe", "\n".join(lines))
    yield run
    deployment.python("probe", f"import shutil\nshutil.rmtree({folder!r}, ignore_errors=True)")


def shown(admin: GraphQL, *key: str) -> str:
    """All that page and download show of a log."""
    answer = admin.answer(CAPTURED, key=list(key))
    pieces = [answer.text]
    for kind in ("out", "err"):
        with admin.http.stream("GET", f"/logs/{'/'.join(key)}/{kind}") as download:
            pieces.append(f"{download.status_code} ")
            pieces += [part.decode(errors="replace") for part in _beginning(download.iter_bytes(1 << 16))]
    return "".join(pieces)


def _beginning(parts: Iterator[bytes]) -> Iterator[bytes]:
    for number, part in enumerate(parts):
        if number == 16:
            return
        yield part


def known(deployment: Deployment) -> list[str]:
    """What only the webserver knows."""
    return [deployment.secret("gateway_token"), deployment.secret("dagster_password"), "POSTGRES_USER", "unknown_users",
            '"decision"', OWN_SECRET]  # fmt: skip


def test_a_plain_log_is_shown(admin: GraphQL, planted: str) -> None:
    text = shown(admin, planted, "compute_logs", "plain")
    assert text.count(MARK) == 2, text


@pytest.mark.parametrize("name", PLANTED)
def test_the_webserver_shows_nothing_by_way_of(deployment: Deployment, admin: GraphQL, planted: str, name: str) -> None:
    text = shown(admin, planted, "compute_logs", str(list(PLANTED).index(name)))
    assert not [each for each in known(deployment) if each in text], text[:500]
    assert "Traceback" not in text
    assert "500 " not in text[-2000:]


@pytest.mark.parametrize("last", LEFT, ids=[f"{last!r:.40}" for last in LEFT])
def test_the_webserver_shows_nothing_for_the_key(
    deployment: Deployment, admin: GraphQL, planted: str, last: str
) -> None:
    for key in ([planted, "compute_logs", last], [planted, last, "gateway_token"], [last, "compute_logs", "plain"]):
        text = admin.answer(CAPTURED, key=key).text
        assert not [each for each in (*known(deployment), MARK) if each in text], text[:500]


def test_the_webserver_goes_through_no_linked_folder(deployment: Deployment, admin: GraphQL, planted: str) -> None:
    for key in ((planted, "compute_logs", "through", "secrets", "gateway_token"), (planted, "through", "plain")):
        assert not [each for each in known(deployment) if each in shown(admin, *key)]


def test_the_webserver_goes_on(admin: GraphQL, planted: str) -> None:
    wait_until(lambda: MARK in shown(admin, planted, "compute_logs", "plain"), seconds=30, what="the plain log")
    assert admin.locations()["probe"] == "RepositoryLocation"


def test_a_page_carries_out_no_script_that_a_run_has_left_in_an_address(admin: GraphQL) -> None:
    policies = admin.http.get("/", headers={"Accept": "text/html"}).headers.get_list("Content-Security-Policy")
    scripts = [part for policy in policies for part in policy.split(";") if part.strip().startswith("script-src ")]
    assert scripts, policies
    assert all("nonce-" in part for part in scripts), scripts
