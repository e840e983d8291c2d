"""Hostile create requests: each is refused with its status and no container comes of it."""

import json

import pytest

CREATE = "/v1.41/containers/create"
RUN_ID = "0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"
OTHER_RUN = "11111111-2222-3333-4444-555555555555"


def arguments(**changes):
    return json.dumps({"__class__": "ExecuteRunArgs", "instance_ref": None, "pipeline_run_id": RUN_ID, **changes})


def command(*words):
    return ["dagster", "api", "execute_run", *words]


# What a caller may not choose. Each alone would lead out of the sandbox or into another's.
POWER = {
    "entrypoint": {"Entrypoint": ["/bin/sh", "-c"]},
    "entrypoint-as-string": {"Entrypoint": "/bin/sh"},
    "user-root": {"User": "0"},
    "working-directory": {"WorkingDir": "/proc/1/cwd"},
    "volumes": {"Volumes": {"/var/run": {}}},
    "exposed-ports": {"ExposedPorts": {"22/tcp": {}}},
    "health-check-command": {"Healthcheck": {"Test": ["CMD-SHELL", "id"]}},
    "shell": {"Shell": ["/bin/sh"]},
    "on-build": {"OnBuild": ["RUN id"]},
    "stop-signal": {"StopSignal": "SIGSTOP"},
    "mac-address": {"MacAddress": "02:42:ac:11:00:02"},
    "runtime": {"Runtime": "evil"},
    "networking-config": {"NetworkingConfig": {"EndpointsConfig": {"prod_edge": {"Aliases": ["webserver-edge"]}}}},
    "unknown-future-key": {"Checkpoint": "x"},
}
HOST_POWER = {
    "binds": {"Binds": ["/:/host"]},
    "mounts": {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]},
    "volumes-from": {"VolumesFrom": ["prod-postgres-1"]},
    "privileged": {"Privileged": True},
    "privileged-as-number": {"Privileged": 1},
    "privileged-as-string": {"Privileged": "false"},
    "cap-add": {"CapAdd": ["SYS_ADMIN"]},
    "devices": {"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]},
    "device-requests": {"DeviceRequests": [{"Count": -1}]},
    "device-cgroup-rules": {"DeviceCgroupRules": ["a *:* rwm"]},
    "pid-mode-host": {"PidMode": "host"},
    "ipc-mode-host": {"IpcMode": "host"},
    "uts-mode-host": {"UTSMode": "host"},
    "userns-mode-host": {"UsernsMode": "host"},
    "cgroupns-mode-host": {"CgroupnsMode": "host"},
    "network-mode-host": {"NetworkMode": "host"},
    "network-mode-of-another-container": {"NetworkMode": "container:prod-postgres-1"},
    "network-mode-of-another-location": {"NetworkMode": "prod_analytics"},
    "security-opt": {"SecurityOpt": ["seccomp=unconfined"]},
    "security-opt-new-privileges": {"SecurityOpt": ["no-new-privileges=false"]},
    "published-ports": {"PortBindings": {"80/tcp": [{"HostPort": "80"}]}},
    "publish-all-ports": {"PublishAllPorts": True},
    "restart-policy": {"RestartPolicy": {"Name": "always"}},
    "auto-remove": {"AutoRemove": True},
    "sysctls": {"Sysctls": {"net.ipv4.ip_forward": "1"}},
    "extra-hosts": {"ExtraHosts": ["postgres:10.0.0.1"]},
    "dns": {"Dns": ["10.0.0.1"]},
    "links": {"Links": ["prod-postgres-1:db"]},
    "group-add": {"GroupAdd": ["docker"]},
    "memory": {"Memory": 2**40},
    "memory-swap-unlimited": {"MemorySwap": -1},
    "nano-cpus": {"NanoCpus": 64 * 10**9},
    "cpuset": {"CpusetCpus": "0-63"},
    "oom-score": {"OomScoreAdj": -1000},
    "oom-kill-disable": {"OomKillDisable": True},
    "pids-limit": {"PidsLimit": -1},
    "ulimits": {"Ulimits": [{"Name": "nproc", "Soft": 10**6, "Hard": 10**6}]},
    "cgroup-parent": {"CgroupParent": "/"},
    "read-write-root": {"ReadonlyPaths": ["x"]},
    "masked-paths": {"MaskedPaths": ["x"]},
    "tmpfs": {"Tmpfs": {"/etc": ""}},
    "log-driver": {"LogConfig": {"Type": "syslog", "Config": {"syslog-address": "tcp://evil"}}},
    "runtime": {"Runtime": "evil"},
    "container-id-file": {"ContainerIDFile": "/etc/x"},
    "storage-opt": {"StorageOpt": {"size": "1T"}},
    "volume-driver": {"VolumeDriver": "evil"},
    "unknown-future-key": {"Teleport": "host"},
}


