"""The body of a create request, reduced to the few values that mean something here."""

import json
import re
from dataclasses import dataclass
from typing import Any

from run_broker.refusal import Refusal
from run_broker.strict_json import parse_object
from run_broker.units import parse_cpus, parse_memory

RUN_ID_LABEL = "dagster/run_id"
JOB_NAME_LABEL = "dagster/job_name"
LOCATION_LABEL = "code-location"
MEMORY_LABEL = "run.memory"
CPUS_LABEL = "run.cpus"
KEEP_LABEL = "run.warm"

COMMAND = ["dagster", "api", "execute_run"]
# The kernel refuses a single argument of 128 KiB or more, which would show only as a run that dies at its start.
MAX_ARGUMENT = 128 * 1024 - 1
# The run's id, and its job with the code it is in: the process reads both from the run itself.
_OF_ONE_RUN = ("pipeline_run_id", "pipeline_origin")

_LOCATION = re.compile(r"[a-z][a-z0-9_]{0,30}", re.ASCII)
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_JOB_NAME = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*"
_IMAGE = re.compile(rf"({_REPOSITORY})(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", re.ASCII)

# What docker-py and the plain launcher send without meaning anything by it; the sandbox decides all of these.
_NOISE = frozenset((
    "AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Env", "Hostname", "NetworkDisabled", "OpenStdin",
    "StdinOnce", "StopTimeout", "Tty",
))  # fmt: skip
_MEANINGFUL = frozenset({"Image", "Cmd", "Labels", "HostConfig"})
_KNOWN = {key.casefold(): key for key in (*_NOISE, *_MEANINGFUL)}


@dataclass(frozen=True)
class CreateRequest:
    """A run that is asked for. Memory and processors are None where the location's defaults are wanted."""

    run_id: str
    job_name: str
    location: str
    image: str
    arguments: str
    # What the arguments say beside the run: which instance it belongs to, and how it is to end.
    instance: str = ""
    memory: int | None = None
    nano_cpus: int | None = None


def is_location_name(name: str) -> bool:
    """Whether `name` can be a code location's."""
    return _LOCATION.fullmatch(name) is not None


def is_run_id(text: str) -> bool:
    """Whether `text` is a Dagster run id: a UUID in lower case."""
    return _RUN_ID.fullmatch(text) is not None


def repository_of(image: str) -> str | None:
    """The name of an image before its tag and digest, or None for what is no name (such as a bare id)."""
    if image.startswith("sha256:") or len(image) > 400:
        return None
    match = _IMAGE.fullmatch(image)
    return match[1] if match else None


def parse_create(content_type: str, body: bytes) -> CreateRequest:
    """The run that a create request's body asks for."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "not-json", "create takes application/json")
    document = parse_object(body, "the body")
    _check_keys(document)
    _check_host_config(document.get("HostConfig"))
    labels = _labels(document.get("Labels"))
    run_id = _label(labels, RUN_ID_LABEL, _RUN_ID, "a UUID in lower case")
    image = document.get("Image")
    if not isinstance(image, str) or repository_of(image) is None:
        raise Refusal(400, "bad-image", "Image must be repository:tag or repository@sha256:digest")
    arguments, instance = _arguments(document.get("Cmd"), run_id)
    return CreateRequest(
        run_id=run_id,
        job_name=_label(labels, JOB_NAME_LABEL, _JOB_NAME, "letters, digits and underscores"),
        location=_label(labels, LOCATION_LABEL, _LOCATION, "a code location's name"),
        image=image,
        arguments=arguments,
        instance=instance,
        memory=_resource(labels, MEMORY_LABEL, parse_memory),
        nano_cpus=_resource(labels, CPUS_LABEL, parse_cpus),
    )


def _check_keys(document: dict[str, Any]) -> None:
    for key, value in document.items():
        if key in _MEANINGFUL or key in _NOISE:
            continue
        meant = _KNOWN.get(key.casefold())
        if meant or not key.isascii():
            # The engine would read this key as the other one; reading it as nothing would be the filter's mistake.
            raise Refusal(400, "ambiguous-key", f"the key {key[:60]!r} is not written as Docker writes it")
        if value:
            raise _asks_for_power(key)


def _check_host_config(host_config: Any) -> None:
    if host_config is None:
        return
    if not isinstance(host_config, dict):
        raise Refusal(400, "malformed-body", "HostConfig must be an object")
    for key, value in host_config.items():
        if not key.isascii() or (key != "NetworkMode" and key.casefold() == "networkmode"):
            raise Refusal(400, "ambiguous-key", f"the key HostConfig.{key[:60]!r} is not written as Docker writes it")
        if key == "NetworkMode" and value == "default":
            continue
        if value:
            raise _asks_for_power(f"HostConfig.{key}")


def _asks_for_power(key: str) -> Refusal:
    return Refusal(
        403,
        "asks-for-power",
        f"{key[:80]} is not the caller's to choose: a run is a copy of its location's code server",
    )


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Refusal(400, "malformed-body", "Labels must be an object of strings")
    for key in value:
        if key.casefold().startswith(("com.docker.", "run-broker.")):
            raise Refusal(403, "asks-for-power", f"the label {key[:60]!r} is the broker's to write")
    return value


def _label(labels: dict[str, str], name: str, pattern: re.Pattern[str], expected: str) -> str:
    text = labels.get(name)
    if text is None:
        raise Refusal(400, "missing-label", f"the label {name} is missing")
    if pattern.fullmatch(text) is None:
        raise Refusal(400, "bad-label", f"the label {name}={text[:60]!r} is not {expected}")
    return text


def _resource(labels: dict[str, str], name: str, parse: Any) -> int | None:
    if name not in labels:
        return None
    try:
        return int(parse(labels[name]))
    except ValueError as error:
        raise Refusal(400, "bad-label", f"{name}: {error}") from error


def read_arguments(arguments: str) -> tuple[str, str]:
    """The run that `ExecuteRunArgs` are about, and what they say beside it."""
    # Read by Python alone, to which keys in two cases are two keys.
    document = parse_object(arguments.encode("utf-8"), "the argument of execute_run", ignoring_case=False)
    if document.get("__class__") != "ExecuteRunArgs":
        raise Refusal(403, "foreign-command", "the argument of execute_run must be ExecuteRunArgs")
    beside = {key: value for key, value in document.items() if key not in _OF_ONE_RUN}
    return str(document.get("pipeline_run_id")), json.dumps(beside, sort_keys=True)


def _arguments(command: Any, run_id: str) -> tuple[str, str]:
    """The last word of the command, checked to be the execution of this very run, and what it says beside it."""
    if not isinstance(command, list) or len(command) != len(COMMAND) + 1 or command[:-1] != COMMAND:
        raise Refusal(403, "foreign-command", f"Cmd must be {' '.join(COMMAND)} and its arguments; nothing else is run")
    arguments = command[-1]
    if not isinstance(arguments, str):
        raise Refusal(400, "malformed-body", "the last element of Cmd must be a string")
    if len(arguments.encode("utf-8")) > MAX_ARGUMENT:
        raise Refusal(413, "command-too-long", f"one argument of a command has at most {MAX_ARGUMENT} bytes")
    executed, instance = read_arguments(arguments)
    if executed != run_id:
        # Otherwise a run could hide behind another's label, limits and container name.
        raise Refusal(403, "foreign-command", f"the command executes another run than the label {RUN_ID_LABEL} says")
    return arguments, instance
