"""That workspace, services, folders, networks, volumes, secrets and access.yaml say the same of each location."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from access import Access, check_package_name
from operations.checking.problems import Places, Problem

LAKE = "/var/lib/lake"
LOGS = "/var/lib/dagster/logs"
KEPT_LOGS = "/var/lib/location-logs"
KEEPER_OF_COPIES = "backup"
# Of personal data, and then the owner's name.
KEY = "personal_data_key_"
EVERYWHERE = ("webserver", "daemon")
NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{0,6})?|\.[0-9]{1,6}")


@dataclass(frozen=True)
class Model:
    """A deployment: what Compose resolved, what workspace.yaml and access.yaml name, and where lines are."""

    root: Path
    config: dict[str, Any]
    locations: list[str]
    access: Access
    places: Places

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """Compose services by name."""
        services: dict[str, dict[str, Any]] = self.config["services"]
        return services

    def problem(self, message: str, service: str, *keys: str) -> Problem:
        """A problem of a service."""
        return self.places.problem(f"{service}: {message}", "services", service, *keys)


def check(model: Model) -> list[Problem]:
    """All contradictions between the files."""
    problems = list(_same_names(model))
    for name in model.locations:
        if name in model.services:
            problems += [*_identity(model, name), *_networks(model, name), *_lakes(model, name), *_logs(model, name)]
            problems += [*_secrets(model, name), *_keys(model, name), *_limits(model, name), *_backed_up(model, name)]
    return problems + list(_borders(model))


def _same_names(model: Model) -> Iterator[Problem]:
    labelled = {name for name, service in model.services.items() if "code-location" in (service.get("labels") or {})}
    for name in model.locations:
        if name not in model.services:
            yield Problem("workspace.yaml", None, f"code location {name} is no service in docker-compose.yml")
        elif name not in labelled:
            yield model.problem(f"has no label code-location: {name}, but workspace.yaml names it", name, "labels")
    for name in sorted(labelled - set(model.locations)):
        yield model.problem("has the label code-location, but workspace.yaml does not name it", name, "labels")
    folder = model.root / "code_locations"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (path / "pyproject.toml").exists() and path.name not in model.locations:
            yield Problem("workspace.yaml", None, f"code_locations/{path.name} exists, but no location has this name")


def package_of(name: str, service: dict[str, Any]) -> str:
    """The Python package of a location's image."""
    return str(((service.get("build") or {}).get("args") or {}).get("PACKAGE") or name)


def _identity(model: Model, name: str) -> Iterator[Problem]:
    service = model.services[name]
    label = (service.get("labels") or {}).get("code-location")
    if label is not None and label != name:
        yield model.problem(f"label code-location is {label!r}; expected {name!r}", name, "labels")
    arguments = (service.get("build") or {}).get("args") or {}
    if service.get("build"):
        if arguments.get("NAME") != name:
            yield model.problem(f"build argument NAME is {arguments.get('NAME')!r}; expected {name!r}", name, "build")
        package = package_of(name, service)
        folder = model.root / str(arguments.get("SERVICE", ""))
        if not (folder / "src" / package / "definitions.py").is_file():
            shown = f"{arguments.get('SERVICE')}/src/{package}/definitions.py"
            yield model.problem(f"{shown} does not exist", name, "build")
        try:
            check_package_name(package)
        except ValueError as error:
            yield model.problem(f"{error}; name another with the build argument PACKAGE", name, "build")
    environment = service.get("environment") or {}
    for key, expected in (("POSTGRES_USER", name), ("DAGSTER_CURRENT_IMAGE", service.get("image"))):
        if environment.get(key) != expected:
            yield model.problem(f"{key} is {environment.get(key)!r}; expected {expected!r}", name, "environment")


def _networks(model: Model, name: str) -> Iterator[Problem]:
    own = set(model.services[name].get("networks") or {})
    if own != {name}:
        yield model.problem(f"is on {_list(own)}; expected the network {name} alone", name, "networks")
    if name not in (model.config.get("networks") or {}):
        yield model.places.problem(f"there is no network {name}", "networks")
    for other in (*EVERYWHERE, "postgres"):
        if other in model.services and name not in (model.services[other].get("networks") or {}):
            yield model.problem(f"is not on the network {name}", other, "networks")


