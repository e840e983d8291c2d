"""A machine with a deployment of the first release on it and the next one checked out, as an upgrade sees them.

It does what the commands say to images, containers and the files of the database, so that a test can look at what they
left; and it can be interrupted, or killed, at any of them. Files are the real ones.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from operations import gateway, users, whole_file
from operations.context import Context
from operations.execute import CommandError, Result
from operations.releases import history
from operations.tests.fakes import EXAMPLE, Machine, container, make_release
from operations.tests.releases_world import Stepped
from operations.upgrades import journal, moving, stamp
from operations.verbs import check as check_verb

START, HEAD = "a" * 40, "b" * 40
SERVICES = ("postgres", "migrate", "backup", "demo", "webserver", "daemon", "gateway")
# Their description names files of the checkout: made from other files they are other containers to Compose.
MOUNTING = ("migrate", "webserver", "daemon")
ADDED = "\n# New with this release.\nADDED=yes\n"
TAKEN = {
    **dict.fromkeys(("database_bytes", "database_bytes_stored", "file_bytes", "file_bytes_stored"), 1),
    **dict.fromkeys(("files", "tables"), 1),
    **{"set": "20261121", "kind": "incremental", "point": "2026-11-21T12:00:00+00:00", "repository": "here"},
    "everything_read_again": False,
}  # fmt: skip
NOTES = f"""# Releases
## 0.2.0
- What came.
- Operator: rename your sales to revenue.
## 0.1.0
Commit `{START}`.
- Operator: nothing that concerns anybody who has it.
"""


class World(Stepped):
    """Answers every command that an upgrade runs."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.dirty = self.build_fails = self.stays = ""
        self.old_hash, self.dagster, self.major = "old", "1.13.27", "17"
        self.load_error: dict[str, str] = {}
        self.under_way = 0
        # Of services by the images that break them, and rows that the new release loses.
        self.unwell: set[str] = set()
        self.loses_rows = False
        self.images = {f"prod/{name}:local": f"id-{name}-old" for name in SERVICES}
        self.containers: dict[str, dict[str, Any]] = {}
        self.files: dict[str, str] = {"data": "old"}
        self.marker = self.followed = False
        for name in SERVICES:
            self._make(name, "old", f"id-{name}-old")

    def _make(self, name: str, files: str, image: str, folder: str = "") -> None:
        where = folder or str(self.root)
        self.containers[name] = {"files": files, "image": image, "running": name != "migrate", "folder": where}

    # What a test asks.

    def is_as_before(self, env: bytes) -> bool:
        """Nothing of the attempt is left in what runs, in the data, or in the settings."""
        return (
            {name: (each["image"], each["running"]) for name, each in self.containers.items()}
            == {name: (f"id-{name}-old", name != "migrate") for name in SERVICES}
            and self.files == {"data": "old"}
            and not self.marker
            and (self.root / ".env").read_bytes() == env
            and all(self.images[f"prod/{name}:local"] == f"id-{name}-old" for name in SERVICES)
        )

    def is_upgraded(self) -> bool:
        """The new release runs on the data that it migrated, and nothing is left to do."""
        return (
            {name: (each["image"], each["running"]) for name, each in self.containers.items()}
            == {name: (f"id-{name}-new", name != "migrate") for name in SERVICES}
            and list(self.files) == ["data"]
            and self.files["data"].endswith("migrated")
            and not self.marker
            and not [name for name in self.images if not name.endswith(":local")]
        )

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
        self.tick(" ".join(args))
        # As an argument it would be longer than the system takes.
        assert "--since" not in args or (args[-1] == "--since" and json.loads(stdin or "")["history"])
        code, out = self._do(args)
        result = Result(tuple(args), code, out if code == 0 else "", "" if code == 0 else out)
        if check and not result.ok:
            raise CommandError(result)
        return result

    def _do(self, args: list[str]) -> tuple[int, str]:
        if args[0] == "git":
            return self._git(args)
        if args[0] == "tar":
            folder = Path(args[-1])
            (folder / "docker-compose.yml").write_text("old")
            return 0, ""
        if args[:2] == ["docker", "compose"]:
            return self._compose(args, " ".join(args))
        if args[:2] == ["docker", "run"]:
            return self._run(args)
        return self._docker(args, " ".join(args[1:]))

    def _git(self, args: list[str]) -> tuple[int, str]:
        if "rev-parse" in args:
            return 0, HEAD + "\n"
        if "status" in args:
            return 0, self.dirty
        if "reflog" in args or "rev-list" in args:
            return 0, f"{HEAD}\n{START}\n"
        if "show" in args:
            return 0, "new" if HEAD in args[-1] else "old"
        return 0, ""

    def _config(self) -> dict[str, Any]:
        services: dict[str, Any] = {
            name: {"image": f"prod/{name}:local", "build": {"context": "."}, "labels": {}} for name in SERVICES
        }
        services["demo"]["labels"] = {"code-location": "demo"}
        services["demo"]["build"]["args"] = {"SERVICE": "code_locations/demo"}
        return {"services": services, "volumes": {"postgres": {"name": "prod_postgres"}}, "secrets": {}}

    def _compose(self, args: list[str], text: str) -> tuple[int, str]:
        if "config" in args:
            if "--services" in args:
                return 0, "\n".join(SERVICES)
            if "--hash" in args:
                files = [Path(args[place + 1]) for place, word in enumerate(args) if word == "--file"]
                if "former" in args[args.index("--project-directory") + 1]:
                    return 0, "".join(f"{name} {hashed(name, 'former')}\n" for name in SERVICES)
                old = bool(files) and files[0].read_text() == "old"
                return 0, "".join(f"{name} {self.old_hash if old else 'new'}\n" for name in SERVICES)
            return 0, json.dumps(self._config())
        if "build" in args:
            if self.build_fails:
                return 1, self.build_fails
            described = json.loads(Path(args[args.index("--file") + 1]).read_text())["services"]
            for name, service in described.items():
                self.images[service["image"]] = f"id-{name}-new"
            return 0, "#1 [location 1/1] COPY\n#1 DONE 1.0s\n"
        if "up" in args:
            return self._up(args)
        if "exec" in args:
            return self._exec(args, text)
        return 0, "the end of its output\n"

    def _up(self, args: list[str]) -> tuple[int, str]:
        old = "former" in args[args.index("--project-directory") + 1]
        chosen = [name for name in SERVICES if name in args] or list(SERVICES)
        folder = args[args.index("--project-directory") + 1] if old else str(self.root)
        if old and self.files.get("data") != "old":
            return 1, "postgres: found data that a newer release has changed"
        for name in chosen:
            image = self.images[f"prod/{name}:local"]
            if image in self.unwell:
                return 1, f"dependency failed to start: {name} is unhealthy"
            if name not in self.containers:
                self._make(name, "former" if old else "new", image, folder)
            now = self.containers[name]
            # As Compose does: what is the same to it is only started.
            if now["image"] == image and hashed(name, now["files"]) == hashed(name, "former" if old else "new"):
                now["running"] = name != "migrate"
            else:
                self._make(name, "former" if old else "new", image, folder)
            if name == "migrate" and not old:
                self.files["data"] = self.files["data"].removesuffix(" migrated") + " migrated"
        return 0, ""

    def _exec(self, args: list[str], text: str) -> tuple[int, str]:
        name = args[args.index("--no-TTY") + 1]
        if not self.containers[name]["running"]:
            return 1, f"service {name} is not running"
        if "PG_VERSION" in text:
            return 0, self.major + "\n"
        if "du -sk" in text:
            return 0, "1024\tdata\n"
        if "take" in args:
            return 0, json.dumps({"result": TAKEN}) + "\n"
        if "follow" in args:
            if self.marker:
                return 1, "the log would be refused"
            self.followed = True
            return 0, json.dumps({"result": None}) + "\n"
        return 0, self.dagster + "\n"

    def _run(self, args: list[str]) -> tuple[int, str]:
        absent = [name for name in args if name.startswith("prod/") and name not in self.images]
        if absent:
            return 125, f"docker: Error: No such image: {absent[0]}"
        if "count" in args:
            assert self.containers["postgres"]["running"]
            runs = 3 if self.loses_rows and "--since" in args else 7
            return 0, json.dumps(
                {"result": {"history": {"runs": runs, "newest_run": 7, "instigators": {}}, "lakes": []}}
            )
        if "upgrade-cluster" in args:
            return self._cluster(args[-3], args[-1])
        return 0, ""

    def _cluster(self, step: str, upgrade: str) -> tuple[int, str]:
        before = f"before {upgrade}"
        if step == "ready" and [name for name in self.files if name.startswith("before")]:
            return 1, "found one of an upgrade that did not end"
        if step in ("copy", "fill", "take", "put-back"):
            assert not any(each["running"] for each in self.containers.values()), f"{step} beside what runs"
        if step == "copy":
            self.marker, self.files[before] = True, self.files["data"]
        elif step == "fill":
            self.files["upgraded"] = f"{self.files['data']} in the new format"
        elif step == "take":
            self.marker, self.files[before], self.files["data"] = True, self.files["data"], self.files.pop("upgraded")
        elif step == "put-back":
            self.files = {"data": self.files.get(before, self.files["data"])}
            self.marker = False
        elif step == "settle":
            self.marker = False
        elif step == "tidy":
            self.files.pop(before, None)
        return 0, ""

    def _docker(self, args: list[str], text: str) -> tuple[int, str]:
        if text.startswith("inspect --format"):
            return 0, "".join(f"prod/{name}:local {self.containers[name]['image']}\n" for name in args[4:])
        if text.startswith("inspect"):
            return 0, json.dumps([self._inspected(name) for name in self.containers])
        if text.startswith(("stop", "start")):
            for name in args[2:]:
                if name in self.containers and name not in ("migrate", self.stays):
                    self.containers[name]["running"] = args[1] == "start"
            return 0, ""
        if text.startswith(("tag", "image")):
            return self._image(args, text)
        answers = {"version": "20.10.24", "info": "/var/lib/docker\n", "volume ls": "prod_postgres\n"}
        answers["ps --all --quiet"] = "\n".join(self.containers)
        return 0, next((answer for words, answer in answers.items() if text.startswith(words)), "")

    def _image(self, args: list[str], text: str) -> tuple[int, str]:
        if text.startswith("tag"):
            self.images[args[3]] = self.images.get(args[2], args[2])
        elif text.startswith("image inspect"):
            return 0, self.images.get(args[-1], "id-base")
        elif text.startswith("image rm"):
            for name in args[3:]:
                self.images.pop(name, None)
        return 0, ""

    def _inspected(self, name: str) -> dict[str, Any]:
        each = self.containers[name]
        labels = {"com.docker.compose.config-hash": hashed(name, each["files"])}
        labels["com.docker.compose.project.working_dir"] = each["folder"]
        state = "running" if each["running"] else "exited"
        started = each.get("started", "2026-01-01T00:00:00.123456789Z")
        return container(name, id=name, state=state, labels=labels, started=started)


