import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from operations import gateway, prepare, users
from operations.errors import StackError
from operations.tests.fakes import Machine, container
from operations.verbs import up

SECRETS = ("postgres_password", "gateway_token", "gateway_users", "gateway_groups", "ingestion_database_password")


class FakeGateway:
    """A webserver whose locations are as told, one answer after the other."""

    def __init__(self, *answers: list[gateway.Location] | Exception) -> None:
        self._answers = iter(answers)

    def locations(self) -> list[gateway.Location]:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


LOADED = [gateway.Location("ingestion", loading=False)]


@pytest.fixture
def ready(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(users, "ROUNDS", 4)
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway(LOADED))
    machine.tools_are_there()
    tell_config(machine, machine.root / "secrets")
    return machine


def tell_config(machine: Machine, directory: Path, extra: tuple[str, ...] = ()) -> None:
    secrets = {name: {"file": str(directory / name)} for name in (*SECRETS, *extra)}
    machine.executor.forget("config", "--format", "json")
    machine.executor.answer("config", "--format", "json", stdout=json.dumps({"services": {}, "secrets": secrets}))


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


def test_a_bare_checkout_gets_settings_secrets_and_a_first_user(ready: Machine) -> None:
    assert up.up(ready.context()) == 0
    made = content(ready.root / "secrets")
    assert sorted(made) == sorted([*SECRETS, "admin_password"])
    assert len(set(made.values())) == len(made)
    assert made["gateway_users"].startswith("admin $2b$")
    assert made["gateway_groups"] == 'admin "platform"\n'
    assert (ready.root / ".env").read_text() == (ready.root / ".env.example").read_text()


def test_it_ends_with_address_user_and_the_file_of_the_password_but_not_the_password(ready: Machine) -> None:
    up.up(ready.context())
    told = ready.out.getvalue()
    for part in ("Address:  http://127.0.0.1:3000", "User:     admin", "Password: in secrets/admin_password"):
        assert part in told
    assert (ready.root / "secrets/admin_password").read_text() not in told


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({}, False),
        ({"GATEWAY_BIND": ""}, False),
        ({"GATEWAY_BIND": "127.0.0.2"}, False),
        ({"GATEWAY_BIND": "0.0.0.0"}, True),
        ({"GATEWAY_BIND": "10.0.0.4"}, True),
        ({"GATEWAY_BIND": "0.0.0.0", "SITE_ADDRESS": "dagster.example.com"}, False),
    ],
)
def test_passwords_in_plain_text_are_warned_of(ready: Machine, settings: dict[str, str], warned: bool) -> None:
    ready.made_env(**settings)
    up.up(ready.context())
    assert ("plain text" in ready.err.getvalue()) is warned


def test_twice_in_a_row_changes_no_file(ready: Machine) -> None:
    up.up(ready.context())
    before = content(ready.root / "secrets"), (ready.root / ".env").stat().st_mtime_ns
    up.up(ready.context())
    assert (content(ready.root / "secrets"), (ready.root / ".env").stat().st_mtime_ns) == before


def test_steps_come_in_the_order_image_build_start(ready: Machine) -> None:
    up.up(ready.context())
    verbs = [next(word for word in call if word in ("image", "build", "up")) for call in ready.executor.calls
             if {"image", "build", "up"} & set(call)]  # fmt: skip
    assert verbs == ["image", "build", "up"]


@pytest.mark.parametrize("wrong", ["port", "disk", "memory", "docker", "env"])
def test_what_is_wrong_is_told_before_anything_is_changed(ready: Machine, wrong: str) -> None:
    host = ready.host
    if wrong == "port":
        host = replace(host, taken=(3000,))
    elif wrong == "docker":
        ready.executor.answer("docker", "--version", code=127)
        ready.executor.forget("docker", "--version")
        ready.executor.answer("docker", "--version", code=127)
        host = replace(host, root_user=False)
    elif wrong == "env":
        (ready.root / ".env").write_text("GATEWAY_PORT=3000\nGATEWAY_BI")
    else:
        host = replace(host, memory=1000) if wrong == "memory" else replace(host, disk=1000)
    before = sorted(path.name for path in ready.root.iterdir())
    with pytest.raises(StackError):
        up.up(ready.context(host=host))
    assert sorted(path.name for path in ready.root.iterdir()) == before
    assert ready.executor.ran("build") == []
    assert ready.executor.ran("up") == []


def test_another_deployment_gets_secrets_and_a_port_of_its_own(ready: Machine) -> None:
    home = ready.root / ".deployments/branch-7"
    tell_config(ready, home / "secrets")
    assert up.up(ready.context("branch-7", replace(ready.host, taken=(3000, 3955)))) == 0
    text = (home / ".env").read_text()
    assert "GATEWAY_PORT=3956\n" in text
    assert "SECRETS_DIR=./.deployments/branch-7/secrets\n" in text
    assert sorted(content(home / "secrets")) == sorted([*SECRETS, "admin_password"])
    assert not (ready.root / ".env").exists()
    assert "Password: in .deployments/branch-7/secrets/admin_password" in ready.out.getvalue()


def test_users_that_exist_are_left_alone(ready: Machine) -> None:
    directory = ready.root / "secrets"
    directory.mkdir()
    users.Users(directory).write([users.new_user("ana", "battery staple", ["platform"])])
    before = content(directory)
    up.up(ready.context())
    after = content(directory)
    assert {name: after[name] for name in before} == before


