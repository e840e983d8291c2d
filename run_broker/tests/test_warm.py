"""Containers that wait for a run: made in time, given to one run of their location, and never in the way."""

import json
import threading
import uuid
from types import SimpleNamespace

import pytest

from run_broker.keeper import PATIENCE_SECONDS
from run_broker.machine import Processors, available_memory

RUN_ID = "0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"
OTHER = "1c5a6d9f-7a4a-4b50-8d2a-3a8e9c2b0f21"
GIB = 1024**3


@pytest.fixture
def warm(world, engine):
    """A world whose location wants one warm container, and that had a run already."""
    engine.server = next(iter(engine.containers.values()))
    engine.server["Config"]["Labels"]["run.warm"] = "1"
    world.settings = world.settings.model_copy(update={"run_warm_quiet": 0.0001})
    world.restart()
    plenty(world)
    world.create(run_id=OTHER)
    return world


def plenty(world):
    """A machine with room, whatever this one has."""
    world.broker.keeper.free_memory = lambda: 8 * GIB
    world.broker.keeper.idle_processors = lambda: 1.0


def waiting(world):
    return [c for c in world.engine.containers.values() if "-warm-" in c["Name"]]


def ready(world):
    world.look()
    (container,) = waiting(world)
    return container


def told(world, container):
    return [json.loads(line) for text in world.engine.inputs.get(container["Id"], []) for line in text.splitlines()]


def test_after_a_locations_first_run_one_waits_in_the_same_sandbox(warm):
    container = ready(warm)
    cold = next(c for c in warm.engine.containers.values() if OTHER in c["Name"])
    made = warm.engine.creates()[-1]
    assert container["State"]["Status"] == "running"
    assert made["Cmd"] == ["python", "-m", "run_worker", cold["Config"]["Cmd"][-1]]
    assert made["OpenStdin"] is True
    assert made["HostConfig"] == cold["HostConfig"]
    assert made["User"] == cold["Config"]["User"]
    assert set(container["NetworkSettings"]["Networks"]) == set(cold["NetworkSettings"]["Networks"])
    labels = made["Labels"]
    assert labels["run-broker.role"] == "warm"
    assert "dagster/run_id" not in labels
    # `docker compose down --remove-orphans` takes it.
    assert (labels["com.docker.compose.project"], labels["com.docker.compose.oneoff"]) == ("prod", "True")


def test_no_location_has_one_before_its_first_run_or_without_the_label(world, warm):
    del warm.engine.server["Config"]["Labels"]["run.warm"]
    warm.look()
    assert waiting(warm) == []


def test_a_run_gets_the_container_that_waits_and_the_callers_see_no_difference(warm):
    container = ready(warm)
    created = warm.create()
    assert created.json["Id"] == container["Id"]
    assert warm.lines()[-1]["reason"] == "warm"
    shown = warm.ask("GET", f"/containers/{container['Id']}/json", caller="webserver").json
    assert (shown["State"]["Status"], shown["State"]["Running"]) == ("created", False)
    assert shown["State"]["StartedAt"].startswith("0001-")
    assert shown["Config"]["Labels"]["dagster/run_id"] == RUN_ID
    assert warm.ask("POST", f"/containers/{container['Id']}/start").status == 204
    shown = warm.ask("GET", f"/containers/{container['Id']}/json").json
    assert (shown["State"]["Status"], shown["State"]["Running"]) == ("running", True)
    assert (shown["Name"], shown["Config"]["Labels"]["dagster/run_id"]) == (f"/prod-ingestion-run-{RUN_ID}", RUN_ID)
    assert warm.ask("POST", f"/containers/{container['Id']}/start").status == 304
    rows = {row["Labels"]["dagster/run_id"]: row for row in warm.ask("GET", "/containers/json?all=1").json}
    assert rows.keys() == {RUN_ID, OTHER}
    assert warm.ask("POST", f"/containers/{container['Id']}/stop", caller="webserver").status == 204


def test_it_is_told_its_runs_arguments_and_then_to_start(warm, body):
    container = ready(warm)
    warm.create(labels={"dagster/job_name": "yearly"})
    assert told(warm, container) == [{"arguments": body()["Cmd"][-1], "job_name": "yearly"}]
    warm.ask("POST", f"/containers/{container['Id']}/start")
    assert told(warm, container)[1:] == [{"start": True}]


