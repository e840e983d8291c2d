from pathlib import Path

import pytest

from operations import base_image, preflight
from operations.benchmark import MEASURES
from operations.errors import StackError
from operations.testing import environments
from operations.tests.fakes import Machine
from operations.verbs import bench as verb


@pytest.fixture
def prepared(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the verb has made ready before it measures."""
    done: list[str] = []
    monkeypatch.setattr(preflight, "require_tools", lambda _: done.append("tools"))
    monkeypatch.setattr(base_image, "provide", lambda _: done.append("base image"))

    def environment(*_: object) -> Path:
        done.append("environment")
        return Path("/environment")

    monkeypatch.setattr(environments, "provide", environment)
    return done


def test_it_measures_in_the_environment_of_the_tests(machine: Machine, prepared: list[str]) -> None:
    assert verb.bench(machine.context(), only=["ladder", "memory"], rounds=3, keep=True) == 0
    assert prepared == ["tools", "base image", "environment"]
    program = ["/environment/bin/python", "-m", "tests.performance"]
    assert machine.executor.calls[-1] == [
        *program,
        *("--only", "ladder", "--only", "memory", "--rounds", "3", "--keep"),
    ]


def test_what_could_not_be_measured_is_the_exit_code(machine: Machine, prepared: list[str]) -> None:
    machine.executor.answer("-m", "tests.performance", code=1)
    assert verb.bench(machine.context(), only=[], rounds=10, keep=False) == 1


def test_the_report_alone_needs_no_docker(machine: Machine, prepared: list[str]) -> None:
    verb.bench(machine.context(), only=["report"], rounds=10, keep=False)
    assert prepared == ["environment"]


def test_an_unknown_measurement_is_refused_before_anything_is_done(machine: Machine, prepared: list[str]) -> None:
    with pytest.raises(StackError, match="--only speed: no such measurement") as error:
        verb.bench(machine.context(), only=["ladder", "speed"], rounds=10, keep=False)
    assert all(name in error.value.expected for name in MEASURES)
    assert prepared == []


def test_builds_use_the_settings_of_the_checkout(machine: Machine) -> None:
    handed = verb.variables(machine.context())
    assert handed["BASE_IMAGE"] == "debian:trixie-slim"
    assert "PACKAGE_INDEX" not in handed
