"""deploy: what it checks, what it leaves when something fails, and what it never touches."""

import json
import time
from pathlib import Path

import pytest

from operations import cli, environment_file
from operations.context import Context
from operations.errors import StackError
from operations.releases import content, deployment, history, journal, listing, planning, tags
from operations.tests.fakes import FakeHost, Machine
from operations.tests.releases_world import COMMIT, ELSEWHERE, World, consistent, make


@pytest.fixture
def world(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return make(machine, monkeypatch)


def deploy(machine: Machine, *names: str, changed: bool = False) -> Context:
    context = machine.context()
    deployment.deploy(context, names, only_changed=changed)
    return context


def next_commit(world: World, name: str = "ingestion", number: int = 2) -> None:
    world.commit = f"{number:012x}" + "0" * 28
    world.content[name] = f"blob-{number}"


def in_env(machine: Machine, name: str = "ingestion") -> str:
    return environment_file.read(machine.root / ".env", machine.root / ".env.example")[tags.variable(name)]


def test_a_release_is_built_tried_swapped_and_noted_in_this_order(machine: Machine, world: World) -> None:
    context = deploy(machine, "ingestion")
    order = [
        "git -C",
        "compose",
        "build",
        "-m pytest",
        "definitions validate",
        "write",
        "up --detach",
        "set_value",
        "record",
    ]
    at = -1
    for word in order:
        at = next(i for i, step in enumerate(world.trace) if i > at and word in step)
    tag = in_env(machine)
    assert tags.is_release(tag)
    assert tag.endswith(COMMIT[:12])
    assert world.image("ingestion") == f"prod/ingestion:{tag}"
    (noted,) = history.read(context.deployment)
    assert (noted.result, noted.commit, noted.image) == ("deployed", COMMIT, f"sha256:prod/ingestion:{tag}")
    consistent(world, context)


def test_no_other_container_is_touched(machine: Machine, world: World) -> None:
    before = world.started()
    deploy(machine, "ingestion")
    assert {name: when for name, when in world.started().items() if name != "ingestion"} == {
        name: when for name, when in before.items() if name != "ingestion"
    }
    (up,) = [step for step in world.trace if " up " in step]
    assert "--no-deps" in up


def test_images_to_try_it_in_are_gone_afterwards(machine: Machine, world: World) -> None:
    deploy(machine, "ingestion")
    assert [image for image in world.images if "-tests" in image] == []
    assert not (machine.root / ".stack/prod/releasing").exists()


def test_code_under_test_is_the_images_and_has_neither_network_nor_data(machine: Machine, world: World) -> None:
    deploy(machine, "ingestion")
    (tried,) = [step for step in world.trace if "-m pytest" in step]
    assert "--network none" in tried
    assert "--read-only" in tried
    assert ".stack/prod/releasing/tree:/checkout:ro" in tried
    assert "prod/ingestion-tests:" in tried
    (validated,) = [step for step in world.trace if "definitions validate" in step]
    assert "--network none" in validated


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("builds_fail", "the build failed: hash mismatch"),
        ("tests_fail", "the tests of ingestion fail in its new image:\n    hash mismatch"),
        ("validation_fails", "the definitions of ingestion do not load in its new image:\n    hash mismatch"),
    ],
)
def test_what_fails_before_the_swap_touches_nothing(machine: Machine, world: World, attribute: str, words: str) -> None:
    setattr(world, attribute, "hash mismatch")
    images, before = dict(world.images), world.started()
    with pytest.raises(StackError) as error:
        deploy(machine, "ingestion")
    assert words in error.value.found
    assert world.images == images
    assert world.started() == before
    assert in_env(machine) == "local"
    (noted,) = history.read(machine.context().deployment)
    assert noted.result.startswith("failed: the ")
    consistent(world, machine.context())


