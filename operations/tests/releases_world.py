"""A machine with a deployment on it, as far as releases see one: git, images, containers, tables, what is loaded.

It does what the commands say, so that a test can look at what they left; and it can be interrupted, or killed, at any
of them. Files are the real ones.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from operations import environment_file, gateway
from operations.context import Context
from operations.execute import CommandError, Line, Result
from operations.releases import history, journal, tags
from operations.tests.fakes import Machine, container, line_by_line

COMMIT = "0a1b2c3d4e5f" + "0" * 28
DOCKERFILE = "FROM x AS location\nFROM location AS tests\n"
LOCATIONS = ("ingestion", "analytics")
ELSEWHERE = "registry.example.org/sales@sha256:" + "1" * 64


class KilledError(BaseException):
    """What kill -9 is to a process: nothing it does from here on has an effect."""


class Stepped:
    """An executor that can be interrupted, or killed, at any step; what a step does is its subclass' `run`."""

    def __init__(self) -> None:
        self.steps = 0
        self.stop_at: int | None = None
        self.kill = False
        self.trace: list[str] = []

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        raise NotImplementedError

    def stream(
        self, args: Sequence[str], on_line: Line, *, env: Mapping[str, str] | None = None, check: bool = True
    ) -> Result:
        return line_by_line(self.run(args, env=env, check=False), on_line, check=check)

    def watch(self, monkeypatch: pytest.MonkeyPatch, *functions: tuple[Any, str]) -> None:
        """Make each call of these functions of modules a step as well, before it is done."""
        for module, name in functions:
            monkeypatch.setattr(module, name, self._stepped(name, getattr(module, name)))

    def _stepped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.tick(name)
            return original(*args, **kwargs)

        return stepped

    def tick(self, what: str) -> None:
        """One step; the one to stop at does not happen."""
        self.steps += 1
        self.trace.append(what)
        if self.stop_at is not None and self.steps >= self.stop_at:
            if self.kill:
                raise KilledError(what)
            if self.steps == self.stop_at:
                raise KeyboardInterrupt

    def interrupt_at(self, step: int | None, *, kill: bool = False) -> None:
        """From the start of the next call."""
        self.steps, self.stop_at, self.kill, self.trace = 0, step, kill, []


