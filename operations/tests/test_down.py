import pytest

from operations.errors import StackError
from operations.tests.fakes import Machine
from operations.verbs import down


@pytest.fixture
def running(machine: Machine) -> Machine:
    machine.tools_are_there()
    machine.made_env()
    (machine.root / "secrets").mkdir()
    (machine.root / "secrets/postgres_password").write_text("x")
    machine.executor.answer("config", "--format", "json", stdout='{"services": {}}')
    return machine


def test_data_and_secrets_stay_unless_told_otherwise(running: Machine) -> None:
    down.down(running.context(), delete_data=False)
    (stopped,) = running.executor.ran("down")
    assert "--remove-orphans" in stopped
    assert "--volumes" not in stopped
    assert (running.root / "secrets/postgres_password").exists()
    assert running.executor.ran("rm") == []


def test_delete_data_leaves_nothing_of_the_project(running: Machine) -> None:
    answer = running.executor.answer
    answer("ps", "--all", "--quiet", stdout="run1\n")
    answer("volume", "ls", stdout="prod_lake-removed\n")
    answer("network", "ls", stdout="prod_removed\n")
    answer("image", "ls", stdout="prod/ingestion:20261121T050000Z-abc\nprod/old:<none>\n")
    down.down(running.context(), delete_data=True)
    assert ["docker", "rm", "--force", "--volumes", "run1"] in running.executor.calls
    assert ["docker", "volume", "rm", "prod_lake-removed"] in running.executor.calls
    assert ["docker", "network", "rm", "prod_removed"] in running.executor.calls
    assert ["docker", "image", "rm", "--force", "prod/ingestion:20261121T050000Z-abc"] in running.executor.calls
    assert not (running.root / "secrets").exists()
    assert (running.root / ".env").exists()


def test_only_what_carries_the_projects_label_is_removed(running: Machine) -> None:
    down.down(running.context(), delete_data=True)
    for listed in (running.executor.ran("volume", "ls"), running.executor.ran("network", "ls")):
        assert listed[0][-1] == "label=com.docker.compose.project=prod"
    images = running.executor.ran("image", "ls")[0]
    assert images[-1] == "prod/*"
    assert "label=com.docker.compose.project=prod" in images
    assert running.executor.ran("prune") == []


def test_secrets_outside_the_checkout_belong_to_somebody_else(
    running: Machine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    vault = tmp_path_factory.mktemp("vault")
    (vault / "postgres_password").write_text("x")
    running.made_env(SECRETS_DIR=str(vault))
    down.down(running.context(), delete_data=True)
    assert (vault / "postgres_password").exists()


@pytest.mark.parametrize("directory", [".", "./code_locations/.."])
def test_a_secrets_directory_that_is_the_checkout_is_not_removed(running: Machine, directory: str) -> None:
    (running.root / "code_locations").mkdir()
    running.made_env(SECRETS_DIR=directory)
    down.down(running.context(), delete_data=True)
    assert (running.root / "docker-compose.yml").exists()


def test_a_secrets_directory_that_holds_somebodys_work_is_not_removed(running: Machine) -> None:
    (running.root / "code_locations/mine/src").mkdir(parents=True)
    running.made_env(SECRETS_DIR="./code_locations")
    with pytest.raises(StackError, match="holds mine beside the secrets"):
        down.down(running.context(), delete_data=True)
    assert (running.root / "code_locations/mine/src").is_dir()


def test_another_deployment_goes_with_its_settings_and_prod_stays(running: Machine) -> None:
    home = running.root / ".deployments/branch-7"
    (home / "secrets").mkdir(parents=True)
    text = (running.root / ".env.example").read_text().replace("./secrets", "./.deployments/branch-7/secrets")
    (home / ".env").write_text(text)
    down.down(running.context("branch-7"), delete_data=True)
    assert not home.exists()
    assert (running.root / "secrets/postgres_password").exists()


def test_an_unknown_deployment_is_refused_before_docker_is_asked(running: Machine) -> None:
    with pytest.raises(StackError, match="there is no deployment 'branch-8'"):
        down.down(running.context("branch-8"), delete_data=True)
    assert running.executor.calls == []


def test_a_run_that_the_broker_removes_meanwhile_does_not_leave_half_of_it(running: Machine) -> None:
    running.executor.answer("down", "--remove-orphans", code=1, stderr="removal of container 1 is already in progress")
    running.executor.answer("down", "--remove-orphans")
    down.down(running.context(), delete_data=True)
    assert len(running.executor.ran("down")) == 2
    assert not (running.root / "secrets").exists()


def test_what_fails_twice_is_told(running: Machine) -> None:
    running.executor.answer("down", "--remove-orphans", code=1, stderr="no")
    with pytest.raises(StackError):
        down.down(running.context(), delete_data=True)
    assert (running.root / "secrets/postgres_password").exists()