def spoil(world: World, machine: Machine, how: str) -> None:
    """The next image of ingestion comes up, and is no good."""
    next_commit(world)
    real = world._start

    def start(name: str, image: str) -> None:
        real(name, image)
        if image.endswith(world.commit[:12]):
            if how == "error":
                world.load_error[image] = "ImportError: no module"
            elif how == "crash":
                world.crashes.add(image)
            elif how == "empty":
                world.empty.add(image)

    world._start = start  # type: ignore[method-assign]
    if how == "smoke":
        world.jobs["ingestion"], world.run_state = "smoke", "FAILURE"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("error", "ingestion does not load in the webserver:\n    ImportError: no module"),
        ("crash", "the code server of ingestion is exited with 1:\n    the end of its output"),
        ("empty", "ingestion loads, but defines nothing"),
        ("smoke", "the job smoke of ingestion ended as FAILURE: run run-1"),
    ],
)
def test_what_fails_after_the_swap_is_put_back_with_its_tables(
    machine: Machine, world: World, how: str, words: str
) -> None:
    world.heads = {"local": "r1", COMMIT[:12]: "r1", f"{2:012x}": "r2"}
    world.tables = {"ingestion": "r1", "analytics": "r1"}
    deploy(machine, "ingestion")
    good = in_env(machine)
    spoil(world, machine, how)
    with pytest.raises(StackError) as error:
        deploy(machine, "ingestion")
    assert words in error.value.found
    assert in_env(machine) == good
    assert world.image("ingestion") == f"prod/ingestion:{good}"
    assert world.tables["ingestion"] == "r1"
    assert [each.result.split(":")[0] for each in history.read(machine.context().deployment)] == ["deployed", "failed"]
    assert [image for image in world.images if image.endswith(world.commit[:12])] == []
    consistent(world, machine.context())


def test_a_smoke_job_that_succeeds_is_part_of_the_deployment(machine: Machine, world: World) -> None:
    world.jobs["ingestion"] = "smoke"
    deploy(machine, "ingestion")
    assert "Run the job smoke of ingestion: run run-1 succeeded" in machine.out.getvalue()


def test_tables_are_migrated_by_the_new_image_before_the_swap(machine: Machine, world: World) -> None:
    world.heads, world.tables = {"local": "r1", COMMIT[:12]: "r2"}, {"ingestion": "r1", "analytics": "r1"}
    context = deploy(machine, "ingestion")
    steps = [step for step in world.trace if "platform_kit.migrations upgrade" in step or " up " in step]
    assert ["upgrade" in step for step in steps] == [True, False]
    assert world.tables["ingestion"] == "r2"
    assert history.read(context.deployment)[-1].migration == "r2"


def test_a_location_without_migrations_starts_no_container_for_them(machine: Machine, world: World) -> None:
    deploy(machine, "ingestion")
    assert [step for step in world.trace if "--no-TTY" in step and "migrations" in step] == []


def test_tables_that_cannot_go_back_are_told_and_nothing_is_hidden(machine: Machine, world: World) -> None:
    world.heads, world.tables = {"local": "r1", f"{2:012x}": "r2"}, {"ingestion": "r1", "analytics": "r1"}
    world.irreversible = True
    spoil(world, machine, "error")
    with pytest.raises(StackError, match="cannot be taken back to r1"):
        deploy(machine, "ingestion")
    assert world.image("ingestion") == "prod/ingestion:local"
    # Not forgotten: the next verb tries again, and deploy insists.
    with pytest.raises(StackError, match="an interrupted deployment of ingestion could not be put back"):
        deploy(machine, "ingestion")
    world.irreversible = False
    journal.finish(machine.context(), "user add")
    consistent(world, machine.context())


def test_two_are_built_and_tried_before_one_is_touched(machine: Machine, world: World) -> None:
    deploy(machine, "analytics", "ingestion")
    last_trial = max(i for i, step in enumerate(world.trace) if "definitions validate" in step)
    first_swap = min(i for i, step in enumerate(world.trace) if " up " in step)
    assert last_trial < first_swap
    consistent(world, machine.context())


def test_one_of_several_that_fails_is_taken_back_and_the_rest_is_told(machine: Machine, world: World) -> None:
    world._start = _failing(world, "analytics")  # type: ignore[method-assign]
    with pytest.raises(StackError, match="analytics does not load"):
        deploy(machine, "ingestion", "analytics")
    assert tags.is_release(in_env(machine, "ingestion"))
    assert in_env(machine, "analytics") == "local"
    assert "Deployed before that, and serving: ingestion." in machine.out.getvalue()
    consistent(world, machine.context())


def test_those_behind_one_that_fails_are_not_touched(machine: Machine, world: World) -> None:
    world._start = _failing(world, "ingestion")  # type: ignore[method-assign]
    with pytest.raises(StackError, match="ingestion does not load"):
        deploy(machine, "ingestion", "analytics")
    assert "Not touched: analytics." in machine.out.getvalue()
    assert [image for image in world.images if not image.endswith(":local")] == []
    consistent(world, machine.context())