def refused(world, answer, status, reason):
    assert (answer.status, answer.json["reason"]) == (status, reason), answer.body
    assert world.engine.changes() == []
    (line,) = world.lines()
    assert (line["decision"], line["reason"], line["route"]) == ("refused", reason, "create")


@pytest.mark.parametrize("changes", POWER.values(), ids=POWER)
def test_a_caller_who_asks_for_power_is_refused(world, changes):
    refused(world, world.create(**changes), 403, "asks-for-power")


@pytest.mark.parametrize("changes", HOST_POWER.values(), ids=HOST_POWER)
def test_a_caller_who_asks_for_power_over_the_host_is_refused(world, changes):
    refused(world, world.create(HostConfig=changes), 403, "asks-for-power")


@pytest.mark.parametrize(
    "key",
    ["image", "IMAGE", "cmd", "CMD", "labels", "hostConfig", "hostconfig", "HOSTCONFIG", "HoſtConfig", "Labelſ", "env"],
)
def test_a_key_in_another_case_is_refused(world, body, key):
    document = body()
    meant = next(known for known in document if known.casefold() == key.casefold())
    document[key] = document.pop(meant)
    refused(world, world.ask("POST", CREATE, document), 400, "ambiguous-key")


@pytest.mark.parametrize("key", ["binds", "BINDS", "privileged", "PidMODE", "Bindſ", "ＢＩＮＤＳ", "NetWorkMode"])
def test_a_host_key_in_another_case_is_refused(world, key):
    answer = world.create(HostConfig={key: "host"})
    assert answer.status in (400, 403)
    refused(world, answer, answer.status, answer.json["reason"])


TWICE = {
    "host-config-twice": '"HostConfig": {"NetworkMode": "default"}, "HostConfig": {"Privileged": true}',
    "host-config-in-two-cases": '"HostConfig": {}, "hostconfig": {"Privileged": true}',
    "host-config-with-a-long-s": '"HostConfig": {}, "HoſtConfig": {"Privileged": true}',
    "host-config-with-an-escaped-long-s": '"HostConfig": {}, "Ho\\u017ftConfig": {"Privileged": true}',
    "host-config-escaped": '"HostConfig": {}, "\\u0048ostConfig": {"Privileged": true}',
    "kelvin-sign": '"X": {"k": 1, "\u212a": 2}',
    "inside-host-config": '"HostConfig": {"Binds": [], "Binds": ["/:/host"]}',
    "inside-labels": '"Labels": {"code-location": "ingestion", "code-location": "analytics"}',
    "inside-something-ignored": '"Env": [{"a": 1, "A": 2}]',
}


@pytest.mark.parametrize("members", TWICE.values(), ids=TWICE)
def test_an_object_with_one_key_twice_is_refused(world, body, members):
    document = {key: value for key, value in body().items() if key != "HostConfig"}
    raw = (json.dumps(document)[:-1] + ", " + members + "}").encode()
    refused(world, world.ask("POST", CREATE, raw), 400, "malformed-json")


