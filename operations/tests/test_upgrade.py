"""An upgrade is refused before it begins, succeeds as a whole, or leaves everything as it was."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from operations.branches import commands as branches
from operations.errors import StackError
from operations.releases import serving
from operations.tests.fakes import FakeHost, Machine, make_release
from operations.tests.releases_world import KilledError
from operations.tests.upgrade_world import HEAD, World, make, settled
from operations.upgrades import ending, gate, journal, release, stamp, upgrading
from operations.upgrades.release import FIRST, Release
from operations.upgrades.upgrading import Wish

NEW = Release("0.2.0", "1.13.27", 17)


@pytest.fixture
def world(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> World:
    return make(machine, monkeypatch)


def agree() -> None:
    """--yes."""


def upgrade(machine: Machine, **wish: object) -> None:
    upgrading.upgrade(machine.context(), Wish(**wish), agree)  # type: ignore[arg-type]


def told(machine: Machine) -> str:
    return machine.out.getvalue() + machine.err.getvalue()


def test_the_new_release_runs_on_the_data_of_the_old(machine: Machine, world: World) -> None:
    upgrade(machine)
    assert world.is_upgraded(), world.trace
    assert settled(machine.context())
    found = stamp.read(machine.context().deployment)
    assert found is not None
    assert (found.release, found.commit) == (NEW, HEAD)
    assert "ADDED=yes" in (machine.root / ".env").read_text()
    upgrade(machine)
    assert "Nothing to upgrade" in told(machine)


def test_a_dry_run_shows_the_plan_and_writes_nothing(machine: Machine, world: World) -> None:
    files = {path: path.read_bytes() for path in machine.root.rglob("*") if path.is_file()}
    upgrade(machine, dry_run=True)
    assert {path: path.read_bytes() for path in machine.root.rglob("*") if path.is_file()} == files
    changing = ("build", "up", "stop", "start", "tag", "rm", "run", "take")
    assert [line for line in world.trace if set(changing) & set(line.split())] == []
    for words in ("0.1.0", "0.2.0", "ADDED", "rename your sales", "GiB", "2 queued", "demo: new image"):
        assert words in told(machine)
    assert "nothing that concerns anybody" not in told(machine)


def edit(file: str, old: str, new: str) -> Callable[[World], None]:
    def spoil(world: World) -> None:
        path = world.root / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return spoil


def having(**values: str) -> Callable[[World], None]:
    def spoil(world: World) -> None:
        for key, value in values.items():
            setattr(world, key, value)

    return spoil


REFUSALS: dict[str, tuple[Callable[[World], None], str]] = {
    "dirty": (having(dirty=" M docker-compose.yml\n"), "not committed"),
    "drift": (having(old_hash="edited"), "no commit of this repository describes"),
    "pin": (
        edit("code_locations/demo/requirements.lock", "1.13.27", "1.12.0"),
        "demo: its requirements.lock has dagster 1.12.0",
    ),
    "backups": (edit(".env", "BACKUPS=on", "BACKUPS=off"), "no backup to return to"),
    "build": (having(build_fails="no package index"), "the build failed"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_before_anything_is_touched(name: str, machine: Machine, world: World) -> None:
    spoil, message = REFUSALS[name]
    spoil(world)
    env = (machine.root / ".env").read_bytes()
    with pytest.raises(StackError, match=message):
        upgrade(machine)
    assert world.is_as_before(env)
    assert journal.read(machine.context().deployment) is None
    assert [name for name in world.images if not name.endswith(":local")] == []


def test_a_deployment_that_is_down_is_refused(machine: Machine, world: World) -> None:
    world.containers["gateway"]["running"] = False
    with pytest.raises(StackError, match="is not up"):
        upgrade(machine)


def test_a_full_disk_is_refused(machine: Machine, world: World) -> None:
    context = machine.context(host=FakeHost(disk=1024**3))
    with pytest.raises(StackError, match=r"1\.0 GiB are free"):
        upgrading.upgrade(context, Wish(), agree)


def test_runs_that_do_not_end_keep_the_old_release(machine: Machine, world: World) -> None:
    world.under_way = 2
    env = (machine.root / ".env").read_bytes()
    with pytest.raises(StackError, match="2 runs are under way"):
        upgrade(machine, wait_minutes=0)
    with pytest.raises(StackError, match="2 runs have not ended"):
        upgrade(machine, wait_minutes=0.0001)
    assert world.is_as_before(env)
    assert settled(machine.context())


@pytest.mark.parametrize("fault", ["start", "load", "rows"])
@pytest.mark.parametrize("major", [False, True])
def test_a_release_that_does_not_prove_itself_is_put_back(
    fault: str, major: bool, machine: Machine, world: World
) -> None:
    if major:
        make_release(machine.root, postgres=18)
    if fault == "start":
        world.unwell = {"id-webserver-new"}
    elif fault == "load":
        world.load_error = {"id-demo-new": "ImportError: revenue"}
    else:
        world.loses_rows = True
    env = (machine.root / ".env").read_bytes()
    with pytest.raises(StackError) as error:
        upgrade(machine)
    assert {"start": "webserver", "load": "ImportError: revenue", "rows": "runs: 3, 7 before"}[
        fault
    ] in error.value.found
    assert "0.1.0 is back and serves" in error.value.do
    assert world.is_as_before(env), (world.files, world.containers)
    assert settled(machine.context())
    assert stamp.read(machine.context().deployment) is None
    assert not world.followed


def test_a_location_that_did_not_load_before_does_not_hold_it_up(machine: Machine, world: World) -> None:
    world.load_error = {f"id-demo-{which}": "ImportError: long known" for which in ("old", "new")}
    upgrade(machine)
    assert world.is_upgraded()


def test_another_major_version_of_postgres_gets_a_new_cluster_and_its_backups_follow(
    machine: Machine, world: World
) -> None:
    make_release(machine.root, postgres=18)
    upgrade(machine)
    assert world.files == {"data": "old in the new format migrated"}
    assert world.followed
    assert stamp.standing(machine.context()) == replace(
        stamp.read(machine.context().deployment) or stamp.Stamp(FIRST), release=Release("0.2.0", "1.13.27", 18)
    )


def prepared(root: Path, monkeypatch: pytest.MonkeyPatch, *, major: bool) -> tuple[Machine, World, bytes]:
    root.mkdir()
    machine = Machine(root)
    world = make(machine, monkeypatch)
    if major:
        make_release(root, postgres=18)
    return machine, world, (root / ".env").read_bytes()


@pytest.mark.parametrize(
    ("major", "kill"),
    [
        pytest.param(False, True, id="same Postgres, kill"),
        pytest.param(True, False, id="next Postgres, interrupt"),
        pytest.param(False, False, id="same Postgres, interrupt", marks=pytest.mark.long),
        pytest.param(True, True, id="next Postgres, kill", marks=pytest.mark.long),
    ],
)
def test_at_every_step(major: bool, kill: bool, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machine, world, _ = prepared(tmp_path / "undisturbed", patch, major=major)
        upgrade(machine)
        steps, trace = world.steps, world.trace
    assert steps > 40
    outcomes = set()
    for step in range(1, steps + 1):
        with pytest.MonkeyPatch.context() as patch:
            machine, world, env = prepared(tmp_path / f"step-{step}", patch, major=major)
            world.interrupt_at(step, kill=kill)
            with pytest.raises((KeyboardInterrupt, KilledError, StackError)):
                upgrade(machine)
            world.interrupt_at(None)
            where = trace[step - 1]
            # What the next call does first.
            ending.recover(machine.context())
            assert settled(machine.context()), where
            done = stamp.read(machine.context().deployment) is not None
            outcomes.add(done)
            if done:
                assert world.is_upgraded(), where
            else:
                assert world.is_as_before(env), (where, world.files, world.containers, world.images)
                # And it can be taken again.
                upgrade(machine)
                assert world.is_upgraded(), where
    assert outcomes == {False, True}


def test_the_way_back_can_be_interrupted_as_well(tmp_path: Path) -> None:
    def failing(root: Path, patch: pytest.MonkeyPatch) -> tuple[Machine, World, bytes]:
        machine, world, env = prepared(root, patch, major=False)
        world.unwell = {"id-webserver-new"}
        return machine, world, env

    with pytest.MonkeyPatch.context() as patch:
        machine, world, _ = failing(tmp_path / "undisturbed", patch)
        with pytest.raises(StackError):
            upgrade(machine)
        steps = world.steps
        first = next(number for number, line in enumerate(world.trace, 1) if "put-back" in line)
    for step in range(first - 3, steps + 1):
        with pytest.MonkeyPatch.context() as patch:
            machine, world, env = failing(tmp_path / f"step-{step}", patch)
            world.interrupt_at(step, kill=True)
            with pytest.raises((KilledError, StackError)):
                upgrade(machine)
            where = world.trace[-1]
            world.interrupt_at(None)
            ending.recover(machine.context())
            assert world.is_as_before(env), where
            assert settled(machine.context()), where


def test_up_takes_it_up_as_well(machine: Machine, world: World) -> None:
    env = (machine.root / ".env").read_bytes()
    world.unwell = {"id-webserver-new"}
    with pytest.raises(StackError):
        upgrade(machine)
    steps = next(number for number, line in enumerate(world.trace, 1) if "put-back" in line)
    world.interrupt_at(steps, kill=True)
    with pytest.raises(KilledError):
        upgrade(machine)
    world.interrupt_at(None)
    ending.recover(machine.context(), starts=True)
    assert world.is_as_before(env)
    with pytest.raises(StackError, match=r"the data of prod is of 0\.1\.0"):
        gate.require(machine.context(), begins=True)


def test_up_starts_what_is_in_force_before_it_settles(machine: Machine, world: World) -> None:
    make_release(machine.root, postgres=18)
    upgrade(machine)
    deployment = machine.context().deployment
    done = journal.Upgrade(FIRST, Release("0.2.0", "1.13.27", 18), "", HEAD, "now", "", journal.DONE, volume="v")
    journal.write(deployment, done)
    stamp.forget(deployment)
    world.containers["backup"]["running"] = False
    with pytest.raises(StackError, match="backup"):
        ending.recover(machine.context())
    ending.recover(machine.context(), starts=True)
    gate.require(machine.context(), begins=True)
    world.containers["backup"]["running"] = True
    ending.recover(machine.context())
    assert settled(machine.context())
    assert world.followed


def test_a_kill_after_the_daemon_was_started_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, world, _ = prepared(tmp_path / "undisturbed", monkeypatch, major=False)
    upgrade(machine)
    starts = next(number for number, line in enumerate(world.trace, 1) if line.endswith(" daemon") and " up " in line)
    machine, world, _ = prepared(tmp_path / "killed", monkeypatch, major=False)
    world.interrupt_at(starts + 1, kill=True)
    with pytest.raises((KilledError, StackError)):
        upgrade(machine)
    world.interrupt_at(None)
    assert world.containers["daemon"]["image"] == "id-daemon-new"
    world.files["data"] = "what came since migrated"
    ending.recover(machine.context())
    assert world.is_upgraded()
    assert world.files == {"data": "what came since migrated"}


def test_a_smoke_job_that_fails_is_told_and_the_release_stays(
    machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise StackError("the job smoke of demo failed", "a success", "look at its log")

    monkeypatch.setattr(serving, "smoke", fails)
    with pytest.raises(StackError, match="smoke of demo failed") as error:
        upgrade(machine)
    assert "is in force" in error.value.do
    assert world.is_upgraded()
    assert settled(machine.context())


def killed_after_the_copy(machine: Machine, world: World) -> None:
    world.unwell = {"id-webserver-new"}
    world.interrupt_at(None)
    with pytest.raises(StackError):
        upgrade(machine)
    copied = next(number for number, line in enumerate(world.trace, 1) if " copy /cluster" in line)
    world.interrupt_at(copied + 1, kill=True)
    with pytest.raises(KilledError):
        upgrade(machine)
    world.interrupt_at(None)


@pytest.mark.parametrize("by", ["a daemon", "nothing"])
def test_what_was_done_since_an_interrupt_is_not_replaced_unasked(by: str, machine: Machine, world: World) -> None:
    killed_after_the_copy(machine, world)
    world.files["data"] = "weeks of work"
    if by == "a daemon":
        world.containers["daemon"]["started"] = "2099-01-01T00:00:00.5Z"
    else:
        del world.containers["daemon"]
    for starts in (False, True):
        with pytest.raises(StackError, match="by other means") as error:
            ending.recover(machine.context(), starts=starts)
        assert world.files["data"] == "weeks of work"
    assert ending.DECIDED in error.value.do
    (machine.context().deployment.state / ending.DECIDED).touch()
    ending.recover(machine.context())
    assert world.files == {"data": "old"}
    assert settled(machine.context())
    assert not (machine.context().deployment.state / ending.DECIDED).exists()


def test_no_file_is_put_back_under_a_server_that_runs(machine: Machine, world: World) -> None:
    killed_after_the_copy(machine, world)
    world.containers["postgres"]["running"], world.stays = True, "postgres"
    world.interrupt_at(None)
    with pytest.raises(StackError, match="still running"):
        ending.recover(machine.context())
    assert not any(" put-back " in line for line in world.trace)
    world.stays = ""
    ending.recover(machine.context())
    assert settled(machine.context())


def test_what_another_upgrade_left_is_told_before_anything_stops(machine: Machine, world: World) -> None:
    env = (machine.root / ".env").read_bytes()
    world.files["before another"] = "old"
    with pytest.raises(StackError, match="did not end"):
        upgrade(machine)
    assert world.files == {"data": "old", "before another": "old"}
    del world.files["before another"]
    assert world.is_as_before(env)


def test_other_verbs_wait_until_it_is_ended(machine: Machine, world: World) -> None:
    world.interrupt_at(None)
    deployment = machine.context().deployment
    journal.write(deployment, journal.Upgrade(FIRST, NEW, "", HEAD, "now", "", phase=journal.CHANGING))
    with pytest.raises(StackError, match="was interrupted"):
        journal.require_none(deployment, "deploy")
    journal.require_none(deployment, "down")
    for verb in ("branch create", "branch delete"):
        with pytest.raises(StackError, match="was interrupted"), branches.held(machine.context(), "7", verb):
            pass


@pytest.mark.parametrize(
    ("state", "checkout", "outcome"),
    [
        (NEW, NEW, ""),
        (NEW, Release("0.2.1", "1.13.29", 17), ""),
        (NEW, Release("0.3.0", "1.13.27", 17), "./stack upgrade"),
        (NEW, Release("0.2.0", "1.14.0", 17), "./stack upgrade"),
        (NEW, Release("0.2.0", "1.13.27", 18), "./stack upgrade"),
        (NEW, Release("0.1.9", "1.13.27", 17), "newer one"),
        (Release("0.2.1", "1.13.27", 17), NEW, "newer one"),
        (NEW, Release("0.2.0", "1.13.26", 17), "newer one"),
        (NEW, Release("0.3.0", "1.13.27", 16), "newer one"),
        (None, NEW, "./stack upgrade"),
    ],
)
def test_a_checkout_has_to_go_with_the_data(
    state: Release | None, checkout: Release, outcome: str, machine: Machine, world: World
) -> None:
    context = machine.context()
    make_release(machine.root, checkout.version, checkout.dagster, checkout.postgres)
    if state:
        stamp.write(context.deployment, state, HEAD)
    if not outcome:
        gate.require(context)
        return
    with pytest.raises(StackError) as error:
        gate.require(context)
    assert outcome in f"{error.value.expected} {error.value.do}"


def test_a_deployment_without_data_is_of_the_release_that_makes_it(machine: Machine) -> None:
    context = machine.context()
    gate.require(context, begins=True)
    found = stamp.read(context.deployment)
    assert found is not None
    assert found.release == release.of(machine.root)


def test_a_tree_of_before_there_were_releases_is_the_first(machine: Machine) -> None:
    (machine.root / "postgres/Dockerfile").write_text("FROM debian\n")
    assert release.of(machine.root) == FIRST


def test_the_notes_have_every_release_and_the_commit_of_each_past_one() -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / release.NOTES).read_text()
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert versions[0] == release.of(root).version
    assert versions[-1] == FIRST.version
    assert versions == sorted(versions, key=release.numbers, reverse=True)
    # The newest has none yet: a commit cannot name itself.
    assert [bool(release.commit_of(root, version)) for version in versions] == [False, *[True] * (len(versions) - 1)]


def test_actions_are_those_of_the_releases_on_the_way(machine: Machine, world: World) -> None:
    asked = release.actions(machine.root, FIRST, NEW)
    assert asked == ["0.2.0: rename your sales to revenue."]
    assert release.actions(machine.root, NEW, NEW) == []
