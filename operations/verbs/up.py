"""up: from a bare machine to a deployment that answers. Checks first; what exists already stays as it is."""

from operations import base_image, build_progress, docker, external, gateway, live_networks, preflight, prepare, waiting
from operations.context import Context
from operations.errors import StackError
from operations.execute import CommandError
from operations.releases import standing
from operations.upgrades import gate, stamp

START_SECONDS = 600
LOAD_SECONDS = 180
# Dagster's words for a code server that does not answer (yet).
UNREACHED = "Could not reach user code server"
# Some locations do not load; the deployment runs. Another code than 1, so that a script can tell it apart.
LOCATIONS_BROKEN = 3


def up(context: Context) -> int:
    """Bring the deployment up; returns the exit code."""
    with context.report.step("Check this machine"):
        preflight.require_tools(context)
        containers = context.containers()
        started = any(container.state == "running" for container in containers)
        findings = preflight.resources(context, started=started)
        taken = preflight.port(context, prepare.planned(context), containers)
        preflight.refuse(findings + ([taken] if taken else []))
    gate.require(context, begins=True)
    # From here on things change.
    prepare.settings(context)
    prepare.make_secrets(context)
    preflight.refuse(external.findings(context))
    base_image.provide(context)
    _build(context)
    _start(context)
    locations = load(context)
    stamp.note(context)
    return _finish(context, locations)


def _build(context: Context) -> None:
    standing.provide(context)
    with context.report.step("Build images") as step:
        # What a release is called never gets another content.
        services = standing.to_build(context.config["services"])
        build_progress.build(
            step,
            context.executor,
            docker.build(context.deployment, services),
            "every image to build",
            "correct what it complains about and repeat; --verbose shows the whole output",
        )


def _start(context: Context) -> None:
    with context.report.step("Start services") as step:
        kept = live_networks.keep_postgres(context)
        start = docker.start(context.deployment, START_SECONDS, kept)
        result = context.executor.stream(start, step.update, check=False)
        if not result.ok:
            raise _not_started(context, CommandError(result))
        live_networks.settle(context)
        step.done("all healthy")


def _not_started(context: Context, error: CommandError) -> StackError:
    """Name the services that are unwell, each with the end of its output."""
    unwell = [container for container in context.containers() if container.is_service and not container.is_well]
    culprits = [container for container in unwell if container.state != "created"] or unwell
    if not culprits:
        return error
    told = []
    for container in culprits:
        state = f"exited with {container.exit_code}" if container.state == "exited" else container.state
        state += f", {container.health}" if container.health else ""
        output = context.executor.run(docker.logs(context.deployment, container.service), check=False).stdout.strip()
        told.append(
            f"{container.service} is {state}\n" + "\n".join(f"    {line}" for line in output.splitlines()[-10:])
        )
    return StackError(
        "\n".join(told),
        "every service healthy",
        f"{context.deployment.stack} doctor explains more; what did start keeps running",
    )


def load(context: Context) -> list[gateway.Location]:
    """Wait until every location has loaded or said why it does not."""
    with context.report.step("Load code locations") as step:
        client = gateway.as_admin(context.deployment)
        last = "nothing"

        def settled() -> list[gateway.Location] | None:
            nonlocal last
            try:
                found = client.locations()
            except gateway.RefusedError as error:
                raise StackError(
                    str(error),
                    "the password in secrets/admin_password to be the one of the user admin",
                    f"{context.deployment.stack} user add admin --replace --group platform",
                ) from error
            except gateway.UnreachableError as error:
                last = str(error)
                return None
            # One that first migrates its tables answers later than it is asked; the webserver asks again by itself.
            waiting_for = [one.name for one in found if one.loading or UNREACHED in one.error]
            last = f"waiting for {', '.join(waiting_for)}"
            step.update(last)
            return None if waiting_for or not found else found

        locations = waiting.until(settled, LOAD_SECONDS)
        if locations is None:
            raise StackError(
                f"after {LOAD_SECONDS} s the webserver has not loaded the code locations: {last}",
                "every location loaded, or an error that says why not",
                f"{context.deployment.stack} doctor",
            )
        step.done(", ".join(location.name for location in locations if not location.error))
    return locations


def _finish(context: Context, locations: list[gateway.Location]) -> int:
    deployment = context.deployment
    broken = [location for location in locations if location.error]
    for location in broken:
        context.report.problem(
            f"code location {location.name} does not load:\n{last_lines(location.error)}",
            "its definitions to load; the others work meanwhile",
            f"correct code_locations/{location.name} and repeat",
        )
    password = deployment.shown(deployment.secrets() / "admin_password")
    context.report.say()
    context.report.say(f"  Address:  {gateway.address(deployment.settings())}")
    context.report.say("  User:     admin")
    context.report.say(f"  Password: in {password}")
    settings = deployment.settings()
    local = (settings.get("GATEWAY_BIND") or "127.0.0.1").startswith("127.")
    if not settings.get("SITE_ADDRESS") and not local:
        context.report.warn(
            "passwords travel in plain text: GATEWAY_BIND lets other machines in, and without SITE_ADDRESS there is no"
            " TLS. Set SITE_ADDRESS, unless a load balancer or a private network in front encrypts (docs/sign-in.md)."
        )
    return LOCATIONS_BROKEN if broken else 0


def last_lines(error: str) -> str:
    """What matters of a long message is at its end."""
    return "\n".join(f"    {line}" for line in error.splitlines()[-12:])
