"""A run from its creation to its end, retries and restarts of the broker included."""

import threading
import uuid

import pytest

RUN_ID = "0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"
NAME = f"prod-ingestion-run-{RUN_ID}"


def frame(text: bytes) -> bytes:
    return b"\x01\x00\x00\x00" + len(text).to_bytes(4, "big") + text


def test_a_run_is_created_on_all_networks_then_started_inspected_read_and_stopped(world):
    created = world.create()
    assert (created.status, created.json["Warnings"]) == (201, [])
    identifier = created.json["Id"]
    container = world.engine.containers[identifier]
    assert container["Name"] == f"/{NAME}"
    assert set(container["NetworkSettings"]["Networks"]) == {"prod_ingestion", "prod_extra"}
    assert container["State"]["Status"] == "created"
    assert world.ask("POST", f"/v1.41/containers/{identifier}/start").status == 204
    assert world.ask("GET", f"/v1.41/containers/{identifier}/json").json["State"]["Status"] == "running"
    world.engine.output = frame(b"hello\n")
    output = world.ask("GET", f"/v1.41/containers/{identifier}/logs?stderr=1&stdout=1&timestamps=0&follow=0&tail=20")
    assert output.body == frame(b"hello\n")
    assert world.ask("POST", f"/v1.41/containers/{identifier}/stop", caller="webserver").status == 204
    decisions = [(line["route"], line["run"], line["location"], line["decision"]) for line in world.lines()]
    assert decisions == [
        (route, RUN_ID, "ingestion", "allowed") for route in ("create", "start", "inspect", "logs", "stop")
    ]


def test_what_dagster_itself_writes_in_two_cases_is_passed_on(world):
    arguments = '{"__class__": "ExecuteRunArgs", "pipeline_run_id": "%s", "env": {"no_proxy": "a", "NO_PROXY": "b"}}'
    command = ["dagster", "api", "execute_run", arguments % RUN_ID]
    assert world.create(Cmd=command).status == 201
    assert world.engine.creates()[0]["Cmd"] == command


def test_inspect_shows_neither_environment_nor_command_nor_mounts(world):
    identifier = world.create().json["Id"]
    world.engine.containers[identifier]["Config"]["Labels"]["com.docker.compose.project.working_dir"] = "/home/x"
    shown = world.ask("GET", f"/containers/{identifier}/json", caller="webserver")
    assert shown.json.keys() == {"Id", "Name", "Created", "Image", "State", "Config", "HostConfig"}
    assert shown.json["Config"].keys() == {"Image", "Labels", "Tty"}
    assert shown.json["Config"]["Image"] == "prod/ingestion:local"
    assert shown.json["HostConfig"] == {"Memory": 1024**3, "NanoCpus": 10**9}
    for secret in (b"DEPLOYMENT", b"ExecuteRunArgs", b"/run/secrets", b"/home/x", b"prod_extra"):
        assert secret not in shown.body


def test_the_list_shows_no_more(world):
    world.create()
    (row,) = world.ask("GET", "/containers/json?all=1").json
    assert row.keys() == {"Id", "Names", "Image", "ImageID", "Created", "State", "Status", "Labels"}
    assert (row["State"], row["Labels"]["dagster/run_id"]) == ("created", RUN_ID)


def test_a_run_is_found_by_its_containers_name(world):
    identifier = world.create().json["Id"]
    assert world.ask("GET", f"/containers/{NAME}/json").json["Id"] == identifier


def test_a_create_tried_again_after_a_restart_gets_the_container_that_was_never_started(world):
    first = world.create()
    world.restart()
    again = world.create()
    assert (again.status, again.json["Id"]) == (201, first.json["Id"])
    assert len(world.engine.creates()) == 1
    assert world.lines()[-1]["reason"] == "already-created"


def test_a_create_tried_again_joins_the_networks_that_a_crash_left_out(world):
    identifier = world.create().json["Id"]
    del world.engine.containers[identifier]["NetworkSettings"]["Networks"]["prod_extra"]
    world.restart()
    assert world.create().json["Id"] == identifier
    assert "prod_extra" in world.engine.containers[identifier]["NetworkSettings"]["Networks"]


def test_a_create_tried_again_after_the_code_server_changed_gets_the_new_sandbox(world):
    first = world.create().json["Id"]
    server = next(c for c in world.engine.containers.values() if c["Name"] == "/prod-ingestion-1")
    server["HostConfig"]["PidsLimit"] = 99
    second = world.create()
    assert second.status == 201
    assert first not in world.engine.containers
    assert world.engine.containers[second.json["Id"]]["HostConfig"]["PidsLimit"] == 99


@pytest.mark.parametrize("ended", [False, True], ids=["running", "exited"])
def test_a_second_container_for_a_run_that_was_started_is_refused_by_name(world, ended):
    identifier = world.create().json["Id"]
    world.ask("POST", f"/containers/{identifier}/start")
    if ended:
        world.ask("POST", f"/containers/{identifier}/stop")
    answer = world.create()
    assert (answer.status, answer.json["reason"]) == (409, "run-has-container")
    assert NAME in answer.json["message"]
    assert len(world.engine.creates()) == 1


def test_one_run_has_no_second_container_in_another_location(world, server):
    world.engine.add(server("analytics"))
    world.engine.add_image("prod/analytics:local", "analytics", "sha256:" + "b" * 64)
    world.create()
    answer = world.create(labels={"code-location": "analytics"}, Image="prod/analytics:local")
    assert (answer.status, answer.json["reason"]) == (409, "run-has-container")


