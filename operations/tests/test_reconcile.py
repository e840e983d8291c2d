"""reconcile: a machine becomes what its branch says, stays so, and is left as it was by what fails."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from operations import locks
from operations.errors import StackError
from operations.reconcile import reconciling
from operations.tests.fakes import killed
from operations.tests.reconcile_world import LOCATIONS, World, git


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.fixture
def started(world: World) -> World:
    """A machine that is in step."""
    assert world.reconcile().result == "applied"
    return world


def test_the_first_call_brings_everything_up_and_the_second_does_nothing(world: World) -> None:
    assert world.reconcile().result == "applied"
    assert set(world.ids()) == {"postgres", "migrate", "ingestion", "analytics", "webserver", "daemon", "gateway"}
    assert world.records.memory().good == world.first
    before, calls = world.ids(), len(world.engine.effects)
    outcome = world.reconcile()
    assert (outcome.result, outcome.code) == ("in step", 0)
    assert world.ids() == before
    assert [call[7] for call in world.engine.effects[calls:]] == ["fetch"]
    assert "nothing to do" in world.told()


def test_a_deployment_that_up_started_is_taken_over_without_replacing_anything(started: World) -> None:
    before = started.ids()
    started.records._memory.unlink()
    assert started.reconcile().result == "applied"
    assert started.ids() == before


def test_a_service_that_changed_is_replaced_and_no_other(started: World) -> None:
    before = started.ids()
    commit = started.commit("Gateway", **{"gateway/code": "gateway 2\n"})
    assert started.reconcile().result == "applied"
    assert started.head == commit
    assert started.runs("gateway") == "COPY gateway/code /app\ngateway 2\n"
    assert {name for name, each in started.ids().items() if each != before[name]} == {"gateway"}


def test_a_location_that_changed_is_deployed_as_a_release_and_nothing_else_is_touched(started: World) -> None:
    before = started.ids()
    commit = started.commit("Ingestion", **{"code_locations/ingestion/code": "ingestion 2\n"})
    started.reconcile()
    assert started.runs("ingestion") == "ingestion 2\n"
    assert started.setting("INGESTION_TAG").endswith(commit[:12])
    assert started.setting("ANALYTICS_TAG") == "local"
    assert {name for name, each in started.ids().items() if each != before[name]} == {"ingestion"}
    assert started.reconcile().result == "in step"


def test_a_commit_that_changes_nothing_that_runs_replaces_nothing(started: World) -> None:
    before = started.ids()
    commit = started.commit("Notes", **{"docs.md": "text\n"})
    assert started.reconcile().result == "applied"
    assert (started.head, started.ids()) == (commit, before)


def test_what_a_mounted_file_says_counts_though_compose_does_not_see_it(started: World) -> None:
    before = started.ids()
    text = (started.vm / "workspace.yaml").read_text()
    started.commit("Workspace", **{"workspace.yaml": text + "# more\n"})
    started.reconcile()
    assert {name for name, each in started.ids().items() if each != before[name]} == {"webserver"}


def test_access_yaml_reaches_the_webserver_without_a_restart_and_migrate_runs_again(started: World) -> None:
    before, inode = started.ids(), (started.vm / "access.yaml").stat().st_ino
    text = (started.vm / "access.yaml").read_text()
    started.commit("Access", **{"access.yaml": text + "# more\n"})
    started.reconcile()
    assert (started.vm / "access.yaml").read_text() == text + "# more\n"
    assert (started.vm / "access.yaml").stat().st_ino == inode
    assert {name for name, each in started.ids().items() if each != before[name]} == {"migrate"}
    assert started.reconcile().result == "in step"


def elsewhere(world: World, image: str) -> str:
    """The Compose file with a location whose image another repository builds."""
    lines = (world.vm / "docker-compose.yml").read_text().splitlines()
    block = f"  analytics: {{image: {image}, restart: always, labels: {{code-location: analytics}}}}"
    return "\n".join(block if line.startswith("  analytics:") else line for line in lines) + "\n"


def test_a_location_of_another_repository_follows_the_image_that_is_named(started: World) -> None:
    first = "registry/analytics@sha256:1"
    started.engine.images[first], started.engine.sources[first] = first, first
    started.commit("Elsewhere", **{"docker-compose.yml": elsewhere(started, first)})
    started.reconcile()
    before = started.ids()
    started.commit("Newer", **{"docker-compose.yml": elsewhere(started, "registry/analytics@sha256:2")})
    assert started.reconcile().result == "applied"
    assert started.runs("analytics") == "registry/analytics@sha256:2"
    assert {name for name, each in started.ids().items() if each != before[name]} == {"analytics"}
    started.commit("Unfit", **{"docker-compose.yml": elsewhere(started, "registry/unfit@sha256:3")})
    with pytest.raises(StackError, match="is no image for analytics"):
        started.reconcile()
    assert started.runs("analytics") == "registry/analytics@sha256:2"
    assert started.reconcile().code == 1


def test_a_service_that_no_file_names_any_more_ends(started: World) -> None:
    compose = (started.vm / "docker-compose.yml").read_text()
    lines = [line for line in compose.splitlines() if not line.startswith("  gateway:")]
    started.commit("No gateway", **{"docker-compose.yml": "\n".join(lines) + "\n"})
    started.reconcile()
    assert "gateway" not in started.ids()


@pytest.mark.parametrize("drift", ["stopped", "removed", "rebuilt", "edited"])
def test_drift_is_found_told_and_mended(started: World, drift: str) -> None:
    own = started.engine.containers["gateway"]
    if drift == "stopped":
        own["state"], own["exit_code"] = "exited", 137
    elif drift == "removed":
        del started.engine.containers["gateway"]
    elif drift == "rebuilt":
        own["image"] = "sha256:other"
    else:
        own["hash"] = "other"
    before = started.ids()
    plan = reconciling.plan(started.context())
    assert (plan.code, [each.subject for each in plan.differences]) == (2, ["gateway"])
    assert started.ids() == before
    assert started.reconcile().result == "mended"
    assert started.engine.containers["gateway"]["state"] == "running"
    assert {name for name, each in started.ids().items() if each != before.get(name)} <= {"gateway"}
    assert started.reconcile().result == "in step"
    assert started.records.history()[-1]["result"] == "mended"


def test_a_dry_run_tells_what_a_commit_would_bring_and_changes_nothing(started: World) -> None:
    before = started.ids()
    started.commit("Much", **{"gateway/code": "gateway 2\n", "code_locations/ingestion/code": "ingestion 2\n"})
    started.engine.effects.clear()
    outcome = reconciling.plan(started.context())
    assert outcome.code == 2
    assert {each.subject for each in outcome.differences if each.kind == "content"} == {"gateway", "ingestion"}
    assert (started.head, started.ids(), started.records.journal()) == (started.first, before, None)
    assert not [call for call in started.engine.effects if "merge" in call]
    started.reconcile()
    assert reconciling.plan(started.context()).code == 0


# --- commits that fail ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"gateway/code": "UNBUILDABLE\n"}, "the build failed"),
        ({"code_locations/ingestion/code": "FAILING\n"}, "the tests of ingestion fail"),
        ({"INVALID": "x\n"}, "it is wrong"),
        ({"gateway/code": "CRASH\n"}, "gateway is exited with 1"),
        ({"code_locations/ingestion/code": "BROKEN\n"}, "ingestion is broken"),
    ],
)
def test_a_commit_that_fails_leaves_the_last_good_one_serving(
    started: World, files: dict[str, str], found: str
) -> None:
    # Something else changes as well, and must be taken back.
    commit = started.commit("Bad", **files, **{"webserver/code": "webserver 2\n"})
    with pytest.raises(StackError, match=found):
        started.reconcile()
    assert started.head == started.first
    assert started.runs("webserver").endswith("webserver 1\n")
    assert started.runs("gateway").endswith("gateway 1\n")
    assert started.runs("ingestion") == "ingestion 1\n"
    assert started.setting("INGESTION_TAG") == "local"
    assert all(each["state"] == "running" for name, each in started.engine.containers.items() if name != "migrate")
    assert started.records.journal() is None
    assert started.records.memory().failed is not None
    assert started.records.history()[-1] | {"result": "failed", "to": commit} == started.records.history()[-1]


def test_a_commit_that_failed_is_not_tried_again_until_it_is_asked_for(started: World) -> None:
    started.commit("Bad", **{"gateway/code": "CRASH\n"})
    with pytest.raises(StackError):
        started.reconcile()
    before, effects = started.ids(), len(started.engine.effects)
    for _ in range(2):
        outcome = started.reconcile()
        assert (outcome.code, outcome.result) == (1, "failed")
    assert "not tried again by itself" in started.told()
    assert {call[7] for call in started.engine.effects[effects:]} == {"fetch"}
    assert started.ids() == before
    with pytest.raises(StackError, match="exited with 1"):
        started.reconcile(retry=True)
    started.commit("Good", **{"gateway/code": "gateway 3\n"})
    assert started.reconcile().result == "applied"
    assert started.records.memory().failed is None


def test_drift_is_mended_while_a_failed_commit_waits(started: World) -> None:
    started.commit("Bad", **{"gateway/code": "UNBUILDABLE\n"})
    with pytest.raises(StackError):
        started.reconcile()
    started.engine.containers["daemon"]["state"] = "exited"
    assert started.reconcile().code == 1
    assert started.engine.containers["daemon"]["state"] == "running"


def test_a_location_that_was_broken_before_keeps_nobody_from_deploying(started: World) -> None:
    image = started.engine.containers["analytics"]["image"]
    started.engine.sources[image] = "BROKEN"
    started.commit("Gateway", **{"gateway/code": "gateway 2\n"})
    assert started.reconcile().result == "applied"


def test_a_location_that_was_rolled_back_stays_so_until_its_content_changes(started: World) -> None:
    started.commit("Two", **{"code_locations/ingestion/code": "ingestion 2\n"})
    started.reconcile()
    two = started.setting("INGESTION_TAG")
    started.commit("Three", **{"code_locations/ingestion/code": "ingestion 3\n"})
    started.reconcile()
    started.roll_back(started.context(), {"ingestion": two})
    assert started.reconcile().result == "in step"
    started.commit("Another", **{"gateway/code": "gateway 2\n"})
    assert started.reconcile().result == "applied"
    assert started.setting("INGESTION_TAG") == two
    assert "ingestion was rolled back and stays so" in started.told()
    started.commit("Four", **{"code_locations/ingestion/code": "ingestion 4\n"})
    started.reconcile()
    assert started.runs("ingestion") == "ingestion 4\n"


def test_a_location_deployed_by_hand_from_elsewhere_is_drift(started: World) -> None:
    started.commit("Two", **{"code_locations/ingestion/code": "ingestion 2\n"})
    started.reconcile()
    started.deploy(started.context(), ["ingestion"], started.first)
    assert started.reconcile().result == "mended"
    assert started.setting("INGESTION_TAG").endswith(started.head[:12])


# --- settings ----------------------------------------------------------------------------------


def test_settings_of_the_repository_are_carried_over_to_env_and_kept_there(started: World) -> None:
    started.set(RECONCILE_SETTINGS="settings/prod.env")
    started.commit("Settings", **{"settings/prod.env": "GATEWAY_PORT=3100\n"})
    started.reconcile()
    assert started.setting("GATEWAY_PORT") == "3100"
    started.set(GATEWAY_PORT="1")
    assert started.reconcile().result == "mended"
    assert started.setting("GATEWAY_PORT") == "3100"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("RECONCILE_SIGNERS=", "for this machine to say"),
        ("INGESTION_TAG=x", "written by deploy"),
        ("GATEWAY_POTR=1", "is no setting"),
        ("half", "no value"),
    ],
)
def test_settings_that_a_commit_may_not_make_are_refused(started: World, line: str, found: str) -> None:
    started.set(RECONCILE_SETTINGS="settings/prod.env")
    before = (started.vm / ".env").read_text()
    started.commit("Settings", **{"settings/prod.env": f"{line}\n"})
    with pytest.raises(StackError, match=found):
        started.reconcile()
    assert ((started.vm / ".env").read_text(), started.head) == (before, started.first)


def test_a_setting_that_a_commit_takes_away_leaves_env_and_comes_back_with_the_way_back(started: World) -> None:
    example = (
        (started.vm / ".env.example").read_text().replace("\n# Where images come from.\nBASE_IMAGE", "\nBASE_IMAGE")
    )
    without = example.replace("SITE_ADDRESS=\n", "")
    started.commit("Bad and without", **{".env.example": without, "gateway/code": "CRASH\n"})
    before = (started.vm / ".env").read_text()
    with pytest.raises(StackError, match="gateway is exited"):
        started.reconcile()
    assert (started.vm / ".env").read_text() == before
    started.commit("Without", **{"gateway/code": "gateway 2\n"})
    started.reconcile()
    assert "SITE_ADDRESS" not in (started.vm / ".env").read_text()


def test_an_overlay_that_a_commit_takes_away_leaves_env_as_well(started: World) -> None:
    started.commit("Sample", **{"deploy/overlays/sample.yml": "services: {}\n"})
    started.reconcile()
    started.set(COMPOSE_FILE="docker-compose.yml:deploy/overlays/sample.yml")
    started.commit("No sample", **{"deploy/overlays/sample.yml": None})
    assert reconciling.plan(started.context()).code == 2
    assert "which the commit does not have" in started.told()
    assert started.reconcile().result == "applied"
    assert started.setting("COMPOSE_FILE") == "docker-compose.yml"


# --- interrupts ---------------------------------------------------------------------------------


def bad(world: World) -> None:
    world.commit(
        "All",
        **{
            "gateway/code": "gateway 2\n",
            "code_locations/ingestion/code": "ingestion 2\n",
            "access.yaml": (world.author / "access.yaml").read_text() + "# more\n",
            "new.yaml": "x\n",
        },
    )


def effects(first: int, last: int) -> list[Any]:
    """Numbers of effects: each third, and with --all all of them."""
    return [pytest.param(number, marks=[pytest.mark.long] if number % 3 else []) for number in range(first, last + 1)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", effects(1, 17))
def test_an_interrupt_at_any_effect_is_taken_up_by_the_next_call(started: World, number: int, when: str) -> None:
    bad(started)
    started.engine.effects.clear()
    started.engine.interrupt = (number, when)
    try:
        started.reconcile()
        assert len(started.engine.effects) < number
    except KeyboardInterrupt:
        assert len(started.engine.effects) == number
    taken_up(started)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", effects(1, 17))
def test_a_kill_at_any_effect_is_taken_up_by_the_next_call(
    started: World, tmp_path: Path, number: int, when: str
) -> None:
    bad(started)
    started.engine.effects.clear()
    started.engine.interrupt, started.engine.kept = (number, when), tmp_path / "engine"
    if killed(started.reconcile):
        started.engine.outlive()
    else:
        assert number > 12
        # It was done by another process, and this one has not seen it.
        started.engine.kept = None
        return
    taken_up(started)


def taken_up(started: World) -> None:
    """All serve meanwhile, and the next call does the rest."""
    started.engine.interrupt = None
    serving = [each["state"] for name, each in started.engine.containers.items() if name != "migrate"]
    assert serving == ["running"] * 6
    assert started.reconcile().code == 0
    assert started.reconcile().result == "in step"
    assert (started.runs("gateway").endswith("gateway 2\n"), started.runs("ingestion")) == (True, "ingestion 2\n")
    assert started.head == git(started.author, "rev-parse", "HEAD")
    assert git(started.vm, "status", "--porcelain") == ""
    assert started.records.journal() is None


@pytest.mark.parametrize("number", effects(8, 21))
def test_an_interrupt_on_the_way_back_is_taken_up_as_well(started: World, number: int) -> None:
    started.commit("Bad", **{"gateway/code": "CRASH\n", "webserver/code": "webserver 2\n"})
    started.engine.effects.clear()
    started.engine.interrupt = (number, "after")
    with pytest.raises((KeyboardInterrupt, StackError)):
        started.reconcile()
    started.engine.interrupt = None
    try:
        assert started.reconcile().code == 1
    except StackError:
        # It had not failed yet when it was interrupted: it has now.
        assert started.reconcile().code == 1
    assert started.head == started.first
    assert started.runs("webserver").endswith("webserver 1\n")
    assert started.runs("gateway").endswith("gateway 1\n")
    assert started.records.journal() is None


def test_a_half_moved_checkout_is_mended_and_somebodys_edit_is_not(started: World) -> None:
    bad(started)
    started.engine.interrupt = (next_effect(started, "merge"), "before")
    with pytest.raises(KeyboardInterrupt):
        started.reconcile()
    started.engine.interrupt = None
    # Git had written some files, and was killed before it noted the commit.
    git(started.vm, "checkout", "--quiet", "origin/main", "--", "gateway/code", "new.yaml")
    git(started.vm, "reset", "--quiet")
    assert started.reconcile().result == "applied"
    (started.vm / "gateway/code").write_text("mine\n")
    with pytest.raises(StackError, match="differ from its commit: gateway/code"):
        started.reconcile()
    assert (started.vm / "gateway/code").read_text() == "mine\n"


def next_effect(world: World, word: str) -> int:
    """The number of the first effect with this word, found on a machine of the same kind."""
    world.engine.effects.clear()
    for number in range(1, 30):
        world.engine.interrupt = (number, "before")
        world.engine.effects.clear()
        try:
            world.reconcile()
        except KeyboardInterrupt:
            if word in world.engine.effects[-1]:
                world.engine.effects.clear()
                return number
    raise AssertionError(word)


def test_without_the_remote_an_interrupted_attempt_is_finished_all_the_same(started: World) -> None:
    bad(started)
    number = next_effect(started, "up")
    started.engine.interrupt = (number, "before")
    with pytest.raises(KeyboardInterrupt):
        started.reconcile()
    started.engine.interrupt = None
    os.rename(started.remote, started.remote.with_name("away"))
    assert started.reconcile().result == "applied"
    assert "going on with" in started.told()


# --- pause, lock, metrics ---------------------------------------------------------------------------


def test_a_pause_names_who_and_why_and_nothing_happens_until_it_ends(started: World) -> None:
    reconciling.pause(started.context(), "ada", "restoring")
    started.commit("Gateway", **{"gateway/code": "gateway 2\n"})
    calls = len(started.engine.calls)
    outcome = started.reconcile()
    assert (outcome.code, outcome.result, outcome.why) == (4, "paused", "restoring")
    assert len(started.engine.calls) == calls
    assert "paused by ada" in started.told()
    reconciling.resume(started.context())
    assert started.reconcile().result == "applied"
    with pytest.raises(StackError, match="without a reason"):
        reconciling.pause(started.context(), "ada", "  ")


def test_metrics_say_whether_it_is_in_step(started: World) -> None:
    started.reconcile()
    text = started.records.metrics.read_text()
    assert 'stack_reconcile_in_step{deployment="prod"} 1\n' in text
    good = float(text.partition('success_timestamp_seconds{deployment="prod"} ')[2].split()[0])
    started.commit("Bad", **{"gateway/code": "CRASH\n"})
    with pytest.raises(StackError):
        started.reconcile()
    text = started.records.metrics.read_text()
    assert 'stack_reconcile_in_step{deployment="prod"} 0' in text
    assert 'stack_reconcile_failures_total{deployment="prod"} 1\n' in text
    assert f'success_timestamp_seconds{{deployment="prod"}} {good}\n' in text
    assert 'stack_reconcile_paused{deployment="prod"} 0' in text


def test_a_second_call_says_who_holds_the_lock(started: World) -> None:
    bad(started)
    with locks.hold(started.vm / ".stack/prod/lock", "./stack reconcile"):
        done = subprocess.run(["git", "-C", str(started.vm), "status"], capture_output=True, check=False)
        assert done.returncode == 0
        with (
            pytest.raises(StackError, match=r"`./stack reconcile` by .* is at work"),
            locks.hold(started.vm / ".stack/prod/lock", "./stack reconcile"),
        ):
            pass


def test_a_record_that_is_no_json_is_an_error_that_says_what_to_do(started: World) -> None:
    started.records._memory.write_text("{half")
    with pytest.raises(StackError, match=r"reconcile.json is not what reconcile wrote"):
        started.reconcile()


def test_every_location_of_the_model_is_one(started: World) -> None:
    assert set(LOCATIONS) <= set(started.ids())
