"""Putting an image in place of another, and knowing that webserver and daemon work with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operations import docker, gateway, waiting
from operations.context import Context
from operations.errors import StackError

LOAD_SECONDS, SMOKE_SECONDS = 180, 300
SMOKE = "smoke"
# A server that is being replaced; all other errors are the definitions' own.
UNREACHABLE = "DagsterUserCodeUnreachableError"
FINAL = ("SUCCESS", "FAILURE", "CANCELED")
ENTRY = """query Entry($name: String!) { workspaceLocationEntryOrError(name: $name) {
  __typename ... on PythonError { message }
  ... on WorkspaceLocationEntry { loadStatus updatedTimestamp versionKey locationOrLoadError {
    __typename ... on PythonError { message className errorChain { error { message className } } }
    ... on RepositoryLocation { repositories {
      name jobs { name } assetNodes { id } schedules { id } sensors { id } } } } } } }"""
LAUNCH = """mutation Smoke($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""


@dataclass(frozen=True)
class Loaded:
    """A code location as the webserver or the daemon has loaded it: from which server, with which image. `error` is
    why it does not load; `transient` that it may yet."""

    server: str = ""
    image: str = ""
    error: str = ""
    transient: bool = False
    at: float = 0.0
    size: int = 0
    jobs: tuple[tuple[str, str], ...] = ()


def swap(context: Context, name: str, env: Mapping[str, str], *, pinned: str | None = None) -> None:
    """Replace a location's container. `env` says which tag; `pinned` names an image that the files do not."""
    file = None
    if pinned:
        file = context.deployment.state / "pinned.json"
        service = {"image": pinned, "environment": {"DAGSTER_CURRENT_IMAGE": pinned}}
        file.write_text(json.dumps({"services": {name: service}}), encoding="utf-8")
    with context.report.step(f"Replace the code server of {name}") as step:
        result = context.executor.stream(docker.swap(context.deployment, name, file), step.update, env=env, check=False)
        if not result.ok:
            raise StackError(
                f"the code server of {name} could not be replaced: {result.last_words}",
                "Compose to start it",
                "look at what Compose says",
            )


def container_of(context: Context, name: str) -> docker.Container | None:
    """The container of a location's code server; of two, which a killed Compose may leave, the one that runs."""
    own = [each for each in context.containers() if each.is_service and each.service == name]
    return min(own, key=lambda each: each.state != "running", default=None)


def by_webserver(context: Context, name: str) -> Loaded:
    """How the webserver has loaded a location. Raises `gateway.UnreachableError`."""
    entry = gateway.as_admin(context.deployment).ask(ENTRY, {"name": name})["workspaceLocationEntryOrError"]
    if entry is None or entry["__typename"] != "WorkspaceLocationEntry":
        raise gateway.UnreachableError((entry or {}).get("message", f"the webserver knows no location {name}"))
    found = entry["locationOrLoadError"]
    if found is None or entry["loadStatus"] == "LOADING":
        return Loaded(error="it is being loaded", transient=True)
    if found["__typename"] != "RepositoryLocation":
        chain = [found, *(link["error"] for link in found.get("errorChain") or ())]
        told = "\n".join(str(each.get("message", each)).strip() for each in chain)
        passes = any(each.get("className") == UNREACHABLE for each in chain)
        return Loaded(error=told, transient=passes, at=float(entry["updatedTimestamp"]))
    server, image = json.loads(entry["versionKey"])
    repositories = found["repositories"]
    size = sum(len(one[kind]) for one in repositories for kind in ("jobs", "assetNodes", "schedules", "sensors"))
    jobs = tuple((one["name"], job["name"]) for one in repositories for job in one["jobs"])
    return Loaded(str(server), str(image), size=size, jobs=jobs)


def by_daemon(context: Context, name: str) -> Loaded:
    """How the daemon has loaded a location, as it says itself."""
    asked = context.executor.run(
        docker.execute(context.deployment, "daemon", "python", "-m", "daemon", "locations"), check=False, timeout=60
    )
    if asked.code == 2:
        raise StackError(
            "the daemon cannot say what it has loaded: it is older than this ./stack",
            "a daemon of the same version",
            f"{context.deployment.stack} up, then repeat",
        )
    try:
        told: Any = json.loads(asked.stdout)[name]
        passes = UNREACHABLE in str(told["kind"])
        error = str(told["error"])
        return Loaded(str(told["server"]), str(told["image"]), error, transient=passes, at=float(told["at"]))
    except (ValueError, KeyError, TypeError):
        return Loaded(error=f"the daemon does not say: {asked.last_words}", transient=True)


def await_loaded(context: Context, name: str, image: str, former: str, since: float) -> Loaded:
    """Wait until webserver and daemon work with a server of this image that is not the `former` one. An error counts
    when it is younger than `since`: an older one is about what was there before."""
    last = ""

    def look() -> Loaded | None:
        nonlocal last
        _require_running(context, name)
        found = None
        # The daemon is asked once the webserver is there: that costs half a second of a processor.
        for who, ask in (("webserver", by_webserver_or_not), ("daemon", by_daemon)):
            loaded = ask(context, name)
            if loaded.error and not loaded.transient and loaded.at >= since:
                raise StackError(
                    f"{name} does not load in the {who}:\n{_indented(loaded.error)}",
                    "its definitions to load",
                    "correct them, commit, and repeat",
                )
            if loaded.error or loaded.image != image or loaded.server == former:
                last = f"{who}: {loaded.error.splitlines()[-1] if loaded.error else f'still has {loaded.image}'}"
                step.update(last)
                return None
            found = found or loaded
        return found

    with context.report.step(f"Load {name} in webserver and daemon") as step:
        loaded = waiting.until(look, LOAD_SECONDS)
        if loaded is None:
            raise StackError(
                f"after {LOAD_SECONDS} s webserver and daemon have not loaded {name}: {last}",
                "both to work with the new image",
                f"{context.deployment.stack} doctor",
            )
    return loaded


def by_webserver_or_not(context: Context, name: str) -> Loaded:
    """As `by_webserver`, with a webserver that does not answer as something that passes."""
    try:
        return by_webserver(context, name)
    except gateway.UnreachableError as error:
        return Loaded(error=str(error), transient=True)


def smoke(context: Context, name: str, loaded: Loaded, former: Loaded) -> None:
    """Whether the new server has something to serve; and its job `smoke`, where there is one, for real."""
    if former.size and not loaded.size:
        raise StackError(
            f"{name} loads, but defines nothing: no asset, job, schedule or sensor",
            f"definitions ({former.size} before)",
            "look whether the files below defs/ are part of the package",
        )
    job = next((each for each in loaded.jobs if each[1] == SMOKE), None)
    if job is None:
        return
    with context.report.step(f"Run the job {SMOKE} of {name}") as step:
        client = gateway.as_admin(context.deployment)
        selector = {"repositoryLocationName": name, "repositoryName": job[0], "jobName": SMOKE}
        launched = client.ask(LAUNCH, {"params": {"selector": selector, "runConfigData": {}}})["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise StackError(f"the job {SMOKE} of {name} cannot be launched: {launched}", "a run", "correct it")
        run = str(launched["run"]["runId"])

        def ended() -> str | None:
            try:
                state = client.run_states([run]).get(run, "")
            except gateway.UnreachableError:
                return None
            step.update(state)
            return state if state in FINAL else None

        state = waiting.until(ended, SMOKE_SECONDS) or f"not finished after {SMOKE_SECONDS} s"
        if state != "SUCCESS":
            raise StackError(
                f"the job {SMOKE} of {name} ended as {state}: run {run}",
                "SUCCESS",
                "look at the run's events in the UI",
            )
        step.done(f"run {run[:8]} succeeded")


def _require_running(context: Context, name: str) -> None:
    found = container_of(context, name)
    if found is not None and found.state == "running":
        return
    state = "gone" if found is None else f"{found.state} with {found.exit_code}"
    output = context.executor.run(docker.logs(context.deployment, name), check=False).stdout
    raise StackError(
        f"the code server of {name} is {state}:\n{_indented(output)}", "a server that goes on", "correct what it says"
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-20:])