def _lakes(model: Model, name: str) -> Iterator[Problem]:
    wanted = {f"lake-{name}": (f"{LAKE}/{name}", False)}
    for other in model.access.machines[name].reads:
        wanted[f"lake-{other}"] = (f"{LAKE}/{other}", True)
    for other in model.access.machines[name].maintains:
        wanted[f"lake-{other}"] = (f"{LAKE}/{other}", False)
    found = {source: place for source, place in _mounts(model.services[name]).items() if source.startswith("lake-")}
    for source, (target, read_only) in wanted.items():
        mode = "read-only" if read_only else "writable"
        if source not in found:
            yield model.problem(f"does not mount {source} at {target}, {mode}", name, "volumes")
        elif found[source] != (target, read_only):
            at, is_read_only = found[source]
            is_mode = "read-only" if is_read_only else "writable"
            yield model.problem(f"mounts {source} at {at}, {is_mode}; expected {target}, {mode}", name, "volumes")
    for source in sorted(set(found) - set(wanted)):
        yield model.problem(f"mounts {source}, but access.yaml does not let {name} read it", name, "volumes")


def _backed_up(model: Model, name: str) -> Iterator[Problem]:
    """A lake that the backup does not see would be missing on the day it is needed."""
    if KEEPER_OF_COPIES in model.services:
        mount = _mounts(model.services[KEEPER_OF_COPIES]).get(f"lake-{name}")
        if mount != (f"{LAKE}/{name}", True):
            message = f"does not mount lake-{name} read-only at {LAKE}/{name}, so it is not backed up"
            yield model.problem(message, KEEPER_OF_COPIES, "volumes")


def _logs(model: Model, name: str) -> Iterator[Problem]:
    volume = f"logs-{name}"
    target, read_only = _mounts(model.services[name]).get(volume, ("", True))
    if target not in (LOGS, f"{LOGS}/{name}") or read_only:
        yield model.problem(f"does not mount {volume} writable below {LOGS}", name, "volumes")
    kept = {f"logs-{other}": (f"{KEPT_LOGS}/{other}", False) for other in model.access.machines[name].maintains}
    others = {source: place for source, place in _mounts(model.services[name]).items() if source.startswith("logs-")}
    for source in sorted({*kept, *others} - {volume}):
        if source not in others or (source in kept and others[source] != kept[source]):
            yield model.problem(f"does not mount {source} writable at {kept[source][0]}", name, "volumes")
        elif source not in kept:
            yield model.problem(f"mounts {source}, but access.yaml does not let {name} maintain it", name, "volumes")
    if "webserver" in model.services:
        shown = _mounts(model.services["webserver"]).get(volume)
        if shown != (f"{LOGS}/{name}", True):
            yield model.problem(f"does not mount {volume} read-only at {LOGS}/{name}", "webserver", "volumes")


def _secrets(model: Model, name: str) -> Iterator[Problem]:
    secret = f"{name}_database_password"
    own = {entry["source"]: Path(entry.get("target") or entry["source"]).name for entry in _secret_entries(model, name)}
    if own.get(secret) != "database_password":
        yield model.problem(f"does not get the secret {secret} as database_password", name, "secrets")
    maintained = model.access.machines[name].maintains
    for other in model.locations:
        password = f"{other}_database_password"
        # In a lake's catalog its own role is at work, whoever keeps it: the owner's code there gains nothing by that.
        if other in maintained and own.get(password) != password:
            yield model.problem(f"does not get {password}, but maintains {other}", name, "secrets")
        if other != name and other not in maintained and password in own:
            yield model.problem(f"gets {password}, another location's secret", name, "secrets")
    if "migrate" in model.services and secret not in {entry["source"] for entry in _secret_entries(model, "migrate")}:
        yield model.problem(f"does not get {secret}, so it cannot set the role's password", "migrate", "secrets")


