import json
import time
from dataclasses import replace

import pytest

from operations import preflight
from operations.docker import parse_inspect
from operations.errors import StackError
from operations.packages import Distribution, Source
from operations.tests.fakes import Machine, container

GIB = 1024**3


def test_a_machine_with_everything_is_left_alone(machine: Machine) -> None:
    machine.tools_are_there()
    preflight.require_tools(machine.context())
    assert machine.executor.ran("apt-get") == []


def test_a_bare_machine_gets_docker_when_root_asks(machine: Machine) -> None:
    machine.executor.answer("docker", "--version", code=127, stderr="docker is not installed")
    machine.executor.answer("docker", "--version", stdout="Docker version 26.1.5\n")
    machine.executor.answer("version", "--format", "{{.Server.Version}}", stdout="26.1.5\n")
    machine.executor.answer("compose", "version", "--short", stdout="2.26.1-4\n")
    machine.executor.answer("buildx", "version", stdout="v0.13.1\n")
    preflight.require_tools(machine.context())
    names = ["docker.io", "docker-cli", "apparmor", "ca-certificates", "docker-compose", "docker-buildx"]
    assert machine.executor.ran("apt-get")[-1][-len(names) :] == names


def test_compose_v1_on_bookworm_brings_trixies_and_writes_its_pin_once(machine: Machine) -> None:
    machine.tools_are_there()
    machine.executor.forget("compose", "version", "--short")
    machine.executor.answer(
        "compose", "version", "--short", code=1, stderr="docker: 'compose' is not a docker command."
    )
    machine.executor.answer("compose", "version", "--short", stdout="2.26.1-4\n")
    mirror = Source("http://mirror.example/debian", ("bookworm",), ("main",))
    host = replace(machine.host, host=Distribution("debian", "bookworm"), places=(mirror,))
    apt = host.slash / "etc/apt"
    (apt / "preferences.d").mkdir(parents=True)
    (apt / "preferences.d/trixie-for-docker").write_text("mine\n")
    preflight.require_tools(machine.context(host=host))
    assert (apt / "preferences.d/trixie-for-docker").read_text() == "mine\n"
    assert (
        "URIs: http://mirror.example/debian\nSuites: trixie\n"
        in (apt / "sources.list.d/trixie-for-docker.sources").read_text()
    )
    assert machine.executor.ran("apt-get")[-1][-1] == "docker-compose/trixie"


def test_who_is_not_root_is_told_exactly_what_to_install(machine: Machine) -> None:
    machine.executor.answer("docker", "--version", code=127)
    with pytest.raises(StackError) as error:
        preflight.require_tools(machine.context(host=replace(machine.host, root_user=False)))
    assert error.value.found == (
        "Docker Engine: not installed, Docker Compose: not installed, Docker Buildx: not installed"
    )
    assert "sudo ./stack up" in error.value.do
    assert "apt-get install --yes --no-install-recommends --no-remove --option" in error.value.do
    assert "docker.io docker-cli" in error.value.do
    assert machine.executor.ran("apt-get") == []


def test_an_unknown_distribution_is_told_the_versions(machine: Machine) -> None:
    machine.executor.answer("docker", "--version", code=127)
    with pytest.raises(StackError) as error:
        preflight.require_tools(machine.context(host=replace(machine.host, host=Distribution("", ""))))
    assert "Docker Engine 20.10 or newer, Docker Compose 2.26 or newer, Docker Buildx 0.13 or newer" in error.value.do


@pytest.mark.parametrize(
    ("command", "answer", "found"),
    [
        (("version", "--format", "{{.Server.Version}}"), "19.3.1\n", {"engine": "version 19.3"}),
        (("compose", "version", "--short"), "2.24.6+ds1\n", {"compose": "version 2.24"}),
        (("compose", "version", "--short"), "v2.40.0\n", {}),
        (("buildx", "version"), "github.com/docker/buildx 0.12.1 0.12.1-0ubuntu1\n", {"buildx": "version 0.12"}),
    ],
)
def test_versions_that_are_too_old_count_as_missing(
    machine: Machine, command: tuple[str, ...], answer: str, found: dict[str, str]
) -> None:
    machine.tools_are_there()
    machine.executor.forget(*command)
    machine.executor.answer(*command, stdout=answer)
    assert preflight.missing_tools(machine.context()) == found