def test_it_serves_one_run_and_another_takes_its_place(warm):
    first = ready(warm)
    warm.create()
    second = ready(warm)
    assert second["Id"] != first["Id"]
    assert len(waiting(warm)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"labels": {"run.memory": "2g"}},
        {"labels": {"run.cpus": "0.5"}},
        {"Image": "prod/ingestion:older"},
        {"Cmd": ["dagster", "api", "execute_run", json.dumps(
            {"__class__": "ExecuteRunArgs", "instance_ref": {"other": "settings"}, "pipeline_run_id": RUN_ID})]},
    ],
    ids=["memory", "processors", "image", "instance"],
)  # fmt: skip
def test_a_run_that_wants_something_else_starts_cold(warm, other):
    warm.engine.add_image("prod/ingestion:older", "ingestion", "sha256:" + "b" * 64)
    container = ready(warm)
    created = warm.create(**other)
    assert (created.status, created.json["Id"] == container["Id"]) == (201, False)
    assert waiting(warm) == [container]


def test_the_tags_of_the_defaults_are_the_defaults(warm):
    container = ready(warm)
    assert warm.create(labels={"run.memory": "1024m", "run.cpus": "1"}).json["Id"] == container["Id"]


@pytest.mark.parametrize("what", ["settings", "image", "gone", "label", "age", "restart"])
def test_what_is_no_longer_right_is_replaced_or_ended(warm, what):
    old = ready(warm)
    server = warm.engine.server
    if what == "settings":
        server["HostConfig"]["PidsLimit"] = 99
    elif what == "image":
        warm.engine.add_image("prod/ingestion:new", "ingestion", "sha256:" + "b" * 64)
        server["Config"]["Image"] = "prod/ingestion:new"
        server["Config"]["Env"][1] = "DAGSTER_CURRENT_IMAGE=prod/ingestion:new"
    elif what == "gone":
        server["State"].update(Status="exited", Running=False)
    elif what == "restart":
        server["State"]["StartedAt"] = "2026-02-01T00:00:00Z"
    elif what == "label":
        server["Config"]["Labels"]["run.warm"] = "0"
    else:
        warm.broker.keeper.clock = lambda: 4e9
    warm.look()
    assert old["Id"] not in warm.engine.containers
    assert len(waiting(warm)) == (0 if what in ("gone", "label") else 1)


def test_a_run_of_the_old_sandbox_never_gets_a_new_container_nor_the_other_way_round(warm):
    container = ready(warm)
    warm.engine.server["HostConfig"]["PidsLimit"] = 99
    created = warm.create().json["Id"]
    assert created != container["Id"]
    assert warm.engine.containers[created]["HostConfig"]["PidsLimit"] == 99


def test_another_broker_takes_over_what_waits(warm):
    container = ready(warm)
    warm.restart()
    plenty(warm)
    warm.look()
    assert waiting(warm) == [container]
    assert warm.create().json["Id"] == container["Id"]
    # And it knows from it what the next one is made from.
    assert ready(warm)["Config"]["Cmd"] == [*container["Config"]["Cmd"][:-1], _arguments()]


def test_another_broker_learns_from_a_run_where_none_waits(warm):
    warm.restart()
    plenty(warm)
    assert ready(warm)["State"]["Running"]


def test_another_broker_learns_of_all_locations_whichever_asks_first(warm, server):
    other = warm.engine.add(server("analytics"))
    other["Config"]["Labels"]["run.warm"] = "1"
    warm.engine.add_image("prod/analytics:local", "analytics", "sha256:" + "b" * 64)
    warm.create(labels={"code-location": "analytics"}, Image="prod/analytics:local")
    warm.restart()
    plenty(warm)
    warm.create(run_id=str(uuid.uuid4()))
    warm.look()
    assert {c["Name"].split("-")[1] for c in waiting(warm)} == {"ingestion", "analytics"}


def test_a_create_tried_again_after_a_restart_gets_the_claimed_one_and_tells_it_again(warm):
    container = ready(warm)
    warm.create()
    warm.restart()
    again = warm.create()
    assert (again.json["Id"], warm.lines()[-1]["reason"]) == (container["Id"], "already-created")
    assert [line["job_name"] for line in told(warm, container)] == ["__ASSET_JOB"] * 2
    assert warm.ask("POST", f"/containers/{container['Id']}/start").status == 204


