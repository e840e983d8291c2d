"""doctor: find what is wrong and say what to do about it. Looks only; changes nothing."""

import json
import time
from collections.abc import Callable, Iterator

from operations import address_pools, docker, external, gateway, preflight, sign_ins
from operations.context import Context
from operations.errors import Finding, StackError
from operations.invariants import examining
from operations.invariants.times import LEFT_OVER_IS_STOPPED, MARGIN
from operations.upgrades import journal

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")
# A run's container ends a little after the run: only what still lives after the broker's own sweep is a finding.
ALIVE = ("running", "paused", "restarting")
# Of a service that has come back by itself, in seconds.
CRASH_IS_NEWS = 3600
CHECK = ("run", "--rm", "--no-deps", "-T", "migrate", "python", "-m", "migrate", "check")


def doctor(context: Context, *, as_json: bool, invariants: bool = False) -> int:
    """Show every finding, of the services or of what their records say of each other; 1 when there is one."""
    findings = list((examining.examine if invariants else examine)(context, quiet=as_json))
    if as_json:
        context.report.console.print_json(json.dumps([vars(finding) for finding in findings]), ensure_ascii=True)
        return 1 if findings else 0
    for finding in findings:
        context.report.say()
        context.report.say(f"{finding.subject}: {finding.what}")
        context.report.say(f"  why: {finding.why}")
        context.report.say(f"  do:  {finding.do}")
    context.report.say()
    well = "Nothing found: all records agree." if invariants else "Nothing found: the deployment is well."
    context.report.say(f"{len(findings)} findings" if findings else well)
    return 1 if findings else 0


def examine(context: Context, *, quiet: bool = False) -> Iterator[Finding]:
    """All findings. Where the engine is away or the settings are broken, nothing else can be asked."""
    try:
        context.deployment.require_env()
        context.deployment.settings()
        missing = preflight.missing_tools(context)
    except StackError as error:
        yield _finding("foundation", error)
        return
    for piece, found in missing.items():
        yield Finding(
            preflight.NAMES[piece],
            found,
            "an older one, or none, cannot run this deployment",
            f"{context.deployment.stack} up",
        )
    if missing:
        return
    examination = Examination(context)
    for title, check in examination.checks():
        try:
            if quiet:
                yield from check()
            else:
                with context.report.step(title) as step:
                    found_here = list(check())
                    step.done("; ".join(finding.what.splitlines()[0] for finding in found_here) or "fine")
                yield from found_here
        # One examination that fails must not hide what the others find.
        except (StackError, gateway.UnreachableError) as error:
            yield _finding(title, error)


def _finding(subject: str, error: Exception) -> Finding:
    if isinstance(error, StackError):
        return Finding(subject, error.found, f"expected: {error.expected}", error.do)
    return Finding(subject, str(error), "the examination needs an answer", "see the other findings first")