def _keys(model: Model, service: str) -> Iterator[Problem]:
    """Who has a location's key sees its personal columns in clear: the location itself, and whom access.yaml names."""
    rights = model.access.machines[service].personal if service in model.locations else []
    files = {
        name: Path(secret.get("file") or name).name for name, secret in (model.config.get("secrets") or {}).items()
    }
    found = {}
    for entry in _secret_entries(model, service):
        # By the file as well as by the name: a secret of another name may be the same file.
        names = (files.get(entry["source"], ""), entry["source"])
        owner = next((name.removeprefix(KEY) for name in names if name.startswith(KEY)), None)
        if owner is not None:
            found[owner] = Path(entry.get("target") or entry["source"]).name
    for owner, target in found.items():
        if owner not in (service, *rights):
            yield model.problem(f"gets {KEY}{owner}, but access.yaml gives it no right to it", service, "secrets")
        elif target != f"{KEY}{owner}":
            yield model.problem(f"gets {KEY}{owner} as {target}; expected the same name", service, "secrets")
    for owner in rights:
        if owner not in found:
            yield model.problem(f"does not get {KEY}{owner}, which access.yaml gives it", service, "secrets")


def _limits(model: Model, name: str) -> Iterator[Problem]:
    labels = model.services[name].get("labels") or {}
    for kind, read in (("run.memory", memory), ("run.cpus", cpus)):
        values = {}
        for key in (kind, f"{kind}.max"):
            if key not in labels:
                yield model.problem(f"has no label {key}: its runs would have no limit of its choice", name, "labels")
                continue
            values[key] = read(str(labels[key]))
            if values[key] is None:
                yield model.problem(f"label {key} is {labels[key]!r}; expected such as 1g or 1.5", name, "labels", key)
        default, most = values.get(kind), values.get(f"{kind}.max")
        if default and most and default > most:
            yield model.problem(f"label {kind} is above {kind}.max", name, "labels", kind)
    warm = str(labels.get("run.warm", "0"))
    if not (warm.isascii() and warm.isdigit() and len(warm) < 4):
        yield model.problem(
            f"label run.warm is {warm!r}; expected a whole number from 0 to 999", name, "labels", "run.warm"
        )


def _borders(model: Model) -> Iterator[Problem]:
    """What must hold whoever the services are: volumes with one writer, networks with no strangers."""
    for service, spec in model.services.items():
        if service in model.locations:
            continue
        for source, (_, read_only) in _mounts(spec).items():
            kind, _, owner = source.partition("-")
            if kind in ("lake", "logs") and owner != service and not read_only:
                yield model.problem(f"mounts {source} writable; only its owner may", service, "volumes")
        yield from _keys(model, service)
        if "edge" in (spec.get("networks") or {}) and service not in ("gateway", "webserver"):
            yield model.problem("is on the network edge, where the webserver trusts whom it hears", service, "networks")
        joined = [name for name in model.locations if name in (spec.get("networks") or {})]
        if len(joined) > 1 and service not in (*EVERYWHERE, "postgres", "migrate"):
            yield model.problem(f"joins the networks of {_list(joined)}; locations must not meet", service, "networks")


def _mounts(spec: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    return {
        mount["source"]: (mount["target"], bool(mount.get("read_only")))
        for mount in spec.get("volumes") or ()
        if mount.get("source")
    }


def _secret_entries(model: Model, service: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = model.services[service].get("secrets") or []
    return entries


def memory(text: str) -> float | None:
    """Bytes of 512m, 1.5g and the like; None when it is something else."""
    number, unit = text[:-1], text[-1:].lower()
    if unit not in "kmg" or not unit or not NUMBER.fullmatch(number):
        return None
    return float(number) * 1024 ** (1 + "kmg".index(unit)) or None


def cpus(text: str) -> float | None:
    """A positive number of processors; None when it is something else."""
    return float(text) or None if NUMBER.fullmatch(text) else None


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"