def test_a_start_whose_name_the_engine_did_not_give_can_be_tried_again(warm):
    container = ready(warm)
    warm.create()
    warm.engine.failures["POST", "/rename"] = (500, "no")
    assert warm.ask("POST", f"/containers/{container['Id']}/start").status == 500
    del warm.engine.failures["POST", "/rename"]
    assert warm.ask("POST", f"/containers/{container['Id']}/start").status == 204
    assert container["Name"] == f"/prod-ingestion-run-{RUN_ID}"


@pytest.mark.parametrize("how", ["exited", "rename", "attach", "gone"])
def test_one_that_is_lost_when_it_is_wanted_costs_the_run_nothing(warm, how):
    container = ready(warm)
    if how == "exited":
        container["State"].update(Status="exited", Running=False)
    elif how == "gone":
        del warm.engine.containers[container["Id"]]
    else:
        warm.engine.failures["POST", f"/{how}"] = (500, "no")
    created = warm.create()
    assert created.status == 201
    assert created.json["Id"] != container["Id"]
    assert warm.engine.containers[created.json["Id"]]["Name"] == f"/prod-ingestion-run-{RUN_ID}"


def test_one_that_died_is_tried_again_later_and_later_and_its_last_words_are_told(warm):
    clock = SimpleNamespace(now=1_800_000_000.0)
    warm.broker.keeper.clock = lambda: clock.now
    pauses = []
    for _ in range(8):
        container = ready(warm)
        container["State"].update(Status="exited", Running=False, ExitCode=1)
        warm.engine.output = b"\x02\x00\x00\x00\x00\x00\x00\x05hello"
        warm.look()
        assert waiting(warm) == []
        began = clock.now
        while not waiting(warm):
            clock.now += 5
            warm.look()
        pauses.append(clock.now - began)
        for each in waiting(warm):
            each["Created"] = "2027-01-15T08:00:00Z"
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600]
    died = [line for line in warm.lines("warm") if line["decision"] == "died"]
    assert (died[0]["exit_code"], died[0]["output"]) == (1, "hello")


def test_a_claimed_one_that_is_never_started_goes(warm):
    container = ready(warm)
    container["Created"] = "2020-01-01T00:00:00Z"
    warm.create()
    warm.broker.reaper.reap()
    assert container["Id"] in warm.engine.containers, "its time begins with the claim"
    warm.broker.reaper._clock = lambda: 4e9
    warm.broker.reaper.reap()
    assert container["Id"] not in warm.engine.containers


def test_its_end_is_kept_as_any_runs(warm):
    container = ready(warm)
    warm.create()
    warm.ask("POST", f"/containers/{container['Id']}/start")
    container["State"].update(Status="exited", Running=False, ExitCode=137, OOMKilled=True)
    warm.look()
    warm.broker.reaper.reap()
    shown = warm.ask("GET", f"/containers/{container['Id']}/json").json
    assert (shown["State"]["ExitCode"], shown["State"]["OOMKilled"]) == (137, True)


@pytest.mark.parametrize("what", ["memory", "most", "burst", "live"])
def test_none_is_made_when_there_is_no_room(warm, what):
    if what == "memory":
        warm.broker.keeper.free_memory = lambda: GIB - 1
    else:
        update = {"most": ("run_warm_max", 0), "burst": ("run_warm_quiet", 60.0), "live": ("run_max_live", 1)}[what]
        warm.settings = warm.settings.model_copy(update=dict([update]))
        warm.restart()
        plenty(warm)
        warm.create(run_id=OTHER)
    warm.look()
    assert waiting(warm) == []


def test_the_runs_of_a_burst_have_the_processors_until_they_have_started(warm):
    warm.broker.keeper.idle_processors = lambda: 0.4
    warm.look()
    assert waiting(warm) == []
    # What goes on for longer is work, and no reason to let the next run wait.
    warm.broker.warm._last -= PATIENCE_SECONDS
    warm.look()
    assert len(waiting(warm)) == 1


def test_what_waits_is_ended_when_the_machine_is_short(warm):
    ready(warm)
    warm.broker.keeper.free_memory = lambda: GIB // 2 - 1
    warm.look()
    assert waiting(warm) == []


