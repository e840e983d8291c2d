"""Trying new images before anything runs of them: the location's own tests, and whether its definitions load."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operations import docker
from operations.checking import definitions
from operations.checking.topology import package_of
from operations.context import Context
from operations.errors import StackError
from operations.execute import Result
from operations.locations import image as image_contract
from operations.locations import scaffold
from operations.releases import building, content, migration

# Where the files of the commit are for the tests, in the same places as in a checkout.
CHECKOUT = "/checkout"
# No network and no data, as for loading definitions. Tests may write and start programs in /tmp, are allowed more
# memory than a code server, and step back for what runs.
SANDBOX = (
    *("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:exec,size=1g,mode=1777", "--workdir", "/tmp"),  # noqa: S108
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "512", "--memory", "2g"),
    *("--cpu-shares", "512"),
)
# The command of our images, which looks at a location's tables before it serves.
CODE_SERVER = "code-server"
TEST_SECONDS, LOAD_SECONDS = 1800, 300
LINES = 30


def run_tests(context: Context, root: Path, name: str, service: Mapping[str, Any], tag: str) -> None:
    """A location's own tests, in its new image."""
    folder = content.folder(name, service)
    if building.tests_of(root, name, service) is None:
        context.report.say(f"  {name} has no tests.")
        return
    if not building.has_tests(root, name, service):
        context.report.warn(
            f"the tests of {name} are not run in its image: {service['build'].get('dockerfile')} has no stage"
            f" `{building.TESTS}` (docs/operations/deploy.md)"
        )
        return
    with context.report.step(f"Test {name} in its new image") as step:
        container = f"{context.deployment.name}-{building.trial_name(name)}"
        image = building.trial_image(context.deployment, name, tag)
        result = _in_sandbox(context, container, tests(container, image, root, folder), TEST_SECONDS)
        if not result.ok:
            raise StackError(
                f"the tests of {name} fail in its new image:\n{_end(result)}",
                "all tests of a location to pass before it is deployed; what runs goes on",
                f"run them here (./stack test --only code_locations/{name}), correct, commit, and repeat",
            )
        step.done(_summary(result.stdout))


def tests(container: str, image: str, root: Path, folder: str) -> list[str]:
    """Run pytest on a location's tests; the code under test is the image's, not the tree's."""
    pytest = ["-m", "pytest", "-c", f"{CHECKOUT}/pyproject.toml", "--rootdir", f"{CHECKOUT}/{folder}"]
    # What lies above a location is none of its tests' business.
    pytest += ["--confcutdir", f"{CHECKOUT}/{folder}"]
    return [
        *("docker", "run", "--name", container, *SANDBOX, "--volume", f"{root}:{CHECKOUT}:ro"),
        *("--env", "PYTHONDONTWRITEBYTECODE=1", "--entrypoint", "python", image),
        *(*pytest, "-p", "no:cacheprovider", "-q", "--color=no", f"{CHECKOUT}/{folder}/tests"),
    ]


def validate(context: Context, name: str, service: Mapping[str, Any]) -> None:
    """`dagster definitions validate` in the new image: a broken definition never reaches a server."""
    with context.report.step(f"Validate the definitions of {name}"):
        container = f"{context.deployment.name}-{name}-validation"
        result = _in_sandbox(context, container, validation(container, name, service), LOAD_SECONDS)
        if not result.ok:
            raise StackError(
                f"the definitions of {name} do not load in its new image:\n{_end(result)}",
                "definitions that load; what runs goes on",
                "correct them, commit, and repeat",
            )


def validation(container: str, name: str, service: Mapping[str, Any]) -> list[str]:
    """Dagster's own check of a location's definitions, with its settings and without its secrets."""
    settings = {**(service.get("environment") or {}), "DAGSTER_HOME": ""}
    return [
        *("docker", "run", "--name", container, "--entrypoint", "dagster", *definitions.SANDBOX),
        *definitions.files(dict(service)),
        *definitions.environment(settings),
        *(str(service["image"]), "definitions", "validate"),
        *("--log-level", "warning", "--module-name", f"{package_of(name, dict(service))}.definitions"),
    ]


def require_contract(context: Context, name: str, service: Mapping[str, Any]) -> None:
    """An image that was built elsewhere: fetch it, and hold it to what a location's image has to be."""
    reference = str(service["image"])
    with context.report.step(f"Fetch {reference}") as step:
        pulled = context.executor.stream(["docker", "pull", "--quiet", reference], step.update, check=False)
        here = building.exists(context, reference)
        if not here:
            raise StackError(
                f"{reference} cannot be fetched: {pulled.last_words}",
                f"the image of {name}, from its registry or on this machine; what runs goes on",
                "look at the registry, sign in to it (docker login), or load the image (docker load)",
            )
        step.done("fetched" if pulled.ok else "not fetched; the one on this machine is taken")
    dagster = scaffold.deployments_pins(context.deployment.root)["dagster"]
    lacks = image_contract.shortcomings(context, name, reference, dagster)
    if lacks:
        raise StackError(
            f"{reference} is no image for {name}:" + "".join(f"\n    {lack}" for lack in lacks),
            "the contract of a location's image (docs/locations)",
            "have its repository build it so; what runs goes on",
        )
    command = service.get("command") or _command_of(context, reference)
    if CODE_SERVER not in str(command) and migration.newest(context, name, service) is not None:
        context.report.warn(
            f"{reference} has migrations and starts by {command}, not by {CODE_SERVER}: whether it checks its tables"
            " before it serves is its own affair (docs/migrations.md)"
        )


def _command_of(context: Context, image: str) -> str:
    asked = ["docker", "image", "inspect", "--format", "{{json .Config.Cmd}}", image]
    return context.executor.run(asked, check=False, timeout=60).stdout.strip()


def _in_sandbox(context: Context, container: str, command: list[str], seconds: float) -> Result:
    # One that a killed call left would have the name.
    _remove(context, container)
    begin = time.monotonic()
    try:
        return context.executor.run(command, check=False, timeout=seconds)
    except BaseException:
        _remove(context, container)
        raise
    finally:
        if time.monotonic() - begin >= seconds:
            _remove(context, container)


def _remove(context: Context, container: str) -> None:
    context.executor.run(docker.remove(container), check=False, timeout=60)


def _end(result: Result) -> str:
    """The end of what failed, without colours, and without what Dagster says of its own commands' future."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", f"{result.stdout}\n{result.stderr}")
    lines = [line for line in text.splitlines() if line.strip() and "SupersessionWarning" not in line]
    return "\n".join(f"    {line}" for line in lines[-LINES:]) or "    (no output)"


def _summary(output: str) -> str:
    lines = [line.strip("= ") for line in output.splitlines() if re.search(r"\b(passed|skipped)\b", line)]
    return lines[-1] if lines else "passed"
