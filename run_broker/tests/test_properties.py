"""Whatever is sent, the engine gets only what the policy allows: properties, searched by hypothesis."""

import json
import string

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from run_broker.confinement import security_options
from run_broker.create_request import COMMAND, CreateRequest, is_location_name, is_run_id, parse_create, repository_of
from run_broker.engine_views import Container, Image
from run_broker.identity import Identity
from run_broker.refusal import Refusal
from run_broker.routes import ROUTES, match_route
from run_broker.sandbox import plan_run
from run_broker.settings import Settings
from run_broker.sockets import CALLERS
from run_broker.strict_json import MAX_DEPTH, parse_object
from run_broker.units import parse_cpus, parse_duration, parse_memory, parse_timestamp

IMAGE_ID = "sha256:" + "a" * 64
BODY_KEYS = {
    "Image", "Cmd", "Env", "User", "Labels", "Tty", "OpenStdin", "Healthcheck", "StopSignal", "StopTimeout",
    "HostConfig", "NetworkingConfig",
}  # fmt: skip
HOST_KEYS = {
    "AutoRemove", "Binds", "BlkioWeight", "CapAdd", "CapDrop", "CgroupParent", "CgroupnsMode", "CpuShares",
    "CpusetCpus", "Devices", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "Init", "IpcMode", "LogConfig",
    "Memory", "MemorySwap", "Mounts", "NanoCpus", "NetworkMode", "OomKillDisable", "PidMode", "PidsLimit",
    "PortBindings", "Privileged", "PublishAllPorts", "ReadonlyRootfs", "RestartPolicy", "Runtime", "SecurityOpt",
    "ShmSize", "StorageOpt", "Tmpfs", "UTSMode", "Ulimits",
}  # fmt: skip
NEVER_SENT = {
    "Entrypoint", "WorkingDir", "Volumes", "ExposedPorts", "UsernsMode", "DeviceRequests", "Sysctls", "VolumesFrom",
    "MaskedPaths", "OomScoreAdj", "hostconfig", "HoſtConfig",
}  # fmt: skip
# A code server's keys that need the engine's types; they are changed one by one in test_sandbox.py.
TYPED = {"Binds", "Mounts", "SecurityOpt", "PidsLimit", "Memory", "NanoCpus", "NetworkMode"}

