"""Code locations come and go while Postgres goes on.

Postgres is on every location's network, and to Compose a service with another network is another service: it would
replace the database under running runs. So where nothing but networks differs, Compose is shown Postgres as it was
made, and the running container is connected to, or let go from, the networks here.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from operations import docker
from operations.context import Context

POSTGRES = "postgres"
# These join every location's network and are replaced for it: they hold no state.
EVERYWHERE = (POSTGRES, "webserver", "daemon", "migrate")


def keep_postgres(context: Context) -> Path | None:
    """The file to put behind the others in `docker compose up`, so that it leaves Postgres alone; None without need.

    Postgres is connected to new networks here already: what starts on them asks it at once.
    """
    container, wanted = _postgres(context), _wanted(context)
    if container is None or not wanted:
        return None
    made_with = _made_with(context, container)
    if made_with == wanted or not {_full(context, name) for name in made_with} <= container.networks:
        return None
    file, same = _shown_as_made(context, container, made_with, wanted)
    if not same:
        context.report.warn("postgres is replaced, for more of its description has changed than networks")
        return None
    missing = [name for name in sorted(wanted) if _full(context, name) not in container.networks]
    new = _on(context, missing)
    if missing and not new:
        return None
    # From here on only the record tells what the container was made with.
    _record(context, container, made_with)
    if missing:
        context.executor.run(docker.create(context.deployment, new, file), timeout=120)
    _connect(context, container, missing)
    return file


def is_as_made(context: Context) -> bool:
    """Whether Postgres differs from its description in networks alone, and is on all that it should be on."""
    container, wanted = _postgres(context), _wanted(context)
    if container is None or not {_full(context, name) for name in wanted} <= container.networks:
        return False
    return _shown_as_made(context, container, _made_with(context, container), wanted)[1]


def _shown_as_made(
    context: Context, container: docker.Container, made_with: set[str], wanted: set[str]
) -> tuple[Path, bool]:
    """A file that shows Compose Postgres as it was made, and whether nothing else of its description differs."""
    file = context.deployment.state / "postgres-as-it-was-made.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_made(made_with, {name: _full(context, name) for name in made_with - wanted}), encoding="utf-8")
    printed = context.executor.run(docker.config_hash(context.deployment, POSTGRES, file), check=False).stdout.split()
    return file, printed[-1:] == [container.labels.get(docker.HASH_LABEL)]


def _on(context: Context, networks: Iterable[str]) -> list[str]:
    """The services that new networks are for."""
    wanted = set(networks)
    services = _services(context).items()
    return [name for name, spec in services if wanted & set(spec.get("networks") or ()) and name not in EVERYWHERE]


def as_made(networks: Iterable[str], gone: dict[str, str]) -> str:
    """Postgres with the networks that it was made with; those that no file names any more by the engine's name."""
    listed = ", ".join(sorted(networks))
    lines = [f"services: {{postgres: {{networks: !override [{listed}]}}}}"]
    if gone:
        entries = ", ".join(f"{name}: {{external: true, name: {full}}}" for name, full in sorted(gone.items()))
        lines.append(f"networks: {{{entries}}}")
    return "\n".join(lines) + "\n"


def settle(context: Context) -> None:
    """After a start: let go of locations that no file names any more, and remember what Postgres was made with."""
    departed = [each for each in context.containers() if _is_departed(context, each)]
    for each in departed:
        context.executor.run(["docker", "stop", each.id], check=False, timeout=120)
        context.executor.run(["docker", "rm", "--volumes", each.id], check=False)
    left = {full for each in departed for full in each.networks}
    container, wanted = _postgres(context), _wanted(context)
    if container is not None and wanted:
        made_with = _made_with(context, container)
        _record(context, container, made_with)
        _connect(context, container, [n for n in sorted(wanted) if _full(context, n) not in container.networks])
        left |= container.networks
        left -= {_full(context, name) for name in wanted | made_with}
    others = [each for each in context.containers() if each.service != POSTGRES and each.state == "running"]
    # A run that still goes on needs its network and its database; the next start lets go.
    for full in sorted(left - {full for each in others for full in each.networks}):
        if container is not None:
            context.executor.run(["docker", "network", "disconnect", full, container.id], check=False)
        context.executor.run(["docker", "network", "rm", full], check=False)


def _is_departed(context: Context, container: docker.Container) -> bool:
    """A location that no file names any more, or what waits for its runs or is left of one, and would hold on to its
    volumes."""
    of_a_location = container.is_service or container.waits or (container.is_run and container.state == "exited")
    return of_a_location and docker.LOCATION_LABEL in container.labels and container.service not in _services(context)


def _services(context: Context) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = context.config["services"]
    return services


def _wanted(context: Context) -> set[str]:
    return set(_services(context).get(POSTGRES, {}).get("networks") or ())


def _postgres(context: Context) -> docker.Container | None:
    found = (each for each in context.containers() if each.service == POSTGRES and each.is_service)
    return next((each for each in found if each.state == "running"), None)


def _full(context: Context, network: str) -> str:
    """The engine's name of a network."""
    described = (context.config.get("networks") or {}).get(network) or {}
    return str(described.get("name") or f"{context.deployment.name}_{network}")


def _connect(context: Context, container: docker.Container, networks: Iterable[str]) -> None:
    for name in networks:
        context.executor.run(["docker", "network", "connect", "--alias", POSTGRES, _full(context, name), container.id])


def _made_with(context: Context, container: docker.Container) -> set[str]:
    """The networks in the description that Compose made the container from.

    The engine only tells those it is on. They are the same until one is connected here, and then there is a record.
    """
    recorded = _read(context, container)
    if recorded is not None:
        return recorded
    prefix = f"{context.deployment.name}_"
    names = {_full(context, name): name for name in context.config.get("networks") or {}}
    return {names.get(full, full.removeprefix(prefix)) for full in container.networks}


def _read(context: Context, container: docker.Container) -> set[str] | None:
    try:
        record = json.loads(_file(context).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return set(record["networks"]) if record["container"] == container.id else None


def _record(context: Context, container: docker.Container, networks: set[str]) -> None:
    _file(context).parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"container": container.id, "networks": sorted(networks)})
    _file(context).write_text(text + "\n", encoding="utf-8")


def _file(context: Context) -> Path:
    return context.deployment.state / "postgres.json"
