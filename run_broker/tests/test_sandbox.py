"""What a run is made of: its code server's sandbox, confined whatever the code server says."""

import json

import pytest

from run_broker.confinement import security_options
from run_broker.create_request import parse_create
from run_broker.engine_views import Container, Image
from run_broker.identity import Identity
from run_broker.sandbox import plan_run
from run_broker.settings import Settings

IMAGE_ID = "sha256:" + "a" * 64


@pytest.fixture
def plan(server, body):
    """Plans a run of a code server after a change, for a request with labels."""

    def make(spoil=lambda container: None, labels=None, server_image=(), server_image_labels=None, settings=None):
        container = server()
        spoil(container)
        request = parse_create("application/json", json.dumps(body(labels=labels)).encode())
        image = Image.model_validate({"Id": IMAGE_ID, "Config": {"Labels": {"code-location": "ingestion"}}})
        theirs = {"Id": IMAGE_ID, "Config": {"Env": list(server_image), "Labels": server_image_labels}}
        return plan_run(
            request,
            Container.model_validate(container),
            Image.model_validate(theirs),
            image,
            Identity("prod"),
            settings or Settings(),
        )

    return make


def host(**values):
    return lambda container: container["HostConfig"].update(values)


def labels(values):
    return lambda container: container["Config"]["Labels"].update(values)


def test_a_run_has_its_code_servers_sandbox(plan):
    body = plan().body
    config = body["HostConfig"]
    assert body["User"] == "10001:10001"
    assert config["Mounts"] == [
        {"Type": "volume", "Source": "prod_lake-ingestion", "Target": "/lake", "ReadOnly": False},
        {"Type": "bind", "Source": "/srv/secrets/pw", "Target": "/run/secrets/pw", "ReadOnly": True},
    ]
    assert config["Tmpfs"] == {"/tmp": "size=256m,mode=1777"}
    assert config["PidsLimit"] == 256
    assert config["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m"}}
    assert config["ShmSize"] == 67108864
    assert body["StopTimeout"] == 60


def test_a_run_executes_its_command_by_the_images_own_entrypoint(plan):
    body = plan().body
    assert body["Cmd"][:3] == ["dagster", "api", "execute_run"]
    assert json.loads(body["Cmd"][3])["__class__"] == "ExecuteRunArgs"
    assert not body.keys() & {"Entrypoint", "WorkingDir"}


WEAK = {
    "privileged": host(Privileged=True),
    "capabilities": host(CapAdd=["SYS_ADMIN"], CapDrop=None),
    "writable-root": host(ReadonlyRootfs=False),
    "new-privileges": host(SecurityOpt=None),
    "new-privileges-allowed": host(SecurityOpt=["no-new-privileges:false", "no-new-privileges=false"]),
    "no-seccomp": host(
        SecurityOpt=["seccomp:unconfined", "apparmor=unconfined", "label=disable", "systempaths=unconfined"]
    ),
    "host-namespaces": host(PidMode="host", IpcMode="host", UTSMode="host", UsernsMode="host", CgroupnsMode="host"),
    "anothers-namespaces": host(PidMode="container:x", IpcMode="container:x"),
    "shareable-ipc": host(IpcMode="shareable"),
    "devices": host(
        Devices=[{"PathOnHost": "/dev/kmsg"}], DeviceRequests=[{"Count": -1}], DeviceCgroupRules=["a *:* rwm"]
    ),
    "ports": host(PortBindings={"80/tcp": [{"HostPort": "80"}]}, PublishAllPorts=True),
    "restarts": host(RestartPolicy={"Name": "always", "MaximumRetryCount": 0}),
    "auto-remove": host(AutoRemove=True),
    "no-pids-limit": host(PidsLimit=None),
    "unlimited-pids": host(PidsLimit=-1),
    "swap": host(MemorySwap=-1, MemorySwappiness=100),
    "no-oom-kill": host(OomKillDisable=True, OomScoreAdj=-1000),
    "sysctls": host(Sysctls={"kernel.shm_rmid_forced": "0"}),
    "volumes-from": host(VolumesFrom=["prod-postgres-1"]),
    "unmasked-paths": host(MaskedPaths=[], ReadonlyPaths=[]),
    "key-of-the-future": host(Teleport="host"),
}


@pytest.mark.parametrize("spoil", WEAK.values(), ids=WEAK)
def test_confinement_holds_whatever_the_code_server_says(plan, spoil):
    config = plan(spoil).body["HostConfig"]
    assert config["Privileged"] is False
    assert (config["CapAdd"], config["CapDrop"]) == ([], ["ALL"])
    assert config["ReadonlyRootfs"] is True
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert (config["PidMode"], config["UTSMode"], config["IpcMode"]) == ("", "", "private")
    assert config["CgroupnsMode"] == "private"
    assert (config["Devices"], config["PortBindings"], config["PublishAllPorts"]) == ([], {}, False)
    assert config["RestartPolicy"]["Name"] == "no"
    assert config["AutoRemove"] is False
    assert config["OomKillDisable"] is False
    assert config["PidsLimit"] in (256, 512)
    assert config["MemorySwap"] == config["Memory"] == 1024**3
    absent = {
        "UsernsMode", "DeviceRequests", "DeviceCgroupRules", "Sysctls", "VolumesFrom", "MaskedPaths", "ReadonlyPaths",
        "OomScoreAdj", "MemorySwappiness", "Teleport",
    }  # fmt: skip
    assert not config.keys() & absent