NOT_JSON = {
    "empty": b" ",
    "nothing-but-null": b"null",
    "an-array": b"[]",
    "a-number": b"1",
    "truncated": b'{"Image": "x"',
    "two-documents": b"{}{}",
    "trailing-comma": b'{"a": 1,}',
    "comment": b'{"a": 1} // x',
    "single-quotes": b"{'a': 1}",
    "not-a-number": b'{"a": NaN}',
    "number-that-overflows": b'{"a": 1e999}',
    "huge-integer": b'{"a": ' + b"9" * 5000 + b"}",
    "integer-of-twenty-digits": b'{"a": 18446744073709551616}',
    "deep-arrays": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep-objects": b'{"a":' * 17 + b"1" + b"}" * 17,
    "quotes-that-cost-quadratic-time": b'{"a": "' + b'\\"' * 100_000,
    "mass-of-elements": b'{"a": [' + b"0," * 100_000 + b"0]}",
    "byte-order-mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "utf-32": '{"a": 1}'.encode("utf-32-be"),
    "invalid-utf-8": b'{"a": "\xff"}',
    "lone-surrogate": b'{"a": "\\ud800"}',
    "control-character-in-a-string": b'{"a": "\x00"}',
}


@pytest.mark.parametrize("raw", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_strictly_json_is_refused(world, raw):
    refused(world, world.ask("POST", CREATE, raw), 400, "malformed-json")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_of_another_type_is_refused(world, body, content_type):
    content = json.dumps(body()).encode()
    head = f"POST {CREATE} HTTP/1.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    refused(world, world.raw(head.encode() + content), 415, "not-json")


COMMANDS = {
    "no-command": (None, 403),
    "a-string": ("dagster api execute_run", 403),
    "a-shell": (["sh", "-c", "id"], 403),
    "another-subcommand": (["dagster", "api", "grpc", arguments()], 403),
    "resume": (["dagster", "api", "resume_run", arguments()], 403),
    "another-program-of-that-name": (["/tmp/dagster", "api", "execute_run", arguments()], 403),
    "one-word-too-many": (command(arguments(), "--help"), 403),
    "one-word-too-few": (command(), 403),
    "option-before": (["dagster", "--x", "api", "execute_run", arguments()], 403),
    "argument-not-a-string": (command({"pipeline_run_id": RUN_ID}), 400),
    "argument-not-json": (command("--help"), 400),
    "argument-an-array": (command("[]"), 400),
    "argument-of-another-class": (command(arguments(__class__="ExecuteStepArgs")), 403),
    "argument-without-class": (command(json.dumps({"pipeline_run_id": RUN_ID})), 403),
    "argument-of-another-run": (command(arguments(pipeline_run_id=OTHER_RUN)), 403),
    "argument-with-two-runs": (command(arguments()[:-1] + f', "pipeline_run_id": "{OTHER_RUN}"}}'), 400),
    "argument-without-run": (command(json.dumps({"__class__": "ExecuteRunArgs"})), 403),
    "argument-too-long-for-the-kernel": (command(arguments(x="y" * 131_072)), 413),
}


@pytest.mark.parametrize(("value", "status"), COMMANDS.values(), ids=COMMANDS)
def test_any_command_but_this_runs_execution_is_refused(world, value, status):
    answer = world.create(Cmd=value)
    refused(world, answer, status, answer.json["reason"])


IMAGES = {
    "none": None,
    "empty": "",
    "a-list": ["prod/ingestion:local"],
    "an-id": "sha256:" + "a" * 64,
    "with-dot-dot": "prod/../ingestion:local",
    "with-leading-slash": "/prod/ingestion",
    "with-double-slash": "prod//ingestion",
    "with-a-space": "prod/ingestion local",
    "with-a-line-break": "prod/ingestion:local\n",
    "with-a-question-mark": "prod/ingestion?x=1",
    "with-encoding": "prod%2fingestion:local",
    "in-capitals": "PROD/Ingestion:local",
    "with-half-a-digest": "prod/ingestion@sha256:abc",
    "with-a-tag-of-a-path": "prod/ingestion:../x",
    "very-long": "prod/" + "a" * 500,
    "with-non-ascii-digits": "prod/ingestion١",
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_what_is_no_image_name_is_refused(world, image):
    refused(world, world.create(Image=image), 400, "bad-image")


LABELS = {
    "run-id-missing": ({"dagster/run_id": None}, "malformed-body"),
    "run-id-not-a-uuid": ({"dagster/run_id": "x"}, "bad-label"),
    "run-id-in-capitals": ({"dagster/run_id": RUN_ID.upper()}, "bad-label"),
    "run-id-with-a-line-break": ({"dagster/run_id": RUN_ID + "\n"}, "bad-label"),
    "run-id-with-a-path": ({"dagster/run_id": "../" + RUN_ID}, "bad-label"),
    "run-id-with-other-digits": ({"dagster/run_id": RUN_ID.replace("0", "٠")}, "bad-label"),
    "location-empty": ({"code-location": ""}, "bad-label"),
    "location-with-a-comma": ({"code-location": "ingestion,analytics"}, "bad-label"),
    "location-with-a-filter": ({"code-location": 'ingestion"]}'}, "bad-label"),
    "location-with-a-line-break": ({"code-location": "ingestion\n"}, "bad-label"),
    "location-a-list": ({"code-location": ["ingestion"]}, "malformed-body"),
    "job-name-with-a-line-break": ({"dagster/job_name": "a\nPATH=/evil"}, "bad-label"),
    "job-name-empty": ({"dagster/job_name": ""}, "bad-label"),
    "memory-without-number": ({"run.memory": "lots"}, "bad-label"),
    "memory-negative": ({"run.memory": "-1"}, "bad-label"),
    "memory-zero-which-is-unlimited": ({"run.memory": "0"}, "bad-label"),
    "memory-infinite": ({"run.memory": "inf"}, "bad-label"),
    "memory-with-an-exponent": ({"run.memory": "1e30"}, "bad-label"),
    "memory-too-small-to-start": ({"run.memory": "1k"}, "bad-label"),
    "memory-above-the-cap": ({"run.memory": "3g"}, "above-cap"),
    "cpus-zero-which-is-unlimited": ({"run.cpus": "0"}, "bad-label"),
    "cpus-not-a-number": ({"run.cpus": "nan"}, "bad-label"),
    "cpus-above-the-default-which-is-the-cap": ({"run.cpus": "1.01"}, "above-cap"),
}


@pytest.mark.parametrize(("labels", "reason"), LABELS.values(), ids=LABELS)
def test_a_label_that_is_not_what_it_should_be_is_refused(world, labels, reason):
    refused(world, world.create(labels=labels), 400, reason)


@pytest.mark.parametrize("missing", ["dagster/run_id", "dagster/job_name", "code-location"])
def test_a_missing_label_is_refused(world, body, missing):
    document = body()
    del document["Labels"][missing]
    refused(world, world.ask("POST", CREATE, document), 400, "missing-label")


@pytest.mark.parametrize(
    "label",
    [
        "com.docker.compose.project",
        "com.docker.compose.service",
        "COM.DOCKER.compose.oneoff",
        "run-broker.role",
        "Run-Broker.x",
    ],
)
def test_a_caller_who_writes_the_brokers_labels_is_refused(world, label):
    refused(world, world.create(labels={label: "x"}), 403, "asks-for-power")


@pytest.mark.parametrize("value", [[], "x", 1, True], ids=str)
def test_labels_or_host_config_of_another_type_are_refused(world, value):
    refused(world, world.create(Labels=value), 400, "malformed-body")
    world.stream.truncate(0)
    world.stream.seek(0)
    refused(world, world.create(HostConfig=value), 400, "malformed-body")


def test_a_cap_is_named_when_it_is_passed(world):
    message = world.create(labels={"run.memory": "3g"}).json["message"]
    assert "run.memory=3g" in message
    assert "run.memory.max=2g" in message
