"""rollback, what is kept to go back to, and releases under the other verbs."""

import time
from dataclasses import replace

import pytest

from operations import environment_file
from operations.errors import StackError
from operations.releases import deployment, history, pruning, rollback, standing, tags
from operations.tests.fakes import Machine
from operations.tests.releases_world import COMMIT, World, consistent, make


@pytest.fixture
def world(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return make(machine, monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a release: tags sort by time."""
    real, count = tags.new, iter(range(100))

    def new(commit: str) -> str:
        return f"20261121T1200{next(count):02d}Z-{real(commit).rpartition('-')[2]}"

    monkeypatch.setattr(tags, "new", new)


def release(machine: Machine, world: World, number: int, name: str = "ingestion") -> str:
    world.commit, world.content[name] = f"{number:012x}" + "0" * 28, f"blob-{number}"
    deployment.deploy(machine.context(), [name])
    return in_env(machine, name)


def in_env(machine: Machine, name: str = "ingestion") -> str:
    return environment_file.read(machine.root / ".env", machine.root / ".env.example")[tags.variable(name)]


@pytest.mark.usefixtures("clock")
def test_the_release_before_is_put_in_place_without_a_build(machine: Machine, world: World) -> None:
    first, _ = release(machine, world, 1), release(machine, world, 2)
    world.trace = []
    rollback.rollback(machine.context(), "ingestion")
    assert in_env(machine) == first
    assert world.image("ingestion") == f"prod/ingestion:{first}"
    assert [step for step in world.trace if " build" in step or "-m pytest" in step] == []
    noted = history.read(machine.context().deployment)[-1]
    assert (noted.tag, noted.result, noted.commit) == (first, "rolled back", f"{1:012x}" + "0" * 28)
    consistent(world, machine.context())


@pytest.mark.usefixtures("clock")
def test_a_second_rollback_goes_one_further_and_any_can_be_named(machine: Machine, world: World) -> None:
    first, second, third = (release(machine, world, number) for number in (1, 2, 3))
    rollback.rollback(machine.context(), "ingestion")
    assert in_env(machine) == second
    rollback.rollback(machine.context(), "ingestion")
    assert in_env(machine) == first
    with pytest.raises(StackError, match=f"ingestion has no release before {first}"):
        rollback.rollback(machine.context(), "ingestion")
    rollback.rollback(machine.context(), "ingestion", third)
    assert in_env(machine) == third
    consistent(world, machine.context())


@pytest.mark.usefixtures("clock")
def test_what_was_rolled_back_from_is_none_to_go_back_to(machine: Machine, world: World) -> None:
    good, bad = release(machine, world, 1), release(machine, world, 2)
    rollback.rollback(machine.context(), "ingestion")
    release(machine, world, 3)
    rollback.rollback(machine.context(), "ingestion")
    assert in_env(machine) == good
    # Somebody thinks better of it, and says so.
    rollback.rollback(machine.context(), "ingestion", bad)
    release(machine, world, 4)
    rollback.rollback(machine.context(), "ingestion")
    assert in_env(machine) == bad


@pytest.mark.usefixtures("clock")
def test_what_failed_is_none_to_go_back_to(machine: Machine, world: World) -> None:
    first = release(machine, world, 1)
    world.tests_fail = "1 failed"
    with pytest.raises(StackError, match="the tests of ingestion fail"):
        release(machine, world, 2)
    world.tests_fail = ""
    release(machine, world, 3)
    rollback.rollback(machine.context(), "ingestion")
    assert in_env(machine) == first


@pytest.mark.usefixtures("clock")
def test_an_unknown_tag_lists_those_that_can_be_chosen(machine: Machine, world: World) -> None:
    first, second, third = (release(machine, world, number) for number in (1, 2, 3))
    del world.images[f"prod/ingestion:{first}"]
    with pytest.raises(StackError) as error:
        rollback.rollback(machine.context(), "ingestion", "20200101T000000Z-000000000000")
    assert error.value.expected == f"one of {second}"
    with pytest.raises(StackError, match=f"the image of ingestion {first} is not on this machine any more") as error:
        rollback.rollback(machine.context(), "ingestion", first)
    assert "deploy ingestion --commit 000000000001" in error.value.do
    with pytest.raises(StackError, match=f"ingestion runs {third} already"):
        rollback.rollback(machine.context(), "ingestion", third)
    with pytest.raises(StackError, match="analytics was never deployed"):
        rollback.rollback(machine.context(), "analytics")
    with pytest.raises(StackError, match="there is no location ingestio"):
        rollback.rollback(machine.context(), "ingestio")
    assert in_env(machine) == third


def migrating(world: World) -> None:
    world.heads = {"local": "r1", f"{1:012x}": "r1", f"{2:012x}": "r2"}
    world.tables = {"ingestion": "r1", "analytics": "r1"}


DROPS = "r2 (names): drop_column('airlines', 'names')"


@pytest.mark.usefixtures("clock")
def test_tables_go_back_by_the_newer_image_once_the_older_one_is_loaded(machine: Machine, world: World) -> None:
    migrating(world)
    first, second = release(machine, world, 1), release(machine, world, 2)
    world.trace = []
    rollback.rollback(machine.context(), "ingestion")
    assert (in_env(machine), world.tables["ingestion"]) == (first, "r1")
    words = ("definitions validate", " up ", "GraphQL query Entry", " downgrade ")
    steps = [word for step in world.trace for word in words if word in step]
    # Before the swap the webserver is asked what it had.
    assert steps == ["definitions validate", "GraphQL query Entry", " up ", "GraphQL query Entry", " downgrade "]
    rollback.rollback(machine.context(), "ingestion", second)
    assert (in_env(machine), world.tables["ingestion"]) == (second, "r2")
    consistent(world, machine.context())


@pytest.mark.usefixtures("clock")
def test_without_a_way_down_it_is_refused_with_the_reason(machine: Machine, world: World) -> None:
    migrating(world)
    _, second = release(machine, world, 1), release(machine, world, 2)
    world.no_way = True
    before = world.started()
    with pytest.raises(StackError, match=r"r2 \(names\): it drops"):
        rollback.rollback(machine.context(), "ingestion", accept_loss=True)
    assert (in_env(machine), world.tables["ingestion"], world.started()) == (second, "r2", before)
    consistent(world, machine.context())


@pytest.mark.usefixtures("clock")
def test_a_way_down_that_refuses_when_it_is_gone_leaves_the_newer_one_serving(machine: Machine, world: World) -> None:
    migrating(world)
    _, second = release(machine, world, 1), release(machine, world, 2)
    world.irreversible = True
    with pytest.raises(StackError, match="it drops a column"):
        rollback.rollback(machine.context(), "ingestion")
    assert (in_env(machine), world.tables["ingestion"]) == (second, "r2")
    consistent(world, machine.context())


@pytest.mark.usefixtures("clock")
def test_a_way_down_that_drops_columns_has_to_be_accepted(machine: Machine, world: World) -> None:
    migrating(world)
    first, second = release(machine, world, 1), release(machine, world, 2)
    world.takes = [DROPS]
    before, attempts = world.started(), len(history.read(machine.context().deployment))
    with pytest.raises(StackError) as error:
        rollback.rollback(machine.context(), "ingestion")
    assert DROPS in error.value.found
    assert f"rollback ingestion --to {first} --accept-loss" in error.value.do
    assert (in_env(machine), world.tables["ingestion"], world.started()) == (second, "r2", before)
    assert len(history.read(machine.context().deployment)) == attempts
    rollback.rollback(machine.context(), "ingestion", accept_loss=True)
    assert (in_env(machine), world.tables["ingestion"]) == (first, "r1")
    assert DROPS in machine.err.getvalue()
    # On again loses nothing.
    rollback.rollback(machine.context(), "ingestion", second)


@pytest.mark.usefixtures("clock")
def test_what_the_way_back_takes_has_to_be_known(machine: Machine, world: World) -> None:
    migrating(world)
    release(machine, world, 1), release(machine, world, 2)
    real = world._trial
    world._trial = lambda args: (1, "no such module") if "--interactive" in args else real(args)  # type: ignore[method-assign]
    with pytest.raises(StackError, match="cannot be read: no such module"):
        rollback.rollback(machine.context(), "ingestion", accept_loss=True)
    assert world.tables["ingestion"] == "r2"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("fails", ["validation", "load"])
def test_a_target_that_does_not_load_has_cost_no_row(machine: Machine, world: World, fails: str) -> None:
    migrating(world)
    first, second = release(machine, world, 1), release(machine, world, 2)
    world.takes, world.trace = [DROPS], []
    if fails == "load":
        world.load_error[f"prod/ingestion:{first}"] = "ImportError: its source is gone"
    else:
        world.validation_fails = "ImportError: its source is gone"
    before = world.started()
    with pytest.raises(StackError, match=r"ingestion does not load|the definitions of ingestion do not load"):
        rollback.rollback(machine.context(), "ingestion", accept_loss=True)
    assert (in_env(machine), world.tables["ingestion"]) == (second, "r2")
    assert [step for step in world.trace if " downgrade " in step or " upgrade" in step] == []
    assert f"prod/ingestion:{first}" in world.images
    assert (world.started() == before) == (fails == "validation")
    assert "is lost" not in machine.err.getvalue()
    consistent(world, machine.context())


@pytest.mark.usefixtures("clock")
def test_a_target_that_fails_after_its_tables_went_back_says_what_is_lost(machine: Machine, world: World) -> None:
    migrating(world)
    release(machine, world, 1)
    second = release(machine, world, 2)
    world.takes, world.jobs, world.run_state = [DROPS], {"ingestion": "smoke"}, "FAILURE"
    with pytest.raises(StackError, match="ended as FAILURE"):
        rollback.rollback(machine.context(), "ingestion", accept_loss=True)
    assert (in_env(machine), world.tables["ingestion"]) == (second, "r2")
    told = machine.err.getvalue()
    assert "what was in them is lost where that way had taken it, all else is as it was" in told
    assert DROPS in told
    consistent(world, machine.context())


@pytest.mark.usefixtures("clock")
def test_the_image_of_a_rollback_that_failed_stays(machine: Machine, world: World) -> None:
    first, second = release(machine, world, 1), release(machine, world, 2)
    world.load_error[f"prod/ingestion:{first}"] = "ImportError: its source is gone"
    with pytest.raises(StackError, match="ingestion does not load"):
        rollback.rollback(machine.context(), "ingestion")
    assert f"prod/ingestion:{first}" in world.images
    assert world.image("ingestion") == f"prod/ingestion:{second}"


@pytest.mark.usefixtures("clock")
def test_old_images_go_and_those_in_use_stay(machine: Machine, world: World) -> None:
    made = [release(machine, world, number) for number in range(1, 4)]
    # A queued run and somebody's container hold two of them.
    world.needed = [f"prod/ingestion:{made[0]}"]
    world.containers["a run"] = {"image": f"prod/ingestion:{made[1]}", "server": 0}
    made += [release(machine, world, number) for number in range(4, 4 + pruning.BACK)]
    present = {image.rpartition(":")[2] for image in world.images if image.startswith("prod/ingestion:")}
    assert present == {"local", made[0], made[1], *made[-pruning.BACK :]}
    world.needed = None
    release(machine, world, 20)
    assert made[-pruning.BACK] in {image.rpartition(":")[2] for image in world.images}
    assert "old images are kept" in machine.err.getvalue()
    world.needed = []
    del world.containers["a run"]
    release(machine, world, 21)
    assert f"prod/ingestion:{made[0]}" not in world.images


@pytest.mark.usefixtures("clock")
def test_the_one_in_force_is_kept_however_old(machine: Machine, world: World) -> None:
    first = release(machine, world, 1)
    kept = history.read(machine.context().deployment)[0]
    for number in range(pruning.BACK + 1):
        history.record(machine.context().deployment, replace(kept, tag=f"20261121T1300{number:02d}Z-{'0' * 12}"))
    pruning.prune(machine.context(), ["ingestion"])
    assert f"prod/ingestion:{first}" in world.images


def test_up_builds_what_is_no_release_and_nothing_over_one(machine: Machine, world: World) -> None:
    assert standing.to_build(machine.context().config["services"]) == []
    release(machine, world, 1)
    assert standing.to_build(machine.context().config["services"]) == ["postgres", "analytics"]


def test_check_looks_at_the_checkout_and_not_at_the_release(machine: Machine, world: World) -> None:
    release(machine, world, 1)
    services = machine.context().config["services"]
    assert standing.as_local(services) == {"INGESTION_TAG": "local"}
    assert standing.checkout(services)["ingestion"]["image"] == "prod/ingestion:local"


def test_a_release_whose_image_is_gone_is_built_from_its_commit(machine: Machine, world: World) -> None:
    tag = release(machine, world, 1)
    del world.images[f"prod/ingestion:{tag}"]
    standing.provide(machine.context())
    assert f"prod/ingestion:{tag}" in world.images
    assert [image for image in world.images if "-tests" in image] == []


def test_one_whose_commit_is_unknown_says_what_to_do(machine: Machine, world: World) -> None:
    tag = release(machine, world, 1)
    del world.images[f"prod/ingestion:{tag}"]
    real = world._git
    world._git = lambda args: (128, "unknown") if args[0] == "rev-parse" else real(args)  # type: ignore[method-assign]
    with pytest.raises(StackError, match=f"git has no commit {tags.commit_of(tag)}") as error:
        standing.provide(machine.context())
    assert "INGESTION_TAG=local" in error.value.do


def test_with_all_data_the_releases_are_forgotten(machine: Machine, world: World) -> None:
    release(machine, world, 1)
    standing.forget(machine.context())
    assert in_env(machine) == "local"
    assert history.read(machine.context().deployment) == []


def test_tags_sort_by_time_and_name_the_commit() -> None:
    assert tags.is_release(tags.new(COMMIT))
    assert tags.commit_of(tags.new(COMMIT)) == COMMIT[:12]
    assert not tags.is_release("local")
    assert not tags.is_release("registry/x:20261121T120000Z-000000000000")
