"""Containers, images and code servers that a run must not come from or lead to."""

import uuid

import pytest

OTHER_IMAGE = "sha256:" + "b" * 64
RUN_ID = "0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"


def run_container(server, **labels):
    """A run's container, as foreign as `labels` make it."""
    container = server()
    container["Name"] = f"/prod-ingestion-run-{RUN_ID}"
    container["Config"]["Labels"] |= {
        "com.docker.compose.oneoff": "True",
        "run-broker.role": "run",
        "dagster/run_id": RUN_ID,
    }
    container["Config"]["Labels"] |= labels
    return container


FOREIGN = {
    "code-server": lambda server: server(),
    "postgres": lambda server: server("postgres"),
    "run-of-another-project": lambda server: run_container(server, **{"com.docker.compose.project": "other"}),
    "run-without-role": lambda server: run_container(server, **{"run-broker.role": ""}),
    "role-from-the-image-of-a-service": lambda server: run_container(server, **{"com.docker.compose.oneoff": "False"}),
    "compose-run-of-an-image-with-our-labels": lambda server: {
        **run_container(server),
        "Name": "/prod-ingestion-run-1a2b3c",
    },
    "run-with-anothers-id": lambda server: run_container(server, **{"dagster/run_id": str(uuid.uuid4())}),
    "run-with-an-id-that-is-none": lambda server: run_container(server, **{"dagster/run_id": "x"}),
    "run-with-a-location-that-is-none": lambda server: run_container(server, **{"code-location": "../x"}),
}
CALLS = {
    "inspect": ("GET", "json", "daemon"),
    "start": ("POST", "start", "daemon"),
    "stop": ("POST", "stop", "daemon"),
    "logs": ("GET", "logs?stdout=1", "daemon"),
    "inspect-by-webserver": ("GET", "json", "webserver"),
    "stop-by-webserver": ("POST", "stop", "webserver"),
}