def test_secrets_that_come_from_outside_are_made_empty_and_kept_when_filled(ready: Machine) -> None:
    directory = ready.root / "secrets"
    tell_config(ready, directory, extra=("alert_webhook_url", "smtp_password"))
    up.up(ready.context())
    made = content(directory)
    assert (made["alert_webhook_url"], made["smtp_password"]) == ("", "")
    (directory / "alert_webhook_url").write_text("https://hooks.example.org/1")
    up.up(ready.context())
    assert content(directory)["alert_webhook_url"] == "https://hooks.example.org/1"


def test_a_secret_that_lies_elsewhere_is_its_owners_to_make(ready: Machine, tmp_path: Path) -> None:
    secrets = {"postgres_password": {"file": "/run/vault/postgres_password"}}
    ready.executor.forget("config", "--format", "json")
    ready.executor.answer("config", "--format", "json", stdout=json.dumps({"services": {}, "secrets": secrets}))
    with pytest.raises(StackError, match="the secret postgres_password has no file: /run/vault/postgres_password"):
        up.up(ready.context())


def test_a_compose_file_that_compose_refuses_is_told_in_its_words(ready: Machine) -> None:
    ready.executor.forget("config", "--format", "json")
    ready.executor.answer("config", "--format", "json", code=15, stderr="services.x Additional property y")
    with pytest.raises(StackError, match=r"Compose refuses the deployment: services\.x Additional property y"):
        up.up(ready.context())


def test_a_failed_build_shows_what_the_failing_step_said(ready: Machine) -> None:
    output = "#7 [webserver 2/3] RUN install\n#7 0.3 hash mismatch\n#7 ERROR: exit code: 1\nfailed to solve\n"
    ready.executor.answer("build", stderr=output, code=17)
    with pytest.raises(StackError, match=r"(?s)the build failed: .*hash mismatch"):
        up.up(ready.context())
    assert ready.executor.ran("up") == []


def test_the_build_counts_what_it_ran_and_what_it_could_leave(ready: Machine) -> None:
    output = (
        "#1 [internal] load build definition\n#1 DONE 0.0s\n"
        "#5 [webserver 1/2] RUN a\n#5 CACHED\n#6 [webserver 2/2] RUN b\n#6 DONE 2.0s\n#9 DONE 0.1s\n"
    )
    ready.executor.answer("build", stderr=output)
    up.up(ready.context())
    assert "Build images: 2 steps run, 1 unchanged" in ready.out.getvalue()


def test_a_service_that_does_not_become_healthy_is_named_with_its_last_lines(ready: Machine) -> None:
    ready.executor.answer("up", "--detach", code=1, stderr="container prod-daemon-1 is unhealthy")
    ready.executor.answer("ps", "--all", "--quiet", stdout="a\nb\n")
    ready.executor.answer(
        "inspect", stdout=json.dumps([container("webserver"), container("daemon", health="unhealthy")])
    )
    ready.executor.answer("logs", stdout="line 1\nModuleNotFoundError: x\n")
    with pytest.raises(StackError) as error:
        up.up(ready.context())
    assert error.value.found == "daemon is running, unhealthy\n    line 1\n    ModuleNotFoundError: x"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.mark.usefixtures("no_pauses")
def test_it_waits_for_the_gateway_and_for_every_location(ready: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    loading = [*LOADED, gateway.Location("analytics", loading=True)]
    both = [*LOADED, gateway.Location("analytics", loading=False)]
    answers = FakeGateway(gateway.UnreachableError("connection refused"), [], loading, both)
    monkeypatch.setattr(gateway, "as_admin", lambda _: answers)
    assert up.up(ready.context()) == 0
    assert "Load code locations: ingestion, analytics" in ready.out.getvalue()


@pytest.mark.usefixtures("no_pauses")
def test_a_location_that_still_migrates_is_waited_for(ready: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "Could not reach user code server. gRPC Error code: UNAVAILABLE"
    late = [*LOADED, gateway.Location("analytics", loading=False, error=told)]
    both = [*LOADED, gateway.Location("analytics", loading=False)]
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway(late, late, both))
    assert up.up(ready.context()) == 0


def test_one_teams_broken_code_is_told_and_the_rest_is_up(ready: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = gateway.Location("analytics", loading=False, error="Traceback\nModuleNotFoundError: No module named 'x'")
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway([*LOADED, broken]))
    assert up.up(ready.context()) == up.LOCATIONS_BROKEN
    assert "code location analytics does not load:" in ready.err.getvalue()
    assert "ModuleNotFoundError: No module named 'x'" in ready.err.getvalue()
    assert "Address:" in ready.out.getvalue()


def test_an_admin_password_that_no_longer_fits_is_explained(ready: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway(gateway.RefusedError("refused")))
    with pytest.raises(StackError) as error:
        up.up(ready.context())
    assert "user add admin --replace" in error.value.do


def test_settings_of_a_newer_version_are_appended_and_told(ready: Machine) -> None:
    ready.made_env()
    with (ready.root / ".env.example").open("a") as file:
        file.write("\n# New.\nPOSTGRES_MEMORY=1g\n")
    up.up(ready.context())
    assert (ready.root / ".env").read_text().endswith("\n# New.\nPOSTGRES_MEMORY=1g\n")
    assert "Appended new settings to .env: POSTGRES_MEMORY" in ready.out.getvalue()


def test_a_named_deployment_without_a_free_port_is_refused(ready: Machine) -> None:
    everything = tuple(range(prepare.FIRST_PORT, prepare.LAST_PORT + 1))
    with pytest.raises(StackError, match="no port from 3001 to 3999 is free"):
        up.up(ready.context("branch-7", replace(ready.host, taken=everything)))