def test_an_installation_that_brings_too_old_a_version_is_an_error(machine: Machine) -> None:
    machine.tools_are_there()
    machine.executor.forget("compose", "version", "--short")
    machine.executor.answer("compose", "version", "--short", stdout="2.24.6\n")
    with pytest.raises(StackError, match=r"after the installation Docker Compose: version 2\.24"):
        preflight.require_tools(machine.context())


def test_no_permission_and_no_engine_are_told_apart_and_nothing_is_installed(machine: Machine) -> None:
    asked = ("version", "--format", "{{.Server.Version}}")
    machine.tools_are_there()
    for stderr, found, do in (
        (
            "permission denied while trying to connect to the Docker daemon socket",
            "may not use it",
            "usermod -aG docker",
        ),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "does not answer", "systemctl start"),
    ):
        machine.executor.forget(*asked)
        machine.executor.answer(*asked, code=1, stderr=stderr)
        with pytest.raises(StackError) as error:
            preflight.require_tools(machine.context())
        assert found in error.value.found
        assert stderr in error.value.found
        assert do in error.value.do
    assert machine.executor.ran("apt-get") == []


def test_a_client_without_an_engine_gets_the_engine_alone(machine: Machine) -> None:
    asked = ("version", "--format", "{{.Server.Version}}")
    machine.tools_are_there()
    machine.executor.forget(*asked)
    machine.executor.answer(*asked, code=1, stderr="Cannot connect to the Docker daemon")
    context = machine.context(host=replace(machine.host, engine=False))
    assert preflight.missing_tools(context) == {"engine": "not installed"}


def test_an_engine_that_has_just_been_installed_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    machine.tools_are_there()
    machine.executor.answer("docker", "--version", code=127)
    machine.executor.forget("docker", "--version")
    machine.executor.answer("docker", "--version", code=127)
    machine.executor.answer("docker", "--version", stdout="Docker version 26.1.5\n")
    asked = ("version", "--format", "{{.Server.Version}}")
    machine.executor.forget(*asked)
    machine.executor.answer(*asked, code=1, stderr="Cannot connect to the Docker daemon")
    machine.executor.answer(*asked, stdout="26.1.5\n")
    preflight.require_tools(machine.context())
    assert len(pauses) == 1


def test_short_memory_and_disk_are_found_before_the_start(machine: Machine) -> None:
    machine.tools_are_there()
    context = machine.context(host=replace(machine.host, memory=GIB, disk=3 * GIB))
    assert [finding.subject for finding in preflight.resources(context, started=False)] == ["memory", "disk"]


def test_a_deployment_that_runs_needs_less_on_top(machine: Machine) -> None:
    machine.tools_are_there()
    context = machine.context(host=replace(machine.host, memory=GIB, disk=3 * GIB))
    assert preflight.resources(context, started=True) == []


def test_an_engine_elsewhere_is_not_judged_by_this_machines_disk(machine: Machine) -> None:
    machine.tools_are_there()
    assert preflight.resources(machine.context(host=replace(machine.host, disk=None)), started=False) == []


def test_a_busy_port_is_told_with_the_container_that_holds_it(machine: Machine) -> None:
    machine.executor.answer("ps", "--filter", "publish=3000", stdout="somebody-elses-web\n")
    context = machine.context(host=replace(machine.host, taken=(3000,)))
    finding = preflight.port(context, context.deployment.settings(), [])
    assert finding is not None
    assert finding.what == "port 3000 of 127.0.0.1 is taken"
    assert "somebody-elses-web" in finding.why
    assert ".env" in finding.do


def test_our_own_gateway_may_hold_the_port(machine: Machine) -> None:
    context = machine.context(host=replace(machine.host, taken=(3000,)))
    ours = parse_inspect(json.dumps([container("gateway")]))
    assert preflight.port(context, context.deployment.settings(), ours) is None


@pytest.mark.parametrize("value", ["", "0", "65536", "http", "-1", "3000 "])
def test_a_port_that_is_none_is_refused(machine: Machine, value: str) -> None:
    finding = preflight.port(machine.context(), {"GATEWAY_PORT": value}, [])
    assert finding is not None
    assert finding.what == f"GATEWAY_PORT is {value!r}"


def test_findings_stop_a_verb_with_all_that_was_found(machine: Machine) -> None:
    machine.tools_are_there()
    context = machine.context(host=replace(machine.host, memory=GIB, disk=GIB))
    with pytest.raises(StackError, match=r"(?s)1\.0 GiB of memory are free.*1\.0 GiB are free in /var/lib/docker"):
        preflight.refuse(preflight.resources(context, started=False))