@pytest.mark.parametrize(("method", "what", "caller"), CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_container_looks_like_none(world, server, make, method, what, caller):
    foreign = world.engine.add(make(server))
    there = world.ask(method, f"/containers/{foreign['Id']}/{what}", caller=caller)
    absent = world.ask(method, f"/containers/{'0' * 64}/{what}", caller=caller)
    assert there.status == absent.status == 404
    assert there.body.replace(foreign["Id"].encode(), b"") == absent.body.replace(b"0" * 64, b"")
    assert world.engine.changes() == []
    assert {line["reason"] for line in world.lines()} == {"no-such-run"}


def test_a_foreign_container_is_not_found_by_its_name_either(world):
    assert world.ask("GET", "/containers/prod-ingestion-1/json").status == 404


@pytest.mark.parametrize(
    "filters", ["", "?all=1", "?filters=%7B%22label%22%3A%5B%22x%22%5D%7D", "?limit=-1&all=1&size=1&since=x"]
)
def test_the_list_holds_runs_of_this_project_only_whatever_is_filtered_for(world, server, filters):
    for make in FOREIGN.values():
        world.engine.add(make(server))
    ours = world.engine.add(run_container(server))
    assert [row["Id"] for row in world.ask("GET", f"/containers/json{filters}").json] == [ours["Id"]]


IMAGES = {
    "of-another-repository": ("prod/analytics:local", "ingestion"),
    "of-a-longer-repository": ("prod/ingestion/x:local", "ingestion"),
    "of-a-shorter-repository": ("ingestion:local", "ingestion"),
    "of-another-project": ("branch-1/ingestion:local", "ingestion"),
    "of-another-registry": ("evil.example/prod/ingestion:1", "ingestion"),
    "of-a-registry-with-that-name": ("prod:5000/ingestion:local", "ingestion"),
    "labelled-for-another": ("prod/ingestion:evil", "analytics"),
    "without-label": ("prod/ingestion:bare", None),
}


@pytest.mark.parametrize(("image", "location"), IMAGES.values(), ids=IMAGES)
def test_an_image_that_is_not_the_locations_is_refused(world, image, location):
    world.engine.add_image(image, location, OTHER_IMAGE)
    answer = world.create(Image=image)
    assert (answer.status, answer.json["reason"]) == (403, "foreign-image")
    assert world.engine.changes() == []


def test_an_absent_image_is_never_a_404_which_would_make_docker_py_pull_it(world):
    answer = world.create(Image="prod/ingestion:gone")
    assert (answer.status, answer.json["reason"]) == (409, "absent-image")
    assert "prod/ingestion:gone is not on this machine" in answer.json["message"]


def test_an_image_that_goes_away_after_the_check_is_not_a_404_either(world):
    world.engine.failures["POST", "/containers/create"] = (404, "No such image: sha256:aaaa")
    assert world.create().status == 409


def test_the_image_is_named_by_its_id_so_that_a_moved_tag_changes_nothing(world):
    world.engine.add_image("prod/ingestion:1", "ingestion", OTHER_IMAGE)
    assert world.create(Image="prod/ingestion:1").status == 201
    assert world.engine.creates()[0]["Image"] == OTHER_IMAGE


def change(**values):
    def apply(container):
        for key, value in values.items():
            group, _, name = key.partition("__")
            if name:
                container[group][name] = value
            else:
                container[group] = value

    return apply


def labels(**values):
    return lambda container: container["Config"]["Labels"].update({k.replace("_", "."): v for k, v in values.items()})


def relabel(name, value):
    return lambda container: container["Config"]["Labels"].update({name: value})


def unlabel(name):
    return lambda container: container["Config"]["Labels"].pop(name)


def mount(kind, source):
    return change(HostConfig__Mounts=[{"Type": kind, "Source": source, "Target": "/x"}])


RESOLVED = {"Type": "bind", "Source": "/run/docker.sock"}
SERVERS = {
    "stopped": (change(State={"Status": "exited", "Running": False}), 503, "no-code-server"),
    "of-another-project": (labels(com_docker_compose_project="other"), 503, "no-code-server"),
    "of-another-service": (labels(com_docker_compose_service="analytics"), 503, "no-code-server"),
    "itself-a-run": (labels(com_docker_compose_oneoff="True"), 503, "no-code-server"),
    "started-by-hand-from-its-image": (unlabel("com.docker.compose.oneoff"), 503, "no-code-server"),
    "marked-as-a-run": (relabel("run-broker.role", "run"), 503, "no-code-server"),
    "labelled-for-another": (relabel("code-location", "analytics"), 503, "no-code-server"),
    "root-by-default": (change(Config__User=""), 409, "root-code-server"),
    "root-by-number": (change(Config__User="0"), 409, "root-code-server"),
    "root-with-group": (change(Config__User="0:10001"), 409, "root-code-server"),
    "root-by-zeros": (change(Config__User="000"), 409, "root-code-server"),
    "root-by-name": (change(Config__User="root"), 409, "root-code-server"),
    "a-name-the-image-may-give-to-root": (change(Config__User="dagster"), 409, "root-code-server"),
    "root-by-overflow": (change(Config__User="4294967296"), 409, "root-code-server"),
    "engine-socket-bound": (change(HostConfig__Binds=["/var/run/docker.sock:/s"]), 409, "forbidden-mount"),
    "engine-socket-read-only": (change(HostConfig__Binds=["/run/docker.sock:/s:ro"]), 409, "forbidden-mount"),
    "engine-socket-by-dots": (change(HostConfig__Binds=["/srv/../var/run/docker.sock:/s"]), 409, "forbidden-mount"),
    "engine-socket-by-double-slash": (change(HostConfig__Binds=["//var//run/docker.sock:/s"]), 409, "forbidden-mount"),
    "engine-sockets-folder": (change(HostConfig__Binds=["/var/run/:/s"]), 409, "forbidden-mount"),
    "whole-host": (change(HostConfig__Binds=["/:/host:ro"]), 409, "forbidden-mount"),
    "engine-data": (change(HostConfig__Binds=["/var/lib/docker/volumes:/v"]), 409, "forbidden-mount"),
    "containerd": (change(HostConfig__Binds=["/run/containerd/containerd.sock:/c"]), 409, "forbidden-mount"),
    "processes-of-the-host": (change(HostConfig__Binds=["/proc:/p"]), 409, "forbidden-mount"),
    "engine-socket-as-mount": (mount("bind", "/var/run/docker.sock"), 409, "forbidden-mount"),
    "engine-socket-elsewhere": (change(HostConfig__Binds=["/opt/engine/docker.sock:/s"]), 409, "forbidden-mount"),
    "engine-socket-folder-elsewhere": (change(HostConfig__Binds=["/opt/engine:/s"]), 409, "forbidden-mount"),
    "engine-socket-as-resolved": (change(Mounts=[RESOLVED]), 409, "forbidden-mount"),
    "broker-socket-volume": (change(HostConfig__Binds=["prod_broker-daemon:/run/broker"]), 409, "forbidden-mount"),
    "broker-socket-volume-as-mount": (mount("volume", "prod_broker-daemon"), 409, "forbidden-mount"),
    "mount-of-an-unknown-type": (mount("npipe", "x"), 409, "forbidden-mount"),
    "host-network": (change(HostConfig__NetworkMode="host"), 409, "forbidden-network"),
    "network-of-another-container": (change(HostConfig__NetworkMode="container:" + "a" * 64), 409, "forbidden-network"),
    "started-from-an-id": (change(Config__Image="sha256:" + "a" * 64), 409, "nameless-image"),
    "unreadable-memory-label": (labels(run_memory="much"), 409, "bad-location-label"),
    "unreadable-cap": (labels(run_cpus_max="all"), 409, "bad-location-label"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "status", "reason"), SERVERS.values(), ids=SERVERS)
def test_a_code_server_that_no_run_may_copy_is_refused(world, spoil, status, reason):
    (container,) = world.engine.containers.values()
    spoil(container)
    answer = world.create()
    assert (answer.status, answer.json["reason"]) == (status, reason), answer.body
    assert world.engine.changes() == []


def test_a_location_that_does_not_exist_is_refused(world):
    assert world.create(labels={"code-location": "postgres"}).json["reason"] == "no-code-server"