class World(Stepped):
    """Answers every command that a release runs."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.commit, self.dirty, self.content = COMMIT, "", dict.fromkeys(LOCATIONS, "blob-1")
        self.builds_fail = self.tests_fail = self.validation_fails = ""
        self.load_error: dict[str, str] = {}
        self.crashes: set[str] = set()
        self.empty: set[str] = set()
        self.jobs: dict[str, str] = {}
        self.run_state = "SUCCESS"
        self.needed: list[str] | None = []
        # The newest revision that a commit's images bring; where none is named, locations have no migrations.
        self.heads: dict[str, str] = {}
        self.tables: dict[str, str | None] = {}
        self.irreversible = self.no_way = False
        self.takes: list[str] = []
        # Containers of commands that nobody waits for any more.
        self.orphans: set[str] = set()
        self.images: dict[str, str] = {}
        self.containers: dict[str, dict[str, Any]] = {}
        self.servers = 0
        for name in ("postgres", "webserver", "daemon", "gateway"):
            self.containers[name] = {"image": f"prod/{name}:local", "server": 0}
        for name in LOCATIONS:
            self.images[f"prod/{name}:local"] = f"sha256:local-{name}"
            self._start(name, f"prod/{name}:local")

    # What a test asks.

    def image(self, name: str) -> str:
        """What runs."""
        return str(self.containers[name]["image"])

    def started(self) -> dict[str, int]:
        """Which start of its container each service is at."""
        return {name: each["server"] for name, each in self.containers.items()}

    def head_of(self, image: str) -> str | None:
        """The revision that an image needs."""
        return self.heads.get(tags.commit_of(image.rpartition(":")[2]), self.heads.get("local"))

    # The executor.

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        args = list(args)
        try:
            self.tick(" ".join(args))
        except BaseException:
            # What was asked of the engine goes on without who asked.
            if {"upgrade", "downgrade"} & set(args):
                self.orphans.add(args[args.index("--name") + 1])
            raise
        code, out = self._do(args, dict(env or {}))
        result = Result(tuple(args), code, out if code == 0 else "", "" if code == 0 else out)
        if check and not result.ok:
            raise CommandError(result)
        return result

    def _do(self, args: list[str], env: dict[str, str]) -> tuple[int, str]:
        if args[0] == "git":
            return self._git(args[3:])
        if args[0] == "tar":
            return self._extract(Path(args[-1]))
        if args[:2] == ["docker", "compose"]:
            return self._compose(args, env)
        if args[:2] == ["docker", "run"]:
            return self._trial(args)
        return self._docker(args)

    def _git(self, args: list[str]) -> tuple[int, str]:
        if args[0] == "rev-parse":
            return 0, self.commit + "\n"
        if args[0] == "status":
            return 0, self.dirty
        if args[0] == "ls-tree":
            wanted = args[args.index("--") + 1 :]
            lines = [f"100644 blob {blob}\tcode_locations/{name}/x.py" for name, blob in self.content.items()]
            return 0, "".join(f"{line}\0" for line in lines if any(line.split("\t")[1].startswith(w) for w in wanted))
        return 0, ""

    def _extract(self, folder: Path) -> tuple[int, str]:
        for name in LOCATIONS:
            tests = folder / "code_locations" / name / "tests"
            tests.mkdir(parents=True)
            (tests / "test_x.py").touch()
        (folder / "Dockerfile").write_text(DOCKERFILE)
        (folder / "docker-compose.yml").write_text("services: {}\n")
        return 0, ""

    def _tag(self, name: str, env: dict[str, str]) -> str:
        settings = environment_file.read(self.root / ".env", self.root / ".env.example")
        return env.get(tags.variable(name)) or settings.get(tags.variable(name)) or "local"

    def config(self, env: dict[str, str], root: str) -> dict[str, Any]:
        """The Compose file, resolved."""
        services: dict[str, Any] = {"postgres": {"image": "prod/postgres:local", "build": {"context": root}}}
        for name in LOCATIONS:
            image = f"prod/{name}:{self._tag(name, env)}"
            arguments = {"SERVICE": f"code_locations/{name}", "NAME": name}
            services[name] = {
                "image": image,
                "build": {"context": root, "dockerfile": "Dockerfile", "target": "location", "args": arguments},
                "environment": {"DAGSTER_CURRENT_IMAGE": image},
                "labels": {"code-location": name},
            }
        if "sales" in self.containers:
            services["sales"] = {
                "image": ELSEWHERE,
                "environment": {"DAGSTER_CURRENT_IMAGE": ELSEWHERE},
                "labels": {"code-location": "sales"},
            }
        return {"services": services, "secrets": {}}

    def _compose(self, args: list[str], env: dict[str, str]) -> tuple[int, str]:
        if "config" in args:
            return 0, json.dumps(self.config(env, args[args.index("--project-directory") + 1]))
        if "build" in args:
            if self.builds_fail:
                return 1, self.builds_fail
            file = json.loads(Path(args[args.index("--file") + 1]).read_text())
            for service in file["services"].values():
                self.images[service["image"]] = f"sha256:{service['image']}"
            return 0, "#1 [location 1/1] COPY\n#1 DONE 1.0s\n"
        if "up" in args:
            name = args[-1]
            pinned = [each for each in args if each.endswith("pinned.json")]
            image = self.config(env, "")["services"][name]["image"]
            if pinned:
                image = json.loads(Path(pinned[0]).read_text())["services"][name]["image"]
            if image not in self.images:
                return 1, f"No such image: {image}"
            self._start(name, image)
            return 0, ""
        if "run" in args:
            container = args[args.index("--name") + 1]
            assert container not in self.orphans, "two migrations at once"
            image = self.config(env, "")["services"][args[args.index("--quiet-pull") + 1]]["image"]
            return self._migrate(args, image)
        return self._inside(args)

    def _inside(self, args: list[str]) -> tuple[int, str]:
        if "locations" in args:
            return 0, json.dumps({name: self.loaded(name) for name in self.containers})
        if "images" in args:
            return (0, json.dumps(self.needed)) if self.needed is not None else (1, "the database is away")
        return 0, "the end of its output\n"

    def loaded(self, name: str) -> dict[str, Any]:
        """How webserver and daemon have loaded what runs."""
        each = self.containers[name]
        error = self.load_error.get(each["image"], "")
        return {"server": f"server-{each['server']}", "image": each["image"], "error": error, "kind": "", "at": 9e9}

    def _start(self, name: str, image: str) -> None:
        self.servers += 1
        self.containers[name] = {"image": image, "server": self.servers}

    def _migrate(self, args: list[str], image: str) -> tuple[int, str]:
        name = image.rpartition(":")[0].rpartition("/")[2]
        head = self.head_of(image)
        if "current" in args:
            return 0, json.dumps({"current": self.tables.get(name), "head": head})
        if "upgrade" in args:
            to = args[args.index("--to") + 1] if "--to" in args else head
            self.tables[name] = to
            return 0, f"migrations: {name}: at {to}\n"
        if self.irreversible:
            return 1, "migrations: cannot go back to r1, nothing was changed: r2 (names): it drops a column"
        to = args[args.index("--to") + 1]
        self.tables[name] = None if to == "base" else to
        return 0, f"migrations: {name}: at {to}\n"

    def _trial(self, args: list[str]) -> tuple[int, str]:
        if "--interactive" in args:
            return 0, json.dumps({"takes": self.takes, "no_way": ["r2 (names): it drops"] if self.no_way else []})
        if "pytest" in args:
            return (1, self.tests_fail) if self.tests_fail else (0, "57 passed in 1.00s\n")
        if "validate" in args:
            return (1, self.validation_fails) if self.validation_fails else (0, "")
        if "heads" in args:
            image = next(each for each in args if each.startswith(("prod/", "registry")))
            head = self.head_of(image)
            return (0, json.dumps({"head": head})) if head else (1, "No module named platform_kit.migrations")
        return 0, ""

    def _docker(self, args: list[str]) -> tuple[int, str]:
        text = " ".join(args[1:])
        if text.startswith("rm "):
            self.orphans.discard(args[-1])
        if text.startswith("version"):
            return 0, "20.10.24"
        if text.startswith("info"):
            return 0, "/var/lib/docker\n"
        if text.startswith("image"):
            return self._image(args, text)
        if text.startswith("ps --all --quiet"):
            return 0, "\n".join(self.containers)
        if text.startswith("ps --all --no-trunc"):
            return 0, "\n".join(each["image"] for each in self.containers.values())
        if text.startswith("inspect"):
            return 0, json.dumps([self._inspected(name) for name in self.containers])
        return 0, ""

    def _image(self, args: list[str], text: str) -> tuple[int, str]:
        if text.startswith("image inspect"):
            return (0, self.images[args[-1]] + "\n") if args[-1] in self.images else (1, "No such image")
        if text.startswith("image rm"):
            used = {each["image"] for each in self.containers.values()}
            for image in args[3:]:
                if image not in used:
                    self.images.pop(image, None)
            return 0, ""
        found = [image.rpartition(":") for image in self.images]
        return 0, "".join(f"{tag}\n" for repository, _, tag in found if repository == args[-1])

    def _inspected(self, name: str) -> dict[str, Any]:
        each = self.containers[name]
        crashed = each["image"] in self.crashes
        record = container(name, state="exited" if crashed else "running", exit_code=1 if crashed else 0)
        record["Config"]["Image"] = each["image"]
        return record


class FakeGraphQL:
    """The webserver of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        world = self._world
        world.tick("GraphQL " + query.split("(")[0])
        if query.startswith("mutation"):
            return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "run-1"}}}
        name = variables["name"]
        told = world.loaded(name)
        found: dict[str, Any] = {"__typename": "PythonError", "message": told["error"], "className": "ImportError"}
        if not told["error"]:
            empty = told["image"] in world.empty
            jobs = [{"name": world.jobs[name]}] if name in world.jobs else []
            kinds = {"jobs": jobs, "assetNodes": [] if empty else [{"id": "a"}], "schedules": [], "sensors": []}
            found = {"__typename": "RepositoryLocation", "repositories": [{"name": "__repository__", **kinds}]}
        entry = {
            "__typename": "WorkspaceLocationEntry",
            "loadStatus": "LOADED",
            "updatedTimestamp": told["at"],
            "versionKey": json.dumps([told["server"], told["image"]]),
            "locationOrLoadError": found,
        }
        return {"workspaceLocationEntryOrError": entry}

    def run_states(self, run_ids: list[str]) -> dict[str, str]:
        self._world.tick("GraphQL run_states")
        return dict.fromkeys(run_ids, self._world.run_state)


def make(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> World:
    """A deployment that is up, on a machine of its own."""
    world = World(machine.root)
    with (machine.root / ".env.example").open("a") as file:
        file.write("".join(f"{tags.variable(name)}=local\n" for name in LOCATIONS))
    machine.made_env()
    with (machine.root / ".env").open("a") as file:
        file.write("".join(f"{tags.variable(name)}=local\n" for name in LOCATIONS))
    machine.executor = world  # type: ignore[assignment]
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGraphQL(world))
    world.watch(
        monkeypatch, (journal, "write"), (journal, "forget"), (history, "record"), (environment_file, "set_value")
    )
    return world


def consistent(world: World, context: Context) -> None:
    """Containers, tables and images are those that .env names, and nothing is left to be done."""
    deployment = context.deployment
    assert journal.read(deployment) is None
    assert not [name for name in world.orphans if name.endswith("-migration")]
    for name in LOCATIONS:
        image = tags.image(deployment, name, tags.in_force(deployment, name))
        assert world.image(name) == image
        assert image in world.images
        if world.heads:
            assert world.tables.get(name) == world.head_of(image)
        release = history.in_force(deployment, name)
        assert (release is not None) == tags.is_release(tags.in_force(deployment, name))
