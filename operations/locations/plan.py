"""Every line outside its folder that a location has, said once: adding writes them, removing takes them away."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from access import load_locations
from operations.checking.settings import VARIABLE
from operations.errors import StackError
from operations.locations import overlays, owners, settings_text
from operations.locations.draft import Draft
from operations.locations.overlays import KEEPER, OVERLAYS, source
from operations.locations.scaffold import Wish
from operations.locations.yaml_text import YamlText

COMPOSE, WORKSPACE, ACCESS, EXAMPLE = "docker-compose.yml", "workspace.yaml", "access.yaml", ".env.example"
STANDARDS = "code_locations/standards.yaml"
# The service that copies all lakes.
BACKUP = "backup"
TAGS = "# Image tags of the code locations."

BLOCK = """
  # {title}
  {name}:
    <<: *code-location
    image: {image}
{build}    environment: {{<<: *environment, POSTGRES_USER: {name}, DAGSTER_CURRENT_IMAGE: "{image}"}}
    secrets: [{{source: {name}_database_password, target: database_password}}]
    volumes: [{volumes}]
    networks: [{name}]
    labels: {{code-location: {name}, {limits}, run.warm: "1"}}
"""
LIMITS = 'run.memory: 1g, run.memory.max: 2g, run.cpus: "1", run.cpus.max: "2"'

BUILD = (
    "    build: {{context: ., dockerfile: deploy/images/python-service.Dockerfile, target: location,"
    " args: {{<<: *build, SERVICE: code_locations/{name}, NAME: {name}}}}}\n"
)


@dataclass(frozen=True)
class Removal:
    """What goes with a location, beside its lines."""

    folder: str | None
    overlays: tuple[str, ...]
    read: tuple[str, ...]


def names(root: Path) -> list[str]:
    """The locations of the workspace, in its order."""
    return list(load_locations(root / WORKSPACE))


def variable(name: str) -> str:
    """The setting with the image's tag."""
    return f"{name.upper()}_TAG"


def add(draft: Draft, wish: Wish) -> None:
    """All lines of a new location."""
    name, others = wish.name, names(draft.root)
    compose = draft.yaml(COMPOSE)
    compose.add(("services", "postgres", "networks"), name, after=others)
    passwords = [f"{other}_database_password" for other in others]
    compose.add(("services", "migrate", "secrets"), f"{name}_database_password", after=passwords)
    compose.add(("services",), name, after=others, lines=_block(wish))
    for service in ("webserver", "daemon"):
        compose.add(("services", service, "networks"), name, after=others)
        compose.add(("services", service, "depends_on"), name, "{condition: service_started}", after=others)
    logs = "logs-{0}:/var/lib/dagster/logs/{0}:ro"
    compose.add(("services", "webserver", "volumes"), logs.format(name), after=map(logs.format, others))
    if compose.get("services", BACKUP) is not None:
        mount = "lake-{0}:/var/lib/lake/{0}:ro"
        compose.add(("services", BACKUP, "volumes"), mount.format(name), after=map(mount.format, others))
    compose.add(("networks",), name, "{}" if wish.internet else "{internal: true}", after=others)
    for kind in ("lake", "logs"):
        compose.add(("volumes",), f"{kind}-{name}", after=[f"{kind}-{other}" for other in others])
    file = f'{{file: "${{SECRETS_DIR:-./secrets}}/{name}_database_password"}}'
    compose.add(("secrets",), f"{name}_database_password", file, after=passwords)
    if KEEPER in others:
        compose.add(("services", KEEPER, "secrets"), f"{name}_database_password")
        for mount in (f"lake-{name}:/var/lib/lake/{name}", f"logs-{name}:/var/lib/location-logs/{name}"):
            compose.add(("services", KEEPER, "volumes"), mount)
    overlays.add(draft, wish, others)
    server = f"{{host: {name}, port: 4000, location_name: {name}}}"
    draft.yaml(WORKSPACE).add(("load_from",), f"grpc_server: {server}", lines=f"  - grpc_server: {server}\n")
    _people_and_machines(draft, wish, others)
    if not wish.image:
        for path in settings_files(draft.root):
            tags = [variable(other) for other in others]
            draft.write(path, settings_text.added(draft.read(path), f"{variable(name)}=local", tags, TAGS))
    _owner(draft, wish)