def _failing(world: World, bad: str):  # type: ignore[no-untyped-def]
    real = world._start

    def start(name: str, image: str) -> None:
        real(name, image)
        if name == bad and not image.endswith(":local"):
            world.load_error[image] = "ImportError: x"

    return start


def test_changed_is_by_content_and_local_counts_as_changed(machine: Machine, world: World) -> None:
    deploy(machine, changed=True)
    assert "ingestion: no release is in force" in machine.out.getvalue()
    deploy(machine, changed=True)
    assert "Nothing to deploy" in machine.out.getvalue()
    before = in_env(machine, "analytics")
    next_commit(world, "ingestion")
    deploy(machine, changed=True)
    assert in_env(machine, "ingestion").endswith(f"{2:012x}")
    assert in_env(machine, "analytics") == before


def test_where_packages_come_from_is_no_content_and_the_base_image_is(machine: Machine, world: World) -> None:
    arguments = {"SERVICE": "code_locations/ingestion", "BASE_IMAGE": "base", "PACKAGE_INDEX": "https://a"}
    service = {"build": {"dockerfile": "Dockerfile", "args": arguments}}

    def of(**changes: str) -> str:
        spec = {"build": {"dockerfile": "Dockerfile", "args": {**arguments, **changes}}}
        return content.of(machine.root, "ingestion", spec, executor=world)

    first = content.of(machine.root, "ingestion", service, executor=world)
    assert of(PACKAGE_INDEX="https://b") == first
    assert of(SYSTEM_PACKAGES="r-base-core") != first
    world.images["base"] = "sha256:another"
    assert of() != first


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("ingestin",), "there is no location ingestin"),
        (("ingestion", "postgres"), "there is no location postgres"),
    ],
)
def test_an_unknown_location_lists_the_legal_ones(
    machine: Machine, world: World, names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(StackError, match=words) as error:
        deploy(machine, *names)
    assert error.value.expected == "one of ingestion, analytics"
    assert world.started() == {name: each["server"] for name, each in world.containers.items()}


def test_a_dirty_tree_names_the_files_that_matter(machine: Machine, world: World) -> None:
    world.dirty = " M code_locations/ingestion/src/ingestion/tables.py\n?? code_locations/ingestion/new.py\n"
    with pytest.raises(StackError) as error:
        deploy(machine, "ingestion")
    assert "code_locations/ingestion/src/ingestion/tables.py" in error.value.found
    (asked,) = [step for step in world.trace if "status --porcelain" in step]
    assert "code_locations/analytics" not in asked
    assert "libraries/redaction/src" in asked


def test_without_git_room_engine_or_deployment_it_is_said(machine: Machine, world: World) -> None:
    real = world._do

    def answers(word: str, code: int, text: str) -> None:
        world._do = lambda args, env: (code, text) if word in " ".join(args) else real(args, env)  # type: ignore[method-assign]

    answers("rev-parse", 128, "fatal: not a git repository")
    with pytest.raises(StackError, match="is no git checkout: fatal: not a git repository"):
        deploy(machine, "ingestion")
    answers("{{.Server.Version}}", 1, "Cannot connect")
    with pytest.raises(StackError, match="the Docker engine does not answer"):
        deploy(machine, "ingestion")
    world._do = real  # type: ignore[method-assign]
    machine.host = FakeHost(slash=machine.root, disk=1 << 30)
    with pytest.raises(StackError, match=r"1\.0 GiB are free"):
        deploy(machine, "ingestion")
    machine.host = FakeHost(slash=machine.root)
    del world.containers["daemon"]
    with pytest.raises(StackError, match="prod is not up: daemon does not run"):
        deploy(machine, "ingestion")
    assert world.image("ingestion") == "prod/ingestion:local"


def test_a_location_that_was_never_started_has_to_be_up_first(machine: Machine, world: World) -> None:
    del world.containers["ingestion"]
    with pytest.raises(StackError, match="ingestion has never been started"):
        deploy(machine, "ingestion")


def test_a_tag_of_the_callers_shell_is_refused(machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_TAG", "local")
    with pytest.raises(StackError, match="INGESTION_TAG is set in the environment of this shell"):
        deploy(machine, "ingestion")


def test_a_block_that_does_not_follow_the_tag_is_refused(
    machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.config

    def fixed(env: dict[str, str], root: str) -> dict[str, object]:
        found = real(env, root)
        found["services"]["ingestion"]["environment"]["DAGSTER_CURRENT_IMAGE"] = "prod/ingestion:local"
        return found

    monkeypatch.setattr(world, "config", fixed)
    with pytest.raises(StackError, match="DAGSTER_CURRENT_IMAGE of ingestion does not follow INGESTION_TAG"):
        deploy(machine, "ingestion")


def test_an_image_from_elsewhere_is_fetched_looked_at_and_swapped(
    machine: Machine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = ELSEWHERE.replace("1", "0")
    world.images |= {former: "sha256:old", ELSEWHERE: "sha256:new"}
    world._start("sales", former)
    (machine.root / "daemon").mkdir(exist_ok=True)
    (machine.root / "daemon/pyproject.toml").write_text('[project]\ndependencies = ["dagster==1.13.27"]\n')
    lacks: list[str] = []
    monkeypatch.setattr("operations.locations.image.shortcomings", lambda *_: lacks)
    context = deploy(machine, "sales")
    assert world.image("sales") == ELSEWHERE
    assert history.read(context.deployment)[-1].tag == ELSEWHERE
    assert "has migrations and starts by" not in machine.err.getvalue()
    assert [step for step in world.trace if " build" in step or "-m pytest" in step] == []
    # The next one fails: the former reference comes back, though no file names it.
    world._start("sales", former)
    world.load_error[ELSEWHERE] = "ImportError: x"
    with pytest.raises(StackError, match="sales does not load"):
        deploy(machine, "sales")
    assert world.image("sales") == former
    # Its command is not ours: nobody knows whether it looks at its tables before it serves.
    world.load_error, world.heads, world.tables = {}, {"local": "r1"}, {"sales": "r1"}
    deploy(machine, "sales")
    assert "has migrations and starts by" in machine.err.getvalue()
    world._start("sales", former)
    lacks.append("it has no entry point")
    with pytest.raises(StackError, match="is no image for sales:\n    it has no entry point"):
        deploy(machine, "sales")


def test_the_list_marks_what_is_in_force(machine: Machine, world: World) -> None:
    deploy(machine, "ingestion")
    first = in_env(machine)
    next_commit(world)
    deploy(machine, "ingestion")
    listing.show(machine.context(), as_json=True)
    told = json.loads(machine.out.getvalue()[machine.out.getvalue().index("[\n") :])
    assert [(each["tag"], each["in_force"]) for each in told] == [(first, False), (in_env(machine), True)]


def test_a_torn_line_of_the_history_costs_no_other(machine: Machine, world: World) -> None:
    context = deploy(machine, "ingestion")
    file = history.file(context.deployment)
    with file.open("a") as handle:
        handle.write('{"location": "ingestion", "ta')
    next_commit(world)
    deploy(machine, "ingestion")
    assert len(history.read(context.deployment)) == 2
    (machine.root / "empty").mkdir()
    assert history.read(machine.context("other").deployment) == []


def test_audit_has_location_tag_and_result(machine: Machine, world: World) -> None:
    context = deploy(machine, "ingestion")
    lines = [json.loads(line) for line in (context.deployment.state / "audit.jsonl").read_text().splitlines()]
    assert [(line["what"], line["about"], line["result"]) for line in lines] == [
        ("release", f"ingestion {in_env(machine)}", "deployed")
    ]


def test_select_keeps_the_order_of_the_file(machine: Machine, world: World) -> None:
    assert planning.select(machine.context(), ["analytics", "ingestion"]) == ["ingestion", "analytics"]


def test_set_value_changes_one_setting_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# A comment.\nA=1\nB='two words'\n")
    path.chmod(0o640)
    environment_file.set_value(path, "A", "3")
    environment_file.set_value(path, "NEW", "x")
    assert path.read_text() == "# A comment.\nA=3\nB='two words'\nNEW=x\n"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deploy"], "nothing is named to deploy"),
        (["deploy", "ingestion", "--from", "/nowhere/at/all"], "/nowhere/at/all is no folder"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_before_anything(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--deployment", "there-is-none", *arguments]) == 1
    assert words in capsys.readouterr().err
