"""A remote, a checkout that follows it, and an engine: git is real, Docker is a model of what reconcile asks of it."""

import hashlib
import json
import os
import pickle
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from operations import environment_file, gateway, preflight, prepare
from operations.context import Context
from operations.errors import StackError
from operations.execute import CommandError, Line, Result, Shell
from operations.reconcile import locations, reconciling
from operations.reconcile.memory import Records
from operations.releases import content, history, tags
from operations.releases.planning import Plan
from operations.releases.tree import Tree
from operations.tests.fakes import EXAMPLE, KILLED, FakeExecutor, Machine, container

COMPOSE = """\
services:
  postgres: {image: prod/postgres:local, restart: always, build: {dockerfile: postgres/Dockerfile}, networks: {database: null, ingestion: null}}
  migrate:
    image: prod/daemon:local
    build: {dockerfile: daemon/Dockerfile}
    volumes: [{type: bind, source: ./access.yaml, target: /opt/dagster/access.yaml}]
    depends_on: {postgres: {}}
  ingestion: {image: "prod/ingestion:${INGESTION_TAG}", restart: always, build: {dockerfile: deploy/images/x}, labels: {code-location: ingestion}, networks: {ingestion: null}}
  analytics: {image: "prod/analytics:${ANALYTICS_TAG}", restart: always, build: {dockerfile: deploy/images/x}, labels: {code-location: analytics}}
  webserver:
    image: prod/webserver:local
    restart: always
    build: {dockerfile: webserver/Dockerfile}
    volumes:
      - {type: bind, source: ./access.yaml, target: /opt/dagster/access.yaml}
      - {type: bind, source: ./workspace.yaml, target: /opt/dagster/workspace.yaml}
    depends_on: {migrate: {}, ingestion: {}, analytics: {}}
  daemon: {image: prod/daemon:local, restart: always, depends_on: {migrate: {}, ingestion: {}}}
  gateway: {image: prod/gateway:local, restart: always, build: {dockerfile: gateway/Dockerfile}}
networks: {database: {name: prod_database}, ingestion: {name: prod_ingestion}}
"""  # noqa: E501
SETTINGS = """\

# Image tags of the code locations.
INGESTION_TAG=local
ANALYTICS_TAG=local

# The repository that the machine follows.
RECONCILE_BRANCH=
RECONCILE_SIGNERS=
RECONCILE_SETTINGS=
"""
SERVICES = ("postgres", "daemon", "webserver", "gateway")
LOCATIONS = ("ingestion", "analytics")
# Words of a command that changes something, here or in the engine.
EFFECTS = ("fetch", "worktree", "checkout", "clean", "merge", "reset", "check", "build", "up", "tag", "stop", "rm")


def git(root: Path, *args: str) -> str:
    """Git as the author of the repository uses it."""
    who = ("-c", "user.name=author", "-c", "user.email=author@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", "-C", str(root), *who, *args], check=True, capture_output=True, text=True
    ).stdout.strip()