def test_two_creates_of_one_run_at_once_make_one_container(world):
    gate = world.engine.gates["/containers/create"] = threading.Event()
    answers = []
    first = threading.Thread(target=lambda: answers.append(world.create()))
    first.start()
    assert world.engine.waiting.acquire(timeout=20)
    second = world.create()
    gate.set()
    first.join(20)
    assert (second.status, second.json["reason"]) == (503, "being-created")
    assert answers[0].status == 201
    assert len(world.engine.creates()) == 1


def test_a_container_that_cannot_join_a_network_is_removed(world):
    world.engine.failures["POST", "/networks/prod_extra/connect"] = (404, "network prod_extra not found")
    answer = world.create()
    assert (answer.status, answer.json["reason"]) == (409, "engine-refused")
    assert "prod_extra not found" in answer.json["message"]
    assert [c["Name"] for c in world.engine.containers.values()] == ["/prod-ingestion-1"]


def test_a_start_tried_again_is_harmless(world):
    identifier = world.create().json["Id"]
    assert world.ask("POST", f"/containers/{identifier}/start").status == 204
    assert world.ask("POST", f"/containers/{identifier}/start").status == 304
    assert len([path for _, path, _ in world.engine.changes() if path.endswith("/start")]) == 1


def test_a_run_that_has_ended_is_never_started_again(world):
    identifier = world.create().json["Id"]
    world.ask("POST", f"/containers/{identifier}/start")
    world.ask("POST", f"/containers/{identifier}/stop")
    answer = world.ask("POST", f"/containers/{identifier}/start")
    assert (answer.status, answer.json["reason"]) == (409, "started-before")
    assert world.engine.containers[identifier]["State"]["Status"] == "exited"


@pytest.mark.parametrize(
    "state", [{"Status": "dead"}, {"Status": "removing"}, {"StartedAt": "2026-01-01T00:00:00Z"}], ids=str
)
def test_only_what_create_left_untouched_is_started(world, state):
    identifier = world.create().json["Id"]
    world.engine.containers[identifier]["State"] |= state
    assert world.ask("POST", f"/containers/{identifier}/start").json["reason"] == "started-before"
    assert not [path for _, path, _ in world.engine.changes() if path.endswith("/start")]


@pytest.mark.parametrize(("query", "seconds"), [("", 60), ("?t=0", 0), ("?t=10", 10), ("?t=999", 300)])
def test_a_stop_waits_as_long_as_asked_or_as_the_container_wants(world, query, seconds):
    identifier = world.create().json["Id"]
    world.ask("POST", f"/containers/{identifier}/start")
    assert world.ask("POST", f"/containers/{identifier}/stop{query}").status == 204
    assert world.engine.changes()[-1][1] == f"/v1.41/containers/{identifier}/stop?t={seconds}"


def test_a_stop_of_what_has_ended_is_harmless(world):
    identifier = world.create().json["Id"]
    assert world.ask("POST", f"/containers/{identifier}/stop").status == 304


@pytest.mark.parametrize(
    ("query", "tail"), [("", "1000"), ("?tail=all", "1000"), ("?tail=5", "5"), ("?tail=999999", "1000")]
)
def test_the_number_of_lines_read_is_bounded(world, query, tail):
    identifier = world.create().json["Id"]
    world.ask("GET", f"/containers/{identifier}/logs{query}")
    assert f"tail={tail}" in world.engine.requests[-1][1]


def test_of_a_long_output_the_end_is_kept_in_whole_frames(world):
    identifier = world.create().json["Id"]
    frames = [frame(b"%03d" % number + b"x" * 16_000) for number in range(100)]
    world.engine.output = b"".join(frames)
    body = world.ask("GET", f"/containers/{identifier}/logs?stdout=1").body
    assert 900_000 < len(body) <= 1024 * 1024
    assert body == b"".join(frames)[-len(body) :]
    assert body[:4] == b"\x01\x00\x00\x00"


def test_no_more_runs_live_at_once_than_the_setting_allows(world):
    world.settings = world.settings.model_copy(update={"run_max_live": 2})
    world.restart()
    ids = [str(uuid.uuid4()) for _ in range(3)]
    assert [world.create(run_id=run_id).status for run_id in ids] == [201, 201, 503]
    container = next(c for c in world.engine.containers.values() if ids[0] in c["Name"])
    container["State"]["Status"] = "exited"
    assert world.create(run_id=ids[2]).status == 201


def test_what_the_engine_cannot_do_is_explained_and_not_a_reason_to_try_again(world):
    identifier = world.create().json["Id"]
    world.engine.failures["POST", f"/{identifier}/start"] = (500, "OCI runtime create failed: no such file")
    answer = world.ask("POST", f"/containers/{identifier}/start")
    assert (answer.status, answer.json["reason"]) == (500, "engine-failed")
    assert "OCI runtime create failed" in answer.json["message"]
    assert world.lines()[-1]["decision"] == "failed"


def test_an_engine_that_answers_nonsense_fails_the_request_only(world):
    world.engine.failures["GET", "/containers/json"] = (200, "not a list")
    answer = world.create()
    assert (answer.status, answer.json["reason"]) == (500, "engine-failed")
    world.engine.failures.clear()
    assert world.create().status == 201


@pytest.mark.parametrize(
    ("api", "oldest", "spoken"), [("1.41", "1.12", "1.41"), ("1.52", "1.44", "1.47"), ("1.60", "1.50", "1.50")]
)
def test_the_api_version_is_agreed_with_old_and_new_engines(world, api, oldest, spoken):
    world.engine.versions = {**world.engine.versions, "ApiVersion": api, "MinAPIVersion": oldest}
    assert world.ask("GET", "/version").json["ApiVersion"] == spoken
    world.create()
    assert world.engine.creates()
    assert {path.split("/")[1] for method, path, _ in world.engine.requests if method == "POST"} == {f"v{spoken}"}