class Examination:
    """The checks of a deployment whose engine answers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._deployment = context.deployment
        self._containers = context.containers()
        self._started = any(container.is_service for container in self._containers)

    def checks(self) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
        """Titles and checks, causes before consequences."""
        always = [("Machine", self.machine), ("Secrets", self.secrets), ("Services elsewhere", self.elsewhere)]
        if not self._started:
            return [*always, ("Services", self.services)]
        inside = [*always, ("Services", self.services), ("Database passwords", self.database_passwords)]
        # Without the gateway there is nobody to ask; that it is away, the services have told.
        if not gateway.runs(self._containers):
            return inside
        return [
            *inside,
            ("Sign-in", self.sign_in),
            ("Code locations", self.locations),
            ("Daemons", self.daemons),
            ("Run containers", self.run_containers),
        ]

    def machine(self) -> Iterator[Finding]:
        """Memory, disk, addresses and port."""
        yield from preflight.resources(self._context, started=self._started)
        wanted = address_pools.SPARE if self._started else len(self._context.config.get("networks") or {})
        if few := address_pools.finding(self._context, wanted):
            yield few
        taken = preflight.port(self._context, self._deployment.settings(), self._containers)
        if taken:
            yield taken
        if unfinished := journal.read(self._deployment):
            yield Finding(
                "upgrade",
                f"the upgrade to {unfinished.wanted.version}, begun {unfinished.since}, has not ended",
                "backups wait for its end, and the database's log grows meanwhile",
                f"{self._deployment.stack} upgrade finishes it, or puts everything back",
            )

    def secrets(self) -> Iterator[Finding]:
        """Files of secrets: there, readable for containers, behind a closed door."""
        directory = self._deployment.secrets()
        shown = self._deployment.shown(directory)
        if not directory.is_dir():
            yield Finding(
                "secrets", f"{shown} does not exist", "every service needs its secrets", f"{self._deployment.stack} up"
            )
            return
        if directory.stat().st_mode & 0o077:
            yield Finding(
                "secrets", f"other users may enter {shown}", "its files are readable for all", f"chmod 700 {shown}"
            )
        for name, secret in (self._context.config.get("secrets") or {}).items():
            path = directory.parent / secret["file"] if "file" in secret else None
            if path is None:
                continue
            if not path.is_file():
                yield Finding("secrets", f"{name} has no file", f"{path} is missing", f"{self._deployment.stack} up")
            elif not path.stat().st_mode & 0o004:
                yield Finding(
                    "secrets",
                    f"{name} is closed to the containers",
                    "they run as users of their own; the directory is what keeps others out",
                    f"chmod 644 {self._deployment.shown(path)}",
                )

    def elsewhere(self) -> Iterator[Finding]:
        """A database and buckets outside this machine: half set, or not to be reached."""
        yield from external.findings(self._context)
        yield from external.unreachable(self._context)

    def services(self) -> Iterator[Finding]:
        """Services that are missing, unhealthy or gone, with the end of their output."""
        own = {container.service: container for container in self._containers if container.is_service}
        for name in self._context.config["services"]:
            container = own.get(name)
            if container is None:
                yield Finding(
                    name, "has no container", "it was not started, or removed by hand", f"{self._deployment.stack} up"
                )
            elif not container.is_well or (container.state == "exited" and self._restarts(name)):
                yield self._unwell(container)
            elif name not in self._context.locations:
                # A code server may end on purpose, to read its definitions anew.
                yield from self._crashed(container)

    def _restarts(self, name: str) -> bool:
        return self._context.config["services"][name].get("restart") not in (None, "no")

    def _crashed(self, container: docker.Container) -> Iterator[Finding]:
        ago = time.time() - (docker.moment(container.started) or 0)
        if container.restarts and ago < CRASH_IS_NEWS:
            yield Finding(
                container.service,
                f"ended by itself and was started again, last {ago / 60:.0f} min ago",
                f"{container.restarts} times since somebody started it; runs wait for it, or are retried",
                f"`docker logs {container.name}` has what it said last before that;"
                f" {self._deployment.stack} doctor --invariants, whether all is right again",
            )

    def _unwell(self, container: docker.Container) -> Finding:
        state = f"exited with {container.exit_code}" if container.state == "exited" else container.state
        state += f", {container.health}" if container.health else ""
        output = self._context.executor.run(docker.logs(self._deployment, container.service), check=False).stdout
        probe = f"its health check says: {container.last_probe[-300:]}\n" if container.last_probe else ""
        last = "\n".join(f"    {line}" for line in output.strip().splitlines()[-8:])
        logs = " ".join(["docker", "logs", container.name])
        return Finding(container.service, f"is {state}", f"{probe}its last lines:\n{last}", f"read on with `{logs}`")

    def database_passwords(self) -> Iterator[Finding]:
        """Secrets that no longer open the database, by trying each."""
        result = self._context.executor.run(docker.compose(self._deployment, *CHECK), check=False, timeout=90)
        try:
            failures = json.loads(result.stdout)["failing"]
        except (ValueError, KeyError, TypeError):
            yield Finding(
                "database",
                "the passwords could not be tried",
                result.last_words,
                "see to the services first, then repeat",
            )
            return
        for role, why in failures.items():
            secret = f"{role}_database_password" if role in self._context.locations else f"{role}_password"
            yield Finding(
                "database",
                f"the role {role} cannot sign in",
                why,
                f"the secret {secret} no longer matches: {self._deployment.stack} down, then up, gives the role the"
                " password that the file has",
            )

    def sign_in(self) -> Iterator[Finding]:
        """Many wrong passwords."""
        command = docker.logs_since(self._deployment, "gateway", "1h")
        yield from sign_ins.findings(self._context.executor.run(command, timeout=60).stdout.splitlines())

    def locations(self) -> Iterator[Finding]:
        """Locations that do not load, with their error."""
        for location in gateway.as_admin(self._deployment).locations():
            if location.error:
                lines = "\n".join(f"    {line}" for line in location.error.splitlines()[-12:])
                yield Finding(
                    f"location {location.name}",
                    "does not load",
                    f"\n{lines}",
                    f"correct code_locations/{location.name}, then {self._deployment.stack} up",
                )

    def daemons(self) -> Iterator[Finding]:
        """Daemons without a heartbeat."""
        for daemon in gateway.as_admin(self._deployment).daemons():
            if not daemon.healthy:
                yield Finding(
                    f"daemon {daemon.kind}",
                    "has no recent heartbeat" if not daemon.error else "reports errors",
                    daemon.error or "it is stuck, restarting, or cannot reach the database",
                    "docker logs of the service daemon say why; restarting it is safe",
                )

    def run_containers(self) -> Iterator[Finding]:
        """Live containers whose run is finished or unknown: they take memory for nobody."""
        live = {c.run_id: c for c in self._containers if c.is_run and c.state in ALIVE}
        client = gateway.as_admin(self._deployment)
        states = client.run_states(list(live))
        ends = client.run_ends([run_id for run_id in live if states.get(run_id) in FINISHED])
        # A run's process takes a moment to end after its last event, and the sweep knows that.
        passing = {run_id for run_id, ended in ends.items() if time.time() - ended < LEFT_OVER_IS_STOPPED + MARGIN}
        for run_id, container in live.items():
            state = states.get(run_id)
            if run_id not in passing and (state is None or state in FINISHED):
                yield Finding(
                    f"container {container.name}",
                    "works for no run",
                    f"run {run_id} is {state or 'unknown to Dagster'}",
                    f"the broker's sweep ends it within minutes; at once: docker stop {container.name}",
                )