# Values that mean something to the engine, next to any others.
WORDS = st.sampled_from(
    ["host", "default", "", "0", "root", "/", "/run/docker.sock:/s", "container:x", "SYS_ADMIN", "unconfined", "always"]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | WORDS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(sorted(BODY_KEYS | HOST_KEYS | NEVER_SENT))
CHANGES = st.dictionaries(KEYS, VALUES, max_size=4)
HOST_CHANGES = st.none() | st.dictionaries(KEYS | WORDS, VALUES, max_size=3)
SERVER_CHANGES = st.dictionaries(st.sampled_from(sorted((HOST_KEYS | NEVER_SENT) - TYPED)), VALUES, max_size=8)
SEGMENTS = ["containers", "json", "create", "v1.41", "abc", "start", "exec", "..", ".", "", "%2f"]
TARGETS = st.text(alphabet=string.ascii_letters + "/.%?&=-_~\\;#0129 ", max_size=60) | st.lists(
    st.sampled_from(SEGMENTS), max_size=6
).map(lambda parts: "/" + "/".join(parts))
MANY = settings(
    max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def attempt(call, *arguments):
    """What a call returns, or how it refuses."""
    try:
        return call(*arguments), None
    except (Refusal, ValueError) as error:
        return None, error


def plan(request, server):
    image = Image.model_validate({"Id": IMAGE_ID, "Config": {"Labels": {"code-location": request.location}}})
    return plan_run(request, Container.model_validate(server), None, image, Identity("prod"), Settings())


def check(body, request):
    """The invariants of every body that is sent to the engine."""
    assert body.keys() <= BODY_KEYS
    host = body["HostConfig"]
    assert host.keys() <= HOST_KEYS
    assert body["Cmd"] == [*COMMAND, request.arguments]
    assert body["Image"] == IMAGE_ID
    assert body["User"] == "10001:10001"
    assert host["Privileged"] is host["AutoRemove"] is host["PublishAllPorts"] is host["OomKillDisable"] is False
    assert host["ReadonlyRootfs"] is True
    assert (host["CapAdd"], host["CapDrop"], host["Devices"], host["PortBindings"]) == ([], ["ALL"], [], {})
    assert (host["PidMode"], host["UTSMode"], host["IpcMode"]) == ("", "", "private")
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert host["SecurityOpt"][-1] == "no-new-privileges:true"
    assert 0 < host["Memory"] == host["MemorySwap"] <= 2 * 1024**3
    assert 0 < host["NanoCpus"] <= 10**9
    assert host["PidsLimit"] > 0
    assert all("docker.sock" not in str(mount) for mount in (*host["Binds"], *host["Mounts"]))
    assert body["Labels"]["run-broker.role"] == "run"
    assert body["Labels"]["com.docker.compose.project"] == "prod"


@MANY
@given(changes=CHANGES, host=HOST_CHANGES)
@example(changes={"Env": ["LD_PRELOAD=/x"], "Hostname": "postgres", "StopTimeout": 0}, host={"NetworkMode": "default"})
def test_whatever_a_caller_sends_a_run_is_its_locations_copy(server, body, changes, host):
    document = {**body(), **({"HostConfig": host} if host is not None else {}), **changes}
    request, refusal = attempt(parse_create, "application/json", json.dumps(document).encode())
    if refusal:
        assert 400 <= refusal.status < 500
        return
    made = server()
    # Independent of the noise: the same as for a request without any.
    plain = parse_create("application/json", json.dumps(body()).encode())
    if (request.image, request.arguments, request.job_name) == (plain.image, plain.arguments, plain.job_name):
        assert plan(request, made).body == plan(plain, made).body
    check(plan(request, made).body, request)


@MANY
@given(host=SERVER_CHANGES, options=st.lists(WORDS | st.text(max_size=20), max_size=4))
def test_whatever_a_code_server_is_its_runs_are_confined(server, body, host, options):
    made = server()
    made["HostConfig"] |= {**host, "SecurityOpt": options}
    request = parse_create("application/json", json.dumps(body()).encode())
    check(plan(request, made).body, request)


@MANY
@given(options=st.lists(st.text(alphabet="nocufiedsabl=:-rwpvg", max_size=24), max_size=5))
@example(options=["seccomp=unconfined", "label:disable", "no-new-privileges:false"])
def test_no_option_takes_confinement_away(options):
    kept = security_options(options)
    assert not [option for option in kept if option.endswith((":unconfined", "=unconfined", ":disable", "=disable"))]
    assert [option for option in kept if option.startswith("no-new-privileges")] == ["no-new-privileges:true"]


@MANY
@given(content=st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0129aAeE+-. \n', max_size=80).map(str.encode))
def test_strict_json_agrees_with_a_plain_reader_or_refuses(content):
    value, refusal = attempt(parse_object, content, "it")
    assert refusal.status == 400 if refusal else value == json.loads(content)


@MANY
@given(value=st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_strict_json_reads_every_plain_object(value):
    content = json.dumps(value).encode()
    read, refusal = attempt(parse_object, content, "it")
    # The only reason to refuse what json.dumps wrote: two keys of one object that differ in case alone.
    assert "twice" in refusal.message if refusal else read == json.loads(content)


@MANY
@given(depth=st.integers(1, 40))
def test_depth_is_bounded_exactly(depth):
    content = b'{"a":' * depth + b"1" + b"}" * depth
    if depth <= MAX_DEPTH:
        assert parse_object(content, "it")
    else:
        with pytest.raises(Refusal):
            parse_object(content, "it")


@MANY
@given(caller=st.sampled_from(CALLERS), method=st.sampled_from(["GET", "POST"]), target=TARGETS)
def test_a_target_matches_a_route_of_its_caller_or_is_refused(caller, method, target):
    match, refusal = attempt(match_route, caller, method, target)
    if refusal:
        assert 400 <= refusal.status < 500
        return
    assert match.route in ROUTES
    assert caller in match.route.callers
    assert match.route.method == method
    assert not set(target.split("?")[0]) & set("%\\;# ")
    assert ".." not in target.split("?")[0]
    assert set(match.container) <= set(string.ascii_letters + string.digits + "_-")


@MANY
@given(text=st.text(alphabet="abz019-_./:@ASHXsha256\n%٠", max_size=60))
def test_an_image_name_holds_nothing_that_leads_elsewhere(text):
    repository = repository_of(text)
    if repository is None:
        return
    assert text.startswith(repository)
    assert text[len(repository) :][:1] in ("", ":", "@")
    assert not set(text) & set("\n%?#\\ ")
    assert not {"", ".", ".."} & set(text.split("/"))


@MANY
@given(text=st.text(max_size=40))
def test_names_and_ids_are_plain_ascii(text):
    if is_location_name(text) or is_run_id(text):
        assert text.isascii()
        assert set(text) <= set(string.ascii_lowercase + string.digits + "_-")


@MANY
@given(text=st.text(max_size=20) | st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,3})?(k|m|g|t|Mi?B)?", fullmatch=True))
def test_a_size_is_bounded_and_never_unlimited(text):
    for parse, smallest in ((parse_memory, 1), (parse_cpus, 1), (parse_duration, 0)):
        value, error = attempt(parse, text)
        assert " not " in str(error) if error else value >= smallest


@MANY
@given(text=st.text(max_size=40))
def test_a_timestamp_is_read_or_none(text):
    value = parse_timestamp(text)
    assert value is None or isinstance(value, float)


def test_a_request_has_no_room_for_anything_else():
    assert CreateRequest.__dataclass_fields__.keys() == {
        "run_id", "job_name", "location", "image", "arguments", "instance", "memory", "nano_cpus",
    }  # fmt: skip
