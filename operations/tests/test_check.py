import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from access import loads
from operations.checking import definitions, hardening, settings, topology
from operations.checking.problems import Places, Problem
from operations.checking.topology import Model
from operations.deployment import Deployment
from operations.tests.fakes import ACCESS, Machine
from operations.verbs import check as verb

Change = Callable[[dict[str, Any]], Any]


def service(**own: Any) -> dict[str, Any]:
    """A service as hardening wants it, as Compose resolves it."""
    return {
        "image": "prod/x:local",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "user": "10001:10001",
        "mem_limit": "1073741824",
        "cpus": 1,
        "pids_limit": 256,
        "restart": "unless-stopped",
        "stop_grace_period": "1m0s",
        "healthcheck": {"test": ["CMD", "true"]},
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        **own,
    }


def volume(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    mount: dict[str, Any] = {"type": "volume", "source": source, "target": target}
    return {**mount, "read_only": True} if read_only else mount


def location(name: str, *more: dict[str, Any]) -> dict[str, Any]:
    return service(
        image=f"prod/{name}:local",
        build={"args": {"NAME": name, "SERVICE": f"code_locations/{name}"}},
        environment={"POSTGRES_USER": name, "DAGSTER_CURRENT_IMAGE": f"prod/{name}:local"},
        secrets=[{"source": f"{name}_database_password", "target": "database_password"}],
        volumes=[
            volume(f"lake-{name}", f"/var/lib/lake/{name}"),
            volume(f"logs-{name}", f"/var/lib/dagster/logs/{name}"),
            *more,
        ],
        networks={name: None},
        labels={
            **{"code-location": name, "run.memory": "1g", "run.memory.max": "2g"},
            **{"run.cpus": "1", "run.cpus.max": "2"},
        },
    )


def valid() -> dict[str, Any]:
    """A deployment without a problem."""
    both = {"ingestion": None, "analytics": None}
    passwords = [{"source": f"{name}_database_password", "target": f"{name}_database_password"} for name in both]
    logs = [volume(f"logs-{name}", f"/var/lib/dagster/logs/{name}", read_only=True) for name in both]
    socket = {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}
    return {
        "services": {
            "postgres": service(networks=dict(both)),
            "migrate": service(networks={"ingestion": None}, restart="no", secrets=passwords, healthcheck={}),
            "run_broker": service(user="0:0", network_mode="none", volumes=[socket]),
            "ingestion": location("ingestion"),
            "analytics": location("analytics", volume("lake-ingestion", "/var/lib/lake/ingestion", read_only=True)),
            "webserver": service(networks={"edge": None, **both}, volumes=logs),
            "daemon": service(networks=dict(both)),
            "gateway": service(networks={"edge": None}, ports=[{"published": "3000", "target": 3000}]),
        },
        "networks": {"edge": {}, "ingestion": {}, "analytics": {}},
    }


def model(root: Path, config: dict[str, Any]) -> Model:
    for name in ("ingestion", "analytics"):
        path = root / "code_locations" / name / "src" / name / "definitions.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (root / "code_locations" / name / "pyproject.toml").touch()
    (root / "docker-compose.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    names = ["ingestion", "analytics"]
    return Model(root, config, names, loads(ACCESS, names), Places(root, ["docker-compose.yml"]))


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
    "no password": (put("analytics", "secrets", []), "does not get the secret analytics_database_password"),
    "a role without a password": (put("migrate", "secrets", []), "migrate: does not get ingestion_database_password"),
    "runs without a limit": (lambda s: s["analytics"]["labels"].pop("run.memory.max"), "has no label run.memory.max"),
    "a limit that is none": (put_in("analytics", "labels", "run.memory", "lots"), "label run.memory is 'lots'"),
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


def test_variables_are_found_as_compose_interpolates_them(tmp_path: Path) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text("a: ${ONE:-x} $TWO\n# ${NOT}\nb: $${NEITHER} $$THIS $$${THREE}\nc: ${ONE}${FOUR:?needed}\n")
    assert settings.variables([path]) == {
        "ONE": (path.name, 1),
        "TWO": (path.name, 1),
        "THREE": (path.name, 3),
        "FOUR": (path.name, 4),
    }


def test_settings_that_differ_between_the_three_lists_are_all_told(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("a: ${A} ${UNDOCUMENTED} ${COMPOSE_PROJECT_NAME}\n")
    (tmp_path / ".env.example").write_text("# All of it.\nCOMPOSE_FILE=x\nA=1\n\nUNUSED=1\n")
    (tmp_path / ".env").write_text("COMPOSE_FILE=x\nOLD=1\n")
    assert [str(problem) for problem in settings.check(Deployment(tmp_path))] == [
        "docker-compose.yml:1: uses UNDOCUMENTED, which .env.example does not document",
        ".env.example:5: UNUSED is used by no Compose file",
        ".env.example:5: UNUSED has no comment",
        ".env: A is missing; ./stack up appends it",
        ".env: UNUSED is missing; ./stack up appends it",
        ".env:2: unknown setting OLD; .env.example has all that exist",
    ]


def test_half_written_settings_are_told_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("a: ${A}\n")
    (tmp_path / ".env.example").write_text("# A.\nA=1\n")
    (tmp_path / ".env").write_text("A=1\nCOMPOSE_FI")
    (problem,) = settings.check(Deployment(tmp_path))
    assert str(problem).startswith(".env:2: 'COMPOSE_FI' has no value")


@pytest.fixture
def checkout(machine: Machine) -> Machine:
    (machine.root / ".env.example").write_text("# Files.\nCOMPOSE_FILE=docker-compose.yml\n")
    machine.executor.answer("config", "--format", "json", stdout=json.dumps(valid()))
    model(machine.root, valid())
    return machine


def test_definitions_are_loaded_in_their_image_without_network_or_secrets(checkout: Machine) -> None:
    assert verb.check(checkout.context(), fast=False) == 0
    (call,) = checkout.executor.ran("definitions", "validate", "-m", "analytics.definitions")
    assert call[call.index("--network") + 1] == "none"
    assert {"--read-only", "--rm", "prod/analytics:local", "POSTGRES_USER=analytics"} <= set(call)
    assert not {"--volume", "-v", "--mount"} & set(call)


def test_definitions_that_do_not_load_are_told_with_their_error(checkout: Machine) -> None:
    checkout.executor.answer(
        "definitions", "validate", "-m", "analytics.definitions", code=1, stderr="ImportError: x\n"
    )
    assert verb.check(checkout.context(), fast=False) == 1
    assert "code_locations/analytics: does not load:\n    ImportError: x" in checkout.out.getvalue()


def test_fast_looks_at_files_alone(checkout: Machine) -> None:
    assert verb.check(checkout.context(), fast=True) == 0
    assert [call for call in checkout.executor.calls if "config" not in call] == []


def test_every_problem_is_told_not_the_first_alone(checkout: Machine) -> None:
    (checkout.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml\nOLD=1\n")
    config = valid()
    config["services"]["daemon"]["privileged"] = True
    del config["services"]["analytics"]["read_only"]
    checkout.executor.forget("config", "--format", "json")
    checkout.executor.answer("config", "--format", "json", stdout=json.dumps(config))
    (checkout.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml\n")
    assert verb.check(checkout.context(), fast=True) == 1
    assert "daemon: privileged" in checkout.out.getvalue()
    assert "analytics: its root file system is writable" in checkout.out.getvalue()
    assert checkout.out.getvalue().endswith("2 problems.\n")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("workspace.yaml", "load_from: []\n", "workspace.yaml:1: load_from: found a list; expected"),
        ("access.yaml", "people: {admin: {user: [a]}}\n", "access.yaml:1: people.admin.user: unknown key 'user'"),
        ("access.yaml", "people: [\n", "access.yaml:2: is not valid YAML"),
    ],
)
def test_a_broken_document_is_told_with_its_line(checkout: Machine, file: str, text: str, told: str) -> None:
    (checkout.root / file).write_text(text)
    assert verb.check(checkout.context(), fast=True) == 1
    assert told in checkout.out.getvalue()


def test_a_compose_file_that_compose_refuses_is_a_problem_and_not_a_crash(checkout: Machine) -> None:
    checkout.executor.forget("config", "--format", "json")
    checkout.executor.answer("config", "--format", "json", code=15, stderr="yaml: line 3: mapping values")
    assert verb.check(checkout.context(), fast=False) == 1
    assert "docker-compose.yml: Compose refuses the deployment: yaml: line 3" in checkout.out.getvalue()
    assert checkout.executor.ran("build") == []


def test_dagster_yaml_is_checked_with_the_daemons_own_classes_and_mounts() -> None:
    mounts = [{"type": "bind", "source": "/srv/dagster.yaml", "target": "/opt/dagster/home/dagster.yaml"}]
    spec = {"image": "prod/daemon:local", "volumes": mounts, "environment": {"POSTGRES_USER": "dagster"}}
    args = definitions.instance_check(spec)
    assert args[-3:] == ["prod/daemon:local", "python", "-"]
    assert "/srv/dagster.yaml:/opt/dagster/home/dagster.yaml:ro" in args
    assert args[args.index("--network") + 1] == "none"