class Engine(FakeExecutor):
    """Runs git, and models the engine: images by the content they are built from, containers by their description."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.images: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.containers: dict[str, dict[str, Any]] = {}
        self.made = 0
        # The number of the effect to be interrupted at, and whether before or after it.
        self.interrupt: tuple[int, str] | None = None
        # Where the engine's state is kept when the interrupt is a kill -9: it outlives who asked.
        self.kept: Path | None = None
        self.effects: list[list[str]] = []
        self._shell = Shell(root)

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        self.calls.append(list(args))
        is_effect = bool(set(EFFECTS) & set(args)) and "config" not in args
        if is_effect:
            self.effects.append(list(args))
        now = is_effect and self.interrupt is not None and len(self.effects) == self.interrupt[0]
        if now and self.interrupt and self.interrupt[1] == "before":
            self._stop()
        result = self._shell.run(args, env=env, check=False) if args[0] == "git" else self._answer(args)
        if now:
            self._stop()
        if check and not result.ok:
            raise CommandError(result)
        return result

    def _stop(self) -> None:
        if self.kept is None:
            raise KeyboardInterrupt
        self.kept.write_bytes(pickle.dumps((self.images, self.sources, self.containers, self.made)))
        os._exit(KILLED)

    def outlive(self) -> None:
        """Be as whoever was killed left it."""
        assert self.kept is not None
        self.images, self.sources, self.containers, self.made = pickle.loads(self.kept.read_bytes())
        self.kept = None

    def stream(
        self, args: Sequence[str], on_line: Line, *, env: Mapping[str, str] | None = None, check: bool = True
    ) -> Result:
        return self.run(args, env=env, check=check)

    def up(
        self, service: str, spec: Mapping[str, Any], *, force: bool = False, keep: bool = False, alone: bool = False
    ) -> bool:
        """As Compose does: made where there is none or another; whether it runs well."""
        # With --no-deps Compose forgets dependencies before it computes the hash.
        described = _hash({key: value for key, value in spec.items() if key != "depends_on" or not alone})
        image = self.images[spec["image"]]
        known = self.containers.get(service)
        if known is None or ((force or known["hash"] != described or known["image"] != image) and not keep):
            self.made += 1
            known = {"id": f"{service}-{self.made}", "hash": described, "image": image, "started": "", "state": "made"}
            self.containers[service] = known
        if known["state"] != "running":
            known["started"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            crashes = "CRASH" in self.sources.get(image, "")
            known["state"] = "exited" if crashes or spec.get("restart") is None else "running"
            known["exit_code"] = 1 if crashes else 0
        return bool(known["exit_code"] == 0)

    def build(self, tree: Path, service: str, image: str) -> bool:
        """An image of the files in the service's folder."""
        folder = tree / ("code_locations" if service in LOCATIONS else "") / service
        text = "".join(path.read_text() for path in sorted(folder.rglob("*")) if path.is_file())
        if "UNBUILDABLE" in text:
            return False
        digest = "sha256:" + hashlib.sha256(f"{service}{text}".encode()).hexdigest()
        self.images[image], self.sources[digest] = digest, text
        return True

    def _answer(self, args: Sequence[str]) -> Result:
        words = list(args)
        if words[0] == "env":
            wrong = Path(words[1].removeprefix("--chdir="), "INVALID").exists()
            return _result(args, "  docker-compose.yml:1: it is wrong\n" if wrong else "", 1 if wrong else 0)
        if words[:2] == ["docker", "compose"]:
            return self._compose(words)
        if words[1:3] == ["image", "inspect"]:
            return self._image_inspect(words)
        if words[1] == "ps":
            return _result(args, "\n".join(each["id"] for each in self.containers.values()))
        if words[1] == "inspect":
            return _result(args, json.dumps([self._inspected(name) for name in self.containers]))
        if words[1] == "tag":
            self.images[words[3]] = words[2]
        if words[1] == "wait":
            return _result(args, next(str(e["exit_code"]) for e in self.containers.values() if e["id"] == words[2]))
        if words[1] == "rm":
            self.containers = {name: each for name, each in self.containers.items() if each["id"] != words[-1]}
        return self._find(args)

    def _image_inspect(self, words: list[str]) -> Result:
        if "--format" in words:
            return _result(words, "sha256:base")
        found = [{"Id": self.images[name], "RepoTags": [name]} for name in words[3:] if name in self.images]
        return _result(words, json.dumps(found), 0 if len(found) == len(words) - 3 else 1)

    def _inspected(self, name: str) -> dict[str, Any]:
        own = self.containers[name]
        labels = {"com.docker.compose.config-hash": own["hash"]}
        if name in LOCATIONS:
            labels["code-location"] = name
        entry = container(name, id=own["id"], state=own["state"], exit_code=own["exit_code"], labels=labels,
                          networks=("prod_database", "prod_ingestion") if name == "postgres" else ())  # fmt: skip
        entry["State"]["StartedAt"], entry["Image"] = own["started"], own["image"]
        return entry

    def _compose(self, words: list[str]) -> Result:
        directory = Path(words[words.index("--project-directory") + 1])
        files = [Path(words[at + 1]) for at, word in enumerate(words) if word == "--file"]
        described = self.config(directory, files[0].parent if files else directory, Path(_after(words, "--env-file")))
        services = described["services"]
        if "--hash" in words:
            return _result(words, "".join(f"{name} {_hash(spec)}\n" for name, spec in services.items()))
        if "config" in words:
            return _result(words, json.dumps(described))
        if "build" in words:
            well = [
                self.build(directory, _folder(services[name]), services[name]["image"])
                for name in _named(words, services)
            ]
            return _result(words, "" if all(well) else "it does not build", 0 if all(well) else 1)
        if "up" in words:
            options = {"force": "--force-recreate" in words, "keep": "--no-recreate" in words}
            options["alone"] = "--no-deps" in words
            missing = [name for name in _named(words, services) if services[name]["image"] not in self.images]
            if missing:
                return _result(words, f"No such image: {missing}", 1)
            if not options["alone"]:
                for name in _dependencies(services, _named(words, services)):
                    self.up(name, services[name])
            well = [self.up(name, services[name], **options) for name in _named(words, services)]
            return _result(words, "", 0 if all(well) or "--wait" not in words else 1)
        return _result(words, "")

    def config(self, directory: Path, tree: Path, env: Path) -> dict[str, Any]:
        """The Compose file of a tree, for containers of a directory."""
        settings = {key: each.value for key, each in environment_file.parse(env.read_text(), ".env").items()}
        text = re.sub(r"\$\{(\w+)\}", lambda match: settings[match[1]], (tree / "docker-compose.yml").read_text())
        described: dict[str, Any] = yaml.safe_load(text.replace("source: ./", f"source: {directory}/"))
        return described