def _block(wish: Wish) -> str:
    name = wish.name
    image = wish.image or f"${{COMPOSE_PROJECT_NAME}}/{name}:${{{variable(name)}:-local}}"
    mounts = [f"lake-{name}:/var/lib/lake/{name}", *(f"lake-{o}:/var/lib/lake/{o}:ro" for o in wish.reads)]
    mounts.append(f"logs-{name}:/var/lib/dagster/logs")
    built = "Built in a repository of its own. " if wish.image else ""
    return BLOCK.format(
        name=name,
        title=f"{built}Owned by {wish.team}.",
        image=image,
        limits=LIMITS,
        build="" if wish.image else BUILD.format(name=name),
        volumes=", ".join(f'"{mount}"' for mount in mounts),
    )


def take(draft: Draft, name: str, image: str) -> str:
    """Another image for a location that is built elsewhere; returns the one it had."""
    compose = draft.yaml(COMPOSE)
    before = str(compose.get("services", name, "image"))
    if compose.get("services", name, "build") is not None:
        raise StackError(
            f"{name} is built in this repository",
            "a location that was added with --like image",
            f"./stack deploy {name} builds it and takes it into use",
        )
    compose.replace(("services", name, "image"), image)
    compose.replace(("services", name, "environment", "DAGSTER_CURRENT_IMAGE"), image)
    return before


def _people_and_machines(draft: Draft, wish: Wish, others: Iterable[str]) -> None:
    access = draft.yaml(ACCESS)
    access.add(("people", "editor"), wish.name, f"{{users: [], groups: [{wish.team}]}}", after=others)
    reads = f"{{reads: [{', '.join(wish.reads)}]}}"
    if access.get("machines") is None and (wish.reads or KEEPER in others):
        draft.write(ACCESS, access.text.rstrip("\n") + "\n\nmachines: {}\n")
        access = draft.yaml(ACCESS)
    if wish.reads:
        access.add(("machines",), wish.name, reads, after=[other for other in others if other != KEEPER])
    if KEEPER in others:
        if access.get("machines", KEEPER) is None:
            access.add(("machines",), KEEPER, "{maintains: []}")
        access.add(("machines", KEEPER, "maintains"), wish.name)


def settings_files(root: Path) -> list[str]:
    """.env.example, and the .env of each deployment of this checkout: the latter must have what the former has."""
    own = [path for path in (root / ".env", *sorted((root / ".deployments").glob("*/.env"))) if path.is_file()]
    return [EXAMPLE, *(str(path.relative_to(root)) for path in own)]


def _owner(draft: Draft, wish: Wish) -> None:
    """A line in CODEOWNERS; a location built elsewhere has no folder to own."""
    for file in owners.FILES:
        if not wish.image and (draft.root / file).is_file():
            draft.write(file, owners.added(draft.read(file), wish.name, wish.team))


def remove(draft: Draft, name: str) -> Removal:
    """Take away all lines of a location, its folder, and overlays that stand and fall with it."""
    gone_with_it = tuple(overlays.remove(draft, name))
    before = _variables(draft, ())
    _from_compose(draft.yaml(COMPOSE), name)
    draft.yaml(WORKSPACE).remove(("load_from",), lambda entry: entry["grpc_server"]["location_name"] == name)
    access = draft.yaml(ACCESS)
    read = tuple(access.entries("machines", name, "reads"))
    access.remove(("people", "editor"), lambda entry: entry == name)
    access.remove(("machines",), lambda entry: entry == name)
    access.remove(("machines", KEEPER, "maintains"), lambda entry: entry == name)
    if (draft.root / STANDARDS).exists():
        draft.yaml(STANDARDS).remove(("exceptions",), lambda entry: str(entry["asset"]).startswith(f"{name}/"))
    unused = before - _variables(draft, gone_with_it)
    for path in settings_files(draft.root):
        draft.write(path, settings_text.without(_without_overlays(draft.read(path), gone_with_it), unused))
    for file in owners.FILES:
        if (draft.root / file).is_file():
            draft.write(file, owners.without(draft.read(file), name))
    folder = f"code_locations/{name}"
    gone = [*gone_with_it, *([folder] if (draft.root / folder).is_dir() else [])]
    for path in gone:
        draft.remove(path)
    return Removal(folder if folder in gone else None, gone_with_it, read)


