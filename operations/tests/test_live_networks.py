"""Postgres goes on while locations come and go: what Compose is shown, and what is connected by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from operations import docker, live_networks
from operations.tests.fakes import Machine, container

HASH = "0123abcd"
MADE = "database, sales"


def service(*networks: str, label: bool = True) -> dict[str, Any]:
    return {"networks": dict.fromkeys(networks), "labels": {"code-location": "x"} if label else {}}


def tell(machine: Machine, *locations: str, running: tuple[str, ...] = ("sales",), **more: Any) -> None:
    """A deployment whose files name these locations, and an engine in which others run."""
    services = {name: service(name) for name in locations}
    services |= {name: service("database", *locations, label=False) for name in ("postgres", "webserver", "daemon")}
    networks = {name: {"name": f"prod_{name}"} for name in ("database", *locations)}
    machine.executor.forget("config", "--format", "json")
    machine.executor.answer(
        "config", "--format", "json", stdout=json.dumps({"services": services, "networks": networks})
    )
    on = more.get("postgres_on", ("database", *running))
    labels = {"com.docker.compose.config-hash": HASH}
    found = [container("postgres", id="pg", labels=labels, networks=[f"prod_{name}" for name in on])]
    found += [container(n, id=f"{n}-id", labels={"code-location": n}, networks=[f"prod_{n}"]) for n in running]
    found += more.get("others", [])
    machine.executor.forget("ps", "--all", "--quiet")
    machine.executor.answer("ps", "--all", "--quiet", stdout="x\n")
    machine.executor.forget("docker", "inspect")
    machine.executor.answer("docker", "inspect", stdout=json.dumps(found))


def hashes(machine: Machine, printed: str = f"postgres {HASH}\n") -> None:
    machine.executor.answer("config", "--hash", "postgres", stdout=printed)


def effects(machine: Machine) -> list[str]:
    """What was done to the engine."""
    words = ("connect", "disconnect", "stop", "rm", "up")
    return [" ".join(call[call.index("docker") + 1 :]) for call in machine.executor.calls if set(words) & set(call)]


def file(machine: Machine) -> Path:
    return machine.root / ".stack/prod/postgres-as-it-was-made.yml"


def test_a_new_location_is_made_and_connected_before_compose_starts_it(machine: Machine) -> None:
    tell(machine, "sales", "demo")
    hashes(machine)
    context = machine.context()
    kept = live_networks.keep_postgres(context)
    assert kept == file(machine)
    assert kept.read_text() == f"services: {{postgres: {{networks: !override [{MADE}]}}}}\n"
    made, connected = effects(machine)
    assert made.endswith("up --no-start --no-deps --no-build --no-recreate demo")
    assert connected == "network connect --alias postgres prod_demo pg"
    start = docker.start(context.deployment, 600, kept)
    names = [start[index + 1] for index, word in enumerate(start) if word == "--file"]
    assert names == [str(machine.root / "docker-compose.yml"), str(kept)]


def test_an_up_after_that_shows_compose_the_same_and_connects_nothing(machine: Machine) -> None:
    tell(machine, "sales", "demo")
    hashes(machine)
    live_networks.keep_postgres(machine.context())
    tell(machine, "sales", "demo", running=("sales", "demo"))
    machine.executor.calls.clear()
    context = machine.context()
    assert live_networks.keep_postgres(context) == file(machine)
    live_networks.settle(context)
    assert MADE in file(machine).read_text()
    assert effects(machine) == []


def test_without_a_difference_compose_is_left_alone(machine: Machine) -> None:
    tell(machine, "sales")
    context = machine.context()
    assert live_networks.keep_postgres(context) is None
    live_networks.settle(context)
    assert effects(machine) == []
    assert not machine.executor.ran("config", "--hash", "postgres")


def test_before_the_first_start_there_is_nothing_to_keep(machine: Machine) -> None:
    tell(machine, "sales")
    machine.executor.forget("docker", "inspect")
    machine.executor.answer("docker", "inspect", stdout="[]")
    assert live_networks.keep_postgres(machine.context()) is None


@pytest.mark.parametrize("printed", ["postgres ffff\n", ""])
def test_where_more_than_networks_differs_compose_replaces_postgres(machine: Machine, printed: str) -> None:
    tell(machine, "sales", "demo")
    hashes(machine, printed)
    assert live_networks.keep_postgres(machine.context()) is None
    assert "postgres is replaced" in machine.err.getvalue()
    assert effects(machine) == []


def test_a_container_that_compose_replaced_anyway_is_connected_afterwards(machine: Machine) -> None:
    tell(machine, "sales", "demo", running=("sales", "demo"), postgres_on=("database", "sales"))
    live_networks.settle(machine.context())
    assert effects(machine) == ["network connect --alias postgres prod_demo pg"]


def test_a_removed_location_is_ended_and_its_network_goes(machine: Machine) -> None:
    tell(machine, "sales", "demo")
    hashes(machine)
    live_networks.keep_postgres(machine.context())
    tell(machine, "sales", running=("sales", "demo"))
    machine.executor.calls.clear()
    context = machine.context()
    assert live_networks.keep_postgres(context) is None
    gone = [container("postgres", id="pg", networks=[f"prod_{name}" for name in ("database", "sales", "demo")])]
    found = machine.executor.run(docker.inspect(["x"])).stdout
    machine.executor.forget("docker", "inspect")
    for answer in (found, json.dumps(gone), json.dumps(gone)):
        machine.executor.answer("docker", "inspect", stdout=answer)
    live_networks.settle(context)
    assert effects(machine) == [
        "stop demo-id",
        "rm --volumes demo-id",
        "network disconnect prod_demo pg",
        "network rm prod_demo",
    ]


def test_a_live_run_of_a_removed_location_keeps_its_network_and_database(machine: Machine) -> None:
    tell(machine, "sales", "demo")
    hashes(machine)
    live_networks.keep_postgres(machine.context())
    run = container("demo", id="run", labels={"run-broker.role": "run"}, networks=["prod_demo"])
    tell(machine, "sales", postgres_on=("database", "sales", "demo"), others=[run])
    machine.executor.calls.clear()
    live_networks.settle(machine.context())
    assert effects(machine) == []


def test_a_network_that_postgres_was_made_with_stays_on_it_when_its_location_goes(machine: Machine) -> None:
    tell(machine, "sales", running=("sales",), postgres_on=("database", "sales", "old"))
    hashes(machine)
    context = machine.context()
    assert live_networks.keep_postgres(context) == file(machine)
    assert file(machine).read_text() == (
        "services: {postgres: {networks: !override [database, old, sales]}}\n"
        "networks: {old: {external: true, name: prod_old}}\n"
    )
    live_networks.settle(context)
    assert effects(machine) == []


def test_what_is_left_of_a_removed_locations_runs_goes_with_it(machine: Machine) -> None:
    labels = {"run-broker.role": "run", "code-location": "demo", "com.docker.compose.oneoff": "True"}
    tell(machine, "sales", others=[container("demo", id="run", state="exited", labels=labels)])
    live_networks.settle(machine.context())
    assert effects(machine) == ["stop run", "rm --volumes run"]


def test_a_stranger_with_our_label_is_not_ended(machine: Machine) -> None:
    by_hand = container("demo", id="hand", labels={"code-location": "demo", "com.docker.compose.oneoff": "True"})
    tell(machine, "sales", others=[by_hand])
    live_networks.settle(machine.context())
    assert effects(machine) == []


@pytest.mark.parametrize(
    ("on", "printed", "as_made"),
    [
        (("database", "sales", "demo"), f"postgres {HASH}\n", True),
        (("database", "sales"), f"postgres {HASH}\n", False),
        (("database", "sales", "demo"), "postgres other\n", False),
    ],
)
def test_whether_networks_are_all_that_differs_is_told_without_an_effect(
    machine: Machine, on: tuple[str, ...], printed: str, as_made: bool
) -> None:
    tell(machine, "sales", "demo", running=("sales", "demo"), postgres_on=on)
    hashes(machine, printed)
    assert live_networks.is_as_made(machine.context()) is as_made
    assert effects(machine) == []
