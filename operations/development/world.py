"""All processes of one developer: a code server a location, the sample's API, webserver and daemon."""

import json
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from operations import waiting
from operations.context import Context
from operations.development import places, processes
from operations.development.locations import Fingerprint, Location
from operations.development.places import Places
from operations.development.processes import Program
from operations.development.sample import Sample, is_there
from operations.development.webserver import Webserver
from operations.errors import StackError
from operations.gateway import Location as Loaded
from operations.gateway import UnreachableError
from operations.testing import environments

SERVICES = "webserver/requirements.lock"
START_SECONDS = 180
PAUSE_SECONDS = 0.5
# Dagster's words for a code server that does not answer, or not in time.
UNREACHABLE = "Could not reach user code server"


class World:
    """Starts, watches and ends them."""

    def __init__(self, context: Context, place: Places, found: list[Location], port: int, sockets: Path) -> None:
        self._context, self._place, self._locations, self._sockets = context, place, found, sockets
        self._root, self._port, self._client = context.deployment.root, port, Webserver(port)
        self._servers: dict[str, Program] = {}
        self._next: dict[str, Program] = {}
        self._started = 0
        self._services: list[Program] = []
        self._seen: dict[str, Fingerprint] = {}
        self._changing: dict[str, Fingerprint] = {}
        self._since: dict[str, float] = {}
        self._news: set[tuple[str, ...]] = set()
        self._sample_settings: dict[str, str] = {}
        self._closing = ExitStack()

    def start(self) -> None:
        """Everything, and the address."""
        # Whatever has to be installed comes first: what is timed is the start.
        for lock in (SERVICES, *(location.lock for location in self._locations)):
            environments.provide(self._context, lock)
        self._migrate()
        began = time.monotonic()
        self._start_sample()
        for location in self._locations:
            self._lead_to(location, self._start_server(location))
        arguments = ("--workspace", str(self._workspace()))
        self._start_service("webserver", "dagster_webserver", "-h", "127.0.0.1", "-p", str(self._port), *arguments)
        with self._context.report.step("Load code locations") as step:
            self._tell_broken(loaded := self._wait_for_locations())
            step.done(", ".join(each.name for each in loaded if not each.error) or "none")
        left = self._client.forget_runs()
        if left:
            self._context.report.warn(f"runs that the last call left behind are marked as cancelled: {left}")
        # Before there is a daemon: nothing starts by itself in between.
        self._stop_starters()
        self._start_service("daemon", "dagster._daemon", "run", *arguments)
        self._say_where(time.monotonic() - began)

    def watch(self) -> None:
        """Load what changes and tell what ends, for ever."""
        while True:
            time.sleep(PAUSE_SECONDS)
            for program in self._services:
                if not program.runs:
                    raise _ended(program)
            # A webserver that is busy answers the next time.
            with suppress(UnreachableError):
                for location in self._locations:
                    self._look_at(location)

    def end(self) -> None:
        """End all of them."""
        processes.end([*self._services, *self._servers.values(), *self._next.values()])
        self._closing.close()

    def _migrate(self) -> None:
        """Make Dagster's tables, or bring them up to date; all processes at once would each begin to make them."""
        stamp, wanted = self._place.dagster_home / "migrated", environments.checksum(self._root, SERVICES)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return
        with self._context.report.step("Make Dagster's database"):
            command = [str(self._python(SERVICES)), "-m", "dagster", "instance", "migrate"]
            self._context.executor.run(command, env={"DAGSTER_HOME": str(self._place.dagster_home)}, timeout=300)
        stamp.write_text(wanted, encoding="utf-8")

    def _start_sample(self) -> None:
        if not is_there(self._root):
            return
        sample = Sample(self._context, self._place)
        self._closing.callback(sample.close)
        sample.provide_data(self._locations)
        self._sample_settings = sample.settings
        api = sample.api()
        api.start()
        self._services.append(api)

    def _start_server(self, location: Location) -> Program:
        """A code server on a socket of its own; clients come to it when the location's name leads there."""
        self._seen[location.name] = location.fingerprint()
        self._started += 1
        address = self._sockets / f"{location.name}.{self._started}"
        program = Program(
            address.name,
            # Lazily: a location that does not import stays up and says why.
            [
                *(str(self._python(location.lock)), "-m", "dagster", "api", "grpc", "--lazy-load-user-code"),
                *("--socket", str(address), "-m", f"{location.package}.definitions"),
            ],
            self._place.environment(
                [location.source, *_libraries(self._root)],
                {
                    "CODE_LOCATION": location.name,
                    "CODE_LOCATION_PACKAGE": location.package,
                    **self._sample_settings,
                    **places.own_settings(location.folder),
                },
            ),
            location.folder,
            self._place.logs / f"{location.name}.log",
        )
        program.start()
        return program

    def _lead_to(self, location: Location, program: Program) -> None:
        link = self._sockets / f"{location.name}.link"
        link.symlink_to(program.name)
        link.replace(self._sockets / location.name)
        self._servers[location.name] = program

    def _start_service(self, name: str, module: str, *args: str) -> None:
        command = [str(self._python(SERVICES)), "-m", module, *args]
        environment = self._place.environment([], {})
        program = Program(name, command, environment, self._place.home, self._place.logs / f"{name}.log")
        program.start()
        self._services.append(program)

    def _workspace(self) -> Path:
        servers = [
            {"grpc_server": {"socket": str(self._sockets / location.name), "location_name": location.name}}
            for location in self._locations
        ]
        path = self._sockets / "workspace.yaml"
        path.write_text(json.dumps({"load_from": servers}), encoding="utf-8")  # JSON is YAML
        return path

    def _wait_for_locations(self) -> list[Loaded]:
        """All locations, loaded or with the reason why not."""
        reloaded: set[str] = set()

        def settled() -> list[Loaded] | None:
            for program in self._services:
                if not program.runs:
                    raise _ended(program)
            try:
                found = self._client.locations()
                # The webserver may have asked before the code server was there; what it says after that is true.
                for each in found:
                    if _may_pass(each, reloaded) and _accepts(self._sockets / each.name):
                        self._client.reload(each.name)
                        # Not before it has answered: what the webserver says until then is about the time before.
                        reloaded.add(each.name)
                        return None
            except UnreachableError:
                return None
            waits = any(each.loading or (_may_pass(each, reloaded) and self._servers[each.name].runs) for each in found)
            return None if waits else found

        found = waiting.until(settled, START_SECONDS, pause=0.1)
        if found is None:
            raise StackError(
                f"after {START_SECONDS} s the code locations are not loaded",
                "every location loaded, or an error that says why not",
                f"read the logs in {self._context.deployment.shown(self._place.logs)}",
            )
        return found

    def _look_at(self, location: Location) -> None:
        """Start a new code server when its files have changed and stand still; end the old one when it answers."""
        name, now = location.name, location.fingerprint()
        new = self._next.get(name)
        if now != self._seen[name]:
            if self._changing.get(name) == now:
                self._prepare(location)
            self._changing[name] = now
        elif new and (_accepts(self._sockets / new.name) or not new.runs):
            self._switch(location, new)
        elif not new and not self._servers[name].runs and self._is_news(name, "ended"):
            self._context.report.problem(
                f"the code server of {name} has ended:\n{self._servers[name].last_words()}",
                "it to serve",
                "change a file of it, and it is started again",
            )

    def _prepare(self, location: Location) -> None:
        processes.end([self._next.pop(location.name)] if location.name in self._next else [])
        environments.provide(self._context, location.lock)  # nothing, unless the lock has changed
        self._since[location.name] = time.monotonic()
        self._next[location.name] = self._start_server(location)

    def _switch(self, location: Location, new: Program) -> None:
        name = location.name
        if self._client.under_way(name):
            # The run is a process of the old server and would end with it.
            if self._is_news(name, "waits"):
                self._context.report.say(f"{name} has changed; the change is loaded when its run has ended")
            return
        self._news -= {(name, "waits"), (name, "ended")}
        del self._next[name]
        old = self._servers[name]
        self._lead_to(location, new)
        processes.end([old])
        self._client.reload(name)
        broken = [each for each in self._client.locations() if each.name == name and each.error]
        if not broken:
            self._context.report.say(
                f"Loaded {name} again, {time.monotonic() - self._since[name]:.1f} s after the change"
            )
        self._tell_broken(broken)
        self._stop_starters()

    def _is_news(self, *what: str) -> bool:
        known = what in self._news
        self._news.add(what)
        return not known

    def _stop_starters(self) -> None:
        stopped = self._client.stop_starters()
        if stopped:
            self._context.report.say(f"Stopped until you start them: {', '.join(stopped)}")

    def _tell_broken(self, loaded: list[Loaded]) -> None:
        for each in loaded:
            if each.error:
                words = "\n".join(f"    {line}" for line in each.error.splitlines()[-12:])
                self._context.report.problem(
                    f"code location {each.name} does not load:\n{words}",
                    "its definitions to load; the others work meanwhile",
                    f"correct code_locations/{each.name}: it is loaded again when a file changes",
                )

    def _say_where(self, seconds: float) -> None:
        say, home = self._context.report.say, self._context.deployment.shown(self._place.home)
        say(f"\n  Ready in {seconds:.1f} s: http://127.0.0.1:{self._port}")
        say(f"  Lakes, runs and logs of {self._place.developer}: {home}")
        say("  Changed code is loaded by itself. Ctrl-C ends everything.\n")

    def _python(self, lock: str) -> Path:
        return environments.directory(self._root, lock) / "bin" / "python"


def _libraries(root: Path) -> list[Path]:
    """Sources of what images bring in /opt/libraries; a released library comes from the location's own lock instead."""
    released = {wheel.name.split("-")[0] for wheel in (root / "libraries" / "index").glob("*.whl")}
    return [path for path in sorted(root.glob("libraries/*/src")) if path.parent.name not in released]


def _may_pass(each: Loaded, reloaded: set[str]) -> bool:
    """Whether an error may be that its server is still starting, or loading, rather than one of the definitions."""
    return bool(each.error) and (each.name not in reloaded or UNREACHABLE in each.error)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _ended(program: Program) -> StackError:
    return StackError(
        f"{program.name} has ended by itself:\n{program.last_words()}",
        "it to run until Ctrl-C",
        f"its whole output is in {program.log}",
    )
