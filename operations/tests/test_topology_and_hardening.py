import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from access import Machine, loads
from operations.checking import hardening, topology
from operations.checking.problems import Places, Problem
from operations.tests.fakes import ACCESS
from operations.tests.valid_deployment import model, service, valid, volume

Change = Callable[[dict[str, Any]], Any]


def messages(root: Path, change: Change) -> list[str]:
    config = copy.deepcopy(valid())
    change(config["services"])
    built = model(root, config)
    return [problem.message for problem in topology.check(built) + hardening.check(built)]


def test_a_valid_deployment_has_no_problem(tmp_path: Path) -> None:
    assert messages(tmp_path, lambda _: None) == []


def put(name: str, key: str, value: Any) -> Change:
    return lambda services: services[name].__setitem__(key, value)


def put_in(name: str, key: str, inner: str, value: Any) -> Change:
    return lambda services: services[name][key].__setitem__(inner, value)


def drop(name: str, key: str) -> Change:
    return lambda services: services[name].pop(key)


def mount(name: str, *entry: Any) -> Change:
    return lambda services: services[name].setdefault("volumes", []).append(volume(*entry))


def replace_mounts(name: str, *entries: tuple[Any, ...]) -> Change:
    return lambda services: services[name].__setitem__("volumes", [volume(*entry) for entry in entries])


LOGS = ("logs-analytics", "/var/lib/dagster/logs/analytics")
OWN = ("lake-analytics", "/var/lib/lake/analytics")

