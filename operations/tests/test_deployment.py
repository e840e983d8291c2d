from pathlib import Path

import pytest

from operations.deployment import Deployment
from operations.errors import StackError
from operations.tests.fakes import Machine


@pytest.mark.parametrize(
    "name", ["", "Prod", "-x", "_x", "a b", "a/b", "../prod", "a.b", "é", "a\n", "x" * 41, "--help", "$(id)"]
)
def test_a_name_that_compose_refuses_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(StackError, match="is no name for a deployment"):
        Deployment(tmp_path, name)


def test_prod_lives_in_the_root_and_others_beside_it(tmp_path: Path) -> None:
    assert Deployment(tmp_path).env_file == tmp_path / ".env"
    other = Deployment(tmp_path, "branch-7")
    assert other.env_file == tmp_path / ".deployments" / "branch-7" / ".env"
    assert other.stack == "./stack --deployment branch-7"


def test_the_callers_environment_wins_over_env_as_in_compose(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.made_env(GATEWAY_PORT="3005")
    assert machine.context().deployment.settings()["GATEWAY_PORT"] == "3005"
    monkeypatch.setenv("GATEWAY_PORT", "3006")
    assert machine.context().deployment.settings()["GATEWAY_PORT"] == "3006"


def test_a_deployment_that_was_never_started_is_no_deployment(machine: Machine) -> None:
    with pytest.raises(StackError, match="there is no deployment 'branch-7'") as error:
        machine.context("branch-7").deployment.require_env()
    assert error.value.do == "start it with ./stack --deployment branch-7 up"