def test_a_confining_profile_is_kept():
    assert security_options(["apparmor=strict", "seccomp={}", "no-new-privileges"]) == [
        "apparmor=strict",
        "seccomp={}",
        "no-new-privileges:true",
    ]


def test_a_stronger_runtime_is_kept(plan):
    assert plan(host(Runtime="runsc")).body["HostConfig"]["Runtime"] == "runsc"


def test_volume_options_cannot_name_a_host_path(plan):
    options = {
        "NoCopy": True,
        "DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/"}},
    }
    mounts = [{"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": options}]
    (mount,) = plan(host(Mounts=mounts)).body["HostConfig"]["Mounts"]
    assert mount["VolumeOptions"] == {"NoCopy": True}


def test_a_run_is_on_its_code_servers_networks_without_its_names(plan):
    made = plan()
    assert made.body["HostConfig"]["NetworkMode"] == "prod_ingestion"
    assert made.body["NetworkingConfig"] == {"EndpointsConfig": {"prod_ingestion": {}}}
    assert made.more_networks == ("prod_extra",)
    assert "Hostname" not in made.body


def test_a_code_server_without_network_has_runs_without(plan):
    made = plan(
        lambda c: (c["HostConfig"].update(NetworkMode="none"), c.update(NetworkSettings={"Networks": {"none": {}}}))
    )
    assert made.body["HostConfig"]["NetworkMode"] == "none"
    assert made.networks == frozenset()


def test_a_run_says_its_own_image_and_keeps_its_own_images_environment(plan):
    made = plan(server_image=["PATH=/opt/venv/bin:/bin", "LANG=C"])
    assert made.body["Env"] == [
        "DEPLOYMENT=prod",
        "DAGSTER_CURRENT_IMAGE=prod/ingestion:local",
        "DAGSTER_RUN_JOB_NAME=__ASSET_JOB",
    ]


def test_a_run_ends_by_sigterm_with_time_to_say_so_and_without_a_health_check(plan):
    body = plan(
        lambda c: c["Config"].update(StopTimeout=None, StopSignal="SIGKILL", Healthcheck={"Test": ["CMD", "x"]})
    ).body
    assert (body["StopSignal"], body["StopTimeout"], body["Healthcheck"]) == ("SIGTERM", 30, {"Test": ["NONE"]})


def test_a_run_carries_composes_labels_as_a_one_off_of_the_location(plan):
    found = plan().body["Labels"]
    assert found["com.docker.compose.project"] == "prod"
    assert found["com.docker.compose.service"] == "ingestion"
    assert found["com.docker.compose.oneoff"] == "True"
    assert found["com.docker.compose.config-hash"] == "c" * 64
    # `docker compose exec` takes the lowest number, one-off or not.
    assert int(found["com.docker.compose.container-number"]) > 999_999
    assert found["run-broker.role"] == "run"
    assert found["run-broker.image"] == "prod/ingestion:local"
    # Compose would take a container with this label for one that replaces another.
    assert "com.docker.compose.replace" not in found


def test_a_containers_name_tells_location_and_run(plan):
    assert plan().name == "prod-ingestion-run-0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"


RESOURCES = {
    "the-label": ({}, None, (1024, 1.0)),
    "lowered-by-the-run": ({}, {"run.memory": "256m", "run.cpus": "0.25"}, (256, 0.25)),
    "raised-to-the-cap": ({}, {"run.memory": "2g"}, (2048, 1.0)),
    "fractions": ({"run.cpus.max": "4"}, {"run.memory": "1.5g", "run.cpus": "2.5"}, (1536, 2.5)),
    "binary-units": ({}, {"run.memory": "512MiB"}, (512, 1.0)),
    "default-above-the-cap": ({"run.memory": "3g"}, None, (2048, 1.0)),
}


@pytest.mark.parametrize(("theirs", "asked", "expected"), RESOURCES.values(), ids=RESOURCES)
def test_resources_come_from_the_locations_labels_and_the_runs_within_the_caps(plan, theirs, asked, expected):
    config = plan(labels(theirs), asked).body["HostConfig"]
    assert (config["Memory"] / 1024**2, config["NanoCpus"] / 10**9) == expected


def unlabelled(container):
    for name in ("run.memory", "run.memory.max", "run.cpus"):
        del container["Config"]["Labels"][name]


def test_without_labels_a_run_gets_what_its_code_server_has(plan):
    def spoil(container):
        unlabelled(container)
        container["HostConfig"].update(Memory=300 * 1024**2, NanoCpus=0)

    config = plan(spoil, settings=Settings(run_default_cpus=700_000_000)).body["HostConfig"]
    assert (config["Memory"], config["NanoCpus"]) == (300 * 1024**2, 700_000_000)


def test_an_image_cannot_raise_its_own_cap(plan):
    made = plan(labels({"run.memory.max": "60g"}), server_image_labels={"run.memory.max": "60g"})
    assert made.body["HostConfig"]["Memory"] == 1024**3
    with pytest.raises(Exception, match=r"run\.memory\.max=1g"):
        plan(labels({"run.memory.max": "60g"}), {"run.memory": "2g"}, server_image_labels={"run.memory.max": "60g"})


def test_the_digest_of_a_sandbox_changes_with_it_and_only_then(plan):
    assert plan().digest == plan().digest == plan().body["Labels"]["run-broker.sandbox"]
    assert plan().digest != plan(host(PidsLimit=100)).digest