CONTRADICTIONS: dict[str, tuple[Change, str]] = {
    "a location without a service": (lambda s: s.pop("analytics"), "code location analytics is no service"),
    "a service without the label": (lambda s: s["analytics"]["labels"].pop("code-location"), "has no label code-loc"),
    "a label nobody names": (put("daemon", "labels", {"code-location": "daemon"}), "workspace.yaml does not name it"),
    "another's label": (put_in("analytics", "labels", "code-location", "ingestion"), "label code-location is 'ing"),
    "another's image": (put("analytics", "image", "prod/ingestion:local"), "DAGSTER_CURRENT_IMAGE is 'prod/analy"),
    "another's folder": (
        lambda s: s["analytics"]["build"]["args"].update(SERVICE="code_locations/none"),
        "code_locations/none/src/analytics/definitions.py does not exist",
    ),
    "another's name": (lambda s: s["analytics"]["build"]["args"].update(NAME="x"), "build argument NAME is 'x'"),
    "another's role": (put_in("analytics", "environment", "POSTGRES_USER", "dagster"), "POSTGRES_USER is 'dagster'"),
    "another's network": (put_in("analytics", "networks", "ingestion", None), "is on analytics, ingestion; expected"),
    "a location on edge": (put_in("analytics", "networks", "edge", None), "is on analytics, edge; expected"),
    "a daemon that cannot reach it": (put("daemon", "networks", {"ingestion": None}), "is not on the network anal"),
    "a stranger on two networks": (
        lambda s: s.update(sample=service(networks={"ingestion": None, "analytics": None})),
        "sample: joins the networks of analytics, ingestion",
    ),
    "a stranger on edge": (
        lambda s: s.update(sample=service(networks={"edge": None})),
        "sample: is on the network edge",
    ),
    "a lake that may be written by a reader": (
        replace_mounts("analytics", OWN, LOGS, ("lake-ingestion", "/var/lib/lake/ingestion")),
        "mounts lake-ingestion at /var/lib/lake/ingestion, writable; expected /var/lib/lake/ingestion, read-only",
    ),
    "a lake that the reader lacks": (replace_mounts("analytics", OWN, LOGS), "does not mount lake-ingestion at"),
    "a lake of its own that is read-only": (
        replace_mounts("analytics", (*OWN, True), LOGS, ("lake-ingestion", "/var/lib/lake/ingestion", True)),
        "mounts lake-analytics at /var/lib/lake/analytics, read-only; expected",
    ),
    "a lake in another place": (
        replace_mounts("analytics", OWN, LOGS, ("lake-ingestion", "/data", True)),
        "mounts lake-ingestion at /data, read-only; expected /var/lib/lake/ingestion, read-only",
    ),
    "a lake that access.yaml does not grant": (
        mount("ingestion", "lake-analytics", "/var/lib/lake/analytics", True),
        "mounts lake-analytics, but access.yaml does not let ingestion read it",
    ),
    "a lake in a service's hands": (
        mount("daemon", "lake-ingestion", "/x"),
        "daemon: mounts lake-ingestion writable; only its owner may",
    ),
    "logs in a service's hands": (mount("daemon", "logs-ingestion", "/x"), "daemon: mounts logs-ingestion writable"),
    "logs that nobody keeps": (
        replace_mounts("analytics", OWN, ("lake-ingestion", "/var/lib/lake/ingestion", True)),
        "does not mount logs-analytics writable below /var/lib/dagster/logs",
    ),
    "logs that nobody shows": (put("webserver", "volumes", []), "webserver: does not mount logs-ingestion read-only"),
    "another's password": (
        lambda s: s["analytics"]["secrets"].append({"source": "ingestion_database_password", "target": "x"}),
        "gets ingestion_database_password, another location's secret",
    ),
    "another's key of personal data": (
        lambda s: s["analytics"]["secrets"].append({"source": "personal_data_key_ingestion"}),
        "analytics: gets personal_data_key_ingestion, but access.yaml gives it no right to it",
    ),
    "a key of personal data in a service": (
        put("webserver", "secrets", [{"source": "personal_data_key_ingestion"}]),
        "webserver: gets personal_data_key_ingestion, but access.yaml gives it no right to it",
    ),
    "a key by another name": (
        lambda s: s["ingestion"]["secrets"].append({"source": "personal_data_key_ingestion", "target": "key"}),
        "gets personal_data_key_ingestion as key; expected the same name",
    ),
    "no password": (put("analytics", "secrets", []), "does not get the secret analytics_database_password"),
    "a role without a password": (put("migrate", "secrets", []), "migrate: does not get ingestion_database_password"),
    "runs without a limit": (lambda s: s["analytics"]["labels"].pop("run.memory.max"), "has no label run.memory.max"),
    "a limit that is none": (put_in("analytics", "labels", "run.memory", "lots"), "label run.memory is 'lots'"),
    "warm runs that are no number": (put_in("analytics", "labels", "run.warm", "some"), "label run.warm is 'some'"),
    "processors that are none": (put_in("analytics", "labels", "run.cpus", "0"), "label run.cpus is '0'"),
    "a default above its cap": (put_in("analytics", "labels", "run.memory", "3g"), "label run.memory is above"),
}
WEAKNESSES: dict[str, tuple[Change, str]] = {
    "a writable root": (drop("daemon", "read_only"), "root file system is writable"),
    "capabilities": (put("daemon", "cap_drop", ["NET_RAW"]), "keeps capabilities"),
    "added capabilities": (put("daemon", "cap_add", ["SYS_ADMIN"]), "cap_add is not for services"),
    "new privileges": (put("daemon", "security_opt", []), "may gain privileges"),
    "no seccomp": (
        put("daemon", "security_opt", ["no-new-privileges:true", "seccomp=unconfined"]),
        "security_opt seccomp:unconfined takes a protection away",
    ),
    "root": (put("daemon", "user", "0"), "runs as root"),
    "whoever the image says": (drop("daemon", "user"), "runs as root or as whoever"),
    "privileged": (put("daemon", "privileged", True), "privileged is not for services"),
    "the host's processes": (put("daemon", "pid", "host"), "pid is not for services"),
    "a device": (put("daemon", "devices", ["/dev/fuse"]), "devices is not for services"),
    "memory without end": (drop("daemon", "mem_limit"), "its memory are not limited"),
    "processors without end": (drop("daemon", "cpus"), "its processors are not limited"),
    "processes without end": (drop("daemon", "pids_limit"), "its processes are not limited"),
    "a second published port": (put("webserver", "ports", [{"published": "3001"}]), "publishes a port; only gateway"),
    "the host's network": (put("daemon", "network_mode", "host"), "network_mode is host"),
    "a broker on a network": (drop("run_broker", "network_mode"), "has a network; expected network_mode: none"),
    "the engine's socket": (
        lambda s: s["daemon"].update(volumes=[{"type": "bind", "source": "/run/docker.sock", "target": "/x"}]),
        "daemon: mounts the engine's socket; only run_broker may",
    ),
    "a writable folder of the host": (
        lambda s: s["daemon"].update(volumes=[{"type": "bind", "source": "/etc", "target": "/x"}]),
        "daemon: may write to /etc of the host",
    ),
    "a password in the environment": (
        put("daemon", "environment", {"POSTGRES_PASSWORD": "x"}),
        "POSTGRES_PASSWORD shows in docker inspect",
    ),
    "no restart": (drop("daemon", "restart"), "restart is None"),
    "no health check": (drop("daemon", "healthcheck"), "has no health check"),
    "a health check that is off": (put("daemon", "healthcheck", {"disable": True}), "has no health check"),
    "logs without end": (drop("daemon", "logging"), "its log grows without end"),
    "no time to stop": (drop("daemon", "stop_grace_period"), "is killed after 10 s"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_contradiction_between_the_files_is_found(tmp_path: Path, what: str) -> None:
    change, expected = CONTRADICTIONS[what]
    found = messages(tmp_path, change)
    assert any(expected in message for message in found), found


@pytest.mark.parametrize("what", WEAKNESSES)
def test_a_weakness_of_a_service_is_found(tmp_path: Path, what: str) -> None:
    change, expected = WEAKNESSES[what]
    found = messages(tmp_path, change)
    assert any(expected in message for message in found), found
    assert len(found) == 1, found


def test_a_right_to_personal_data_and_its_key_go_together(tmp_path: Path) -> None:
    config = valid()
    given = model(tmp_path, config)
    machines = {**given.access.machines, "analytics": Machine(reads=["ingestion"], personal=["ingestion"])}
    given = replace(given, access=given.access.model_copy(update={"machines": machines}))
    assert [problem.message for problem in topology.check(given)] == [
        "analytics: does not get personal_data_key_ingestion, which access.yaml gives it"
    ]
    # Also by a name of its own choice: the file counts.
    config["secrets"] = {"harmless": {"file": "/x/secrets/personal_data_key_ingestion"}}
    config["services"]["analytics"]["secrets"].append({"source": "harmless", "target": "personal_data_key_ingestion"})
    assert topology.check(given) == []
    without = replace(given, access=loads(ACCESS, given.locations))
    assert (
        "gets personal_data_key_ingestion, but access.yaml gives it no right to it"
        in topology.check(without)[0].message
    )


def test_a_folder_that_no_location_has_is_found(tmp_path: Path) -> None:
    built = model(tmp_path, valid())
    (tmp_path / "code_locations/forgotten").mkdir()
    (tmp_path / "code_locations/forgotten/pyproject.toml").touch()
    assert [problem.message for problem in topology.check(built)] == [
        "code_locations/forgotten exists, but no location has this name"
    ]


def test_a_location_built_elsewhere_needs_no_folder(tmp_path: Path) -> None:
    built = model(tmp_path, valid())
    del built.services["analytics"]["build"]
    assert topology.check(built) == []


def test_problems_point_at_the_line_of_the_file_that_says_it(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("services:\n  a:\n    image: x\n")
    (tmp_path / "overlay.yml").write_text("services:\n\n  a:\n    ports: []\n")
    places = Places(tmp_path, ["docker-compose.yml", "overlay.yml"])
    assert places.problem("p", "services", "a", "ports") == Problem("overlay.yml", 4, "p")
    assert places.problem("p", "services", "a", "image") == Problem("docker-compose.yml", 3, "p")
    assert str(places.problem("p", "services", "a", "user")) == "docker-compose.yml:2: p"


def test_places_in_a_file_that_is_no_yaml_are_its_name(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("a: [\n")
    assert str(Places(tmp_path, ["docker-compose.yml"]).problem("p", "services")) == "docker-compose.yml: p"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1g", 2**30), ("512m", 2**29), ("1.5G", 1.5 * 2**30), ("64k", 2**16), ("1", None), ("", None), ("0g", None),
     ("g", None), ("1gb", None), ("-1g", None), ("1..5g", None)],
)  # fmt: skip
def test_memory_is_read_as_the_labels_write_it(text: str, value: float | None) -> None:
    assert topology.memory(text) == value