def hashed(name: str, files: str) -> str:
    """Compose's hash of a service, which changes with the place of what it mounts."""
    return "old" if files == "former" and name not in MOUNTING else files


class FakeGateway:
    """The webserver of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def locations(self) -> list[gateway.Location]:
        self._world.tick("GraphQL locations")
        error = self._world.load_error.get(self._world.containers["demo"]["image"], "")
        return [gateway.Location("demo", loading=False, error=error)]

    def run_counts(self) -> tuple[int, int]:
        self._world.tick("GraphQL counts")
        return 2, self._world.under_way

    def ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        self._world.tick("GraphQL " + query.split("(")[0])
        found = {"__typename": "RepositoryLocation", "repositories": []}
        told = {"loadStatus": "LOADED", "updatedTimestamp": 9e9, "versionKey": '["server", "image"]'}
        entry = {"__typename": "WorkspaceLocationEntry", "locationOrLoadError": found, **told}
        return {"workspaceLocationEntryOrError": entry}


def make(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> World:
    """A deployment that is up, on a machine of its own, with the next release checked out."""
    world = World(machine.root)
    make_release(machine.root)
    (machine.root / "docs").mkdir(exist_ok=True)
    (machine.root / "docs/releases.md").write_text(NOTES)
    lock = machine.root / "code_locations/demo/requirements.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("dagster==1.13.27 \\\n")
    old = EXAMPLE + "# Backups.\nBACKUPS=on\n"
    (machine.root / ".env.example").write_text(old + ADDED)
    (machine.root / ".env").write_text(old)
    (machine.root / "secrets").mkdir()
    machine.executor = world  # type: ignore[assignment]
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway(world))
    monkeypatch.setattr(users, "ROUNDS", 4)
    monkeypatch.setattr(moving, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(check_verb, "check", lambda *_, **__: 0)
    world.watch(
        monkeypatch,
        (journal, "write"),
        (journal, "forget"),
        (stamp, "write"),
        (history, "record"),
        (whole_file, "replace"),
    )
    return world


def settled(context: Context) -> bool:
    """Whether nothing of an upgrade is left under way."""
    return journal.read(context.deployment) is None
