"""Promise: one command brings the deployment from nothing to work, and a second changes nothing."""

import json

from access import load_locations
from tests.support.deployment import ROOT, Deployment, docker, running
from tests.support.graphql import GraphQL


def test_up_ends_with_the_address_the_user_and_the_file_of_the_password(deployment: Deployment) -> None:
    assert deployment.address in deployment.first_up
    assert "admin_password" in deployment.first_up
    assert deployment.secret("admin_password") not in deployment.first_up


def test_all_locations_load_but_the_broken_one_which_says_why(admin: GraphQL) -> None:
    found = admin.locations()
    loaded = {name for name, what in found.items() if what == "RepositoryLocation"}
    shipped = set(load_locations(ROOT / "workspace.yaml"))
    assert loaded == shipped | {"probe"}
    assert "this location is broken on purpose" in found["broken"]


def test_up_names_the_broken_location(deployment: Deployment) -> None:
    assert (
        "broken" in deployment.first_up.splitlines()[-1] or "this location is broken on purpose" in deployment.first_up
    )


def test_a_second_up_and_plain_compose_change_nothing(deployment: Deployment) -> None:
    before = {name: deployment.inspect(name)["Id"] for name in running(deployment)}
    deployment.stack("up", check=False)
    deployment.compose().start()
    assert {name: deployment.inspect(name)["Id"] for name in running(deployment)} == before


def test_only_the_gateway_publishes_a_port_on_the_loopback_address(deployment: Deployment) -> None:
    published = {}
    for name in running(deployment):
        ports = deployment.inspect(name)["HostConfig"]["PortBindings"] or {}
        if ports:
            published[name] = ports
    expected = {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(deployment.port)}]}
    assert published == {deployment.container("gateway"): expected}


def test_only_the_broker_has_the_engine_socket(deployment: Deployment) -> None:
    holders = {name for name in running(deployment) if "docker.sock" in json.dumps(deployment.inspect(name)["Mounts"])}
    assert holders == {deployment.container("run_broker")}
    assert deployment.inspect(deployment.container("run_broker"))["HostConfig"]["NetworkMode"] == "none"


def test_every_container_is_confined(deployment: Deployment) -> None:
    for name in running(deployment):
        record = deployment.inspect(name)
        host = record["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert not host["Privileged"], name
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"]), name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert 0 < host["PidsLimit"] <= 512, name
        assert host["LogConfig"]["Config"]["max-size"], name
        one_shot = name == deployment.container("migrate")
        assert host["RestartPolicy"]["Name"] == ("no" if one_shot else "unless-stopped"), name
        assert one_shot or record["State"]["Health"]["Status"] == "healthy", name
        assert record["Config"]["StopTimeout"] >= 20, name
        user = record["Config"]["User"].partition(":")[0]
        assert (user == "0") == (name == deployment.container("run_broker")), name


def test_no_secret_is_in_what_docker_records(deployment: Deployment) -> None:
    secrets = [
        path.read_text().strip()
        for path in (deployment.home / "secrets").iterdir()
        if "password" in path.name or "token" in path.name
    ]
    assert len(secrets) >= 8
    images = {deployment.inspect(name)["Config"]["Image"] for name in running(deployment)}
    records = "".join(json.dumps(deployment.inspect(name)) for name in running(deployment))
    for image in images:
        records += docker("inspect", image) + docker("history", "--no-trunc", image)
    # One that is empty is set by whoever uses what it is for.
    assert not [secret for secret in secrets if secret and secret in records]


def test_postgres_checks_its_pages_and_takes_no_password_in_the_clear(deployment: Deployment) -> None:
    assert deployment.sql("show data_checksums") == [["on"]]
    rules = deployment.sql("select type, auth_method from pg_hba_file_rules order by 1, 2")
    assert rules == [["host", "scram-sha-256"], ["host", "scram-sha-256"], ["local", "peer"]]
    assert deployment.sql("select rolname from pg_authid where rolcanlogin and rolpassword !~ '^SCRAM-SHA-256'") == []


def test_doctor_explains_the_broken_location_and_nothing_else(deployment: Deployment) -> None:
    # Other tests guess passwords here.
    (finding,) = [finding for finding in deployment.findings() if finding["subject"] != "sign-in"]
    assert "broken" in json.dumps(finding)
    assert "on purpose" in json.dumps(finding)


def test_doctor_finds_a_secret_that_no_longer_matches_the_database(deployment: Deployment) -> None:
    deployment.sql("alter role probe password 'something else'")
    assert [finding for finding in deployment.findings() if "probe" in json.dumps(finding)]
    deployment.stack("up", check=False)
    assert not [finding for finding in deployment.findings() if "probe" in json.dumps(finding)]