def test_an_image_cannot_ask_for_warm_containers(warm):
    warm.engine.images["prod/ingestion:local"]["Config"]["Labels"]["run.warm"] = "1"
    warm.look()
    assert waiting(warm) == []


def test_a_label_that_is_no_number_is_told_to_whoever_launches(warm):
    warm.engine.server["Config"]["Labels"]["run.warm"] = "many"
    answer = warm.create()
    assert (answer.status, answer.json["reason"]) == (409, "bad-location-label")
    assert "run.warm" in answer.json["message"]
    assert "'many' is not a whole number" in answer.json["message"]


@pytest.mark.parametrize("method", ["GET json", "POST start", "POST stop", "GET logs"])
def test_what_waits_is_nothing_that_callers_can_reach(warm, method):
    container = ready(warm)
    verb, what = method.split()
    for name in (container["Id"], container["Name"][1:]):
        answer = warm.ask(verb, f"/containers/{name}/{what}")
        assert (answer.status, answer.json["reason"]) == (404, "no-such-run")
    assert container["State"]["Running"]
    assert all(row["Id"] != container["Id"] for row in warm.ask("GET", "/containers/json?all=1").json)


def test_another_locations_run_never_gets_it(warm, server):
    container = ready(warm)
    warm.engine.add(server("analytics"))
    warm.engine.add_image("prod/analytics:local", "analytics", "sha256:" + "b" * 64)
    created = warm.create(labels={"code-location": "analytics"}, Image="prod/analytics:local")
    assert created.status == 201
    assert waiting(warm) == [container]


def test_a_claimed_run_has_no_second_container_in_another_location(warm, server):
    ready(warm)
    warm.engine.add(server("analytics"))
    warm.engine.add_image("prod/analytics:local", "analytics", "sha256:" + "b" * 64)
    warm.create()
    answer = warm.create(labels={"code-location": "analytics"}, Image="prod/analytics:local")
    assert (answer.status, answer.json["reason"]) == (409, "run-has-container")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("com.docker.compose.oneoff", "False"),
        ("com.docker.compose.project", "other"),
        ("run-broker.role", "run"),
        ("code-location", "analytics"),
    ],
)
def test_a_container_that_only_looks_like_one_is_not_taken_over(warm, key, value):
    container = ready(warm)
    container["Config"]["Labels"][key] = value
    warm.restart()
    plenty(warm)
    created = warm.create()
    assert created.json["Id"] != container["Id"]
    assert container["State"]["Running"]


def test_runs_asked_for_at_once_never_share_one(warm):
    warm.engine.server["Config"]["Labels"]["run.warm"] = "2"
    warm.look()
    assert len(waiting(warm)) == 2
    ids = [str(uuid.uuid4()) for _ in range(3)]
    answers = []
    threads = [threading.Thread(target=lambda i=i: answers.append(warm.create(run_id=i).json["Id"])) for i in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 3
    assert waiting(warm) == []


def test_the_numbers_are_in_the_metrics(warm):
    ready(warm)
    warm.create()
    text = warm.ask("GET", "/metrics").body.decode()
    assert 'run_broker_warm{location="ingestion"} 1' in text
    assert 'run_broker_warm_claims_total{result="cold"} 1' in text
    assert 'run_broker_warm_claims_total{result="warm"} 1' in text
    assert 'run_broker_warm_total{decision="made"} 1' in text


def test_the_machines_free_memory_is_read(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:    42 kB\n")
    assert available_memory(tmp_path / "meminfo") == 42 * 1024


def test_idle_processors_are_read(tmp_path):
    path = tmp_path / "stat"

    def passed(user, idle, iowait):
        path.write_text(f"cpu  {user} 0 0 {idle} {iowait} 0 0 0 9999 0\ncpu0 1\ncpu1 1\nintr 5\n")

    processors = Processors(path)
    passed(1000, 1000, 1000)
    assert processors.idle() == 0
    passed(1100, 1050, 1050)
    assert processors.idle() == 1.0
    # Too short to say anything new.
    passed(1110, 1050, 1050)
    assert processors.idle() == 1.0
    passed(1300, 1050, 1050)
    assert processors.idle() == 0


def _arguments():
    return json.dumps({"__class__": "ExecuteRunArgs", "instance_ref": None, "pipeline_run_id": RUN_ID})
