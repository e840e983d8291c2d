"""That `check` tries the migrations of those who have some, where nothing but the trial can be reached."""

import json
from pathlib import Path

import pytest

from operations.checking import migrations
from operations.errors import StackError
from operations.tests.fakes import Machine
from operations.tests.valid_deployment import valid

LOCATIONS = ["ingestion", "analytics"]


@pytest.fixture
def checkout(machine: Machine) -> Machine:
    config = valid()
    config["services"]["postgres"] = {"image": "prod/postgres:local"}
    machine.executor.answer("config", "--format", "json", stdout=json.dumps(config))
    folder = machine.root / "code_locations/ingestion/src/ingestion/migrations"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    return machine


def answered(machine: Machine, told: object, code: int = 0) -> list[str]:
    machine.executor.answer("check", "--json", stdout=f"a line of the code's own\n{json.dumps(told)}\n", code=code)
    return [str(problem) for problem in migrations.check(machine.context(), LOCATIONS)]


def test_models_and_revisions_that_agree_are_no_problem(checkout: Machine) -> None:
    assert answered(checkout, {"location": "ingestion", "problems": []}) == []


def test_the_trial_reaches_an_empty_server_and_nothing_else(checkout: Machine) -> None:
    answered(checkout, {"problems": []})
    (server,) = checkout.executor.ran("docker", "run", "--detach")
    (trial,) = checkout.executor.ran("check", "--json")
    name = server[server.index("--name") + 1]
    assert server[server.index("--network") + 1] == "none"
    assert trial[trial.index("--network") + 1] == f"container:{name}"
    assert {"--read-only", "POSTGRES_HOST=127.0.0.1", "POSTGRES_USER=ingestion", "prod/ingestion:local"} <= set(trial)
    assert not {"--volume", "-v", "--mount", "--publish"} & {*server, *trial}
    assert checkout.executor.calls[-1] == ["docker", "rm", "--force", "--volumes", name]


def test_each_problem_is_told_with_the_place(checkout: Machine) -> None:
    assert answered(checkout, {"problems": ["column x is in the models, not in the database"]}, code=1) == [
        "code_locations/ingestion/src/ingestion/migrations: ingestion: column x is in the models, not in the database"
    ]


def test_revisions_that_do_not_apply_are_a_problem(checkout: Machine) -> None:
    (problem,) = answered(checkout, {"error": "2 revisions have no successor: a, b"}, code=1)
    assert problem.endswith("migrations: ingestion: 2 revisions have no successor: a, b")


def test_a_library_without_migrations_is_a_problem_and_not_a_crash(checkout: Machine) -> None:
    checkout.executor.answer("check", "--json", stderr="No module named platform_kit.migrations\n", code=1)
    (problem,) = migrations.check(checkout.context(), LOCATIONS)
    assert "its migrations cannot be tried: " in problem.message
    assert "No module named platform_kit.migrations" in problem.message


def test_without_migrations_nothing_is_started(checkout: Machine) -> None:
    assert migrations.check(checkout.context(), ["analytics"]) == []
    assert checkout.executor.ran("docker", "run") == []


def test_an_image_from_elsewhere_is_asked_whether_it_has_some(checkout: Machine) -> None:
    config = valid()
    config["services"]["postgres"] = {"image": "prod/postgres:local"}
    del config["services"]["analytics"]["build"]
    checkout.executor.forget("config", "--format", "json")
    checkout.executor.answer("config", "--format", "json", stdout=json.dumps(config))
    checkout.executor.answer("heads", "--json", stdout='{"location": "analytics", "head": "one"}\n')
    checkout.executor.answer("check", "--json", stdout='{"problems": []}\n')
    assert migrations.check(checkout.context(), ["analytics"]) == []
    assert len(checkout.executor.ran("check", "--json")) == 1


def test_the_server_is_removed_when_it_does_not_start(checkout: Machine) -> None:
    checkout.executor.answer("docker", "run", "--detach", stderr="no space left on device\n", code=125)
    with pytest.raises(StackError, match=r"does not start: .*no space left on device"):
        migrations.check(checkout.context(), LOCATIONS)
    assert checkout.executor.calls[-1][:2] == ["docker", "rm"]


def test_with_a_database_elsewhere_the_server_is_built_for_the_trial(checkout: Machine) -> None:
    config = valid()
    config["services"].pop("postgres", None)
    checkout.executor.forget("config", "--format", "json")
    checkout.executor.answer("config", "--format", "json", stdout=json.dumps(config))
    assert answered(checkout, {"problems": []}) == []
    (build,) = checkout.executor.ran("docker", "build")
    assert Path(build[build.index("--file") + 1]) == checkout.root / "postgres/Dockerfile"
    (server,) = checkout.executor.ran("docker", "run", "--detach")
    assert "prod/postgres:check" in server
