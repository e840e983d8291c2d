"""That dagster.yaml and the definitions of each location load, in the images that would run them, and what they say."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from operations import docker
from operations.checking import assets
from operations.checking.problems import Problem
from operations.checking.topology import package_of
from operations.context import Context
from operations.releases import standing

INSIDE = Path(__file__).with_name("inside")
# No network and no data: loading definitions must need neither, or a location starts only on good days.
SANDBOX = (
    *("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:size=256m,mode=1777", "--workdir", "/tmp"),  # noqa: S108
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "256", "--memory", "1g"),
)


def check(context: Context, locations: Iterable[str]) -> tuple[list[Problem], list[assets.Asset]]:
    """Build what changed, then load everything; the problems, and the assets of all locations that load."""
    problems, found = [], []
    with context.report.step("Build images") as step:
        # What a location has released stays as it is: the checkout is looked at.
        local = standing.as_local(context.config["services"])
        built = context.executor.stream(docker.build(context.deployment), step.update, env=local, check=False)
        if not built.ok:
            return [Problem("docker-compose.yml", None, f"the images do not build:\n{built.last_words}")], []
    services = standing.checkout(context.config["services"])
    daemon = services.get("daemon")
    if daemon:
        with context.report.step("Load dagster.yaml"):
            code = (INSIDE / "dagster_yaml.py").read_text(encoding="utf-8")
            result = context.executor.run(instance_check(daemon), stdin=code, check=False, timeout=120)
            if not result.ok:
                problems.append(Problem("dagster.yaml", None, result.last_words))
    for name in locations:
        if name not in services:
            continue
        with context.report.step(f"Load the definitions of {name}") as step:
            try:
                loaded = load(context, name, services[name])
            except ValueError as error:
                problems.append(Problem(f"code_locations/{name}", None, str(error)))
                continue
            found += loaded
            step.done(f"{len(loaded)} assets")
    return problems, found


def load(context: Context, name: str, spec: dict[str, Any]) -> list[assets.Asset]:
    """A location's assets, from its image. Raises `ValueError` that says why its definitions do not load."""
    code = (INSIDE / "graph.py").read_text(encoding="utf-8")
    result = context.executor.run(graph(name, spec), stdin=code, check=False, timeout=300)
    if not result.ok:
        raise ValueError(f"does not load:\n{_reason(result.stdout + result.stderr)}")
    folder = ((spec.get("build") or {}).get("args") or {}).get("SERVICE") or f"code_locations/{name}"
    return assets.read(name, folder, result.stdout)


def graph(name: str, spec: dict[str, Any]) -> list[str]:
    """Load a location's definitions in its image, with its settings and without its secrets."""
    settings = {**(spec.get("environment") or {}), "DAGSTER_HOME": "", "CODE_LOCATION_PACKAGE": package_of(name, spec)}
    # Not by the image's entry point: it redacts what is printed, and an owner may be an e-mail address.
    run = ["docker", "run", "--interactive", "--entrypoint", "env", *SANDBOX, *files(spec), *environment(settings)]
    return [*run, spec["image"], "python", "-"]


def instance_check(spec: dict[str, Any]) -> list[str]:
    """Check dagster.yaml with the very classes that it names."""
    # dagster.yaml names the password; that it is the right one is doctor's question.
    settings = environment({**(spec.get("environment") or {}), "POSTGRES_PASSWORD": "none"})
    return ["docker", "run", "--interactive", *SANDBOX, *files(spec), *settings, spec["image"], "python", "-"]


def files(spec: dict[str, Any]) -> list[str]:
    """Files of the repository that a service mounts, such as workspace.yaml; volumes with data are none."""
    return [
        part
        for mount in spec.get("volumes") or ()
        if mount.get("type") == "bind"
        for part in ("--volume", f"{mount['source']}:{mount['target']}:ro")
    ]


def environment(values: dict[str, Any]) -> list[str]:
    """Settings for docker run."""
    return [part for key, value in values.items() for part in ("--env", f"{key}={value}")]


def _reason(output: str) -> str:
    # The log of a start that went well, and a warning about the command's future, explain nothing.
    noise = re.compile(r"SupersessionWarning|return callback\(|dagster - INFO")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line for line in plain.splitlines() if line.strip() and not noise.search(line)]
    return "\n".join(f"    {line}" for line in lines[-40:])
