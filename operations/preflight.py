"""Checks before effects: is this machine able to carry the deployment, and what is missing can it be installed?"""

import re

from operations import docker, packages, waiting
from operations.context import Context
from operations.errors import Finding, StackError
from operations.execute import Line

ENGINE = (20, 10)
COMPOSE = (2, 26)
BUILDX = (0, 13)
GIB = 1024**3
# Idle, the sample deployment takes about 1.5 GiB; one run takes up to another.
MEMORY = 2 * GIB
# All images with their build cache take about 4 GiB, the year of flights less than one.
DISK = 6 * GIB
DISK_LATER = 2 * GIB
ENGINE_SECONDS = 60
SERVER_VERSION = ["docker", "version", "--format", "{{.Server.Version}}"]
NAMES = {"engine": "Docker Engine", "compose": "Docker Compose", "buildx": "Docker Buildx"}


def require_tools(context: Context) -> None:
    """Docker, Compose and Buildx in versions that work; what is missing is installed where that is possible."""
    missing = missing_tools(context)
    if not missing:
        return
    ce = context.host.has_package("docker-ce")
    plan = packages.install(missing, context.host.distribution(), context.host.apt_sources(), ce)
    if plan is None or not context.host.is_root:
        raise _missing(missing, plan)
    with context.report.step("Install " + ", ".join(NAMES[piece] for piece in missing)) as step:
        carry_out(context, plan, step.update)
        # Its package starts the engine, which takes a moment to answer.
        waiting.until(lambda: True if _engine_answers(context) else None, ENGINE_SECONDS)
        left = missing_tools(context)
    if left:
        raise StackError(
            f"after the installation {_describe(left)}",
            f"packages of this distribution that bring {_wanted(left)}",
            "install a newer release of them, or upgrade the distribution",
        )


def _silent(_: str) -> None:
    """For steps whose output nobody follows."""


def carry_out(context: Context, steps: list[packages.Step], on_line: Line = _silent) -> None:
    """Write the files and run the commands of an installation."""
    for step in steps:
        if isinstance(step, packages.Write):
            path = context.host.slash / step.path.relative_to("/")
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.content, encoding="utf-8")
        else:
            context.executor.stream(step, on_line, env={"DEBIAN_FRONTEND": "noninteractive"})


def missing_tools(context: Context) -> dict[str, str]:
    """Which of engine, compose and buildx are missing or too old, each with what was found."""
    client = context.executor.run(["docker", "--version"], check=False, timeout=20)
    if not client.ok:
        return dict.fromkeys(NAMES, "not installed")
    missing: dict[str, str] = {}
    if not context.host.has_engine() and not _engine_answers(context):
        missing["engine"] = "not installed"
    elif (server := server_version(context)) < ENGINE:
        missing["engine"] = f"version {server[0]}.{server[1]}"
    for piece, args, minimum in (
        ("compose", ["docker", "compose", "version", "--short"], COMPOSE),
        ("buildx", ["docker", "buildx", "version"], BUILDX),
    ):
        result = context.executor.run(args, check=False, timeout=20)
        version = docker.parse_version(result.stdout) if result.ok else None
        if version is None:
            missing[piece] = "not installed"
        elif version < minimum:
            missing[piece] = f"version {version[0]}.{version[1]}"
    return missing


def _engine_answers(context: Context) -> bool:
    return context.executor.run(SERVER_VERSION, check=False, timeout=20).ok


def server_version(context: Context) -> docker.Version:
    """The engine's version; raises `StackError` that tells a missing permission from an engine that is down."""
    result = context.executor.run(SERVER_VERSION, check=False, timeout=20)
    version = docker.parse_version(result.stdout) if result.ok else None
    if version:
        return version
    # The words are the client's, but only choose between two explanations; the original is always quoted.
    if re.search("permission denied", result.stderr, re.IGNORECASE):
        raise StackError(
            f"Docker is there, but this user may not use it: {result.last_words}",
            "a user in the group docker, or root",
            "run `sudo usermod -aG docker $USER` and sign in again, or use sudo",
        )
    raise StackError(
        f"the Docker engine does not answer: {result.last_words}",
        "a running engine",
        "start it (sudo systemctl start docker) and look into its log (journalctl -u docker) if it does not stay up",
    )


def resources(context: Context, *, started: bool) -> list[Finding]:
    """Memory and disk that are short. A deployment that runs already needs less on top."""
    findings = []
    memory = context.host.free_memory()
    if not started and memory is not None and memory < MEMORY:
        findings.append(
            Finding(
                "memory",
                f"{memory / GIB:.1f} GiB of memory are free",
                f"the deployment and its first run need {MEMORY / GIB:.0f} GiB",
                "stop something else, or take a larger machine",
            )
        )
    where = context.executor.run(["docker", "info", "--format", "{{.DockerRootDir}}"], check=False).stdout.strip()
    disk = context.host.free_disk(where) if where else None
    need = DISK_LATER if started else DISK
    if disk is not None and disk < need:
        findings.append(
            Finding(
                "disk",
                f"{disk / GIB:.1f} GiB are free in {where}",
                f"images and data need {need / GIB:.0f} GiB",
                "free some (docker system df shows what Docker takes), or move Docker's data to a larger disk",
            )
        )
    return findings


def port(context: Context, settings: dict[str, str], containers: list[docker.Container]) -> Finding | None:
    """The gateway's address, unless it is free or our own gateway has it."""
    address, number = settings.get("GATEWAY_BIND", "127.0.0.1"), settings.get("GATEWAY_PORT", "3000")
    where = context.deployment.shown(context.deployment.env_file)
    if not re.fullmatch(r"[0-9]{1,5}", number) or not 0 < int(number) < 65536:
        return Finding("port", f"GATEWAY_PORT is {number!r}", "expected 1 to 65535", f"correct it in {where}")
    if any((address, int(number)) in container.ports for container in containers if container.service == "gateway"):
        return None
    problem = context.host.port_problem(address, int(number))
    if problem is None:
        return None
    holder = context.executor.run(
        ["docker", "ps", "--filter", f"publish={number}", "--format", "{{.Names}}"], check=False
    )
    who = f"by container {holder.stdout.split()[0]}" if holder.stdout.split() else "by a program of this machine"
    return Finding(
        "port",
        problem,
        f"the gateway wants it (GATEWAY_BIND, GATEWAY_PORT); it is held {who}"
        if "taken" in problem
        else "GATEWAY_BIND",
        f"stop what holds it (sudo ss -ltnp 'sport = :{number}'), or choose another in {where}",
    )


def refuse(findings: list[Finding]) -> None:
    """Turn findings into the error that stops a verb before its first effect."""
    if findings:
        raise StackError(
            "\n  ".join(finding.what for finding in findings),
            "; ".join(finding.why for finding in findings),
            "; ".join(finding.do for finding in findings),
        )


def _missing(missing: dict[str, str], plan: list[packages.Step] | None) -> StackError:
    if plan is None:
        do = f"install {_wanted(missing)} by the means of this distribution"
    else:
        do = f"run this as root (sudo ./stack up does), then repeat:\n{packages.spell_out(plan)}"
    return StackError(_describe(missing), _wanted(missing), do)


def _describe(missing: dict[str, str]) -> str:
    return ", ".join(f"{NAMES[piece]}: {found}" for piece, found in missing.items())


def _wanted(missing: dict[str, str]) -> str:
    minimum = {"engine": ENGINE, "compose": COMPOSE, "buildx": BUILDX}
    return ", ".join("{} {}.{} or newer".format(NAMES[piece], *minimum[piece]) for piece in missing)