def _hash(spec: Mapping[str, Any]) -> str:
    relevant = {key: value for key, value in spec.items() if key != "build"}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _dependencies(services: Mapping[str, Any], names: list[str]) -> list[str]:
    """What these depend on, directly or by way of others, the deepest first."""
    found: list[str] = []
    for name in names:
        direct = list(services[name].get("depends_on") or ())
        found += [each for each in (*_dependencies(services, direct), *direct) if each not in found]
    return [each for each in found if each not in names]


def _folder(spec: Mapping[str, Any]) -> str:
    return str(spec["image"]).partition("/")[2].partition(":")[0]


def _named(words: list[str], services: Mapping[str, Any]) -> list[str]:
    return [word for word in words[words.index("--project-name") + 2 :] if word in services]


def _after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def _result(args: Sequence[str], text: str, code: int = 0) -> Result:
    return Result(tuple(args), code, text, text if code else "")


class FakeGateway:
    """A webserver that loads what the engine runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def locations(self) -> list[gateway.Location]:
        found = []
        for name in LOCATIONS:
            own = self._engine.containers.get(name)
            broken = own is None or own["state"] != "running" or "BROKEN" in self._engine.sources[own["image"]]
            found.append(gateway.Location(name, loading=False, error=f"{name} is broken" if broken else ""))
        return found


class World:
    """The author's clone, the remote, and the machine."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.author, self.remote, self.vm = folder / "author", folder / "remote.git", folder / "vm"
        for each in (self.author, self.remote):
            each.mkdir()
        git(self.remote, "init", "--quiet", "--bare")
        git(self.author, "init", "--quiet")
        Machine(self.author)
        first = {".env.example": EXAMPLE + SETTINGS, "docker-compose.yml": COMPOSE, "stack": "#!/bin/sh\n"}
        first[".gitignore"] = ".env\n/secrets/\n/.stack/\n/.venv/\n/.deployments/\n"
        first |= {f"{name}/Dockerfile": f"COPY {name}/code /app\n" for name in SERVICES}
        first |= {f"{name}/code": f"{name} 1\n" for name in SERVICES}
        first |= {f"code_locations/{name}/code": f"{name} 1\n" for name in LOCATIONS}
        git(self.author, "remote", "add", "origin", str(self.remote))
        self.first = self.commit("First", **first)
        git(folder, "clone", "--quiet", str(self.remote), str(self.vm))
        self.machine = Machine(self.vm)
        for name, text in first.items():
            (self.vm / name).write_text(text)
        (self.vm / ".env").write_text(EXAMPLE + SETTINGS)
        self.engine = Engine(self.vm)
        self.machine.executor = self.engine
        self.records = Records(self.context().deployment)
        self._stand_in(monkeypatch)

    def _stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway(self.engine))
        monkeypatch.setattr(prepare, "make_secrets", lambda _: None)
        monkeypatch.setattr(preflight, "resources", lambda *_, **__: [])
        monkeypatch.setattr(locations, "prepare", self.prepare)
        monkeypatch.setattr(locations, "put", self.put)
        monkeypatch.setattr(locations, "fetch", self.fetch)
        monkeypatch.setattr(locations, "roll_back", self.roll_back)
        monkeypatch.setattr("operations.reconcile.ground.SMOKE_SECONDS", 0)

    def context(self) -> Context:
        """A new call of ./stack on the machine."""
        return self.machine.context()

    def commit(self, subject: str, *options: str, **files: str | None) -> str:
        """A commit of the author on the branch."""
        for name, text in files.items():
            path = self.author / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        git(self.author, "add", "--all")
        git(self.author, "commit", "--quiet", "--allow-empty", "-m", subject, *options)
        git(self.author, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
        return git(self.author, "rev-parse", "HEAD")

    def reconcile(self, *, retry: bool = False) -> reconciling.Outcome:
        """As the command does: the look that needs no lock, then the rest."""
        return reconciling.quick(self.context(), retry=retry) or reconciling.run(self.context(), retry=retry)

    @property
    def head(self) -> str:
        return git(self.vm, "rev-parse", "HEAD")

    def ids(self) -> dict[str, str]:
        """Which container each service has."""
        return {name: each["id"] for name, each in self.engine.containers.items()}

    def runs(self, service: str) -> str:
        """The files in the image that a service runs."""
        return self.engine.sources[self.engine.containers[service]["image"]]

    def setting(self, key: str) -> str:
        return environment_file.parse((self.vm / ".env").read_text(), ".env")[key].value

    def set(self, **values: str) -> None:
        for key, value in values.items():
            environment_file.set_value(self.vm / ".env", key, value)

    def told(self) -> str:
        return self.machine.out.getvalue() + self.machine.err.getvalue()

    # --- what releases do, as far as reconcile sees it --------------------------------------------

    def prepare(self, context: Context, names: list[str], commit: str) -> locations.Prepared | None:
        for name in names:
            context.executor.run(["docker", "build", name])
            if "FAILING" in git(self.author, "show", f"{commit}:code_locations/{name}/code"):
                raise StackError(f"the tests of {name} fail")
        plan = Plan(Tree(self.vm, self.vm, commit), dict.fromkeys(names, "x"), {}, {})
        return locations.Prepared(plan, []) if names else None

    def fetch(self, context: Context, names: list[str], services: Mapping[str, Mapping[str, Any]]) -> None:
        for name in names:
            image = str(services[name]["image"])
            if "unfit" in image:
                raise StackError(f"{image} is no image for {name}")
            self.engine.images[image], self.engine.sources[image] = image, image

    def put(self, context: Context, prepared: locations.Prepared | None, fetched: Sequence[str] = ()) -> None:
        for name in fetched:
            self.engine.up(name, self.engine.config(self.vm, self.vm, self.vm / ".env")["services"][name])
        if prepared is not None:
            self.deploy(context, list(prepared.plan.chosen), prepared.plan.tree.commit)

    def deploy(self, context: Context, names: list[str], commit: str) -> None:
        """As ./stack deploy does."""
        for name in names:
            tag = tags.new(commit)
            self.engine.build(self.vm, name, f"prod/{name}:{tag}")
            spec = self._with_tag(name, tag)
            self.engine.up(name, spec)
            context.executor.run(["docker", "up", name])
            self._record(name, tag, commit, "deployed")
            self.set(**{tags.variable(name): tag})

    def roll_back(self, context: Context, before: dict[str, str]) -> dict[str, str]:
        for name, tag in before.items():
            if tags.in_force(context.deployment, name) != tag and tags.is_release(tag):
                self.engine.up(name, self._with_tag(name, tag))
                commit = next(e.commit for e in history.read(context.deployment) if e.tag == tag)
                self._record(name, tag, commit, "rolled back")
                self.set(**{tags.variable(name): tag})
        return {}

    def _with_tag(self, name: str, tag: str) -> dict[str, Any]:
        spec: dict[str, Any] = self.engine.config(self.vm, self.vm, self.vm / ".env")["services"][name]
        return {**spec, "image": f"prod/{name}:{tag}"}

    def _record(self, name: str, tag: str, commit: str, result: str) -> None:
        deployment = self.context().deployment
        spec = self.engine.config(self.vm, self.vm, self.vm / ".env")["services"][name]
        about = content.of(self.vm, name, spec, commit, self.engine)
        history.record(deployment, history.Release(name, tag, "", commit, about, "2026", "me", result))