def _from_compose(compose: YamlText, name: str) -> None:
    """The block, and what the rest of the file has for it alone: secrets and volumes that nobody else uses too."""
    secrets = {f"{name}_database_password", f"personal_data_key_{name}"} | _used_alone(compose, name, "secrets")
    volumes = {f"lake-{name}", f"logs-{name}"} | _used_alone(compose, name, "volumes")
    for service in compose.entries("services"):
        compose.remove(("services", service, "networks"), lambda entry: entry == name)
        compose.remove(("services", service, "depends_on"), lambda entry: entry == name)
        if service != name:
            compose.remove(("services", service, "secrets"), lambda entry: source(entry) in secrets)
            compose.remove(("services", service, "volumes"), lambda entry: source(entry) in volumes)
    compose.remove(("services",), lambda entry: entry == name)
    compose.remove(("networks",), lambda entry: entry == name)
    compose.remove(("volumes",), lambda entry: entry in volumes)
    compose.remove(("secrets",), lambda entry: entry in secrets)


def _used_alone(compose: YamlText, name: str, key: str) -> set[str]:
    services: dict[str, Any] = compose.get("services")
    used = {each: {source(entry) for entry in spec.get(key) or ()} for each, spec in services.items()}
    return used.pop(name, set()).difference(*used.values())


def _variables(draft: Draft, without: Iterable[str]) -> set[str]:
    """Settings that the Compose files use."""
    overlays = [str(path.relative_to(draft.root)) for path in (draft.root / OVERLAYS).glob("*.yml")]
    files = [COMPOSE, *(file for file in overlays if file not in without)]
    texts = [draft.yaml(file).text for file in files]
    return {match[1] or match[2] for text in texts for match in VARIABLE.finditer(text)}


def _without_overlays(text: str, overlays: Iterable[str]) -> str:
    gone = set(overlays)

    def kept(match: re.Match[str]) -> str:
        return match[1] + ":".join(file for file in match[2].split(":") if file.strip() not in gone)

    return re.sub(r"^(COMPOSE_FILE=)(.*)$", kept, text, flags=re.MULTILINE)


def readers(draft: Draft, name: str) -> list[str]:
    """The locations that read a location's lake."""
    machines: dict[str, Any] = draft.yaml(ACCESS).get("machines") or {}
    return [other for other, rights in machines.items() if name in ((rights or {}).get("reads") or ())]


def require_free(root: Path, name: str, compose: YamlText) -> None:
    """Raise `StackError` when anything has the name already."""
    taken = [
        ("workspace.yaml names it", name in names(root)),
        (f"code_locations/{name} exists", (root / "code_locations" / name).exists()),
        ("docker-compose.yml has a service of this name", name in compose.entries("services")),
        ("docker-compose.yml has a network of this name", name in compose.entries("networks")),
        (
            f".env.example has {variable(name)}",
            bool(re.search(rf"^{variable(name)}=", (root / EXAMPLE).read_text(), re.M)),
        ),
    ]
    reasons = [reason for reason, applies in taken if applies]
    if reasons:
        raise StackError(
            f"there is a {name} already: {'; '.join(reasons)}",
            "a name that nothing has yet",
            f"choose another, or remove that one: ./stack location remove {name}",
        )
